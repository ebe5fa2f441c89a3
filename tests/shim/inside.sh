#!/bin/sh
# SPDX-License-Identifier: MIT
#
# libc patched, under an overlay over /etc: what libc reads by itself, also while signal handlers come between.
#
#   inside.sh LIBRARY PROGRAM [LAUNCHER...]
set -eu

if [ -n "${OVL_RUN-}" ]; then
    echo "skipped: inside.sh: the tests run in an overlay: no other one can be started from there"
    exit 77
fi
library=$1
program=$2
shift 2
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
mkdir "$tmp/layer"
echo 'zaphod:x:4242:4242:Z. B.:/home/zaphod:/bin/sh' >"$tmp/layer/passwd"
printf '%s: files\n' passwd group hosts networks services protocols >"$tmp/layer/nsswitch.conf"
echo z >"$tmp/layer/mark"
printf '[overlay]\nmount = /etc\nlowerdir = layer\nlowerdir = /etc\npatch = require\n' >"$tmp/conf"
mkfifo "$tmp/layer/fifo"

# expect WANTED ARGUMENTS...: what the program says.
expect() {
    wanted=$1
    shift
    said=$("$@") || said="$said (status $?)"
    if [ "$said" != "$wanted" ]; then
        printf '%s\n  says: %s\n  not: %s\n' "$*" "$said" "$wanted"
        exit 1
    fi
}

# An emulator has a way of its own to give a variable to the program alone.
case "$*" in
*qemu*) set -- "$@" -E "LD_PRELOAD=$library" ;;
*) set -- "$@" env "LD_PRELOAD=$library" ;;
esac
export OVL_CONF="$tmp/conf"
expect 'getpwnam Z. B.
getpwent /home/zaphod
getpwuid_r zaphod' sh -c '"$@" | head -n 3' sh "$@" "$program" names zaphod - - - - -
expect 'handlers right
after jumps Z. B.' "$@" "$program" signals zaphod /etc/mark "$program"
expect 'threads right' "$@" "$program" threads zaphod
expect 'open cancelled
fopen cancelled' "$@" "$program" fifo /etc/fifo
sed -i 's/require/off/' "$tmp/conf"
expect 'getpwnam -' sh -c '"$@" | head -n 1' sh "$@" "$program" names zaphod - - - - -
