#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Runs the pipelines of a README that write a file, as they stand there but for their length, and
# looks at what they wrote. Those with an element that is not installed are named and left out.
#     recordings.sh README
set -euo pipefail
readme=$(realpath "$1")
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
shopt -s extglob
FRAMES=14

elements_of() { tr '!' '\n' <<<"$1" | awk '{ print $1 }' | grep -xE '[a-z0-9]+'; }

missing_element() {
  local element
  for element in $(elements_of "${1#*gst-launch-1.0}"); do
    gst-inspect-1.0 "$element" >/dev/null || { echo "$element" && return; }
  done
}

check() { # everything that was written, by its kind
  local file
  for file in *; do
    case $file in
      *.png) [[ $(head -c 4 "$file") == $'\x89PNG' ]] ;;
      *.y4m) [[ $(head -c 9 "$file") == YUV4MPEG2 ]] ;;
      *.avi) [[ $(head -c 4 "$file") == RIFF ]] ;;
      *.mp4) [[ $(head -c 8 "$file" | tail -c 4) == ftyp ]] ;;
      *.webm) [[ $(head -c 4 "$file" | od -An -tx1) == ' 1a 45 df a3' ]] ;;
      *) false ;;
    esac && (($(stat -c %s "$file") > 1000)) || { echo "$file is not what it should be"; exit 1; }
    printf '  %s: %d bytes\n' "$file" "$(stat -c %s "$file")"
  done
}

n_run=0
while IFS= read -r line; do
  missing=$(missing_element "$line")
  if [[ -n $missing ]]; then
    echo "left out, as there is no $missing: $line"
    continue
  fi
  echo "$line"
  rm -f ./*
  bash -c "${line/num-buffers=+([0-9])/num-buffers=$FRAMES}" >log.txt 2>&1 || { cat log.txt; exit 1; }
  rm log.txt
  check
  ((++n_run))
done < <(sed -n '/^```sh/,/^```/p' "$readme" | sed -e ':a' -e '/\\$/N; s/ *\\\n */ /; ta' |
  grep -E '^gst-launch-1.0 .*num-buffers=') # commands with their continued lines joined
((n_run >= 4)) || { echo "only $n_run pipelines could be run"; exit 1; }
