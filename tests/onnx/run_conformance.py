#!/usr/bin/env python3
"""Run ONNX backend-style test directories through a command and compare outputs.

    run_conformance.py --prog 'target/release/PROG' core.txt models.txt
    run_conformance.py --prog PROG --batch --jobs 2 core.txt
    run_conformance.py --self-check core.txt            # onnx ReferenceEvaluator in place of PROG

A list file holds one test directory name per line ('#' starts a comment); a name is
looked up as DATA/<kind>/<name> or DATA/<name> (DATA from --data, see prepare_data.py).
The file's stem is the label used in the last line:  conformance: 412/430 core, 9/9 models

What PROG must do
  PROG run MODEL --input NAME=FILE.npy ... --output-dir DIR
      write one DIR/<output name>.npy per graph output, little-endian C order, in the
      dtype the model declares; every character of the name outside [A-Za-z0-9._-]
      becomes '_' in the file name.  NAME may contain '='-free slashes etc.; split at
      the last '='.  All inputs are known when the model is loaded, so integer inputs
      (shapes, axes, pads) may be treated as constants.  Exit 0, or non-zero with the
      reason on the last line of stderr.  The call can be changed with --template.
  PROG run-batch MANIFEST.jsonl                          (--batch)
      one JSON object per line, handled in order:
      {"id": .., "model": path, "inputs": {name: npy}, "outputs": {name: npy},
       "output_dir": dir}
      write each output to the path given; for a test that cannot be run write the
      reason to <output_dir>/error.txt and go on.  If the process dies, the first test
      without outputs or error.txt is counted as the one that killed it and the rest of
      the manifest is given to a new process.

Exit status: 0 when every list reaches its threshold (--min PERCENT, or --min LABEL=COUNT),
1 when one does not, 2 for a usage error.
"""
from __future__ import annotations

import argparse
import concurrent.futures as cf
import fnmatch
import json
import multiprocessing
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path

for _v in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_v, "1")

import numpy as np
import onnx
from onnx import numpy_helper

TEMPLATE = "{prog} run {model} {inputs} --output-dir {outdir}"


@dataclass
class Case:
    label: str
    name: str
    path: Path
    rtol: float
    atol: float
    reason: str | None = None      # None = passed
    seconds: float = 0.0
    sets: list = field(default_factory=list)


def safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)


def load_pb(path: Path):
    tensor = onnx.TensorProto()
    tensor.ParseFromString(path.read_bytes())
    array = numpy_helper.to_array(tensor)
    if array.dtype == object or array.dtype.isbuiltin != 1:
        raise ValueError(f"{path.name}: dtype {array.dtype} has no .npy form")
    return array


def numbered(folder: Path, stem: str):
    files = {int(m[1]): p for p in folder.glob(f"{stem}_*.pb")
             if (m := re.fullmatch(rf"{stem}_(\d+)\.pb", p.name))}
    return [files[i] for i in sorted(files)]


def load_sets(path: Path):
    """-> [(inputs {name: array}, expected {name: array})] for each test_data_set_*"""
    model = onnx.load(path / "model.onnx", load_external_data=False)
    inits = {t.name for t in model.graph.initializer}
    free = [v.name for v in model.graph.input if v.name not in inits]
    outs = [v.name for v in model.graph.output]
    sets = []
    for folder in sorted(path.glob("test_data_set_*")):
        ins = [load_pb(p) for p in numbered(folder, "input")]
        exp = [load_pb(p) for p in numbered(folder, "output")]
        names = free if len(ins) <= len(free) else [v.name for v in model.graph.input]
        sets.append((dict(zip(names, ins)), dict(zip(outs, exp))))
    if not sets:
        raise ValueError("no test_data_set_*")
    return sets


def compare(expected: dict, got: dict, rtol: float, atol: float):
    """None when equal, else one line saying what differs."""
    for name, want in expected.items():
        have = got.get(name)
        if have is None:
            return f"output {name}: missing"
        have = np.asarray(have)
        if have.shape != want.shape:
            return f"output {name}: shape {list(have.shape)}, expected {list(want.shape)}"
        if have.dtype != want.dtype:
            return f"output {name}: dtype {have.dtype}, expected {want.dtype}"
        if want.dtype.kind in "biu":
            bad = int((have != want).sum())
            if bad:
                return f"output {name}: {bad}/{want.size} elements differ"
            continue
        h, w = have.astype(np.float64), want.astype(np.float64)
        close = np.isclose(h, w, rtol=rtol, atol=atol, equal_nan=True)
        if not close.all():
            with np.errstate(all="ignore"):
                err = np.abs(h - w)
            err = np.where(np.isfinite(err), err, np.inf)[~close]
            return (f"output {name}: {int((~close).sum())}/{want.size} elements differ, "
                    f"max abs {err.max():.3g} (rtol {rtol:g}, atol {atol:g})")
    return None


# ---------------------------------------------------------------- engines

def run_reference(case: Case, engine: str, limit: float):
    """In-process: onnx ReferenceEvaluator, or onnxruntime's CPU provider."""
    def too_long(*_):
        raise TimeoutError(f"over {limit:g} s")
    signal.signal(signal.SIGALRM, too_long)
    signal.setitimer(signal.ITIMER_REAL, limit)
    start = time.time()
    try:
        warnings.filterwarnings("ignore")
        file = str(case.path / "model.onnx")
        if engine == "reference":
            from onnx.reference import ReferenceEvaluator
            session = ReferenceEvaluator(file)
            run = lambda feeds: dict(zip(session.output_names, session.run(None, feeds)))
        else:
            import onnxruntime as ort
            opts = ort.SessionOptions()
            opts.intra_op_num_threads = opts.inter_op_num_threads = 1
            opts.log_severity_level = 4
            session = ort.InferenceSession(file, opts, providers=["CPUExecutionProvider"])
            names = [o.name for o in session.get_outputs()]
            run = lambda feeds: dict(zip(names, session.run(None, feeds)))
        for inputs, expected in load_sets(case.path):
            reason = compare(expected, run(inputs), case.rtol, case.atol)
            if reason:
                return reason, time.time() - start
        return None, time.time() - start
    except Exception as e:  # noqa: BLE001 - any failure is a failed test
        return f"{type(e).__name__}: {str(e).strip().splitlines()[0][:200] if str(e) else ''}", \
            time.time() - start
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def stage(case: Case, work: Path):
    """Write inputs as .npy; -> [(inputs {name: file}, outputs {name: file}, outdir, expected)]"""
    staged = []
    for i, (inputs, expected) in enumerate(load_sets(case.path)):
        base = work / case.label / case.name / str(i)
        (base / "out").mkdir(parents=True)
        files = {}
        for j, (name, array) in enumerate(inputs.items()):
            files[name] = base / f"in{j}.npy"
            np.save(files[name], np.require(array, requirements="C"))
        outs = {name: base / "out" / (safe(name) + ".npy") for name in expected}
        staged.append((files, outs, base / "out", expected))
    return staged


def read_back(outs: dict):
    got = {}
    for name, file in outs.items():
        if file.exists():
            got[name] = np.load(file, allow_pickle=False)
    return got


def tail(text: bytes):
    lines = [ln for ln in text.decode(errors="replace").splitlines() if ln.strip()]
    return lines[-1].strip()[:300] if lines else "(no message)"


def command(argv, limit):
    """-> (status or None on timeout, stderr); the whole process group is ended on timeout."""
    proc = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, start_new_session=True)
    try:
        out, err = proc.communicate(timeout=limit)
        return proc.returncode, err or out
    except subprocess.TimeoutExpired:
        os.killpg(proc.pid, signal.SIGKILL)
        proc.communicate()
        return None, b""


def device(args):
    return ["--device", args.device] if args.device else []


def run_single(case: Case, args, work: Path):
    start = time.time()
    try:
        for files, outs, outdir, expected in stage(case, work):
            argv = []
            for word in shlex.split(args.template):
                if word == "{prog}":
                    argv += shlex.split(args.prog)
                elif word == "{inputs}":
                    for name, file in files.items():
                        argv += ["--input", f"{name}={file}"]
                else:
                    argv.append(word.format(model=case.path / "model.onnx", outdir=outdir))
            argv += device(args)
            status, err = command(argv, args.timeout)
            if status is None:
                return f"timeout after {args.timeout:g} s", time.time() - start
            if status != 0:
                return f"exit {status}: {tail(err)}", time.time() - start
            reason = compare(expected, read_back(outs), case.rtol, case.atol)
            if reason:
                return reason, time.time() - start
        return None, time.time() - start
    except Exception as e:  # noqa: BLE001
        return f"{type(e).__name__}: {e}", time.time() - start
    finally:
        if not args.keep:
            shutil.rmtree(work / case.label / case.name, ignore_errors=True)


def run_batch(cases: list, args, work: Path, shard: int):
    """One PROG run-batch over these cases, restarted after each crash.

    The time limit is --timeout per test without output: a process is ended when it
    has produced nothing new for that long.
    """
    todo, expected_of = [], {}
    for case in cases:
        try:
            for i, (files, outs, outdir, expected) in enumerate(stage(case, work)):
                todo.append((case, {
                    "id": f"{case.label}/{case.name}/{i}", "model": str(case.path / "model.onnx"),
                    "inputs": {k: str(v) for k, v in files.items()},
                    "outputs": {k: str(v) for k, v in outs.items()}, "output_dir": str(outdir)}))
                expected_of[todo[-1][1]["id"]] = (outs, expected)
        except Exception as e:  # noqa: BLE001
            case.reason = f"{type(e).__name__}: {e}"

    def state(entry):
        if (Path(entry["output_dir"]) / "error.txt").exists():
            return "error"
        return "done" if all(Path(p).exists() for p in entry["outputs"].values()) else "open"

    queue, died = list(todo), {}
    while queue:
        manifest = work / f"manifest_{shard}_{len(died)}.jsonl"
        manifest.write_text("".join(json.dumps(e) + "\n" for _, e in queue))
        log = (work / f"batch_{shard}.log").open("wb")
        proc = subprocess.Popen([*shlex.split(args.prog), "run-batch", str(manifest), *device(args)],
                                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                start_new_session=True)
        head, last, why = 0, time.time(), None
        while proc.poll() is None:
            time.sleep(0.05)
            while head < len(queue) and state(queue[head][1]) != "open":
                head, last = head + 1, time.time()
            if time.time() - last > args.timeout:
                os.killpg(proc.pid, signal.SIGKILL)
                why = f"timeout after {args.timeout:g} s (batch)"
        proc.wait()
        log.close()
        if proc.returncode == 0 and why is None:
            break
        head = next((i for i, (_, e) in enumerate(queue) if state(e) == "open"), None)
        if head is None:
            break
        died[queue[head][1]["id"]] = why or (
            f"batch process ended with {proc.returncode}: "
            + tail((work / f"batch_{shard}.log").read_bytes()))
        queue = queue[head + 1:]
    for case, entry in todo:
        if case.reason:
            continue
        error = Path(entry["output_dir"]) / "error.txt"
        if entry["id"] in died:
            case.reason = died[entry["id"]]
        elif error.exists():
            case.reason = "error: " + tail(error.read_bytes())
        else:
            outs, expected = expected_of[entry["id"]]
            try:
                case.reason = compare(expected, read_back(outs), case.rtol, case.atol)
            except Exception as e:  # noqa: BLE001 - an unreadable .npy
                case.reason = f"{type(e).__name__}: {e}"
    return cases


# ---------------------------------------------------------------- driver

def collect(args):
    roots = [args.data, *sorted(p for p in args.data.iterdir() if p.is_dir())] \
        if args.data.is_dir() else []
    cases = []
    for file in args.lists:
        for line in file.read_text().splitlines():
            name = line.split("#")[0].strip()
            if not name or (args.only and not fnmatch.fnmatch(name, args.only)):
                continue
            path = next((r / name for r in roots if (r / name / "model.onnx").exists()), None)
            case = Case(file.stem, name, path, args.rtol, args.atol)
            if path is None:
                case.reason = f"no such test under {args.data}"
            elif (path / "data.json").exists():   # onnx's own, looser, tolerance wins
                data = json.loads((path / "data.json").read_text())
                case.rtol = max(case.rtol, data.get("rtol", 0))
                case.atol = max(case.atol, data.get("atol", 0))
            cases.append(case)
    return cases


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("lists", nargs="+", type=Path, help="list files of test names")
    ap.add_argument("--prog", help="the program, with leading arguments if any")
    ap.add_argument("--device", help="where PROG is to run: passed on as --device NAME")
    ap.add_argument("--template", default=TEMPLATE, help="default: %(default)s")
    ap.add_argument("--batch", action="store_true", help="use PROG run-batch")
    ap.add_argument("--self-check", action="store_true",
                    help="in place of PROG use --engine, to prove the driver and the data")
    ap.add_argument("--engine", default="reference", choices=["reference", "onnxruntime"],
                    help="for --self-check: onnx ReferenceEvaluator (default) or onnxruntime CPU")
    ap.add_argument("--data", type=Path, default=Path(__file__).resolve().parent / "data")
    ap.add_argument("--rtol", type=float, default=1e-3)
    ap.add_argument("--atol", type=float, default=1e-5, help="onnx's own runner uses 1e-7")
    ap.add_argument("--jobs", type=int, default=1)
    ap.add_argument("--timeout", type=float, default=60.0, help="seconds per test")
    ap.add_argument("--min", action="append", default=[], metavar="PERCENT|LABEL=COUNT",
                    help="threshold for exit 0 (default 100)")
    ap.add_argument("--only", help="glob on test names")
    ap.add_argument("--json", type=Path, help="write every result here")
    ap.add_argument("--keep", type=Path, help="work in this folder and keep it")
    ap.add_argument("--verbose", action="store_true", help="print passing tests too")
    args = ap.parse_args()
    if not args.prog and not args.self_check:
        ap.error("give --prog or --self-check")
    percent, counts = 100.0, {}
    for item in args.min:
        label, _, number = item.rpartition("=")
        if label:
            counts[label] = int(number)
        else:
            percent = float(number)

    cases = collect(args)
    todo = [c for c in cases if c.reason is None]
    work = args.keep or Path(tempfile.mkdtemp(prefix="conformance-"))
    if args.keep:
        shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True, exist_ok=True)
    try:
        if args.self_check:
            ctx = multiprocessing.get_context("fork")
            with cf.ProcessPoolExecutor(args.jobs, mp_context=ctx) as pool:
                futures = [(c, pool.submit(run_reference, c, args.engine, args.timeout)) for c in todo]
                for case, future in futures:
                    try:
                        case.reason, case.seconds = future.result()
                    except Exception as e:  # noqa: BLE001 - a dead worker
                        case.reason = f"{type(e).__name__}: {e}"
        elif args.batch:
            shards = [todo[i::args.jobs] for i in range(args.jobs)]
            with cf.ThreadPoolExecutor(args.jobs) as pool:
                list(pool.map(lambda s: run_batch(s[1], args, work, s[0]), enumerate(shards)))
        else:
            with cf.ThreadPoolExecutor(args.jobs) as pool:
                for case, (case.reason, case.seconds) in zip(
                        todo, pool.map(lambda c: run_single(c, args, work), todo)):
                    pass
    finally:
        if not args.keep:
            shutil.rmtree(work, ignore_errors=True)

    labels = list(dict.fromkeys(f.stem for f in args.lists))
    for case in cases:
        if case.reason:
            print(f"FAIL {case.label} {case.name}: {case.reason}")
        elif args.verbose:
            print(f"pass {case.label} {case.name} {case.seconds:.3f}s")
    if args.json:
        args.json.write_text(json.dumps([{"list": c.label, "test": c.name, "pass": c.reason is None,
                                          "reason": c.reason, "seconds": round(c.seconds, 4)}
                                         for c in cases], indent=1) + "\n")
    parts, ok = [], True
    for label in labels:
        mine = [c for c in cases if c.label == label]
        good = sum(c.reason is None for c in mine)
        need = counts.get(label, percent / 100 * len(mine))
        ok &= good >= need and bool(mine)
        parts.append(f"{good}/{len(mine)} {label}")
    print("conformance: " + ", ".join(parts))
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
