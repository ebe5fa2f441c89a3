#!/bin/sh
# SPDX-License-Identifier: MIT
#
# From nothing to software that an ordinary user builds, tests and installs with prefix /usr, without privileges
# and without changing /usr or the source tree: libovl itself is that software.
#
#   examples/quickstart.sh
#
# Run as root it installs what is missing with apt and becomes an ordinary user for the rest.
set -eu

src=$(cd "$(dirname "$0")/.." && pwd)
packages='gcc make cmake libcmocka-dev libc6-dev pkgconf'
user=12345 # for a root that wants to be an ordinary user: an id that needs no name

# state DIRECTORY [CONTENT-DIRECTORY...]: a checksum of all that can change: of every name below DIRECTORY its
# type, inode, link count, mode, owner, size, mtime and ctime, and what the files below the others hold.
state() {
    {
        find "$1" -path "$src/build" -prune -o -path "$src/.git" -prune -o \
            -printf '%p %y %i %n %m %U %G %s %T@ %C@ %l\n' | LC_ALL=C sort
        shift
        find "$@" -path "$src/build" -prune -o -path "$src/.git" -prune -o -type f -readable -print0 |
            LC_ALL=C sort -z | xargs -0 sha256sum
    } 2>/dev/null | sha256sum | cut -c 1-64
}

say() {
    printf '\n# %s\n' "$*"
}

# The part for the ordinary user. $1: a directory of the user's, with libovl.so in it.
as_user() {
    dir=$1
    say "This is user $(id -u).  The checksums of /usr and of the source tree before:"
    usr_before=$(state /usr /usr/bin /usr/include)
    src_before=$(state "$src" "$src")
    printf '%s  /usr\n%s  %s\n' "$usr_before" "$src_before" "$src"

    say "Two overlays, both in place: /usr, and the source tree $src."
    OVL_CONF="mount=/usr,lowerdir=/usr,upperdir=$dir/usr;mount=$src,lowerdir=$src,upperdir=$dir/src"
    echo "OVL_CONF=$OVL_CONF"
    export OVL_CONF

    say "Inside: configure, compile, test, install, use.  (This shell stays outside.)"
    LD_PRELOAD=$dir/libovl.so sh -eux "$src/examples/quickstart.sh" --inside "$src"
    unset OVL_CONF

    say "What is new in the upper of /usr:"
    (cd "$dir/usr" && find . ! -type d)
    say "And in the upper of the source tree (the first 5 of $(find "$dir/src" -type f | wc -l) files):"
    (cd "$dir/src" && find . -type f | sort | head -n 5)
    [ -x "$dir/usr/bin/where" ] || fail 'the program is not in the upper of /usr'

    say "/usr and the source tree are what they were:"
    usr_after=$(state /usr /usr/bin /usr/include)
    src_after=$(state "$src" "$src")
    printf '%s  /usr\n%s  %s\n' "$usr_after" "$src_after" "$src"
    [ "$usr_after" = "$usr_before" ] || fail '/usr was changed'
    [ "$src_after" = "$src_before" ] || fail "$src was changed"
    ! [ -e "$src/build/quickstart" ] || fail 'the build is in the source tree'
    say "Done."
}

# briefly COMMAND...: the end of what it prints, all of it if it fails.
briefly() {
    if ! "$@" >build/log 2>&1; then
        cat build/log
        exit 1
    fi
    tail -n 4 build/log
}

# What runs in the overlays.
inside() {
    cd "$1"
    mkdir -p build
    # Of the faults that the unit tests put in, a share: all of them take minutes.
    briefly cmake -S . -B build/quickstart -DCMAKE_BUILD_TYPE=Release -DCMAKE_INSTALL_PREFIX=/usr -DOVL_FAULT_STRIDE=7
    briefly cmake --build build/quickstart -j 2
    briefly ctest --test-dir build/quickstart -j 2 --output-on-failure
    cmake --install build/quickstart
    # The installed header and library, used by a program that is installed beside them.
    # shellcheck disable=SC2046
    gcc -o /usr/bin/where examples/where.c $(pkg-config --cflags --libs libovl)
    where "mount=/both,lowerdir=/etc:/usr" /both/passwd /both/bin/where /both/nothing
}

fail() {
    echo "quickstart: $*" >&2
    exit 1
}

case ${1-} in
--inside)
    inside "$2"
    exit
    ;;
--as-user)
    as_user "$2"
    exit
    ;;
esac

say "Packages: $packages"
# shellcheck disable=SC2086
sh "$src/tests/tools/packages.sh" $packages

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

say "Building libovl.so"
cmake -S "$src" -B "$dir/build" -DCMAKE_BUILD_TYPE=Release -DOVL_TESTS=OFF >/dev/null
cmake --build "$dir/build" -j 2 >/dev/null
mkdir "$dir/user"
cp "$dir/build/shim/libovl.so" "$dir/build/shim/libovl-audit.so" "$dir/user"
if [ "$(id -u)" != 0 ]; then
    sh "$0" --as-user "$dir/user"
    exit
fi
chmod 711 "$dir"
chown -R "$user:$user" "$dir/user"
set -- setpriv --reuid "$user" --regid "$user" --clear-groups env HOME="$dir/user"
"$@" test -r "$src/CMakeLists.txt" || fail "an ordinary user must be able to read $src: clone it elsewhere"
cd / # a place that the user may be in
"$@" sh "$src/examples/quickstart.sh" --as-user "$dir/user"
