/* SPDX-License-Identifier: MIT
 *
 * syscall(2): numbers that take a path, a directory or a descriptor go to the wrapper of libc's function
 * of that meaning; all others pass.
 *
 * What must hold: a number that acts on a path is either here or answered with ENOSYS, which programs
 * know from older kernels; none is passed on.  The raw forms differ from libc's in few places,
 * each of which has a function here.
 */
#define _GNU_SOURCE
#include "boundary.h"
#include "numbers.h"
#include "real.h"
#include "wrap.h"

#include <string.h>
#include <sys/syscall.h>

#define INT(i) ((int)a[i])
#define UINT(i) ((unsigned)a[i])
#define MODE(i) ((mode_t)a[i])
#define ID(i) ((uid_t)a[i])
#define SIZE(i) ((size_t)a[i])
#define PTR(i) ((void *)(uintptr_t)a[i])
#define DO(number, answer)                                                                                             \
    case number:                                                                                                       \
        *r = (answer);                                                                                                 \
        return true

/* ---- where the raw call differs ------------------------------------------------------------------- */

/* Returns a length, and takes no NULL. */
static long raw_getcwd(char *buf, size_t size)
{
    if (!buf || size == 0) {
        errno = buf ? ERANGE : EFAULT;
        return -1;
    }
    return wrap_getcwd(buf, size) ? (long)strlen(buf) + 1 : -1;
}

/* Without a path it is the descriptor that is changed. */
static long raw_utimensat(int dirfd, const char *path, const struct timespec *times, int flags)
{
    return path ? wrap_utimensat(dirfd, path, times, flags) : wrap_futimens(dirfd, times);
}

static long no_such_call(void)
{
    errno = ENOSYS;
    return -1;
}

#ifdef SYS_getdents
/* The record of the old call: the type stands behind the name, in the last byte. */
struct old_dirent {
    unsigned long d_ino;
    unsigned long d_off;
    unsigned short d_reclen;
    char d_name[];
};

/* The new records become old ones in place: both round up to the same length. */
static long raw_getdents(int fd, char *buf, size_t size)
{
    ssize_t n = wrap_getdents64(fd, buf, size);
    for (ssize_t at = 0; at < n;) {
        struct dirent64 *entry = (struct dirent64 *)(void *)(buf + at);
        unsigned char type = entry->d_type;
        unsigned short length = entry->d_reclen;
        memmove(((struct old_dirent *)(void *)entry)->d_name, entry->d_name, strlen(entry->d_name) + 1);
        buf[at + length - 1] = (char)type;
        at += length;
    }
    return n;
}
#endif

/* ---- the table -------------------------------------------------------------------------------------- */

static bool is_open_or_stat(long nr, const long *a, long *r)
{
    switch (nr) {
        DO(SYS_openat, wrap_openat(INT(0), PTR(1), INT(2), MODE(3)));
        DO(NR_openat2, wrap_openat2(INT(0), PTR(1), PTR(2), SIZE(3)));
        DO(SYS_newfstatat, wrap_fstatat(INT(0), PTR(1), PTR(2), INT(3)));
        DO(SYS_fstat, wrap_fstat(INT(0), PTR(1)));
        DO(SYS_statx, wrap_statx(INT(0), PTR(1), INT(2), UINT(3), PTR(4)));
        DO(SYS_statfs, wrap_statfs(PTR(0), PTR(1)));
        DO(SYS_fstatfs, wrap_fstatfs(INT(0), PTR(1)));
        DO(SYS_faccessat, wrap_faccessat(INT(0), PTR(1), INT(2), 0));
        DO(NR_faccessat2, wrap_faccessat(INT(0), PTR(1), INT(2), INT(3)));
        DO(SYS_readlinkat, wrap_readlinkat(INT(0), PTR(1), PTR(2), SIZE(3)));
        DO(SYS_getdents64, wrap_getdents64(INT(0), PTR(1), SIZE(2)));
        DO(SYS_chdir, wrap_chdir(PTR(0)));
        DO(SYS_fchdir, wrap_fchdir(INT(0)));
        DO(SYS_getcwd, raw_getcwd(PTR(0), SIZE(1)));
        DO(SYS_execve, wrap_execve(PTR(0), PTR(1), PTR(2)));
        DO(SYS_execveat, wrap_execveat(INT(0), PTR(1), PTR(2), PTR(3), INT(4)));
        DO(SYS_inotify_add_watch, wrap_inotify_add_watch(INT(0), PTR(1), (uint32_t)a[2]));
        DO(SYS_fanotify_mark, wrap_fanotify_mark(INT(0), UINT(1), (uint64_t)a[2], INT(3), PTR(4)));
        DO(SYS_name_to_handle_at, wrap_name_to_handle_at(INT(0), PTR(1), PTR(2), PTR(3), INT(4)));
        DO(SYS_open_by_handle_at, wrap_open_by_handle_at(INT(0), PTR(1), INT(2)));
    }
    return false;
}

static bool is_change(long nr, const long *a, long *r)
{
    switch (nr) {
        DO(SYS_mkdirat, wrap_mkdirat(INT(0), PTR(1), MODE(2)));
        DO(SYS_mknodat, wrap_mknodat(INT(0), PTR(1), MODE(2), (dev_t)UINT(3)));
        DO(SYS_unlinkat, wrap_unlinkat(INT(0), PTR(1), INT(2)));
        DO(SYS_symlinkat, wrap_symlinkat(PTR(0), INT(1), PTR(2)));
        DO(SYS_linkat, wrap_linkat(INT(0), PTR(1), INT(2), PTR(3), INT(4)));
#ifdef SYS_renameat
        DO(SYS_renameat, wrap_renameat(INT(0), PTR(1), INT(2), PTR(3)));
#endif
        DO(SYS_renameat2, wrap_renameat2(INT(0), PTR(1), INT(2), PTR(3), UINT(4)));
        DO(SYS_fchmodat, wrap_fchmodat(INT(0), PTR(1), MODE(2), 0));
        DO(NR_fchmodat2, wrap_fchmodat2(INT(0), PTR(1), MODE(2), INT(3)));
        DO(SYS_fchmod, wrap_fchmod(INT(0), MODE(1)));
        DO(SYS_fchownat, wrap_fchownat(INT(0), PTR(1), ID(2), ID(3), INT(4)));
        DO(SYS_fchown, wrap_fchown(INT(0), ID(1), ID(2)));
        DO(SYS_utimensat, raw_utimensat(INT(0), PTR(1), PTR(2), INT(3)));
        DO(SYS_truncate, wrap_truncate(PTR(0), a[1]));
        DO(SYS_close, wrap_close(INT(0)));
        DO(NR_close_range, wrap_close_range(UINT(0), UINT(1), INT(2)));
        DO(SYS_dup, wrap_dup(INT(0)));
        DO(SYS_dup3, wrap_dup3(INT(0), INT(1), INT(2)));
        DO(SYS_fcntl, wrap_fcntl(INT(0), INT(1), a[2]));
        DO(SYS_fsync, wrap_fsync(INT(0)));
        DO(SYS_fdatasync, wrap_fdatasync(INT(0)));
        DO(SYS_syncfs, wrap_syncfs(INT(0)));
        DO(SYS_ioctl, wrap_ioctl(INT(0), (unsigned long)a[1], PTR(2)));
    }
    return false;
}

static bool is_xattr(long nr, const long *a, long *r)
{
    switch (nr) {
        DO(SYS_getxattr, wrap_getxattr(PTR(0), PTR(1), PTR(2), SIZE(3)));
        DO(SYS_lgetxattr, wrap_lgetxattr(PTR(0), PTR(1), PTR(2), SIZE(3)));
        DO(SYS_fgetxattr, wrap_fgetxattr(INT(0), PTR(1), PTR(2), SIZE(3)));
        DO(SYS_setxattr, wrap_setxattr(PTR(0), PTR(1), PTR(2), SIZE(3), INT(4)));
        DO(SYS_lsetxattr, wrap_lsetxattr(PTR(0), PTR(1), PTR(2), SIZE(3), INT(4)));
        DO(SYS_fsetxattr, wrap_fsetxattr(INT(0), PTR(1), PTR(2), SIZE(3), INT(4)));
        DO(SYS_listxattr, wrap_listxattr(PTR(0), PTR(1), SIZE(2)));
        DO(SYS_llistxattr, wrap_llistxattr(PTR(0), PTR(1), SIZE(2)));
        DO(SYS_flistxattr, wrap_flistxattr(INT(0), PTR(1), SIZE(2)));
        DO(SYS_removexattr, wrap_removexattr(PTR(0), PTR(1)));
        DO(SYS_lremovexattr, wrap_lremovexattr(PTR(0), PTR(1)));
        DO(SYS_fremovexattr, wrap_fremovexattr(INT(0), PTR(1)));
    }
    return false;
}

static bool is_socket(long nr, const long *a, long *r)
{
    switch (nr) {
        DO(SYS_bind, wrap_bind(INT(0), PTR(1), (socklen_t)a[2]));
        DO(SYS_connect, wrap_connect(INT(0), PTR(1), (socklen_t)a[2]));
        DO(SYS_accept, wrap_accept(INT(0), PTR(1), PTR(2)));
        DO(SYS_accept4, wrap_accept4(INT(0), PTR(1), PTR(2), INT(3)));
        DO(SYS_getsockname, wrap_getsockname(INT(0), PTR(1), PTR(2)));
        DO(SYS_getpeername, wrap_getpeername(INT(0), PTR(1), PTR(2)));
        DO(SYS_sendto, wrap_sendto(INT(0), PTR(1), SIZE(2), INT(3), PTR(4), (socklen_t)a[5]));
        DO(SYS_sendmsg, wrap_sendmsg(INT(0), PTR(1), INT(2)));
        DO(SYS_sendmmsg, wrap_sendmmsg(INT(0), PTR(1), UINT(2), INT(3)));
        DO(SYS_recvfrom, wrap_recvfrom(INT(0), PTR(1), SIZE(2), INT(3), PTR(4), PTR(5)));
        DO(SYS_recvmsg, wrap_recvmsg(INT(0), PTR(1), INT(2)));
        DO(SYS_recvmmsg, wrap_recvmmsg(INT(0), PTR(1), UINT(2), INT(3), PTR(4)));
    }
    return false;
}

static bool is_mount_or_refused(long nr, const long *a, long *r)
{
    switch (nr) {
        DO(SYS_chroot, wrap_chroot(PTR(0)));
        DO(SYS_pivot_root, wrap_pivot_root(PTR(0), PTR(1)));
        DO(SYS_mount, wrap_mount(PTR(0), PTR(1), PTR(2), (unsigned long)a[3], PTR(4)));
        DO(SYS_umount2, wrap_umount2(PTR(0), INT(1)));
        DO(NR_open_tree, wrap_open_tree(INT(0), PTR(1), UINT(2)));
        DO(NR_move_mount, wrap_move_mount(INT(0), PTR(1), INT(2), PTR(3), UINT(4)));
        DO(NR_fsconfig, wrap_fsconfig(INT(0), UINT(1), PTR(2), PTR(3), INT(4)));
        DO(NR_fspick, wrap_fspick(INT(0), PTR(1), UINT(2)));
        DO(NR_mount_setattr, wrap_mount_setattr(INT(0), PTR(1), UINT(2), PTR(3), SIZE(4)));
        DO(SYS_unshare, wrap_unshare(INT(0)));
        DO(SYS_setns, wrap_setns(INT(0), INT(1)));
        DO(SYS_acct, wrap_acct(PTR(0)));
        DO(SYS_swapon, wrap_swapon(PTR(0), INT(1)));
        DO(SYS_swapoff, wrap_swapoff(PTR(0)));
        DO(SYS_quotactl, wrap_quotactl(INT(0), PTR(1), INT(2), PTR(3)));
    case NR_io_uring_setup: /* its requests would go around every wrapper */
    case NR_setxattrat:
    case NR_getxattrat:
    case NR_listxattrat:
    case NR_removexattrat:
    case NR_open_tree_attr:
    case NR_file_getattr:
    case NR_file_setattr:
        *r = no_such_call();
        return true;
    }
    return false;
}

/* Numbers that only the oldest machines have. */
#ifdef SYS_open
static bool is_old_number(long nr, const long *a, long *r)
{
    switch (nr) {
        DO(SYS_open, wrap_open(PTR(0), INT(1), MODE(2)));
        DO(SYS_creat, wrap_creat(PTR(0), MODE(1)));
        DO(SYS_stat, wrap_stat(PTR(0), PTR(1)));
        DO(SYS_lstat, wrap_lstat(PTR(0), PTR(1)));
        DO(SYS_access, wrap_access(PTR(0), INT(1)));
        DO(SYS_readlink, wrap_readlink(PTR(0), PTR(1), SIZE(2)));
        DO(SYS_getdents, raw_getdents(INT(0), PTR(1), SIZE(2)));
        DO(SYS_mkdir, wrap_mkdir(PTR(0), MODE(1)));
        DO(SYS_rmdir, wrap_rmdir(PTR(0)));
        DO(SYS_mknod, wrap_mknod(PTR(0), MODE(1), (dev_t)UINT(2)));
        DO(SYS_unlink, wrap_unlink(PTR(0)));
        DO(SYS_symlink, wrap_symlink(PTR(0), PTR(1)));
        DO(SYS_link, wrap_link(PTR(0), PTR(1)));
        DO(SYS_rename, wrap_rename(PTR(0), PTR(1)));
        DO(SYS_chmod, wrap_chmod(PTR(0), MODE(1)));
        DO(SYS_chown, wrap_chown(PTR(0), ID(1), ID(2)));
        DO(SYS_lchown, wrap_lchown(PTR(0), ID(1), ID(2)));
        DO(SYS_utime, wrap_utime(PTR(0), PTR(1)));
        DO(SYS_utimes, wrap_utimes(PTR(0), PTR(1)));
        DO(SYS_futimesat, wrap_futimesat(INT(0), PTR(1), PTR(2)));
        DO(SYS_dup2, wrap_dup2(INT(0), INT(1)));
    }
    return false;
}
#else
static bool is_old_number(long nr, const long *a, long *r)
{
    (void)nr, (void)a, (void)r;
    return false;
}
#endif

/* Six arguments are read whatever was given: what is not there is never looked at. */
long wrap_syscall(long nr, ...)
{
    long a[6], r;
    va_list args;
    va_start(args, nr);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(args, long);
    va_end(args);
    if (shim_is_active() && (is_open_or_stat(nr, a, &r) || is_change(nr, a, &r) || is_xattr(nr, a, &r) ||
                             is_socket(nr, a, &r) || is_mount_or_refused(nr, a, &r) || is_old_number(nr, a, &r)))
        return r;
    return REAL(syscall)(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
}

#define SHIM_FILE_syscall
#include "export.h"
