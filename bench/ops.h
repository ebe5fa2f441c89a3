// SPDX-License-Identifier: MIT
//
// The operations that bench_ops measures, each on the object of a number in one directory.

#ifndef OVL_BENCH_OPS_H
#define OVL_BENCH_OPS_H

#include <limits.h>
#include <stdbool.h>

// Where a process works, and how it names what is there.
struct place {
    int at;                // directory descriptor, or AT_FDCWD
    char prefix[PATH_MAX]; // what stands before a name: "DIRECTORY/", or nothing
    int process;           // which of several that work side by side
};

// What an operation is about: made before it is measured, as a call may take less time than its name.
struct object {
    int number;
    char *name, *other;
};

struct op {
    const char *name;
    const char *object, *other; // printf formats of their names, with the number; other may be missing
    bool is_own;                // only this process uses them: it works beside others in the same directory
    void (*before)(const struct place *, const struct object *); // not measured; may be missing
    void (*run)(const struct place *, const struct object *);
};

// NULL for a name that is none.
const struct op *op_of(const char *name);

#endif
