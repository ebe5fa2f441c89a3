/* SPDX-License-Identifier: MIT
 *
 * What people are told: messages on stderr, colours where a terminal shows them, paths that a terminal survives.
 */
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

#include <stdbool.h>
#include <stdio.h>
#include <sys/stat.h>

/* Exit statuses of every subcommand; `run` and `shell` end as their command does. */
enum status {
    STATUS_DONE = 0,
    STATUS_DIFFERS = 1,   /* there are changes, where that was the question (--exit-code); none of the names is there */
    STATUS_USAGE = 2,     /* a wrong option or argument */
    STATUS_FAILED = 3,    /* something could not be read, written or found, or was refused */
    STATUS_REFUSED = 125, /* the configuration is wrong */
    STATUS_CANT_RUN = 126, /* the command is there but can't be started */
    STATUS_NOT_FOUND = 127 /* the command is not there */
};

/* "ovl: what is wrong; what would be right" and a newline on stderr. */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same for something that is no fault. */
void tell(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* A wrong command line: the line, and where help is.  STATUS_USAGE. */
int usage_error(const char *command, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Nothing else can be done. */
_Noreturn void no_memory(void);
/* Memory that is there. */
void *need(void *memory);
/* printf(3) to memory that is the caller's. */
char *text(const char *format, ...) __attribute__((format(printf, 1, 2)));

enum color { COLOR_NONE, COLOR_GOOD, COLOR_BAD, COLOR_CHANGED, COLOR_HEAD };
/* "auto", "always" or "never"; false for another word. */
bool color_choose(const char *when);
/* The bytes that begin a colour on stdout, and that end it: "" where there are none. */
const char *color_begin(enum color color);
const char *color_end(void);

/* A path for people: control characters and backslashes are written \ooo. */
void print_path(FILE *to, const char *path);
/* "directory", "file" ... */
const char *kind_name(mode_t mode);
/* What was written to stdout has arrived: STATUS_DONE, or STATUS_FAILED with a message. */
int finish_output(int status);

#endif
