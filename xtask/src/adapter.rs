//! The adapter that the tests need: found, or installed where that can be done without asking.

use std::env::consts::EXE_SUFFIX;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::step::{self, command};

/// Makes sure the library finds a Vulkan, Metal or DX12 adapter, software ones included. On Linux
/// with apt-get and the right to use it, a missing one is installed; an error says in one line
/// what to install by hand. The command line must have been built.
pub fn ensure() -> Result<()> {
    if found()? {
        return Ok(());
    }
    if let Some(sudo) = administrator() {
        install(sudo).context(ADVICE)?;
        if found()? {
            return Ok(());
        }
    }
    bail!(ADVICE)
}

const ADVICE: &str = if cfg!(target_os = "macos") {
    "no Metal adapter: run on macOS 11 or later, on a Mac or in a virtual machine that passes its GPU on"
} else if cfg!(windows) {
    "no DX12 or Vulkan adapter: install the GPU vendor's driver, or use Windows 10 or later, which has a software one"
} else {
    "no Vulkan adapter: install the GPU vendor's Vulkan driver or Mesa's software one \
     (Debian, Ubuntu, Fedora: mesa-vulkan-drivers; Arch: vulkan-swrast)"
};

/// Asks `wgpu-cnn devices`, which cargo puts beside this program.
fn found() -> Result<bool> {
    let program = std::env::current_exe()?.with_file_name(format!("wgpu-cnn{EXE_SUFFIX}"));
    let devices = step::output(Command::new(program).args(["devices", "--json"]))?;
    let mut any = false;
    for line in devices.lines() {
        if let Some(name) = adapter(line)? {
            eprintln!("found {name}");
            any = true;
        }
    }
    Ok(any)
}

/// The name and backend on one line of `wgpu-cnn devices --json`, unless it is the CPU backend's.
fn adapter(line: &str) -> Result<Option<String>> {
    let device: serde_json::Value =
        serde_json::from_str(line).with_context(|| format!("not a device: {line}"))?;
    let backend = device["backend"].as_str().unwrap_or_default();
    let gpu = ["Vulkan", "Metal", "Dx12"].contains(&backend);
    let name = device["name"].as_str().unwrap_or_default();
    Ok(gpu.then(|| format!("{name}, {backend}")))
}

/// What to put before an apt-get command, or `None` where we may not or cannot install.
fn administrator() -> Option<&'static str> {
    let succeeds = |line| {
        let quiet = command(line).stdout(Stdio::null()).stderr(Stdio::null()).status();
        quiet.is_ok_and(|status| status.success())
    };
    if !cfg!(target_os = "linux") || !succeeds("apt-get --version") {
        return None;
    }
    let user = command("id -u").output().ok()?;
    if user.stdout.trim_ascii() == b"0" { Some("") } else { succeeds("sudo -n true").then_some("sudo -n ") }
}

fn install(sudo: &str) -> Result<()> {
    let apt = format!("{sudo}env DEBIAN_FRONTEND=noninteractive apt-get");
    step::run(&mut command(&format!("{apt} update")))?;
    step::run(&mut command(&format!("{apt} install --yes --no-install-recommends mesa-vulkan-drivers")))
}

#[cfg(test)]
mod tests {
    use super::adapter;

    #[test]
    fn the_cpu_backend_is_no_adapter() {
        let line = r#"{"name": "CPU", "backend": "cpu", "kind": "Cpu"}"#;
        assert_eq!(adapter(line).unwrap(), None);
    }

    #[test]
    fn a_software_adapter_is_one() {
        let line = r#"{"name": "llvmpipe", "backend": "Vulkan", "kind": "Cpu"}"#;
        assert_eq!(adapter(line).unwrap().unwrap(), "llvmpipe, Vulkan");
    }

    #[test]
    fn other_output_is_an_error() {
        assert!(adapter("no devices").is_err());
    }
}
