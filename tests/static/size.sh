#!/bin/sh
# SPDX-License-Identifier: MIT
#
# libovl.so takes less address space than libc.  Where a limit (RLIMIT_AS) leaves too little for it, ld.so starts the
# program without it, outside of the overlay; but then libc, which is mapped after it, does not fit either, and nothing
# runs (CONTRACT 1.11, 4.6).
set -eu

# span FILE: the bytes from the first loaded segment to the end of the last.
span() {
    "$READELF" --program-headers --wide "$1" | awk '$1 == "LOAD" { print $3, $6 }' | while read -r address size; do
        echo $((address + size))
    done | sort -n | tail -n 1
}

libc_file=$("$CC" -print-file-name=libc.so.6)
own=$(span "$1")
libc=$(span "$libc_file")
if [ "$own" -ge "$libc" ]; then
    echo "$1 takes $own bytes of address space, $libc_file only $libc"
    exit 1
fi
