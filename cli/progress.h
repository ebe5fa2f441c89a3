/* SPDX-License-Identifier: MIT
 *
 * How far long work is: files, bytes and an estimate, in one line of stderr, where that is a terminal.
 */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
    const char *doing; /* "exporting" */
    bool shown;
    uint64_t files, bytes, files_all, bytes_all; /* 0: it is not known how many there are */
    double began, told;
};

/* Whether anybody would see it: whoever has to count first need not, otherwise. */
bool progress_is_wanted(void);
void progress_begin(struct progress *p, const char *doing, uint64_t files_all, uint64_t bytes_all);
void progress_add(struct progress *p, uint64_t files, uint64_t bytes);
/* Take the line away. */
void progress_end(struct progress *p);

#endif
