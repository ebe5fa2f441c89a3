#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Check the model of the directory cache: spin must find nothing in it as it is, and every planted fault.
# Usage: run.sh [FAULT...]      0 is the model without one.
# Needs: spin, gcc.  Takes some minutes and up to 2 GB.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 2' HUP INT TERM
status=0

# Who takes part: readers, writers, writers that can't map the cache.  There is one builder in each.
two_writers='-DREADERS=1 -DWRITERS=2 -DBLIND=0'
two_readers='-DREADERS=2 -DWRITERS=1 -DBLIND=0'
a_blind_one='-DREADERS=1 -DWRITERS=1 -DBLIND=1'
blind_alone='-DREADERS=2 -DWRITERS=0 -DBLIND=1'

describe() { # FAULT
    sed -n "s/^| $1 | \([^|]*[^ |]\) *|.*/\1/p" "$here/README.md"
}

check() { # FAULT, PARTS: the number of errors into $errors, of states into $states
    (
        # shellcheck disable=SC2086
        cd "$work" && spin "-DFAULT=$1" $2 -a "$here/cache.pml" >spin.log &&
            gcc -O2 -w -DSAFETY -DCOLLAPSE -DMEMLIM=2000 -o pan pan.c && ./pan -m10000 -w25 >pan.log
    ) || { cat "$work"/*.log; exit 2; }
    errors=$(sed -n 's/.*, errors: //p' "$work/pan.log")
    states=$(sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' "$work/pan.log")
    # A search that was cut short has shown nothing.
    if grep -Eq 'max search depth too small|pan: reached|out of memory|assertion violated .*end state' "$work/pan.log"
    then
        errors=unknown
    fi
}

expect_none() { # NAME, PARTS
    check 0 "$2"
    verdict=ok
    [ "$errors" = 0 ] || { verdict=WRONG; status=1; }
    printf '%-6s no fault, %s: %s errors, %s states\n' "$verdict" "$1" "$errors" "$states"
}

expect_found() { # FAULT, PARTS
    check "$1" "$2"
    verdict=ok
    { [ "$errors" = 1 ] && grep -q 'assertion violated' "$work/pan.log"; } || { verdict=WRONG; status=1; }
    printf '%-6s fault %s, %s: %s errors, %s states\n' "$verdict" "$1" "$(describe "$1")" "$errors" "$states"
}

[ $# -gt 0 ] || set -- 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21
for fault; do
    case $fault in
    0)
        expect_none 'two writers' "$two_writers"
        expect_none 'two readers' "$two_readers"
        expect_none 'one that cannot map it' "$a_blind_one"
        expect_none 'that one alone' "$blind_alone"
        ;;
    2 | 7 | 8 | 12 | 16) expect_found "$fault" "$two_writers" ;;
    18) expect_found "$fault" "$a_blind_one" ;;
    13 | 19) expect_found "$fault" "$blind_alone" ;;
    *) expect_found "$fault" "$two_readers" ;;
    esac
done
exit $status
