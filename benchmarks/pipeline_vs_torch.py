#!/usr/bin/env python3
"""A pipeline of two stages beside torch.distributed.pipelining: GPT-2 124M, 2 ranks of 1 thread, 8 micro-batches of a
window of 512 tokens; forward, backward and AdamW, clipping, tied embeddings, text tinyshakespeare.

Ours is `trireme train` with parallel.pp = 2, theirs the script pipeline.py of TRIREME_PEERS/train (default
../shared/peers/train; stages of equal block counts, schedule 1F1B) under torchrun with the Python of
TRIREME_PEERS_PYTHON (default .deps/interop/bin/python), and with tcmalloc where that is installed. Each round runs
every row once; the table has medians over the rounds.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from gpt2_vs_torch import ROOT, SHAPES, TCMALLOC, checked, prepare

MICRO_BATCHES = 8


def ours(args, dtype, schedule, scratch):
    report, context = scratch / "report.json", args.sizes["context"]
    settings = {
        "model.config": scratch / "config.json", "model.tokenizer": args.data / "gpt2-bpe", "data.train": scratch / "corpus",
        "data.max_length": context, "data.global_batch_samples": MICRO_BATCHES, "data.micro_batch_tokens": context,
        "train.steps": args.steps, "train.precision": dtype, "checkpoint.dir": "", "parallel.pp": 2,
        "parallel.schedule": schedule,
    }
    command = [args.trireme, "launch", "-n", 2, "--", "train", ROOT / "configs/gpt2-tiny.toml"]
    for key, value in settings.items():
        command += ["--set", f"{key}={value}"]
    checked([*command, "--report", report], env={**os.environ, "OMP_NUM_THREADS": "1"}, cwd=ROOT)
    return json.loads(report.read_text())["metrics"]["real_tokens_per_s"]


def theirs(args, dtype, schedule, _):
    command = [args.python, "-m", "torch.distributed.run", "--nproc-per-node", 2, "pipeline.py", "--schedule", schedule,
               "--microbatches", MICRO_BATCHES, "--dtype", dtype, "--data", args.data, "--time", args.peer_steps,
               "--repeats", 3]
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    if Path(TCMALLOC).exists():
        env["LD_PRELOAD"] = TCMALLOC
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, cwd=args.peers, env=env)
    # Its processes may abort on leaving, when everything is measured and printed.
    printed = next((line for line in done.stdout.splitlines() if line.startswith("RESULT ")), None)
    if printed is None:
        sys.exit(f"{' '.join(map(str, command))}: exit {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return json.loads(printed.removeprefix("RESULT "))["rates"]["tokens/s"][0]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtypes", nargs="+", default=["fp32", "bf16"], choices=["fp32", "bf16"])
    parser.add_argument("--schedules", nargs="+", default=["1f1b"], help="of ours")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=6, help="of ours, a run")
    parser.add_argument("--peer-steps", type=int, default=1, help="of the peer, a timed block; it times three blocks")
    parser.add_argument("--trireme", type=Path, default=ROOT / "build/release/trireme")
    parser.add_argument("--data", type=Path,
                        default=Path(os.environ.get("TRIREME_SHARED_DATA", ROOT.parent / "shared/data")))
    args = parser.parse_args()
    args.sizes = SHAPES["124m"]
    args.data = args.data.resolve()
    args.peers = Path(os.environ.get("TRIREME_PEERS", ROOT.parent / "shared/peers")) / "train"
    args.python = os.environ.get("TRIREME_PEERS_PYTHON", str(ROOT / ".deps/interop/bin/python"))
    for needed in (args.trireme, args.peers / "pipeline.py", Path(args.python), args.data / "gpt2-bpe"):
        if not needed.exists():
            sys.exit(f"pipeline_vs_torch: {needed} is not there")

    runs = [(dtype, who, schedule) for dtype in args.dtypes
            for who, names in (("PyTorch", ["1f1b"]), ("Trireme", args.schedules)) for schedule in names]
    rates = {run: [] for run in runs}
    with tempfile.TemporaryDirectory() as folder:
        prepare(args, Path(folder))
        for number in range(1, args.rounds + 1):
            for run in runs:
                dtype, who, schedule = run
                rates[run].append((ours if who == "Trireme" else theirs)(args, dtype, schedule, Path(folder)))
                print(f"round {number}: {dtype} {who} {schedule}: {rates[run][-1]:,.0f} tokens/s", file=sys.stderr)
    print("| precision | who | tokens/s | to PyTorch |\n| --- | --- | --- | --- |")
    for dtype, who, schedule in runs:
        mine = rates[dtype, who, schedule]
        peer = statistics.median(rates[dtype, "PyTorch", "1f1b"])
        print(f"| {dtype} | {who} {schedule} | {statistics.median(mine):,.0f} ({min(mine):,.0f}-{max(mine):,.0f}) "
              f"| {statistics.median(mine) / peer:.2f} |")


if __name__ == "__main__":
    main()
