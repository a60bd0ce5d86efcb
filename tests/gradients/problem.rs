//! A graph whose loss is differentiated, and what its gradients must be: difference quotients of the loss, computed by the
//! oracle in f64.

use std::sync::OnceLock;

use wgpu_cnn::graph::{Graph, Info, ValueId, gradients};
use wgpu_cnn::ops::{Activation, Binary, Op, Reduce, ReduceKind};
use wgpu_cnn::{Device, PlanOptions, Shape, Tensor};

use crate::evaluate::{Data, evaluate};
use crate::support::compare::within;
use crate::support::oracle::Answer;
use crate::support::oracle::approx::Approx;
use crate::support::random::Rng;

/// The oracle's bound counts every operation of the formulas; this leaves room for sums in another order.
const C: f64 = 2.0;
/// Rounding in f64 as a part of rounding in f32, whose errors the oracle carries along: 2^-53 of 2^-24.
const DOUBLE: f64 = 1.0 / (1_u64 << 29) as f64;
/// Of each wanted value, the elements that are compared with difference quotients.
const SAMPLES: usize = 24;

/// The best adapter of this machine. A machine without one fails; it does not skip.
pub fn gpu() -> &'static Device {
    static GPU: OnceLock<Device> = OnceLock::new();
    GPU.get_or_init(|| {
        Device::gpu().expect("the tests need a GPU adapter; `cargo xtask test` installs a software one")
    })
}

/// A graph while it is written down, with the values of its inputs.
pub struct Maker {
    pub graph: Graph,
    pub rng: Rng,
    inputs: Vec<Tensor>,
    wanted: Vec<ValueId>,
}

impl Maker {
    /// An input of these values, the gradient to which is wanted.
    pub fn input(&mut self, shape: &[usize], values: Vec<f32>) -> ValueId {
        let id = self.unwanted(Tensor::new(shape, values).unwrap());
        self.wanted.push(id);
        id
    }

    /// A further input.
    pub fn unwanted(&mut self, tensor: Tensor) -> ValueId {
        let name = format!("input{}", self.inputs.len());
        let info = Info { shape: tensor.shape().clone(), dtype: tensor.dtype() };
        self.inputs.push(tensor);
        self.graph.input(name, info)
    }

    /// An input of numbers in [-1, 1).
    pub fn random(&mut self, shape: &[usize]) -> ValueId {
        let values = self.rng.values(shape.iter().product());
        self.input(shape, values)
    }

    /// An input of numbers in [0.25, 2.25): where logarithms, roots and quotients are tame.
    pub fn positive(&mut self, shape: &[usize]) -> ValueId {
        let values = self.rng.values(shape.iter().product());
        self.input(shape, values.iter().map(|v| v + 1.25).collect())
    }

    /// Wants the gradient to a value of the graph.
    pub fn want(&mut self, id: ValueId) {
        self.wanted.push(id);
    }

    pub fn push(&mut self, op: impl Into<Op>, inputs: &[ValueId]) -> ValueId {
        let name = format!("layer{}", self.graph.nodes().len());
        self.graph.push(name, op, inputs).unwrap()
    }

    /// The sum of a value's elements, each times a number of its own.
    pub fn weighted_sum(&mut self, y: ValueId) -> ValueId {
        let shape = self.graph.value(y).info.shape.to_vec();
        let weights = Tensor::new(shape.clone(), self.rng.values(shape.iter().product())).unwrap();
        let weights = self.graph.constant("loss weights", weights);
        let product = self.graph.push("loss product", Binary::Mul, &[y, weights]).unwrap();
        let all = Some((0..shape.len()).collect());
        let sum = Reduce { kind: ReduceKind::Sum, axes: all, keep_dims: false };
        self.graph.push("loss", sum, &[product]).unwrap()
    }
}

/// A difference quotient: what a gradient times a direction must be.
struct Expected {
    wanted: usize,
    direction: Vec<f64>,
    value: f64,
    bound: f64,
}

/// A loss and its gradients.
pub struct Problem {
    name: String,
    forward: Graph,
    loss: ValueId,
    wanted: Vec<ValueId>,
    inputs: Vec<Tensor>,
    step: f64,
    rng: Rng,
}

impl Problem {
    /// The weighted sum of the value that `make` returns.
    pub fn new(name: impl Into<String>, seed: u64, make: impl FnOnce(&mut Maker) -> ValueId) -> Self {
        Problem::of_loss(name, seed, |maker| {
            let y = make(maker);
            maker.weighted_sum(y)
        })
    }

    /// The loss that `make` returns.
    pub fn of_loss(name: impl Into<String>, seed: u64, make: impl FnOnce(&mut Maker) -> ValueId) -> Self {
        let graph = Graph::new("problem");
        let mut maker = Maker { graph, rng: Rng::new(seed), inputs: Vec::new(), wanted: Vec::new() };
        let loss = make(&mut maker);
        let Maker { graph: forward, rng, inputs, wanted } = maker;
        // A power of two, so that the quotients' denominators are exact; far above the rounding of f64.
        let step = 1.0 / f64::from(1 << 14);
        Problem { name: name.into(), forward, loss, wanted, inputs, step, rng }
    }

    /// A shorter step, for losses with kinks everywhere.
    pub fn step(self, step: f64) -> Self {
        Problem { step, ..self }
    }

    fn given(&self, id: ValueId) -> Option<Data> {
        let place = self.forward.inputs().iter().position(|input| *input == id)?;
        Some(Data::from(&self.inputs[place]))
    }

    /// The loss, with one of the wanted values moved.
    fn loss(&self, wanted: usize, direction: &[f64], by: f64) -> Approx {
        let moved = self.wanted[wanted];
        let data = evaluate(&self.forward, |id| {
            let own = self.given(id).or_else(|| self.forward.value(id).constant.as_ref().map(Data::from));
            if id != moved {
                return own;
            }
            let own = own.expect("a wanted value that is an input or a constant");
            let shifted = own.real().iter().zip(direction).map(|(x, d)| Approx::exact(x.value + by * d));
            Some(Data::Real(shifted.collect()))
        });
        data[self.loss.index()].real()[0]
    }

    /// The central quotient at two steps, extrapolated. Its error is less than their difference, and what f64 rounds.
    fn quotient(&self, wanted: usize, direction: Vec<f64>) -> Expected {
        let h = self.step;
        let at = [h, -h, 2.0 * h, -2.0 * h].map(|by| self.loss(wanted, &direction, by));
        let near = (at[0].value - at[1].value) / (2.0 * h);
        let far = (at[2].value - at[3].value) / (4.0 * h);
        let rounding = at.iter().fold(0.0_f64, |most, loss| most.max(loss.error)) * DOUBLE;
        let bound = (near - far).abs() + 1.5 * rounding / h;
        Expected { wanted, direction, value: (4.0 * near - far) / 3.0, bound }
    }

    /// Quotients for some elements of each wanted value, and for all of its elements at once in a random direction.
    fn quotients(&self, elements: bool) -> Vec<Expected> {
        let mut rng = self.rng.clone();
        let mut all = Vec::new();
        for (number, id) in self.wanted.iter().enumerate() {
            let count = self.forward.value(*id).info.shape.elements();
            let direction: Vec<f64> = (0..count).map(|_| rng.value().into()).collect();
            all.push(self.quotient(number, direction));
            let samples = if elements { count.min(SAMPLES) } else { 0 };
            for i in 0..samples {
                let element = if count <= SAMPLES { i } else { rng.range(0..count) };
                let mut direction = vec![0.0; count];
                direction[element] = 1.0;
                all.push(self.quotient(number, direction));
            }
        }
        let size = all.iter().fold(1.0_f64, |most, e| most.max(e.value.abs()));
        for e in &all {
            // Near a kink the quotients would permit anything; such a case is to be given another seed.
            assert!(
                e.bound < 1e-5 * size,
                "{}: a quotient of {} is known to {}",
                self.name,
                e.value,
                e.bound
            );
        }
        all
    }

    /// The graph with its gradients as outputs.
    fn differentiated(&self) -> (Graph, Vec<ValueId>) {
        let mut graph = self.forward.clone();
        let found =
            gradients(&mut graph, self.loss, &self.wanted).unwrap_or_else(|e| panic!("{}: {e}", self.name));
        found.iter().for_each(|id| graph.output(*id));
        graph.check().unwrap_or_else(|e| panic!("{}: {e}", self.name));
        (graph, found)
    }

    /// The gradients by the oracle.
    fn exact(&self, graph: &Graph, found: &[ValueId]) -> Vec<Vec<Approx>> {
        let data = evaluate(graph, |id| self.given(id));
        found.iter().map(|id| data[id.index()].real().to_vec()).collect()
    }

    /// Compares gradients, each with the error it may have, with the quotients.
    fn judge(&self, found: &[Vec<Approx>], expected: &[Expected]) -> Result<(), String> {
        for e in expected {
            let pairs = || found[e.wanted].iter().zip(&e.direction);
            let value: f64 = pairs().map(|(g, d)| g.value * d).sum();
            let error: f64 = pairs().map(|(g, d)| g.error * d.abs()).sum();
            // A NaN is no answer either.
            let within = (value - e.value).abs() <= e.bound + error;
            if !within {
                let element = e.direction.iter().position(|d| *d != 0.0);
                return Err(format!(
                    "{}: gradient {} from element {element:?} on is {value}, the quotient {} (permitted {:e} + {error:e})",
                    self.name, e.wanted, e.value, e.bound
                ));
            }
        }
        Ok(())
    }

    /// Checks that the gradient graph is right: in f64 against the quotients, on every device against both; and that
    /// the comparison sees it where the result of any of its nodes has the wrong sign.
    pub fn check(&self) {
        self.check_with(true, |_| true);
    }

    /// As [`Problem::check`], where only the nodes that `telling` accepts can be wrong: of others the sign has no effect.
    pub fn check_with(&self, elements: bool, telling: impl Fn(&str) -> bool) {
        let expected = self.quotients(elements);
        let (graph, found) = self.differentiated();
        let exact = self.exact(&graph, &found);
        self.check_exact(&exact, &expected);
        self.check_devices(&graph, &exact, &expected);

        let mut mutants = 0;
        for (number, node) in graph.nodes().iter().enumerate() {
            let of_gradient = node.name.contains(".grad");
            if of_gradient && telling(node.op.name()) {
                let (wrong, ids) = with_wrong_sign(&graph, number);
                let found: Vec<_> = found.iter().map(|id| ids[id.index()]).collect();
                let given = |id: ValueId| {
                    let place = wrong.inputs().iter().position(|input| *input == id)?;
                    Some(Data::from(&self.inputs[place]))
                };
                let data = evaluate(&wrong, given);
                let signs: Vec<_> = found.iter().map(|id| in_double(data[id.index()].real())).collect();
                assert!(
                    self.judge(&signs, &expected).is_err(),
                    "{}: a wrong sign of '{}' ({}) is not seen",
                    self.name,
                    node.name,
                    node.op.name()
                );
                mutants += 1;
            }
        }
        assert!(mutants > 0 || !telling(""), "{}: nothing to make wrong", self.name);
    }

    fn check_exact(&self, exact: &[Vec<Approx>], expected: &[Expected]) {
        let double: Vec<_> = exact.iter().map(|gradient| in_double(gradient)).collect();
        self.judge(&double, expected).unwrap_or_else(|e| panic!("{e}"));
    }

    fn check_devices(&self, graph: &Graph, exact: &[Vec<Approx>], expected: &[Expected]) {
        let options = PlanOptions::default();
        let mut checked = PlanOptions::default();
        checked.checked = true;
        let cpu = Device::cpu();
        for (label, device, options) in
            [("cpu", &cpu, &options), ("gpu", gpu(), &options), ("gpu, checked", gpu(), &checked)]
        {
            let plan = device.compile_with(graph, options).unwrap_or_else(|e| panic!("{}: {e}", self.name));
            let results = plan.run(&self.inputs).unwrap_or_else(|e| panic!("{}: {label}: {e}", self.name));
            let mut found = Vec::new();
            for (number, (result, exact)) in results.iter().zip(exact).enumerate() {
                let answer = Answer::from_approx(result.shape().to_vec(), 1, exact.clone());
                let label = format!("{}: {label}: gradient {number}", self.name);
                let values = result.values::<f32>().unwrap();
                within(&label, values, &answer, C).unwrap_or_else(|e| panic!("{e}"));
                let unit = f64::from(f32::MIN_POSITIVE);
                let near = |(&value, exact): (&f32, &Approx)| Approx {
                    value: value.into(),
                    error: C * exact.error + unit,
                };
                found.push(values.iter().zip(exact).map(near).collect());
            }
            self.judge(&found, expected).unwrap_or_else(|e| panic!("{label}: {e}"));
        }
    }
}

/// Numbers as f64 computes them.
fn in_double(numbers: &[Approx]) -> Vec<Approx> {
    numbers.iter().map(|x| Approx { error: x.error * DOUBLE, ..*x }).collect()
}

/// The same graph with the first output of one node negated, and the values that have taken the place of its own.
fn with_wrong_sign(graph: &Graph, node: usize) -> (Graph, Vec<ValueId>) {
    let mut copy = Graph::new(graph.name());
    let mut ids: Vec<Option<ValueId>> = vec![None; graph.values().len()];
    for id in graph.inputs() {
        let value = graph.value(*id);
        ids[id.index()] = Some(copy.input(value.name.clone(), value.info.clone()));
    }
    for (place, value) in graph.values().iter().enumerate() {
        if let Some(tensor) = &value.constant {
            ids[place] = Some(copy.constant(value.name.clone(), tensor.clone()));
        }
    }
    for (number, from) in graph.nodes().iter().enumerate() {
        let inputs: Vec<_> = from.inputs.iter().map(|id| id.and_then(|id| ids[id.index()])).collect();
        let outputs = copy.push_node(from.name.clone(), from.op.clone(), &inputs).unwrap();
        for (old, new) in from.outputs.iter().zip(&outputs) {
            ids[old.index()] = Some(*new);
        }
        if number == node {
            let wrong = copy.push("wrong sign", Activation::Neg, &outputs[..1]).unwrap();
            ids[from.outputs[0].index()] = Some(wrong);
        }
    }
    let any = ValueId::clone(&graph.inputs()[0]);
    (copy, ids.into_iter().map(|id| id.unwrap_or(any)).collect())
}

/// A shape.
pub fn shape(dims: &[usize]) -> Shape {
    Shape::new(dims).unwrap()
}
