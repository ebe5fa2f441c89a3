/* SPDX-License-Identifier: MIT
 *
 * A floor that can be told to fail: see fault_sys.c.
 */
#ifndef FAULT_SYS_H
#define FAULT_SYS_H

#include <stdbool.h>

/* In place of an error: the process is killed instead of making the call, or (calls that change something only) when it
 * is made: before what it then would have written into shared memory. */
#define FAULT_KILL 0
#define FAULT_KILL_AFTER (-1)

/* From now on, in this thread, make system call number n (from 1) answer -error. n 0: count only. */
void fault_arm(unsigned n, int error);
/* From now on, in this thread, run act(arg) before call n and before call `again` (0: never again), which
 * then are made. */
void fault_run_before(unsigned n, unsigned again, void (*act)(void *arg), void *arg);
/* Back to the true floor: the number of calls since fault_arm() that could have failed. */
unsigned fault_disarm(void);
/* The number of the system call that was met, or -1 when fewer were needed. */
long fault_hit(void);

#endif
