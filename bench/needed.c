// SPDX-License-Identifier: MIT
//
// The library that bench_small_library needs.

int bench_needed(void);

int bench_needed(void)
{
    return 0;
}
