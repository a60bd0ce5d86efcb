//! Whether a network treats the images of a batch apart, and the network for one of them.

use super::Graph;
use crate::ops::Operator;
use crate::tensor::Shape;

impl Graph {
    /// The same network for one image, and how many images, two or more, it is now for; `None` unless every image of every
    /// output, along its axis 0, depends on that image of the inputs alone.
    ///
    /// An operator that is not known to treat images apart, or whose operands are constants alone, makes it `None`.
    pub(crate) fn for_one_image(&self) -> Option<(Self, usize)> {
        let images = |shape: &Shape| shape.first().copied();
        let batch = images(&self.value(*self.inputs.first()?).info.shape).filter(|&batch| batch > 1)?;
        let mut one = self.clone();
        let mut batched = vec![false; self.values.len()];
        for id in &self.inputs {
            batched[id.0] = true;
        }
        for (node, of_one) in self.nodes.iter().zip(&mut one.nodes) {
            let infos: Vec<_> = node.inputs.iter().map(|id| id.map(|id| &self.value(id).info)).collect();
            let flags: Vec<_> = node.inputs.iter().map(|id| id.is_some_and(|id| batched[id.0])).collect();
            if !flags.contains(&true) {
                return None;
            }
            of_one.op = node.op.for_one_image(&infos, &flags)?;
            for id in &node.outputs {
                batched[id.0] = true;
            }
        }
        for id in &self.inputs {
            let mut dims = self.value(*id).info.shape.to_vec();
            *dims.first_mut()? = 1;
            one.values[id.0].info.shape = Shape::new(dims).ok()?;
        }
        one.infer_again().ok()?;
        // One image is the whole but for the length of axis 0.
        let sliced = |(i, batched): (usize, &bool)| {
            let (whole, one) = (&self.values[i].info.shape, &one.values[i].info.shape);
            !batched || (images(whole) == Some(batch) && images(one) == Some(1) && whole[1..] == one[1..])
        };
        let apart = batched.iter().enumerate().all(sliced) && self.outputs.iter().all(|id| batched[id.0]);
        apart.then_some((one, batch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Info;
    use crate::ops::*;
    use crate::tensor::{DType, Tensor};
    use crate::window::Window;
    use crate::zoo;

    /// An operand: an input of this shape, or a constant.
    enum Of {
        Input(&'static [usize]),
        Constant(&'static [usize]),
    }
    use Of::{Constant, Input};

    /// What a node of these operands is for one image.
    fn one(op: impl Into<Op>, operands: &[Of]) -> Option<(Op, usize)> {
        let mut graph = Graph::new("node");
        let mut ids = Vec::new();
        for (i, operand) in operands.iter().enumerate() {
            ids.push(match operand {
                Input(shape) => graph.input(format!("{i}"), Info::f32(Shape::new(*shape).unwrap())),
                Constant(shape) => graph.constant(format!("{i}"), Tensor::zeros(*shape).unwrap()),
            });
        }
        let output = graph.push("node", op, &ids).unwrap();
        graph.output(output);
        let (one, batch) = graph.for_one_image()?;
        let dims = one.value(one.outputs()[0]).info.shape.to_vec();
        assert_eq!((dims[0], &dims[1..]), (1, &graph.value(output).info.shape[1..]));
        Some((one.nodes()[0].op.clone(), batch))
    }

    #[test]
    fn operators_along_other_axes_treat_images_apart() {
        let same = |op: Op, operands: &[Of]| assert_eq!(one(op.clone(), operands), Some((op, 3)));
        let window = Window::new([3, 3]);
        let x = || Input(&[3, 4, 5, 5]);
        same(Conv::new(window.clone()).into(), &[x(), Constant(&[2, 4, 3, 3]), Constant(&[2])]);
        let residual = [x(), Constant(&[2, 4, 3, 3]), Constant(&[2]), Input(&[3, 2, 3, 3])];
        same(Conv::new(window.clone()).into(), &residual);
        same(Pool::new(PoolKind::Max, window).into(), &[x()]);
        same(Activation::Relu.into(), &[x()]);
        same(Binary::Add.into(), &[x(), x()]);
        same(Binary::Add.into(), &[x(), Constant(&[4, 1, 1])]);
        same(Binary::Sub.into(), &[Constant(&[1, 4, 1, 1]), x()]);
        same(Concat { axis: 1 }.into(), &[x(), Input(&[3, 2, 5, 5])]);
        same(Softmax { axis: 1, log: false }.into(), &[x()]);
        same(Reduce { kind: ReduceKind::Mean, axes: None, keep_dims: false }.into(), &[x()]);
        same(Reshape::Flatten { axis: 1 }.into(), &[x()]);
        same(Gemm::linear().into(), &[Input(&[3, 6]), Constant(&[5, 6]), Constant(&[5])]);
        same(Gemm { trans_a: true, ..Gemm::default() }.into(), &[Input(&[3, 2, 6]), Input(&[3, 2, 4])]);
    }

    #[test]
    fn sizes_of_the_batch_in_an_operator_become_1() {
        let reshaped = one(Reshape::To(vec![3, 20]), &[Input(&[3, 4, 5])]);
        assert_eq!(reshaped, Some((Reshape::To(vec![1, 20]).into(), 3)));
        let transposed = one(Rearrange::transpose(&[3, 4, 5], &[0, 2, 1]), &[Input(&[3, 4, 5])]);
        assert_eq!(transposed, Some((Rearrange::transpose(&[1, 4, 5], &[0, 2, 1]).into(), 3)));
    }

    #[test]
    fn operators_that_mix_images_are_seen() {
        let mixes = |op: Op, operands: &[Of]| assert_eq!(one(op, operands), None);
        let x = || Input(&[3, 4, 5]);
        mixes(Softmax { axis: 0, log: false }.into(), &[x()]);
        mixes(Concat { axis: 0 }.into(), &[x(), x()]);
        mixes(Concat { axis: 1 }.into(), &[x(), Constant(&[3, 1, 5])]);
        mixes(Reduce { kind: ReduceKind::Sum, axes: Some(vec![0, 1]), keep_dims: true }.into(), &[x()]);
        mixes(Reshape::Flatten { axis: 2 }.into(), &[x()]);
        mixes(Reshape::To(vec![4, 3, 5]).into(), &[x()]);
        mixes(Rearrange::transpose(&[3, 4, 5], &[1, 0, 2]).into(), &[x()]);
        mixes(Rearrange::transpose(&[3, 3], &[1, 0]).into(), &[Input(&[3, 3])]);
        let mut reversed = Rearrange::identity(&[3, 4, 5]);
        (reversed.axes[0].start, reversed.axes[0].step) = (2, -1);
        mixes(reversed.into(), &[x()]);
        // Of a batch as long as another axis, broadcasting may mean either.
        mixes(Binary::Add.into(), &[Input(&[3, 3]), Input(&[3])]);
        mixes(Binary::Add.into(), &[x(), Constant(&[3, 1, 1])]);
        mixes(Normalize { axis: 0, epsilon: 1e-5, statistics: false }.into(), &[x()]);
        let square = || Input(&[3, 3]);
        mixes(Gemm { trans_a: true, ..Gemm::default() }.into(), &[square(), Constant(&[3, 3])]);
        mixes(Gemm::default().into(), &[square(), square()]);
        mixes(Gemm::default().into(), &[Constant(&[3, 3]), square()]);
        mixes(Gemm::default().into(), &[square(), Constant(&[3, 3]), Constant(&[3, 1])]);
        let window = Window::new([3, 3]);
        let with_indices =
            Pool { indices: Some(pool::IndexOrder::RowMajor), ..Pool::new(PoolKind::Max, window) };
        mixes(with_indices.into(), &[Input(&[3, 4, 5, 5])]);
        mixes(Conv::new(Window::new([1])).into(), &[x(), Input(&[3, 4, 1])]);
        mixes(Dropout { rate: 0.5, seed: 0 }.into(), &[x()]);
    }

    #[test]
    fn networks_without_a_batch_are_as_they_are() {
        let lenet = zoo::lenet5().unwrap();
        assert!(lenet.for_one_image().is_none());
        assert!(Graph::new("empty").for_one_image().is_none());
        let (one, batch) = lenet.with_batch(8).unwrap().for_one_image().unwrap();
        assert_eq!((one.nodes().len(), batch), (lenet.nodes().len(), 8));

        let mut graph = lenet.with_batch(8).unwrap();
        let weight = graph.nodes()[0].inputs[1].unwrap();
        graph.output(weight);
        assert!(graph.for_one_image().is_none(), "a constant has no images");

        let mut graph = Graph::new("two");
        for (name, images) in [("a", 2), ("b", 4)] {
            let shape = Shape::new([images, 3]).unwrap();
            let x = graph.input(name, Info { shape, dtype: DType::F32 });
            let y = graph.push(format!("{name}, relu"), Activation::Relu, &[x]).unwrap();
            graph.output(y);
        }
        assert!(graph.for_one_image().is_none(), "inputs of 2 and 4 images");
    }
}
