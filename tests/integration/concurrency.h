/* SPDX-License-Identifier: MIT
 *
 * Many processes at work on the same names of one directory: see concurrency.c.
 */
#ifndef CONCURRENCY_H
#define CONCURRENCY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    WORKERS = 16,
    LOGS = 8,
    COUNTERS = 6,
    ROAM = 8,
    FRESH = 600, /* lower files that are changed once, by two processes at a time */
    FILES = 6,   /* of mono and of gone */
    DIRS = 2,    /* of gone */
    PLACES = 4,
    POOL_DIRS = 5,
    POOL_NAMES = 10,
    RACE_KEPT = 64,
    RECORD = 32,
    COUNTER = 16,
    SEAL = 24,
    PAYLOAD = 3000,
    RECORDS_MAX = 1 << 20,
    RACES_MAX = 1 << 20,
};

/* What all processes know, in shared memory: what has been done, noted after it was, and of what was begun how much. */
struct ledger {
    atomic_bool stop;
    atomic_ulong rounds[WORKERS];
    const char *_Atomic doing[WORKERS];
    atomic_uint temporary[WORKERS]; /* names of temporary files that were used */
    atomic_uint begun[WORKERS];     /* records to append */
    atomic_uchar appended[WORKERS][RECORDS_MAX];
    atomic_uint fresh;
    atomic_uint size[2][PLACES]; /* of the logs that move: at least so long */
    atomic_ulong increments_begun, increments;
    atomic_uint mono[FILES], gone[FILES], gone_dir[DIRS];
    atomic_uint race;
    atomic_uchar won[RACES_MAX], removed[RACES_MAX];
};

extern struct ledger *ledger;
extern int root;              /* the directory, as a descriptor */
extern const char *directory; /* and by name */
extern int worker;            /* this process; -1: their parent */

/* ---- concurrency.c */
/* Say what is wrong and end; (have, want) are what it was and should have been. */
_Noreturn void wrong(const char *what, const char *name, long have, long want);
/* A result that is 0 or more, or one of these errors (0 ends them). */
bool may_fail(const char *what, const char *name, long result, ...);
void must(const char *what, const char *name, long have, long want);

/* ---- concurrency_content.c: files that tell by themselves whether they are whole */
/* Content with a number and a checksum, of random length: how many bytes. */
size_t seal(char *text, unsigned number, unsigned *seed);
/* The number of an open file's sealed content. */
unsigned unseal(int fd, const char *name);
void make_record(char *record, int who, unsigned number);
/* Whose record, and which; false for the lines that were there at the beginning. */
bool read_record(const char *record, const char *name, int *who, unsigned *number);

/* ---- concurrency_work.c */
void step(unsigned *seed);

/* ---- concurrency_tree.c */
/* Everything in the directory on stdout, one line an object. */
void print_tree(void);
/* What the ledger says has been done must be there, and nothing else. */
void check_tree(bool killed);

#endif
