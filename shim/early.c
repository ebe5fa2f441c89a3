/* SPDX-License-Identifier: MIT
 *
 * What an allocator may call while dlsym looks for the real thing: it reads its configuration and
 * asks for the number of processors.  No overlay is in force yet, so the kernel's answer is right.
 */
#define _GNU_SOURCE
#include "early.h"

#include "sys.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

static long answer(long r)
{
    if (r >= 0)
        return r;
    errno = (int)-r;
    return -1;
}

static int early_openat(int dirfd, const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, mode_t) : 0;
    va_end(args);
    return (int)answer(ovl_sys_open(dirfd, path, flags, mode));
}

static int early_open(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, mode_t) : 0;
    va_end(args);
    return (int)answer(ovl_sys_open(AT_FDCWD, path, flags, mode));
}

static int early_close(int fd)
{
    return (int)answer(ovl_sys_close(fd));
}

static ssize_t early_readlink(const char *path, char *buf, size_t n)
{
    return answer(ovl_sys_readlink(path, buf, n));
}

static int early_fstatat(int dirfd, const char *path, struct stat *st, int flags)
{
    return (int)answer(ovl_sys_fstatat(dirfd, path, st, flags));
}

static int early_fstat(int fd, struct stat *st)
{
    return (int)answer(ovl_sys_fstat(fd, st));
}

static int early_access(const char *path, int mode)
{
    return (int)answer(ovl_sys_faccessat(AT_FDCWD, path, mode));
}

static long early_nothing(void)
{
    errno = ENOSYS;
    return -1;
}

static const struct {
    const char *name;
    void *function;
} early[] = {
    {"openat", (void *)early_openat},     {"open", (void *)early_open},       {"close", (void *)early_close},
    {"readlink", (void *)early_readlink}, {"fstatat", (void *)early_fstatat}, {"fstat", (void *)early_fstat},
    {"access", (void *)early_access},
};

void *shim_early_function(const char *name)
{
    for (size_t i = 0; i < sizeof early / sizeof *early; i++)
        if (strcmp(early[i].name, name) == 0)
            return early[i].function;
    return (void *)early_nothing;
}
