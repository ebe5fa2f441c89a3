#!/bin/sh
# SPDX-License-Identifier: MIT
#
# libovl.so may need libc and, for the dynamic linker's own symbols, ld.so: whatever else it needed would be
# loaded into every program of every build.
set -eu

needed=$("$READELF" --dynamic --wide "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\].*/\1/p')
status=0
for name in $needed; do
    case $name in
    libc.so.6 | ld-linux-x86-64.so.2 | ld-linux-aarch64.so.1) ;;
    *)
        echo "$1 needs $name"
        status=1
        ;;
    esac
done
if ! printf '%s\n' "$needed" | grep -qx libc.so.6; then
    echo "$1 does not need libc.so.6: is it what it should be?"
    status=1
fi
exit $status
