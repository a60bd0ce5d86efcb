#!/usr/bin/env python3
"""Write random small networks, and what onnxruntime says of them, as conformance cases.

    generated.py --out DATA [--count 330] [--seed 0]

Writes DATA/generated/<name>/{model.onnx,data.json,test_data_set_0/...} and the list
DATA/generated.txt for run_conformance.py; run that with `--rtol 0 --atol 0`, so that each case's
own bound below is the whole tolerance.

Case number i has opset 11 + i mod 11. A graph has convolutions (1-D, 2-D, 3-D, transposed), pools,
norms, activations, residual sums, concatenations, gates and a head, in random order, with odd sizes,
every kind of padding, groups, dilations, ceil_mode, symbolic sizes and random weights. A node that
onnxruntime refuses or runs otherwise than ONNX defines it (see `disputed`), and a graph that leaves
nothing to look at, is drawn again.

The tolerance is a running error analysis, not a number that someone liked. With u = 2^-24, every
value x has a bound e(x) on the rounding error of *any* reasonable f32 evaluation:
  sums of K products     e = op(e(x), |w|) + (K + 8) u op(|x|, |w|, |b|)
  pools                  e = op(e(x)), and the rounding of K terms where there is a sum
  activations            e = L e(x) + 32 u max(1, |x|), L the function's Lipschitz constant
  norms, softmax, x y    first-order error propagation, see the functions below
op(...) is the very node, run by onnxruntime on magnitudes, so the bound sees the same padding and
groups. Both sides are within e of the exact output, so they must agree to 2 e; data.json holds the
largest 2 e over the outputs' elements. A graph where this exceeds a thousandth of some output's
largest magnitude would test little and is drawn again.

Every tenth case is written once more as DATA/spoiled/<name> (list DATA/spoiled.txt), with one
expected number moved by three tolerances: the driver must fail each.
"""
from __future__ import annotations

import argparse
import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

U = 2.0**-24
OPSETS = range(11, 22)
IR_VERSION = 8
LOOSEST = 1e-3  # of an output's largest magnitude
LARGEST = 40_000  # elements of one value


class Refused(Exception):
    """onnxruntime does not run this node, or not as ONNX defines it; the message says why."""


class Useless(Exception):
    """A graph that would prove nothing."""


def onnxruntime(model: onnx.ModelProto, outputs: list[str], feeds: dict) -> list[np.ndarray]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        blob = model.SerializeToString()
        session = ort.InferenceSession(blob, options, providers=["CPUExecutionProvider"])
        return session.run(outputs, feeds)
    except Exception as e:  # noqa: BLE001 - onnxruntime raises many kinds
        raise Refused(str(e).splitlines()[0][:200]) from e


def f32(array) -> np.ndarray:
    return np.asarray(array, dtype=np.float32)


# ---------------------------------------------------------------- error bounds
#
# Each takes run (the node as a function of its inputs), the node's attributes, the inputs' values
# and their bounds, and the output; it returns the output's bound. Weights are exact.

def product_sum(terms):
    """Sums of products of the first input with weights: Conv, ConvTranspose, Gemm, MatMul."""
    def bound(run, attrs, values, errors, y):
        x, w, *bias = values
        magnitudes = run([abs(x), abs(w), *map(abs, bias)], positive(attrs))
        carried = run([errors[0], abs(w), *(0 * b for b in bias)], positive(attrs))
        return carried + (terms(x, w, attrs) + 8) * U * magnitudes
    return bound


def positive(attrs):
    return {k: abs(v) if isinstance(v, float) else v for k, v in attrs.items()}


def selection(run, attrs, values, errors, y):
    """Outputs are inputs, or the largest of some."""
    return run([errors[0], *values[1:]], attrs)


def concat(run, attrs, values, errors, y):
    return run(errors, attrs)


def average(terms):
    def bound(run, attrs, values, errors, y):
        x = values[0]
        return run([errors[0]], attrs) + (terms(x, attrs) + 8) * U * run([abs(x)], attrs)
    return bound


def lp_pool(run, attrs, values, errors, y):
    # | |x + e| - |x| | <= |e| in every p-norm.
    return run([errors[0]], attrs) + (np.prod(attrs["kernel_shape"]) + 64) * U * y


def activation(lipschitz):
    def bound(run, attrs, values, errors, y):
        steepest = lipschitz(attrs) if callable(lipschitz) else lipschitz
        return steepest * errors[0] + 32 * U * np.maximum(1, abs(values[0]))
    return bound


def prelu(run, attrs, values, errors, y):
    return max(1, abs(values[1]).max()) * errors[0] + 2 * U * abs(y)


def add(run, attrs, values, errors, y):
    return errors[0] + errors[1] + U * abs(y)


def mul(run, attrs, values, errors, y):
    (a, b), (ea, eb) = map(abs, values), errors
    return a * eb + b * ea + 2 * U * abs(y)


def batch_norm(run, attrs, values, errors, y):
    x, scale, bias, mean, var = values
    along = (1, -1) + (1,) * (x.ndim - 2)
    gain = (abs(scale) / np.sqrt(var + attrs["epsilon"])).reshape(along)
    size = gain * (abs(x) + abs(mean).reshape(along)) + abs(bias).reshape(along)
    return gain * errors[0] + 8 * U * size


def normalize(axes, parameters):
    """(x - mean) / sqrt(var + epsilon) * scale + bias with the moments over `axes(x, attrs)`;
    `parameters(p, x, attrs)` shapes a scale or bias to broadcast against x."""
    def bound(run, attrs, values, errors, y):
        x, scale, *bias = values
        over = axes(x, attrs)
        if callable(over):  # group norm: moments over groups of channels
            x, e, back = over(x), over(errors[0]), x.shape
            over = tuple(range(2, x.ndim))
        else:
            e, back = errors[0], x.shape
        x, e = x.astype(np.float64), e.astype(np.float64)
        mean = lambda v: v.mean(axis=over, keepdims=True)
        n = np.prod([x.shape[a] for a in over])
        d = x - mean(x)
        ed = e + mean(e) + (n + 4) * U * mean(abs(x)) + U * abs(d)
        var = mean(d * d)
        full = var + attrs["epsilon"]
        relative = (2 * mean(abs(d) * ed) + (n + 8) * U * mean(x * x)) / (2 * full)
        out = ((ed + abs(d) * relative) / np.sqrt(full)).reshape(back)
        hat = (abs(d) / np.sqrt(full)).reshape(back)
        s = abs(parameters(scale, values[0], attrs))
        b = abs(parameters(bias[0], values[0], attrs)) if bias else 0
        return s * out + 8 * U * (s * hat + b)
    return bound


def per_channel(p, x, attrs):
    return np.repeat(p, x.shape[1] // p.size).reshape((1, -1) + (1,) * (x.ndim - 2))


def groups_of(x, attrs):
    g = attrs["num_groups"]
    return lambda v: v.reshape(v.shape[0], g, -1)


def softmax(run, attrs, values, errors, y):
    x, e = values[0].astype(np.float64), errors[0]
    axis = attrs["axis"]
    flat = attrs["opset"] < 13
    over = tuple(range(axis % x.ndim, x.ndim)) if flat else axis
    p = np.exp(x - x.max(axis=over, keepdims=True))
    n = p.sum(axis=over, keepdims=True) * 0 + np.prod([x.shape[a] for a in np.atleast_1d(over)])
    p = p / p.sum(axis=over, keepdims=True)
    spread = x.max(axis=over, keepdims=True) - x.min(axis=over, keepdims=True)
    shift = e + (p * e).sum(axis=over, keepdims=True) + (n + 16 + 6 * spread) * U
    return shift + 2 * U * abs(y) if attrs["log"] else p * shift


def kernel_terms(x, attrs):
    return np.prod(attrs["kernel_shape"])


def conv_terms(x, w, attrs):
    return np.prod(w.shape[1:])


def conv_transpose_terms(x, w, attrs):
    return x.shape[1] // attrs.get("group", 1) * np.prod(w.shape[2:])


BOUNDS = {
    "Conv": product_sum(conv_terms),
    "ConvTranspose": product_sum(conv_transpose_terms),
    "Gemm": product_sum(lambda x, w, attrs: x.shape[1]),
    "MatMul": product_sum(lambda x, w, attrs: x.shape[-1]),
    "MaxPool": selection, "GlobalMaxPool": selection, "Flatten": selection, "Reshape": selection,
    "Transpose": selection, "Dropout": selection, "Identity": selection, "Concat": concat,
    "AveragePool": average(kernel_terms),
    "GlobalAveragePool": average(lambda x, attrs: np.prod(x.shape[2:])),
    "ReduceMean": average(lambda x, attrs: np.prod([x.shape[a] for a in attrs["axes"]])),
    "LpPool": lp_pool,
    "BatchNormalization": batch_norm,
    "InstanceNormalization": normalize(lambda x, attrs: tuple(range(2, x.ndim)), per_channel),
    "LayerNormalization": normalize(
        lambda x, attrs: tuple(range(attrs["axis"] % x.ndim, x.ndim)), lambda p, x, attrs: p),
    "GroupNormalization": normalize(groups_of, per_channel),
    "Softmax": softmax, "LogSoftmax": softmax,
    "Add": add, "Mul": mul, "PRelu": prelu,
    "Relu": activation(1), "Sigmoid": activation(0.25), "Tanh": activation(1), "Clip": activation(1),
    "Elu": activation(lambda attrs: max(1, attrs["alpha"])), "Selu": activation(1.7581),
    "LeakyRelu": activation(1), "HardSigmoid": activation(lambda attrs: attrs["alpha"]),
    "HardSwish": activation(1.5), "Softplus": activation(1), "Softsign": activation(1),
    "Celu": activation(1), "Mish": activation(1.1), "Gelu": activation(1.13),
}
PRIVATE = {"opset", "log"}  # attributes that only the bounds see


# ---------------------------------------------------------------- building a graph

class Graph:
    """A graph that computes while it is built: every value has its array and its error bound."""

    def __init__(self, rng: np.random.Generator, opset: int, counts: Counter):
        self.rng, self.opset, self.counts = rng, opset, counts
        self.nodes, self.initializers, self.inputs = [], [], []
        self.value, self.error = {}, {}
        self.names = Counter()

    # -- values

    def name(self, stem: str) -> str:
        self.names[stem] += 1
        return f"{stem}_{self.names[stem]}"

    def input(self, shape) -> str:
        """A graph input; now and then with symbolic sizes."""
        name = self.name("input")
        self.value[name] = f32(self.rng.standard_normal(shape))
        self.error[name] = np.zeros(shape)
        dims = list(shape)
        if self.chance(0.3):
            dims = [f"{name}_{axis}" if axis != 1 and self.chance(0.6) else n for axis, n in enumerate(shape)]
        self.inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, dims))
        return name

    def weight(self, array) -> str:
        """An initializer, or a Constant node."""
        name = self.name("weight")
        array = np.asarray(array) if np.asarray(array).dtype == np.int64 else f32(array)
        tensor = numpy_helper.from_array(array, name)
        if self.chance(0.2):
            self.nodes.append(helper.make_node("Constant", [], [name], value=tensor))
        else:
            self.initializers.append(tensor)
        self.value[name] = array
        self.error[name] = np.zeros(array.shape)
        return name

    def normal(self, shape, scale=1.0) -> str:
        return self.weight(scale * self.rng.standard_normal(shape))

    def uniform(self, low, high, shape) -> str:
        return self.weight(self.rng.uniform(low, high, shape))

    # -- nodes

    def op(self, kind: str, inputs: list[str], outputs: int = 1, hidden=None, **attrs):
        """Adds one node, which onnxruntime must run; the name of its (first) output."""
        names = [self.name(kind.lower()) for _ in range(outputs)]
        values = [self.value[i] for i in inputs]
        y = self.execute(kind, values, attrs, outputs)
        if reason := disputed(kind, attrs, values[0].shape[2:]):
            raise Refused(f"disputed: {kind}: {reason}")
        if not all(v.size for v in y) or max(v.size for v in y) > LARGEST or not np.isfinite(y[0]).all():
            raise Refused(f"{kind}: empty, large or not finite")
        run = lambda v, a: self.execute(kind, v, {k: a[k] for k in a if k not in PRIVATE}, 1)[0].astype(np.float64)
        errors = [self.error[i] for i in inputs]
        bound = BOUNDS[kind](run, {**attrs, **(hidden or {})}, values, errors, y[0].astype(np.float64))
        self.nodes.append(helper.make_node(kind, inputs, names, name=names[0] + "_node", **attrs))
        for name, array in zip(names, y):
            self.value[name] = array
        self.error[names[0]] = np.broadcast_to(bound, y[0].shape)
        self.counts[kind] += 1
        return names[0] if outputs == 1 else names

    def execute(self, kind, values, attrs, outputs):
        infos = [helper.make_tensor_value_info(
            f"i{n}", TensorProto.INT64 if v.dtype == np.int64 else TensorProto.FLOAT, v.shape)
            for n, v in enumerate(values)]
        outs = [f"o{n}" for n in range(outputs)]
        node = helper.make_node(kind, [i.name for i in infos], outs, **attrs)
        graph = helper.make_graph([node], "node", infos, [onnx.ValueInfoProto(name=o) for o in outs])
        feeds = {i.name: v if v.dtype == np.int64 else f32(v) for i, v in zip(infos, values)}
        return onnxruntime(self.wrap(graph), outs, feeds)

    def wrap(self, graph) -> onnx.ModelProto:
        model = helper.make_model(graph, producer_name="generated",
                                  opset_imports=[helper.make_opsetid("", self.opset)])
        model.ir_version = IR_VERSION
        return model

    # -- choices

    def chance(self, p: float) -> bool:
        return self.rng.random() < p

    def pick(self, *options):
        return options[self.rng.integers(len(options))]

    def ints(self, low, high, n) -> list[int]:
        """n integers from low to high, both included."""
        return [int(v) for v in self.rng.integers(low, high + 1, n)]

    def shape(self, x: str) -> tuple[int, ...]:
        return self.value[x].shape

    def rank(self, x: str) -> int:
        return self.value[x].ndim - 2


def disputed(kind: str, attrs: dict, sizes: tuple[int, ...]) -> str | None:
    """Where onnxruntime departs from ONNX and so cannot be the judge."""
    if "kernel_shape" not in attrs:
        return None
    n = len(sizes)
    extent = [(k - 1) * d + 1 for k, d in zip(attrs["kernel_shape"], attrs.get("dilations", [1] * n))]
    strides, more = attrs.get("strides", [1] * n), attrs.get("output_padding", [0] * n)
    same = attrs.get("auto_pad", "").startswith("SAME")
    if kind == "ConvTranspose":
        # ONNX: output = input * stride. onnxruntime: never fewer than 0 cells cut off.
        if same and any(e + m < s for e, s, m in zip(extent, strides, more)):
            return "SAME would cut off less than nothing"
    elif kind.endswith("Pool"):
        if same and extent != list(attrs["kernel_shape"]):
            return "SAME ignores dilations"
        # Negative padding: onnxruntime crops, or refuses, or neither, by operator and by UPPER and LOWER.
        if same and any(-(-i // s) * s - s + e < i for i, e, s in zip(sizes, extent, strides)):
            return "SAME would pad with less than nothing"
        pads = attrs.get("pads", [0] * 2 * n)
        # ONNX: floor((input - extent) / stride) + 1 <= 0. onnxruntime truncates towards 0: one window.
        if not same and any(e > i + a + b for e, i, a, b in zip(extent, sizes, pads, pads[n:])):
            return "no window fits, but there is an output"
    return None


def padding(g: Graph, kernel, allow_auto=True) -> dict:
    """Every kind there is: absent, VALID, SAME_*, symmetric, asymmetric."""
    n = len(kernel)
    kind = g.pick("none", "valid", "same_upper", "same_lower", "symmetric", "asymmetric", "asymmetric", "notset")
    if kind == "none" or (not allow_auto and kind in ("valid", "same_upper", "same_lower")):
        return {}
    if kind in ("symmetric", "notset"):
        half = [g.ints(0, k - 1, 1)[0] for k in kernel]
        return {"pads": half + half, **({"auto_pad": "NOTSET"} if kind == "notset" else {})}
    if kind == "asymmetric":
        return {"pads": [g.ints(0, k - 1, 1)[0] for k in kernel + kernel]}
    return {"auto_pad": kind.upper()}


def window(g: Graph, rank: int, largest: int, dilate: bool) -> dict:
    kernel = g.ints(1, largest, rank)
    attrs = {"kernel_shape": kernel, **padding(g, kernel)}
    if g.chance(0.6):
        attrs["strides"] = g.ints(1, 3, rank)
    if dilate and g.chance(0.3):
        attrs["dilations"] = g.ints(1, 3 if rank < 3 else 2, rank)
    return attrs


# ---------------------------------------------------------------- layers: Graph, value -> value

def conv(g: Graph, x: str) -> str:
    rank, channels = g.rank(x), g.shape(x)[1]
    divisors = [d for d in range(1, channels + 1) if channels % d == 0]
    group = g.pick(1, 1, 1, *divisors[1:])
    out = group * g.ints(1, max(1, 13 // group), 1)[0]
    attrs = window(g, rank, 5 if rank < 3 else 3, dilate=True)
    return conv_with(g, x, out, group, attrs)


def conv_with(g: Graph, x: str, out: int, group: int, attrs: dict) -> str:
    shape = (out, g.shape(x)[1] // group, *attrs["kernel_shape"])
    inputs = [x, g.normal(shape, np.prod(shape[1:]) ** -0.5)]
    if g.chance(0.6):
        inputs.append(g.normal(out, 0.5))
    if g.chance(0.2):
        attrs = {k: v for k, v in attrs.items() if k != "kernel_shape"}  # it follows from the weight
    if group > 1:
        attrs["group"] = group
    return g.op("Conv", inputs, **attrs)


def conv_transpose(g: Graph, x: str) -> str:
    rank, channels = g.rank(x), g.shape(x)[1]
    group = g.pick(1, 1, *[d for d in range(2, channels + 1) if channels % d == 0])
    out = g.ints(1, max(1, 9 // group), 1)[0]
    kernel = g.ints(1, 4 if rank < 3 else 3, rank)
    attrs = {"kernel_shape": kernel, **padding(g, kernel), "strides": g.ints(1, 3 if rank < 3 else 2, rank)}
    if g.chance(0.3):
        attrs["dilations"] = g.ints(1, 2, rank)
    if g.chance(0.3):
        attrs["output_padding"] = [g.ints(0, s - 1, 1)[0] for s in attrs["strides"]]
    if group > 1:
        attrs["group"] = group
    inputs = [x, g.normal((channels, out, *kernel), (channels // group * np.prod(kernel)) ** -0.5)]
    if g.chance(0.5):
        inputs.append(g.normal(out * group, 0.5))
    return g.op("ConvTranspose", inputs, **attrs)


def pool(g: Graph, x: str) -> str:
    kind = g.pick("MaxPool", "MaxPool", "AveragePool", "AveragePool", "LpPool")
    dilate = kind == "MaxPool" or g.opset >= (19 if kind == "AveragePool" else 18)
    attrs = window(g, g.rank(x), 4 if g.rank(x) < 3 else 3, dilate)
    if kind != "LpPool" or g.opset >= 18:
        attrs["ceil_mode"] = int(g.chance(0.5))
    if kind == "AveragePool":
        attrs["count_include_pad"] = int(g.chance(0.5))
    if kind == "LpPool":
        attrs["p"] = g.pick(1, 2, 3)
    if kind == "MaxPool" and not g.error[x].any() and g.chance(0.5):
        # On exact inputs the indices are exact too.
        values, indices = g.op(kind, [x], outputs=2, **attrs)
        g.marked.append(indices)
        return values
    return g.op(kind, [x], **attrs)


def norm(g: Graph, x: str) -> str:
    c, spatial = g.shape(x)[1], g.shape(x)[2:]
    epsilon = float(f32(g.pick(1e-5, 1e-3, 0.1)))
    kinds = ["batch", "batch", "instance", *(["layer"] if g.opset >= 17 else []),
             *(["group"] if g.opset >= 21 else [])]
    kind = g.pick(*kinds)
    if kind == "batch":
        inputs = [x, g.uniform(-1.5, 1.5, c), g.normal(c), g.normal(c), g.uniform(0.2, 2, c)]
        return g.op("BatchNormalization", inputs, epsilon=epsilon)
    if np.prod(spatial) < 4:
        raise Useless("a norm over a handful of elements")
    if kind == "instance":
        return g.op("InstanceNormalization", [x, g.uniform(-1.5, 1.5, c), g.normal(c)], epsilon=epsilon)
    if kind == "layer":
        axis = g.pick(-1, 1, 2, -2)
        shape = g.shape(x)[axis % len(g.shape(x)):]
        inputs = [x, g.uniform(-1.5, 1.5, shape), *([g.normal(shape)] if g.chance(0.7) else [])]
        return g.op("LayerNormalization", inputs, axis=axis, epsilon=epsilon)
    groups = g.pick(*[d for d in range(1, c + 1) if c % d == 0])
    inputs = [x, g.uniform(-1.5, 1.5, c), g.normal(c)]
    return g.op("GroupNormalization", inputs, num_groups=groups, epsilon=epsilon)


def activate(g: Graph, x: str) -> str:
    kinds = ["Relu", "Relu", "LeakyRelu", "PRelu", "Sigmoid", "Tanh", "Elu", "Selu", "Clip", "HardSigmoid",
             "Softplus", "Softsign", "Celu" if g.opset >= 12 else "Elu"]
    kinds += ["HardSwish"] * (g.opset >= 14) + ["Mish"] * (g.opset >= 18) + ["Gelu"] * (g.opset >= 20)
    kind = g.pick(*kinds)
    attrs, inputs = {}, [x]
    number = lambda low, high: float(f32(g.rng.uniform(low, high)))
    if kind == "LeakyRelu":
        attrs["alpha"] = number(0.01, 0.9)
    elif kind in ("Elu", "Celu"):
        attrs["alpha"] = number(0.3, 2)
    elif kind == "HardSigmoid":
        attrs.update(alpha=number(0.1, 0.6), beta=number(0.3, 0.6))
    elif kind == "Gelu":
        attrs["approximate"] = g.pick("none", "tanh")
    elif kind == "PRelu":
        c, n = g.shape(x)[1], g.rank(x)
        inputs.append(g.uniform(-0.5, 0.9, g.pick((1,), (c,) + (1,) * n)))
    elif kind == "Clip":
        inputs += [g.weight(f32(number(-1.5, -0.2))), g.weight(f32(number(0.2, 2)))]
    return g.op(kind, inputs, **attrs)


def same_size(g: Graph, x: str, out: int) -> str:
    """A convolution that keeps the spatial size."""
    kernel = g.ints(1, 3, g.rank(x))
    attrs = {"kernel_shape": kernel, "auto_pad": g.pick("SAME_UPPER", "SAME_LOWER")}
    if g.chance(0.5):
        dilations = g.ints(1, 2, g.rank(x))
        over = [(k - 1) * d for k, d in zip(kernel, dilations)]
        attrs = {"kernel_shape": kernel, "dilations": dilations,
                 "pads": [o // 2 for o in over] + [o - o // 2 for o in over]}
    return conv_with(g, x, out, 1, attrs)


def residual(g: Graph, x: str) -> str:
    y = same_size(g, x, g.shape(x)[1])
    if g.chance(0.4):
        y = norm(g, y)
    if g.chance(0.5):
        y = same_size(g, activate(g, y), g.shape(x)[1])
    y = g.op("Add", g.pick([x, y], [y, x]))
    return activate(g, y) if g.chance(0.6) else y


def concat_branches(g: Graph, x: str) -> str:
    branches = [same_size(g, x, g.ints(1, 5, 1)[0]) for _ in range(g.pick(1, 2, 3))]
    branches = [activate(g, b) if g.chance(0.5) else b for b in branches]
    if g.chance(0.5) or len(branches) == 1:
        branches.insert(g.ints(0, len(branches), 1)[0], x)
    return g.op("Concat", branches, axis=g.pick(1, 1 - g.value[x].ndim))


def gate(g: Graph, x: str) -> str:
    """Squeeze and excitation."""
    c, n = g.shape(x)[1], g.rank(x)
    y = g.op(g.pick("GlobalAveragePool", "GlobalAveragePool", "GlobalMaxPool"), [x])
    y = conv_with(g, y, c, 1, {"kernel_shape": [1] * n})
    return g.op("Mul", [x, g.op("Sigmoid", [y])])


def bias(g: Graph, x: str) -> str:
    c, n = g.shape(x)[1], g.rank(x)
    return g.op("Add", [x, g.normal(g.pick((1,), (c,) + (1,) * n, (1, c) + (1,) * n, g.shape(x)[-1:]))])


def drop(g: Graph, x: str) -> str:
    return g.op(g.pick("Dropout", "Identity"), [x])


LAYERS = [conv] * 5 + [conv_transpose] + [pool] * 3 + [norm] * 3 + [activate] * 3 + \
    [residual] * 2 + [concat_branches] * 2 + [gate, bias, drop]


def head(g: Graph, x: str) -> str:
    """Scores: pooled or flattened, a dense layer, perhaps a softmax."""
    if g.chance(0.6):
        x = g.op(g.pick("GlobalAveragePool", "GlobalAveragePool", "GlobalMaxPool"), [x])
    elif g.opset < 18 and g.chance(0.5):
        x = g.op("ReduceMean", [x], axes=list(range(2, g.value[x].ndim)), keepdims=1)
    batch, width = g.shape(x)[0], int(np.prod(g.shape(x)[1:]))
    if g.chance(0.5):
        x = g.op("Flatten", [x], axis=1)
    else:
        x = g.op("Reshape", [x, g.weight(np.array(g.pick([0, -1], [batch, width], [-1, width]), dtype=np.int64))])
    for _ in range(g.pick(1, 1, 2)):
        width, out = g.shape(x)[1], g.ints(2, 17, 1)[0]
        if g.chance(0.7):
            across = g.chance(0.5)
            w = g.normal((out, width) if across else (width, out), width**-0.5)
            attrs = {"transB": int(across)}
            if g.chance(0.3):
                attrs.update(alpha=0.75, beta=0.5)
            x = g.op("Gemm", [x, w, g.normal(g.pick((out,), (1, out)))], **attrs)
        else:
            x = g.op("MatMul", [x, g.normal((width, out), width**-0.5)])
            if g.chance(0.7):
                x = g.op("Add", [x, g.normal(out)])
    if g.chance(0.5):
        x = soft(g, x, 1)
    return x


def soft(g: Graph, x: str, axis: int) -> str:
    kind = g.pick("Softmax", "LogSoftmax")
    return g.op(kind, [x], axis=axis, hidden={"opset": g.opset, "log": kind == "LogSoftmax"})


def draw(rng: np.random.Generator, opset: int, counts: Counter, refused: Counter) -> Graph:
    g = Graph(rng, opset, counts)
    g.marked = []  # values that become outputs beside the last
    rank = g.pick(1, 2, 2, 2, 2, 2, 3)
    size = g.ints(*{1: (5, 41), 2: (3, 23), 3: (3, 8)}[rank], rank)
    x = g.input((g.pick(1, 1, 2, 3), g.ints(1, 9, 1)[0], *size))
    todo = [LAYERS[i] for i in rng.integers(len(LAYERS), size=g.ints(2, 5, 1)[0])]
    if not {conv, conv_transpose, residual, concat_branches} & set(todo):
        todo.insert(int(rng.integers(len(todo) + 1)), conv)
    for layer in todo:
        x = attempt(g, layer, x, refused)
    if g.chance(0.15) and g.value[x].size > 1:
        g.marked.append(x)
    if g.chance(0.45):
        x = attempt(g, head, x, refused)
    elif g.chance(0.2):
        x = attempt(g, lambda g, x: soft(g, x, 1), x, refused)
    g.marked.append(x)
    return g


def attempt(g: Graph, layer, x: str, refused: Counter) -> str:
    """The layer, drawn again while onnxruntime refuses it."""
    for _ in range(20):
        mark = len(g.nodes), len(g.initializers), len(g.marked), Counter(g.counts)
        try:
            return layer(g, x)
        except Refused as e:
            refused[str(e)] += 1
        except Useless:
            pass
        del g.nodes[mark[0]:], g.initializers[mark[1]:], g.marked[mark[2]:]
        g.counts.clear()
        g.counts.update(mark[3])
    raise Useless("no such layer fits")


# ---------------------------------------------------------------- cases

def case(g: Graph, folder: Path) -> tuple[float, float]:
    """Writes the graph as a test; its tolerance, absolute and relative to the largest output."""
    outputs = list(dict.fromkeys(g.marked))
    floats = [o for o in outputs if g.value[o].dtype == np.float32]
    infos = [helper.make_tensor_value_info(
        o, TensorProto.FLOAT if o in floats else TensorProto.INT64, g.shape(o)) for o in outputs]
    if any("_" in d.dim_param for i in g.inputs for d in i.type.tensor_type.shape.dim):
        infos = [helper.make_tensor_value_info(i.name, i.type.tensor_type.elem_type,
                                               [None] * g.value[i.name].ndim) for i in infos]
    model = g.wrap(helper.make_graph(g.nodes, folder.name, g.inputs, infos, g.initializers))
    onnx.checker.check_model(model)
    inputs = {i.name: g.value[i.name] for i in g.inputs}
    want = dict(zip(outputs, onnxruntime(model, outputs, inputs)))
    tolerance = max(2 * float(g.error[o].max()) for o in floats)
    for o in floats:
        if np.ptp(want[o]) < 0.01 * abs(want[o]).max() or not tolerance < LOOSEST * abs(want[o]).max():
            raise Useless(f"tolerance {tolerance} for values within {np.ptp(want[o])}")
        # The optimised whole and the nodes one by one: onnxruntime against itself.
        if not (abs(want[o] - g.value[o]) <= tolerance).all():
            raise Refused("onnxruntime: the graph differs from its nodes")
    data = folder / "test_data_set_0"
    data.mkdir(parents=True)
    onnx.save(model, folder / "model.onnx")
    (folder / "data.json").write_text(json.dumps({"rtol": 0, "atol": tolerance}) + "\n")
    for stem, arrays in (("input", inputs), ("output", want)):
        for n, (name, array) in enumerate(arrays.items()):
            (data / f"{stem}_{n}.pb").write_bytes(numpy_helper.from_array(array, name).SerializeToString())
    return tolerance, max(tolerance / abs(want[o]).max() for o in floats)


def spoil(folder: Path, into: Path):
    """The same case with one wrong number."""
    shutil.copytree(folder, into)
    tolerance = json.loads((into / "data.json").read_text())["atol"]
    for file in into.glob("test_data_set_0/output_*.pb"):
        tensor = onnx.TensorProto()
        tensor.ParseFromString(file.read_bytes())
        array = numpy_helper.to_array(tensor).copy()
        if array.dtype == np.float32:
            array.flat[array.size // 2] += 3 * tolerance
            file.write_bytes(numpy_helper.from_array(array, tensor.name).SerializeToString())
            return


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--out", type=Path, required=True)
    ap.add_argument("--count", type=int, default=330)
    ap.add_argument("--seed", type=int, default=0)
    ap.add_argument("--verbose", action="store_true", help="print what onnxruntime refused")
    args = ap.parse_args()
    root = args.out / "generated"
    wrong = args.out / "spoiled"
    for folder in root, wrong:
        shutil.rmtree(folder, ignore_errors=True)
    used, refused, useless, names, loose = Counter(), Counter(), 0, [], []
    for i in range(args.count):
        opset = OPSETS[i % len(OPSETS)]
        name = f"generated_{i:03}_opset{opset}"
        for again in range(1000):
            counts = Counter()
            try:
                graph = draw(np.random.default_rng([args.seed, i, again]), opset, counts, refused)
                loose.append(case(graph, root / name)[1])
                break
            except Refused as e:
                refused[str(e)] += 1
            except Useless:
                useless += 1
        else:
            raise SystemExit(f"{name}: no graph in 1000 draws")
        used += counts
        names.append(name)
    for name in names[::10]:
        spoil(root / name, wrong / f"spoiled_{name}")
    for stem, members in ("generated", names), ("spoiled", [f"spoiled_{name}" for name in names[::10]]):
        (args.out / f"{stem}.txt").write_text("\n".join(members) + "\n")
    against = sum(n for reason, n in refused.items() if reason.startswith("disputed"))
    print(f"{len(names)} graphs; drawn again: {sum(refused.values()) - against} nodes or graphs that onnxruntime "
          f"refuses, {against} nodes where it departs from ONNX, {useless} graphs that prove too little")
    print("nodes: " + ", ".join(f"{k} {n}" for k, n in used.most_common()))
    print("tolerance over the largest output: " + ", ".join(
        f"{q}% under {np.percentile(loose, q):.1e}" for q in (50, 90, 100)))
    if args.verbose:
        for reason, n in refused.most_common():
            print(f"{n:5} {reason}")


if __name__ == "__main__":
    main()
