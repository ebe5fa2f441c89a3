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

/* ---- stat and mknod with a version --------------------------------------------------------------- */

/* They end in the next library's function of the same name, not in that of the plain form: fakeroot's stat
 * calls __xstat, which is found here first, and would come back for ever. */

/* The versions of struct stat that glibc takes are all the kernel's on 64-bit machines. */
#if defined __x86_64__
enum { STAT_VERSION = 1 };
#else
enum { STAT_VERSION = 0 };
#endif

static int next_fxstat(int fd, struct stat *st)
{
    return REAL(__fxstat)(STAT_VERSION, fd, st);
}

static int next_fxstatat(int dirfd, const char *path, struct stat *st, int flags)
{
    return REAL(__fxstatat)(STAT_VERSION, dirfd, path, st, flags);
}

static int next_xmknodat(int dirfd, const char *path, mode_t mode, dev_t dev)
{
    return REAL(__xmknodat)(0, dirfd, path, mode, &dev);
}

static const struct shim_stat_way way = {next_fxstat, next_fxstatat};

static int wrong_version(void)
{
    errno = EINVAL;
    return -1;
}

int wrap___fxstatat(int version, int dirfd, const char *path, struct stat *st, int flags)
{
    if (version < 0 || version > STAT_VERSION)
        return wrong_version();
    /* A path that a wrapper has found already is on its way down. */
    return ovl_ctx_holds(path) ? next_fxstatat(dirfd, path, st, flags) : shim_fstatat(&way, dirfd, path, st, flags);
}

int wrap___xstat(int version, const char *path, struct stat *st)
{
    return wrap___fxstatat(version, AT_FDCWD, path, st, 0);
}

int wrap___lxstat(int version, const char *path, struct stat *st)
{
    return wrap___fxstatat(version, AT_FDCWD, path, st, AT_SYMLINK_NOFOLLOW);
}

int wrap___fxstat(int version, int fd, struct stat *st)
{
    return version < 0 || version > STAT_VERSION ? wrong_version() : shim_fstat(&way, fd, st);
}

int wrap___xmknodat(int version, int dirfd, const char *path, mode_t mode, dev_t *dev)
{
    if (version != 0 && version != 1) /* glibc's own, and fakeroot's */
        return wrong_version();
    return ovl_ctx_holds(path) ? next_xmknodat(dirfd, path, mode, *dev)
                               : shim_mknodat(next_xmknodat, dirfd, path, mode, *dev);
}

int wrap___xmknod(int version, const char *path, mode_t mode, dev_t *dev)
{
    return wrap___xmknodat(version, AT_FDCWD, path, mode, dev);
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
