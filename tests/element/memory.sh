#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Runs a test program under valgrind: no invalid access, nothing lost. It sees our plugin alone: what others
# lose while GStreamer looks at them is not ours to judge.
#     memory.sh SUPPRESSIONS PROGRAM [ARGUMENT...]
set -euo pipefail
suppressions=$1
shift
command -v valgrind >/dev/null || { echo 'valgrind is not installed'; exit 77; }
export GST_PLUGIN_SYSTEM_PATH= GST_REGISTRY=${GST_REGISTRY%.bin}-alone.bin
G_SLICE=always-malloc exec valgrind --quiet --suppressions="$suppressions" \
  --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite \
  --num-callers=20 --error-exitcode=1 "$@"
