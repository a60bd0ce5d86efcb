//! Convolutions of the shapes that networks are made of.

mod support;

use wgpu_cnn::{Conv2d, Network, Result};

fn main() -> Result<()> {
    let devices = support::devices();
    let cases = [
        ("3x3, 64 to 64 over 56x56", [64, 56, 56], Conv2d::new(64, 3).padding(1)),
        ("1x1, 256 to 64 over 56x56", [256, 56, 56], Conv2d::new(64, 1)),
        ("depthwise 3x3, 128 over 56x56", [128, 56, 56], Conv2d::new(128, 3).padding(1).groups(128)),
        ("7x7 stride 2, 3 to 64 over 224x224", [3, 224, 224], Conv2d::new(64, 7).stride(2).padding(3)),
    ];
    let mut criterion = support::criterion();
    let mut group = criterion.benchmark_group("conv2d");
    for (case, image, conv) in cases {
        support::measure(&mut group, &devices, case, &Network::new("conv", image).conv2d(conv).build()?);
    }
    group.finish();
    criterion.final_summary();
    Ok(())
}
