/* SPDX-License-Identifier: MIT
 *
 * The tool's walk over an upper (cli/changes.h): in which order it comes by, what its flags add, and how it ends.  What
 * a change is, tests/integration/test_cli_status.py shows.
 */
#define _GNU_SOURCE
#include "changes.h"
#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char said[8192];

static void say(const struct change *change, const char *mark)
{
    static const char letter[] = "_AMmDTOR";
    char line[512];
    snprintf(line, sizeof line, "%c%s%s%s%s ", letter[change->kind], *change->relative ? change->relative : ".", mark,
             change->opaque ? "=" : "", change->hidden ? "-" : "");
    strcat(said, line);
}

static int each(const struct change *change, void *arg)
{
    const int *end = arg;
    struct stat st;
    say(change, "");
    if (change->upper.exists) {
        assert_int_equal(lstat(change->upper.real, &st), 0);
        assert_int_equal(st.st_ino, change->upper.st.st_ino);
        assert_int_equal(change->upper.layer, 0);
    }
    if (change->lower.exists) {
        assert_int_equal(lstat(change->lower.real, &st), 0);
        assert_int_equal(st.st_ino, change->lower.st.st_ino);
        assert_true(change->lower.layer > 0);
    }
    return end && strlen(said) > 8 ? *end : 0;
}

static int leave(const struct change *change, void *arg)
{
    (void)arg;
    assert_true(S_ISDIR(change->upper.st.st_mode));
    say(change, "/");
    return 0;
}

static const char *walked(struct fixture *f, unsigned flags, const char *below)
{
    const struct changes_visitor visitor = {.each = each, .leave = leave, .flags = flags, .below = below};
    *said = '\0';
    assert_int_equal(changes_walk(&f->ctx, f->ovl, &visitor), 0);
    return said;
}

static void make_layers(struct fixture *f)
{
    make_file(f, "lower1/d/old", 0644, "");
    make_file(f, "lower2/d/sub/x", 0644, "x");
    make_file(f, "lower2/o/p", 0644, "");
    make_file(f, "lower2/o/q", 0644, "");
    make_file(f, "lower1/z", 0644, "");
    make_file(f, "upper/d/.wh.old", 0600, "");
    make_file(f, "upper/d/new", 0644, "");
    make_file(f, "upper/d/sub/x", 0644, "yy");
    make_file(f, "upper/o/.wh..wh..opq", 0600, "");
    make_file(f, "upper/o/a", 0644, "");
    make_file(f, "upper/o/q", 0644, "longer");
    make_file(f, "upper/.wh.z", 0600, "");
    make_file(f, "upper/.wh.nothing", 0600, "");
    make_file(f, "upper/n/f", 0644, "");
    fixture_open(f, "");
}

static void the_order_of_names(void **state)
{
    struct fixture *f = *state;
    make_layers(f);
    assert_string_equal(walked(f, 0, NULL), "Ad/new Dd/old Md/sub/x An An/f An/ Oo= Ao/a Do/p- Mo/q Oo/= Dz ");
}

static void deleted_first(void **state)
{
    struct fixture *f = *state;
    make_layers(f);
    assert_string_equal(walked(f, CHANGES_DELETED_FIRST, NULL),
                        "Dz Dd/old Ad/new Md/sub/x An An/f An/ Oo= Do/p- Ao/a Mo/q Oo/= ");
}

static void all_that_the_upper_has(void **state)
{
    struct fixture *f = *state;
    make_layers(f);
    assert_string_equal(walked(f, CHANGES_ALL, NULL),
                        "_. _d Ad/new Dd/old _d/sub Md/sub/x _d/sub/ _d/ An An/f An/ Oo= Ao/a Do/p- Mo/q Oo/= Dz _./ ");
}

static void names_only(void **state)
{
    struct fixture *f = *state;
    make_layers(f);
    assert_string_equal(walked(f, CHANGES_NAMES, NULL), "Ad/new Dd/old An An/f An/ Oo= Ao/a Do/p- Oo/= Dz ");
}

static void what_is_below(void **state)
{
    struct fixture *f = *state;
    make_layers(f);
    assert_string_equal(walked(f, 0, merged(f, "/d")), "Ad/new Dd/old Md/sub/x ");
    assert_string_equal(walked(f, 0, merged(f, "/d/sub/x")), "Md/sub/x ");
    assert_string_equal(walked(f, 0, merged(f, "/z/y/x")), "Dz ");
    assert_string_equal(walked(f, 0, merged(f, "/o/p")), "Do/p- ");
    assert_string_equal(walked(f, 0, merged(f, "/none")), "");
}

static void a_visitor_ends_it(void **state)
{
    struct fixture *f = *state;
    make_layers(f);
    int end = 7;
    const struct changes_visitor visitor = {.each = each, .arg = &end};
    *said = '\0';
    assert_int_equal(changes_walk(&f->ctx, f->ovl, &visitor), 7);
    assert_string_equal(said, "Ad/new Dd/old ");
}

static int count(const struct change *change, void *arg)
{
    (void)change;
    ++*(int *)arg;
    return 0;
}

/* Deeper than a process has descriptors by default. */
static void a_deep_tree(void **state)
{
    struct fixture *f = *state;
    char path[3600] = "upper";
    int names = 0;
    for (int i = 0; i < 1500; i++)
        strcat(path, "/d");
    make_file(f, strcat(path, "/f"), 0644, "");
    fixture_open(f, "");
    const struct changes_visitor visitor = {.each = count, .arg = &names};
    assert_int_equal(changes_walk(&f->ctx, f->ovl, &visitor), 0);
    assert_int_equal(names, 1501);
    assert_int_equal(f->ctx.fds, 0);
}

static void a_read_only_overlay_has_none(void **state)
{
    struct fixture *f = *state;
    make_file(f, "lower1/a", 0644, "");
    fixture_open_read_only(f);
    assert_string_equal(walked(f, CHANGES_ALL, NULL), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(the_order_of_names),
        FIXTURE_TEST(deleted_first),
        FIXTURE_TEST(all_that_the_upper_has),
        FIXTURE_TEST(names_only),
        FIXTURE_TEST(what_is_below),
        FIXTURE_TEST(a_visitor_ends_it),
        FIXTURE_TEST(a_deep_tree),
        FIXTURE_TEST(a_read_only_overlay_has_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
