"""Writes the ONNX files of this folder.

    python -m venv venv && venv/bin/pip install onnx==1.23.2
    venv/bin/python make.py
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

rng = np.random.default_rng(0)


def weight(name, *shape):
    scale = 1 / np.sqrt(max(1, np.prod(shape[1:])))
    return numpy_helper.from_array(rng.uniform(-scale, scale, shape).astype(np.float32), name)


def positive(name, *shape):
    return numpy_helper.from_array(rng.uniform(0.5, 1.5, shape).astype(np.float32), name)


def save(file, nodes, inputs, outputs, weights):
    value = lambda name, shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
    graph = helper.make_graph(
        nodes,
        file.removesuffix(".onnx"),
        [value(*i) for i in inputs],
        [value(*o) for o in outputs],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    onnx.save(model, file)
    return model


node = helper.make_node

# A little of everything, ending in probabilities of five classes.
model = save(
    "tiny.onnx",
    [
        node("Conv", ["image", "w1", "b1"], ["c1"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        node("BatchNormalization", ["c1", "scale", "shift", "mean", "variance"], ["n1"]),
        node("Gelu", ["n1"], ["g1"]),
        node("MaxPool", ["g1"], ["p1"], kernel_shape=[2, 2], strides=[2, 2]),
        node("LRN", ["p1"], ["l1"], size=3),
        node("Conv", ["l1", "w2"], ["c2"], kernel_shape=[3, 3], pads=[1, 1, 1, 1], group=4),
        node("InstanceNormalization", ["c2", "scale", "shift"], ["i2"]),
        node("Add", ["i2", "l1"], ["a2"]),
        node("HardSwish", ["a2"], ["h2"]),
        node("ConvTranspose", ["h2", "w3"], ["t3"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Concat", ["t3", "g1"], ["cat"], axis=1),
        node("GlobalAveragePool", ["cat"], ["mean3"]),
        node("Flatten", ["mean3"], ["flat"]),
        node("Gemm", ["flat", "w4", "b4"], ["scores"], transB=1),
        node("Softmax", ["scores"], ["probabilities"]),
    ],
    [("image", ["batch", 3, 8, 8])],
    [("probabilities", ["batch", 5])],
    [
        weight("w1", 4, 3, 3, 3),
        weight("b1", 4),
        positive("scale", 4),
        weight("shift", 4),
        weight("mean", 4),
        positive("variance", 4),
        weight("w2", 4, 1, 3, 3),
        weight("w3", 4, 2, 2, 2),
        weight("w4", 5, 6),
        weight("b4", 5),
    ],
)
onnx.checker.check_model(model, full_check=True)

# Three nodes that cannot be imported, each for a reason of its own, and one that can.
save(
    "unsupported.onnx",
    [
        node("Relu", ["image"], ["r"]),
        node("Det", ["r"], ["d"], name="determinant"),
        node("Frobnicate", ["r"], ["f"], name="frobnicated", domain="com.example"),
        node("Conv", ["image", "wrong"], ["c"], name="too_deep", kernel_shape=[3, 3]),
        node("Add", ["d", "f"], ["s"]),
        node("Add", ["s", "c"], ["y"]),
    ],
    [("image", [1, 3, 8, 8])],
    [("y", None)],
    [weight("wrong", 4, 2, 3, 3)],
)
