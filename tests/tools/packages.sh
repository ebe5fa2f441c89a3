#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Installs the named Debian packages that are missing: as root, or with sudo.  Does not touch apt when
# everything is there.
#
#   tests/tools/packages.sh PACKAGE...
set -eu

missing=
for package; do
    dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null; then
    echo "install these first, or run this as root or with sudo:$missing" >&2
    exit 1
fi
echo "installing:$missing"
as_root=$(dirname "$0")/as-root.sh
sh "$as_root" apt-get -qq update
# shellcheck disable=SC2086
sh "$as_root" env DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends $missing >/dev/null
