//! Where networks run: a GPU, or the CPU backend.

use std::fmt;

use crate::error::{Error, Result};
use crate::gpu::GpuDevice;
use crate::graph::Graph;
use crate::graph::passes::Folded;
use crate::plan::{Plan, PlanOptions};
use crate::stepper::Stepper;
use crate::tensor::Tensor;

/// What a device is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    /// The adapter's or processor's name.
    pub name: String,
    /// `Vulkan`, `Metal`, `Dx12`, `BrowserWebGpu`, or `cpu` for the CPU backend.
    pub backend: String,
    /// `DiscreteGpu`, `IntegratedGpu`, `VirtualGpu`, `Other`, or `Cpu` for what computes on CPU cores.
    pub kind: String,
    /// The driver and its version; for the CPU backend the number of threads.
    pub driver: String,
}

impl fmt::Display for DeviceInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, {}, {})", self.name, self.backend, self.kind, self.driver)
    }
}

/// Where networks run. Clones are the same device.
#[derive(Clone)]
pub struct Device(Kind);

#[derive(Clone)]
enum Kind {
    Cpu(DeviceInfo),
    Gpu(GpuDevice),
}

impl Device {
    /// The CPU backend, on all cores; it is always there.
    pub fn cpu() -> Self {
        Device(Kind::Cpu(DeviceInfo {
            name: processor_name(),
            backend: "cpu".into(),
            kind: "Cpu".into(),
            driver: format!("{} threads", rayon::current_num_threads()),
        }))
    }

    /// The best hardware GPU, or where there is none that opens, the CPU backend; [`Device::info`] says which.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn auto() -> Self {
        pollster::block_on(Self::auto_async())
    }

    /// As [`Device::auto`], without blocking.
    pub async fn auto_async() -> Self {
        match GpuDevice::open(|a| a.device_type != wgpu::DeviceType::Cpu).await {
            Ok(Some(gpu)) => Device(Kind::Gpu(gpu)),
            Ok(None) => Self::cpu(),
            Err(e) => {
                tracing::warn!("{e}; using the CPU backend");
                Self::cpu()
            }
        }
    }

    /// The best adapter, which is a software one where there is no other.
    ///
    /// # Errors
    /// [`Error::NoDevice`] where there is none, [`Error::Device`] where it does not open.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn gpu() -> Result<Self> {
        pollster::block_on(Self::gpu_async())
    }

    /// As [`Device::gpu`], without blocking.
    ///
    /// # Errors
    /// As [`Device::gpu`].
    pub async fn gpu_async() -> Result<Self> {
        match GpuDevice::open(|_| true).await? {
            Some(gpu) => Ok(Device(Kind::Gpu(gpu))),
            None => Err(Self::none("gpu").await),
        }
    }

    /// `auto`, `cpu`, `gpu`, or the best adapter whose name contains this text, in any case.
    ///
    /// # Errors
    /// [`Error::NoDevice`] listing what there is, [`Error::Device`] where it does not open.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn named(name: &str) -> Result<Self> {
        pollster::block_on(Self::named_async(name))
    }

    /// As [`Device::named`], without blocking.
    ///
    /// # Errors
    /// As [`Device::named`].
    pub async fn named_async(name: &str) -> Result<Self> {
        match name {
            "auto" => return Ok(Self::auto_async().await),
            "cpu" => return Ok(Self::cpu()),
            "gpu" => return Self::gpu_async().await,
            _ => {}
        }
        let wanted = name.to_lowercase();
        let matches = |a: &wgpu::AdapterInfo| !wanted.is_empty() && a.name.to_lowercase().contains(&wanted);
        match GpuDevice::open(matches).await? {
            Some(gpu) => Ok(Device(Kind::Gpu(gpu))),
            None => Err(Self::none(name).await),
        }
    }

    async fn none(asked: &str) -> Error {
        let available = Self::list_async().await.into_iter().map(|d| d.name).collect();
        Error::NoDevice { asked: asked.into(), available }
    }

    /// Over the caller's own device and queue. Networks then share them, and the device's limits bind.
    ///
    /// The device's lost-callback is replaced; a lost device is reported by the next run.
    pub fn from_wgpu(device: wgpu::Device, queue: wgpu::Queue) -> Self {
        Device(Kind::Gpu(GpuDevice::new(device, queue)))
    }

    /// All devices of this machine, best first; the CPU backend is the last.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn list() -> Vec<DeviceInfo> {
        pollster::block_on(Self::list_async())
    }

    /// As [`Device::list`], without blocking.
    pub async fn list_async() -> Vec<DeviceInfo> {
        let mut devices = GpuDevice::list().await;
        devices.push(Self::cpu().info().clone());
        devices
    }

    /// What the device is.
    pub fn info(&self) -> &DeviceInfo {
        match &self.0 {
            Kind::Cpu(info) => info,
            Kind::Gpu(gpu) => gpu.info(),
        }
    }

    /// Whether this is the CPU backend.
    pub fn is_cpu(&self) -> bool {
        matches!(self.0, Kind::Cpu(_))
    }

    /// The wgpu side of the device; `None` for the CPU backend.
    pub fn as_gpu(&self) -> Option<&GpuDevice> {
        match &self.0 {
            Kind::Cpu(_) => None,
            Kind::Gpu(gpu) => Some(gpu),
        }
    }

    /// Compiles a network for this device: kernels chosen, pipelines compiled, weights uploaded, memory planned.
    ///
    /// # Errors
    /// [`Error::TooLarge`] and [`Error::OutOfMemory`] where the device is too small for it, [`Error::Graph`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn compile(&self, graph: &Graph) -> Result<Plan> {
        self.compile_with(graph, &PlanOptions::default())
    }

    /// As [`Device::compile`], with options.
    ///
    /// # Errors
    /// As [`Device::compile`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn compile_with(&self, graph: &Graph, options: &PlanOptions) -> Result<Plan> {
        pollster::block_on(self.compile_async(graph, options))
    }

    /// As [`Device::compile_with`], without blocking on the device.
    ///
    /// # Errors
    /// As [`Device::compile`].
    pub async fn compile_async(&self, graph: &Graph, options: &PlanOptions) -> Result<Plan> {
        self.compile_sharing(graph, options, &Folded::default()).await
    }

    /// Compiles a graph some of whose outputs are inputs of its next run: `(output, input)` numbers, whose values stay on
    /// the device and start as `state`, in the same order.
    ///
    /// # Errors
    /// As [`Device::compile`]; [`crate::Error::Graph`] where an output cannot be carried to its input,
    /// [`crate::Error::Input`] where `state` does not fit.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn compile_stepper(
        &self,
        graph: &Graph,
        options: &PlanOptions,
        carried: &[(usize, usize)],
        state: &[Tensor],
    ) -> Result<Stepper> {
        pollster::block_on(self.compile_stepper_async(graph, options, carried, state))
    }

    /// As [`Device::compile_stepper`], without blocking on the device.
    ///
    /// # Errors
    /// As [`Device::compile_stepper`].
    pub async fn compile_stepper_async(
        &self,
        graph: &Graph,
        options: &PlanOptions,
        carried: &[(usize, usize)],
        state: &[Tensor],
    ) -> Result<Stepper> {
        Stepper::compile(self.as_gpu(), graph, options, carried, state).await
    }

    /// As [`Device::compile_async`], sharing folded weights with the other plans compiled with the same `folded`.
    pub(crate) async fn compile_sharing(
        &self,
        graph: &Graph,
        options: &PlanOptions,
        folded: &Folded,
    ) -> Result<Plan> {
        match &self.0 {
            Kind::Cpu(_) => Plan::cpu_sharing(graph, options, folded),
            Kind::Gpu(gpu) => Plan::gpu(gpu, graph, options, folded).await,
        }
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Device({})", self.info())
    }
}

/// The processor's marketing name where the system tells it, else the architecture's.
fn processor_name() -> String {
    std::fs::read_to_string("/proc/cpuinfo")
        .ok()
        .and_then(|text| {
            let line = text.lines().find(|l| l.starts_with("model name"))?;
            Some(line.split_once(':')?.1.trim().to_string())
        })
        .unwrap_or_else(|| format!("{} processor", std::env::consts::ARCH))
}
