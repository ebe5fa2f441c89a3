/* SPDX-License-Identifier: MIT
 *
 * What the files of opsh share.  opsh is the program that the integration tests run on a bare
 * directory, on Linux overlayfs and under libovl: one operation a line on stdin, one answer a
 * line on stdout, so that the three answers can be compared as text.  An answer is "ok", "ok" and
 * a value, or the name of an errno; whatever may differ between two equal trees (inode numbers,
 * times of the run itself, sizes of directories) is left out or normalised.
 */
#ifndef OPSH_H
#define OPSH_H

#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>

enum { SLOTS = 32 };
static const uint64_t HASH_START = 0xcbf29ce484222325u;

/* A word list: argv[0] is the operation's name; absent arguments are NULL up to argv[7]. */
struct op {
    const char *name;
    int arguments; /* at least so many */
    void (*run)(char **argv);
};

extern const struct op file_ops[], path_ops[], dir_ops[], hold_ops[], process_ops[];

/* Descriptors by slot, -1 where there is none. */
extern int slot[SLOTS];

/* Run one operation, given as words and NULL. */
void run_words(char **argv);

/* Print "ok" for r >= 0, else errno's name. */
void say(long r);
/* Print "ok" and the number, or errno's name. */
void say_number(long r);
/* Print "ok" and n escaped bytes, or errno's name if n < 0. */
void say_bytes(const char *bytes, ssize_t n);
void say_string(const char *s);
/* Print "ok", the number of bytes and their hash, or errno's name if n < 0. */
void say_hash(const void *bytes, ssize_t n);
/* Print "ok" and the names of a list of xattrs, in order (the kernel promises none), or errno's name. */
void say_names(const char *list, ssize_t n);
/* Print errno's name. */
void say_errno(void);
/* Of an attribute's value: 0x begins hexadecimal digits, which are decoded in place. */
size_t value_of(char *word);
uint64_t hash_of(const void *bytes, size_t n, uint64_t start);
void put_escaped(const char *bytes, size_t n);
/* Type, mode, link count, size, owner, mtime: what two equal objects have in common. */
void put_stat(const struct stat *st);
char type_letter(mode_t mode);

/* A number, or names joined by '|'. */
int number(const char *word);
/* A descriptor by its slot; "cwd" is AT_FDCWD, "bad" one that is not open. */
int fd_of(const char *word);
/* Keep an opened descriptor in a slot, which is empty after a failure, and answer for the call. */
void keep(const char *word, int fd);
struct timespec time_of(const char *word);
/* The class of an object's identity: the number of the first question that was answered by this (device, inode), so
 * that a wrong answer changes none of the others. */
int identity(dev_t dev, ino_t ino);

#endif
