#!/usr/bin/env python3
"""Training speed and memory of GPT-2 beside PyTorch's DDP and FSDP2: 2 ranks of 1 thread, the same tokens a step.

Each round runs every row once, so that all meet the same machine; the table has the median over the rounds, and the
ratio to DDP. The shapes (--shape):
  124m   12 layers, 768 wide, context 512, a window a rank and step
  tiny   4 layers, 256 wide, context 256, 8 windows a rank and step
No dropout, AdamW (0.9, 0.95), constant rate, clipping at 1.0, tied embeddings, vocabulary 50,257, text tinyshakespeare.

Theirs is the script gpt2_train.py of TRIREME_PEERS/train (default ../shared/peers/train) under torchrun, with the
Python of TRIREME_PEERS_PYTHON (default .deps/interop/bin/python), and with tcmalloc where that is installed. Memory is
the most that a rank has: ours private memory and its own shared buffers (`metrics.peak_rss_bytes`; the kernel's VmHWM
counts the other ranks' buffers, too), theirs the resident set; the larger of the two ranks.
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
RANKS = 2
SHAPES = {"124m": dict(layers=12, heads=12, hidden=768, context=512, batch=1),
          "tiny": dict(layers=4, heads=4, hidden=256, context=256, batch=8)}


def checked(command, **options):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}: exit {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def ours(args, dtype, zero, scratch):
    shape, report = args.sizes, scratch / "report.json"
    settings = {
        "model.config": scratch / "config.json", "model.tokenizer": args.data / "gpt2-bpe",
        "data.train": scratch / "corpus", "data.max_length": shape["context"],
        "data.global_batch_samples": shape["batch"] * RANKS, "data.micro_batch_tokens": shape["batch"] * shape["context"],
        "train.steps": args.steps, "train.precision": dtype, "parallel.zero": zero, "checkpoint.dir": "",
    }
    command = [args.trireme, "launch", "-n", RANKS, "--", "train", ROOT / "configs/gpt2-tiny.toml"]
    for key, value in settings.items():
        command += ["--set", f"{key}={value}"]
    checked([*command, "--report", report], env={**os.environ, "OMP_NUM_THREADS": "1"}, cwd=ROOT)
    metrics = json.loads(report.read_text())["metrics"]
    return metrics["real_tokens_per_s"], max(metrics["peak_rss_bytes"]) / 2**20


def theirs(args, dtype, mode):
    command = [args.python, "-m", "torch.distributed.run", "--nproc-per-node", RANKS, "gpt2_train.py", "--mode", mode,
               "--dtype", dtype, "--data", args.data, "--time", args.peer_steps, "--repeats", 3, "--warmup", 2]
    for name, value in args.sizes.items():
        command += [f"--{name}", value]
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    if Path(TCMALLOC).exists():
        env["LD_PRELOAD"] = TCMALLOC
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, cwd=args.peers, env=env)
    # Its processes may abort on leaving, when everything is measured and printed.
    printed = next((line for line in done.stdout.splitlines() if line.startswith("RESULT ")), None)
    if printed is None:
        sys.exit(f"{' '.join(map(str, command))}: exit {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    result = json.loads(printed.removeprefix("RESULT "))
    return result["rates"]["tokens/s"][0], max(result["peak_rss_mb"])


def prepare(args, scratch):
    """The corpus, and the model's config.json."""
    checked([args.trireme, "data", "prepare", args.data / "text/tinyshakespeare.txt", "--tokenizer", args.data / "gpt2-bpe",
             "--output-prefix", scratch / "corpus"])
    shape = args.sizes
    (scratch / "config.json").write_text(json.dumps({
        "model_type": "gpt2", "n_layer": shape["layers"], "n_head": shape["heads"], "n_embd": shape["hidden"],
        "n_positions": shape["context"], "vocab_size": 50257, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}))


def table(rows):
    yield "| precision | who | tokens/s | to DDP | peak MiB a rank |"
    yield "| --- | --- | --- | --- | --- |"
    for row in rows:
        yield (f"| {row['precision']} | {row['who']} | {row['tokens_per_s']:,.0f} ({min(row['all']):,.0f}-{max(row['all']):,.0f}) "
               f"| {row['to_ddp']:.2f} | {row['peak_mib']:,.0f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="124m")
    parser.add_argument("--dtypes", nargs="+", default=["bf16", "fp32"], choices=["bf16", "fp32"])
    parser.add_argument("--zero", nargs="*", type=int, default=[0, 1, 2, 3], help="ZeRO stages of ours")
    parser.add_argument("--peers", nargs="*", default=["ddp", "fsdp"], choices=["ddp", "fsdp"], dest="modes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=12, help="of ours, a run")
    parser.add_argument("--peer-steps", type=int, default=2, help="of the peer, a timed block; it times three blocks")
    parser.add_argument("--trireme", type=Path, default=ROOT / "build/release/trireme")
    parser.add_argument("--data", type=Path,
                        default=Path(os.environ.get("TRIREME_SHARED_DATA", ROOT.parent / "shared/data")))
    parser.add_argument("--report", type=Path, default=ROOT / "build/bench/gpt2_vs_torch.json")
    args = parser.parse_args()
    if "ddp" not in args.modes:
        sys.exit("gpt2_vs_torch: the ratios are to ddp; leave it in --peers")
    args.sizes = SHAPES[args.shape]
    args.peers = Path(os.environ.get("TRIREME_PEERS", ROOT.parent / "shared/peers")) / "train"
    args.python = os.environ.get("TRIREME_PEERS_PYTHON", str(ROOT / ".deps/interop/bin/python"))
    args.data = args.data.resolve()
    for needed in (args.trireme, args.peers / "gpt2_train.py", Path(args.python), args.data / "gpt2-bpe"):
        if not needed.exists():
            sys.exit(f"gpt2_vs_torch: {needed} is not there")

    runs = [(dtype, who, value) for dtype in args.dtypes
            for who, values in (("PyTorch", args.modes), ("Trireme", args.zero)) for value in values]
    found = {run: [] for run in runs}
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        prepare(args, scratch)
        for number in range(1, args.rounds + 1):
            for dtype, who, value in runs:
                result = theirs(args, dtype, value) if who == "PyTorch" else ours(args, dtype, value, scratch)
                found[dtype, who, value].append(result)
                print(f"round {number}: {dtype} {who} {value}: {result[0]:,.0f} tokens/s, {result[1]:,.0f} MiB",
                      file=sys.stderr)

    rows = []
    for dtype, who, value in runs:
        rates, peaks = zip(*found[dtype, who, value])
        name = f"{who} {value.upper()}" if who == "PyTorch" else f"{who} zero={value}"
        rows.append({"precision": dtype, "who": name, "tokens_per_s": statistics.median(rates), "all": rates,
                     "peak_mib": statistics.median(peaks)})
    ddp = {row["precision"]: row["tokens_per_s"] for row in rows if row["who"] == "PyTorch DDP"}
    for row in rows:
        row["to_ddp"] = row["tokens_per_s"] / ddp[row["precision"]]
    print("\n".join(table(rows)))
    args.report.parent.mkdir(parents=True, exist_ok=True)
    args.report.write_text(json.dumps({
        "date": time.strftime("%Y-%m-%d"), "machine": platform.platform(), "cores": os.cpu_count(), "shape": args.shape,
        "version": checked([args.trireme, "--version"]).strip(), "rounds": args.rounds, "results": rows}, indent=1))


if __name__ == "__main__":
    main()
