# SPDX-License-Identifier: MIT
#
# Whether the tool `ovl` is built: where its libraries are.  A cross build has none of them, and the tool is tested as
# it is, without sanitizers.
find_package(PkgConfig QUIET)
set(usual OFF)
if(PkgConfig_FOUND AND NOT CMAKE_CROSSCOMPILING)
    pkg_check_modules(OVL_CLI_LIBRARIES QUIET IMPORTED_TARGET json-c libarchive libmd zlib)
    set(usual ${OVL_CLI_LIBRARIES_FOUND})
endif()
option(OVL_CLI "Build the tool ovl (needs json-c, libarchive, libmd and zlib)" ${usual})
if(OVL_CLI AND NOT OVL_CLI_LIBRARIES_FOUND)
    message(FATAL_ERROR "ovl needs json-c, libarchive, libmd and zlib, which pkg-config does not find: install "
        "libjson-c-dev, libarchive-dev, libmd-dev and zlib1g-dev, or set OVL_CLI=OFF")
elseif(NOT OVL_CLI)
    message(STATUS "ovl, the tool, is not built (OVL_CLI): it needs json-c, libarchive, libmd and zlib, found by "
        "pkg-config, and a native build")
endif()
