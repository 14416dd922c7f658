#!/usr/bin/env bash
# Unpacks a tar of tools/dist.sh in a folder that nobody knew and runs it there with an empty environment; every library
# must come from the tar or be a part of a bare system.
# usage: tools/check_dist.sh TAR
set -euo pipefail

tar=$1
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
tar -C "$place" -xzf "$tar"
folder=$(echo "$place"/*)

env -i "$folder/bin/trireme" --version
strays=$(env -i ldd "$folder/bin/trireme" | awk -v here="$folder/" \
  '/not found/ || ($3 ~ /^\// && index($3, here) != 1 && $1 !~ /^lib(c|m|dl|rt|pthread|util)\.so/)')
if [[ -n $strays ]]; then
  printf 'check_dist: not in the tar, and not in a bare system:\n%s\n' "$strays" >&2
  exit 1
fi
