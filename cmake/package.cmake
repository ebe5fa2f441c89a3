# SPDX-License-Identifier: MIT
#
# What is installed, in two parts, and the packages that cpack makes of them.
#
#   ovl   libovl.so and libovl-audit.so, the tool, man pages and completion
#   dev   libovlcore.a, ovl.h, and the files by which CMake and pkg-config find them
#
# A Debian package is configured with the prefix /usr, which gives the directory that ld.so looks for $LIB in, so that
# LD_PRELOAD=libovl.so will do: the preset `debian`, and docs/testing.md.
include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/libovl)
install(TARGETS ovl ovl_audit LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES completion/ovl.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME ovl)
# Where Debian's zsh looks, for what is not local.
set(zsh_dir site-functions)
if(CMAKE_INSTALL_PREFIX STREQUAL "/usr")
    set(zsh_dir vendor-completions)
endif()
install(FILES completion/_ovl DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/${zsh_dir})

install(TARGETS ovlcore EXPORT libovl
    ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT dev
    PUBLIC_HEADER DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT dev)
install(EXPORT libovl NAMESPACE libovl:: DESTINATION ${package_dir} FILE libovlConfig.cmake COMPONENT dev)
write_basic_package_version_file(libovlConfigVersion.cmake COMPATIBILITY SameMinorVersion)
# Relative to itself, so that a tree that was moved works.
file(RELATIVE_PATH pc_to_prefix ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
configure_file(cmake/libovl.pc.in libovl.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/libovlConfigVersion.cmake DESTINATION ${package_dir} COMPONENT dev)
install(FILES ${PROJECT_BINARY_DIR}/libovl.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT dev)

# ---- Debian packages ------------------------------------------------------------------------------------------

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME libovl)
set(CPACK_PACKAGE_CONTACT "The libovl authors <libovl@libovl.example>" CACHE STRING "Who has made the packages")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "overlay file system without privileges")
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS
    OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
set(CPACK_STRIP_FILES ON)
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_RELEASE "") # native: there is no other packaging
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)

set(CPACK_COMPONENT_UNSPECIFIED_DESCRIPTION "Programs see several directories as one: lower ones, which nothing changes,
and an upper one, which takes every change. No daemon, no mount, no user
namespace: a preloaded library answers the calls of libc. The tool ovl runs
commands so, and shows, drops, applies and exports what they have changed.")
set(CPACK_DEBIAN_UNSPECIFIED_PACKAGE_NAME ovl)
set(CPACK_DEBIAN_UNSPECIFIED_PACKAGE_SECTION utils)
set(CPACK_DEBIAN_UNSPECIFIED_PACKAGE_SHLIBDEPS ON)

set(CPACK_COMPONENT_DEV_DESCRIPTION "The overlay of libovl for programs that want it without preloading:
libovlcore.a, its header ovl.h, and the files by which CMake and pkg-config
find them.")
set(CPACK_DEBIAN_DEV_PACKAGE_NAME libovl-dev)
set(CPACK_DEBIAN_DEV_PACKAGE_SECTION libdevel)

# What Debian wants in every package: the licence, the changes, and why a rule of its is not for a preloaded library.
if(CMAKE_INSTALL_PREFIX STREQUAL "/usr" AND EXISTS /etc/debian_version)
    find_program(GZIP gzip REQUIRED)
    configure_file(cmake/debian/copyright.in debian/copyright @ONLY)
    configure_file(cmake/debian/changelog.in debian/changelog @ONLY)
    execute_process(COMMAND ${GZIP} -9nkf ${PROJECT_BINARY_DIR}/debian/changelog COMMAND_ERROR_IS_FATAL ANY)
    foreach(package ovl:Unspecified libovl-dev:dev)
        string(REPLACE ":" ";" package ${package})
        list(POP_FRONT package name component)
        install(FILES ${PROJECT_BINARY_DIR}/debian/copyright ${PROJECT_BINARY_DIR}/debian/changelog.gz
            DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/${name} COMPONENT ${component})
    endforeach()
    install(FILES cmake/debian/lintian-overrides DESTINATION ${CMAKE_INSTALL_DATADIR}/lintian/overrides RENAME ovl)
endif()

include(CPack)
