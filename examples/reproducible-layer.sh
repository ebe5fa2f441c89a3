#!/bin/sh
# SPDX-License-Identifier: MIT
#
# A reproducible layer of an OCI image: the same build, in different directories, at different times, by different
# users, gives the same digest.
set -eu
# shellcheck source=examples/common.sh
. "$(dirname "$0")/common.sh"
find_tool
two_users
dir=$(mktemp -d)
chmod 755 "$dir"
trap 'rm -rf "$dir"' EXIT
SOURCE_DATE_EPOCH=1700000000
export SOURCE_DATE_EPOCH

# The base of the image, and what is installed over it.
mkdir -p "$dir/base/etc" "$dir/base/usr/bin" "$dir/base/usr/share/doc/old"
echo 'greeting=hello' >"$dir/base/etc/app.conf"
echo readme >"$dir/base/usr/share/doc/old/readme"
cat >"$dir/build.sh" <<'END'
set -e
cd "$1"
umask 022
printf '#!/bin/sh\necho "$greeting"\n' >usr/bin/app
chmod 755 usr/bin/app
ln usr/bin/app usr/bin/app-again
sed -i s/hello/welcome/ etc/app.conf
rm -r usr/share/doc/old
mkdir -p usr/lib/app
for name in b c a; do echo "$name" >usr/lib/app/$name; done
END

# build USER NAME: in a directory of its own, with a copy of the base, and seen at the same place, which need not exist.
build() {
    mkdir "$dir/$2"
    chmod 777 "$dir/$2"
    $1 cp -R "$dir/base" "$dir/$2/base"
    $1 "$ovl" run -q -m /image -l "$dir/$2/base" -u "$dir/$2/upper" -- sh "$dir/build.sh" /image
    $1 "$ovl" export -m /image -l "$dir/$2/base" -u "$dir/$2/upper" --owner 0:0 -o "$dir/$2/layer.tar.gz"
}

say "User $($first id -u), in $dir/here:"
build "$first" here
sleep 1.1 # another second
say "User $($second id -u), in $dir/there:"
build "$second" there

say "The layer:"
tar --numeric-owner -tvzf "$dir/here/layer.tar.gz"
say "Both are the same, bit by bit:"
(cd "$dir" && sha256sum here/layer.tar.gz there/layer.tar.gz)
cmp "$dir/here/layer.tar.gz" "$dir/there/layer.tar.gz"
must_be "$(tar -tzf "$dir/here/layer.tar.gz" | grep -c '/\.wh\.old$')" 1
must_be "$(tar --numeric-owner -tvzf "$dir/here/layer.tar.gz" | awk '{ print $2 }' | sort -u)" 0/0
echo identical
