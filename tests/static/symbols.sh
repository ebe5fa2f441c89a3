#!/bin/sh
# SPDX-License-Identifier: MIT
#
# libovl.so exports what shim/calls.def names and nothing else.  A row without a function would leave libc's
# own in place without a word; a function without a row would be known to no other test.
set -eu

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

printf '#define CALL(name, type, parameters, safety) @name@\n#define TWIN(symbol, name) @symbol@\n' >"$tmp/names.c"
printf '#define SHIM_FILE_ALL\n#include "calls.def"\n' >>"$tmp/names.c"
"$CC" -E -P -Ishim "$tmp/names.c" | grep -o '@[^@]*@' | tr -d '@ ' | sort >"$tmp/rows"
"$NM" --dynamic --defined-only --format=posix "$1" | sed 's/[ @].*//' | sort -u >"$tmp/exports"

status=0
if ! [ -s "$tmp/rows" ]; then
    echo "shim/calls.def has no rows"
    status=1
fi
if uniq -d "$tmp/rows" | grep .; then
    echo "^ in shim/calls.def more than once"
    status=1
fi
if comm -23 "$tmp/rows" "$tmp/exports" | grep .; then
    echo "^ in shim/calls.def, but not exported"
    status=1
fi
if comm -13 "$tmp/rows" "$tmp/exports" | grep .; then
    echo "^ exported, but not in shim/calls.def"
    status=1
fi
exit $status
