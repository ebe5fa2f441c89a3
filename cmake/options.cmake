# SPDX-License-Identifier: MIT
#
# What can be chosen, and the flags that every part is compiled with.

option(OVL_TESTS "Build the tests" ON)
option(OVL_BENCH "Build the programs that bench/run measures with" ON)
option(OVL_WERROR "Make warnings errors" OFF)
option(OVL_FUZZ "Build the libFuzzer targets (needs clang)" OFF)
option(OVL_COVERAGE "Count the lines that the unit tests reach in core" OFF)
set(OVL_FAULT_STRIDE 1 CACHE STRING "One of so many faults is put in by the unit tests (tests/unit/fault_run.c)")
set(OVL_SANITIZE "" CACHE STRING "Sanitizers of core and of the unit tests: address,undefined or thread")

if(NOT CMAKE_BUILD_TYPE)
    set(CMAKE_BUILD_TYPE RelWithDebInfo)
endif()
set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS ON)
# Empty, as a file that defines it itself has it.
add_compile_definitions(_GNU_SOURCE=)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

add_library(ovl_warnings INTERFACE)
target_compile_options(ovl_warnings INTERFACE
    $<$<COMPILE_LANGUAGE:C>:-Wall;-Wextra;-Wconversion;-Wshadow>
    $<$<AND:$<COMPILE_LANGUAGE:C>,$<BOOL:${OVL_WERROR}>>:-Werror>)

# Sanitizers with a run-time library, for programs that we start ourselves.
add_library(ovl_sanitize INTERFACE)
if(OVL_SANITIZE)
    set(flags -fsanitize=${OVL_SANITIZE} -fno-omit-frame-pointer)
    if(OVL_SANITIZE MATCHES "undefined")
        list(APPEND flags -fno-sanitize-recover=undefined)
    endif()
    target_compile_options(ovl_sanitize INTERFACE ${flags})
    target_link_options(ovl_sanitize INTERFACE ${flags})
    if(OVL_FUZZ AND OVL_SANITIZE MATCHES "address")
        # Core tells the fuzzers which branches an input reached; ASan's run-time library has the call-backs.
        target_compile_options(ovl_sanitize INTERFACE -fsanitize=fuzzer-no-link)
    endif()
endif()
if(OVL_COVERAGE)
    target_compile_options(ovl_sanitize INTERFACE --coverage -fprofile-update=atomic)
    target_link_options(ovl_sanitize INTERFACE --coverage)
endif()

# The preloaded library lives in programs that have no sanitizer's run-time library: it traps.
add_library(ovl_sanitize_trap INTERFACE)
if(OVL_SANITIZE MATCHES "undefined")
    target_compile_options(ovl_sanitize_trap INTERFACE
        $<$<COMPILE_LANGUAGE:C>:-fsanitize=undefined;-fsanitize-undefined-trap-on-error>)
endif()
