/* SPDX-License-Identifier: MIT
 *
 * Making names: over nothing, over whiteouts of both written forms, with the rules of the merged parent (C-3.7,
 * C-3.13).
 */
#define _GNU_SOURCE
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void every_kind_is_made(void **state)
{
    struct fixture *f = *state;
    struct stat st;
    char target[16] = "";
    make_file(f, "lower1/d/x", 0644, "");
    fixture_open(f, "");
    assert_int_equal(op_write(f, "/d/file", O_WRONLY | O_CREAT, 0666, "text"), 0);
    assert_int_equal(op_mkdir(f, "/d/dir", 0777), 0);
    assert_int_equal(op_mknod(f, "/d/fifo", S_IFIFO | 0666, 0), 0);
    assert_int_equal(op_symlink(f, "target", "/d/link"), 0);
    assert_int_equal(op_link(f, "/d/file", "/d/hard"), 0);
    assert_string_equal(names(f, "/d"), "dir fifo file hard link x ");
    assert_int_equal(stat_of(f, "upper/d/file").st_mode, S_IFREG | 0644);
    assert_int_equal(stat_of(f, "upper/d/dir").st_mode, S_IFDIR | 0755);
    assert_int_equal(stat_of(f, "upper/d/fifo").st_mode, S_IFIFO | 0644);
    assert_int_equal(readlink(real(f, "upper/d/link"), target, sizeof target), 6);
    assert_int_equal(op_stat(f, "/d/hard", &st), 0);
    assert_int_equal(st.st_nlink, 2);
    assert_string_equal(merged_text(f, "/d/hard"), "text");
    assert_int_equal(leftovers(f), 0);
}

static void what_is_there_is_not_made_again(void **state)
{
    struct fixture *f = *state;
    make_file(f, "lower1/file", 0644, "x");
    make_dir(f, "lower1/dir", 0755);
    make_link(f, "lower1/dangling", "nowhere");
    fixture_open(f, "");
    for (const char *const *p = (const char *const[]){"/file", "/dir", "/dangling", NULL}; *p; p++) {
        assert_int_equal(op_mkdir(f, *p, 0755), -EEXIST);
        assert_int_equal(op_symlink(f, "t", *p), -EEXIST);
        assert_int_equal(op_mknod(f, *p, S_IFREG | 0644, 0), -EEXIST);
        assert_int_equal(op_link(f, "/file", *p), -EEXIST);
        assert_int_equal(op_open(f, *p, O_WRONLY | O_CREAT | O_EXCL, 0644), -EEXIST);
    }
    assert_int_equal(op_mkdir(f, "/dir/.", 0755), -EEXIST);
    assert_int_equal(op_mkdir(f, "/dir/..", 0755), -EEXIST);
    assert_int_equal(op_mkdir(f, "", 0755), -EEXIST);
    assert_int_equal(op_mkdir(f, "/none/x", 0755), -ENOENT);
    assert_int_equal(op_mkdir(f, "/file/x", 0755), -ENOTDIR);
    assert_int_equal(op_link(f, "/dir", "/hard"), -EPERM);
    assert_int_equal(op_link(f, "/none", "/hard"), -ENOENT);
    assert_int_equal(op_symlink(f, "", "/new"), -ENOENT);
    assert_int_equal(op_mknod(f, "/new", S_IFCHR | 0600, 0), -EPERM);
    assert_string_equal(names(f, ""), "dangling dir file ");
    assert_int_equal(op_write(f, "/dangling", O_WRONLY | O_CREAT, 0644, "through"), 0);
    assert_string_equal(merged_text(f, "/nowhere"), "through");
}

static void trailing_slashes(void **state)
{
    struct fixture *f = *state;
    fixture_open(f, "");
    assert_int_equal(op_mkdir(f, "/dir/", 0755), 0);
    assert_int_equal(op_open(f, "/file/", O_WRONLY | O_CREAT, 0644), -EISDIR);
    assert_int_equal(op_symlink(f, "t", "/link/"), -ENOENT);
    assert_string_equal(names(f, ""), "dir ");
}

static void check_over_whiteouts(struct fixture *f, const char *options)
{
    make_file(f, "lower1/d/below", 0644, "below");
    make_file(f, "lower1/d/sub/below", 0644, "below");
    make_file(f, "lower1/file", 0644, "lower");
    make_file(f, "lower1/link", 0644, "lower");
    make_file(f, "lower1/hard", 0644, "lower");
    fixture_open(f, options);
    assert_int_equal(op_unlink(f, "/file"), 0);
    assert_int_equal(op_unlink(f, "/link"), 0);
    assert_int_equal(op_unlink(f, "/hard"), 0);
    assert_int_equal(op_unlink(f, "/d/sub/below"), 0);
    assert_int_equal(op_rmdir(f, "/d/sub"), 0);
    assert_int_equal(op_unlink(f, "/d/below"), 0);
    assert_int_equal(op_rmdir(f, "/d"), 0);
    assert_string_equal(names(f, ""), "");
    assert_int_equal(op_write(f, "/file", O_WRONLY | O_CREAT | O_EXCL, 0600, "new"), 0);
    assert_int_equal(op_symlink(f, "file", "/link"), 0);
    assert_int_equal(op_link(f, "/file", "/hard"), 0);
    assert_int_equal(op_mkdir(f, "/d", 0700), 0);
    assert_string_equal(names(f, ""), "d file hard link ");
    assert_string_equal(names(f, "/d"), "");
    assert_string_equal(merged_text(f, "/file"), "new");
    assert_string_equal(merged_text(f, "/link"), "new");
    assert_string_equal(merged_text(f, "/hard"), "new");
    assert_false(find(f, "/d/below")->exists);
    assert_int_equal(op_mkdir(f, "/d/sub", 0755), 0);
    assert_string_equal(names(f, "/d/sub"), "");
    assert_int_equal(stat_of(f, "upper/d").st_mode, S_IFDIR | 0700);
    assert_int_equal(leftovers(f), 0);
}

static void over_oci_whiteouts(void **state)
{
    struct fixture *f = *state;
    check_over_whiteouts(f, "");
    assert_true(is_there(f, "upper/d/.wh..wh..opq"));
    assert_false(is_there(f, "upper/.wh.d"));
    assert_false(is_there(f, "upper/.wh.file"));
    assert_false(is_there(f, "upper/.wh.link"));
}

static void over_kernel_whiteouts(void **state)
{
    check_over_whiteouts(*state, ",whiteout=kernel");
}

static void over_the_whiteout_of_a_long_name(void **state)
{
    struct fixture *f = *state;
    char name[257], lower[300];
    memset(name, 'n', sizeof name);
    name[0] = '/';
    name[256] = '\0';
    snprintf(lower, sizeof lower, "lower1%s", name);
    make_file(f, lower, 0644, "lower");
    fixture_open(f, "");
    assert_int_equal(op_unlink(f, name), 0);
    assert_false(find(f, name)->exists);
    assert_string_equal(names(f, ""), "");
    assert_int_equal(op_mkdir(f, name, 0755), 0);
    assert_string_equal(names(f, name), "");
    assert_int_equal(op_rmdir(f, name), 0);
    assert_false(find(f, name)->exists);
    assert_int_equal(op_write(f, name, O_WRONLY | O_CREAT | O_EXCL, 0644, "new"), 0);
    assert_string_equal(merged_text(f, name), "new");
    assert_int_equal(op_unlink(f, name), 0);
    assert_false(find(f, name)->exists);
    assert_int_equal(leftovers(f), 0);
}

/* Making and removing again leaves what there was. */
static void no_residue(void **state)
{
    struct fixture *f = *state;
    make_file(f, "lower1/d/x", 0644, "x");
    make_dir(f, "upper/d", 0755);
    fixture_open(f, "");
    assert_int_equal(op_mkdir(f, "/d/new", 0755), 0);
    assert_int_equal(op_rmdir(f, "/d/new"), 0);
    assert_int_equal(op_write(f, "/d/new", O_WRONLY | O_CREAT, 0644, ""), 0);
    assert_int_equal(op_unlink(f, "/d/new"), 0);
    assert_int_equal(rmdir(real(f, "upper/d")), 0);
}

static void the_set_group_bit_is_inherited(void **state)
{
    struct fixture *f = *state;
    make_dir(f, "lower1/shared", 0755);
    if (geteuid() == 0)
        assert_int_equal(chown(real(f, "lower1/shared"), 0, 2345), 0);
    assert_int_equal(chmod(real(f, "lower1/shared"), 02775), 0);
    gid_t group = stat_of(f, "lower1/shared").st_gid;
    fixture_open(f, "");
    assert_int_equal(op_write(f, "/shared/file", O_WRONLY | O_CREAT, 0664, ""), 0);
    assert_int_equal(op_mkdir(f, "/shared/dir", 0775), 0);
    assert_int_equal(stat_of(f, "upper/shared/file").st_gid, group);
    assert_int_equal(stat_of(f, "upper/shared/dir").st_gid, group);
    assert_true(stat_of(f, "upper/shared/dir").st_mode & S_ISGID);
}

static void a_file_without_a_name(void **state)
{
    struct fixture *f = *state;
    make_dir(f, "lower1/d", 0755);
    fixture_open(f, "");
    int fd = op_open(f, "/d", O_TMPFILE | O_RDWR, 0644);
    if (fd == -EOPNOTSUPP)
        skip_because("the file system has no O_TMPFILE");
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "text", 4), 4);
    assert_string_equal(names(f, "/d"), "");
    assert_int_equal(ovl_link_fd(&f->ctx, fd, find(f, "/d/named")), 0);
    close(fd);
    assert_string_equal(merged_text(f, "/d/named"), "text");
    assert_int_equal(op_open(f, "/none", O_TMPFILE | O_RDWR, 0644), -ENOENT);
    assert_int_equal(op_open(f, "/d/named", O_TMPFILE | O_RDWR, 0644), -ENOTDIR);
}

static int make_fifo(void *arg, const char *path)
{
    return mkfifo(path, *(mode_t *)arg) == 0 ? 0 : -errno;
}

static void made_by_somebody_else(void **state)
{
    struct fixture *f = *state;
    mode_t mode = 0600;
    make_file(f, "lower1/name", 0644, "");
    fixture_open(f, "");
    assert_int_equal(ovl_make_with(&f->ctx, find(f, "/name"), make_fifo, &mode), -EEXIST);
    assert_int_equal(op_unlink(f, "/name"), 0);
    assert_int_equal(ovl_make_with(&f->ctx, find(f, "/name"), make_fifo, &mode), 0);
    assert_int_equal(stat_of(f, "upper/name").st_mode, S_IFIFO | 0600);
    assert_string_equal(names(f, ""), "name ");
}

/* What a killed thread of the same number left beside a whiteout is in nobody's way (C-3.4, C-3.7). */
static void where_a_killed_one_was_making(void **state)
{
    struct fixture *f = *state;
    char left[64];
    make_file(f, "lower1/d/file", 0644, "");
    make_file(f, "lower1/d/dir/x", 0644, "");
    make_dir(f, "upper/d", 0755);
    fixture_open(f, ",whiteout=kernel");
    assert_int_equal(op_unlink(f, "/d/file"), 0);
    assert_int_equal(op_unlink(f, "/d/dir/x"), 0);
    assert_int_equal(op_rmdir(f, "/d/dir"), 0);
    snprintf(left, sizeof left, "upper/d/.wh..wh.new-%d", (int)ovl_sys_gettid());
    make_dir(f, left, 0755);
    int fd = op_open(f, "/d/file", O_WRONLY | O_CREAT | O_EXCL, 0644);
    assert_true(fd >= 0);
    close(fd);
    make_file(f, left, 0600, "half");
    assert_int_equal(op_mkdir(f, "/d/dir", 0755), 0);
    assert_string_equal(names(f, "/d"), "dir file ");
    assert_false(is_there(f, left));
    assert_int_equal(leftovers(f), 0);
    /* A directory that is left does not keep its parent from going. */
    make_dir(f, "upper/d/.wh..wh.new-1", 0755);
    assert_int_equal(op_rmdir(f, "/d/dir"), 0);
    assert_int_equal(op_unlink(f, "/d/file"), 0);
    assert_int_equal(op_rmdir(f, "/d"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(every_kind_is_made),
        FIXTURE_TEST(what_is_there_is_not_made_again),
        FIXTURE_TEST(trailing_slashes),
        FIXTURE_TEST(over_oci_whiteouts),
        FIXTURE_TEST(over_kernel_whiteouts),
        FIXTURE_TEST(over_the_whiteout_of_a_long_name),
        FIXTURE_TEST(where_a_killed_one_was_making),
        FIXTURE_TEST(no_residue),
        FIXTURE_TEST(the_set_group_bit_is_inherited),
        FIXTURE_TEST(a_file_without_a_name),
        FIXTURE_TEST(made_by_somebody_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
