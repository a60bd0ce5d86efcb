//! Adapters, devices and the pipelines compiled on them.

use std::collections::{HashMap, HashSet};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

#[cfg(not(target_arch = "wasm32"))]
use futures_intrusive::channel::shared::OneshotReceiver;

use super::cache::Cache;
#[cfg(not(target_arch = "wasm32"))]
use super::helpers::Helpers;
use super::kernel::Kernel;
use super::memory::Region;
#[cfg(not(target_arch = "wasm32"))]
use super::poller::Poller;
use super::recording::Recording;
#[cfg(not(target_arch = "wasm32"))]
use super::tune::Winners;
#[cfg(not(target_arch = "wasm32"))]
use super::warm::Warming;
use crate::device::{DeviceInfo, DeviceOptions};
use crate::error::{Error, Result};
use crate::tensor::{Tensor, Witness};

/// A wgpu device with its queue and the pipelines compiled on it. Clones are the same device.
#[derive(Clone)]
pub struct GpuDevice(Arc<Inner>);

struct Inner {
    device: wgpu::Device,
    queue: wgpu::Queue,
    info: DeviceInfo,
    software: bool,
    pipelines: Mutex<HashMap<(Kernel, bool), wgpu::ComputePipeline>>,
    cache: Option<Cache>,
    /// What measuring has found so far, and how many layers were measured for it.
    #[cfg(not(target_arch = "wasm32"))]
    winners: futures_intrusive::sync::Mutex<Winners>,
    measurements: AtomicUsize,
    /// The driver's own cache of pipelines, where there is a folder to keep it in.
    pipeline_cache: Option<wgpu::PipelineCache>,
    /// Constants on the device, by the tensor they come from and the layout they are in, while that tensor lives.
    weights: Mutex<HashMap<(usize, String), (Witness, Region)>>,
    /// Why the device was lost, once it is.
    lost: Arc<Mutex<Option<String>>>,
    #[cfg(not(target_arch = "wasm32"))]
    poller: Mutex<Option<Poller>>,
    /// Where the driver compiles on one thread per device, and this library opened the device.
    #[cfg(not(target_arch = "wasm32"))]
    helpers: Option<Helpers>,
}

/// What wgpu will report of work that has been handed to it.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) type Outcome = Pin<Box<dyn Future<Output = Result<()>> + Send>>;
/// What the browser will report of work that has been handed to it.
#[cfg(target_arch = "wasm32")]
pub(crate) type Outcome = Pin<Box<dyn Future<Output = Result<()>>>>;

/// A pipeline, what wgpu will report of it, and how long it took, by which the driver will take longer for some kernels'
/// code than for others'.
type Compiled = (wgpu::ComputePipeline, Outcome, Duration);

/// A recording's pipelines.
pub(super) struct Pipelines {
    /// Of each dispatch.
    pub all: Vec<wgpu::ComputePipeline>,
    /// The kernels whose pipelines there were not before, the longest to compile first.
    pub new: Vec<Kernel>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn instance() -> wgpu::Instance {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::PRIMARY;
    wgpu::Instance::new(descriptor)
}

fn info(adapter: &wgpu::AdapterInfo) -> DeviceInfo {
    let driver = format!("{} {}", adapter.driver, adapter.driver_info);
    DeviceInfo {
        name: adapter.name.clone(),
        backend: format!("{:?}", adapter.backend),
        kind: format!("{:?}", adapter.device_type),
        driver: driver.trim().to_string(),
    }
}

/// Hardware before software, discrete before integrated.
fn preference(adapter: &wgpu::AdapterInfo) -> usize {
    match adapter.device_type {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    }
}

async fn adapters() -> Vec<wgpu::Adapter> {
    let mut adapters = instance().enumerate_adapters(wgpu::Backends::PRIMARY).await;
    adapters.sort_by_key(|a| preference(&a.get_info()));
    adapters
}

/// All that the adapter offers of what the library uses.
pub(super) fn descriptor(adapter: &wgpu::Adapter) -> wgpu::DeviceDescriptor<'static> {
    wgpu::DeviceDescriptor {
        label: Some("wgpu-cnn"),
        required_features: adapter.features()
            & (wgpu::Features::TIMESTAMP_QUERY | wgpu::Features::PIPELINE_CACHE | wgpu::Features::SUBGROUP),
        required_limits: adapter.limits(),
        ..Default::default()
    }
}

impl GpuDevice {
    /// The adapters of this machine, the one that suits best first.
    pub(crate) async fn list() -> Vec<DeviceInfo> {
        adapters().await.iter().map(|a| info(&a.get_info())).collect()
    }

    /// The best adapter that `accept` takes, opened with all its limits.
    pub(crate) async fn open(
        accept: impl Fn(&wgpu::AdapterInfo) -> bool,
        options: &DeviceOptions,
    ) -> Result<Option<Self>> {
        let Some(adapter) = adapters().await.into_iter().find(|a| accept(&a.get_info())) else {
            return Ok(None);
        };
        let name = adapter.get_info().name;
        let (device, queue) = adapter
            .request_device(&descriptor(&adapter))
            .await
            .map_err(|e| Error::Device { device: name, reason: e.to_string() })?;
        Ok(Some(Self::over(device, queue, options, Some(adapter))))
    }

    /// Over a device of the caller's, whose limits bind.
    pub(crate) fn new(device: wgpu::Device, queue: wgpu::Queue, options: &DeviceOptions) -> Self {
        Self::over(device, queue, options, None)
    }

    /// With the adapter that it was opened on, if further devices may be opened on it.
    fn over(
        device: wgpu::Device,
        queue: wgpu::Queue,
        options: &DeviceOptions,
        adapter: Option<wgpu::Adapter>,
    ) -> Self {
        #[cfg(not(target_arch = "wasm32"))]
        let helpers = adapter.and_then(Helpers::new);
        #[cfg(target_arch = "wasm32")]
        let _ = adapter;
        let adapter = device.adapter_info();
        let cache = options.cache.as_ref().map(|folder| Cache::new(folder, &adapter));
        let pipeline_cache = cache.as_ref().and_then(|cache| pipeline_cache(&device, cache));
        let lost = Arc::new(Mutex::new(None));
        let seen = lost.clone();
        device.set_device_lost_callback(move |reason, text| {
            *lock(&seen) = Some(format!("{reason:?} {text}").trim().to_string());
        });
        GpuDevice(Arc::new(Inner {
            info: info(&adapter),
            software: adapter.device_type == wgpu::DeviceType::Cpu,
            device,
            queue,
            pipelines: Mutex::default(),
            cache,
            pipeline_cache,
            #[cfg(not(target_arch = "wasm32"))]
            winners: futures_intrusive::sync::Mutex::new(Winners::default(), true),
            measurements: AtomicUsize::new(0),
            weights: Mutex::default(),
            lost,
            #[cfg(not(target_arch = "wasm32"))]
            poller: Mutex::default(),
            #[cfg(not(target_arch = "wasm32"))]
            helpers,
        }))
    }

    /// The adapter's name, backend, kind and driver.
    pub fn info(&self) -> &DeviceInfo {
        &self.0.info
    }

    /// The wgpu device.
    pub fn device(&self) -> &wgpu::Device {
        &self.0.device
    }

    /// The device's queue.
    pub fn queue(&self) -> &wgpu::Queue {
        &self.0.queue
    }

    /// Whether the adapter computes on CPU cores.
    pub fn is_software(&self) -> bool {
        self.0.software
    }

    /// Whether kernels may exchange values within subgroups, of which each has at least eight invocations.
    pub(super) fn has_subgroups(&self) -> bool {
        let device = &self.0.device;
        device.features().contains(wgpu::Features::SUBGROUP) && device.adapter_info().subgroup_min_size >= 8
    }

    /// How many distinct pipelines have been compiled.
    pub fn pipeline_count(&self) -> usize {
        lock(&self.0.pipelines).len()
    }

    /// How many layers have been measured by [`Tuning::Measured`](crate::plan::Tuning::Measured): one for each operator and
    /// shape that was not known already and that more than one kernel computes.
    pub fn measurement_count(&self) -> usize {
        self.0.measurements.load(Ordering::Relaxed)
    }

    #[cfg(not(target_arch = "wasm32"))]
    pub(super) fn count_measurement(&self) {
        self.0.measurements.fetch_add(1, Ordering::Relaxed);
    }

    #[cfg(not(target_arch = "wasm32"))]
    pub(super) fn winners(&self) -> &futures_intrusive::sync::Mutex<Winners> {
        &self.0.winners
    }

    /// Where the device keeps what later processes can use.
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) fn cache(&self) -> Option<&Cache> {
        self.0.cache.as_ref()
    }

    /// How many weights and other constants plans hold on the device; plans that share one count it once.
    pub fn weight_count(&self) -> usize {
        lock(&self.0.weights).len()
    }

    /// A constant in a layout of this name, from an earlier plan's memory or else made by `upload`.
    pub(super) fn weight(
        &self,
        tensor: &Tensor,
        layout: &str,
        upload: impl FnOnce() -> Result<Region>,
    ) -> Result<Region> {
        let mut weights = lock(&self.0.weights);
        weights.retain(|_, (witness, _)| witness.is_alive());
        let key = (tensor.identity(), layout.to_string());
        if let Some((_, region)) = weights.get(&key) {
            return Ok(region.clone());
        }
        let region = upload()?;
        weights.insert(key, (tensor.witness(), region.clone()));
        Ok(region)
    }

    /// [`Error::DeviceLost`] once the device is lost.
    pub(crate) fn check_alive(&self) -> Result<()> {
        // wgpu tells of a loss only to those who poll. A failing poll has nothing to add.
        let _ = self.0.device.poll(wgpu::PollType::Poll);
        match &*lock(&self.0.lost) {
            None => Ok(()),
            Some(reason) => {
                Err(Error::DeviceLost { device: self.0.info.name.clone(), reason: reason.clone() })
            }
        }
    }

    /// Runs `work`, and returns what wgpu reported of it.
    pub(crate) fn scoped<T>(&self, work: impl FnOnce() -> T) -> (T, Outcome) {
        let device = &self.0.device;
        let memory = device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let internal = device.push_error_scope(wgpu::ErrorFilter::Internal);
        let validation = device.push_error_scope(wgpu::ErrorFilter::Validation);
        let value = work();
        let (validation, internal, memory) = (validation.pop(), internal.pop(), memory.pop());
        let this = self.clone();
        let outcome = Box::pin(async move {
            let (validation, internal, memory) = (validation.await, internal.await, memory.await);
            this.check_alive()?;
            let device = this.info().name.clone();
            match (memory, validation.or(internal)) {
                (None, None) => Ok(()),
                (Some(e), _) => Err(Error::OutOfMemory { device, reason: e.to_string() }),
                (None, Some(e)) => Err(Error::Device { device, reason: e.to_string() }),
            }
        });
        (value, outcome)
    }

    /// The pipelines of a recording's dispatches, compiled in parallel, each distinct one once for the life of the device.
    pub(super) async fn pipelines(&self, recording: &Recording, checked: bool) -> Result<Pipelines> {
        let kernels = || recording.dispatches.iter().map(|dispatch| &dispatch.kernel);
        let missing: Vec<&Kernel> = {
            let known = lock(&self.0.pipelines);
            let mut seen = HashSet::new();
            kernels().filter(|&k| !known.contains_key(&(k.clone(), checked)) && seen.insert(k)).collect()
        };
        let mut new = Vec::new();
        if !missing.is_empty() {
            let compiled = self.compile(&missing, checked);
            for (kernel, (pipeline, outcome, time)) in missing.into_iter().zip(compiled) {
                outcome.await.map_err(|e| match e {
                    Error::Device { device, reason } => {
                        Error::Device { device, reason: format!("kernel '{}': {reason}", kernel.name()) }
                    }
                    other => other,
                })?;
                lock(&self.0.pipelines).insert((kernel.clone(), checked), pipeline);
                new.push((time, kernel.clone()));
            }
            self.keep_pipelines();
        }
        new.sort_by_key(|(time, _)| std::cmp::Reverse(*time));
        let new = new.into_iter().map(|(_, kernel)| kernel).collect();
        let known = lock(&self.0.pipelines);
        let all = kernels().filter_map(|k| known.get(&(k.clone(), checked)).cloned()).collect();
        Ok(Pipelines { all, new })
    }

    /// Starts to have the driver compile the code of these kernels of a recording.
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) fn warm(&self, recording: &Recording, kernels: &[Kernel]) -> Warming {
        Warming::start(self.0.helpers.as_ref(), recording, kernels)
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn compile(&self, kernels: &[&Kernel], checked: bool) -> Vec<Compiled> {
        use rayon::prelude::*;
        let compile = |kernel: &&Kernel| {
            let begun = std::time::Instant::now();
            let (pipeline, outcome) = self.scoped(|| self.compile_one(kernel, checked));
            (pipeline, outcome, begun.elapsed())
        };
        kernels.par_iter().map(compile).collect()
    }

    #[cfg(target_arch = "wasm32")]
    fn compile(&self, kernels: &[&Kernel], checked: bool) -> Vec<Compiled> {
        let compile = |kernel: &&Kernel| {
            let (pipeline, outcome) = self.scoped(|| self.compile_one(kernel, checked));
            (pipeline, outcome, Duration::ZERO)
        };
        kernels.iter().map(compile).collect()
    }

    pub(super) fn compile_one(&self, kernel: &Kernel, checked: bool) -> wgpu::ComputePipeline {
        let device = &self.0.device;
        let label = Some(kernel.name());
        let descriptor =
            wgpu::ShaderModuleDescriptor { label, source: wgpu::ShaderSource::Wgsl(kernel.source().into()) };
        let module = if checked {
            device.create_shader_module(descriptor)
        } else {
            trusted_module(device, descriptor)
        };
        device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label,
            layout: None,
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions {
                zero_initialize_workgroup_memory: false,
                ..Default::default()
            },
            cache: self.0.pipeline_cache.as_ref(),
        })
    }

    /// Writes the driver's cache of pipelines for the next process.
    fn keep_pipelines(&self) {
        let (Some(cache), Some(pipelines)) = (&self.0.cache, &self.0.pipeline_cache) else { return };
        if let Some(data) = pipelines.get_data() {
            Cache::write(&cache.path("pipelines", "bin"), &cache.seal(&data));
        }
    }

    /// Waits until the GPU has finished this submission and its callbacks have run.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn wait(&self, submission: wgpu::SubmissionIndex) {
        // A lost device is reported by `check_alive` and by the map callback.
        let _ =
            self.0.device.poll(wgpu::PollType::Wait { submission_index: Some(submission), timeout: None });
    }

    /// Sees to it that this submission's callbacks run, without blocking this thread. What is returned receives when they
    /// have, or the device is lost.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn wait_elsewhere(&self, submission: wgpu::SubmissionIndex) -> OneshotReceiver<()> {
        let mut poller = lock(&self.0.poller);
        poller.get_or_insert_with(|| Poller::new(self.0.device.clone())).wait(submission)
    }
}

/// The driver's cache of pipelines as the last process left it, or else an empty one; `None` where the driver has none.
#[allow(unsafe_code)]
fn pipeline_cache(device: &wgpu::Device, cache: &Cache) -> Option<wgpu::PipelineCache> {
    if !device.features().contains(wgpu::Features::PIPELINE_CACHE) {
        return None;
    }
    let path = cache.path("pipelines", "bin");
    let file = Cache::read(&path);
    let data = file.as_deref().and_then(|file| {
        let data = cache.unseal(file);
        if data.is_none() {
            tracing::warn!("{}: damaged; pipelines are compiled anew", path.display());
        }
        data
    });
    let descriptor = wgpu::PipelineCacheDescriptor { label: Some("wgpu-cnn"), data, fallback: true };
    // SAFETY: the data is what `PipelineCache::get_data` returned in an earlier process: only `keep_pipelines` writes the
    // file, a checksum over content, adapter, driver and version has just shown that it is whole and of this device, and
    // wgpu and the driver compare their own headers again. Who may change the user's files by intent can change the
    // program itself; `DeviceOptions::cache` says so.
    Some(unsafe { device.create_pipeline_cache(&descriptor) })
}

/// A shader module without run-time checks.
#[allow(unsafe_code)]
fn trusted_module(device: &wgpu::Device, descriptor: wgpu::ShaderModuleDescriptor) -> wgpu::ShaderModule {
    // SAFETY: the source is one of this crate's own kernels. They compare every index with the sizes in their
    // parameters, which the plan takes from the buffers it binds, and their loops end. The tests run each of them with
    // all checks and fences.
    unsafe { device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked()) }
}
