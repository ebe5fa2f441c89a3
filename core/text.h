/* SPDX-License-Identifier: MIT
 *
 * What libc's string.h would give, for code that must not call libc.
 */
#ifndef OVL_TEXT_H
#define OVL_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

size_t ovl_strlen(const char *s);
bool ovl_streq(const char *a, const char *b);
int ovl_strcmp(const char *a, const char *b);
const char *ovl_strchr(const char *s, char c);  /* NULL if not found */
const char *ovl_strrchr(const char *s, char c); /* NULL if not found */
bool ovl_has_prefix(const char *s, const char *prefix);
/* Append to the string in buf of n bytes: the new length, or -ENAMETOOLONG with buf as it was. */
ssize_t ovl_append(char *buf, size_t n, size_t length, const char *more);
/* Append for a line that people read: what doesn't fit is cut, a part longer than 240 bytes loses its middle, control
 * characters become '?'.  The new length. */
size_t ovl_append_shown(char *buf, size_t n, size_t length, const char *part);
/* Decimal text of v in buf (at least 24 bytes); returns buf. */
char *ovl_decimal(char *buf, uint64_t v);
/* Read decimal digits at *s and move it behind them; 0 where there are none. */
uint64_t ovl_parse_decimal(const char **s);
/* FNV-1a: begin with OVL_HASH_BEGIN, add each character. */
#define OVL_HASH_BEGIN UINT64_C(0xcbf29ce484222325)
static inline uint64_t ovl_hash_add(uint64_t hash, char c)
{
    return (hash ^ (unsigned char)c) * UINT64_C(0x100000001b3);
}
static inline uint64_t ovl_hash(const char *text, size_t n)
{
    uint64_t hash = OVL_HASH_BEGIN;
    for (size_t i = 0; i < n; i++)
        hash = ovl_hash_add(hash, text[i]);
    return hash;
}
/* For a number with fewer bits: the last characters do not reach those in the middle, which begin the upper half. */
static inline uint32_t ovl_hash_fold(uint64_t hash)
{
    return (uint32_t)(hash ^ hash >> 32);
}
/* Whether `path` is `dir` or lies below it (both without trailing slash, "" is the root). */
bool ovl_is_below(const char *path, const char *dir, size_t dir_length);

#endif
