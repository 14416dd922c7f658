#!/usr/bin/env python3
"""All-reduce in shared memory beside Gloo, Open MPI and a plain loop, in one run under the same rules (`trireme bench
allreduce --help`). Prints a Markdown table and the ratios; needs mpicc and mpirun (Debian: openmpi-bin libopenmpi-dev).

    benchmarks/allreduce_vs_mpi.py [--ranks 2] [--report build/bench/allreduce.json]
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

SOURCE = pathlib.Path(__file__).resolve().parents[1]
PROGRAM = SOURCE / "build/release/trireme"
SIZES = [4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20, 32 << 20, 256 << 20]


def run_mpi(folder, ranks, sizes, seconds, pool):
    binary = folder / "allreduce_mpi"
    subprocess.run(["mpicc", "-O3", "-march=native", SOURCE / "benchmarks/allreduce_mpi.c", "-o", binary], check=True)
    command = ["mpirun", "--oversubscribe", "-np", str(ranks), binary, str(pool), str(seconds), *map(str, sizes)]
    if os.geteuid() == 0:
        command.insert(1, "--allow-run-as-root")
    out = subprocess.run(list(map(str, command)), check=True, stdout=subprocess.PIPE, text=True).stdout
    return {row["bytes"]: row for row in map(json.loads, out.splitlines())}


def run_trireme(folder, ranks, sizes, seconds):
    report = folder / "report.json"
    subprocess.run([PROGRAM, "bench", "allreduce", "--ranks", str(ranks), "--seconds", str(seconds), "--report", report,
                    "--bytes", ",".join(map(str, sizes))], check=True, stdout=subprocess.DEVNULL)
    result = json.loads(report.read_text())
    rows = {}
    for row in result["metrics"]["results"]:
        rows.setdefault((row["backend"], row["path"]), {})[row["bytes"]] = row
    return rows, result["config"]["pool_bytes"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=1, help="timed operations of a row")
    parser.add_argument("--bytes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--report", type=pathlib.Path)
    arguments = parser.parse_args()
    if not PROGRAM.exists():
        sys.exit(f"{PROGRAM} is not built: make program")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        rows, pool = run_trireme(folder, arguments.ranks, arguments.bytes, arguments.seconds)
        mpi = run_mpi(folder, arguments.ranks, arguments.bytes, arguments.seconds, pool)
    gloo, arena, staged = rows["gloo", "staged"], rows["shm", "arena"], rows["shm", "staged"]
    loop = rows.get(("loop", "arena"), {})
    print(f"{arguments.ranks} ranks, fp32, cold, microseconds\n")
    print("| size | Gloo | Open MPI | staged | arena | plain loop | Gloo/arena | Gloo/staged | MPI/arena | loop/arena |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for size in arguments.bytes:
        g, m, s, a, p = (x[size]["time_us"] for x in (gloo, mpi, staged, arena, loop))
        text = f"{size >> 10} KiB" if size < 1 << 20 else f"{size >> 20} MiB"
        print(f"| {text} | {g:.1f} | {m:.1f} | {s:.1f} | {a:.1f} | {p:.1f} | {g / a:.1f} | {g / s:.1f} | {m / a:.2f} | "
              f"{p / a:.2f} |")
    if arguments.report:
        arguments.report.parent.mkdir(parents=True, exist_ok=True)
        arguments.report.write_text(json.dumps({"ranks": arguments.ranks, "mpi": mpi, "gloo": gloo, "staged": staged,
                                                "arena": arena, "loop": loop}, indent=1))


if __name__ == "__main__":
    main()
