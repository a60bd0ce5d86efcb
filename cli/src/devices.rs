//! `wgpu-cnn devices`: where networks can run on this machine.

use std::process::ExitCode;

use anyhow::Result;
use serde::Serialize;
use wgpu_cnn::{Device, DeviceInfo, DeviceOptions};

use crate::output::{self, Column};

/// List the devices of this machine, best first
#[derive(clap::Args)]
pub struct Args {
    /// Print one JSON object per device instead
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Line<'a> {
    name: &'a str,
    backend: &'a str,
    kind: &'a str,
    driver: &'a str,
}

/// The device of this name, with the user's cache of compiled pipelines and measured kernels (`WGPU_CNN_CACHE`).
pub fn open(name: &str) -> wgpu_cnn::Result<Device> {
    Device::open(name, &DeviceOptions::user_cached())
}

/// What a device is, in words: a software adapter is never taken for a GPU.
pub fn kind(info: &DeviceInfo) -> &str {
    match (info.backend.as_str(), info.kind.as_str()) {
        ("cpu", _) => "CPU backend",
        (_, "Cpu") => "software adapter",
        (_, "DiscreteGpu") => "discrete GPU",
        (_, "IntegratedGpu") => "integrated GPU",
        (_, "VirtualGpu") => "virtual GPU",
        _ => "GPU",
    }
}

/// A device's name, kind and driver.
pub fn describe(info: &DeviceInfo) -> String {
    match info.backend.as_str() {
        "cpu" => format!("{} ({}, {})", info.name, kind(info), info.driver),
        backend => format!("{} ({}, {backend}, {})", info.name, kind(info), info.driver),
    }
}

/// Prints the devices.
pub fn devices(args: &Args) -> Result<ExitCode> {
    let devices = Device::list();
    if args.json {
        for DeviceInfo { name, backend, kind, driver } in &devices {
            output::json_line(&Line { name, backend, kind, driver })?;
        }
    } else {
        let header = ["device", "kind", "backend", "driver"].map(|title| (title, Column::Left));
        let row = |d: &DeviceInfo| vec![d.name.clone(), kind(d).into(), d.backend.clone(), d.driver.clone()];
        let rows: Vec<_> = devices.iter().map(row).collect();
        output::line(&output::table(&header, &rows))?;
    }
    Ok(ExitCode::SUCCESS)
}
