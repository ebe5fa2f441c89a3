#!/bin/sh
# SPDX-License-Identifier: MIT
#
# libovl-audit.so needs no other object, not even libc, and exports what ld.so asks for and no more: la_symbind and
# la_*_pltenter would cost at every call of every program.
set -eu

status=0
if "$READELF" --dynamic --wide "$1" | grep '(NEEDED)'; then
    echo "^ needed by $1"
    status=1
fi
if "$NM" --dynamic --undefined-only "$1" | grep .; then
    echo "^ undefined in $1"
    status=1
fi
exports=$("$NM" --dynamic --defined-only --format=posix "$1" | sed 's/ .*//' | sort | tr '\n' ' ')
if [ "$exports" != "la_objopen la_objsearch la_version " ]; then
    echo "$1 exports $exports"
    status=1
fi
exit $status
