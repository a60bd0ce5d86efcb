//! Models written in place: what is read, what is refused, and with which words.

use super::proto::{
    AttributeProto, DimensionProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    TensorProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto, Words,
};
use super::*;
use crate::device::Device;
use crate::plan::PlanOptions;

fn value(name: &str, element: i32, dims: &[i64]) -> ValueInfoProto {
    let dim = dims.iter().map(|&d| match d {
        -1 => DimensionProto { dim_value: None, dim_param: Some("N".into()) },
        size => DimensionProto { dim_value: Some(size), dim_param: None },
    });
    let tensor_type =
        Some(TensorTypeProto { elem_type: element, shape: Some(TensorShapeProto { dim: dim.collect() }) });
    ValueInfoProto { name: name.into(), r#type: Some(TypeProto { tensor_type }) }
}

fn node(op: &str, inputs: &[&str], output: &str, attribute: Vec<AttributeProto>) -> NodeProto {
    NodeProto {
        input: inputs.iter().map(|s| (*s).into()).collect(),
        output: vec![output.into()],
        op_type: op.into(),
        attribute,
        ..Default::default()
    }
}

fn integer(name: &str, i: i64) -> AttributeProto {
    AttributeProto { name: name.into(), i: Some(i), r#type: 2, ..Default::default() }
}

fn floats(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
    let mut raw = Words::zeros(4 * values.len());
    raw.bytes_mut().copy_from_slice(&values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>());
    TensorProto {
        name: name.into(),
        dims: dims.into(),
        data_type: 1,
        raw_data: Some(raw),
        ..Default::default()
    }
}

fn integers(name: &str, values: &[i64]) -> TensorProto {
    let dims = vec![values.len() as i64];
    TensorProto { name: name.into(), dims, data_type: 7, int64_data: values.into(), ..Default::default() }
}

/// A model from `x` to `y`, both f32 and `x` of these sizes.
fn model(opset: i64, x: &[i64], node: Vec<NodeProto>, initializer: Vec<TensorProto>) -> ModelProto {
    let graph = GraphProto {
        name: "g".into(),
        node,
        initializer,
        input: vec![value("x", 1, x)],
        output: vec![value("y", 1, &[])],
        ..Default::default()
    };
    let opset_import = vec![OperatorSetIdProto { domain: String::new(), version: opset }];
    ModelProto { ir_version: 8, graph: Some(graph), opset_import, ..Default::default() }
}

fn read(proto: &ModelProto) -> Result<Model> {
    Model::from_bytes(&proto.encode_to_vec()[..])
}

/// Imports, runs on the CPU and returns the first output.
fn run(proto: &ModelProto, bindings: &Bindings, inputs: &[Tensor]) -> Tensor {
    let graph = read(proto).unwrap().graph(bindings).unwrap();
    let plan = Device::cpu().compile_with(&graph, &PlanOptions::default()).unwrap();
    plan.run(inputs).unwrap().swap_remove(0)
}

fn tensor(shape: &[usize], values: &[f32]) -> Tensor {
    Tensor::new(shape, values.to_vec()).unwrap()
}

#[test]
fn shape_arithmetic_leaves_no_trace_and_follows_the_batch() {
    // The chain that exporters write for a flatten: shape, its first element, joined with -1.
    let nodes = vec![
        node("Reshape", &["x", "target"], "y", vec![]),
        node("Concat", &["batch", "rest"], "target", vec![integer("axis", 0)]),
        node("Gather", &["shape", "zero"], "batch", vec![integer("axis", 0)]),
        node("Shape", &["x"], "shape", vec![]),
    ];
    let proto = model(13, &[-1, 2, 3], nodes, vec![integers("zero", &[0]), integers("rest", &[-1])]);
    let model = read(&proto).unwrap();
    assert_eq!(model.inputs()[0].dims.as_ref().unwrap()[0], Dim::Symbol("N".into()));
    for batch in [1, 5] {
        let graph = model.graph(&Bindings::new().symbol("N", batch)).unwrap();
        assert_eq!(graph.value(graph.outputs()[0]).info.shape[..], [batch, 6]);
        assert_eq!(graph.nodes().len(), 1);
    }
    assert!(matches!(model.graph(&Bindings::new()), Err(Error::Input { name, .. }) if name == "x"));
    let other = Bindings::new().shape("x", [1, 2, 4]);
    assert!(matches!(model.graph(&other), Err(Error::Input { .. })));
    let unknown = Bindings::new().symbol("N", 1).shape("z", [1]);
    assert!(matches!(model.graph(&unknown), Err(Error::Input { name, .. }) if name == "z"));
}

#[test]
fn weights_are_shared_and_not_copied() {
    let proto =
        model(13, &[-1], vec![node("Add", &["x", "w"], "y", vec![])], vec![floats("w", &[1], &[2.0])]);
    let model = read(&proto).unwrap();
    let data = |batch| {
        let graph = model.graph(&Bindings::new().symbol("N", batch)).unwrap();
        let id = graph.find("w").unwrap();
        graph.value(id).constant.as_ref().unwrap().identity()
    };
    assert_eq!(data(1), data(7));
}

#[test]
fn everything_that_is_not_supported_is_named_at_once() {
    let nodes = vec![
        node("Relu", &["x"], "a", vec![]),
        node("Frobnicate", &["a"], "b", vec![]),
        NodeProto { domain: "com.example".into(), ..node("Relu", &["b"], "c", vec![]) },
        // Reads a failed value: nothing more can be said of it.
        node("Relu", &["c"], "d", vec![]),
        node("Gelu", &["a"], "e", vec![]),
        node("Relu", &["a"], "f", vec![integer("unheard_of", 1)]),
        node("Concat", &["d", "e", "f"], "y", vec![integer("axis", 0)]),
        node("AlsoUnknown", &["a"], "unused", vec![]),
    ];
    let mut proto = model(17, &[2], nodes, vec![]);
    proto.functions = vec![FunctionProto { name: "Relu".into(), domain: "com.example".into() }];
    let Err(Error::Unsupported(list)) = read(&proto).unwrap().graph(&Bindings::new()) else {
        panic!("the model was accepted");
    };
    let named: Vec<_> = list.iter().map(|u| (u.node.as_str(), u.op.as_str())).collect();
    assert_eq!(named, [("b", "Frobnicate"), ("c", "Relu"), ("e", "Gelu"), ("f", "Relu")]);
    let text = Error::Unsupported(list).to_string();
    for part in ["com.example.Relu", "opset 17", "opsets 20 to 28", "'unheard_of'"] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn nodes_in_any_order_but_not_in_a_circle() {
    let nodes = vec![node("Neg", &["a"], "y", vec![]), node("Abs", &["x"], "a", vec![])];
    let y = run(&model(13, &[2], nodes, vec![]), &Bindings::new(), &[tensor(&[2], &[1.0, -2.0])]);
    assert_eq!(y.values::<f32>().unwrap(), [-1.0, -2.0]);

    let circle = vec![node("Add", &["x", "y"], "a", vec![]), node("Neg", &["a"], "y", vec![])];
    let error = read(&model(13, &[2], circle, vec![])).unwrap_err().to_string();
    assert!(error.contains("cycle"), "{error}");
    let twice = vec![node("Neg", &["x"], "y", vec![]), node("Abs", &["x"], "y", vec![])];
    assert!(matches!(read(&model(13, &[2], twice, vec![])), Err(Error::Onnx { .. })));
    let nothing = model(13, &[2], vec![node("Neg", &["z"], "y", vec![])], vec![]);
    assert!(read(&nothing).unwrap().graph(&Bindings::new()).unwrap_err().to_string().contains("'z'"));
}

#[test]
fn opsets_from_1_to_28_and_no_other() {
    let of = |opset| read(&model(opset, &[2], vec![node("Relu", &["x"], "y", vec![])], vec![]));
    for opset in 1..=28 {
        assert_eq!(of(opset).unwrap().graph(&Bindings::new()).unwrap().nodes().len(), 1);
    }
    for opset in [i64::MIN, -1, 0, 29, i64::MAX] {
        assert!(matches!(of(opset), Err(Error::Onnx { .. })), "{opset}");
    }
}

#[test]
fn old_broadcasts_are_matched_from_their_axis() {
    let attributes = vec![integer("broadcast", 1), integer("axis", 1)];
    let nodes = vec![node("Add", &["x", "b"], "y", attributes)];
    let proto = model(6, &[1, 2, 3], nodes, vec![floats("b", &[2], &[10.0, 20.0])]);
    let x = tensor(&[1, 2, 3], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    let y = run(&proto, &Bindings::new(), &[x]);
    assert_eq!(y.values::<f32>().unwrap(), [10.0, 11.0, 12.0, 23.0, 24.0, 25.0]);

    let plain = vec![node("Add", &["x", "b"], "y", vec![])];
    let proto = model(6, &[1, 2, 3], plain, vec![floats("b", &[3], &[1.0, 2.0, 3.0])]);
    assert!(matches!(read(&proto).unwrap().graph(&Bindings::new()), Err(Error::Unsupported(_))));
}

#[test]
fn softmax_of_old_opsets_is_over_all_axes_from_its_own() {
    let of = |opset| {
        let nodes = vec![node("Softmax", &["x"], "y", vec![integer("axis", 1)])];
        let x = tensor(&[1, 2, 2], &[0.0; 4]);
        run(&model(opset, &[1, 2, 2], nodes, vec![]), &Bindings::new(), &[x]).values::<f32>().unwrap()[0]
    };
    assert_eq!(of(12), 0.25);
    assert_eq!(of(13), 0.5);
}

#[test]
fn an_input_with_a_default_can_be_bound() {
    let mut proto =
        model(13, &[2], vec![node("Mul", &["x", "w"], "y", vec![])], vec![floats("w", &[1], &[2.0])]);
    proto.graph.as_mut().unwrap().input.push(value("w", 1, &[1]));
    let x = tensor(&[2], &[1.0, 3.0]);
    let model = read(&proto).unwrap();
    assert_eq!((model.inputs().len(), model.optional_inputs().len()), (1, 1));
    let y = |bindings: &Bindings, inputs: &[Tensor]| {
        run(&proto, bindings, inputs).values::<f32>().unwrap().to_vec()
    };
    assert_eq!(y(&Bindings::new(), std::slice::from_ref(&x)), [2.0, 6.0]);
    assert_eq!(y(&Bindings::new().tensor("w", tensor(&[1], &[5.0])), std::slice::from_ref(&x)), [5.0, 15.0]);
    assert_eq!(y(&Bindings::new().shape("w", [1]), &[x, tensor(&[1], &[-1.0])]), [-1.0, -3.0]);
}

#[test]
fn inputs_that_shapes_depend_on_are_told_apart() {
    let nodes = vec![
        node("Add", &["s", "one"], "shape", vec![]),
        node("Expand", &["x", "shape"], "e", vec![]),
        node("Gather", &["e", "i"], "y", vec![]),
    ];
    let mut proto = model(13, &[1], nodes, vec![integers("one", &[1])]);
    proto.graph.as_mut().unwrap().input.extend([value("s", 7, &[1]), value("i", 7, &[2])]);
    let model = read(&proto).unwrap();
    let needed: Vec<_> = model.inputs().iter().map(|i| (i.name.as_str(), i.needed_at_load)).collect();
    assert_eq!(needed, [("x", false), ("s", true), ("i", false)]);
    let Err(Error::Unsupported(list)) = model.graph(&Bindings::new()) else {
        panic!("the model was accepted")
    };
    assert!(list[0].reason.contains("bind"), "{}", list[0]);
    let bindings = Bindings::new().tensor("s", Tensor::new([1], vec![3i64]).unwrap());
    let y = run(&proto, &bindings, &[tensor(&[1], &[7.0]), Tensor::new([2], vec![-1i64, 0]).unwrap()]);
    assert_eq!(y.values::<f32>().unwrap(), [7.0, 7.0]);
}

#[test]
fn an_output_may_be_an_input_a_constant_or_another_output() {
    let nodes = vec![node("Relu", &["x"], "y", vec![]), node("Identity", &["y"], "z", vec![])];
    let mut proto = model(13, &[2], nodes, vec![floats("w", &[1], &[2.0])]);
    proto.graph.as_mut().unwrap().output.extend(["z", "x", "w"].map(|name| value(name, 1, &[])));
    let graph = read(&proto).unwrap().graph(&Bindings::new()).unwrap();
    let names: Vec<_> = graph.outputs().iter().map(|&id| graph.value(id).name.as_str()).collect();
    assert_eq!(names, ["y", "z", "x", "w"]);
    let outputs = Device::cpu().compile(&graph).unwrap().run(&[tensor(&[2], &[-1.0, 4.0])]).unwrap();
    let values: Vec<_> = outputs.iter().map(|t| t.values::<f32>().unwrap()).collect();
    assert_eq!(values, [&[0.0, 4.0][..], &[0.0, 4.0], &[-1.0, 4.0], &[2.0]]);
}

#[test]
fn doubles_are_exact_between_constants_and_f32_at_run_time() {
    let double = |name: &str, value: f64| TensorProto {
        name: name.into(),
        dims: vec![1],
        data_type: 11,
        double_data: vec![value],
        ..Default::default()
    };
    let nodes = vec![node("Mul", &["a", "b"], "c", vec![]), node("Add", &["x", "c"], "y", vec![])];
    // 2e200 is past f32; the product is not.
    let proto = model(13, &[1], nodes, vec![double("a", 2e200), double("b", 1e-200)]);
    let y = run(&proto, &Bindings::new(), &[tensor(&[1], &[1.0])]);
    assert_eq!(y.values::<f32>().unwrap(), [3.0]);
}

#[test]
fn a_few_bytes_cannot_ask_for_any_amount_of_memory() {
    let nodes = vec![node("ConstantOfShape", &["s"], "c", vec![]), node("Add", &["x", "c"], "y", vec![])];
    let sizes: [&[i64]; 4] = [&[1 << 20, 1 << 20], &[i64::MAX, i64::MAX], &[-1], &[1 << 29]];
    for size in sizes {
        let proto = model(13, &[1], nodes.clone(), vec![integers("s", size)]);
        assert!(matches!(read(&proto).unwrap().graph(&Bindings::new()), Err(Error::Unsupported(_))));
    }
    let proto = model(13, &[1], nodes, vec![integers("s", &[1000])]);
    let small = Bindings::new().constant_limit(3999);
    assert!(matches!(read(&proto).unwrap().graph(&small), Err(Error::Unsupported(_))));
    assert!(read(&proto).unwrap().graph(&Bindings::new().constant_limit(4000)).is_ok());

    // A length far beyond the file: 8 bytes that announce 2^40.
    let lying = [0x3a, 0x06, 0x2a, 0x80, 0x80, 0x80, 0x80, 0x80, 0x20];
    assert!(matches!(Model::from_bytes(&lying[..]), Err(Error::Onnx { .. })));
}

#[test]
fn files_cut_short_or_changed_are_errors_and_never_panics() {
    let kernel =
        AttributeProto { name: "pads".into(), ints: vec![1, 1, 1, 1], r#type: 7, ..Default::default() };
    let nodes = vec![
        node("Conv", &["x", "w"], "c", vec![kernel]),
        node("Relu", &["c"], "r", vec![]),
        node("Reshape", &["r", "s"], "y", vec![]),
    ];
    let weights = vec![floats("w", &[1, 1, 3, 3], &[0.5; 9]), integers("s", &[0, -1])];
    let bytes = model(13, &[1, 1, 4, 4], nodes, weights).encode_to_vec();
    let import = |bytes: &[u8]| {
        Model::from_bytes(bytes)
            .and_then(|m| m.graph(&Bindings::new().symbol("N", 1).constant_limit(1 << 20)))
    };
    assert!(import(&bytes).is_ok());
    for end in 0..bytes.len() {
        let _ = import(&bytes[..end]);
    }
    let mut accepted = 0;
    for at in 0..bytes.len() {
        for change in [0x01, 0x80, 0xff] {
            let mut changed = bytes.clone();
            changed[at] ^= change;
            accepted += usize::from(import(&changed).is_ok());
        }
    }
    // Names and weights can change without harm, most of the structure cannot.
    assert!(accepted > 0 && accepted < 3 * bytes.len() / 2, "{accepted} of {}", 3 * bytes.len());
}

#[test]
fn files_are_read_as_bytes_are() {
    let proto = model(13, &[1], vec![node("Add", &["x", "w"], "y", vec![])], vec![floats("w", &[1], &[2.5])]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.onnx");
    std::fs::write(&path, proto.encode_to_vec()).unwrap();
    let model = Model::open(&path).unwrap();
    assert_eq!(model.constants["w"].values::<f32>().unwrap(), [2.5]);
    assert!(matches!(Model::open(folder.path()), Err(Error::Onnx { .. } | Error::Io { .. })));
    assert!(matches!(Model::open(folder.path().join("none")), Err(Error::Io { .. })));
    std::fs::write(&path, b"").unwrap();
    assert!(matches!(Model::open(&path), Err(Error::Onnx { path: Some(_), .. })));
}

#[test]
fn operators_are_listed_by_name_once() {
    let names: Vec<_> = operators().map(|(name, _)| name).collect();
    assert!(names.is_sorted_by(|a, b| a < b));
    assert!(operators().all(|(_, opsets)| (1..=28).contains(opsets.start()) && !opsets.is_empty()));
}
