/* SPDX-License-Identifier: MIT
 *
 * Ways to directories that a process remembers, and glances by them: they tell what is true now, whoever has changed
 * what lies on the way.
 */
#define _GNU_SOURCE
#include "fixture_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* Whether directories of the tests take each other's place, which the temporary directory's name decides. */
static bool collide(const struct fixture *f)
{
    static const char *const dir[] = {"", "/a", "/a/b", "/a/b/c", "/a/b/d", "/other", "/other/c"};
    uint64_t taken = 0;
    for (size_t i = 0; i < sizeof dir / sizeof *dir; i++) {
        const char *path = merged(f, dir[i]);
        const uint64_t bit = UINT64_C(1) << ovl_way_number(path, strlen(path));
        if (taken & bit)
            return true;
        taken |= bit;
    }
    return false;
}

static int setup(void **state)
{
    int r;
    while ((r = cache_setup(state)) == 0 && collide(*state))
        fixture_teardown(state);
    return r;
}

#define WALK_TEST(name) cmocka_unit_test_setup_teardown(name, setup, fixture_teardown)

static void deep_layers(struct fixture *f)
{
    make_file(f, "lower1/a/b/c/f", 0644, "one");
    make_file(f, "lower1/a/b/c/g", 0644, "two");
    make_file(f, "lower2/a/b/c/h", 0644, "three");
    make_file(f, "lower2/other/c/f", 0644, "other");
    make_file(f, "lower2/other/c/only", 0644, "other");
    make_link(f, "lower1/a/b/c/l", "f");
    fixture_open(f, "");
}

static int seen(struct fixture *f, const char *path)
{
    struct ovl_node *node;
    return glance(f, path, &node);
}

static void know(struct fixture *f)
{
    assert_true(is_known(f, "/a/b/c/f"));
    assert_true(is_known(f, "/other/c/f"));
    assert_int_equal(seen(f, "/a/b/c/f"), 1);
    assert_int_equal(seen(f, "/other/c/only"), 1);
}

static void a_glance_tells(struct fixture *f)
{
    AGREE(f, "/a", "/a/b", "/a/b/c", "/a/b/c/f", "/a/b/c/g", "/a/b/c/h", "/a/b/c/l", "/a/b/c/only", "/a/b/c/none",
          "/a/b/c/new", "/a/b/d/f", "/other/c/f", "/other/c/only");
}

static void glances_know_what_was_looked_for(void **state)
{
    struct fixture *f = *state;
    struct ovl_node *node;
    deep_layers(f);
    assert_int_equal(seen(f, "/a/b/c/f"), 0);
    know(f);
    assert_int_equal(glance(f, "/a/b/c/f", &node), 1);
    assert_string_equal(node->path, merged(f, "/a/b/c/f"));
    assert_string_equal(node->real, real(f, "lower1/a/b/c/f"));
    assert_int_equal(seen(f, "/a/b/c/none"), -ENOENT);
    assert_true(is_known(f, "/a/b/c"));
    assert_int_equal(seen(f, "/a/b/c"), 1);
    /* Only whole names, written in one way, are known. */
    static const char *const none[] = {"/a/b/c/", "/a/b/c/.", "/a/b/c/..", "/a//b/c/f", "/a/b/c/.wh.f", "/a/./b/c/f"};
    for (unsigned i = 0; i < sizeof none / sizeof *none; i++)
        assert_int_equal(seen(f, none[i]), 0);
    ovl_cache_use(OVL_CACHE_OFF);
    assert_int_equal(seen(f, "/a/b/c/f"), 0);
    ovl_cache_use(OVL_CACHE_EAGER);
    a_glance_tells(f);
}

static void change(struct fixture *f, int number)
{
    switch (number) {
    case 0:
        assert_int_equal(op_write(f, "/a/b/c/new", O_WRONLY | O_CREAT, 0600, ""), 0);
        break;
    case 1:
        assert_int_equal(op_unlink(f, "/a/b/c/f"), 0);
        break;
    case 2:
        assert_int_equal(op_rename(f, "/a/b", "/a/d", 0), 0);
        break;
    case 3:
        assert_int_equal(op_rename(f, "/other", "/a/b", 0), 0);
        break;
    case 4:
        assert_int_equal(op_rename(f, "/a/b", "/a/d", RENAME_EXCHANGE), 0);
        break;
    case 5:
        assert_int_equal(op_rename(f, "/a", "/b", 0), 0);
        assert_int_equal(op_write(f, "/a", O_WRONLY | O_CREAT, 0600, ""), 0);
        break;
    case 6:
        assert_int_equal(op_unlink(f, "/a"), 0);
        assert_int_equal(op_rename(f, "/b", "/a", 0), 0);
        break;
    default:
        assert_int_equal(op_unlink(f, "/a/b/c/h"), 0);
    }
}
enum { CHANGES = 8 };

static int changed;

static void change_it(struct fixture *f)
{
    change(f, changed);
}

/* By ourselves, and by another process. */
static void what_lies_on_the_way_changes(void **state)
{
    struct fixture *f = *state;
    deep_layers(f);
    for (int i = 0; i < CHANGES; i++) {
        a_glance_tells(f);
        if (i % 2) {
            changed = i;
            in_child(f, change_it);
        } else {
            change(f, i);
        }
        a_glance_tells(f);
    }
}

/* A table that is made again takes over: the old one is not told any more what changes. */
static void tables_are_replaced(void **state)
{
    struct fixture *f = *state;
    deep_layers(f);
    know(f);
    assert_int_equal(op_unlink(f, "/a/b/c/g"), 0); /* its table is not as it was listed */
    assert_true(is_known(f, "/a/b/c/f"));
    assert_int_equal(seen(f, "/a/b/c/f"), 1);
    assert_string_equal(names(f, "/a/b/c"), "f h l ");
    assert_int_equal(op_unlink(f, "/a/b/c/f"), 0);
    assert_int_equal(seen(f, "/a/b/c/f") > 0, 0);
    assert_int_equal(op_write(f, "/a/b/c/new", O_WRONLY | O_CREAT, 0600, ""), 0);
    assert_int_equal(seen(f, "/a/b/c/new") < 0, 0);
    a_glance_tells(f);
}

/* What passes through to the real file system is not this overlay's to know. */
static void a_border_is_not_glanced_over(void **state)
{
    struct fixture *f = *state;
    make_file(f, "lower1/d/f", 0644, "");
    make_file(f, "mount/d/real", 0644, "");
    fixture_open_conf(f, "mount=@/mount,lowerdir=@/lower1,upperdir=@/upper,exclude=d/real:d/later");
    assert_true(is_known(f, "/d/f"));
    assert_string_equal(names(f, "/d"), "f real ");
    assert_int_equal(look(f, "/d/none"), 0);
    assert_int_equal(seen(f, "/d/real"), 0);
    assert_int_equal(seen(f, "/d/later"), 0);
}

static void nothing_is_seen_of_an_earlier_run(void **state)
{
    struct fixture *f = *state;
    deep_layers(f);
    know(f);
    ovl_cache_start(f->ovl);
    assert_int_equal(seen(f, "/a/b/c/f"), 0);
    know(f);
    ovl_cache_give_up(f->ovl);
    assert_int_equal(seen(f, "/a/b/c/f"), 0);
}

/* More than are remembered, and such as are too long or too deep for it. */
static void there_may_be_many_ways(void **state)
{
    struct fixture *f = *state;
    char path[1200] = "lower1";
    for (int i = 0; i < 200; i++) {
        snprintf(path, sizeof path, "lower1/%d/f", i);
        make_file(f, path, 0644, "");
    }
    make_file(f, "lower1/1/2/3/4/5/6/7/8/9/10/11/12/13/14/f", 0644, "");
    snprintf(path, sizeof path, "lower1/%0200d/f", 0);
    make_file(f, path, 0644, "");
    fixture_open(f, "");
    for (int k = 0; k < 6; k++)
        for (int i = 0; i < 200; i++) {
            snprintf(path, sizeof path, "/%d/%s", i, k % 2 ? "f" : "none");
            assert_int_equal(look(f, path), k % 2);
            if (k > 0) /* the first look makes the tables */
                assert_int_equal(seen(f, path), k % 2 ? 1 : -ENOENT);
        }
    AGREE(f, "/1/2/3/4/5/6/7/8/9/10/11/12/13/14/f", "/1/2/3/4/5/6/7/8/9/10/11/12/13/14/none",
          "/1/2/3/4/5/6/7/8/9/10/f");
    snprintf(path, sizeof path, "/%0200d/f", 0);
    agree_on_name(f, path);
}

/* Whatever the length of the path to them. */
static void ways_to_numbered_directories(void **state)
{
    enum { DIRECTORIES = 32 };
    (void)state;
    for (int length = 1; length <= 16; length++) {
        uint64_t taken = 0;
        for (int i = 0; i < DIRECTORIES; i++) {
            char path[64];
            const int n = snprintf(path, sizeof path, "%.*s%c", length, "/usr/share/directory", '0' + i);
            taken |= UINT64_C(1) << ovl_way_number(path, (size_t)n);
        }
        assert_true(__builtin_popcountll(taken) > DIRECTORIES / 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WALK_TEST(glances_know_what_was_looked_for),
        WALK_TEST(what_lies_on_the_way_changes),
        WALK_TEST(tables_are_replaced),
        WALK_TEST(a_border_is_not_glanced_over),
        WALK_TEST(nothing_is_seen_of_an_earlier_run),
        WALK_TEST(there_may_be_many_ways),
        cmocka_unit_test(ways_to_numbered_directories),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
