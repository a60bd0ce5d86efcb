//! Kernels compiled before their first run.
//!
//! Drivers of software adapters put off compiling a kernel's code until it is first dispatched, and then do it on the
//! thread that carries out submissions. Dispatches of no workgroups, handed over as soon as there are pipelines, make that
//! thread compile while this one packs weights. The code also depends on the kind of what is bound and on parameters, so
//! they are a plan's own parameters, and stand-ins which are like its memory in all but size.

use std::collections::{HashMap, HashSet};

use super::device::GpuDevice;
use super::kernel::Kernel;
use super::memory::{Kind, Region};
use super::recording::{BufferId, Dispatch, Recording};

/// A kernel to compile the code of, and what it is compiled for: once for each combination of kinds that dispatches bind.
#[derive(Clone, Debug)]
pub(super) struct Order {
    pub kernel: Kernel,
    uses: Vec<Use>,
}

#[derive(Clone, Debug)]
struct Use {
    params: Vec<u8>,
    bound: Vec<Bound>,
}

/// What is written has memory of its own, by its number: nothing may be both read and written by one dispatch, or written
/// twice.
type Bound = (Kind, Option<usize>);

impl Order {
    /// For what the recording does with a kernel of its.
    pub fn new(recording: &Recording, kernel: &Kernel) -> Self {
        let bound = |dispatch: &Dispatch| -> Vec<Bound> {
            let is_written = |i| i >= kernel.reads() || kernel.is_writable(i);
            let of = |(i, id): (usize, &BufferId)| {
                (Kind::of(&recording.buffers[id.0]), is_written(i).then_some(i))
            };
            dispatch.reads.iter().chain(&dispatch.writes).enumerate().map(of).collect()
        };
        let mut seen = HashSet::new();
        let dispatches = recording.dispatches.iter().filter(|d| d.kernel == *kernel);
        let uses = dispatches.map(|d| Use { params: d.params.clone(), bound: bound(d) });
        let uses = uses.filter(|of| seen.insert(of.bound.clone())).collect();
        Order { kernel: kernel.clone(), uses }
    }
}

/// Hands over dispatches that do nothing, but for which the driver compiles the code of these pipelines' kernels.
///
/// All in one submission: the next one waits until the driver is through with the last.
pub(super) fn dispatch<'a>(
    device: &GpuDevice,
    orders: impl IntoIterator<Item = (&'a Order, &'a wgpu::ComputePipeline)>,
) -> wgpu::SubmissionIndex {
    let mut encoder = device.device().create_command_encoder(&Default::default());
    let mut stand_ins = StandIns { device, regions: HashMap::new() };
    {
        let mut pass = encoder.begin_compute_pass(&Default::default());
        for (order, pipeline) in orders {
            pass.set_pipeline(pipeline);
            for of in &order.uses {
                pass.set_bind_group(0, &stand_ins.bind_group(of, pipeline), &[]);
                pass.dispatch_workgroups(0, 1, 1);
            }
        }
    }
    device.queue().submit([encoder.finish()])
}

/// Memory to bind in place of a plan's.
struct StandIns<'a> {
    device: &'a GpuDevice,
    regions: HashMap<Bound, Region>,
}

impl StandIns<'_> {
    /// Adds to the stand-ins what is missing.
    fn bind_group(&mut self, of: &Use, pipeline: &wgpu::ComputePipeline) -> wgpu::BindGroup {
        for &(kind, own) in &of.bound {
            self.regions.entry((kind, own)).or_insert_with(|| Region::stand_in(self.device, kind));
        }
        let device = self.device.device();
        let params = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("stand-in"),
            size: (of.params.len() as u64).next_multiple_of(16).max(16),
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        self.device.queue().write_buffer(&params, 0, &of.params);
        let regions = of.bound.iter().map(|bound| self.regions[bound].binding());
        let resources = std::iter::once(params.as_entire_binding()).chain(regions);
        let entry = |(i, resource)| wgpu::BindGroupEntry { binding: i as u32, resource };
        device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("stand-ins"),
            layout: &pipeline.get_bind_group_layout(0),
            entries: &resources.enumerate().map(entry).collect::<Vec<_>>(),
        })
    }
}
