/* SPDX-License-Identifier: MIT
 *
 * The floor: every call that core makes to the kernel goes through ovl_sys_raw().
 *
 * It exists so that core works before libc is initialised, in signal handlers, in vfork
 * children and below any other preloaded library.  What must hold: nothing here touches
 * errno, allocates, or calls libc; every function returns the kernel's answer, a negative
 * errno on failure.  Unit tests replace ovl_sys_raw() to make call number n fail.
 */
#ifndef OVL_SYS_H
#define OVL_SYS_H

#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>

/* The one way to the kernel. Async-signal-safe. Returns what the kernel returned (-errno on failure). */
long ovl_sys_raw(long nr, long a, long b, long c, long d, long e, long f);

/* clone(2) without CLONE_SETTLS: the child calls entry(arg), which must not return, on the stack that ends at `stack`.
 */
long ovl_sys_clone(long flags, void *stack, void (*entry)(void *arg), void *arg);

#define OVL_SYS_PTR(p) ((long)(uintptr_t)(p))

/* The kernel's struct open_how (openat2(2)); declared here because old headers lack it. */
struct ovl_open_how {
    uint64_t flags;
    uint64_t mode;
    uint64_t resolve;
};
#define OVL_RESOLVE_NO_MAGICLINKS 0x02u
#define OVL_RESOLVE_NO_SYMLINKS 0x04u

/* The kernel's names in linux/landlock.h. */
#define OVL_LANDLOCK_VERSION 1
#define OVL_LANDLOCK_PATH_BENEATH 1

/* One record of getdents64(2). */
struct ovl_dirent {
    uint64_t d_ino;
    int64_t d_off;
    uint16_t d_reclen;
    uint8_t d_type;
    char d_name[];
};

#define OVL_SIGSET_BYTES 8 /* size of the kernel's signal set, not of libc's sigset_t */

static inline int ovl_sys_open(int dirfd, const char *path, int flags, mode_t mode)
{
    return (int)ovl_sys_raw(SYS_openat, dirfd, OVL_SYS_PTR(path), flags, (long)mode, 0, 0);
}

/* What openat2(2) takes for the flags of an open(2): it refuses those that open ignores, and has to be told
 * of large files.  O_SYNC and O_TMPFILE have O_DSYNC and O_DIRECTORY in them. */
#if defined(__aarch64__)
#define OVL_KERNEL_O_LARGEFILE 0400000
#else
#define OVL_KERNEL_O_LARGEFILE 0100000
#endif
static inline uint64_t ovl_openat2_flags(int flags)
{
    const int known = O_ACCMODE | O_APPEND | O_ASYNC | O_CLOEXEC | O_CREAT | O_DIRECT | O_EXCL | O_NOATIME | O_NOCTTY |
                      O_NOFOLLOW | O_NONBLOCK | O_PATH | O_SYNC | O_TMPFILE | O_TRUNC;
    return (uint64_t)(flags & known) | (flags & O_PATH ? 0 : OVL_KERNEL_O_LARGEFILE);
}

static inline int ovl_sys_openat2(int dirfd, const char *path, const struct ovl_open_how *how)
{
    return (int)ovl_sys_raw(SYS_openat2, dirfd, OVL_SYS_PTR(path), OVL_SYS_PTR(how), sizeof *how, 0, 0);
}

static inline int ovl_sys_dup3(int from, int to, int flags)
{
    return (int)ovl_sys_raw(SYS_dup3, from, to, flags, 0, 0, 0);
}

static inline int ovl_sys_close(int fd)
{
    return (int)ovl_sys_raw(SYS_close, fd, 0, 0, 0, 0, 0);
}

static inline ssize_t ovl_sys_read(int fd, void *buf, size_t n)
{
    return (ssize_t)ovl_sys_raw(SYS_read, fd, OVL_SYS_PTR(buf), (long)n, 0, 0, 0);
}

static inline ssize_t ovl_sys_pread(int fd, void *buf, size_t n, off_t at)
{
    return (ssize_t)ovl_sys_raw(SYS_pread64, fd, OVL_SYS_PTR(buf), (long)n, (long)at, 0, 0);
}

static inline ssize_t ovl_sys_write(int fd, const void *buf, size_t n)
{
    return (ssize_t)ovl_sys_raw(SYS_write, fd, OVL_SYS_PTR(buf), (long)n, 0, 0, 0);
}

static inline ssize_t ovl_sys_pwrite(int fd, const void *buf, size_t n, off_t at)
{
    return (ssize_t)ovl_sys_raw(SYS_pwrite64, fd, OVL_SYS_PTR(buf), (long)n, (long)at, 0, 0);
}

static inline off_t ovl_sys_lseek(int fd, off_t off, int whence)
{
    return (off_t)ovl_sys_raw(SYS_lseek, fd, (long)off, whence, 0, 0, 0);
}

static inline int ovl_sys_ftruncate(int fd, off_t len)
{
    return (int)ovl_sys_raw(SYS_ftruncate, fd, (long)len, 0, 0, 0, 0);
}

static inline int ovl_sys_fdatasync(int fd)
{
    return (int)ovl_sys_raw(SYS_fdatasync, fd, 0, 0, 0, 0, 0);
}

static inline int ovl_sys_fstatat(int dirfd, const char *path, struct stat *st, int flags)
{
    return (int)ovl_sys_raw(SYS_newfstatat, dirfd, OVL_SYS_PTR(path), OVL_SYS_PTR(st), flags, 0, 0);
}

static inline int ovl_sys_lstat(const char *path, struct stat *st)
{
    return ovl_sys_fstatat(AT_FDCWD, path, st, AT_SYMLINK_NOFOLLOW);
}

static inline int ovl_sys_stat(const char *path, struct stat *st)
{
    return ovl_sys_fstatat(AT_FDCWD, path, st, 0);
}

static inline int ovl_sys_fstat(int fd, struct stat *st)
{
    return (int)ovl_sys_raw(SYS_fstat, fd, OVL_SYS_PTR(st), 0, 0, 0, 0);
}

/* buf is a struct statx; not named here because <linux/stat.h> and <sys/stat.h> both define it. */
static inline int ovl_sys_statx(int dirfd, const char *path, int flags, unsigned mask, void *buf)
{
    return (int)ovl_sys_raw(SYS_statx, dirfd, OVL_SYS_PTR(path), flags, (long)mask, OVL_SYS_PTR(buf), 0);
}

static inline int ovl_sys_faccessat(int dirfd, const char *path, int mode)
{
    return (int)ovl_sys_raw(SYS_faccessat, dirfd, OVL_SYS_PTR(path), mode, 0, 0, 0);
}

static inline int ovl_sys_faccessat2(int dirfd, const char *path, int mode, int flags)
{
    return (int)ovl_sys_raw(SYS_faccessat2, dirfd, OVL_SYS_PTR(path), mode, flags, 0, 0);
}

static inline ssize_t ovl_sys_readlinkat(int dirfd, const char *path, char *buf, size_t n)
{
    return (ssize_t)ovl_sys_raw(SYS_readlinkat, dirfd, OVL_SYS_PTR(path), OVL_SYS_PTR(buf), (long)n, 0, 0);
}

static inline ssize_t ovl_sys_readlink(const char *path, char *buf, size_t n)
{
    return ovl_sys_readlinkat(AT_FDCWD, path, buf, n);
}

static inline ssize_t ovl_sys_getcwd(char *buf, size_t n)
{
    return (ssize_t)ovl_sys_raw(SYS_getcwd, OVL_SYS_PTR(buf), (long)n, 0, 0, 0, 0);
}

static inline int ovl_sys_mkdir(const char *path, mode_t mode)
{
    return (int)ovl_sys_raw(SYS_mkdirat, AT_FDCWD, OVL_SYS_PTR(path), (long)mode, 0, 0, 0);
}

static inline int ovl_sys_mknod(const char *path, mode_t mode, dev_t dev)
{
    return (int)ovl_sys_raw(SYS_mknodat, AT_FDCWD, OVL_SYS_PTR(path), (long)mode, (long)dev, 0, 0);
}

static inline int ovl_sys_symlink(const char *target, const char *path)
{
    return (int)ovl_sys_raw(SYS_symlinkat, OVL_SYS_PTR(target), AT_FDCWD, OVL_SYS_PTR(path), 0, 0, 0);
}

static inline int ovl_sys_linkat(int olddir, const char *from, int newdir, const char *to, int flags)
{
    return (int)ovl_sys_raw(SYS_linkat, olddir, OVL_SYS_PTR(from), newdir, OVL_SYS_PTR(to), flags, 0);
}

static inline int ovl_sys_unlinkat(int dirfd, const char *path, int flags)
{
    return (int)ovl_sys_raw(SYS_unlinkat, dirfd, OVL_SYS_PTR(path), flags, 0, 0, 0);
}

static inline int ovl_sys_unlink(const char *path)
{
    return ovl_sys_unlinkat(AT_FDCWD, path, 0);
}

static inline int ovl_sys_rmdir(const char *path)
{
    return ovl_sys_unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
}

static inline int ovl_sys_rename(const char *from, const char *to, unsigned flags)
{
    if (!flags) /* which no sandbox forbids */
        return (int)ovl_sys_raw(SYS_renameat, AT_FDCWD, OVL_SYS_PTR(from), AT_FDCWD, OVL_SYS_PTR(to), 0, 0);
    return (int)ovl_sys_raw(SYS_renameat2, AT_FDCWD, OVL_SYS_PTR(from), AT_FDCWD, OVL_SYS_PTR(to), (long)flags, 0);
}

static inline int ovl_sys_chmod(const char *path, mode_t mode)
{
    return (int)ovl_sys_raw(SYS_fchmodat, AT_FDCWD, OVL_SYS_PTR(path), (long)mode, 0, 0, 0);
}

static inline int ovl_sys_fchmod(int fd, mode_t mode)
{
    return (int)ovl_sys_raw(SYS_fchmod, fd, (long)mode, 0, 0, 0, 0);
}

static inline int ovl_sys_lchown(const char *path, uid_t uid, gid_t gid)
{
    return (int)ovl_sys_raw(SYS_fchownat, AT_FDCWD, OVL_SYS_PTR(path), (long)uid, (long)gid, AT_SYMLINK_NOFOLLOW, 0);
}

static inline int ovl_sys_fchown(int fd, uid_t uid, gid_t gid)
{
    return (int)ovl_sys_raw(SYS_fchown, fd, (long)uid, (long)gid, 0, 0, 0);
}

static inline int ovl_sys_utimensat(int dirfd, const char *path, const struct timespec ts[2], int flags)
{
    return (int)ovl_sys_raw(SYS_utimensat, dirfd, OVL_SYS_PTR(path), OVL_SYS_PTR(ts), flags, 0, 0);
}

static inline ssize_t ovl_sys_lgetxattr(const char *path, const char *name, void *value, size_t n)
{
    return (ssize_t)ovl_sys_raw(SYS_lgetxattr, OVL_SYS_PTR(path), OVL_SYS_PTR(name), OVL_SYS_PTR(value), (long)n, 0, 0);
}

static inline int ovl_sys_lsetxattr(const char *path, const char *name, const void *value, size_t n, int flags)
{
    return (int)ovl_sys_raw(SYS_lsetxattr, OVL_SYS_PTR(path), OVL_SYS_PTR(name), OVL_SYS_PTR(value), (long)n, flags, 0);
}

static inline int ovl_sys_lremovexattr(const char *path, const char *name)
{
    return (int)ovl_sys_raw(SYS_lremovexattr, OVL_SYS_PTR(path), OVL_SYS_PTR(name), 0, 0, 0, 0);
}

static inline ssize_t ovl_sys_fgetxattr(int fd, const char *name, void *value, size_t n)
{
    return (ssize_t)ovl_sys_raw(SYS_fgetxattr, fd, OVL_SYS_PTR(name), OVL_SYS_PTR(value), (long)n, 0, 0);
}

static inline ssize_t ovl_sys_flistxattr(int fd, char *list, size_t n)
{
    return (ssize_t)ovl_sys_raw(SYS_flistxattr, fd, OVL_SYS_PTR(list), (long)n, 0, 0, 0);
}

static inline ssize_t ovl_sys_llistxattr(const char *path, char *list, size_t n)
{
    return (ssize_t)ovl_sys_raw(SYS_llistxattr, OVL_SYS_PTR(path), OVL_SYS_PTR(list), (long)n, 0, 0, 0);
}

static inline ssize_t ovl_sys_getdents(int fd, void *buf, size_t n)
{
    return (ssize_t)ovl_sys_raw(SYS_getdents64, fd, OVL_SYS_PTR(buf), (long)n, 0, 0, 0);
}

static inline ssize_t ovl_sys_copy_file_range(int in, int out, size_t n)
{
    return (ssize_t)ovl_sys_raw(SYS_copy_file_range, in, 0, out, 0, (long)n, 0);
}

static inline int ovl_sys_ioctl(int fd, unsigned long request, long arg)
{
    return (int)ovl_sys_raw(SYS_ioctl, fd, (long)request, arg, 0, 0, 0);
}

/* Returns the mapping, or NULL on failure. */
static inline void *ovl_sys_mmap_at(size_t n, int prot, int flags, int fd, off_t begin)
{
    long r = ovl_sys_raw(SYS_mmap, 0, (long)n, prot, flags, fd, (long)begin);
    return r < 0 && r > -4096 ? NULL : (void *)(uintptr_t)r;
}

static inline void *ovl_sys_mmap(size_t n, int prot, int flags, int fd)
{
    return ovl_sys_mmap_at(n, prot, flags, fd, 0);
}

static inline void *ovl_sys_mremap(void *old, size_t old_n, size_t n)
{
    long r = ovl_sys_raw(SYS_mremap, OVL_SYS_PTR(old), (long)old_n, (long)n, 1 /* MREMAP_MAYMOVE */, 0, 0);
    return r < 0 && r > -4096 ? NULL : (void *)(uintptr_t)r;
}

static inline int ovl_sys_munmap(void *p, size_t n)
{
    return (int)ovl_sys_raw(SYS_munmap, OVL_SYS_PTR(p), (long)n, 0, 0, 0, 0);
}

static inline int ovl_sys_madvise(void *p, size_t n, int advice)
{
    return (int)ovl_sys_raw(SYS_madvise, OVL_SYS_PTR(p), (long)n, advice, 0, 0, 0);
}

static inline bool ovl_sys_is_on_signal_stack(void)
{
    stack_t stack;
    return ovl_sys_raw(SYS_sigaltstack, 0, OVL_SYS_PTR(&stack), 0, 0, 0, 0) == 0 && stack.ss_flags & SS_ONSTACK;
}

/* A limit of this process: set and ask at once; either pointer may be NULL. */
static inline int ovl_sys_prlimit(int resource, const struct rlimit *set, struct rlimit *old)
{
    return (int)ovl_sys_raw(SYS_prlimit64, 0, resource, OVL_SYS_PTR(set), OVL_SYS_PTR(old), 0, 0);
}

static inline int ovl_sys_fallocate(int fd, off_t n)
{
    return (int)ovl_sys_raw(SYS_fallocate, fd, 0, 0, (long)n, 0, 0);
}

/* Operation is FUTEX_WAIT or FUTEX_WAKE, on memory that processes share. */
static inline int ovl_sys_futex(uint32_t *word, int op, uint32_t value, const struct timespec *timeout)
{
    return (int)ovl_sys_raw(SYS_futex, OVL_SYS_PTR(word), op, (long)value, OVL_SYS_PTR(timeout), 0, 0);
}

static inline int ovl_sys_sigprocmask(int how, const uint64_t *set, uint64_t *old)
{
    return (int)ovl_sys_raw(SYS_rt_sigprocmask, how, OVL_SYS_PTR(set), OVL_SYS_PTR(old), OVL_SIGSET_BYTES, 0, 0);
}

static inline pid_t ovl_sys_getpid(void)
{
    return (pid_t)ovl_sys_raw(SYS_getpid, 0, 0, 0, 0, 0, 0);
}

static inline pid_t ovl_sys_gettid(void)
{
    return (pid_t)ovl_sys_raw(SYS_gettid, 0, 0, 0, 0, 0, 0);
}

/* Whether RLIMIT_FSIZE lets this process write a file of so many bytes: beyond it the kernel answers with a signal that
 * ends the program. */
static inline bool ovl_sys_may_write(uint64_t size)
{
    struct rlimit limit;
    return ovl_sys_prlimit(RLIMIT_FSIZE, NULL, &limit) < 0 || size <= limit.rlim_cur;
}

/* landlock(7).  The newest interface that the kernel has, or -ENOSYS, -EOPNOTSUPP. */
static inline int ovl_sys_landlock_abi(void)
{
    return (int)ovl_sys_raw(SYS_landlock_create_ruleset, 0, 0, OVL_LANDLOCK_VERSION, 0, 0, 0);
}

/* A descriptor of a ruleset that forbids what `rights` names. */
static inline int ovl_sys_landlock_create(uint64_t rights)
{
    return (int)ovl_sys_raw(SYS_landlock_create_ruleset, OVL_SYS_PTR(&rights), sizeof rights, 0, 0, 0, 0);
}

/* Allow `rights` for what the descriptor stands for, and below it. */
static inline int ovl_sys_landlock_allow(int ruleset, int fd, uint64_t rights)
{
    const struct {
        uint64_t rights;
        int32_t fd;
    } __attribute__((packed)) rule = {rights, fd};
    return (int)ovl_sys_raw(SYS_landlock_add_rule, ruleset, OVL_LANDLOCK_PATH_BENEATH, OVL_SYS_PTR(&rule), 0, 0, 0);
}

static inline int ovl_sys_landlock_restrict(int ruleset)
{
    return (int)ovl_sys_raw(SYS_landlock_restrict_self, ruleset, 0, 0, 0, 0, 0);
}

static inline int ovl_sys_prctl(int option, unsigned long value)
{
    return (int)ovl_sys_raw(SYS_prctl, option, (long)value, 0, 0, 0, 0);
}

static inline int ovl_sys_nanosleep(long nanoseconds)
{
    const struct timespec span = {.tv_nsec = nanoseconds};
    return (int)ovl_sys_raw(SYS_nanosleep, OVL_SYS_PTR(&span), 0, 0, 0, 0, 0);
}

static inline int ovl_sys_kill(pid_t pid, int sig)
{
    return (int)ovl_sys_raw(SYS_kill, pid, sig, 0, 0, 0, 0);
}

/* The user that the kernel looks for files as; nothing changes (setfsuid(2)). */
static inline uid_t ovl_sys_fsuid(void)
{
    return (uid_t)ovl_sys_raw(SYS_setfsuid, -1, 0, 0, 0, 0, 0);
}

static inline uid_t ovl_sys_geteuid(void)
{
    return (uid_t)ovl_sys_raw(SYS_geteuid, 0, 0, 0, 0, 0, 0);
}

static inline uid_t ovl_sys_getuid(void)
{
    return (uid_t)ovl_sys_raw(SYS_getuid, 0, 0, 0, 0, 0, 0);
}

static inline gid_t ovl_sys_getegid(void)
{
    return (gid_t)ovl_sys_raw(SYS_getegid, 0, 0, 0, 0, 0, 0);
}

static inline int ovl_sys_clock_gettime(clockid_t id, struct timespec *ts)
{
    return (int)ovl_sys_raw(SYS_clock_gettime, id, OVL_SYS_PTR(ts), 0, 0, 0, 0);
}

static inline void ovl_sys_exit(int status)
{
    ovl_sys_raw(SYS_exit_group, status, 0, 0, 0, 0, 0);
}

#endif
