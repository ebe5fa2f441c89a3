# SPDX-License-Identifier: MIT
#
# What is installed: libovl.so, libovl-audit.so, libovlcore.a, ovl.h, and the files by which CMake and pkg-config find
# them.
include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/libovl)
install(TARGETS ovl ovl_audit LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(TARGETS ovlcore EXPORT libovl
    ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
    PUBLIC_HEADER DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT libovl NAMESPACE libovl:: DESTINATION ${package_dir} FILE libovlConfig.cmake)
write_basic_package_version_file(libovlConfigVersion.cmake COMPATIBILITY SameMinorVersion)
configure_file(cmake/libovl.pc.in libovl.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/libovlConfigVersion.cmake DESTINATION ${package_dir})
install(FILES ${PROJECT_BINARY_DIR}/libovl.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
