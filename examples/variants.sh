#!/bin/sh
# SPDX-License-Identifier: MIT
#
# A CI job that builds many variants at the same time, over one source tree and one toolchain that are both read-only.
# Each build is in place (in the source tree, as careless makefiles do it) and sees none of the others.
set -eu
# shellcheck source=examples/common.sh
. "$(dirname "$0")/common.sh"
find_tool
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# The toolchain: a compiler driver and headers of its own.
mkdir -p "$dir/toolchain/bin" "$dir/toolchain/include" "$dir/source"
cat >"$dir/toolchain/bin/cc" <<'END'
#!/bin/sh
exec gcc -I"$(dirname "$0")/../include" "$@"
END
chmod 755 "$dir/toolchain/bin/cc"
echo '#define VENDOR "example"' >"$dir/toolchain/include/vendor.h"

cat >"$dir/source/main.c" <<'END'
#include <stdio.h>
#include <vendor.h>
#ifndef FEATURE
#define FEATURE "none"
#endif
int main(void)
{
    puts(VENDOR " feature=" FEATURE);
    return 0;
}
END
cat >"$dir/source/Makefile" <<'END'
prog: main.o
	$(CC) -o $@ main.o
main.o: main.c
	$(CC) $(CFLAGS) -c -o $@ main.c
END
before=$(state "$dir/toolchain")$(state "$dir/source")

# The toolchain is seen at /opt/toolchain, whether there is such a directory or not; the sources where they are.
say "The configuration of a variant:"
# shellcheck disable=SC2016
cat >"$dir/variant.conf" <<'END'
[overlay toolchain]
mount = /opt/toolchain
lowerdir = toolchain

[overlay source]
mount = ${SOURCE}
lowerdir = source
upperdir = out/${VARIANT}
workdir = work/${VARIANT}
volatile = on
END
cat "$dir/variant.conf"
mkdir "$dir/out" "$dir/work"
SOURCE=$dir/source
export SOURCE

say "Eight variants at once:"
jobs=
for level in 0 1 2 s; do
    for feature in red blue; do
        VARIANT=O$level-$feature "$ovl" run --conf "$dir/variant.conf" -- \
            make -s -C "$SOURCE" CC=/opt/toolchain/bin/cc CFLAGS="-O$level -DFEATURE='\"$feature\"'" &
        jobs="$jobs $!"
    done
done
for job in $jobs; do
    wait "$job"
done

say "Each has its own results, and nothing else:"
for variant in "$dir"/out/*/; do
    printf '%-10s %s: %s\n' "$(basename "$variant")" "$(cd "$variant" && echo *)" "$("$variant/prog")"
    must_be "$(cd "$variant" && echo *)" 'main.o prog'
    case $variant in
    *-red/) must_be "$("$variant/prog")" 'example feature=red' ;;
    *) must_be "$("$variant/prog")" 'example feature=blue' ;;
    esac
done
must_be "$(find "$dir/out" -name prog | wc -l)" 8

say "The toolchain can't be changed, not even by mistake:"
VARIANT=O0-red
export VARIANT
if run_ovl run --conf "$dir/variant.conf" -- sh -c 'echo >>/opt/toolchain/include/vendor.h' 2>"$dir/said"; then
    must_be 'it was changed' 'refused'
fi
grep -o 'Read-only file system' "$dir/said"

say "Toolchain and sources are what they were:"
must_be "$(state "$dir/toolchain")$(state "$dir/source")" "$before"
echo unchanged
