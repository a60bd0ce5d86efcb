"""`python_peer.py ENGINE MODEL.onnx --input IN.npy [--output OUT.npy] [--runs N] [--warm-up N] [--threads N]`: runs an
ONNX file of one input and one output on another engine, and prints its times in milliseconds as one JSON object."""

import argparse
import contextlib
import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np


def onnxruntime(path, threads):
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: session.run(None, {name: x})[0]


def ncnn(path, threads, vulkan=False):
    import ncnn as n

    if vulkan and n.get_gpu_count() == 0:
        sys.exit("ncnn finds no Vulkan adapter")
    path = Path(path)
    param = path.with_suffix(".ncnn.param")
    if not param.exists():
        # The package's converter; importing the package itself would need PyTorch.
        pnnx = Path(importlib.util.find_spec("pnnx").origin).with_name("pnnx")
        subprocess.run([pnnx, path, "fp16=0"], check=True, stdout=subprocess.DEVNULL)
    net = n.Net()
    net.opt.num_threads = threads
    net.opt.use_vulkan_compute = vulkan
    for option in ["fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_storage"]:
        setattr(net.opt, f"use_{option}", False)
    if net.load_param(str(param)) != 0 or net.load_model(str(path.with_suffix(".ncnn.bin"))) != 0:
        sys.exit("ncnn does not load the model that pnnx wrote")

    def run(x):
        with net.create_extractor() as extractor:
            # ncnn has no batch axis.
            extractor.input("in0", n.Mat(x[0]).clone())
            failed, output = extractor.extract("out0")
            if failed:
                sys.exit("ncnn does not run the model")
            return np.array(output)

    return run


def torch(path, threads):
    """The file's nodes, each as the PyTorch function of the same name, eagerly."""
    import onnx
    import torch as t
    import torch.nn.functional as f

    t.set_num_threads(threads)
    t.set_grad_enabled(False)
    graph = onnx.load(path).graph
    weights = {w.name: t.from_numpy(onnx.numpy_helper.to_array(w).copy()) for w in graph.initializer}

    def two(pads):
        if pads[:2] != pads[2:]:
            sys.exit(f"padding {pads} differs before and behind")
        return pads[:2]

    def conv(a, x, w, b=None):
        return f.conv2d(x, w, b, a["strides"], two(a["pads"]), a["dilations"], a["group"])

    def max_pool(a, x):
        return f.max_pool2d(x, a["kernel_shape"], a["strides"], two(a["pads"]), ceil_mode=bool(a["ceil_mode"]))

    def average_pool(a, x):
        return f.avg_pool2d(x, a["kernel_shape"], a["strides"], two(a["pads"]), bool(a["ceil_mode"]), False)

    def batch_norm(a, x, scale, shift, mean, variance):
        return f.batch_norm(x, mean, variance, scale, shift, eps=a["epsilon"])

    functions = {
        "Add": lambda a, x, y: x + y,
        "AveragePool": average_pool,
        "BatchNormalization": batch_norm,
        "Clip": lambda a, x, low, high: f.hardtanh(x, low.item(), high.item()),
        "Concat": lambda a, *xs: t.cat(xs, a["axis"]),
        "Conv": conv,
        "Flatten": lambda a, x: x.flatten(a["axis"]),
        "Gemm": lambda a, x, w, b: f.linear(x, w if a["transB"] else w.T, b),
        "GlobalAveragePool": lambda a, x: x.mean((2, 3), keepdim=True),
        "MaxPool": max_pool,
        "Relu": lambda a, x: f.relu(x),
        "Softmax": lambda a, x: f.softmax(x, a["axis"]),
        "Tanh": lambda a, x: t.tanh(x),
    }
    steps = []
    for node in graph.node:
        if node.op_type not in functions:
            sys.exit(f"{node.op_type} is not translated to PyTorch")
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        steps.append((functions[node.op_type], attributes, list(node.input), node.output[0]))
    last = {name: i for i, (_, _, inputs, _) in enumerate(steps) for name in inputs}

    def run(x):
        values = {graph.input[0].name: t.from_numpy(x)}
        for i, (function, attributes, inputs, output) in enumerate(steps):
            operands = [weights.get(name, values.get(name)) for name in inputs]
            values[output] = function(attributes, *operands)
            for name in inputs:
                if last[name] == i:
                    values.pop(name, None)
        return values[graph.output[0].name].numpy()

    return run


ENGINES = {
    "onnxruntime": onnxruntime,
    "ncnn": ncnn,
    "ncnn-vulkan": lambda path, threads: ncnn(path, threads, vulkan=True),
    "torch": torch,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engine", choices=ENGINES)
    parser.add_argument("model")
    parser.add_argument("--input", required=True)
    parser.add_argument("--output")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--warm-up", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    x = np.load(args.input)

    def timed(function, *operands):
        begun = time.perf_counter()
        result = function(*operands)
        return 1e3 * (time.perf_counter() - begun), result

    # The engines' own messages must not mix with the result.
    with contextlib.redirect_stdout(sys.stderr):
        load, run = timed(ENGINES[args.engine], args.model, args.threads)
        first, output = timed(run, x)
        for _ in range(args.warm_up):
            run(x)
        times = [timed(run, x)[0] for _ in range(args.runs)]
    if args.output:
        np.save(args.output, output)
    print(json.dumps({"load_ms": load, "first_ms": first, "times_ms": times}))


if __name__ == "__main__":
    main()
