#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Fetches into DIR what the tests use but need not be installed: the Debian source packages that are named
# (DIR/source) and cmocka for aarch64 (DIR/arm64).  apt gets lists and a configuration of its own below DIR, made
# from the Debian archives that this machine already uses, so that the machine's own sources stay as they are.
# Needs no privileges.  Run `apt-get update` once before.
#
#   tests/tools/fetch.sh DIR [SOURCE...]
set -eu

dir=$(mkdir -p "$1" && cd "$1" && pwd)
shift

is_complete() {
    [ -e "$dir/arm64/complete" ] || return
    for package in "$@"; do
        [ -e "$dir/source/$package.complete" ] || return
    done
}

if is_complete "$@"; then
    exit 0
fi

mkdir -p "$dir/apt/lists/partial" "$dir/apt/archives/partial" "$dir/source" "$dir/arm64"
apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) main
deb-src $(REPO_URI) $(RELEASE) main' 'Identifier: Packages' 'Origin: Debian' 'Component: main' |
    sort -u >"$dir/apt/sources.list"
if ! [ -s "$dir/apt/sources.list" ]; then
    echo "fetch.sh: no Debian archive is known: run apt-get update first" >&2
    exit 1
fi
cat >"$dir/apt/apt.conf" <<END
Dir::Etc::SourceList "$dir/apt/sources.list";
Dir::Etc::SourceParts "-";
Dir::State::Lists "$dir/apt/lists";
Dir::Cache "$dir/apt";
APT::Architectures { "$(dpkg --print-architecture)"; "arm64"; };
APT::Get::Only-Source "true";
APT::Sandbox::User "root";
Acquire::Retries "3";
Acquire::Languages "none";
END
export APT_CONFIG="$dir/apt/apt.conf"
apt-get -qq update

# The newest version, or the release's where a mirror does not have the source of a security update yet.
download() {
    apt-get -qq source --download-only "$1" ||
        apt-get -qq source --download-only "$1/$(. /etc/os-release && echo "$VERSION_CODENAME")"
}

cd "$dir/source"
for package in "$@"; do
    [ -e "$package.complete" ] || download "$package"
    touch "$package.complete"
done

cd "$dir/arm64"
if ! [ -e complete ]; then
    apt-get -qq download libcmocka-dev:arm64 libcmocka0:arm64
    for package in ./*.deb; do
        dpkg-deb -x "$package" .
    done
    touch complete
fi
