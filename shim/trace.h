/* SPDX-License-Identifier: MIT
 *
 * The trace (OVL_TRACE): each call that is about an overlay as a line of JSON, for programs; the debug log is for
 * people.
 */
#ifndef SHIM_TRACE_H
#define SHIM_TRACE_H

#include "boundary.h"

/* The file outside that lines are appended to; NULL: none. The string must live on. */
void shim_trace_to(const char *file);
const char *shim_trace_file(void);

/* CLOCK_MONOTONIC in nanoseconds. */
uint64_t shim_trace_clock(void);

/* What this call has come to, in a line; or, as `name`, a step of it, with its own result.  What leads to no overlay
 * has none.  Async-signal-safe, for vfork children too. */
void shim_trace(struct shim_call *call, const char *name, long r);

/* A line each for the libraries that this process was started with. */
void shim_trace_libraries(void);

#endif
