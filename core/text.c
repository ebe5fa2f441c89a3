/* SPDX-License-Identifier: MIT
 *
 * What core needs of libc's string.h, and numbers as text.
 *
 * Core calls no libc function, because these may be interposed by other libraries or not be ready yet.
 * Everything here is pure: it reads and writes only what it is given.
 */
#include "types.h"

/* Of a part longer than PART_MAX the first and the last PART_KEPT bytes are shown. */
#define PART_MAX 240
#define PART_KEPT 110

size_t ovl_strlen(const char *s)
{
    size_t n = 0;
    while (s[n])
        n++;
    return n;
}

int ovl_strcmp(const char *a, const char *b)
{
    while (*a && *a == *b) {
        a++;
        b++;
    }
    return (unsigned char)*a - (unsigned char)*b;
}

bool ovl_streq(const char *a, const char *b)
{
    return ovl_strcmp(a, b) == 0;
}

const char *ovl_strchr(const char *s, char c)
{
    while (*s != c)
        if (!*s++)
            return NULL;
    return s;
}

const char *ovl_strrchr(const char *s, char c)
{
    const char *found = NULL;
    do
        if (*s == c)
            found = s;
    while (*s++);
    return found;
}

bool ovl_has_prefix(const char *s, const char *prefix)
{
    while (*prefix)
        if (*s++ != *prefix++)
            return false;
    return true;
}

ssize_t ovl_append(char *buf, size_t n, size_t length, const char *more)
{
    size_t extra = ovl_strlen(more);
    if (length >= n || extra >= n - length)
        return -ENAMETOOLONG;
    memcpy(buf + length, more, extra + 1);
    return (ssize_t)(length + extra);
}

static size_t append_visible(char *buf, size_t n, size_t length, const char *s, size_t count)
{
    for (size_t i = 0; i < count && length + 1 < n; i++)
        buf[length++] = (char)((unsigned char)s[i] < ' ' || s[i] == 0x7f ? '?' : s[i]);
    buf[length] = '\0';
    return length;
}

size_t ovl_append_shown(char *buf, size_t n, size_t length, const char *part)
{
    size_t count = ovl_strlen(part);
    if (count <= PART_MAX)
        return append_visible(buf, n, length, part, count);
    length = append_visible(buf, n, length, part, PART_KEPT);
    length = append_visible(buf, n, length, "...", 3);
    return append_visible(buf, n, length, part + count - PART_KEPT, PART_KEPT);
}

char *ovl_decimal(char *buf, uint64_t v)
{
    char reversed[24];
    size_t n = 0;
    do
        reversed[n++] = (char)('0' + v % 10);
    while (v /= 10);
    for (size_t i = 0; i < n; i++)
        buf[i] = reversed[n - 1 - i];
    buf[n] = '\0';
    return buf;
}

uint64_t ovl_parse_decimal(const char **s)
{
    uint64_t v = 0;
    for (; **s >= '0' && **s <= '9'; (*s)++) {
        uint64_t digit = (uint64_t)(**s - '0');
        v = v > (UINT64_MAX - digit) / 10 ? UINT64_MAX : v * 10 + digit;
    }
    return v;
}

size_t ovl_utf8(const char *s)
{
    const unsigned char *p = (const unsigned char *)s;
    if (p[0] < 0x80)
        return 1;
    size_t n = p[0] >= 0xc2 && p[0] <= 0xdf ? 2 : (p[0] & 0xf0) == 0xe0 ? 3 : p[0] >= 0xf0 && p[0] <= 0xf4 ? 4 : 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    bool overlong = (p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xf0 && p[1] < 0x90);
    bool beyond = (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf4 && p[1] > 0x8f);
    return overlong || beyond ? 0 : n;
}

bool ovl_is_below(const char *path, const char *dir, size_t dir_length)
{
    for (size_t i = 0; i < dir_length; i++)
        if (path[i] != dir[i])
            return false;
    return path[dir_length] == '/' || path[dir_length] == '\0';
}
