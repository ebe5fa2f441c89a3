# SPDX-License-Identifier: MIT
#
# Cross-compile for aarch64 on Debian; the tests run under qemu-user.  Needs the packages
# gcc-aarch64-linux-gnu, qemu-user and libcmocka-dev:arm64 (dpkg --add-architecture arm64).
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_ASM_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(OVL_TEST_LAUNCHER qemu-aarch64 -L /usr/aarch64-linux-gnu CACHE STRING "What runs a test's program")
