#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The plugin and the program load where there is no CUDA: they link to nothing of it. Arguments: files.
set -euo pipefail
for file in "$@"; do
  needed=$(readelf -d "$file" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p')
  [[ -n $needed ]] || { echo "$file: names no library at all" >&2; exit 1; }
  if grep -iE 'cuda|cublas|nvidia' <<<"$needed"; then
    echo "$file links to the above" >&2
    exit 1
  fi
done
