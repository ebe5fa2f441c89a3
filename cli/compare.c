/* SPDX-License-Identifier: MIT
 *
 * Whether an object of the upper is what the lower layers have under its name.
 */
#include "changes.h"
#include "output.h"
#include "xattrs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#define CHUNK ((size_t)128 << 10)
#define NAMES_MAX ((size_t)64 << 10) /* XATTR_LIST_MAX, and longest value */

/* ---- content ------------------------------------------------------------------------------------------ */

static int open_file(const char *real, const struct stat *st)
{
    int fd = open(real, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat now;
    if (fd >= 0 && (fstat(fd, &now) < 0 || now.st_ino != st->st_ino || now.st_dev != st->st_dev)) {
        close(fd);
        errno = ESTALE;
        return -1;
    }
    return fd;
}

/* As many bytes as there are, up to n. */
static ssize_t read_fully(int fd, char *buf, size_t n)
{
    size_t length = 0;
    while (length < n) {
        ssize_t r = read(fd, buf + length, n - length);
        if (r < 0 && errno == EINTR)
            continue;
        if (r <= 0)
            return r < 0 ? r : (ssize_t)length;
        length += (size_t)r;
    }
    return (ssize_t)length;
}

static unsigned compare_bytes(int a, int b)
{
    static char buf[2][CHUNK];
    for (;;) {
        ssize_t n = read_fully(a, buf[0], CHUNK), m = read_fully(b, buf[1], CHUNK);
        if (n < 0 || m < 0)
            return DIFFERS_UNKNOWN;
        if (n != m || memcmp(buf[0], buf[1], (size_t)n) != 0)
            return DIFFERS_CONTENT;
        if (n == 0)
            return 0;
    }
}

static unsigned compare_files(const struct change *c)
{
    if (c->upper.st.st_size != c->lower.st.st_size)
        return DIFFERS_CONTENT;
    int a = open_file(c->upper.real, &c->upper.st), b = open_file(c->lower.real, &c->lower.st);
    unsigned differs = a < 0 || b < 0 ? DIFFERS_UNKNOWN : compare_bytes(a, b);
    if (a >= 0)
        close(a);
    if (b >= 0)
        close(b);
    return differs;
}

static unsigned compare_targets(const struct change *c)
{
    char a[OVL_REAL_MAX], b[OVL_REAL_MAX];
    ssize_t n = readlink(c->upper.real, a, sizeof a), m = readlink(c->lower.real, b, sizeof b);
    if (n < 0 || m < 0)
        return DIFFERS_UNKNOWN;
    return n == m && memcmp(a, b, (size_t)n) == 0 ? 0 : DIFFERS_CONTENT;
}

static unsigned compare_content(const struct change *c)
{
    switch (c->upper.st.st_mode & S_IFMT) {
    case S_IFREG:
        return compare_files(c);
    case S_IFLNK:
        return compare_targets(c);
    case S_IFCHR:
    case S_IFBLK:
        return c->upper.st.st_rdev == c->lower.st.st_rdev ? 0 : DIFFERS_CONTENT;
    default:
        return 0;
    }
}

/* ---- metadata ------------------------------------------------------------------------------------------ */

/* A copy that an ordinary user made of another one's file is that user's: nobody has changed that. */
static unsigned compare_owners(const struct change *c)
{
    static const struct ovl *asked;
    static struct stat root;
    if (asked != c->ovl && lstat(ovl_layer(c->ovl, 0), &root) < 0)
        return 0;
    asked = c->ovl;
    bool uid = c->upper.st.st_uid == c->lower.st.st_uid || (root.st_uid && c->upper.st.st_uid == root.st_uid);
    bool gid = c->upper.st.st_gid == c->lower.st.st_gid || (root.st_uid && c->upper.st.st_uid == root.st_uid);
    return uid && gid ? 0 : DIFFERS_OWNER;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The names of an object's attributes that are not the overlay's own, nor the machine's, sorted; so many. */
static size_t list_xattrs(const char *real, char *names, const char **name)
{
    ssize_t n = llistxattr(real, names, NAMES_MAX);
    size_t count = 0;
    for (ssize_t at = 0; at < n; at += (ssize_t)strlen(names + at) + 1)
        if (!ovl_is_private_xattr(names + at) && !xattr_is_local(names + at))
            name[count++] = names + at;
    qsort(name, count, sizeof *name, by_name);
    return count;
}

static bool same_value(const struct change *c, const char *name)
{
    static char value[2][NAMES_MAX];
    ssize_t n = lgetxattr(c->upper.real, name, value[0], NAMES_MAX);
    ssize_t m = lgetxattr(c->lower.real, name, value[1], NAMES_MAX);
    return n == m && (n <= 0 || memcmp(value[0], value[1], (size_t)n) == 0);
}

static unsigned compare_xattrs(const struct change *c)
{
    static char names[2][NAMES_MAX];
    static const char *name[2][NAMES_MAX / 2];
    size_t n = list_xattrs(c->upper.real, names[0], name[0]), m = list_xattrs(c->lower.real, names[1], name[1]);
    if (n != m)
        return DIFFERS_XATTRS;
    for (size_t i = 0; i < n; i++)
        if (strcmp(name[0][i], name[1][i]) != 0 || !same_value(c, name[0][i]))
            return DIFFERS_XATTRS;
    return 0;
}

void change_compare(struct change *c)
{
    const struct timespec *after = &c->upper.st.st_mtim, *before = &c->lower.st.st_mtim;
    c->differs = compare_content(c) | compare_owners(c) | compare_xattrs(c);
    if (!S_ISLNK(c->upper.st.st_mode) && (c->upper.st.st_mode ^ c->lower.st.st_mode) & 07777)
        c->differs |= DIFFERS_MODE;
    if (after->tv_sec != before->tv_sec || after->tv_nsec != before->tv_nsec)
        c->differs |= DIFFERS_TIME;
}
