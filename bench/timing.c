// SPDX-License-Identifier: MIT
//
// See timing.h.

#include "timing.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

double timing_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static int order(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

static double median(double *values, size_t count)
{
    qsort(values, count, sizeof *values, order);
    return (values[(count - 1) / 2] + values[count / 2]) / 2;
}

void timing_report(double *taken, size_t passes)
{
    printf("first %.1f\n", taken[0]);
    if (passes > 1)
        printf("again %.1f\n", median(taken + 1, passes - 1));
}

void timing_fail(const char *what)
{
    perror(what);
    exit(1);
}
