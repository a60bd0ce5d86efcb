//! Pools that a convolution computes along with its sums, where nothing else reads its outputs.

use super::conv::{LOAD, STORE};
use super::{FLOAT, Layout, row_axis};
use crate::gpu::kernel::Kernel;
use crate::gpu::operands::Choice;
use crate::gpu::recording::Recording;
use crate::graph::{Graph, ValueId};
use crate::ops::{Op, Pool, PoolKind};
use crate::window::Axis;

/// The windows of a pool that lie side by side from the first pixel on, without padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Windows {
    pub max: bool,
    pub height: usize,
    pub width: usize,
}

/// A pool that alone reads a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pooled {
    pub(super) windows: Windows,
    /// Its output, by its index.
    pub value: usize,
    pub layout: Layout,
}

impl Windows {
    /// Wider windows than this would leave little room for the sums of several.
    const WIDEST: usize = 3;

    /// Those of this pool; none where it has other windows.
    fn of(op: &Pool, axes: &[Axis]) -> Option<Self> {
        let max = match op.kind {
            PoolKind::Max => true,
            PoolKind::Average { .. } => false,
            _ => return None,
        };
        let (vertical, horizontal) = match axes {
            [x] => (row_axis(), *x),
            [y, x] => (*y, *x),
            _ => return None,
        };
        let beside = |a: &Axis| {
            let padded = a.before > 0 || a.after > 0;
            a.kernel == a.stride && a.dilation == 1 && !padded && a.output * a.kernel <= a.input
        };
        let suits = [&vertical, &horizontal].into_iter().all(|a| beside(a) && a.kernel <= Self::WIDEST);
        let (height, width) = (vertical.kernel, horizontal.kernel);
        (suits && op.indices.is_none()).then_some(Windows { max, height, width })
    }

    pub fn specialise(self, kernel: Kernel) -> Kernel {
        kernel
            .with(include_str!("../../../shaders/shared/image_window.wgsl"))
            .with(FLOAT)
            .flag("MAX", self.max)
            .constant("WINDOW_Y", self.height)
            .constant("WINDOW_X", self.width)
    }
}

impl Pooled {
    /// What the pool costs as a kernel of its own, in the unit of [`super::conv::Sizes::cost`].
    pub fn cost(&self) -> usize {
        /// One more dispatch.
        const DISPATCH: usize = 50_000;
        let Windows { height, width, .. } = self.windows;
        self.layout.texels().div_ceil(8) * (height * width * LOAD + STORE) + DISPATCH
    }
}

/// For each value the pool that alone reads it, where a convolution computes it and may compute the pool as well: none
/// where another kernel was chosen for one of the two.
pub(in crate::gpu) fn pools(graph: &Graph, choices: &[Choice], recording: &Recording) -> Vec<Option<Pooled>> {
    let mut pools = vec![None; graph.values().len()];
    if !recording.software {
        return pools;
    }
    let uses = graph.uses();
    let by_rule = |node: usize| choices.get(node).copied().flatten().is_none();
    let mut convolved = vec![false; graph.values().len()];
    for (_, node) in graph.nodes().iter().enumerate().filter(|(i, _)| by_rule(*i)) {
        let output = node.outputs[0];
        match &node.op {
            Op::Conv(_) => convolved[output.index()] = true,
            Op::Pool(op) => {
                let only_reader = |id: &ValueId| convolved[id.index()] && uses[id.index()] == 1;
                let Some(input) = node.inputs[0].filter(only_reader) else { continue };
                let dims = &graph.value(output).info.shape;
                let axes = op.axes(&graph.value(input).info.shape).ok();
                let windows = axes.and_then(|axes| Windows::of(op, &axes));
                if let (Some(windows), Some(layout)) = (windows, Layout::of(dims)) {
                    pools[input.index()] = Some(Pooled { windows, value: output.index(), layout });
                }
            }
            _ => {}
        }
    }
    pools
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;
    use crate::gpu::image::tests::kernels;
    use crate::network::{Conv2d, Network, Pool2d};
    use crate::ops::pool::IndexOrder;
    use crate::plan::PlanOptions;
    use crate::window::Window;
    use crate::zoo;

    fn windows(op: &Pool, input: &[usize]) -> Option<(usize, usize)> {
        let axes = op.window.resolve(input).expect("a window that suits the input");
        Windows::of(op, &axes).map(|windows| (windows.height, windows.width))
    }

    #[test]
    fn windows_side_by_side() {
        let pool = |kind, window: Window| Pool::new(kind, window);
        let max = |window| pool(PoolKind::Max, window);
        let two = || Window::new([2, 2]).stride(2);
        let mean = |count_include_pad| pool(PoolKind::Average { count_include_pad }, two());
        assert_eq!(windows(&max(two()), &[7, 8]), Some((2, 2)));
        assert_eq!(windows(&mean(false), &[7, 8]), Some((2, 2)));
        assert_eq!(windows(&mean(true), &[7, 8]), Some((2, 2)));
        assert_eq!(windows(&max(Window::new([3]).stride(3)), &[8]), Some((1, 3)));
        assert_eq!(windows(&max(Window::new([4, 2]).stride([4, 2])), &[8, 8]), None, "tall");
        assert_eq!(windows(&max(Window::new([3, 3]).stride(2)), &[7, 7]), None, "overlapping");
        assert_eq!(windows(&max(two().padding(1)), &[8, 8]), None, "padded");
        assert_eq!(windows(&max(two().dilation(2)), &[8, 8]), None, "dilated");
        assert_eq!(windows(&max(two().ceil_mode(true)), &[8, 8]), Some((2, 2)));
        assert_eq!(windows(&max(two().ceil_mode(true)), &[7, 8]), None, "overhanging");
        assert_eq!(windows(&pool(PoolKind::Lp { p: 2.0 }, two()), &[8, 8]), None, "a norm");
        let positions = Pool { indices: Some(IndexOrder::RowMajor), ..max(two()) };
        assert_eq!(windows(&positions, &[8, 8]), None, "positions");
        assert_eq!(windows(&max(Window::new([2, 2, 2]).stride(2)), &[8, 8, 8]), None, "volumes");
    }

    fn pools_alone(graph: &Graph, choices: &[Choice], options: &PlanOptions) -> usize {
        kernels(graph, choices, options, true).iter().filter(|name| *name == "image_pool").count()
    }

    #[test]
    fn every_branch_of_the_choice() {
        let rule = PlanOptions::default();
        let lenet = zoo::lenet5().expect("a network");
        assert_eq!(pools_alone(&lenet, &[], &rule), 0);
        assert!(kernels(&lenet, &[], &rule, false).iter().any(|name| name.starts_with("pool")));
        // A kernel was asked for, or chosen for the first convolution or the second pool.
        let asked = PlanOptions { variant: Some("image_conv"), ..PlanOptions::default() };
        assert_eq!(pools_alone(&lenet, &[], &asked), 2);
        assert_eq!(pools_alone(&lenet, &[Some("image_conv")], &rule), 1);
        assert_eq!(pools_alone(&lenet, &[None, None, None, Some("image_pool")], &rule), 1);

        let conv = |net: Network, filters: usize| net.conv2d(Conv2d::new(filters, 3).padding(1));
        let alone = |net: Network| pools_alone(&net.build().expect("a network"), &[], &rule);
        let net = |channels| Network::new("net", [channels, 28, 28]);
        assert_eq!(alone(conv(net(8), 8).relu().max_pool(2)), 0);
        // Sums are joined to what the convolution alone would store.
        let sum = |net: Network| net.add(&|net| conv(net, 8), &|net| net).relu().max_pool(2);
        assert_eq!(alone(sum(net(8))), 1);
        let depthwise = Conv2d::new(8, 3).groups(8);
        assert_eq!(alone(net(8).conv2d(depthwise).max_pool(2)), 1);
        // Winograd's form costs less, with the pool apart.
        assert_eq!(alone(conv(net(128), 128).max_pool(2)), 1);
        // Windows that the convolution's do not end in.
        assert_eq!(alone(conv(net(8), 8).max_pool(Pool2d::new(3).stride(2))), 1);
    }

    #[test]
    fn what_is_read_elsewhere_is_stored() {
        let mut graph = Network::new("net", [8, 28, 28])
            .conv2d(Conv2d::new(8, 3))
            .max_pool(2)
            .build()
            .expect("a network");
        assert_eq!(pools_alone(&graph, &[], &PlanOptions::default()), 0);
        let convolved = graph.nodes()[0].outputs[0];
        graph.output(convolved);
        assert_eq!(pools_alone(&graph, &[], &PlanOptions::default()), 1);
    }
}
