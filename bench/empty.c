// SPDX-License-Identifier: MIT
//
// A preloaded library that interposes nothing: what ld.so alone takes for one more library.

extern const char bench_empty[];
const char bench_empty[] = "empty";
