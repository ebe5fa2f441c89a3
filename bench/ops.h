// SPDX-License-Identifier: MIT
//
// The operations that bench_ops measures, each on the object of a number in one directory.

#ifndef OVL_BENCH_OPS_H
#define OVL_BENCH_OPS_H

#include <limits.h>

// Where a process works, and how it names what is there.
struct place {
    int at;                // directory descriptor, or AT_FDCWD
    char prefix[PATH_MAX]; // what stands before a name: "DIRECTORY/", or nothing
    int process;           // which of several that work side by side
};

struct op {
    const char *name;
    void (*before)(const struct place *, int number); // not measured; may be missing
    void (*run)(const struct place *, int number);
};

// NULL for a name that is none.
const struct op *op_of(const char *name);

#endif
