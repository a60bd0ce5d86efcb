//! Runs one operator everywhere: on both backends as plans are by default, on the CPU in every variant, and on the GPU
//! with all checks in every kernel variant.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use rayon::{ThreadPool, ThreadPoolBuilder};
use wgpu_cnn::graph::Info;
use wgpu_cnn::graph::passes::Passes;
use wgpu_cnn::ops::Op;
use wgpu_cnn::plan::CPU_VARIANTS;
use wgpu_cnn::{Device, Graph, PlanOptions, Tensor};

use crate::support::random::Rng;

/// The best adapter of this machine. A machine without one fails; it does not skip.
pub fn gpu() -> &'static Device {
    static GPU: OnceLock<Device> = OnceLock::new();
    GPU.get_or_init(|| {
        Device::gpu().expect("the tests need a GPU adapter; `cargo xtask test` installs a software one")
    })
}

/// An f32 tensor.
pub fn tensor(shape: &[usize], values: Vec<f32>) -> Tensor {
    Tensor::new(shape, values).expect("the values fill the shape")
}

/// A random f32 tensor.
pub fn random(rng: &mut Rng, shape: &[usize]) -> Tensor {
    tensor(shape, rng.values(shape.iter().product()))
}

/// The f32 elements.
pub fn values(tensor: &Tensor) -> &[f32] {
    tensor.values().expect("an f32 tensor")
}

/// One node and its operands; those in `constants` are weights of the graph, the others its inputs.
pub struct Case {
    pub op: Op,
    pub operands: Vec<Option<Tensor>>,
    pub constants: Vec<usize>,
}

impl Case {
    /// All operands are inputs.
    pub fn new(op: impl Into<Op>, operands: &[&Tensor]) -> Self {
        let operands = operands.iter().map(|&t| Some(t.clone())).collect();
        Case { op: op.into(), operands, constants: Vec::new() }
    }

    /// Makes these operands weights.
    pub fn constants(mut self, constants: &[usize]) -> Self {
        self.constants = constants.to_vec();
        self
    }

    /// The graph of the one node, and the inputs of a run.
    pub fn graph(&self) -> (Graph, Vec<Tensor>) {
        let mut graph = Graph::new("case");
        let mut inputs = Vec::new();
        let mut ids = Vec::new();
        for (i, operand) in self.operands.iter().enumerate() {
            ids.push(operand.as_ref().map(|tensor| {
                let name = format!("operand {i}");
                if self.constants.contains(&i) {
                    return graph.constant(name, tensor.clone());
                }
                inputs.push(tensor.clone());
                graph.input(name, Info { shape: tensor.shape().clone(), dtype: tensor.dtype() })
            }));
        }
        let outputs = graph.push_node("node", self.op.clone(), &ids).expect("the operands suit the operator");
        for id in outputs {
            graph.output(id);
        }
        (graph, inputs)
    }
}

/// The names of all kernels that operators of this name may choose.
pub fn variants(op: &str) -> BTreeSet<&'static str> {
    static NAMES: OnceLock<Vec<(&'static str, &'static str)>> = OnceLock::new();
    NAMES
        .get_or_init(|| {
            let all = wgpu_cnn::gpu::variants();
            let names: BTreeSet<_> =
                all.iter().map(|(op, kernel)| (*op, kernel.name().to_string())).collect();
            names.into_iter().map(|(op, name)| (op, &*name.leak())).collect()
        })
        .iter()
        .filter(|(of, _)| *of == op || (op == "conv" && matches!(*of, "gemm" | "im2col")))
        .map(|(_, name)| *name)
        .collect()
}

/// Runs the case everywhere and hands each result, with a label saying where it came from, to `check`. Each
/// variant's result must also come out the same, bit for bit, when the plan runs again.
pub fn each(case: &Case, options: &PlanOptions, check: impl Fn(&str, &[Tensor])) {
    let (graph, inputs) = case.graph();
    let mut options = options.clone();
    options.passes = Passes::none();
    options.reject_nan = false;

    let plan = Device::cpu().compile_with(&graph, &options).expect("the CPU takes the case");
    check("cpu", &plan.run(&inputs).expect("the CPU runs the case"));

    // Image by image, for which there must be as many images as threads, and layer by layer, as with every variant.
    let compile = || Device::cpu().compile_with(&graph, &options).expect("one thread takes the case");
    let plan = one_thread().install(compile);
    check("cpu on one thread", &plan.run(&inputs).expect("one thread runs the case"));
    let mut layers = options.clone();
    layers.variant = Some("layers");
    let plan = Device::cpu().compile_with(&graph, &layers).expect("the CPU takes the case by layers");
    check("cpu by layers", &plan.run(&inputs).expect("the CPU runs the case by layers"));

    let plan = gpu().compile_with(&graph, &options).expect("the GPU takes the case");
    check("gpu", &plan.run(&inputs).expect("the GPU runs the case"));

    for (_, variant) in CPU_VARIANTS.iter().filter(|(op, _)| *op == case.op.name()) {
        options.variant = Some(variant);
        let plan =
            Device::cpu().compile_with(&graph, &options).expect("the CPU takes the case in every variant");
        let first = plan.run(&inputs).unwrap_or_else(|e| panic!("{variant}: {e}"));
        check(&format!("cpu {variant}"), &first);
        let again = plan.run(&inputs).unwrap_or_else(|e| panic!("{variant}: {e}"));
        assert!(same_bits(&first, &again), "{variant}: two runs of one plan differ");
    }

    options.checked = true;
    for variant in variants(case.op.name()) {
        options.variant = Some(variant);
        let plan = gpu().compile_with(&graph, &options).expect("the GPU takes the case in every variant");
        let first = plan.run(&inputs).unwrap_or_else(|e| panic!("{variant}: {e}"));
        check(&format!("gpu {variant}"), &first);
        let again = plan.run(&inputs).unwrap_or_else(|e| panic!("{variant}: {e}"));
        assert!(same_bits(&first, &again), "{variant}: two runs of one plan differ");
    }
}

fn one_thread() -> &'static ThreadPool {
    static POOL: OnceLock<ThreadPool> = OnceLock::new();
    POOL.get_or_init(|| ThreadPoolBuilder::new().num_threads(1).build().expect("a thread"))
}

fn same_bits(a: &[Tensor], b: &[Tensor]) -> bool {
    a.iter().zip(b).all(|(a, b)| match (a.values::<f32>(), b.values::<f32>()) {
        (Ok(a), Ok(b)) => a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits()),
        _ => a == b,
    })
}
