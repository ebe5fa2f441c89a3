#!/bin/sh
# SPDX-License-Identifier: MIT
#
# An upper directory is an OCI image layer as it stands: plain tar packs it, and wherever it is unpacked over
# the same base it makes the same tree, removals included.
set -eu
# shellcheck source=examples/common.sh
. "$(dirname "$0")/common.sh"
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

mkdir -p "$dir/base/usr/bin" "$dir/base/usr/share/doc/tool" "$dir/base/var/cache"
printf '#!/bin/sh\necho "tool 1.0"\n' >"$dir/base/usr/bin/tool"
chmod 755 "$dir/base/usr/bin/tool"
echo manual >"$dir/base/usr/share/doc/tool/manual"
echo stale >"$dir/base/var/cache/index"
before=$(state "$dir/base")

# tree CONFIGURATION MOUNT: everything that can be seen of a view.
tree() {
    OVL_CONF=$1 LD_PRELOAD=$library find "$2" -printf '%P %y %m %l\n' | LC_ALL=C sort
    OVL_CONF=$1 LD_PRELOAD=$library find "$2" -type f -exec md5sum {} + | sed "s|$2||" | LC_ALL=C sort
}

say "A tool is updated, its manual and the cache are removed:"
conf="mount=$dir/root,lowerdir=$dir/base,upperdir=$dir/layer"
# shellcheck disable=SC2016
in_overlay "$conf" sh -ec '
    cd "$1"
    sed -i s/1.0/2.0/ usr/bin/tool
    ln -s tool usr/bin/tool2
    rm -r usr/share/doc var/cache
    mkdir var/cache
    echo fresh >var/cache/index2' sh "$dir/root"

say "The upper directory, packed as a layer with plain tar:"
tar -C "$dir/layer" --sort=name --owner=0 --group=0 --numeric-owner -czf "$dir/layer.tar.gz" .
tar -tzf "$dir/layer.tar.gz"
sha256sum "$dir/layer.tar.gz" | sed "s|$dir/||"
tar -tzf "$dir/layer.tar.gz" | grep -q '/\.wh\.doc$' || {
    echo 'WRONG: the removed directory has no whiteout in the layer' >&2
    exit 1
}

say "Unpacked elsewhere, over the same base, it shows the same tree:"
mkdir "$dir/unpacked"
tar -C "$dir/unpacked" -xzf "$dir/layer.tar.gz"
again="mount=$dir/copy,lowerdir=$dir/unpacked:$dir/base"
in_overlay "$again" find "$dir/copy" -type f -o -type l
in_overlay "$again" sh -c "$dir/copy/usr/bin/tool2"
must_be "$(OVL_CONF=$again LD_PRELOAD=$library sh -c "$dir/copy/usr/bin/tool2")" 'tool 2.0'
must_be "$(tree "$again" "$dir/copy")" "$(tree "$conf" "$dir/root")"
must_be "$(OVL_CONF=$again LD_PRELOAD=$library ls "$dir/copy/var/cache")" index2

say "The base is what it was:"
must_be "$(state "$dir/base")" "$before"
echo unchanged
