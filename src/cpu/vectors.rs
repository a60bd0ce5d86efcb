//! The vectors that loops are compiled for: every width in one program, of which each run takes the processor's widest.

use pulp::Arch;

/// The widest vectors of this processor.
#[inline(always)]
pub(super) fn arch() -> Arch {
    #[cfg(test)]
    if let Some(arch) = tests::CHOSEN.get() {
        return arch;
    }
    Arch::new()
}

/// Runs a loop compiled for the widest vectors that this processor has. What the loop calls must be inlined for that.
#[inline(always)]
pub(crate) fn vectorised<R>(work: impl FnOnce() -> R) -> R {
    arch().dispatch(work)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::cpu::plan::CpuPlan;
    use crate::graph::Graph;
    use crate::graph::passes::{Passes, optimize};
    use crate::network::{Conv2d, Network, Pool2d};
    use crate::plan::PlanOptions;
    use crate::tensor::Tensor;

    thread_local! {
        /// The vectors that a test wants on its thread.
        pub static CHOSEN: Cell<Option<Arch>> = const { Cell::new(None) };
    }

    /// The processor's vectors and all that are narrower.
    fn widths() -> Vec<Arch> {
        let mut widths = vec![Arch::Scalar, Arch::new()];
        #[cfg(target_arch = "x86_64")]
        widths.extend(pulp::x86::V3::try_new().map(Arch::V3));
        widths
    }

    /// What a network computes of this picture, with these vectors and on one thread.
    fn run(graph: &Graph, image: &Tensor, arch: Arch) -> (Vec<String>, Vec<f32>) {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        pool.install(|| {
            CHOSEN.set(Some(arch));
            let plan = CpuPlan::compile(graph, &PlanOptions::default()).unwrap();
            let outputs = plan.run(std::slice::from_ref(image)).unwrap();
            (plan.kernels().map(Into::into).collect(), outputs[0].values().unwrap().to_vec())
        })
    }

    /// The widest ones are held against the oracle by `tests/ops`, on the processor that runs the tests; narrower ones,
    /// which other processors take, agree with them.
    #[test]
    fn all_widths_compute_the_same() {
        let same = |filters, kernel| Conv2d::new(filters, kernel).padding(kernel / 2);
        let conv = |net: Network| {
            net.conv2d(Conv2d::new(20, 7).stride(2).padding(3)).relu().max_pool(Pool2d::new(3).stride(2))
        };
        let networks: [(&str, Network); 4] = [
            ("stem", conv(Network::new("stem", [3, 61, 45])).conv2d(Conv2d::new(33, 3).dilation(2)).tanh()),
            (
                "winograd",
                Network::new("winograd", [1, 40, 43])
                    .conv2d(same(32, 5))
                    .conv2d(same(48, 3))
                    .add(&|net| net.conv2d(same(48, 3)), &|net| net)
                    .relu()
                    .average_pool(Pool2d::new(2)),
            ),
            (
                "depthwise",
                Network::new("depthwise", [3, 33, 35])
                    .conv2d(same(40, 3).stride(2))
                    .conv2d(same(40, 3).groups(40))
                    .activation(crate::ops::Activation::Clip { min: 0.0, max: 6.0 })
                    .conv2d(same(40, 5).groups(40).stride(2))
                    .conv2d(Conv2d::new(72, 1))
                    .global_average_pool(),
            ),
            (
                "linear",
                Network::new("linear", [5, 12, 11]).conv2d(Conv2d::new(16, 3)).flatten().linear(37).softmax(),
            ),
        ];
        let mut seen = Vec::new();
        for (name, network) in networks {
            let graph = optimize(&network.build().unwrap(), &Passes::default()).unwrap();
            let shape = graph.value(graph.inputs()[0]).info.shape.to_vec();
            let values = (0..shape.iter().product::<usize>()).map(|i| (i as f32 * 0.37).sin()).collect();
            let image = Tensor::new(shape, values).unwrap();
            let (kernels, expected) = run(&graph, &image, Arch::new());
            for arch in widths() {
                let (_, outputs) = run(&graph, &image, arch);
                let largest = expected.iter().fold(0.0_f32, |largest, v| largest.max(v.abs()));
                for (i, (a, b)) in outputs.iter().zip(&expected).enumerate() {
                    assert!((a - b).abs() <= 1e-5 * largest, "{name}, {arch:?}, output {i}: {a} and {b}");
                }
                assert_eq!(outputs.len(), expected.len());
            }
            seen.extend(kernels);
        }
        for kernel in ["conv_blocked", "conv_winograd", "conv_depthwise", "pool", "reduce", "gemm"] {
            assert!(seen.iter().any(|name| name == kernel), "no {kernel} among {seen:?}");
        }
    }
}
