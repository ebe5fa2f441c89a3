#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Dependencies run one way: wrap_* -> boundary -> ovl.h -> core -> sys.  The rules below are about #include
# and about the instruction that enters the kernel.
set -eu

status=0

# complain RULE < OFFENDING-LINES
complain() {
    if grep .; then
        echo "^ $1"
        return 1
    fi
}

# Prints FILE:LINE:#include "HEADER" of the files whose HEADER is in none of the directories.
includes_from_elsewhere() { # FILES... -- DIRECTORIES...
    files=
    while [ "$1" != -- ]; do
        files="$files $1"
        shift
    done
    shift
    # shellcheck disable=SC2086
    grep -n '^ *# *include *"' /dev/null $files | while IFS= read -r line; do
        header=${line#*\"}
        header=${header%%\"*}
        for dir; do
            [ -e "$dir/$header" ] && continue 2
        done
        printf '%s\n' "$line"
    done
}

# shellcheck disable=SC2046
includes_from_elsewhere $(ls core/*.[ch]) -- core | complain 'core includes headers of core only' || status=1
# shellcheck disable=SC2046
includes_from_elsewhere $(ls shim/*.[ch]) -- shim core |
    complain 'shim includes its own headers and ovl.h' || status=1
grep -n '^ *# *include *"types\.h"' shim/*.[ch] | complain "types.h is core's own: the shim includes ovl.h" || status=1
# shellcheck disable=SC2046
includes_from_elsewhere $(ls cli/*.[ch]) -- cli | grep -v '^cli/cmd_doctor.c:.*"image.h"' |
    complain "the tool includes its own headers, and <ovl.h>; of the shim's, doctor one" || status=1
grep -n '^ *# *include *"\(wrap_\|.*\.c"\)' core/*.[ch] shim/*.[ch] cli/*.[ch] |
    complain 'no file includes another .c file' || status=1

grep -nE '"[[:space:]]*(syscall|svc|sysenter|int +\$0x80)' core/*.[ch] shim/*.[ch] |
    grep -vE '^core/sys_(linux|clone)\.c:' |
    complain 'only core/sys_linux.c and core/sys_clone.c enter the kernel' || status=1
# vfork returns twice on one stack: it cannot be a call of ovl_sys_raw().
for file in shim/*.S; do
    [ "$file" = shim/vfork_entry.S ] || grep -HnE '^[[:space:]]*(syscall|svc)' "$file" 2>/dev/null || true
done | complain 'shim/vfork_entry.S is the only assembler file that enters the kernel' || status=1

exit $status
