#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Runs a test program with GStreamer's leaks tracer: no object of ours may be alive at the end.
#     leaks.sh PROGRAM [ARGUMENT...]
set -euo pipefail
log=$(mktemp)
trap 'rm -f "$log"' EXIT
GST_TRACERS=leaks GST_DEBUG=GST_TRACER:7 GST_DEBUG_NO_COLOR=1 \
  GST_DEBUG_FILE=$log "$@" >&2
grep -q 'GST_TRACER' "$log" || { echo 'the leaks tracer did not run' >&2; exit 1; }
if grep -E 'object-(alive|refings), ' "$log" | grep -v 'format string' >&2; then
  echo 'these were leaked' >&2
  exit 1
fi
