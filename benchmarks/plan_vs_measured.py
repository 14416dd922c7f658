#!/usr/bin/env python3
"""What `trireme plan` predicts beside what training measures, layout by layout on this machine.

Each case is planned from the machine's file (`trireme bench machine --report FILE`; made first unless --machine names
one) and then trained for a few steps; the table has tokens/s and the peak memory of a rank, predicted and measured.
Two ranks have a core each. Exit 1 when a case misses by more than --time-limit or --memory-limit.
"""
import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DROPOUT = dict(resid_pdrop=0.1, embd_pdrop=0.1, attn_pdrop=0.1)
GPT2 = {  # name: sizes, context, windows a step, tokens a micro-batch
    "tiny": (dict(n_layer=4, n_head=4, n_embd=256), 256, 16, 2048),
    "small": (dict(n_layer=6, n_head=8, n_embd=512), 512, 8, 1024),
    "124m": (dict(n_layer=12, n_head=12, n_embd=768), 512, 2, 512),
}
CASES = [  # name, model, ranks, settings
    ("minilm fp32", "minilm", 1, {"train.precision": "fp32"}),
    ("minilm bf16 dp=2", "minilm", 2, {}),
    ("minilm bf16 dp=2 zero=2 recompute", "minilm", 2, {"parallel.zero": 2, "parallel.recompute": "true"}),
    ("tiny bf16", "tiny", 1, {}),
    ("tiny fp32 dp=2 zero=1", "tiny", 2, {"parallel.zero": 1, "train.precision": "fp32"}),
    ("tiny bf16 tp=2", "tiny", 2, {"parallel.tp": 2}),
    ("small bf16 dp=2 recompute", "small", 2, {"parallel.recompute": "true"}),
    ("small fp32 dp=2 zero=3", "small", 2, {"parallel.zero": 3, "train.precision": "fp32"}),
    ("small bf16 pp=2 1f1b", "small", 2, {"parallel.pp": 2, "parallel.schedule": "1f1b"}),
    ("small bf16 cp=2", "small", 2, {"parallel.cp": 2}),
    ("124m bf16 dp=2", "124m", 2, {}),
    ("124m bf16 dp=2 zero=2", "124m", 2, {"parallel.zero": 2}),
    ("124m bf16 tp=2 sequence parallel", "124m", 2, {"parallel.tp": 2, "parallel.sequence_parallel": "true"}),
]


def checked(command, **options):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}: exit {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def cpu_seconds():
    """Busy seconds of all cores, and those of the processes that this one has waited for."""
    fields = [int(n) for n in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    busy = (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return busy, usage.ru_utime + usage.ru_stime


def undisturbed(command, tries, **options):
    """Runs the command until nothing else has taken more than 5 % of the cores meanwhile."""
    for attempt in range(tries):
        (busy, own), begin = cpu_seconds(), time.monotonic()
        checked(command, **options)
        now_busy, now_own = cpu_seconds()
        others = (now_busy - busy - (now_own - own)) / (os.cpu_count() * (time.monotonic() - begin))
        if others < 0.05:
            return True
        print(f"others took {others:.0%} of the cores", file=sys.stderr, flush=True)
        time.sleep(min(15, attempt * 5))
    return False


def settings_of(args, scratch, model, extra):
    """The configuration file, and the keys to set."""
    common = {"train.steps": args.steps, "checkpoint.dir": "", "train.precision": "bf16", **extra}
    if model == "minilm":
        return ROOT / "configs/qa-minilm.toml", {
            "model.path": args.minilm, "data.train": args.data / "squad2/train.json", "data.dev": "",
            "data.micro_batch_tokens": 4096, **common}
    sizes, context, windows, micro = GPT2[model]
    folder = scratch / model
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(
        {"model_type": "gpt2", "n_positions": context, "vocab_size": 50257, **sizes, **(DROPOUT if model == "small" else
         dict.fromkeys(DROPOUT, 0.0))}))
    return ROOT / "configs/gpt2-tiny.toml", {
        "model.config": folder / "config.json", "model.tokenizer": args.data / "gpt2-bpe", "data.train": scratch / "corpus",
        "data.max_length": context, "data.global_batch_samples": windows, "data.micro_batch_tokens": micro, **common}


def run_case(args, scratch, machine, case):
    name, model, ranks, extra = case
    config, settings = settings_of(args, scratch, model, extra)
    words = [str(config)] + [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    report = scratch / "report.json"
    checked([args.trireme, "plan", *words, "--world", ranks, "--device", machine, "--report", report], cwd=ROOT)
    planned = json.loads(report.read_text())["metrics"]
    quiet = undisturbed([args.trireme, "launch", "-n", ranks, "--", "train", *words, "--report", report], args.tries,
                        cwd=ROOT)
    measured = json.loads(report.read_text())["metrics"]
    row = {"case": name, "ranks": ranks, "undisturbed": quiet,
           "planned_tokens_per_s": planned["real_tokens_per_s"], "tokens_per_s": measured["real_tokens_per_s"],
           "planned_mib": planned["peak_rss_bytes"] / 2**20, "mib": max(measured["peak_rss_bytes"]) / 2**20,
           "planned": planned, "peak_tensor_bytes": measured["peak_tensor_bytes"]}
    row["time_off"] = row["tokens_per_s"] / row["planned_tokens_per_s"] - 1
    row["memory_off"] = row["planned_mib"] / row["mib"] - 1
    return row


def table(rows):
    yield "| layout | tokens/s, planned | measured | step time off | peak MiB, planned | measured | off |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for row in rows:
        yield (f"| {row['case']} | {row['planned_tokens_per_s']:,.0f} | {row['tokens_per_s']:,.0f} | {row['time_off']:+.1%} "
               f"| {row['planned_mib']:,.0f} | {row['mib']:,.0f} | {row['memory_off']:+.1%} |{'' if row['undisturbed'] else ' (disturbed)'}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--machine", type=Path, help="report of `trireme bench machine`")
    parser.add_argument("--only", help="cases whose name contains this")
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--tries", type=int, default=3, help="of a training run that something else disturbs")
    parser.add_argument("--time-limit", type=float, default=0.15)
    parser.add_argument("--memory-limit", type=float, default=0.10)
    parser.add_argument("--trireme", type=Path, default=ROOT / "build/release/trireme")
    parser.add_argument("--minilm", type=Path, default=ROOT / ".deps/models/minilm-l6")
    parser.add_argument("--data", type=Path,
                        default=Path(os.environ.get("TRIREME_SHARED_DATA", ROOT.parent / "shared/data")))
    parser.add_argument("--report", type=Path, default=ROOT / "build/bench/plan_vs_measured.json")
    args = parser.parse_args()
    args.data = args.data.resolve()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        machine = args.machine
        if machine is None:
            machine = scratch / "machine.json"
            checked([args.trireme, "bench", "machine", "--report", machine])
        checked([args.trireme, "data", "prepare", args.data / "text/tinyshakespeare.txt", "--tokenizer",
                 args.data / "gpt2-bpe", "--output-prefix", scratch / "corpus"])
        for case in CASES:
            if args.only is None or args.only in case[0]:
                rows.append(run_case(args, scratch, machine, case))
                print(list(table(rows[-1:]))[-1], file=sys.stderr, flush=True)
    print("\n".join(table(rows)))
    args.report.parent.mkdir(parents=True, exist_ok=True)
    args.report.write_text(json.dumps({
        "date": time.strftime("%Y-%m-%d"), "machine": platform.platform(), "cores": os.cpu_count(),
        "version": checked([args.trireme, "--version"]).strip(), "results": rows}, indent=1))
    missed = [row["case"] for row in rows
              if abs(row["time_off"]) > args.time_limit or abs(row["memory_off"]) > args.memory_limit]
    if missed:
        sys.exit(f"plan_vs_measured: off by more than the limit: {', '.join(missed)}")


if __name__ == "__main__":
    main()
