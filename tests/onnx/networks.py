#!/usr/bin/env python3
"""The six networks of make_models.py, with random weights: as conformance cases, and by their figures.

    networks.py write --out DATA       DATA/networks/<name>/..., the list DATA/networks.txt
    networks.py figures --data DATA --prog PROG

`write` takes a random picture and onnxruntime's answer; run the cases with run_conformance.py and
`--rtol 0 --atol 0`, so that each case's own tolerance is the whole one:

    2 * 2^-24 * sqrt(K) * the largest output,  K the products summed from input to output

Rounding errors that are independent add up, over a sum of K products, to about 2^-24 sqrt(K) of the
sum's typical size; these networks keep the size of their values from layer to layer, so the layers
add up as one sum of all their K. The largest output, some standard deviations from zero, leaves room
for the worst of a thousand errors, and the 2 is for both sides. Worst-case bounds, which
generated.py uses, say nothing after fifty layers.

`figures` compares what `PROG inspect` counts with the published parameters (weights and biases, and
scale and shift of each norm) and multiply-accumulates for one image.
"""
from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import numpy_helper

import make_models

# Parameters and MACs; LeNet-5 is 117,600 + 240,000 + 48,000 + 10,080 + 840 MACs, the others are
# the figures of torchvision's networks at 224 x 224.
FIGURES = {
    "lenet5": (61_706, 416_520),
    "squeezenet1_1": (1_235_496, 349_151_936),
    "mobilenetv2": (3_504_872, 300_774_272),
    "resnet18": (11_689_512, 1_814_073_344),
    "resnet50": (25_557_032, 4_089_184_256),
    "vgg16": (138_357_544, 15_470_264_320),
}


def products(model: onnx.ModelProto) -> int:
    """K: the lengths of the sums of all convolutions and dense layers, one after the other."""
    shapes = {t.name: t.dims for t in model.graph.initializer}
    return sum(int(np.prod(shapes[node.input[1]][1:])) for node in model.graph.node
               if node.op_type in ("Conv", "Gemm"))


def write(out: Path):
    root = out / "networks"
    shutil.rmtree(root, ignore_errors=True)
    for name in FIGURES:
        model = make_models.build(name)
        data = root / name / "test_data_set_0"
        data.mkdir(parents=True)
        onnx.save(model, root / name / "model.onnx")
        value = model.graph.input[0]
        shape = [d.dim_value for d in value.type.tensor_type.shape.dim]
        image = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
        options = ort.SessionOptions()
        options.log_severity_level = 4
        session = ort.InferenceSession(root / name / "model.onnx", options, providers=["CPUExecutionProvider"])
        [answer] = session.run(None, {value.name: image})
        tolerance = 2 * 2.0**-24 * products(model) ** 0.5 * float(abs(answer).max())
        (root / name / "data.json").write_text(json.dumps({"rtol": 0, "atol": tolerance}) + "\n")
        for stem, array, label in (("input", image, value.name), ("output", answer, model.graph.output[0].name)):
            (data / f"{stem}_0.pb").write_bytes(numpy_helper.from_array(array, label).SerializeToString())
        print(f"{name}: {products(model)} products, tolerance {tolerance:.2e}, "
              f"outputs from {answer.min():.4f} to {answer.max():.4f}")
    (out / "networks.txt").write_text("\n".join(FIGURES) + "\n")


def figures(data: Path, prog: str) -> bool:
    right = 0
    for name, (parameters, macs) in FIGURES.items():
        line = [prog, "inspect", str(data / "networks" / name / "model.onnx"), "--json"]
        run = subprocess.run(line, capture_output=True, text=True)
        if run.returncode != 0:
            print(f"FAIL figures {name}: {run.stderr.strip()}")
            continue
        report = json.loads(run.stdout)
        have = report["parameters"], report["macs"]
        if have == (parameters, macs):
            right += 1
        else:
            print(f"FAIL figures {name}: {have[0]} parameters, {have[1]} MACs; published {parameters}, {macs}")
    print(f"figures: {right}/{len(FIGURES)} networks")
    return right == len(FIGURES)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tasks = ap.add_subparsers(dest="task", required=True)
    task = tasks.add_parser("write")
    task.add_argument("--out", type=Path, required=True)
    task = tasks.add_parser("figures")
    task.add_argument("--data", type=Path, required=True)
    task.add_argument("--prog", required=True)
    args = ap.parse_args()
    if args.task == "write":
        write(args.out)
        return 0
    return 0 if figures(args.data, args.prog) else 1


if __name__ == "__main__":
    sys.exit(main())
