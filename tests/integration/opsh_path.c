/* SPDX-License-Identifier: MIT
 *
 * opsh's operations on paths.
 */
#include "opsh.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

static void say_stat(int r, const struct stat *st)
{
    if (r != 0) {
        say_errno();
        return;
    }
    fputs("ok ", stdout);
    put_stat(st);
    putchar('\n');
}
static void do_stat(char **a)
{
    struct stat st;
    say_stat(stat(a[1], &st), &st);
}
static void do_lstat(char **a)
{
    struct stat st;
    say_stat(lstat(a[1], &st), &st);
}
static void do_fstatat(char **a)
{
    struct stat st;
    say_stat(fstatat(fd_of(a[1]), a[2], &st, a[3] ? number(a[3]) : 0), &st);
}

/* What a file takes of the disk. */
static void do_blocks(char **a)
{
    struct stat st;
    say_number(stat(a[1], &st) == 0 ? (S_ISDIR(st.st_mode) ? 0 : (long)st.st_blocks) : -1);
}

static void put_time(struct timespec t)
{
    if (t.tv_sec > 1700000000)
        fputs(" now", stdout);
    else
        printf(" %ld.%09ld", (long)t.tv_sec, t.tv_nsec);
}
static void do_statx(char **a)
{
    struct statx x;
    if (statx(fd_of(a[1]), a[2], a[3] ? number(a[3]) : 0, STATX_BASIC_STATS, &x) != 0) {
        say_errno();
        return;
    }
    printf("ok %c %04o %u:%u", type_letter(x.stx_mode), x.stx_mode & 07777u, x.stx_uid, x.stx_gid);
    if (!S_ISDIR(x.stx_mode))
        printf(" size=%llu", (unsigned long long)x.stx_size);
    put_time((struct timespec){x.stx_mtime.tv_sec, x.stx_mtime.tv_nsec});
    putchar('\n');
}
static void do_ident(char **a)
{
    struct stat st;
    say_number(stat(a[1], &st) == 0 ? identity(st.st_dev, st.st_ino) : -1);
}
static void do_lident(char **a)
{
    struct stat st;
    say_number(lstat(a[1], &st) == 0 ? identity(st.st_dev, st.st_ino) : -1);
}
static void do_xident(char **a)
{
    struct statx x;
    long r = statx(AT_FDCWD, a[1], AT_SYMLINK_NOFOLLOW, STATX_INO, &x);
    say_number(r == 0 ? identity(makedev(x.stx_dev_major, x.stx_dev_minor), x.stx_ino) : -1);
}
/* Only the device, as a class of its own. */
static void do_dev(char **a)
{
    struct stat st;
    say_number(lstat(a[1], &st) == 0 ? identity(st.st_dev, 0) : -1);
}
static void do_times(char **a)
{
    struct stat st;
    if (lstat(a[1], &st) != 0) {
        say_errno();
        return;
    }
    fputs("ok", stdout);
    put_time(st.st_atim);
    put_time(st.st_mtim);
    putchar('\n');
}

static void do_truncate(char **a)
{
    say(truncate(a[1], number(a[2])));
}
static void do_unlink(char **a)
{
    say(unlink(a[1]));
}
static void do_unlinkat(char **a)
{
    say(unlinkat(fd_of(a[1]), a[2], number(a[3])));
}
static void do_remove(char **a)
{
    say(remove(a[1]));
}
static void do_rmdir(char **a)
{
    say(rmdir(a[1]));
}
static void do_mkdir(char **a)
{
    say(mkdir(a[1], a[2] ? (mode_t)number(a[2]) : 0777));
}
static void do_mkdirat(char **a)
{
    say(mkdirat(fd_of(a[1]), a[2], (mode_t)number(a[3])));
}
static void do_rename(char **a)
{
    say(a[3] ? renameat2(AT_FDCWD, a[1], AT_FDCWD, a[2], (unsigned)number(a[3])) : rename(a[1], a[2]));
}
static void do_renameat(char **a)
{
    say(renameat(fd_of(a[1]), a[2], fd_of(a[3]), a[4]));
}
static void do_link(char **a)
{
    say(link(a[1], a[2]));
}
static void do_linkat(char **a)
{
    say(linkat(fd_of(a[1]), a[2], fd_of(a[3]), a[4], a[5] ? number(a[5]) : 0));
}
static void do_renameat2(char **a)
{
    say(renameat2(fd_of(a[1]), a[2], fd_of(a[3]), a[4], (unsigned)number(a[5])));
}
/* linkfd SLOT PATH: give a name to an unnamed file, as O_TMPFILE's manual says. */
static void do_linkfd(char **a)
{
    char proc[64];
    snprintf(proc, sizeof proc, "/proc/self/fd/%d", fd_of(a[1]));
    say(linkat(AT_FDCWD, proc, AT_FDCWD, a[2], AT_SYMLINK_FOLLOW));
}
static void do_symlink(char **a)
{
    say(symlink(a[1], a[2]));
}
static void do_symlinkat(char **a)
{
    say(symlinkat(a[1], fd_of(a[2]), a[3]));
}
static void do_readlink(char **a)
{
    char buf[PATH_MAX];
    say_bytes(buf, readlink(a[1], buf, sizeof buf));
}
static void do_readlinkat(char **a)
{
    char buf[PATH_MAX];
    say_bytes(buf, readlinkat(fd_of(a[1]), a[2], buf, sizeof buf));
}
/* The path that /proc has for a descriptor. */
static void do_fdpath(char **a)
{
    char proc[64], buf[PATH_MAX];
    snprintf(proc, sizeof proc, "/proc/self/fd/%d", fd_of(a[1]));
    say_bytes(buf, readlink(proc, buf, sizeof buf));
}

static void do_chmod(char **a)
{
    say(chmod(a[1], (mode_t)number(a[2])));
}
static void do_fchmodat(char **a)
{
    say(fchmodat(fd_of(a[1]), a[2], (mode_t)number(a[3]), 0));
}
/* The raw call: libc's function knows no AT_EMPTY_PATH. */
static void do_fchmodat2(char **a)
{
    enum { NR_FCHMODAT2 = 452 };
    say(syscall(NR_FCHMODAT2, fd_of(a[1]), a[2], (mode_t)number(a[3]), a[4] ? number(a[4]) : 0));
}
static void do_chown(char **a)
{
    say(chown(a[1], (uid_t)number(a[2]), (gid_t)number(a[3])));
}
static void do_lchown(char **a)
{
    say(lchown(a[1], (uid_t)number(a[2]), (gid_t)number(a[3])));
}
static void do_fchownat(char **a)
{
    say(fchownat(fd_of(a[1]), a[2], (uid_t)number(a[3]), (gid_t)number(a[4]), a[5] ? number(a[5]) : 0));
}
static void do_utimens(char **a)
{
    struct timespec t[2] = {time_of(a[2]), time_of(a[3])};
    say(utimensat(AT_FDCWD, a[1], t, a[4] ? number(a[4]) : 0));
}
static void do_utimensat(char **a)
{
    struct timespec t[2] = {time_of(a[3]), time_of(a[4])};
    say(utimensat(fd_of(a[1]), a[2], t, a[5] ? number(a[5]) : 0));
}
static void do_access(char **a)
{
    say(access(a[1], number(a[2])));
}
static void do_faccessat(char **a)
{
    say(faccessat(fd_of(a[1]), a[2], number(a[3]), a[4] ? number(a[4]) : 0));
}

static void do_setxattr(char **a)
{
    say(setxattr(a[1], a[2], a[3], value_of(a[3]), a[4] ? number(a[4]) : 0));
}
static void do_lsetxattr(char **a)
{
    say(lsetxattr(a[1], a[2], a[3], value_of(a[3]), 0));
}
static void do_getxattr(char **a)
{
    char buf[1024];
    say_bytes(buf, getxattr(a[1], a[2], buf, sizeof buf));
}
static void do_removexattr(char **a)
{
    say(removexattr(a[1], a[2]));
}
static void do_lgetxattr(char **a)
{
    char buf[1024];
    say_bytes(buf, lgetxattr(a[1], a[2], buf, sizeof buf));
}
static void do_lremovexattr(char **a)
{
    say(lremovexattr(a[1], a[2]));
}
static void do_listxattr(char **a)
{
    char buf[4096];
    say_names(buf, listxattr(a[1], buf, sizeof buf));
}
static void do_llistxattr(char **a)
{
    char buf[4096];
    say_names(buf, llistxattr(a[1], buf, sizeof buf));
}

static void do_chdir(char **a)
{
    say(chdir(a[1]));
}
static void do_fchdir(char **a)
{
    say(fchdir(fd_of(a[1])));
}
static void do_getcwd(char **a)
{
    (void)a;
    char buf[2 * PATH_MAX];
    say_string(getcwd(buf, sizeof buf));
}
static void do_realpath(char **a)
{
    char *s = realpath(a[1], NULL);
    say_string(s);
    free(s);
}
static void do_mkfifo(char **a)
{
    say(mkfifo(a[1], (mode_t)number(a[2])));
}
static void do_mknod(char **a)
{
    dev_t dev = a[3] ? makedev((unsigned)number(a[3]), (unsigned)number(a[4])) : 0;
    say(mknod(a[1], (mode_t)number(a[2]), dev));
}
static void do_mkfifoat(char **a)
{
    say(mkfifoat(fd_of(a[1]), a[2], (mode_t)number(a[3])));
}
static void do_mknodat(char **a)
{
    dev_t dev = a[4] ? makedev((unsigned)number(a[4]), (unsigned)number(a[5])) : 0;
    say(mknodat(fd_of(a[1]), a[2], (mode_t)number(a[3]), dev));
}
static void do_umask(char **a)
{
    umask((mode_t)number(a[1]));
    say(0);
}
static void do_statfs(char **a)
{
    struct statfs f;
    say(statfs(a[1], &f));
}
/* Whether the file system says that it is read-only. */
static void do_statvfs(char **a)
{
    struct statvfs f;
    say_number(statvfs(a[1], &f) == 0 ? (f.f_flag & ST_RDONLY) != 0 : -1);
}
static void do_pathconf(char **a)
{
    say_number(pathconf(a[1], _PC_NAME_MAX));
}
/* Make a template's last six bytes a name: the answer is the name's length, the file is kept. */
static void do_mkstemp(char **a)
{
    int fd = mkstemp(a[2]);
    size_t n = strlen(a[2]);
    if (fd >= 0)
        memcpy(a[2] + n - 6, "??????", 6);
    keep(a[1], fd);
}
static void do_mkdtemp(char **a)
{
    char *s = mkdtemp(a[1]);
    if (s)
        memcpy(s + strlen(s) - 6, "??????", 6);
    say_string(s);
}

const struct op path_ops[] = {
    {"stat", 1, do_stat},
    {"lstat", 1, do_lstat},
    {"fstatat", 2, do_fstatat},
    {"statx", 2, do_statx},
    {"blocks", 1, do_blocks},
    {"ident", 1, do_ident},
    {"lident", 1, do_lident},
    {"xident", 1, do_xident},
    {"dev", 1, do_dev},
    {"times", 1, do_times},
    {"truncate", 2, do_truncate},
    {"unlink", 1, do_unlink},
    {"unlinkat", 3, do_unlinkat},
    {"remove", 1, do_remove},
    {"rmdir", 1, do_rmdir},
    {"mkdir", 1, do_mkdir},
    {"mkdirat", 3, do_mkdirat},
    {"rename", 2, do_rename},
    {"renameat", 4, do_renameat},
    {"link", 2, do_link},
    {"linkat", 4, do_linkat},
    {"linkfd", 2, do_linkfd},
    {"renameat2", 5, do_renameat2},
    {"symlink", 2, do_symlink},
    {"symlinkat", 3, do_symlinkat},
    {"readlink", 1, do_readlink},
    {"readlinkat", 2, do_readlinkat},
    {"fdpath", 1, do_fdpath},
    {"chmod", 2, do_chmod},
    {"fchmodat", 3, do_fchmodat},
    {"fchmodat2", 3, do_fchmodat2},
    {"chown", 3, do_chown},
    {"lchown", 3, do_lchown},
    {"fchownat", 4, do_fchownat},
    {"utimens", 3, do_utimens},
    {"utimensat", 4, do_utimensat},
    {"access", 2, do_access},
    {"faccessat", 3, do_faccessat},
    {"setxattr", 3, do_setxattr},
    {"lsetxattr", 3, do_lsetxattr},
    {"getxattr", 2, do_getxattr},
    {"removexattr", 2, do_removexattr},
    {"listxattr", 1, do_listxattr},
    {"llistxattr", 1, do_llistxattr},
    {"lgetxattr", 2, do_lgetxattr},
    {"lremovexattr", 2, do_lremovexattr},
    {"chdir", 1, do_chdir},
    {"fchdir", 1, do_fchdir},
    {"getcwd", 0, do_getcwd},
    {"realpath", 1, do_realpath},
    {"mkfifo", 2, do_mkfifo},
    {"mknod", 2, do_mknod},
    {"mkfifoat", 3, do_mkfifoat},
    {"mknodat", 3, do_mknodat},
    {"umask", 1, do_umask},
    {"statfs", 1, do_statfs},
    {"statvfs", 1, do_statvfs},
    {"pathconf", 1, do_pathconf},
    {"mkstemp", 2, do_mkstemp},
    {"mkdtemp", 1, do_mkdtemp},
    {NULL, 0, NULL},
};
