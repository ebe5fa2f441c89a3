#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Every function that libc exports is in shim/calls.def (wrapped) or in shim/not_wrapped.def (with the reason), in one
# of them and once, and neither names one that libc does not have, but for those of newer versions: a new glibc that
# brings new functions fails here until somebody has looked at them (CONTRACT 4.1).
#
# The libc is the one that the compiler links with, also another machine's.  Status 77: there is none to look at.
set -eu
LC_ALL=C
export LC_ALL

libc=$("$CC" -print-file-name=libc.so.6)
if ! [ -e "$libc" ]; then
    echo "skipped: $CC has no libc.so.6 of its own"
    exit 77
fi
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

machine=$("$READELF" --file-header "$libc" | sed -n 's/^ *Machine: *//p')
case $machine in
*X86-64*) x86=yes ;;
*) x86=no ;;
esac

# Exported functions, without libc's private ones: "NAME VERSION", each version of a name.
"$READELF" --dyn-syms --wide "$libc" |
    awk '($4 == "FUNC" || $4 == "IFUNC") && $7 != "UND" && $8 !~ /GLIBC_PRIVATE/ { sub(/@+/, " ", $8); print $8 }' \
        >"$tmp/exports"
cut -d ' ' -f 1 "$tmp/exports" | sort -u >"$tmp/exported"
# The newest version 2.N that is defined: the libc's own.
minor=$(sed -n 's/.* GLIBC_2\.\([0-9]*\).*/\1/p' "$tmp/exports" | sort -n | tail -n 1)
if [ "$(wc -l <"$tmp/exported")" -lt 2000 ] || [ -z "$minor" ]; then
    echo "$libc exports too little: is it what it should be?"
    exit 1
fi

# "NAME" or "NAME(MARK)" of both tables.
printf '#define CALL(name, type, parameters, safety) @name@\n#define TWIN(symbol, name) @symbol@\n' >"$tmp/names.c"
printf '#define SINCE(symbol, version) @symbol(version)@\n' >>"$tmp/names.c"
printf '#define SHIM_FILE_ALL\n#include "calls.def"\n' >>"$tmp/names.c"
"$CC" -E -P -Ishim "$tmp/names.c" | grep -o '@[^@]*@' | tr -d '@ ' >"$tmp/rows"
grep '(' "$tmp/rows" | sed 's/(.*//' >"$tmp/since"
grep -vxFf "$tmp/since" "$tmp/rows" >"$tmp/wrapped" # those that have a mark stand there once without it
sed -n 's/^    //p' shim/not_wrapped.def | tr ' ' '\n' >"$tmp/reasons"
cat "$tmp/wrapped" "$tmp/reasons" >"$tmp/table"
sed 's/(.*//' "$tmp/table" | sort >"$tmp/known"

# Those that this libc must have.
sed 's/[()]/ /g' "$tmp/table" | awk -v minor="$minor" -v x86="$x86" '
    $2 == "x86" { if (x86 == "yes") print $1; next }
    $2 { split($2, version, "."); if (version[2] + 0 <= minor + 0) print $1; next }
    { print $1 }' | sort -u >"$tmp/expected"

status=0
complain() {
    if grep .; then
        echo "^ $1"
        return 1
    fi
}
uniq -d "$tmp/known" | complain 'in the tables more than once' || status=1
comm -13 "$tmp/known" "$tmp/exported" |
    complain "exported by $libc, but in neither table: wrap it, or say why not" || status=1
comm -23 "$tmp/expected" "$tmp/exported" | complain "in the tables, but not exported by $libc" || status=1

# The README says how many there are.
wrapped=$(sort -u "$tmp/wrapped" | wc -l)
reasoned=$(sort -u "$tmp/reasons" | wc -l)
sed 's/^#define TWIN.*/#define TWIN(symbol, name)/; s/^#define SINCE.*/#define SINCE(symbol, version)/' "$tmp/names.c" \
    >"$tmp/bodies.c"
bodies=$("$CC" -E -P -Ishim "$tmp/bodies.c" | grep -o '@[^@]*@' | sort -u | wc -l)
if ! grep -qxF "| libovl | $wrapped, by $bodies bodies | $reasoned |" README.md; then
    echo "$wrapped, by $bodies bodies | $reasoned" | complain 'is not what the README says' || status=1
fi

# not_wrapped.def stays readable: sorted below each reason.
awk '/^@[a-z]/ { group = $1; last = "" }
     /^    / { for (i = 1; i <= NF; i++) { if (group == "" || $i <= last) print $i; last = $i } }' \
    shim/not_wrapped.def >"$tmp/unsorted"
complain 'not in order, or without a reason, in shim/not_wrapped.def' <"$tmp/unsorted" || status=1
exit $status
