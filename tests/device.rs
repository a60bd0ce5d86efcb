//! Choosing a device: what there is, what a name means, and what `auto` takes.

use wgpu_cnn::{Device, DeviceInfo, Error, Plan, Tensor};

const NO_GPU: &str = "the tests need a GPU adapter; `cargo xtask test` installs a software one";

fn gpu() -> Device {
    Device::gpu().expect(NO_GPU)
}

#[test]
fn the_list_ends_with_the_cpu_backend() {
    let devices = Device::list();
    let (last, adapters) = devices.split_last().expect("the CPU backend is always there");
    assert_eq!(last, Device::cpu().info());
    assert!(!adapters.is_empty(), "{NO_GPU}");
    assert!(adapters.iter().all(|d| d.backend != "cpu" && !d.name.is_empty()), "{adapters:?}");
    assert_eq!(&adapters[0], gpu().info());
}

#[test]
fn hardware_stands_before_software() {
    let devices = Device::list();
    let software: Vec<_> = devices.iter().map(|d| d.kind == "Cpu").collect();
    assert!(software.is_sorted(), "{devices:?}");
}

#[test]
fn a_name_means_a_device() {
    assert!(Device::named("cpu").unwrap().is_cpu());
    let gpu = gpu();
    assert!(!gpu.is_cpu() && gpu.as_gpu().is_some());
    assert_eq!(Device::named("gpu").unwrap().info(), gpu.info());
    assert_eq!(Device::named("auto").unwrap().info(), Device::auto().info());

    // The adapter's own name, a part of it, and that in other letters.
    let name = &gpu.info().name;
    let part: String = name.chars().skip(1).collect();
    for asked in [name.clone(), part, name.to_uppercase(), name.to_lowercase()] {
        assert_eq!(Device::named(&asked).unwrap().info(), gpu.info(), "{asked}");
    }
}

#[test]
fn an_unknown_name_is_answered_with_what_there_is() {
    for name in ["no such device", ""] {
        let error = Device::named(name).unwrap_err();
        let text = error.to_string();
        let Error::NoDevice { asked, available } = error else { panic!("{text}") };
        assert_eq!(asked, name);
        let names: Vec<_> = Device::list().into_iter().map(|d| d.name).collect();
        assert_eq!(available, names);
        assert!(names.iter().all(|n| text.contains(n)), "{text}");
    }
}

#[test]
fn auto_takes_hardware_or_the_cpu_backend() {
    let auto = Device::auto();
    if let Some(gpu) = auto.as_gpu() {
        assert!(!gpu.is_software(), "{auto:?}");
    }
    let hardware = Device::list().into_iter().any(|d| d.kind != "Cpu");
    assert!(auto.is_cpu() || hardware, "{auto:?}");
}

#[test]
fn software_is_called_so() {
    let gpu = gpu();
    assert_eq!(gpu.as_gpu().unwrap().is_software(), gpu.info().kind == "Cpu");
    assert!(Device::cpu().as_gpu().is_none());
}

#[test]
fn what_ran_can_be_said() {
    for device in [gpu(), Device::cpu()] {
        let DeviceInfo { name, backend, kind, .. } = device.info();
        let text = device.info().to_string();
        for part in [name, backend, kind] {
            assert!(!part.is_empty() && text.contains(part.as_str()), "{text}");
        }
    }
}

#[test]
fn devices_and_plans_go_to_other_threads() {
    fn is_send_and_sync<T: Send + Sync>() {}
    fn is_send<T: Send>(_: &T) {}
    is_send_and_sync::<Device>();
    is_send_and_sync::<Plan>();
    is_send_and_sync::<Tensor>();
    is_send_and_sync::<Error>();
    // And so do the futures, for executors that move tasks between threads.
    let device = Device::cpu();
    let graph = wgpu_cnn::zoo::lenet5().unwrap();
    let options = Default::default();
    is_send(&device.compile_async(&graph, &options));
    let plan = device.compile(&graph).unwrap();
    is_send(&plan.run_async(&[]));
    is_send(&Device::named_async("gpu"));
}
