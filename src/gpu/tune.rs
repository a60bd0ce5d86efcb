//! Choosing kernels by measuring them ([`Tuning::Measured`]).

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::sync::OnceLock;

use serde_json::{Value, json};

use super::cache::Cache;
use super::device::GpuDevice;
use super::operands::{Choice, record};
use super::ops::variants;
use super::plan::GpuPlan;
use super::recording::{BufferId, Recording};
use crate::error::{Error, Result};
use crate::graph::passes::Passes;
use crate::graph::{Graph, Info, Node};
use crate::plan::{PlanOptions, Tuning};
use crate::tensor::{DType, Tensor};
use crate::verify::{Bound, Operands, alone, bounds, reference};

/// Candidates that are measured for a shape, the rule's choice among them.
const MOST: usize = 8;
/// Timed runs of a candidate; their median counts.
const RUNS: usize = 7;
/// Another candidate wins where it takes less than this part of the time of the rule's choice: less is noise.
const MARGIN: f64 = 0.95;
/// A candidate whose first run takes so many times the fastest so far is given up.
const HOPELESS: f64 = 2.0;

/// What won, by layer ([`key`]): read from the cache when it is first asked for.
#[derive(Default)]
pub(super) struct Winners(Option<BTreeMap<String, Choice>>);

/// The variant to ask for at each node of a graph. What has not been measured on this device before is measured now.
pub(super) async fn choices(device: &GpuDevice, graph: &Graph, options: &PlanOptions) -> Result<Vec<Choice>> {
    if options.tuning == Tuning::Rule || options.variant.is_some() {
        return Ok(Vec::new());
    }
    // Held to the end: who measured at the same time would measure wrong.
    let mut winners = device.winners().lock().await;
    let file = device.cache().map(|cache| (cache, cache.path("tuning", "json")));
    let load = || file.as_ref().map(|(cache, path)| load(path, cache.identity())).unwrap_or_default();
    let winners = winners.0.get_or_insert_with(load);
    let mut choices = Vec::new();
    let before = winners.len();
    for node in graph.nodes() {
        let key = key(graph, node);
        if !winners.contains_key(&key) {
            winners.insert(key.clone(), measure(device, graph, node, options).await?);
        }
        choices.push(winners.get(&key).copied().flatten());
    }
    if let Some((cache, path)) = file.filter(|_| winners.len() > before) {
        let content = json!({"device": cache.identity(), "winners": winners});
        Cache::write(&path, format!("{content:#}\n").as_bytes());
    }
    Ok(choices)
}

/// All that the time of a layer depends on: its operator with its attributes, and its operands' shapes, types and kinds.
fn key(graph: &Graph, node: &Node) -> String {
    let mut key = format!("{:?}", node.op);
    for id in &node.inputs {
        // Writing to a string cannot fail.
        let _ = match id.map(|id| graph.value(id)) {
            None => write!(key, ", none"),
            Some(value) => {
                let kind = if value.constant.is_some() { "constant" } else { "input" };
                write!(key, ", {kind} {} {}", value.info.dtype, value.info.shape)
            }
        };
    }
    key
}

/// The winners that a file holds for this device; none, with a warning, where it does not hold what it should.
fn load(path: &Path, device: &str) -> BTreeMap<String, Choice> {
    let Some(content) = Cache::read(path) else { return BTreeMap::new() };
    let winners = parse(&content, device);
    winners.unwrap_or_else(|| {
        tracing::warn!("{}: not what this device has measured; it is measured anew", path.display());
        BTreeMap::new()
    })
}

fn parse(content: &[u8], device: &str) -> Option<BTreeMap<String, Choice>> {
    let content: Value = serde_json::from_slice(content).ok()?;
    if content.get("device")?.as_str()? != device {
        return None;
    }
    let winner = |(key, name): (&String, &Value)| {
        let choice = match name {
            Value::Null => None,
            name => Some(all_names().find(|(_, known)| Some(*known) == name.as_str())?.1),
        };
        Some((key.clone(), choice))
    };
    content.get("winners")?.as_object()?.iter().map(winner).collect()
}

/// The names of all variants, each after its operator's, in the order in which operators list them.
fn all_names() -> impl Iterator<Item = (&'static str, &'static str)> {
    static NAMES: OnceLock<Vec<(&str, &str)>> = OnceLock::new();
    let collect = || {
        let mut names: Vec<(&str, &str)> = Vec::new();
        for (op, kernel) in variants() {
            if !names.contains(&(op, kernel.name())) {
                // Options name variants for as long as the program runs; these are few, and collected once.
                names.push((op, kernel.name().to_owned().leak()));
            }
        }
        names
    };
    NAMES.get_or_init(collect).iter().copied()
}

/// What an operator may be asked to run as: its own variants, and of a convolution also those of the product and the
/// patches it is made of. The family that suits the device comes first, for not all may be measured.
fn names(op: &str, device: &GpuDevice) -> Vec<&'static str> {
    let mut parts = vec![op];
    if op == "conv" {
        parts.extend(["gemm", "im2col"]);
    }
    let of = |part| all_names().filter(move |(of, _)| *of == part).map(|(_, name)| name);
    let mut names: Vec<_> = parts.into_iter().flat_map(of).collect();
    names.sort_by_key(|name| name.starts_with("image") != device.is_software());
    names
}

/// A way to compute a layer.
struct Candidate {
    choice: Choice,
    recording: Recording,
    inputs: Vec<BufferId>,
    outputs: Vec<BufferId>,
}

/// The rule's choice and the variants that are something else, without the passes.
fn candidates(device: &GpuDevice, layer: &Graph, op: &str, options: &PlanOptions) -> Result<Vec<Candidate>> {
    let mut candidates: Vec<Candidate> = Vec::new();
    for choice in std::iter::once(None).chain(names(op, device).into_iter().map(Some)) {
        let options = PlanOptions { variant: choice, ..options.clone() };
        let (recording, inputs, outputs) = match record(device, layer, &options, &[]) {
            Ok(recorded) => recorded,
            Err(e) if choice.is_none() => return Err(e),
            // A variant may need more than the device has.
            Err(_) => continue,
        };
        if candidates.iter().all(|known| !known.recording.is_same(&recording)) {
            candidates.push(Candidate { choice, recording, inputs, outputs });
        }
        if candidates.len() == MOST {
            break;
        }
    }
    Ok(candidates)
}

/// What a layer is run on and has to make of it.
struct Task<'a> {
    infos: Vec<Info>,
    inputs: &'a [Tensor],
    expected: Vec<Tensor>,
    /// The bounds of what kernels of these names compute.
    bounds: &'a (dyn Fn(&[&str]) -> Result<Vec<Bound>> + Sync),
}

async fn measure(device: &GpuDevice, graph: &Graph, node: &Node, options: &PlanOptions) -> Result<Choice> {
    let options = PlanOptions {
        passes: Passes::none(),
        checked: false,
        tuning: Tuning::Rule,
        reject_nan: false,
        ..options.clone()
    };
    let operands = operands(graph, node)?;
    let (layer, inputs) = alone(graph, node, &operands)?;
    let candidates = candidates(device, &layer, node.op.name(), &options)?;
    if candidates.len() < 2 {
        return Ok(None);
    }
    let expected = reference(&layer, &inputs)?;
    let task = Task {
        infos: layer.outputs().iter().map(|&id| layer.value(id).info.clone()).collect(),
        inputs: &inputs,
        bounds: &|kernels| bounds(&node.op, &operands, &expected, kernels),
        expected: expected.clone(),
    };
    device.count_measurement();
    let winner = fastest(device, &candidates, &task, &options).await?;
    tracing::debug!(layer = node.name, candidates = candidates.len(), ?winner, "measured");
    Ok(winner)
}

/// Operands to measure a layer on: its constants, and numbers from -1 to 1 for its inputs.
///
/// The constants are copies. The device holds what it made of a tensor for as long as that lives, and what it makes of
/// these for the losers shall go with them.
fn operands(graph: &Graph, node: &Node) -> Result<Operands> {
    let operand = |id: crate::graph::ValueId| {
        let value = graph.value(id);
        let shape = value.info.shape.to_vec();
        let elements = value.info.shape.elements();
        match (&value.constant, value.info.dtype) {
            (Some(tensor), DType::F32) => Tensor::new(shape, tensor.values::<f32>()?.to_vec()),
            (Some(tensor), _) => Ok(tensor.clone()),
            // Positions, which have to exist.
            (None, DType::I64) => Tensor::new(shape, vec![0_i64; elements]),
            (None, DType::Bool) => Tensor::new(shape, (0..elements).map(|i| i % 3 == 0).collect()),
            (None, _) => Tensor::new(shape, numbers(elements)),
        }
    };
    node.inputs.iter().map(|id| id.map(operand).transpose()).collect()
}

/// So many numbers from -1 to 1: the fractional parts of multiples of the golden ratio.
pub(super) fn numbers(count: usize) -> Vec<f32> {
    let part = |i: usize| (i as f64 * 0.618_033_988_749_895).fract() as f32;
    (1..=count).map(|i| 2.0 * part(i) - 1.0).collect()
}

/// The choice that is fastest among those that compute what they should.
async fn fastest(
    device: &GpuDevice,
    candidates: &[Candidate],
    task: &Task<'_>,
    options: &PlanOptions,
) -> Result<Choice> {
    let mut rule = None;
    let mut best: Option<(f64, Choice)> = None;
    for candidate in candidates {
        let limit = best.map_or(f64::INFINITY, |(cost, _)| HOPELESS * cost);
        let timing = match time(device, candidate, task, options, |timing| timing.cost(rule) < limit).await {
            Ok(Some(timing)) => timing,
            Ok(None) => continue,
            Err(e @ Error::DeviceLost { .. }) => return Err(e),
            Err(e) if candidate.choice.is_none() => return Err(e),
            Err(e) => {
                tracing::debug!("{:?} does not run: {e}", candidate.choice);
                continue;
            }
        };
        if candidate.choice.is_none() {
            rule = Some(timing);
        }
        let cost = timing.cost(rule);
        let part = if best.is_some_and(|(_, choice)| choice.is_none()) { MARGIN } else { 1.0 };
        if best.is_none_or(|(fastest, _)| cost < part * fastest) {
            best = Some((cost, candidate.choice));
        }
    }
    Ok(best.and_then(|(_, choice)| choice))
}

/// How long a candidate takes; `None` where it computes something else than it should, or its first run is not
/// `hopeful`.
async fn time(
    device: &GpuDevice,
    candidate: &Candidate,
    task: &Task<'_>,
    options: &PlanOptions,
    hopeful: impl Fn(Timing) -> bool,
) -> Result<Option<Timing>> {
    let Candidate { choice, recording, inputs, outputs } = candidate;
    let infos = task.infos.iter().cloned();
    let plan = GpuPlan::build(device, recording.clone(), inputs, outputs, infos, options).await?;
    let actual = plan.run(task.inputs, false).await?;
    let kernels: Vec<_> = plan.kernels().collect();
    if !agrees(&task.expected, &actual, &(task.bounds)(&kernels)?) {
        let name = choice.unwrap_or("the rule's choice");
        tracing::warn!("{}: {name} differs from the CPU by more than rounding explains", device.info().name);
        return Ok(None);
    }
    if !hopeful(Timing::new(&plan, plan.times(1).await?)) {
        return Ok(None);
    }
    Ok(Some(Timing::new(&plan, plan.times(RUNS).await?)))
}

fn agrees(expected: &[Tensor], actual: &[Tensor], bounds: &[Bound]) -> bool {
    let mut all = expected.iter().zip(actual).zip(bounds);
    expected.len() == bounds.len()
        && expected.len() == actual.len()
        && all.all(|((expected, actual), bound)| bound.judge(expected, actual).of_bound <= 1.0)
}

/// Milliseconds of a layer that runs alone.
#[derive(Clone, Copy, Debug)]
struct Timing {
    work: f64,
    /// Of packing operands into images and unpacking outputs, which in a network the neighbours may spare it.
    transfers: f64,
}

impl Timing {
    fn new(plan: &GpuPlan, samples: Vec<Vec<f64>>) -> Self {
        let mut timing = Timing { work: 0.0, transfers: 0.0 };
        for (kernel, mut samples) in plan.kernels().zip(samples) {
            samples.sort_by(f64::total_cmp);
            let median = samples.get(samples.len() / 2).copied().unwrap_or(0.0);
            match kernel {
                "image_pack" | "image_unpack" => timing.transfers += median,
                _ => timing.work += median,
            }
        }
        timing
    }

    /// What the layer adds to a network whose other layers are as the rule chose. Where its neighbours see the same kind of
    /// memory as they do with the rule's choice, nothing has to be transferred; else as much as the two differ by.
    fn cost(self, rule: Option<Timing>) -> f64 {
        let transfers = rule.map_or(0.0, |rule| rule.transfers);
        let is_same = rule.is_some() && (transfers > 0.0) == (self.transfers > 0.0);
        self.work + if is_same { 0.0 } else { self.transfers.max(transfers) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DeviceOptions;
    use crate::gpu::Kernel;
    use crate::ops::Gemm;
    use crate::tensor::Shape;

    fn device() -> GpuDevice {
        let options = DeviceOptions::default();
        let device = pollster::block_on(GpuDevice::open(|_| true, &options));
        device.unwrap().expect("the tests need a GPU adapter")
    }

    /// A matrix product, large enough that its time is seen, of too few rows for images.
    fn product() -> Graph {
        product_of([7, 512], [512, 1024])
    }

    fn product_of(a: [usize; 2], b: [usize; 2]) -> Graph {
        let info = |shape: [usize; 2]| Info::f32(Shape::new(shape).unwrap());
        let mut graph = Graph::new("product");
        let (a, b) = (graph.input("a", info(a)), graph.input("b", info(b)));
        let c = graph.push("c", Gemm::default(), &[a, b]).unwrap();
        graph.output(c);
        graph
    }

    /// What wins among the rule's choice and this, with these bounds or those of the operator.
    fn winner(
        corrupt: impl Fn(&mut Candidate),
        bounds_of: impl Fn(Vec<Bound>) -> Vec<Bound> + Sync,
    ) -> Choice {
        let (device, graph) = (device(), product());
        let options = PlanOptions { passes: Passes::none(), ..PlanOptions::default() };
        let node = &graph.nodes()[0];
        let operands = operands(&graph, node).unwrap();
        let (layer, inputs) = alone(&graph, node, &operands).unwrap();
        let mut candidates = candidates(&device, &layer, "gemm", &options).unwrap();
        assert!((3..=MOST).contains(&candidates.len()), "{} candidates", candidates.len());
        assert_eq!(candidates[0].choice, None);
        candidates.truncate(1);
        let flat = PlanOptions { variant: Some("gemm_flat_4"), ..options.clone() };
        let (recording, inputs_of, outputs) = record(&device, &layer, &flat, &[]).unwrap();
        candidates.push(Candidate { choice: flat.variant, recording, inputs: inputs_of, outputs });
        corrupt(&mut candidates[1]);
        let expected = reference(&layer, &inputs).unwrap();
        let task = Task {
            infos: vec![Info::f32(Shape::new([7, 1024]).unwrap())],
            inputs: &inputs,
            bounds: &|kernels| bounds(&node.op, &operands, &expected, kernels).map(&bounds_of),
            expected: expected.clone(),
        };
        pollster::block_on(fastest(&device, &candidates, &task, &options)).unwrap()
    }

    /// Does a part of the work, so that it is fast and wrong.
    fn lazy(candidate: &mut Candidate) {
        candidate.choice = Some("lazy");
        candidate.recording.dispatches.last_mut().unwrap().groups = [1, 1, 1];
    }

    #[test]
    fn a_candidate_that_computes_wrongly_never_wins() {
        assert_eq!(winner(lazy, |bounds| bounds), None);
        // Nor one whose kernel is corrupted.
        let corrupt = |candidate: &mut Candidate| {
            lazy(candidate);
            let dispatch = candidate.recording.dispatches.last_mut().unwrap();
            let source = dispatch.kernel.source().replacen("sum0 += ", "sum0 -= ", 1);
            assert_ne!(source, dispatch.kernel.source());
            dispatch.kernel = Kernel::new("corrupted", &source, dispatch.reads.len(), 1);
        };
        assert_eq!(winner(corrupt, |bounds| bounds), None);
        // It would have won by its time alone.
        let lenient = |_| vec![Bound::uniform(1e30, 7 * 1024, "anything")];
        assert_eq!(winner(lazy, lenient), Some("lazy"));
    }

    #[test]
    fn a_change_of_memory_costs_its_transfers() {
        let timing = |work, transfers| Timing { work, transfers };
        let (buffers, images) = (timing(2.0, 0.0), timing(1.0, 3.0));
        assert_eq!(buffers.cost(Some(buffers)), 2.0);
        assert_eq!(images.cost(Some(images)), 1.0);
        assert_eq!(images.cost(Some(buffers)), 4.0);
        assert_eq!(buffers.cost(Some(images)), 5.0);
        assert_eq!(images.cost(None), 4.0);
    }

    #[test]
    fn only_winners_of_this_device_are_read() {
        let read = |content: &str| parse(content.as_bytes(), "this");
        let winners = read(r#"{"device": "this", "winners": {"a": "gemm_flat_4", "b": null}}"#).unwrap();
        assert_eq!(winners, BTreeMap::from([("a".into(), Some("gemm_flat_4")), ("b".into(), None)]));
        for damaged in [
            "",
            "{",
            "[]",
            r#"{"device": "other", "winners": {}}"#,
            r#"{"winners": {}}"#,
            r#"{"device": "this"}"#,
            r#"{"device": "this", "winners": []}"#,
            r#"{"device": "this", "winners": {"a": 1}}"#,
            r#"{"device": "this", "winners": {"a": "no such kernel"}}"#,
        ] {
            assert_eq!(read(damaged), None, "{damaged}");
        }
    }

    #[test]
    fn a_key_tells_layers_apart() {
        let mut graph = product_of([128, 128], [128, 128]);
        let [a, b] = [graph.inputs()[0], graph.inputs()[1]];
        let scaled = Gemm { alpha: 2.0, ..Gemm::default() };
        graph.push("scaled", scaled, &[a, b]).unwrap();
        graph.push("again", Gemm::default(), &[b, a]).unwrap();
        let constant = graph.constant("w", Tensor::zeros([128, 128]).unwrap());
        graph.push("constant", Gemm::default(), &[a, constant]).unwrap();
        let keys: Vec<_> = graph.nodes().iter().map(|node| key(&graph, node)).collect();
        assert_eq!(keys[0], keys[2]);
        assert!(keys[0] != keys[1] && keys[0] != keys[3], "{keys:?}");
    }
}
