#!/bin/sh
# SPDX-License-Identifier: MIT
#
# A reproducible Debian package: compilers write the directory that they run in into what they make, so that a build in
# another place gives other bytes.  Seen through an overlay every build is in the same place, wherever its files are.
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
for program in dpkg-deb gcc; do
    command -v "$program" >/dev/null || {
        echo "this example needs $program" >&2
        exit 1
    }
done

mkdir -p "$dir/source/debian"
printf '#include <stdio.h>\nint main(void)\n{\n    puts("built in " __FILE__);\n}\n' >"$dir/source/main.c"
cat >"$dir/source/debian/control" <<END
Package: example
Version: 1.0
Architecture: $(dpkg --print-architecture)
Maintainer: Nobody <nobody@example.org>
Description: an example
END
cat >"$dir/source/build.sh" <<'END'
set -e
umask 022
mkdir -p tree/DEBIAN tree/usr/bin
gcc -g -O2 -o tree/usr/bin/example "$PWD/main.c"
cp debian/control tree/DEBIAN/control
dpkg-deb --root-owner-group --build tree example.deb >/dev/null
END

# copy USER NAME: the sources, in a directory of that user's.
copy() {
    mkdir "$dir/$2"
    chmod 777 "$dir/$2"
    $1 cp -R "$dir/source" "$dir/$2/source"
}

say "As it is, two builds in two directories differ:"
for name in one two; do
    copy "$first" "$name"
    (cd "$dir/$name/source" && $first sh build.sh)
done
(cd "$dir" && sha256sum one/source/example.deb two/source/example.deb)
! cmp -s "$dir/one/source/example.deb" "$dir/two/source/example.deb" || must_be same different

# inside USER NAME: the sources are seen at /build/example, which need not exist; the upper has what is built.
inside() {
    copy "$1" "$2"
    printf '$ ovl run -m /build/example -l %s -u %s -- sh -c "cd /build/example; sh build.sh"\n' "$2/source" "$2/upper"
    $1 "$ovl" run -q -m /build/example -l "$dir/$2/source" -u "$dir/$2/upper" -- \
        sh -c 'cd /build/example; exec sh build.sh'
}

say "Seen at the same place they do not, for user $($first id -u) and user $($second id -u):"
inside "$first" here
sleep 1.1 # another second
inside "$second" there
(cd "$dir" && sha256sum here/upper/example.deb there/upper/example.deb)
cmp "$dir/here/upper/example.deb" "$dir/there/upper/example.deb"
dpkg-deb -c "$dir/here/upper/example.deb"
must_be "$("$dir/here/upper/tree/usr/bin/example")" 'built in /build/example/main.c'
must_be "$(ls "$dir/here/source")" "$(ls "$dir/source")"
echo identical
