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
