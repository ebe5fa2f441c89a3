#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Several layers, as an image is built of them: a layer adds, replaces and removes what the layers below it
# have.  `.wh.NAME` is a whiteout, `.wh..wh..opq` makes a directory opaque.
set -eu
# shellcheck source=examples/common.sh
. "$(dirname "$0")/common.sh"
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

mkdir -p "$dir/1-base/bin" "$dir/1-base/doc" "$dir/1-base/lib"
echo base >"$dir/1-base/bin/tool"
echo old >"$dir/1-base/bin/obsolete"
echo long >"$dir/1-base/doc/manual"
echo libs >"$dir/1-base/lib/lib.so"

mkdir -p "$dir/2-update/bin"
echo update >"$dir/2-update/bin/tool"
: >"$dir/2-update/bin/.wh.obsolete"

mkdir -p "$dir/3-slim/doc"
: >"$dir/3-slim/doc/.wh..wh..opq"
echo short >"$dir/3-slim/doc/README"
lowers=$dir/3-slim:$dir/2-update:$dir/1-base
before=$(state "$dir/1-base")$(state "$dir/2-update")$(state "$dir/3-slim")

view=$dir/image
conf="mount=$view,lowerdir=$lowers,upperdir=$dir/4-mine"

say "The layers:"
(cd "$dir" && find [123]* -type f | sort)
say "What they show together:"
in_overlay "$conf" find "$view" -type f
must_be "$(cd "$dir" && OVL_CONF=$conf LD_PRELOAD=$library find "$view" -type f -printf '%P\n' | sort)" 'bin/tool
doc/README
lib/lib.so'

say "Changes go to the upper layer, 4-mine:"
# shellcheck disable=SC2016
in_overlay "$conf" sh -ec 'cd "$1"; rm bin/tool; echo mine >bin/obsolete; echo more >>doc/README' sh "$view"
(cd "$dir" && find 4-mine | sort)
must_be "$(cd "$dir/4-mine" && find . -type f | sort)" './bin/.wh.tool
./bin/obsolete
./doc/README'
must_be "$(cat "$dir/4-mine/doc/README")" 'short
more'

say "With the upper as one more lower layer the result can be given away, read-only:"
conf="mount=$view,lowerdir=$dir/4-mine:$lowers"
in_overlay "$conf" find "$view" -type f
must_be "$(OVL_CONF=$conf LD_PRELOAD=$library find "$view" -type f -printf '%P\n' | sort)" 'bin/obsolete
doc/README
lib/lib.so'

say "The lower layers are what they were:"
must_be "$(state "$dir/1-base")$(state "$dir/2-update")$(state "$dir/3-slim")" "$before"
echo unchanged
