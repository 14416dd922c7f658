#!/usr/bin/env bash
# Everything about the sources that a machine can check: format, layers, scripts, clang-tidy.
# LINT_BASE=REF lets clang-tidy look only at what changed since REF; LINT_BUDGET is its time in seconds.
# LIBTORCH=DIR is another LibTorch than set-up's.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

failed=()
part() {
  local name=$1 start=$SECONDS
  shift
  if "$@"; then
    printf 'lint: %s: ok (%d s)\n' "$name" $((SECONDS - start))
  else
    failed+=("$name")
    printf 'lint: %s: FAILED\n' "$name"
  fi
}

format() { git ls-files -z '*.h' '*.cc' '*.inl' | xargs -0 -r clang-format --dry-run -Werror; }

scripts() {
  local files
  mapfile -t files < <(git ls-files | while read -r file; do
    [[ -f $file ]] && head -n 1 "$file" | grep -aqE '^#!.*\b(ba)?sh\b' && echo "$file"
  done)
  shellcheck "${files[@]}"
}

tidy() {
  local log=build/tidy-configure.log
  mkdir -p build
  if ! { cmake --preset tidy ${LIBTORCH:+-DTRIREME_LIBTORCH="$LIBTORCH"} &&
    cmake --build build/tidy --target trireme_version; } >"$log" 2>&1; then
    tail -n 20 "$log"
    return 1
  fi
  python3 tools/tidy.py --budget "${LINT_BUDGET:-600}" ${LINT_BASE:+--base "$LINT_BASE"}
}

part "format" format
part "layers" python3 tools/check_layers.py
part "tree" python3 tools/check_tree.py
part "scripts" scripts
part "clang-tidy" tidy
if ((${#failed[@]})); then
  printf 'lint: failed: %s\n' "${failed[*]}" >&2
  exit 1
fi
