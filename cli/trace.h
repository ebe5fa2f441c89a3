/* SPDX-License-Identifier: MIT
 *
 * A trace (libovl's OVL_TRACE), read line by line, and what it says of each file.
 */
#ifndef CLI_TRACE_H
#define CLI_TRACE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

/* What was done with a file. */
enum {
    TRACE_READ = 1,     /* opened for reading, loaded, or started as a program */
    TRACE_INPUT = 2,    /* and its content was there before the trace */
    TRACE_WRITTEN = 4,  /* made, or changed in content or metadata */
    TRACE_REMOVED = 8,  /* and nothing has made it again */
    TRACE_MISSED = 16,  /* looked for when nothing in the trace had removed it, and not there */
    TRACE_EXISTED = 32, /* it was there before the trace */
    TRACE_MADE = 64     /* its content is of the trace */
};

struct trace_file {
    char *path;
    unsigned done;
    uint64_t calls;
};

/* One of the calls that took longest. */
struct trace_call {
    uint64_t ns;
    char *function, *path;
    int64_t pid, error;
};

struct trace {
    uint64_t calls, lines, processes;
    double first, last; /* when the first began and the last ended, in seconds */
    void *files, *pids; /* of tsearch(3) */
    struct trace_call *slowest;
    size_t slow_count, slow_room;
};

/* Read all lines.  False, after a message, where one is no line of a trace: it is left out.  `slowest` calls at most
 * are kept; what is kept grows with the number of different paths. */
bool trace_read(struct trace *t, FILE *from, const char *name, size_t slowest);
/* Each file, by name. */
void trace_each(const struct trace *t, void (*each)(const struct trace_file *file, void *arg), void *arg);
void trace_free(struct trace *t);

#endif
