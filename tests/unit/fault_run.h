/* SPDX-License-Identifier: MIT
 *
 * Every change with every system call failing once: see fault_run.c.
 */
#ifndef FAULT_RUN_H
#define FAULT_RUN_H

#include "fixture.h"

struct scenario {
    const char *name;
    void (*prepare)(struct fixture *f); /* with the overlay open, or NULL */
    int (*act)(struct fixture *f);
};

/* What all of them begin with, and all of them; the last has no name. */
void fault_layers(struct fixture *f);
extern const struct scenario fault_scenarios[];

/* The whole of a test program: all scenarios in an overlay opened with more options. */
int fault_main(const char *options);

#endif
