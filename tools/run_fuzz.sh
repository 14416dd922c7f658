#!/usr/bin/env bash
# Runs every fuzz target of a build folder for some seconds, from its seeds in tests/fuzz/corpus/TARGET/.
# usage: tools/run_fuzz.sh BUILD_DIR SECONDS
set -euo pipefail

build=$1 seconds=$2
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
shopt -s nullglob
targets=("$build"/fuzz_*)
((${#targets[@]})) || { echo "run_fuzz: no fuzz target in $build" >&2; exit 1; }

# libFuzzer's own limit without large seeds, 4 KiB, ends before inputs that are wrong by their size: deep nesting.
max_bytes=65536
failed=0
for target in "${targets[@]}"; do
  name=$(basename "$target")
  found=$build/corpus/$name # what a run finds stays there, for the next one to start from
  mkdir -p "$found"
  seeds=("$root/tests/fuzz/corpus/$name"/)
  echo "== $name: $seconds s"
  if ! "$target" -max_total_time="$seconds" -max_len=$max_bytes -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
    -artifact_prefix="$build/$name-" "$found" "${seeds[@]}" >"$build/$name.log" 2>&1; then
    tail -n 40 "$build/$name.log"
    failed=$((failed + 1))
  fi
  grep -E 'stat::number_of_executed_units|artifact' "$build/$name.log" || true
done
printf '%d passed, %d failed\n' $((${#targets[@]} - failed)) "$failed"
((failed == 0))
