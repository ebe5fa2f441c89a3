#!/bin/sh
# SPDX-License-Identifier: MIT
#
# A read-only overlay: two directories seen as one under a path that does not exist on disk.  Nothing can be
# changed there, not even what the caller owns.
set -eu
# shellcheck source=examples/common.sh
. "$(dirname "$0")/common.sh"
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

mkdir -p "$dir/base/etc" "$dir/site/etc"
echo 'color = red' >"$dir/base/etc/app.conf"
echo 'port = 80' >"$dir/base/etc/net.conf"
echo 'color = blue' >"$dir/site/etc/app.conf"
before=$(state "$dir")

view=$dir/view
conf="mount=$view,lowerdir=$dir/site:$dir/base"

say "Two layers, the first named is the highest:"
in_overlay "$conf" head "$view/etc/app.conf" "$view/etc/net.conf"
must_be "$(OVL_CONF=$conf LD_PRELOAD=$library cat "$view/etc/app.conf" "$view/etc/net.conf")" 'color = blue
port = 80'

say "There is no upper directory, so every change fails:"
for change in "touch $view/etc/app.conf" "rm $view/etc/app.conf" "mkdir $view/new" "mv $view/etc $view/old"; do
    # shellcheck disable=SC2086
    if answer=$(in_overlay "$conf" env LC_ALL=C $change 2>&1); then
        echo "WRONG: '$change' went through" >&2
        exit 1
    fi
    printf '%s\n' "$answer"
    case $answer in
    *'Read-only file system'*) ;;
    *)
        echo "WRONG: another error was due" >&2
        exit 1
        ;;
    esac
done

say "And the layers are what they were:"
must_be "$(state "$dir")" "$before"
echo unchanged
