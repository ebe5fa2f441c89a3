# SPDX-License-Identifier: MIT
#
# Targets for the tools that read the sources: format, format-check, tidy, cppcheck.
file(GLOB ovl_c_files CONFIGURE_DEPENDS
    core/*.c shim/*.c cli/*.c tests/unit/*.c tests/fuzz/*.c tests/integration/*.c bench/*.c examples/*.c)
file(GLOB ovl_h_files CONFIGURE_DEPENDS core/*.h shim/*.h cli/*.h tests/unit/*.h tests/integration/*.h bench/*.h)
set(ovl_product_files ${ovl_c_files})
list(FILTER ovl_product_files INCLUDE REGEX "/(core|shim|cli)/")

function(ovl_add_tool target program)
    find_program(OVL_PROGRAM_${program} ${program})
    if(OVL_PROGRAM_${program})
        add_custom_target(${target} COMMAND ${OVL_PROGRAM_${program}} ${ARGN}
            WORKING_DIRECTORY ${PROJECT_SOURCE_DIR} VERBATIM)
    else()
        add_custom_target(${target} COMMAND ${CMAKE_COMMAND} -E echo "${program} is not installed"
            COMMAND ${CMAKE_COMMAND} -E false VERBATIM)
    endif()
endfunction()

ovl_add_tool(format clang-format -i ${ovl_c_files} ${ovl_h_files})
ovl_add_tool(format-check clang-format --dry-run --Werror ${ovl_c_files} ${ovl_h_files})
ovl_add_tool(tidy clang-tidy --quiet --warnings-as-errors=* -p ${PROJECT_BINARY_DIR} ${ovl_product_files})
ovl_add_tool(cppcheck cppcheck --quiet --error-exitcode=1 --inline-suppr --std=c11
    --enable=warning,performance,portability
    --suppressions-list=${PROJECT_SOURCE_DIR}/cmake/cppcheck.txt
    -I${PROJECT_SOURCE_DIR}/core -I${PROJECT_SOURCE_DIR}/shim -D__x86_64__ -DSHIM_FILE_ALL
    ${ovl_product_files})
