#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Program, plugin and the top of the news tell the version that meson.build has.
#     version.sh VERSION PROGRAM NEWS
set -euo pipefail
version=$1 program=$2 news=$3
same() { [[ $2 == "$version" ]] || { echo "$1 says \"$2\", meson.build \"$version\""; exit 1; }; }
same "$program --version" "$("$program" --version | sed 's/^lightforcing //')"
same "$news" "$(sed -n 's/^## \([^ ]*\).*/\1/p' "$news" | head -1)"
same 'gst-inspect-1.0' "$(gst-inspect-1.0 lightforcing | sed -n 's/^ *Version  *//p')"
