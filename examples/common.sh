# SPDX-License-Identifier: MIT
#
# What the examples share.  Sourced: . "$(dirname "$0")/common.sh"
# shellcheck shell=sh

# The library: OVL_LIBRARY, or the one that was built here.
find_library() {
    for found in "${OVL_LIBRARY-}" "$(dirname "$0")"/../build/*/shim/libovl.so; do
        if [ -r "$found" ]; then
            realpath "$found"
            return
        fi
    done
    echo "no libovl.so: build it (cmake --workflow --preset release), or set OVL_LIBRARY" >&2
    exit 1
}

library=$(find_library)

# say WORDS...: what comes next, for the reader.
say() {
    printf '\n# %s\n' "$*"
}

# in_overlay CONFIGURATION COMMAND...: shows the command and runs it inside.
in_overlay() {
    inside=$1
    shift
    printf '$ %s\n' "$*"
    OVL_CONF=$inside LD_PRELOAD=$library "$@"
}

# must_be TEXT WANTED: what the example claims.
must_be() {
    if [ "$1" != "$2" ]; then
        printf 'WRONG: got\n%s\nbut wanted\n%s\n' "$1" "$2" >&2
        exit 1
    fi
}

# state DIRECTORY: all that can change in a tree: names, types, modes, owners, sizes, times, link targets, and
# the content of the files that can be read.
state() {
    (
        cd "$1" || exit 1
        find . -printf '%p %y %i %n %m %U %G %s %T@ %C@ %l\n' | LC_ALL=C sort
        find . -type f -readable -print0 | LC_ALL=C sort -z | xargs -0 -r sha256sum
    ) | sha256sum
}

# find_tool: sets $ovl to the tool: OVL_TOOL, what lies beside the library, or what was built here; it loads the library
# that was found.
# shellcheck disable=SC2034 # for who calls this, as below
find_tool() {
    for ovl in "${OVL_TOOL-}" "${library%/*}/ovl" "${library%/*}/../cli/ovl"; do
        if [ -x "$ovl" ]; then
            OVL_LIBRARY=$library
            export OVL_LIBRARY
            return
        fi
    done
    echo "no ovl: build it (it needs json-c, libarchive, libmd and zlib), or set OVL_TOOL" >&2
    exit 1
}

# run_ovl ARGUMENT...: shows the command and runs the tool.
run_ovl() {
    printf '$ ovl %s\n' "$*"
    "$ovl" "$@"
}

# two_users: sets $first and $second to what runs a command as one user and as another.  Who is not root is one of them,
# and, where that is to be had, the root of a user name space the other.
# shellcheck disable=SC2034
two_users() {
    first=
    second=
    if [ "$(id -u)" = 0 ]; then
        first='setpriv --reuid 12345 --regid 12345 --clear-groups'
        second='setpriv --reuid 23456 --regid 23456 --clear-groups'
    elif unshare --map-root-user true 2>/dev/null; then
        second='unshare --map-root-user'
    fi
}
