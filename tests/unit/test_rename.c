/* SPDX-License-Identifier: MIT
 *
 * renameat2(2): what moves, what is hidden behind it, what is refused (C-3.6, C-3.10, C-3.13).
 */
#define _GNU_SOURCE
#include "fixture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define NOREPLACE 1u
#define EXCHANGE 2u

static void check_files(struct fixture *f, const char *options)
{
    make_file(f, "lower1/a", 0640, "a");
    make_file(f, "lower1/b", 0644, "b");
    make_file(f, "lower2/d/c", 0644, "c");
    make_file(f, "upper/u", 0644, "u");
    make_link(f, "lower1/link", "a");
    fixture_open(f, options);
    assert_int_equal(op_rename(f, "/a", "/d/new", 0), 0);
    assert_false(find(f, "/a")->exists);
    assert_string_equal(merged_text(f, "/d/new"), "a");
    assert_int_equal(stat_of(f, "upper/d/new").st_mode, S_IFREG | 0640);
    assert_int_equal(op_rename(f, "/d/new", "/b", 0), 0);
    assert_string_equal(merged_text(f, "/b"), "a");
    assert_int_equal(op_rename(f, "/u", "/d/c", 0), 0);
    assert_string_equal(merged_text(f, "/d/c"), "u");
    assert_int_equal(op_rename(f, "/b", "/a", 0), 0);
    assert_string_equal(merged_text(f, "/a"), "a");
    assert_int_equal(op_rename(f, "/link", "/moved", 0), 0);
    assert_string_equal(merged_text(f, "/moved"), "a");
    assert_string_equal(names(f, ""), "a d moved ");
    assert_string_equal(names(f, "/d"), "c ");
    assert_int_equal(leftovers(f), 0);
}

static void files_with_oci_whiteouts(void **state)
{
    struct fixture *f = *state;
    check_files(f, "");
    assert_false(is_there(f, "upper/.wh.a"));
    assert_true(is_there(f, "upper/.wh.b"));
    assert_false(is_there(f, "upper/.wh.u"));
}

static void files_with_kernel_whiteouts(void **state)
{
    check_files(*state, ",whiteout=kernel");
}

static void check_directories(struct fixture *f, const char *options)
{
    make_file(f, "upper/own/sub/file", 0644, "file");
    make_file(f, "lower1/gone/old", 0644, "old");
    make_file(f, "lower1/emptied/old", 0644, "old");
    make_file(f, "lower1/lower/x", 0644, "x");
    make_dir(f, "lower1/hollow", 0755);
    fixture_open(f, options);
    assert_int_equal(op_rename(f, "/own", "/moved", 0), 0);
    assert_string_equal(merged_text(f, "/moved/sub/file"), "file");
    assert_int_equal(op_rename(f, "/moved", "/lower", 0), -ENOTEMPTY);
    assert_int_equal(op_rename(f, "/moved", "/hollow", 0), 0);
    assert_string_equal(merged_text(f, "/hollow/sub/file"), "file");
    assert_int_equal(op_unlink(f, "/emptied/old"), 0);
    assert_int_equal(op_rename(f, "/hollow", "/emptied", 0), 0);
    assert_string_equal(names(f, "/emptied"), "sub ");
    assert_false(find(f, "/hollow")->exists);
    assert_int_equal(op_unlink(f, "/gone/old"), 0);
    assert_int_equal(op_rmdir(f, "/gone"), 0);
    assert_int_equal(op_rename(f, "/emptied", "/gone", 0), 0);
    assert_string_equal(names(f, "/gone"), "sub ");
    assert_string_equal(names(f, ""), "gone lower ");
    assert_int_equal(op_rename(f, "/lower", "/elsewhere", 0), 0);
    assert_string_equal(names(f, "/elsewhere"), "x ");
    assert_false(find(f, "/lower")->exists);
    assert_int_equal(leftovers(f), 0);
}

static void directories_with_oci_whiteouts(void **state)
{
    check_directories(*state, "");
}

static void directories_with_kernel_whiteouts(void **state)
{
    check_directories(*state, ",whiteout=kernel");
}

static void flags(void **state)
{
    struct fixture *f = *state;
    make_file(f, "lower1/a", 0644, "a");
    make_file(f, "lower1/b", 0644, "b");
    make_file(f, "upper/own/x", 0644, "x");
    fixture_open(f, "");
    assert_int_equal(op_rename(f, "/a", "/b", NOREPLACE), -EEXIST);
    assert_int_equal(op_rename(f, "/a", "/c", NOREPLACE), 0);
    assert_int_equal(op_rename(f, "/c", "/none", EXCHANGE), -ENOENT);
    assert_int_equal(op_rename(f, "/c", "/b", EXCHANGE), 0);
    assert_string_equal(merged_text(f, "/c"), "b");
    assert_string_equal(merged_text(f, "/b"), "a");
    assert_int_equal(op_rename(f, "/own", "/c", EXCHANGE), 0);
    assert_string_equal(merged_text(f, "/c/x"), "x");
    assert_string_equal(merged_text(f, "/own"), "b");
    assert_int_equal(op_rename(f, "/b", "/c", NOREPLACE | EXCHANGE), -EINVAL);
    assert_int_equal(op_rename(f, "/b", "/c", 128), -EINVAL);
}

static void refusals(void **state)
{
    struct fixture *f = *state;
    make_file(f, "upper/d/e/f", 0644, "");
    make_file(f, "lower1/file", 0644, "");
    fixture_open(f, "");
    assert_int_equal(op_rename(f, "/none", "/x", 0), -ENOENT);
    assert_int_equal(op_rename(f, "/d", "/d/e/inside", 0), -EINVAL);
    assert_int_equal(op_rename(f, "/d/e", "/d", 0), -ENOTEMPTY);
    assert_int_equal(op_rename(f, "/d", "/file", 0), -ENOTDIR);
    assert_int_equal(op_rename(f, "/file", "/d", 0), -EISDIR);
    assert_int_equal(op_rename(f, "/file", "/x/", 0), -ENOTDIR);
    assert_int_equal(op_rename(f, "/file", "/.wh.x", 0), -EINVAL);
    assert_int_equal(op_rename(f, "/d/.", "/x", 0), -EBUSY);
    assert_int_equal(op_rename(f, "/file", "/d/..", 0), -EBUSY);
    assert_int_equal(op_rename(f, "", "/x", 0), -EXDEV); /* the mount's own name is outside */
    assert_int_equal(op_rename(f, "/file", "/file", 0), 0);
    assert_int_equal(op_link(f, "/file", "/hard"), 0);
    assert_int_equal(op_rename(f, "/file", "/hard", 0), 0);
    assert_string_equal(names(f, ""), "d file hard ");
}

/* C-3.10 */
static void between_overlays(void **state)
{
    struct fixture *f = *state;
    make_file(f, "lower1/a", 0644, "a");
    make_dir(f, "upper2", 0755);
    fixture_open_conf(f, "mount=@/mount,lowerdir=@/lower1,upperdir=@/upper;"
                         "mount=@/mount/in,lowerdir=@/lower2,upperdir=@/upper2");
    assert_int_equal(op_rename(f, "/a", "/in/a", 0), -EXDEV);
    assert_int_equal(op_link(f, "/a", "/in/a"), -EXDEV);
    assert_string_equal(names(f, "/in"), "");
    assert_string_equal(merged_text(f, "/a"), "a");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(files_with_oci_whiteouts),
        FIXTURE_TEST(files_with_kernel_whiteouts),
        FIXTURE_TEST(directories_with_oci_whiteouts),
        FIXTURE_TEST(directories_with_kernel_whiteouts),
        FIXTURE_TEST(flags),
        FIXTURE_TEST(refusals),
        FIXTURE_TEST(between_overlays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
