/* SPDX-License-Identifier: MIT
 *
 * Copy-up keeps what can be kept, copies no more than is wanted, and leaves the lower as it is (C-3.1 to C-3.4).
 */
#define _GNU_SOURCE
#include "fault_sys.h"
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

static void assert_same_metadata(const struct stat *a, const struct stat *b)
{
    assert_int_equal(a->st_mode, b->st_mode);
    assert_int_equal(a->st_uid, b->st_uid);
    assert_int_equal(a->st_gid, b->st_gid);
    assert_int_equal(a->st_rdev, b->st_rdev);
    assert_int_equal(a->st_mtim.tv_sec, b->st_mtim.tv_sec);
    assert_int_equal(a->st_mtim.tv_nsec, b->st_mtim.tv_nsec);
}

static void check_copied(struct fixture *f, const char *path)
{
    char lower[256], upper[256];
    snprintf(lower, sizeof lower, "lower1%s", path);
    snprintf(upper, sizeof upper, "upper%s", path);
    struct stat a = stat_of(f, lower);
    assert_int_equal(op_copy_up(f, path, OVL_COPY_ALL), 0);
    struct stat b = stat_of(f, upper);
    assert_same_metadata(&a, &b);
    if (!S_ISDIR(a.st_mode))
        assert_int_equal(a.st_size, b.st_size);
}

static void metadata_is_kept(void **state)
{
    struct fixture *f = *state;
    make_file(f, "lower1/file", 04751, "content");
    make_link(f, "lower1/link", "some/where");
    make_node(f, "lower1/fifo", S_IFIFO | 0620, 0);
    make_dir(f, "lower1/dir", 02775);
    if (geteuid() == 0) {
        assert_int_equal(lchown(real(f, "lower1/file"), 1234, 2345), 0);
        assert_int_equal(chmod(real(f, "lower1/file"), 04751), 0);
        assert_int_equal(lchown(real(f, "lower1/link"), 1234, 2345), 0);
        make_node(f, "lower1/device", S_IFCHR | 0666, makedev(1, 3));
    }
    for (const char *const *p = (const char *const[]){"file", "link", "fifo", "dir", NULL}; *p; p++) {
        char path[64];
        snprintf(path, sizeof path, "lower1/%s", *p);
        set_times(f, path, 1234567890, 123456789);
    }
    fixture_open(f, "");
    check_copied(f, "/file");
    check_copied(f, "/link");
    check_copied(f, "/fifo");
    check_copied(f, "/dir");
    if (geteuid() == 0)
        check_copied(f, "/device");
    assert_string_equal(text_of(f, "upper/file"), "content");
    char target[64] = "";
    assert_int_equal(readlink(real(f, "upper/link"), target, sizeof target), 10);
    assert_string_equal(target, "some/where");
    assert_int_equal(leftovers(f), 0);
}

static void attributes_are_kept_but_not_the_overlays_own(void **state)
{
    struct fixture *f = *state;
    char value[64];
    make_file(f, "lower1/d/file", 0644, "x");
    set_xattr(f, "lower1/d/file", "user.one", "1");
    set_xattr(f, "lower1/d/file", "user.two", "");
    set_xattr(f, "lower1/d", "user.dir", "d");
    set_xattr(f, "lower1/d", "user.overlay.opaque", "y");
    fixture_open(f, "");
    assert_int_equal(op_copy_up(f, "/d/file", OVL_COPY_ALL), 0);
    assert_int_equal(lgetxattr(real(f, "upper/d/file"), "user.one", value, sizeof value), 1);
    assert_int_equal(lgetxattr(real(f, "upper/d/file"), "user.two", value, sizeof value), 0);
    assert_int_equal(lgetxattr(real(f, "upper/d"), "user.dir", value, sizeof value), 1);
    assert_int_equal(lgetxattr(real(f, "upper/d"), "user.overlay.opaque", value, sizeof value), -1);
}

/* user::rw-, user:1234:r--, group::r--, mask::r--, other::--- in the kernel's form (acl(5), posix_acl_xattr.h) */
static const unsigned char acl[] = {2, 0,    0,    0,   1,   0,   6,  0, 255, 255, 255, 255, 2,   0,  4,
                                    0, 0xd2, 0x04, 0,   0,   4,   0,  4, 0,   255, 255, 255, 255, 16, 0,
                                    4, 0,    255,  255, 255, 255, 32, 0, 0,   0,   255, 255, 255, 255};

static void acls_are_kept(void **state)
{
    struct fixture *f = *state;
    char value[64];
    make_file(f, "lower1/file", 0640, "x");
    if (lsetxattr(real(f, "lower1/file"), "system.posix_acl_access", acl, sizeof acl, 0) != 0)
        skip_because("the file system has no ACLs");
    fixture_open(f, "");
    assert_int_equal(op_copy_up(f, "/file", OVL_COPY_ALL), 0);
    assert_int_equal(lgetxattr(real(f, "upper/file"), "system.posix_acl_access", value, sizeof value), sizeof acl);
    assert_memory_equal(value, acl, sizeof acl);
}

static void holes_are_kept(void **state)
{
    struct fixture *f = *state;
    enum { SIZE = 8 << 20 };
    make_file(f, "lower1/sparse", 0644, "begin");
    int fd = open(real(f, "lower1/sparse"), O_WRONLY | O_CLOEXEC);
    assert_int_equal(pwrite(fd, "middle", 6, SIZE / 2), 6);
    assert_int_equal(ftruncate(fd, SIZE), 0);
    close(fd);
    fixture_open(f, "");
    struct stat a = stat_of(f, "lower1/sparse");
    assert_int_equal(op_copy_up(f, "/sparse", OVL_COPY_ALL), 0);
    struct stat b = stat_of(f, "upper/sparse");
    assert_int_equal(b.st_size, SIZE);
    assert_true(b.st_blocks <= a.st_blocks + 16);
    char got[6];
    fd = open(real(f, "upper/sparse"), O_RDONLY | O_CLOEXEC);
    assert_int_equal(pread(fd, got, 6, SIZE / 2), 6);
    assert_memory_equal(got, "middle", 6);
    assert_int_equal(pread(fd, got, 6, SIZE - 6), 6);
    assert_memory_equal(got, "\0\0\0\0\0\0", 6);
    close(fd);
}

static void large_content(void **state)
{
    struct fixture *f = *state;
    enum { SIZE = 3 << 20 };
    char *data = malloc(SIZE), *copy = malloc(SIZE);
    assert_true(data && copy);
    for (size_t i = 0; i < SIZE; i++)
        data[i] = (char)(i * 2654435761u >> 13);
    make_file(f, "lower1/large", 0644, "");
    int fd = open(real(f, "lower1/large"), O_WRONLY | O_CLOEXEC);
    assert_int_equal(write(fd, data, SIZE), SIZE);
    close(fd);
    fixture_open(f, "");
    assert_int_equal(op_copy_up(f, "/large", OVL_COPY_ALL), 0);
    fd = open(real(f, "upper/large"), O_RDONLY | O_CLOEXEC);
    assert_int_equal(read(fd, copy, SIZE), SIZE);
    assert_memory_equal(copy, data, SIZE);
    close(fd);
    free(data);
    free(copy);
}

static void parents_are_made_and_keep_their_times(void **state)
{
    struct fixture *f = *state;
    make_file(f, "lower1/a/b/file", 0644, "x");
    make_file(f, "lower2/a/b/other", 0644, "x");
    assert_int_equal(chmod(real(f, "lower1/a"), 0711), 0);
    assert_int_equal(chmod(real(f, "lower1/a/b"), 01777), 0);
    set_times(f, "lower1/a/b", 1000000001, 111);
    set_times(f, "lower1/a", 1000000002, 222);
    set_times(f, "upper", 1000000003, 333);
    fixture_open(f, "");
    assert_int_equal(op_write(f, "/a/b/file", O_WRONLY, 0, "y"), 0);
    assert_int_equal(stat_of(f, "upper/a").st_mode, S_IFDIR | 0711);
    assert_int_equal(stat_of(f, "upper/a/b").st_mode, S_IFDIR | 01777);
    assert_int_equal(stat_of(f, "upper/a/b").st_mtim.tv_sec, 1000000001);
    assert_int_equal(stat_of(f, "upper/a/b").st_mtim.tv_nsec, 111);
    assert_int_equal(stat_of(f, "upper/a").st_mtim.tv_sec, 1000000002);
    assert_int_equal(stat_of(f, "upper").st_mtim.tv_sec, 1000000003);
}

static void a_read_only_parent_takes_copies(void **state)
{
    struct fixture *f = *state;
    make_file(f, "lower1/a/b/file", 0644, "x");
    assert_int_equal(chmod(real(f, "lower1/a/b"), 0555), 0);
    assert_int_equal(chmod(real(f, "lower1/a"), 0555), 0);
    fixture_open(f, "");
    assert_int_equal(op_write(f, "/a/b/file", O_WRONLY | O_TRUNC, 0, "y"), 0);
    assert_int_equal(stat_of(f, "upper/a").st_mode, S_IFDIR | 0555);
    assert_int_equal(stat_of(f, "upper/a/b").st_mode, S_IFDIR | 0555);
    assert_string_equal(text_of(f, "upper/a/b/file"), "y");
}

static void truncation_copies_nothing(void **state)
{
    struct fixture *f = *state;
    make_file(f, "lower1/file", 0640, "content");
    set_xattr(f, "lower1/file", "user.kept", "yes");
    set_times(f, "lower1/file", 1000000000, 0);
    fixture_open(f, "");
    int fd = op_open(f, "/file", O_WRONLY | O_TRUNC, 0);
    assert_true(fd >= 0);
    struct stat st = stat_of(f, "upper/file");
    assert_int_equal(st.st_size, 0);
    assert_int_equal(st.st_mode, S_IFREG | 0640);
    assert_true(st.st_mtim.tv_sec > 1000000000);
    assert_int_equal(write(fd, "abc", 3), 3);
    close(fd);
    assert_string_equal(text_of(f, "upper/file"), "abc");
    char value[8];
    assert_int_equal(lgetxattr(real(f, "upper/file"), "user.kept", value, sizeof value), 3);
}

static void reading_copies_nothing(void **state)
{
    struct fixture *f = *state;
    make_file(f, "lower1/d/file", 0644, "x");
    fixture_open(f, "");
    char *before = tree(f, "upper");
    int fd = op_open(f, "/d/file", O_RDONLY, 0);
    assert_true(fd >= 0);
    close(fd);
    fd = op_open(f, "/d/file", O_PATH, 0);
    assert_true(fd >= 0);
    close(fd);
    struct stat st;
    assert_int_equal(op_stat(f, "/d/file", &st), 0);
    assert_int_equal(op_access(f, "/d/file", W_OK), 0);
    free(view(f));
    char *after = tree(f, "upper");
    assert_string_equal(before, after);
    free(before);
    free(after);
}

static void opening_for_writing(void **state)
{
    struct fixture *f = *state;
    make_file(f, "lower1/file", 0644, "lower");
    make_link(f, "lower1/link", "file");
    make_dir(f, "lower1/dir", 0755);
    fixture_open(f, "");
    assert_int_equal(op_open(f, "/file", O_WRONLY | O_CREAT | O_EXCL, 0644), -EEXIST);
    assert_int_equal(op_open(f, "/dir", O_WRONLY, 0), -EISDIR);
    assert_int_equal(op_open(f, "/dir", O_RDONLY | O_TRUNC, 0), -EISDIR);
    assert_int_equal(op_open(f, "/dir", O_RDONLY | O_CREAT, 0644), -EISDIR);
    assert_int_equal(op_open(f, "/file", O_WRONLY | O_DIRECTORY, 0), -ENOTDIR);
    assert_int_equal(op_open(f, "/link", O_WRONLY | O_NOFOLLOW, 0), -ELOOP);
    assert_int_equal(op_open(f, "/none", O_WRONLY, 0), -ENOENT);
    assert_false(is_there(f, "upper/file"));
    assert_int_equal(op_write(f, "/link", O_WRONLY | O_APPEND, 0, " more"), 0);
    assert_string_equal(merged_text(f, "/file"), "lower more");
    assert_false(is_there(f, "upper/link"));
    assert_int_equal(op_write(f, "/file", O_RDWR, 0, "LOWER"), 0);
    assert_string_equal(merged_text(f, "/file"), "LOWER more");
}

static void without_an_upper_everything_is_erofs(void **state)
{
    struct fixture *f = *state;
    make_file(f, "lower1/file", 0644, "x");
    make_dir(f, "lower1/dir", 0755);
    fixture_open_read_only(f);
    assert_true(ovl_is_read_only(f->ovl));
    assert_int_equal(op_open(f, "/file", O_WRONLY, 0), -EROFS);
    assert_int_equal(op_open(f, "/file", O_RDONLY | O_TRUNC, 0), -EROFS);
    assert_int_equal(op_open(f, "/new", O_WRONLY | O_CREAT, 0644), -EROFS);
    assert_int_equal(op_open(f, "/file", O_RDONLY | O_CREAT | O_EXCL, 0644), -EEXIST);
    assert_int_equal(op_mkdir(f, "/new", 0755), -EROFS);
    assert_int_equal(op_mkdir(f, "/dir", 0755), -EEXIST);
    assert_int_equal(op_symlink(f, "x", "/new"), -EROFS);
    assert_int_equal(op_link(f, "/file", "/new"), -EROFS);
    assert_int_equal(op_unlink(f, "/file"), -EROFS);
    assert_int_equal(op_rmdir(f, "/dir"), -EROFS);
    assert_int_equal(op_rename(f, "/file", "/new", 0), -EROFS);
    assert_int_equal(op_copy_up(f, "/file", OVL_COPY_ALL), -EROFS);
    assert_int_equal(op_access(f, "/file", W_OK), -EROFS);
    assert_int_equal(op_access(f, "/file", R_OK), 0);
}

/* C-4.6: a limit on the size of files refuses what it must and kills nobody. */
static void the_file_size_limit_sends_no_signal(void **state)
{
    struct fixture *f = *state;
    make_file(f, "lower1/big", 0644, "longer than the limit");
    make_file(f, "lower1/small", 0644, "1");
    fixture_open(f, "");
    ovl_space_clean(&f->ctx);
    pid_t child = fork();
    if (child == 0) {
        const struct rlimit limit = {4, 4};
        signal(SIGXFSZ, SIG_DFL);
        if (setrlimit(RLIMIT_FSIZE, &limit) != 0)
            _exit(2);
        bool right = op_open(f, "/big", O_WRONLY | O_APPEND, 0) == -EFBIG &&
                     op_open(f, "/small", O_WRONLY | O_APPEND, 0) >= 0 &&
                     op_open(f, "/big", O_WRONLY | O_TRUNC, 0) >= 0;
        _exit(!right);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(leftovers(f), 0);
    assert_string_equal(text_of(f, "upper/small"), "1");
    assert_string_equal(text_of(f, "upper/big"), "");
}

/* Another process, and the file that it changes too. */
struct other {
    struct fixture *f;
    const char *path;
    pid_t pid;
};

/* It is done before this returns, unless it has to wait for a lock of ours. */
static void append_too(void *arg)
{
    struct other *other = arg;
    other->pid = fork();
    if (other->pid == 0)
        _exit(op_write(other->f, other->path, O_WRONLY | O_APPEND, 0, "first ") != 0);
    siginfo_t end = {0};
    for (int i = 0; i < 20 && end.si_pid == 0; i++) {
        usleep(1000);
        waitid(P_PID, (id_t)other->pid, &end, WEXITED | WNOHANG | WNOWAIT);
    }
}

/* Before whatever call of a copy-up somebody else makes one of the same file: nothing that either writes is lost. */
static void the_faster_copy_counts(void **state)
{
    enum { FILES = 100 };
    struct fixture *f = *state;
    char path[16];
    for (int i = 1; i < FILES; i++) {
        snprintf(path, sizeof path, "lower1/%d", i);
        make_file(f, path, 0644, "lower ");
    }
    fixture_open(f, "");
    for (unsigned n = 1;; n++) {
        struct other other = {f, path, 0};
        int status;
        assert_true(n < FILES);
        snprintf(path, sizeof path, "/%u", n);
        fault_run_before(n, 0, append_too, &other);
        int r = op_write(f, path, O_WRONLY | O_APPEND, 0, "second ");
        fault_disarm();
        assert_int_equal(r, 0);
        if (fault_hit() < 0)
            break;
        assert_int_equal(waitpid(other.pid, &status, 0), other.pid);
        assert_int_equal(status, 0);
        const char *text = merged_text(f, path);
        assert_true(strcmp(text, "lower first second ") == 0 || strcmp(text, "lower second first ") == 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(metadata_is_kept),
        FIXTURE_TEST(attributes_are_kept_but_not_the_overlays_own),
        FIXTURE_TEST(acls_are_kept),
        FIXTURE_TEST(holes_are_kept),
        FIXTURE_TEST(large_content),
        FIXTURE_TEST(parents_are_made_and_keep_their_times),
        FIXTURE_TEST(a_read_only_parent_takes_copies),
        FIXTURE_TEST(truncation_copies_nothing),
        FIXTURE_TEST(reading_copies_nothing),
        FIXTURE_TEST(opening_for_writing),
        FIXTURE_TEST(without_an_upper_everything_is_erofs),
        FIXTURE_TEST(the_file_size_limit_sends_no_signal),
        FIXTURE_TEST(the_faster_copy_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
