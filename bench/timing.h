// SPDX-License-Identifier: MIT
//
// The clock, and how a program of the benchmark tells what it measured: a line `first VALUE` for the first pass, a line
// `again VALUE` with the median of the later ones.

#ifndef OVL_BENCH_TIMING_H
#define OVL_BENCH_TIMING_H

#include <stddef.h>

// Nanoseconds since some moment.
double timing_now(void);

// Prints what `passes` passes took; their order is lost.
void timing_report(double *taken, size_t passes);

// Ends the program with a line that says what went wrong, and errno.
_Noreturn void timing_fail(const char *what);

#endif
