//! Every kernel, in every specialisation, is valid WGSL within what any WebGPU device guarantees, and translates to
//! SPIR-V, MSL and HLSL. No GPU is needed.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use naga::back::{hlsl, msl, spv};
use naga::valid::{Capabilities, ValidationFlags, Validator};
use naga::{AddressSpace, ImageClass, ShaderStage, TypeInner};
use wgpu_cnn::gpu::{Kernel, variants};

/// The limits of a WebGPU device that was asked for none in particular.
const INVOCATIONS: u32 = 256;
const WORKGROUP_BYTES: u32 = 16 << 10;
const STORAGE_BUFFERS: usize = 8;
const STORAGE_TEXTURES: usize = 4;

/// What stands in the way of running a kernel on some device.
fn check(wgsl: &str, bindings: usize, subgroups: bool) -> Result<(), String> {
    let module = naga::front::wgsl::parse_str(wgsl).map_err(|e| e.emit_to_string(wgsl))?;
    // Asked of the device before such a kernel is chosen.
    let capabilities = if subgroups { Capabilities::SUBGROUP } else { Capabilities::empty() };
    let info = Validator::new(ValidationFlags::all(), capabilities)
        .validate(&module)
        .map_err(|e| e.emit_to_string(wgsl))?;

    let [entry] = module.entry_points.as_slice() else {
        return Err(format!("{} entry points", module.entry_points.len()));
    };
    if (entry.name.as_str(), entry.stage) != ("main", ShaderStage::Compute) {
        return Err(format!("the entry point is '{}' of stage {:?}", entry.name, entry.stage));
    }
    let invocations: u32 = entry.workgroup_size.iter().product();
    if invocations > INVOCATIONS {
        return Err(format!("{invocations} invocations in a workgroup"));
    }
    let in_space = |space| module.global_variables.iter().filter(move |(_, v)| v.space == space);
    let bytes: u32 =
        in_space(AddressSpace::WorkGroup).map(|(_, v)| module.types[v.ty].inner.size(module.to_ctx())).sum();
    if bytes > WORKGROUP_BYTES {
        return Err(format!("{bytes} bytes of workgroup memory"));
    }
    let globals = || module.global_variables.iter().map(|(_, v)| (v.space, &module.types[v.ty].inner));
    let storage = globals().filter(|(space, _)| matches!(space, AddressSpace::Storage { .. })).count();
    let (mut textures, mut written) = (0, 0);
    for (_, inner) in globals() {
        if let TypeInner::Image { class, .. } = inner {
            textures += 1;
            written += usize::from(matches!(class, ImageClass::Storage { .. }));
        }
    }
    if storage > STORAGE_BUFFERS || written > STORAGE_TEXTURES {
        return Err(format!("{storage} storage buffers and {written} storage textures"));
    }
    if storage + textures != bindings {
        return Err(format!("{storage} storage buffers and {textures} textures, said to be {bindings}"));
    }

    let options = spv::PipelineOptions { shader_stage: ShaderStage::Compute, entry_point: "main".into() };
    spv::write_vec(&module, &info, &spv::Options::default(), Some(&options))
        .map_err(|e| format!("SPIR-V: {e}"))?;
    msl::write_string(&module, &info, &msl::Options::default(), &msl::PipelineOptions::default())
        .map_err(|e| format!("MSL: {e}"))?;
    let mut text = String::new();
    hlsl::Writer::new(&mut text, &hlsl::Options::default(), &hlsl::PipelineOptions::default())
        .write(&module, &info, None)
        .map_err(|e| format!("HLSL: {e}"))?;
    Ok(())
}

/// All WGSL files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "wgsl") {
            found.push(path);
        }
    }
    found
}

/// Every kernel, those of the same source once.
fn kernels() -> Vec<(&'static str, Kernel)> {
    let mut seen = HashSet::new();
    variants().into_iter().filter(|(_, kernel)| seen.insert(kernel.source().to_string())).collect()
}

#[test]
fn every_kernel_is_valid_and_translates() {
    let kernels = kernels();
    let failures: Vec<_> = kernels
        .iter()
        .filter_map(|(op, kernel)| {
            let problem =
                check(kernel.source(), kernel.reads() + kernel.writes(), kernel.needs_subgroups()).err()?;
            Some(format!("{op}, kernel '{}': {problem}", kernel.name()))
        })
        .collect();
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), kernels.len(), failures.join("\n"));
    assert!(kernels.len() > 100, "only {} kernels", kernels.len());
}

/// A dispatch that reads and writes parts of one buffer declares both writable. Software adapters' never do.
#[test]
fn every_kernel_over_buffers_may_write_what_it_reads() {
    let failure = |(op, kernel): &(&str, Kernel)| {
        let reads: Vec<_> = (0..kernel.reads()).collect();
        let writable = kernel.clone().writable(&reads);
        let read_only: Vec<_> = reads.into_iter().filter(|&read| !writable.is_writable(read)).collect();
        let problem = if read_only.is_empty() && !writable.source().contains("var<storage, read>") {
            check(writable.source(), kernel.reads() + kernel.writes(), kernel.needs_subgroups()).err()
        } else {
            Some(format!("{read_only:?} stay read-only"))
        };
        problem.map(|problem| format!("{op}, kernel '{}': {problem}", kernel.name()))
    };
    let kernels: Vec<_> = kernels().into_iter().filter(|(_, k)| !k.name().starts_with("image")).collect();
    let failures: Vec<_> = kernels.iter().filter_map(failure).collect();
    assert!(failures.is_empty(), "{}:\n{}", failures.len(), failures.join("\n"));
    assert!(kernels.len() > 100, "only {} kernels", kernels.len());
}

#[test]
fn every_file_is_part_of_a_kernel() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders");
    let kernels = kernels();
    let files = files(&folder);
    assert!(!files.is_empty());
    let unused: Vec<_> = files
        .iter()
        .filter(|path| {
            let text = std::fs::read_to_string(path).expect("a readable file");
            !kernels.iter().any(|(_, kernel)| kernel.source().contains(&text))
        })
        .collect();
    assert!(unused.is_empty(), "no kernel is made of {unused:?}");
}

#[test]
fn every_operator_has_a_kernel() {
    let have: HashSet<_> = variants().into_iter().map(|(op, _)| op).collect();
    let lacking: Vec<_> = wgpu_cnn::ops::Op::NAMES.iter().filter(|name| !have.contains(*name)).collect();
    assert!(lacking.is_empty(), "{lacking:?}");
}

#[test]
fn a_bad_kernel_is_seen() {
    let good = "
        @group(0) @binding(0) var<storage, read_write> output: array<f32>;
        var<workgroup> shared_sums: array<f32, 64>;
        @compute @workgroup_size(64)
        fn main(@builtin(local_invocation_index) i: u32) {
            shared_sums[i] = f32(i);
            workgroupBarrier();
            output[i] = shared_sums[63u - i];
        }";
    check(good, 1, false).unwrap();
    let bad = [
        ("f32(i)", "i"),
        ("fn main", "fn other"),
        ("f32>", "f64>"),
        ("workgroup_size(64)", "workgroup_size(257)"),
        ("f32, 64>", "f32, 4097>"),
        ("output[i] =", "output[i] = subgroupAdd(1.0) +"),
    ];
    for (from, to) in bad {
        let wgsl = good.replace(from, to);
        assert_ne!(wgsl, good);
        assert!(check(&wgsl, 1, false).is_err(), "{wgsl}");
    }
    assert!(check(good, 2, false).is_err());
}
