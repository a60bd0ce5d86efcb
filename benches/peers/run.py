#!/usr/bin/env python3
"""Times wgpu-cnn and its peers on the same ONNX files, on this machine, in alternation.

Needs Python 3.11, cargo, and a way to the package registries for the first run. What it installs and writes goes to
target/: a virtual environment (peers-venv, about 400 MB), the Rust peers (peers-rust), models and results (peers).
wgpu-cnn itself is built with `cargo build --release -p wgpu-cnn-cli` unless --no-build is given.

Each round runs every peer once on a model before the next round begins, so that whatever else the machine does hits all
alike. A peer's time in a round is the median of its runs after warm-up, from an input in host memory to the output there;
the table has the median of the rounds. f32, a fixed number of threads (also of a software adapter), one input for all.
Outputs are compared with onnxruntime's before anything is timed; one that differs by more than 1e-3 of the largest output
is marked WRONG.

Peers: onnxruntime, ncnn, tract, rten; with a Vulkan adapter ncnn-vulkan; only when asked for by --peers: torch, which is
installed by then (on Linux the registry's own build brings CUDA along, several GB; point pip at a CPU-only one with
PIP_INDEX_URL), and burn-wgpu, which compiles for many minutes and tunes itself for minutes per model.
"""

import argparse
import datetime
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TARGET = ROOT / "target"
VENV = TARGET / "peers-venv"
WORK = TARGET / "peers"
CLI = TARGET / "release" / "wgpu-cnn"
PNNX = "pnnx==20261020"
RUST = TARGET / "peers-rust" / "release" / "peer"

MODELS = ["lenet5", "squeezenet1_1", "mobilenetv2", "resnet18", "resnet50", "vgg16"]
OURS = ["wgpu-cnn cpu", "wgpu-cnn gpu"]
PYTHON = ["onnxruntime", "ncnn", "ncnn-vulkan", "torch"]
DEFAULT = [*OURS, "onnxruntime", "ncnn", "tract", "rten", "ncnn-vulkan"]
PEERS = [*DEFAULT, "torch", "burn-wgpu"]
# These run on a GPU adapter, a software one included.
ADAPTER = ["wgpu-cnn gpu", "ncnn-vulkan", "burn-wgpu"]
REFERENCE = "onnxruntime"


def arguments():
    def names(known):
        def parse(text):
            chosen = [name.strip() for name in text.split(",") if name.strip()]
            unknown = [name for name in chosen if name not in known]
            if unknown or not chosen:
                raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there are {', '.join(known)}")
            return chosen
        return parse

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=names(MODELS), default=MODELS, metavar="A,B", help=", ".join(MODELS))
    parser.add_argument("--peers", type=names(PEERS), default=DEFAULT, metavar="A,B", help=", ".join(PEERS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--runs", type=int, default=20, help="measured runs of a peer in a round [20]")
    parser.add_argument("--adapter-runs", type=int, default=5, help="the same on GPU adapters [5]")
    parser.add_argument("--warm-up", type=int, default=3, help="runs before those [3]")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="gpu", help="the adapter of 'wgpu-cnn gpu', by a part of its name")
    parser.add_argument("--program", type=Path, default=CLI, help="the wgpu-cnn to measure [target/release/wgpu-cnn]")
    parser.add_argument("--no-build", action="store_true", help="take the Rust programs as they are")
    parser.add_argument("--prepare-only", action="store_true", help="install, build and write models; measure nothing")
    args = parser.parse_args()
    if min(args.rounds, args.runs, args.adapter_runs, args.threads) < 1 or args.warm_up < 0:
        parser.error("rounds, runs and threads start at 1")
    if REFERENCE not in args.peers:
        args.peers = [REFERENCE, *args.peers]
    return args


def enter_venv(args):
    """Goes on in the virtual environment, made if need be."""
    python = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if Path(sys.prefix).resolve() == VENV.resolve():
        return
    if not python.exists():
        venv.create(VENV, with_pip=True)
    pip = [python, "-m", "pip", "install", "--quiet"]
    torch = ["torch"] if "torch" in args.peers else []
    subprocess.run([*pip, "--requirement", HERE / "requirements.txt", *torch], check=True)
    # Its Python functions need PyTorch; the converter, which is all that is used, does not.
    subprocess.run([*pip, "--no-deps", PNNX], check=True)
    sys.exit(subprocess.run([python, __file__, *sys.argv[1:]]).returncode)


def build(args):
    def cargo(*words, **options):
        subprocess.run(["cargo", *words], check=True, **options)

    if set(OURS) & set(args.peers):
        cargo("build", "--release", "--package", "wgpu-cnn-cli", cwd=ROOT)
    if {"tract", "rten", "burn-wgpu"} & set(args.peers):
        features = ["--features", "burn"] if "burn-wgpu" in args.peers else []
        cargo("build", "--release", "--locked", *features, cwd=HERE / "rust",
              env=os.environ | {"CARGO_TARGET_DIR": str(TARGET / "peers-rust")})


def write_models(names):
    """Writes each model that is not there yet, and an input for it, seeded."""
    import numpy as np
    import onnx

    missing = [name for name in names if not model(name).exists()]
    if missing:
        script = ROOT / "tests" / "onnx" / "make_models.py"
        subprocess.run([sys.executable, script, "--out", WORK, *missing], check=True)
    for name in names:
        graph = onnx.load(model(name), load_external_data=False).graph
        shape = [dim.dim_value for dim in graph.input[0].type.tensor_type.shape.dim]
        np.save(input_file(name), np.random.default_rng(0).standard_normal(shape, dtype=np.float32))


def model(name):
    return WORK / f"{name}.onnx"


def input_file(name):
    return WORK / f"{name}.input.npy"


def output_file(peer, name):
    return WORK / f"{name}.{peer.replace(' ', '-')}.npy"


class Failed(Exception):
    """A peer ended with an error."""


def run(command, threads):
    """What a program prints on stdout, its thread counts set."""
    variables = ["RAYON_NUM_THREADS", "OMP_NUM_THREADS", "RTEN_NUM_THREADS", "LP_NUM_THREADS"]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, cwd=WORK,
                          env=os.environ | {name: str(threads) for name in variables})
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise Failed(lines[-1] if lines else f"it ended with {done.returncode}")
    return done.stdout


def device(peer, args):
    return "cpu" if peer == "wgpu-cnn cpu" else args.device


def compute(peer, name, args):
    """Writes a peer's output for a model's input."""
    output = output_file(peer, name)
    if peer not in OURS:
        time(peer, name, args, runs=1, warm_up=0, more=["--output", output])
        return
    folder = WORK / "out"
    folder.mkdir(exist_ok=True)
    run([args.program.resolve(), "run", model(name), "--device", device(peer, args),
         "--input", f"input={input_file(name)}", "--output-dir", folder], args.threads)
    (folder / "output.npy").replace(output)


def time(peer, name, args, runs, warm_up, more=()):
    """The median milliseconds of a peer's run, over `runs` of them in one process."""
    if peer in OURS:
        lines = run([args.program.resolve(), "bench", model(name), "--json", "--device", device(peer, args),
                     "--runs", runs], args.threads)
        return json.loads(lines)["median_ms"]
    program = [sys.executable, HERE / "python_peer.py"] if peer in PYTHON else [RUST]
    lines = run([*program, peer, model(name), "--input", input_file(name), "--runs", runs, "--warm-up", warm_up,
                 "--threads", args.threads, *more], args.threads)
    return statistics.median(json.loads(lines.splitlines()[-1])["times_ms"])


def error(peer, name):
    """How far a peer's output is from the reference's, absolute and as a share of the largest reference output."""
    import numpy as np

    ours, reference = (np.load(output_file(p, name)).astype(np.float64) for p in (peer, REFERENCE))
    if ours.size != reference.size:
        return math.inf, math.inf
    largest = float(np.abs(ours.reshape(reference.shape) - reference).max())
    largest = math.inf if math.isnan(largest) else largest
    return largest, largest / float(np.abs(reference).max())


def measure(args):
    """Per model and peer its rounds' medians, and its error or why it failed."""
    times, errors, failures = {}, {}, {}
    # The reference comes first: the others are compared with it.
    peers = sorted(args.peers, key=lambda peer: peer != REFERENCE)
    for name in args.models:
        for peer in peers:
            key = name, peer
            try:
                compute(peer, name, args)
                errors[key] = error(peer, name)
                times[key] = []
            except Failed as why:
                failures[key] = str(why)
        for number in range(args.rounds):
            for peer in [peer for peer in peers if (name, peer) in times]:
                runs = args.adapter_runs if peer in ADAPTER else args.runs
                try:
                    times[name, peer].append(time(peer, name, args, runs, args.warm_up))
                except Failed as why:
                    failures[name, peer] = str(why)
                    del times[name, peer]
            print(f"{name}: round {number + 1} of {args.rounds}", file=sys.stderr)
    return {key: statistics.median(rounds) for key, rounds in times.items()}, errors, failures


def number(value):
    """Three significant digits."""
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.{2 if value >= 1 else 3}f}" if value < 10 else f"{value:.1f}"


def table(args, medians, errors, failures):
    """Medians in ms, in brackets the ratio to the reference; then the geometric mean of the ratios, and the largest
    error over the models, as a share of the largest output."""
    lines = [f"| ms, median (ratio to {REFERENCE}) | {' | '.join(args.models)} | geometric mean | max error |",
             "| --- |" + " ---: |" * (len(args.models) + 2)]
    for peer in args.peers:
        cells, ratios, shares = [], [], []
        for name in args.models:
            key = name, peer
            if key not in medians:
                cells.append("failed" if key in failures else "-")
                continue
            ratio = medians[key] / medians[name, REFERENCE] if (name, REFERENCE) in medians else math.nan
            _, share = errors[key]
            shares.append(share)
            ratios.append(ratio)
            wrong = " WRONG" if share > 1e-3 else ""
            cells.append(f"{number(medians[key])} ({ratio:.2f}){wrong}")
        complete = len(ratios) == len(args.models) and not any(map(math.isnan, ratios))
        mean = f"{statistics.geometric_mean(ratios):.2f}" if complete else "-"
        worst = f"{max(shares):.1e}" if shares and peer != REFERENCE else "-"
        lines.append(f"| {peer} | {' | '.join(cells)} | {mean} | {worst} |")
    lines += [f"\n{name}, {peer}: {why}" for (name, peer), why in failures.items()]
    return "\n".join(lines)


def heading(args):
    """What ran where."""
    from importlib.metadata import version

    crates = (HERE / "rust" / "Cargo.lock").read_text().split("[[package]]")
    versions = {name: version(name) for name in ["onnxruntime", "ncnn", "torch"] if name in args.peers}
    for peer, crate in [("tract", "tract-onnx"), ("rten", "rten"), ("burn-wgpu", "burn")]:
        if peer in args.peers:
            text = next(text for text in crates if f'\nname = "{crate}"\n' in text)
            versions[peer] = text.split('version = "')[1].split('"')[0]
    devices = [json.loads(line) for line in run([args.program.resolve(), "devices", "--json"], args.threads).splitlines()]
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    return "\n".join([
        f"Date: {datetime.datetime.now():%Y-%m-%d %H:%M}, {platform.system()} {platform.machine()}, load {load} at start",
        *(f"Device: {d['name']} ({d['backend']}, {d['driver']})" for d in devices),
        "Peers: " + ", ".join(f"{name} {number}" for name, number in versions.items()),
        f"Batch 1, f32, {args.threads} threads; {args.rounds} rounds of {args.runs} runs, "
        f"{args.adapter_runs} on adapters\n"])


def main():
    args = arguments()
    enter_venv(args)
    WORK.mkdir(parents=True, exist_ok=True)
    if not args.no_build:
        build(args)
    write_models(args.models)
    if args.prepare_only:
        return
    head = heading(args)
    text = f"{head}\n{table(args, *measure(args))}"
    (WORK / "results.md").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
