#!/bin/sh
# SPDX-License-Identifier: MIT
#
# A read-only SDK with a patch layer: a fix is put over the vendor's tree, which stays as it was delivered; all who use
# it see one SDK, and none of them can change it.
set -eu
# shellcheck source=examples/common.sh
. "$(dirname "$0")/common.sh"
find_tool
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

mkdir -p "$dir/vendor/include" "$dir/vendor/bin"
echo '#define SDK_VERSION "1.0"' >"$dir/vendor/include/sdk.h"
cat >"$dir/vendor/bin/flash" <<'END'
#!/bin/sh
echo "flash: version $(cut -d'"' -f2 "$(dirname "$0")/../include/sdk.h")"
END
echo '#error broken' >"$dir/vendor/include/broken.h"
chmod 755 "$dir/vendor/bin/flash"
before=$(state "$dir/vendor")

sdk=$dir/sdk # it need not be there
say "The patch is made by changing the SDK, as it is seen:"
run_ovl run -q -m "$sdk" -l "$dir/vendor" -u "$dir/patch" -- \
    sh -ec 'cd "$1/include"; sed -i s/1.0/1.0-fixed/ sdk.h; rm broken.h' sh "$sdk"
run_ovl status -m "$sdk" -l "$dir/vendor" -u "$dir/patch"
rm -r "$dir/patch.work"

say "It is a layer like any other; this is what users of the SDK are given:"
cat >"$dir/sdk.conf" <<END
[overlay sdk]
mount = $sdk
lowerdir = patch
lowerdir = vendor
END
run_ovl conf "$dir/sdk.conf"
run_ovl run --conf "$dir/sdk.conf" -- "$sdk/bin/flash"
must_be "$("$ovl" run --conf "$dir/sdk.conf" -- "$sdk/bin/flash")" 'flash: version 1.0-fixed'

say "Where a file comes from:"
run_ovl explain --conf "$dir/sdk.conf" "$sdk/include/sdk.h"
must_be "$("$ovl" run --conf "$dir/sdk.conf" -- ls "$sdk/include")" sdk.h

say "Nobody can change it:"
if run_ovl run --conf "$dir/sdk.conf" -- touch "$sdk/mine"; then
    must_be 'it was changed' 'refused'
fi

say "The vendor's tree is as it was delivered:"
must_be "$(state "$dir/vendor")" "$before"
echo unchanged
