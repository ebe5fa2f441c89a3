#!/bin/sh
# SPDX-License-Identifier: MIT
#
# core calls nothing: what its objects need from outside are the four functions that a compiler may call on
# its own.  Anything else would not work before libc is initialised, or would come back through a wrapper.
set -eu

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

"$NM" --format=posix "$1" | awk 'NF >= 2 && $2 == "U" { print $1 }' | sort -u >"$tmp/needed"
"$NM" --format=posix "$1" | awk 'NF >= 2 && $2 ~ /[A-TV-Z]/ { print $1 }' | sort -u >"$tmp/defined"
if ! [ -s "$tmp/defined" ]; then
    echo "$1 defines nothing"
    exit 1
fi
if comm -23 "$tmp/needed" "$tmp/defined" |
    grep -vxE 'memcpy|memset|memmove|memcmp|_GLOBAL_OFFSET_TABLE_'; then
    echo "^ needed by $1"
    exit 1
fi
