//! `conv(pad(x, 0))` becomes one convolution with more padding of its own.

use std::collections::HashSet;

use crate::graph::Graph;
use crate::ops::rearrange::{AxisMap, Border};
use crate::ops::{Op, Rearrange};
use crate::window::Padding;

pub(super) fn run(graph: &mut Graph) {
    let mut folded = HashSet::new();
    for i in 0..graph.nodes.len() {
        let Op::Conv(conv) = &graph.nodes[i].op else { continue };
        let Some(input) = graph.nodes[i].inputs[0] else { continue };
        let Some(producer) = graph.sole_producer(input, i) else { continue };
        let (Op::Rearrange(pad), Some(source)) =
            (&graph.nodes[producer].op, graph.nodes[producer].inputs.first().copied().flatten())
        else {
            continue;
        };
        let Some(zeros) = zeros_around(pad, &graph.value(source).info.shape) else { continue };
        let Some((outer, spatial)) = zeros.split_at_checked(2) else { continue };
        // SAME padding depends on the padded size: it is first written out.
        let Ok(axes) = conv.axes(&graph.value(input).info.shape) else { continue };
        if outer.iter().any(|&pad| pad != (0, 0)) {
            continue;
        }
        let whole = axes.iter().zip(spatial).map(|(own, pad)| (own.before + pad.0, own.after + pad.1));
        let mut conv = conv.clone();
        conv.window = conv.window.padding(Padding::Explicit(whole.collect()));
        graph.nodes[i].op = Op::Conv(conv);
        graph.nodes[i].inputs[0] = Some(source);
        graph.nodes[producer].outputs.clear();
        folded.insert(producer);
    }
    graph.remove_nodes(|i| folded.contains(&i));
}

/// The zeros before and after each axis, where a node does nothing but pad with them.
fn zeros_around(pad: &Rearrange, input: &[usize]) -> Option<Vec<(usize, usize)>> {
    // The bits of +0: anything else, -0 among them, is not what a convolution pads with.
    let zero = matches!(pad.border, Border::Constant(value) if value.to_bits() == 0);
    if !zero || pad.axes.len() != input.len() {
        return None;
    }
    let around = |(i, axis): (usize, &AxisMap)| {
        let before = usize::try_from(axis.start.checked_neg()?).ok()?;
        let after = axis.size.checked_sub(before.checked_add(input[i])?)?;
        (axis.input_axis == Some(i) && axis.step == 1).then_some((before, after))
    };
    pad.axes.iter().enumerate().map(around).collect()
}
