//! Where networks run: a GPU, or the CPU backend.

use std::fmt;
use std::path::{Path, PathBuf};

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

/// How a device is opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceOptions {
    /// The folder in which to keep, for the next process, pipelines in the form that the driver compiled them to (where it
    /// gives them out), and what [`Tuning::Measured`](crate::plan::Tuning::Measured) found. `None`, the default: nothing
    /// is read or written.
    ///
    /// Processes may share a folder; what it holds is by adapter, driver and version of this crate, and what is damaged is
    /// ignored with a warning. Drivers run the compiled pipelines, so nobody should be able to write there who could not
    /// change the program itself.
    pub cache: Option<PathBuf>,
}

impl DeviceOptions {
    /// With a cache in this folder.
    pub fn cached(folder: impl Into<PathBuf>) -> Self {
        DeviceOptions { cache: Some(folder.into()) }
    }

    /// With a cache in the user's own cache folder: `wgpu-cnn` in `$XDG_CACHE_HOME` or `~/.cache`, on macOS in
    /// `~/Library/Caches`, on Windows in `%LOCALAPPDATA%`. The environment variable `WGPU_CNN_CACHE` names another folder,
    /// or `off`: no cache. Where the system has no such folder there is none either.
    pub fn user_cached() -> Self {
        DeviceOptions { cache: user_cache(|name| std::env::var_os(name).map(PathBuf::from)) }
    }
}

/// The user's cache folder for this crate, by the environment.
fn user_cache(environment: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    let folder = |name| environment(name).filter(|folder| folder.is_absolute());
    let parent = match environment("WGPU_CNN_CACHE") {
        Some(asked) if asked == Path::new("off") => return None,
        Some(asked) if asked != Path::new("") => return Some(asked),
        _ if cfg!(windows) => folder("LOCALAPPDATA"),
        _ if cfg!(target_os = "macos") => folder("HOME").map(|home| home.join("Library/Caches")),
        _ => folder("XDG_CACHE_HOME").or_else(|| folder("HOME").map(|home| home.join(".cache"))),
    };
    parent.map(|parent| parent.join("wgpu-cnn"))
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
        Self::auto_with(&DeviceOptions::default()).await
    }

    async fn auto_with(options: &DeviceOptions) -> Self {
        match GpuDevice::open(|a| a.device_type != wgpu::DeviceType::Cpu, options).await {
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
        Self::named_async("gpu").await
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
        Self::open_async(name, &DeviceOptions::default()).await
    }

    /// As [`Device::named`], with options.
    ///
    /// # Errors
    /// As [`Device::named`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn open(name: &str, options: &DeviceOptions) -> Result<Self> {
        pollster::block_on(Self::open_async(name, options))
    }

    /// As [`Device::open`], without blocking.
    ///
    /// # Errors
    /// As [`Device::named`].
    pub async fn open_async(name: &str, options: &DeviceOptions) -> Result<Self> {
        match name {
            "auto" => return Ok(Self::auto_with(options).await),
            "cpu" => return Ok(Self::cpu()),
            _ => {}
        }
        let wanted = name.to_lowercase();
        let matches = |a: &wgpu::AdapterInfo| {
            name == "gpu" || (!wanted.is_empty() && a.name.to_lowercase().contains(&wanted))
        };
        match GpuDevice::open(matches, options).await? {
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
        Self::from_wgpu_with(device, queue, &DeviceOptions::default())
    }

    /// As [`Device::from_wgpu`], with options. Pipelines are kept only where the device has wgpu's feature
    /// `PIPELINE_CACHE`.
    pub fn from_wgpu_with(device: wgpu::Device, queue: wgpu::Queue, options: &DeviceOptions) -> Self {
        Device(Kind::Gpu(GpuDevice::new(device, queue, options)))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_names_the_cache() {
        let with = |variables: &[(&str, &str)]| {
            user_cache(|name| {
                let (_, value) = variables.iter().find(|(known, _)| *known == name)?;
                Some(PathBuf::from(value))
            })
        };
        assert_eq!(with(&[]), None);
        assert_eq!(with(&[("WGPU_CNN_CACHE", "here")]), Some("here".into()));
        let home = if cfg!(windows) { ("LOCALAPPDATA", "C:\\home") } else { ("HOME", "/home") };
        assert!(with(&[home]).is_some_and(|folder| folder.ends_with("wgpu-cnn")));
        assert!(with(&[home, ("WGPU_CNN_CACHE", "")]).is_some());
        assert_eq!(with(&[home, ("WGPU_CNN_CACHE", "off")]), None);
        if cfg!(all(unix, not(target_os = "macos"))) {
            assert_eq!(with(&[home]), Some("/home/.cache/wgpu-cnn".into()));
            assert_eq!(with(&[home, ("XDG_CACHE_HOME", "/cache")]), Some("/cache/wgpu-cnn".into()));
            // As its specification asks, a relative path is ignored.
            assert_eq!(with(&[home, ("XDG_CACHE_HOME", "cache")]), Some("/home/.cache/wgpu-cnn".into()));
        }
    }
}
