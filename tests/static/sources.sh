#!/bin/sh
# SPDX-License-Identifier: MIT
#
# What every source file keeps to: a licence line, plain lines of at most 120 columns, a readable length, and
# nothing that is true on one machine only.
set -eu

status=0

complain() {
    if grep .; then
        echo "^ $1"
        return 1
    fi
}

files() { # NAME-PATTERNS...
    for pattern; do
        find . \( -name .git -o -name build -o -name .cache -o -name corpus \) -prune -o -type f -name "$pattern" -print
    done | sort
}

code='*.c *.h *.S *.def *.sh *.py *.cmake CMakeLists.txt'
set -f
# shellcheck disable=SC2086
list=$(files $code)
for file in $list; do
    head -n 3 "$file" | grep -q 'SPDX-License-Identifier: MIT' || echo "$file"
done | complain 'has no SPDX line at its top' || status=1

# shellcheck disable=SC2046,SC2086
{
    grep -nE '[[:space:]]$' $list | complain 'ends in white space' || status=1
    grep -nP '\t' $(files '*.c' '*.h' '*.py' '*.cmake') | complain 'has a tab' || status=1
    grep -nE '^.{121}' $(files '*.c' '*.h' '*.S' '*.def' '*.sh' '*.cmake' CMakeLists.txt) |
        complain 'is longer than 120 columns' || status=1
    # Escaped, so that this file does not accuse itself.
    grep -nE '/wor[k]/(main|shared)|/roo[t]/|\.\./shar[e]d|deb\.debia[n]\.org|issu[e]s show' \
        $list $(files '*.md' '*.json' '*.in' '*.txt') |
        complain "is about one machine, or the project's tools" || status=1
}
for file in $(files '*.c' '*.h' '*.S'); do
    lines=$(wc -l <"$file")
    [ "$lines" -le 650 ] || echo "$file has $lines lines"
done | complain 'should be two files' || status=1

exit $status
