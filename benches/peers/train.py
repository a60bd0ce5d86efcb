"""`train.py [--runs N] [--epochs N] [--threads N] [--program PATH]`: LeNet-5 trained in batches of 64 by PyTorch and by
`wgpu-cnn` on the CPU and on the best GPU adapter, in turns, and the images per second of each, as JSON.

Needs a release build of the command line and `pip install torch numpy`. All train on the 1,437 digits with AdamW and
cross-entropy; an epoch's time is that of its 22 steps with shuffling and making batches. The median over epochs is
reported, the first one of each run left out. PyTorch is measured with one thread too: on small layers its threads can
cost more than they bring."""

import argparse
import json
import statistics
import struct
import subprocess
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
DIGITS = ROOT / "assets/digits"
BATCH = 64


def digits():
    def idx(name):
        data = (DIGITS / name).read_bytes()
        axes = data[3]
        shape = struct.unpack(f">{axes}I", data[4 : 4 + 4 * axes])
        return np.frombuffer(data, np.uint8, offset=4 + 4 * axes).reshape(shape)

    images = idx("train-images.idx3-ubyte").repeat(4, axis=1).repeat(4, axis=2)
    return images[:, None].astype(np.float32) / 255, idx("train-labels.idx1-ubyte").astype(np.int64)


def torch(epochs, threads):
    import torch as t
    from torch import nn

    t.set_num_threads(threads)
    t.manual_seed(0)
    images, labels = map(t.from_numpy, digits())
    model = nn.Sequential(
        nn.Conv2d(1, 6, 5), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2),
        nn.Flatten(), nn.Linear(400, 120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10),
    )
    rule = t.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=0.1)
    loss = nn.CrossEntropyLoss(label_smoothing=0.1)
    steps = len(images) // BATCH
    rates = []
    for _ in range(epochs):
        begun = time.perf_counter()
        for batch in t.randperm(len(images))[: steps * BATCH].split(BATCH):
            rule.zero_grad()
            loss(model(images[batch]), labels[batch]).backward()
            rule.step()
        rates.append(steps * BATCH / (time.perf_counter() - begun))
    return rates[1:]


def ours(program, device, epochs):
    command = [program, "train", "lenet5", "--data", DIGITS, "--device", device, "--batch", str(BATCH), "--shift", "0"]
    lines = subprocess.run([*command, "--epochs", str(epochs), "--json"], check=True, stdout=subprocess.PIPE).stdout
    return [json.loads(line)["images_per_s"] for line in lines.splitlines()[1:-1]]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--program", default=ROOT / "target/release/wgpu-cnn")
    args = parser.parse_args()
    trainers = {
        "torch, 1 thread": lambda: torch(args.epochs, 1),
        f"torch, {args.threads} threads": lambda: torch(args.epochs, args.threads),
        "wgpu-cnn cpu": lambda: ours(args.program, "cpu", args.epochs),
        "wgpu-cnn gpu": lambda: ours(args.program, "gpu", max(2, args.epochs // 3)),
    }
    rates = {name: [] for name in trainers}
    for _ in range(args.runs):
        for name, train in trainers.items():
            rates[name] += train()
    for name, all_rates in rates.items():
        print(json.dumps({"trainer": name, "batch": BATCH, "images_per_s": round(statistics.median(all_rates))}))


if __name__ == "__main__":
    main()
