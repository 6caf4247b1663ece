#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The example programs: prompts typed while the video plays, and frames taken into a program.
#     examples.sh INTERACTIVE_PROMPTS FRAMES_IN_C
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
log=$directory/log

shown() { until grep -q "\"$1\"" "$log"; do sleep 0.1; done; }

touch "$log"
{
  shown 'a red ball on a white background'
  echo 'a blue star at sunset'
  shown 'a blue star at sunset'
  echo /quit
} | timeout 100 "$1" --output 'fakesink sync=true' 'a red ball on a white background' | tee "$log"

if "$1" --output 'nosuchelement' 'a ball' 2>/dev/null; then
  echo 'a pipeline that cannot be made has to be an error'
  exit 1
fi

LC_ALL=C.UTF-8 "$1" --help >"$log"
for word in '[OPTION…] PROMPT - ' /restart /quit; do
  grep -qF "$word" "$log" || { echo "the help lacks $word"; exit 1; }
done
[[ $("$1" 2>&1) == Usage:* && $("$2" 2>&1) == Usage:* ]]

timeout 100 "$2" "$directory" 'a big red ball on a white background' 'a big blue star' | tee "$log"
[[ $(grep -c '^frame' "$log") == 64 ]]
for file in "$directory"/prompt-{1,2}.ppm; do
  [[ $(head -c 2 "$file") == P6 && $(stat -c %s "$file") == $((256 * 160 * 3 + 15)) ]]
done
