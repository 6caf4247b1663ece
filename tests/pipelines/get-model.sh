#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# pipelines/get-model with the real client against a hub on loopback (hub.py).
# Arguments: get-model, hub.py, lightforcing, a folder that keeps the client between runs.
set -euo pipefail
get_model=$1 hub=$2 lightforcing=$3 cache=$4
work=$(mktemp -d)
server=
trap '[[ -z $server ]] || kill "$server"; rm -rf "$work"' EXIT

fail() {
  echo "$*" >&2
  [[ ! -e $work/output ]] || cat "$work/output" >&2
  exit 1
}

# Every model of the script is a family.
for name in $("$get_model" | sed -n '/^Models:/,$s/^  \([^ ]*\) .*/\1/p'); do
  "$lightforcing" families "$name" >/dev/null || fail "$name is no family"
done
! "$get_model" no-such-model "$work/models" 2>"$work/output" || fail 'an unknown model was accepted'
grep -q 'no-such-model' "$work/output" || fail 'the message does not name the model'

python3 "$hub" "$work" &
server=$!
for ((i = 0; i < 100; i++)); do
  [[ ! -e $work/port ]] || break
  sleep 0.1
done
export HF_ENDPOINT=http://127.0.0.1:$(cat "$work/port") no_proxy=127.0.0.1 NO_PROXY=127.0.0.1
export HF_HOME=$work/home HF_HUB_DISABLE_TELEMETRY=1 HF_HUB_DISABLE_XET=1 XDG_CACHE_HOME=$cache

if [[ ! -x $cache/lightforcing/hub-client/bin/hf ]] &&
  ! { python3 -m venv "$cache/lightforcing/hub-client" &&
    "$cache/lightforcing/hub-client/bin/pip" install --quiet 'huggingface_hub>=0.34,<1'; } >"$work/output" 2>&1; then
  echo 'the hub client cannot be installed here'
  exit 77
fi

run() { "$get_model" longlive "$work/models" >"$work/output" 2>&1; }

# A download that is interrupted in the middle of a file fails, and the next one goes on from there.
touch "$work/break"
! run || fail 'half a file was accepted'
rm "$work/break"
run || fail 'the download failed'
grep -q '^GET .*bf16.pth bytes=10485760-' "$work/requests" || fail 'the download was not resumed'
[[ $(stat -c %s "$work/models/Wan2.1-T2V-1.3B/models_t5_umt5-xxl-enc-bf16.pth") == 25600000 ]] ||
  fail 'the text encoder is not whole'
for file in Wan2.1-T2V-1.3B/google/umt5-xxl/spiece.model Autoencoders/taew2_1.safetensors \
  longlive/models/{longlive_base,lora}.pt; do
  [[ $(stat -c %s "$work/models/$file") == 128000 ]] || fail "$file is not whole"
done
grep -q "model-location=$work/models/longlive/models/longlive_base.pt lora=$work/models/longlive/models/lora.pt" \
  "$work/output" || fail 'the line to play it is not there'

# What is there is not downloaded again.
: >"$work/requests"
run || fail 'the second run failed'
! grep -q '^GET .*/resolve/' "$work/requests" || fail 'a file was downloaded twice'

# A file that is not what the hub says is not kept.
rm -r "$work/models/longlive"
touch "$work/spoil"
! run || fail 'a spoilt file was accepted'
grep -q 'longlive_base.pt.*SHA-256' "$work/output" || fail 'the message does not name the file'
[[ ! -e $work/models/longlive/models/longlive_base.pt ]] || fail 'a spoilt file was kept'
