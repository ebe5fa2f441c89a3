/* SPDX-License-Identifier: MIT
 *
 * The bodies that other files call: libc's functions that are built on other libc functions
 * (mkstemp on open, nftw on lstat and opendir, syscall(2) on all of them) are built here on the
 * wrappers of those, so that each rule of the overlay stands in one place.
 *
 * Every function here means what its libc name means, errno and cancellation included, and works
 * on merged paths.  Call them outside of shim_enter() and shim_leave() where they may block.
 */
#ifndef SHIM_WRAP_H
#define SHIM_WRAP_H

#include "init.h"
#include "real.h"

#include <sys/inotify.h>
#include <sys/uio.h>

struct file_handle;
struct mount_attr;

#pragma GCC visibility push(hidden)

/* Whether there are overlays: for bodies that are all done by other wrappers. */
static inline bool shim_is_active(void)
{
    return shim_space() || shim_start();
}

/* ---- wrap_open.c ---- */
/* How an open goes on: the function for a place outside, and the operations that core gets. */
struct shim_way {
    int (*openat)(int dirfd, const char *path, int flags, ...);
    const struct ovl_ops *ops;
};
int shim_open_at(const struct shim_way *way, const char *function, int dirfd, const char *path, int flags, mode_t mode);
/* For a directory stream, whose functions are no cancellation points. */
int shim_open_directory(int dirfd, const char *path);
int wrap_open(const char *path, int flags, ...);
int wrap_openat(int dirfd, const char *path, int flags, ...);
int wrap_creat(const char *path, mode_t mode);

/* ---- arguments that mean a place ---- */
static inline unsigned shim_follow_unless(bool nofollow)
{
    return nofollow ? 0 : OVL_FOLLOW;
}

/* Whether it is the descriptor itself that is meant. Linux 6.11 and later take NULL for the empty path. */
static inline bool shim_is_descriptor(int dirfd, const char *path, int flags)
{
    return (flags & AT_EMPTY_PATH) && (!path || !*path) && dirfd != AT_FDCWD;
}

/* An empty path with AT_FDCWD is the current directory: one that can be looked up. */
static inline const char *shim_name_cwd(const char *path, int flags)
{
    return (flags & AT_EMPTY_PATH) && path && !*path ? "." : path;
}

/* ---- wrap_stat.c ---- */
/* The merged directory that fd stands for, or NULL. */
struct ovl_node *shim_directory_of(struct shim_call *call, int fd);
/* The next library's functions that a stat ends in. */
struct shim_stat_way {
    int (*fstat)(int fd, struct stat *st);
    int (*fstatat)(int dirfd, const char *path, struct stat *st, int flags);
};
int shim_fstat(const struct shim_stat_way *way, int fd, struct stat *st);
int shim_fstatat(const struct shim_stat_way *way, int dirfd, const char *path, struct stat *st, int flags);
int wrap_stat(const char *path, struct stat *st);
int wrap_lstat(const char *path, struct stat *st);
int wrap_fstat(int fd, struct stat *st);
int wrap_fstatat(int dirfd, const char *path, struct stat *st, int flags);
int wrap_statx(int dirfd, const char *path, int flags, unsigned mask, struct statx *stx);
int wrap_access(const char *path, int mode);
int wrap_faccessat(int dirfd, const char *path, int mode, int flags);
ssize_t wrap_readlink(const char *path, char *buf, size_t size);
ssize_t wrap_readlinkat(int dirfd, const char *path, char *buf, size_t size);

/* ---- wrap_meta.c ---- */
int wrap_chmod(const char *path, mode_t mode);
int wrap_fchmodat(int dirfd, const char *path, mode_t mode, int flags);
int wrap_fchmodat2(int dirfd, const char *path, mode_t mode, int flags);
int wrap_fchmod(int fd, mode_t mode);
int wrap_chown(const char *path, uid_t uid, gid_t gid);
int wrap_lchown(const char *path, uid_t uid, gid_t gid);
int wrap_fchownat(int dirfd, const char *path, uid_t uid, gid_t gid, int flags);
int wrap_fchown(int fd, uid_t uid, gid_t gid);
int wrap_utime(const char *path, const struct utimbuf *times);
int wrap_utimes(const char *path, const struct timeval times[2]);
int wrap_futimesat(int dirfd, const char *path, const struct timeval times[2]);
int wrap_utimensat(int dirfd, const char *path, const struct timespec times[2], int flags);
int wrap_futimens(int fd, const struct timespec times[2]);
int wrap_truncate(const char *path, off_t length);

/* ---- wrap_change.c ---- */
int wrap_mkdir(const char *path, mode_t mode);
int wrap_mkdirat(int dirfd, const char *path, mode_t mode);
int wrap_mknod(const char *path, mode_t mode, dev_t dev);
/* The same, ending in `next`. */
int shim_mknodat(int (*next)(int, const char *, mode_t, dev_t), int dirfd, const char *path, mode_t mode, dev_t dev);
int wrap_mknodat(int dirfd, const char *path, mode_t mode, dev_t dev);
int wrap_rmdir(const char *path);
int wrap_unlink(const char *path);
int wrap_unlinkat(int dirfd, const char *path, int flags);
int wrap_rename(const char *from, const char *to);
int wrap_renameat(int from_dirfd, const char *from, int to_dirfd, const char *to);
int wrap_renameat2(int from_dirfd, const char *from, int to_dirfd, const char *to, unsigned flags);
int wrap_link(const char *from, const char *to);
int wrap_linkat(int from_dirfd, const char *from, int to_dirfd, const char *to, int flags);
int wrap_symlink(const char *target, const char *path);
int wrap_symlinkat(const char *target, int dirfd, const char *path);

/* ---- wrap_dir.c ---- */
DIR *wrap_opendir(const char *path);
DIR *wrap_fdopendir(int fd);
struct dirent *wrap_readdir(DIR *dir);
int wrap_closedir(DIR *dir);
int wrap_dirfd(DIR *dir);
ssize_t wrap_getdents64(int fd, void *buf, size_t size);
/* The same with the kernel's answer for a directory that is not merged, not the next library's. */
ssize_t shim_getdents(int fd, void *buf, size_t size);

/* ---- wrap_fd.c ---- */
int wrap_close(int fd);
/* For functions that are no cancellation points. */
int shim_close(int fd);
int wrap_close_range(unsigned first, unsigned last, int flags);
int wrap_dup(int fd);
int wrap_dup2(int fd, int to);
int wrap_dup3(int fd, int to, int flags);
int wrap_fcntl(int fd, int command, ...);
int wrap_fsync(int fd);
int wrap_fdatasync(int fd);
int wrap_syncfs(int fd);
int wrap_ioctl(int fd, unsigned long request, ...);

/* ---- wrap_cwd.c ---- */
int wrap_chdir(const char *path);
int wrap_fchdir(int fd);
char *wrap_getcwd(char *buf, size_t size);
char *wrap_realpath(const char *path, char *resolved);

/* ---- wrap_exec.c ---- */
int wrap_execve(const char *path, char *const argv[], char *const envp[]);
int wrap_execveat(int dirfd, const char *path, char *const argv[], char *const envp[], int flags);

/* ---- wrap_stdio.c ---- */
FILE *wrap_fopen(const char *path, const char *text);

/* ---- wrap_walk.c ---- */
int wrap_glob(const char *pattern, int flags, int (*on_error)(const char *, int), glob_t *found);

/* ---- wrap_xattr.c ---- */
ssize_t wrap_getxattr(const char *path, const char *name, void *value, size_t size);
ssize_t wrap_lgetxattr(const char *path, const char *name, void *value, size_t size);
ssize_t wrap_fgetxattr(int fd, const char *name, void *value, size_t size);
int wrap_setxattr(const char *path, const char *name, const void *value, size_t size, int flags);
int wrap_lsetxattr(const char *path, const char *name, const void *value, size_t size, int flags);
int wrap_fsetxattr(int fd, const char *name, const void *value, size_t size, int flags);
ssize_t wrap_listxattr(const char *path, char *list, size_t size);
ssize_t wrap_llistxattr(const char *path, char *list, size_t size);
ssize_t wrap_flistxattr(int fd, char *list, size_t size);
int wrap_removexattr(const char *path, const char *name);
int wrap_lremovexattr(const char *path, const char *name);
int wrap_fremovexattr(int fd, const char *name);

/* ---- wrap_socket.c ---- */
int wrap_bind(int fd, const struct sockaddr *address, socklen_t length);
int wrap_connect(int fd, const struct sockaddr *address, socklen_t length);
int wrap_accept(int fd, struct sockaddr *address, socklen_t *length);
int wrap_accept4(int fd, struct sockaddr *address, socklen_t *length, int flags);
int wrap_getsockname(int fd, struct sockaddr *address, socklen_t *length);
int wrap_getpeername(int fd, struct sockaddr *address, socklen_t *length);
ssize_t wrap_sendto(int fd, const void *buf, size_t n, int flags, const struct sockaddr *address, socklen_t length);
ssize_t wrap_sendmsg(int fd, const struct msghdr *message, int flags);
int wrap_sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags);
ssize_t wrap_recvfrom(int fd, void *buf, size_t n, int flags, struct sockaddr *address, socklen_t *length);
ssize_t wrap_recvmsg(int fd, struct msghdr *message, int flags);
int wrap_recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags, struct timespec *timeout);

/* ---- wrap_fs.c ---- */
int wrap_statfs(const char *path, struct statfs *buf);
int wrap_fstatfs(int fd, struct statfs *buf);
int wrap_inotify_add_watch(int fd, const char *path, uint32_t mask);
int wrap_fanotify_mark(int fd, unsigned flags, uint64_t mask, int dirfd, const char *path);
int wrap_name_to_handle_at(int dirfd, const char *path, struct file_handle *handle, int *mount_id, int flags);
int wrap_open_by_handle_at(int mount_fd, struct file_handle *handle, int flags);

/* ---- wrap_mount.c ---- */
int wrap_chroot(const char *path);
int wrap_pivot_root(const char *new_root, const char *put_old);
int wrap_mount(const char *source, const char *target, const char *type, unsigned long flags, const void *data);
int wrap_umount(const char *target);
int wrap_umount2(const char *target, int flags);
int wrap_open_tree(int dirfd, const char *path, unsigned flags);
int wrap_move_mount(int from_dirfd, const char *from, int to_dirfd, const char *to, unsigned flags);
int wrap_fspick(int dirfd, const char *path, unsigned flags);
int wrap_fsconfig(int fd, unsigned command, const char *key, const void *value, int aux);
int wrap_mount_setattr(int dirfd, const char *path, unsigned flags, struct mount_attr *attr, size_t size);
int wrap_acct(const char *path);
int wrap_swapon(const char *path, int flags);
int wrap_swapoff(const char *path);
int wrap_quotactl(int command, const char *special, int id, char *address);
int wrap_unshare(int flags);
int wrap_setns(int fd, int type);

/* ---- wrap_openat2.c ---- */
int wrap_openat2(int dirfd, const char *path, const void *how, size_t size);

#pragma GCC visibility pop

#endif
