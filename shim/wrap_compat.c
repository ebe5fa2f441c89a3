/* SPDX-License-Identifier: MIT
 *
 * Old and checked forms of functions that have their bodies elsewhere: the __xstat family of glibc
 * before 2.33, __xmknod, and the _chk forms of _FORTIFY_SOURCE.
 *
 * They only look at the one argument that they have more than the plain form.
 */
#define _GNU_SOURCE
#include "boundary.h"
#include "real.h"
#include "wrap.h"

#include <limits.h>

/* libc's end of a program that writes beyond a buffer. */
extern void __chk_fail(void) __attribute__((noreturn));

/* ---- stat with a version ------------------------------------------------------------------------- */

/* The versions of struct stat that glibc takes are all the kernel's on 64-bit machines. */
static bool is_stat_version(int version)
{
#if defined __x86_64__
    return version == 0 || version == 1;
#else
    return version == 0;
#endif
}

static int wrong_version(void)
{
    errno = EINVAL;
    return -1;
}

int wrap___xstat(int version, const char *path, struct stat *st)
{
    return is_stat_version(version) ? wrap_stat(path, st) : wrong_version();
}

int wrap___lxstat(int version, const char *path, struct stat *st)
{
    return is_stat_version(version) ? wrap_lstat(path, st) : wrong_version();
}

int wrap___fxstat(int version, int fd, struct stat *st)
{
    return is_stat_version(version) ? wrap_fstat(fd, st) : wrong_version();
}

int wrap___fxstatat(int version, int dirfd, const char *path, struct stat *st, int flags)
{
    return is_stat_version(version) ? wrap_fstatat(dirfd, path, st, flags) : wrong_version();
}

int wrap___xmknod(int version, const char *path, mode_t mode, dev_t *dev)
{
    return version == 0 ? wrap_mknod(path, mode, *dev) : wrong_version();
}

int wrap___xmknodat(int version, int dirfd, const char *path, mode_t mode, dev_t *dev)
{
    return version == 0 ? wrap_mknodat(dirfd, path, mode, *dev) : wrong_version();
}

/* ---- with the size of the buffer -------------------------------------------------------------------- */

char *wrap___realpath_chk(const char *path, char *resolved, size_t room)
{
    if (room < PATH_MAX)
        __chk_fail();
    return wrap_realpath(path, resolved);
}

char *wrap___getcwd_chk(char *buf, size_t size, size_t room)
{
    if (size > room)
        __chk_fail();
    return wrap_getcwd(buf, size);
}

char *wrap___getwd_chk(char *buf, size_t room)
{
    char *r = wrap_getcwd(buf, room);
    if (!r && errno == ERANGE)
        __chk_fail();
    return r;
}

ssize_t wrap___readlink_chk(const char *path, char *buf, size_t size, size_t room)
{
    if (size > room)
        __chk_fail();
    return wrap_readlink(path, buf, size);
}

ssize_t wrap___readlinkat_chk(int dirfd, const char *path, char *buf, size_t size, size_t room)
{
    if (size > room)
        __chk_fail();
    return wrap_readlinkat(dirfd, path, buf, size);
}

ssize_t wrap___recvfrom_chk(int fd, void *buf, size_t n, size_t room, int flags, struct sockaddr *address,
                            socklen_t *length)
{
    if (n > room)
        __chk_fail();
    return wrap_recvfrom(fd, buf, n, flags, address, length);
}

#define SHIM_FILE_compat
#include "export.h"
