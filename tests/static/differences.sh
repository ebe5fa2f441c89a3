#!/bin/sh
# SPDX-License-Identifier: MIT
#
# docs/differences.md is what the table of the tests says, and the planted faults fit the sources.
set -eu

if ! command -v python3 >/dev/null; then
    echo "skipped: no python3"
    exit 77
fi
python3 tests/integration/differences.py | cmp - docs/differences.md
python3 tests/differential/planted.py --check
python3 tests/differential/planted_cache.py --check
