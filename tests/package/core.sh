#!/bin/sh
# SPDX-License-Identifier: MIT
#
# A program against the installed core: found by CMake and by pkg-config, in a tree that is not where it was configured
# for.
#
#   tests/package/core.sh BUILD-TREE
set -eu

build=$1
source=$PWD/examples/where.c
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cmake --install "$build" --prefix "$tmp/first" --component dev >/dev/null
mv "$tmp/first" "$tmp/moved"

# try PROGRAM: it sees the overlay.
mkdir "$tmp/l"
: >"$tmp/l/f"
try() {
    said=$("$1" "mount=/m,lowerdir=$tmp/l" /m/f)
    case $said in
    *"$tmp/l/f"*) ;;
    *)
        echo "$1 says: $said"
        exit 1
        ;;
    esac
}

mkdir "$tmp/by-cmake"
cat >"$tmp/by-cmake/CMakeLists.txt" <<END
cmake_minimum_required(VERSION 3.25)
project(user LANGUAGES C)
find_package(libovl 0.1 REQUIRED)
add_executable(where $source)
target_link_libraries(where PRIVATE libovl::ovlcore)
END
cmake -S "$tmp/by-cmake" -B "$tmp/by-cmake/build" -DCMAKE_PREFIX_PATH="$tmp/moved" -DCMAKE_C_COMPILER="$CC" >"$tmp/log"
cmake --build "$tmp/by-cmake/build" >>"$tmp/log"
try "$tmp/by-cmake/build/where"

command -v pkg-config >/dev/null || {
    echo "skipped: needs pkg-config"
    exit 77
}
pc=$(find "$tmp/moved" -name libovl.pc)
PKG_CONFIG_PATH=${pc%/*}
export PKG_CONFIG_PATH
# shellcheck disable=SC2046
"$CC" "$source" $(pkg-config --cflags --libs libovl) -o "$tmp/where"
try "$tmp/where"
