//! LeNet-5, one image at a time and many at once.

mod support;

use wgpu_cnn::{Result, zoo};

fn main() -> Result<()> {
    let devices = support::devices();
    let lenet = zoo::lenet5()?;
    let mut criterion = support::criterion();
    let mut group = criterion.benchmark_group("lenet5");
    for batch in [1, 64] {
        support::measure(&mut group, &devices, &format!("batch {batch}"), &lenet.with_batch(batch)?);
    }
    group.finish();
    criterion.final_summary();
    Ok(())
}
