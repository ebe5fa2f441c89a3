#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Runs a command as root: directly, or with sudo.
if [ "$(id -u)" = 0 ]; then
    exec "$@"
fi
exec sudo --preserve-env=APT_CONFIG "$@"
