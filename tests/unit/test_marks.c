/* SPDX-License-Identifier: MIT
 *
 * Marks of layers that no run uses: what a name is, and putting marks there and taking them away.
 */
#define _GNU_SOURCE
#include "fixture.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define LONG_NAME                                                                                                      \
    "long-name-of-252-bytes-0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567"  \
    "8901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456"    \
    "78901234567890123456789012345678"

static void begin(struct fixture *f)
{
    make_file(f, "lower1/a", 0644, "a");
    make_file(f, "lower1/d/b", 0644, "b");
    make_file(f, "lower1/" LONG_NAME, 0644, "long");
    make_dir(f, "upper/d", 0755);
    fixture_open(f, "");
}

static int mark_of(struct fixture *f, const char *name)
{
    return ovl_mark_of(&f->ctx, real(f, "upper"), name);
}

static int hide(struct fixture *f, const char *name, enum ovl_mark form)
{
    return ovl_mark_hide(&f->ctx, real(f, "upper"), name, form);
}

static void names_are_told_apart(void **state)
{
    static const struct {
        const char *name;
        enum ovl_mark mark;
    } cases[] = {
        {"object", OVL_MARK_NONE},         {".wh.a", OVL_MARK_FILE},          {".wh..hidden", OVL_MARK_FILE},
        {".wh...a", OVL_MARK_FILE},        {".wh..wh..opq", OVL_MARK_OPAQUE}, {".wh.", OVL_MARK_STRAY},
        {".wh..", OVL_MARK_STRAY},         {".wh...", OVL_MARK_STRAY},        {".wh..wh.a", OVL_MARK_STRAY},
        {".wh..wh.new-1", OVL_MARK_STRAY}, {".whatever", OVL_MARK_NONE},
    };
    struct fixture *f = *state;
    begin(f);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[300];
        snprintf(path, sizeof path, "upper/%s", cases[i].name);
        make_file(f, path, 0600, "");
        assert_int_equal(mark_of(f, cases[i].name), cases[i].mark);
    }
    make_dir(f, "upper/.wh.dir", 0755);
    assert_int_equal(mark_of(f, ".wh.dir"), OVL_MARK_STRAY);
    assert_int_equal(mark_of(f, "none"), -ENOENT);
}

static void each_form_hides(void **state)
{
    struct fixture *f = *state;
    begin(f);
    assert_string_equal(names(f, "/"), "a d " LONG_NAME " ");
    assert_int_equal(hide(f, "a", OVL_MARK_FILE), 0);
    assert_int_equal(mark_of(f, ".wh.a"), OVL_MARK_FILE);
    assert_int_equal(hide(f, "a", OVL_MARK_FILE), -EEXIST);
    assert_int_equal(hide(f, LONG_NAME, OVL_MARK_FILE), 0);
    assert_int_equal(mark_of(f, LONG_NAME), OVL_MARK_ATTRIBUTE);
    assert_int_equal(ovl_mark_opacity(&f->ctx, real(f, "upper")), OVL_OPAQUE_FOR_WHITEOUTS);
    assert_string_equal(names(f, "/"), "d ");
}

/* A whiteout that has the name is replaced in one step; an object is not. */
static void a_mark_takes_the_place_of_marks_only(void **state)
{
    struct fixture *f = *state;
    begin(f);
    assert_int_equal(hide(f, "d", OVL_MARK_DEVICE), -EEXIST);
    assert_int_equal(hide(f, LONG_NAME, OVL_MARK_FILE), 0);
    int r = hide(f, LONG_NAME, OVL_MARK_DEVICE);
    if (r == -EPERM)
        skip_because("0/0 devices can't be made here");
    assert_int_equal(r, 0);
    assert_int_equal(mark_of(f, LONG_NAME), OVL_MARK_DEVICE);
    assert_int_equal(hide(f, LONG_NAME, OVL_MARK_FILE), 0);
    assert_int_equal(mark_of(f, LONG_NAME), OVL_MARK_ATTRIBUTE);
    assert_false(is_there(f, "upper/.wh..wh.new-mark"));
}

static void opaque_marks_come_and_go(void **state)
{
    struct fixture *f = *state;
    begin(f);
    const char *dir = real(f, "upper/d");
    assert_int_equal(ovl_mark_opacity(&f->ctx, dir), 0);
    assert_string_equal(names(f, "/d"), "b ");
    assert_int_equal(ovl_mark_set_opaque(&f->ctx, dir, OVL_MARK_FILE), 0);
    assert_int_equal(ovl_mark_set_opaque(&f->ctx, dir, OVL_MARK_FILE), 0);
    assert_int_equal(ovl_mark_set_opaque(&f->ctx, dir, OVL_MARK_DEVICE), 0);
    assert_int_equal(ovl_mark_opacity(&f->ctx, dir), OVL_OPAQUE_FILE | OVL_OPAQUE_ATTRIBUTE);
    assert_int_equal(ovl_mark_drop_opaque(&f->ctx, dir, OVL_OPAQUE_FILE), 0);
    assert_int_equal(ovl_mark_opacity(&f->ctx, dir), OVL_OPAQUE_ATTRIBUTE);
    assert_string_equal(names(f, "/d"), "");
    assert_int_equal(ovl_mark_drop_opaque(&f->ctx, dir, OVL_OPAQUE_FILE | OVL_OPAQUE_ATTRIBUTE), 0);
    assert_int_equal(ovl_mark_opacity(&f->ctx, dir), 0);
    assert_string_equal(names(f, "/d"), "b ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(names_are_told_apart),
        FIXTURE_TEST(each_form_hides),
        FIXTURE_TEST(a_mark_takes_the_place_of_marks_only),
        FIXTURE_TEST(opaque_marks_come_and_go),
    };
    ovl_cache_use(OVL_CACHE_OFF);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
