#!/usr/bin/env bash
# Makes a relocatable tar of a build: bin/trireme, lib/ with everything that is not part of a bare system, the licences.
# usage: tools/dist.sh BUILD_DIR OUT_DIR
set -euo pipefail

build=$1 out=$2
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
version=$("$build/trireme" --version | awk 'NR == 1 {print $2}')
name=trireme-$version-linux-x86_64
rm -rf "${out:?}/$name"
mkdir -p "$out/$name/bin" "$out/$name/lib" "$out/$name/licenses"

# Of the C and C++ run time every system has its own, at least as new as the one that this was linked against.
is_system() {
  case $1 in
    linux-vdso.so* | ld-linux* | libc.so* | libm.so* | libdl.so* | librt.so* | libpthread.so* | libutil.so*) return 0 ;;
  esac
  return 1
}

cp "$build/trireme" "$out/$name/bin/"
ldd "$build/trireme" | awk '$3 ~ /^\// {print $1, $3} $2 == "=>" && $3 == "not" {print $1, "missing"}' |
  while read -r library file; do
    is_system "$library" && continue
    [[ $file != missing ]] || { echo "dist: $library is not on this machine" >&2; exit 1; }
    cp -L "$file" "$out/$name/lib/$library"
    chmod 644 "$out/$name/lib/$library"
    # LibTorch's own files have a search path that ends in their own folder; the rest gets one.
    case $library in
      libtorch* | libc10* | libgomp* | libcud* | libcupti*) ;;
      *) patchelf --force-rpath --set-rpath "\$ORIGIN" "$out/$name/lib/$library" ;;
    esac
    # The licence that came with it: Debian's copyright file of the package that owns it.
    package=$(dpkg-query -S "$(readlink -f "$file")" 2>/dev/null | head -n 1 | cut -d: -f1 || true)
    if [[ -n $package && -f /usr/share/doc/$package/copyright ]]; then
      cp -L "/usr/share/doc/$package/copyright" "$out/$name/licenses/$package.txt"
    fi
  done
patchelf --force-rpath --set-rpath "\$ORIGIN/../lib" "$out/$name/bin/trireme"

# LibTorch's licences, beside the library that was linked.
site=$(dirname "$(dirname "$(dirname "$(ldd "$build/trireme" | awk '$1 ~ /^libtorch_cpu/ {print $3}')")")")
for info in "$site"/*.dist-info; do
  [[ -d $info ]] && find "$info" -ipath '*licen*' -type f -exec cp {} "$out/$name/licenses/$(basename "$info" .dist-info).txt" \;
done
cp "$root/LICENSE" "$out/$name/"
[[ ! -f $root/README.md ]] || cp "$root/README.md" "$out/$name/"

tar -C "$out" -czf "$out/$name.tar.gz" "$name"
rm -rf "${out:?}/$name"
"$root/tools/check_dist.sh" "$out/$name.tar.gz"
echo "dist: $out/$name.tar.gz ($(du -h "$out/$name.tar.gz" | cut -f1))"
