#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Try before you install: an installation goes to an overlay, is looked at and tried, and then dropped or applied.
set -eu
# shellcheck source=examples/common.sh
. "$(dirname "$0")/common.sh"
find_tool
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
XDG_STATE_HOME=$dir/state
export XDG_STATE_HOME

# A prefix with version 1 of a program, and version 2 of it to install.
prefix=$dir/prefix
mkdir -p "$prefix/bin" "$prefix/share/tool" "$dir/tool-2"
printf '#!/bin/sh\necho "tool 1, $(cat "$(dirname "$0")/../share/tool/greeting")"\n' >"$prefix/bin/tool"
chmod 755 "$prefix/bin/tool"
echo hello >"$prefix/share/tool/greeting"
echo 'old data' >"$prefix/share/tool/old"
cat >"$dir/tool-2/install.sh" <<END
set -e
sed -i 's/tool 1/tool 2/' "$prefix/bin/tool"
echo 'good day' >"$prefix/share/tool/greeting"
rm "$prefix/share/tool/old"
END
before=$(state "$prefix")

say "The installation runs in place, in an overlay:"
run_ovl run -m "$prefix" -- sh "$dir/tool-2/install.sh"

say "What it has changed, and how:"
run_ovl status
run_ovl diff "$prefix/share"
must_be "$("$ovl" status --short | sed "s|$prefix/||")" 'M bin/tool
M share/tool/greeting
D share/tool/old'

say "Tried, inside; outside nothing has happened:"
run_ovl run -q -m "$prefix" -- "$prefix/bin/tool"
must_be "$("$ovl" run -q -m "$prefix" -- "$prefix/bin/tool")" 'tool 2, good day'
must_be "$("$prefix/bin/tool")" 'tool 1, hello'
must_be "$(state "$prefix")" "$before"

say "No good: dropped."
run_ovl discard --force
must_be "$(state "$prefix")" "$before"

say "Once more, and this time kept:"
"$ovl" run -q -m "$prefix" -- sh "$dir/tool-2/install.sh"
run_ovl commit
must_be "$("$prefix/bin/tool")" 'tool 2, good day'
must_be "$(ls "$prefix/share/tool")" greeting
echo committed
