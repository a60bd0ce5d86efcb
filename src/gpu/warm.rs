//! Kernels compiled before their first run.
//!
//! Drivers of software adapters put off compiling a kernel's code until it is first dispatched, and then do it on the
//! thread that carries out submissions. Dispatches of no workgroups, handed over as soon as there are pipelines, make that
//! thread compile while this one packs weights. The code also depends on the kind of what is bound, so stand-ins are bound
//! which are like the plan's memory in all but size.

use std::collections::{HashMap, HashSet};

use super::device::GpuDevice;
use super::kernel::Kernel;
use super::memory::{Kind, Region};
use super::recording::{BufferId, Dispatch, Recording};

/// Memory to bind in place of a plan's.
pub(super) struct StandIns<'a> {
    device: &'a GpuDevice,
    recording: &'a Recording,
    params: wgpu::Buffer,
}

impl<'a> StandIns<'a> {
    /// For kernels of this recording, where the driver compiles at the first dispatch.
    pub fn new(device: &'a GpuDevice, recording: &'a Recording) -> Option<Self> {
        let largest = recording.dispatches.iter().map(|d| d.params.len() as u64).max()?;
        device.is_software().then(|| StandIns {
            device,
            recording,
            params: device.device().create_buffer(&wgpu::BufferDescriptor {
                label: Some("stand-in"),
                size: largest.next_multiple_of(16).max(16),
                usage: wgpu::BufferUsages::UNIFORM,
                mapped_at_creation: false,
            }),
        })
    }

    /// Hands over dispatches that do nothing, but for which the driver compiles the code of these kernels: one for all
    /// dispatches of a kernel that bind the same kinds of memory.
    ///
    /// All in one submission: the next one waits until the driver is through with the last.
    pub fn dispatch(&self, pipelines: &[(&Kernel, &wgpu::ComputePipeline)]) {
        let mut encoder = self.device.device().create_command_encoder(&Default::default());
        let mut regions = HashMap::new();
        {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            for (kernel, pipeline) in pipelines {
                pass.set_pipeline(pipeline);
                for bind_group in self.bind_groups(kernel, pipeline, &mut regions) {
                    pass.set_bind_group(0, &bind_group, &[]);
                    pass.dispatch_workgroups(0, 1, 1);
                }
            }
        }
        self.device.queue().submit([encoder.finish()]);
    }

    /// One for each combination of kinds that the kernel's dispatches bind; adds to the stand-ins what is missing.
    fn bind_groups(
        &self,
        kernel: &Kernel,
        pipeline: &wgpu::ComputePipeline,
        regions: &mut HashMap<(Kind, Option<usize>), Region>,
    ) -> Vec<wgpu::BindGroup> {
        // What is written has memory of its own: nothing may be both read and written by one dispatch, or written twice.
        let bound = |dispatch: &Dispatch| -> Vec<(Kind, Option<usize>)> {
            let is_written = |i| i >= kernel.reads() || kernel.is_writable(i);
            let stand_in = |(i, id): (usize, &BufferId)| {
                (Kind::of(&self.recording.buffers[id.0]), is_written(i).then_some(i))
            };
            dispatch.reads.iter().chain(&dispatch.writes).enumerate().map(stand_in).collect()
        };
        let dispatches = self.recording.dispatches.iter().filter(|d| d.kernel == *kernel);
        let bound: HashSet<_> = dispatches.map(bound).collect();
        let layout = pipeline.get_bind_group_layout(0);
        let bind_group = |stand_ins: Vec<(Kind, Option<usize>)>| {
            for &(kind, own) in &stand_ins {
                regions.entry((kind, own)).or_insert_with(|| Region::stand_in(self.device, kind));
            }
            let regions = stand_ins.iter().map(|stand_in| &regions[stand_in]);
            let resources =
                std::iter::once(self.params.as_entire_binding()).chain(regions.map(Region::binding));
            let entry = |(i, resource)| wgpu::BindGroupEntry { binding: i as u32, resource };
            self.device.device().create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some("stand-ins"),
                layout: &layout,
                entries: &resources.enumerate().map(entry).collect::<Vec<_>>(),
            })
        };
        bound.into_iter().map(bind_group).collect()
    }
}
