"""Checks that onnxruntime runs the ONNX files the library writes, and computes what the library computes.

    python tests/onnx/exported.py --prog target/release/wgpu-cnn [--cases target/tmp/export]

Two parts:

- networks: `PROG export NAME FILE` writes networks of the zoo; onnxruntime and `PROG run FILE --device cpu` must agree on
  a random image. (`tests/export.rs` shows that the library computes the same from the file as from the network itself.)
- operators: with --cases, the folder that `cargo test --test export` leaves behind: model.onnx, input_N.npy and
  output_N.npy for every operator in every variant of its attributes; onnxruntime must compute the outputs.

Every file must also pass ONNX's own checker, with shape inference. Exit code 0 if all agree, 1 with a list if not.
Needs onnx, onnxruntime and numpy.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime

NETWORKS = ["lenet5", "squeezenet1_1", "mobilenet_v2", "resnet18"]

# One rounding of the largest output.
ROUNDING = 2.0**-24
# Two orders of summation over the few terms of a case, and two ways to compute a function; 6 are seen.
OPERATOR_ROUNDINGS = 16
# The same through up to 53 layers.
NETWORK_ROUNDINGS = 1024


def session(file):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def difference(expected, actual, roundings):
    """What is wrong with `actual`, or None."""
    if expected.shape != actual.shape or expected.dtype != actual.dtype:
        return f"{actual.dtype}{list(actual.shape)} instead of {expected.dtype}{list(expected.shape)}"
    if expected.dtype != np.float32:
        return None if np.array_equal(expected, actual) else f"{actual} instead of {expected}"
    finite = np.isfinite(expected)
    if not np.array_equal(expected[~finite], actual[~finite], equal_nan=True):
        return "NaN or infinity in the wrong place"
    largest = np.abs(expected[finite]).max(initial=0.0)
    error = np.abs(expected[finite].astype(np.float64) - actual[finite]).max(initial=0.0)
    bound = roundings * ROUNDING * largest
    return None if error <= bound else f"error {error:.3g}, permitted {bound:.3g}"


def check_case(folder):
    file = folder / "model.onnx"
    onnx.checker.check_model(onnx.load(file), full_check=True)
    run = session(file)
    feed = {}
    for i, port in enumerate(run.get_inputs()):
        feed[port.name] = np.load(folder / f"input_{i}.npy")
    for i, actual in enumerate(run.run(None, feed)):
        expected = np.load(folder / f"output_{i}.npy")
        wrong = difference(expected, np.asarray(actual), OPERATOR_ROUNDINGS)
        if wrong:
            raise AssertionError(f"output {i}: {wrong}")


def check_network(prog, name, folder):
    file = folder / f"{name}.onnx"
    subprocess.run([prog, "export", name, str(file)], check=True, stdout=subprocess.DEVNULL)
    onnx.checker.check_model(onnx.load(file), full_check=True)
    run = session(file)
    (port,) = run.get_inputs()
    image = np.random.default_rng(1).standard_normal(port.shape).astype(np.float32)
    np.save(folder / "input.npy", image)
    outputs = folder / name
    outputs.mkdir()
    command = [prog, "run", str(file), "--input", f"{port.name}={folder / 'input.npy'}", "--output-dir", str(outputs)]
    subprocess.run(command + ["--device", "cpu"], check=True, stdout=subprocess.DEVNULL)
    written = sorted(outputs.glob("*.npy"))
    expected = run.run(None, {port.name: image})
    if len(written) != 1 or len(expected) != 1:
        raise AssertionError(f"{len(written)} and {len(expected)} outputs, not one")
    wrong = difference(expected[0], np.load(written[0]), NETWORK_ROUNDINGS)
    if wrong:
        raise AssertionError(wrong)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--prog", required=True, help="the command line program")
    parser.add_argument("--cases", type=pathlib.Path, help="the folder of cases that tests/export.rs left")
    args = parser.parse_args()

    failures = []

    def attempt(name, check, *arguments):
        try:
            check(*arguments)
        except Exception as reason:  # whatever it is, it belongs into the list
            failures.append(f"{name}: {str(reason).strip().splitlines()[0]}")

    with tempfile.TemporaryDirectory() as folder:
        for name in NETWORKS:
            attempt(name, check_network, args.prog, name, pathlib.Path(folder))
    print(f"networks: {len(NETWORKS) - len(failures)} of {len(NETWORKS)} agree with onnxruntime {onnxruntime.__version__}")

    if args.cases:
        cases = sorted(case for case in args.cases.iterdir() if case.is_dir())
        if not cases:
            failures.append(f"{args.cases}: no cases; run `cargo test --test export` first")
        before = len(failures)
        for case in cases:
            attempt(case.name, check_case, case)
        print(f"operators: {len(cases) - (len(failures) - before)} of {len(cases)} cases agree")

    for failure in failures:
        print(failure)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
