/* SPDX-License-Identifier: MIT
 *
 * Removing names: whiteouts where a lower layer has the name and only there, emptiness in the merged view (C-3.7).
 */
#define _GNU_SOURCE
#include "fixture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static void whiteouts_only_where_needed(void **state)
{
    struct fixture *f = *state;
    make_file(f, "lower1/d/lower", 0644, "");
    make_file(f, "lower1/d/both", 0644, "");
    make_file(f, "upper/d/both", 0644, "");
    make_file(f, "upper/d/upper", 0644, "");
    make_file(f, "lower2/d/hidden", 0644, "");
    make_file(f, "lower1/d/.wh.hidden", 0644, "");
    make_file(f, "upper/d/hidden", 0644, "");
    fixture_open(f, "");
    for (const char *const *p = (const char *const[]){"/d/lower", "/d/both", "/d/upper", "/d/hidden", NULL}; *p; p++) {
        assert_int_equal(op_unlink(f, *p), 0);
        assert_false(find(f, *p)->exists);
        assert_int_equal(op_unlink(f, *p), -ENOENT);
    }
    assert_string_equal(names(f, "/d"), "");
    assert_true(is_there(f, "upper/d/.wh.lower"));
    assert_true(is_there(f, "upper/d/.wh.both"));
    assert_false(is_there(f, "upper/d/.wh.upper"));
    assert_false(is_there(f, "upper/d/.wh.hidden"));
    assert_int_equal(stat_of(f, "upper/d/.wh.lower").st_size, 0);
    assert_true(S_ISREG(stat_of(f, "upper/d/.wh.lower").st_mode));
}

static void kernel_whiteouts_are_devices(void **state)
{
    struct fixture *f = *state;
    make_file(f, "lower1/lower", 0644, "");
    make_file(f, "lower1/both", 0644, "");
    make_file(f, "upper/both", 0644, "");
    make_dir(f, "lower1/dir", 0755);
    make_dir(f, "upper/dir", 0755);
    fixture_open(f, ",whiteout=kernel");
    assert_int_equal(op_unlink(f, "/lower"), 0);
    assert_int_equal(op_unlink(f, "/both"), 0);
    assert_int_equal(op_rmdir(f, "/dir"), 0);
    for (const char *const *p = (const char *const[]){"upper/lower", "upper/both", "upper/dir", NULL}; *p; p++) {
        assert_true(S_ISCHR(stat_of(f, *p).st_mode));
        assert_int_equal(stat_of(f, *p).st_rdev, 0);
    }
    assert_string_equal(names(f, ""), "");
    assert_int_equal(leftovers(f), 0);
}

static void errors(void **state)
{
    struct fixture *f = *state;
    make_file(f, "lower1/d/file", 0644, "");
    make_link(f, "lower1/link", "d");
    fixture_open(f, "");
    assert_int_equal(op_unlink(f, "/d"), -EISDIR);
    assert_int_equal(op_unlink(f, "/none"), -ENOENT);
    assert_int_equal(op_unlink(f, "/d/file/"), -ENOTDIR);
    assert_int_equal(op_unlink(f, "/d/."), -EISDIR);
    assert_int_equal(op_rmdir(f, "/d/file"), -ENOTDIR);
    assert_int_equal(op_rmdir(f, "/link"), -ENOTDIR);
    assert_int_equal(op_rmdir(f, "/d"), -ENOTEMPTY);
    assert_int_equal(op_rmdir(f, "/d/."), -EINVAL);
    assert_int_equal(op_rmdir(f, "/d/.."), -ENOTEMPTY);
    assert_int_equal(op_rmdir(f, ""), -EBUSY);
    assert_int_equal(op_rmdir(f, "/none"), -ENOENT);
    assert_int_equal(op_unlink(f, "/link"), 0);
    assert_string_equal(names(f, "/d"), "file ");
}

static void emptiness_is_that_of_the_merged_view(void **state)
{
    struct fixture *f = *state;
    make_file(f, "lower1/d/one", 0644, "");
    make_file(f, "lower2/d/two", 0644, "");
    make_file(f, "upper/d/.wh.one", 0644, "");
    make_file(f, "upper/blank/.wh.old", 0644, "");
    make_file(f, "upper/blank/.wh..wh..opq", 0644, "");
    make_dir(f, "lower1/empty", 0755);
    fixture_open(f, "");
    assert_int_equal(op_rmdir(f, "/d"), -ENOTEMPTY);
    assert_int_equal(op_unlink(f, "/d/two"), 0);
    assert_int_equal(op_rmdir(f, "/d"), 0);
    assert_int_equal(op_rmdir(f, "/blank"), 0);
    assert_int_equal(op_rmdir(f, "/empty"), 0);
    assert_string_equal(names(f, ""), "");
    assert_false(is_there(f, "upper/d"));
    assert_true(is_there(f, "upper/.wh.d"));
    assert_false(is_there(f, "upper/blank"));
    assert_false(is_there(f, "upper/.wh.blank"));
}

static void a_whole_tree_can_go_and_come_back(void **state)
{
    struct fixture *f = *state;
    static const char *const options[] = {"", ",whiteout=kernel"};
    make_file(f, "lower1/t/a/b/c", 0644, "c");
    make_file(f, "lower2/t/a/x", 0644, "x");
    for (int round = 0; round < 2; round++) {
        fixture_open(f, options[round]);
        if (round == 0) {
            assert_int_equal(op_unlink(f, "/t/a/b/c"), 0);
            assert_int_equal(op_rmdir(f, "/t/a/b"), 0);
            assert_int_equal(op_unlink(f, "/t/a/x"), 0);
            assert_int_equal(op_rmdir(f, "/t/a"), 0);
            assert_int_equal(op_rmdir(f, "/t"), 0);
        } else { /* the other form is read all the same */
            assert_false(find(f, "/t")->exists);
            assert_int_equal(op_mkdir(f, "/t", 0755), 0);
            assert_string_equal(names(f, "/t"), "");
            assert_int_equal(op_mkdir(f, "/t/a", 0755), 0);
            assert_string_equal(names(f, "/t/a"), "");
        }
        fixture_close(f);
    }
    fixture_open(f, options[1]);
    assert_string_equal(names(f, "/t"), "a ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(whiteouts_only_where_needed),
        FIXTURE_TEST(kernel_whiteouts_are_devices),
        FIXTURE_TEST(errors),
        FIXTURE_TEST(emptiness_is_that_of_the_merged_view),
        FIXTURE_TEST(a_whole_tree_can_go_and_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
