/* SPDX-License-Identifier: MIT
 *
 * Looking up names: the order of layers, every form of whiteout and opaque directory that is read
 * (C-2.1 to C-2.4), and names that only look like whiteouts.
 */
#define _GNU_SOURCE
#include "fault_sys.h"
#include "fixture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void the_highest_layer_wins(void **state)
{
    struct fixture *f = *state;
    make_file(f, "upper/a", 0644, "upper");
    make_file(f, "lower1/a", 0644, "lower1");
    make_file(f, "lower2/a", 0644, "lower2");
    make_file(f, "lower1/b", 0644, "lower1");
    make_file(f, "lower2/b", 0644, "lower2");
    make_file(f, "lower2/c", 0644, "lower2");
    fixture_open(f, "");
    assert_string_equal(merged_text(f, "/a"), "upper");
    assert_string_equal(merged_text(f, "/b"), "lower1");
    assert_string_equal(merged_text(f, "/c"), "lower2");
    assert_int_equal(find(f, "/b")->top, 1);
    assert_string_equal(find(f, "/c")->real, real(f, "lower2/c"));
    assert_false(find(f, "/d")->exists);
}

static void directories_merge_until_something_else(void **state)
{
    struct fixture *f = *state;
    make_file(f, "upper/d/u", 0644, "");
    make_file(f, "lower1/d", 0644, "a file");
    make_file(f, "lower2/d/l2", 0644, "");
    make_file(f, "upper/e/u", 0644, "");
    make_file(f, "lower1/e/l1", 0644, "");
    make_file(f, "lower2/e/l2", 0644, "");
    make_file(f, "upper/f", 0644, "a file");
    make_file(f, "lower1/f/l1", 0644, "");
    fixture_open(f, "");
    assert_string_equal(names(f, "/d"), "u ");
    assert_false(find(f, "/d/l2")->exists);
    assert_string_equal(names(f, "/e"), "l1 l2 u ");
    assert_string_equal(merged_text(f, "/f"), "a file");
    struct ovl_node *node;
    assert_int_equal(try_resolve(f, "/f/l1", 0, &node), -ENOTDIR);
    assert_int_equal(try_resolve(f, "/none/l1", 0, &node), -ENOENT);
}

static void a_symbolic_link_is_not_a_directory(void **state)
{
    struct fixture *f = *state;
    make_file(f, "upper/d/u", 0644, "");
    make_link(f, "lower1/d", "e");
    make_file(f, "lower1/e/l1", 0644, "");
    make_file(f, "lower2/d/l2", 0644, "");
    fixture_open(f, "");
    assert_string_equal(names(f, "/d"), "u ");
}

static void a_wh_file_hides_all_layers_below_its_own(void **state)
{
    struct fixture *f = *state;
    make_file(f, "upper/.wh.a", 0, "");
    make_file(f, "lower1/a", 0644, "lower1");
    make_file(f, "lower1/.wh.b", 0644, "of any content");
    make_file(f, "lower2/b", 0644, "lower2");
    make_file(f, "lower1/c", 0644, "beside its own whiteout");
    make_file(f, "lower1/.wh.c", 0644, "");
    make_file(f, "upper/d/u", 0644, "");
    make_file(f, "upper/.wh.d", 0644, "");
    make_file(f, "lower1/d/l1", 0644, "");
    make_file(f, "lower2/.wh.e", 0644, "");
    make_file(f, "lower1/e", 0644, "above a whiteout");
    fixture_open(f, "");
    assert_false(find(f, "/a")->exists);
    assert_false(find(f, "/b")->exists);
    assert_string_equal(merged_text(f, "/c"), "beside its own whiteout");
    assert_string_equal(names(f, "/d"), "u ");
    assert_false(find(f, "/d/l1")->exists);
    assert_string_equal(merged_text(f, "/e"), "above a whiteout");
    assert_string_equal(names(f, ""), "c d e ");
}

static void only_a_regular_wh_file_of_a_name_hides(void **state)
{
    struct fixture *f = *state;
    make_dir(f, "upper/.wh.a", 0755);
    make_link(f, "upper/.wh.b", "x");
    make_node(f, "upper/.wh.c", S_IFIFO | 0644, 0);
    make_file(f, "upper/.wh.", 0644, "");
    make_file(f, "upper/.wh..", 0644, "");
    make_file(f, "upper/.wh...", 0644, "");
    make_file(f, "upper/.wh..wh.x", 0644, "");
    for (const char *const *p = (const char *const[]){"a", "b", "c", ".x", "..y", "x", NULL}; *p; p++) {
        char path[64];
        snprintf(path, sizeof path, "lower1/%s", *p);
        make_file(f, path, 0644, *p);
    }
    fixture_open(f, "");
    assert_string_equal(names(f, ""), "..y .x a b c x ");
    assert_string_equal(merged_text(f, "/a"), "a");
    assert_string_equal(merged_text(f, "/b"), "b");
    assert_string_equal(merged_text(f, "/c"), "c");
    assert_string_equal(merged_text(f, "/..y"), "..y");
}

/* C-2.4 */
static void reserved_names_are_never_there(void **state)
{
    struct fixture *f = *state;
    make_file(f, "lower1/.wh.a", 0644, "");
    make_dir(f, "lower1/.wh.d", 0755);
    make_file(f, "lower1/.wh.d/x", 0644, "");
    make_file(f, "lower1/.wh", 0644, "an ordinary name");
    make_file(f, "lower1/wh.a", 0644, "");
    fixture_open(f, "");
    assert_false(find(f, "/.wh.a")->exists);
    assert_true(find(f, "/.wh.a")->reserved);
    struct ovl_node *node;
    assert_int_equal(try_resolve(f, "/.wh.d/x", 0, &node), -ENOENT);
    assert_string_equal(names(f, ""), ".wh wh.a ");
    assert_int_equal(op_open(f, "/.wh.new", O_WRONLY | O_CREAT, 0644), -EINVAL);
    assert_int_equal(op_mkdir(f, "/.wh.new", 0755), -EINVAL);
    assert_int_equal(op_unlink(f, "/.wh.a"), -ENOENT);
}

static void a_0_0_device_hides(void **state)
{
    struct fixture *f = *state;
    make_node(f, "upper/a", S_IFCHR, 0);
    make_file(f, "lower1/a", 0644, "");
    make_node(f, "lower1/b", S_IFCHR, 0);
    make_file(f, "lower2/b", 0644, "");
    make_node(f, "lower1/c", S_IFCHR, 0);
    make_dir(f, "lower2/c", 0755);
    make_dir(f, "upper/c", 0755);
    make_file(f, "lower2/c/x", 0644, "");
    fixture_open(f, "");
    assert_string_equal(names(f, ""), "c ");
    assert_string_equal(names(f, "/c"), "");
    assert_false(find(f, "/a")->exists);
    assert_false(find(f, "/b")->exists);
}

static void check_xattr_form(struct fixture *f, const char *space)
{
    char opaque[64], whiteout[64];
    snprintf(opaque, sizeof opaque, "%s.overlay.opaque", space);
    snprintf(whiteout, sizeof whiteout, "%s.overlay.whiteout", space);
    make_dir(f, "lower1/d", 0755);
    set_xattr(f, "lower1/d", opaque, "x");
    make_file(f, "lower1/d/hidden", 0644, "");
    set_xattr(f, "lower1/d/hidden", whiteout, "y");
    make_file(f, "lower1/d/full", 0644, "not empty");
    set_xattr(f, "lower1/d/full", whiteout, "y");
    make_file(f, "lower1/d/empty", 0644, "");
    make_file(f, "lower2/d/hidden", 0644, "lower2");
    make_file(f, "lower2/d/full", 0644, "lower2");
    make_file(f, "lower2/d/empty", 0644, "lower2");
    make_file(f, "lower2/d/other", 0644, "lower2");
    make_dir(f, "lower1/unmarked", 0755);
    make_file(f, "lower1/unmarked/a", 0644, "");
    set_xattr(f, "lower1/unmarked/a", whiteout, "y");
    fixture_open(f, "");
    assert_string_equal(names(f, "/d"), "empty full other ");
    assert_false(find(f, "/d/hidden")->exists);
    assert_string_equal(merged_text(f, "/d/full"), "not empty");
    assert_string_equal(merged_text(f, "/d/empty"), "");
    assert_string_equal(names(f, "/unmarked"), "a ");
    assert_true(find(f, "/unmarked/a")->exists);
}

static void an_xattr_whiteout_counts_in_a_marked_directory(void **state)
{
    check_xattr_form(*state, "user");
}

static void the_same_with_trusted(void **state)
{
    struct fixture *f = *state;
    if (!can_be_trusted(f))
        skip_because("may not set trusted. attributes");
    check_xattr_form(f, "trusted");
}

static void opaque_directories_hide_what_lies_below(void **state)
{
    struct fixture *f = *state;
    make_file(f, "upper/a/u", 0644, "");
    make_file(f, "upper/a/.wh..wh..opq", 0644, "");
    make_file(f, "lower1/a/l1", 0644, "");
    make_file(f, "lower1/b/l1", 0644, "");
    make_file(f, "lower2/b/l2", 0644, "");
    set_xattr(f, "lower1/b", "user.overlay.opaque", "y");
    make_file(f, "upper/c/.wh..wh..opq/x", 0644, "a directory of that name says nothing");
    make_file(f, "lower1/c/l1", 0644, "");
    make_file(f, "lower1/d/l1", 0644, "");
    make_file(f, "lower2/d/l2", 0644, "");
    set_xattr(f, "lower1/d", "user.overlay.opaque", "n");
    make_file(f, "lower1/t/l1", 0644, "");
    make_file(f, "lower2/t/l2", 0644, "");
    bool trusted = can_be_trusted(f);
    if (trusted)
        set_xattr(f, "lower1/t", "trusted.overlay.opaque", "y");
    fixture_open(f, "");
    assert_string_equal(names(f, "/a"), "u ");
    assert_string_equal(names(f, "/b"), "l1 ");
    assert_string_equal(names(f, "/c"), "l1 ");
    assert_string_equal(names(f, "/d"), "l1 l2 ");
    assert_string_equal(names(f, "/t"), trusted ? "l1 " : "l1 l2 ");
    assert_false(find(f, "/b/l2")->exists);
}

/* An opaque directory hides what lies below it also for its subdirectories. */
static void opacity_reaches_down(void **state)
{
    struct fixture *f = *state;
    make_dir(f, "upper/a/b", 0755);
    make_file(f, "upper/a/.wh..wh..opq", 0644, "");
    make_file(f, "lower1/a/b/x", 0644, "");
    make_file(f, "lower1/a/c/x", 0644, "");
    fixture_open(f, "");
    struct ovl_node *node;
    assert_string_equal(names(f, "/a"), "b ");
    assert_string_equal(names(f, "/a/b"), "");
    assert_false(find(f, "/a/b/x")->exists);
    assert_int_equal(try_resolve(f, "/a/c/x", 0, &node), -ENOENT);
}

static void the_root_of_a_layer_can_be_opaque(void **state)
{
    struct fixture *f = *state;
    make_file(f, "lower1/.wh..wh..opq", 0644, "");
    make_file(f, "lower1/a", 0644, "");
    make_file(f, "lower2/b", 0644, "");
    fixture_open(f, "");
    assert_string_equal(names(f, ""), "a ");
    assert_false(find(f, "/b")->exists);
}

/* The longest name has no .wh. form; a name of 251 bytes has one. */
/* overlayfs.rst, "redirect_dir" and "Metadata only copy up".  It marks the directory in which such a thing lies; in the
 * lowest layer nothing can lie elsewhere. */
static void what_lies_elsewhere_is_an_error(void **state)
{
    struct fixture *f = *state;
    struct ovl_node *node;
    make_file(f, "lower1/d/moved/g", 0644, "half");
    make_file(f, "lower1/d/file", 0644, "no content");
    make_file(f, "lower1/d/whole", 0644, "whole");
    make_file(f, "lower1/plain/moved/g", 0644, "of another program's");
    make_file(f, "lower2/d/moved/g", 0644, "lowest");
    make_dir(f, "lower2/lowest/moved", 0755);
    set_xattr(f, "lower1/d", "user.overlay.impure", "y");
    set_xattr(f, "lower1/d/moved", "user.overlay.redirect", "/elsewhere");
    set_xattr(f, "lower1/d/file", "user.overlay.metacopy", "");
    set_xattr(f, "lower1/plain/moved", "user.overlay.redirect", "other");
    set_xattr(f, "lower2/lowest", "user.overlay.impure", "y");
    set_xattr(f, "lower2/lowest/moved", "user.overlay.redirect", "other");
    fixture_open(f, "");
    assert_int_equal(try_resolve(f, "/d/moved", 0, &node), -EIO);
    assert_int_equal(try_resolve(f, "/d/moved/g", 0, &node), -EIO);
    assert_int_equal(try_resolve(f, "/d/file", 0, &node), -EIO);
    assert_string_equal(merged_text(f, "/d/whole"), "whole");
    assert_string_equal(merged_text(f, "/plain/moved/g"), "of another program's");
    assert_int_equal(try_resolve(f, "/lowest/moved", 0, &node), 0);
    assert_string_equal(names(f, "/d"), "file moved whole ");
}

static void the_root_of_a_layer_can_be_impure(void **state)
{
    struct fixture *f = *state;
    struct ovl_node *node;
    make_file(f, "lower1/file", 0644, "no content");
    set_xattr(f, "lower1", "user.overlay.impure", "y");
    set_xattr(f, "lower1/file", "user.overlay.metacopy", "");
    fixture_open(f, "");
    assert_int_equal(try_resolve(f, "/file", 0, &node), -EIO);
}

static void long_names(void **state)
{
    struct fixture *f = *state;
    char name[300], path[400];
    memset(name, 'n', sizeof name);
    snprintf(path, sizeof path, "lower1/%.255s", name);
    make_file(f, path, 0644, "255");
    snprintf(path, sizeof path, "lower1/%.251s", name);
    make_file(f, path, 0644, "251");
    snprintf(path, sizeof path, "upper/.wh.%.251s", name);
    make_file(f, path, 0644, "");
    fixture_open(f, "");
    snprintf(path, sizeof path, "/%.255s", name);
    assert_string_equal(merged_text(f, path), "255");
    snprintf(path, sizeof path, "/%.251s", name);
    assert_false(find(f, path)->exists);
    snprintf(path, sizeof path, "/%.256s", name);
    struct ovl_node *node;
    assert_int_equal(try_resolve(f, path, 0, &node), -ENAMETOOLONG);
}

/* C-1.5: 500 at least */
static void many_layers(void **state)
{
    struct fixture *f = *state;
    enum { LAYERS = 600 };
    char *conf = NULL;
    size_t size;
    FILE *out = open_memstream(&conf, &size);
    fputs("mount=@/mount,upperdir=@/upper,lowerdir=@/lower1", out);
    for (int i = 0; i < LAYERS; i++) {
        char path[64];
        snprintf(path, sizeof path, "many/%d/f%d", i, i);
        make_file(f, path, 0644, path);
        fprintf(out, ":@/many/%d", i);
    }
    fclose(out);
    make_file(f, "many/599/last", 0644, "last");
    make_file(f, "many/300/.wh.f400", 0644, "");
    fixture_open_conf(f, conf);
    free(conf);
    assert_string_equal(merged_text(f, "/last"), "last");
    assert_false(find(f, "/f400")->exists);
    assert_true(find(f, "/f401")->exists);
    assert_int_equal(op_write(f, "/f599", O_WRONLY | O_TRUNC, 0, "new"), 0);
    assert_string_equal(merged_text(f, "/f599"), "new");
    assert_string_equal(text_of(f, "many/599/f599"), "many/599/f599");
    assert_int_equal(op_unlink(f, "/last"), 0);
    assert_false(find(f, "/last")->exists);
}

enum { DEEP = 100 };

/* `depth` names below root + "/top": "d" each, but for the one in the middle. */
static const char *deep(const char *root, size_t depth, const char *middle)
{
    static char path[1000];
    size_t n = (size_t)snprintf(path, sizeof path, "%s/top", root);
    for (size_t i = 0; i < depth; i++)
        n += (size_t)snprintf(path + n, sizeof path - n, "/%s", i == DEEP / 2 ? middle : "d");
    return path;
}

/* Find such a directory again: the error, and the calls that took. */
static int locate_deep(struct fixture *f, size_t depth, const char *middle, unsigned *calls)
{
    const char *path = deep(f->mount, depth, middle);
    size_t mark = f->ctx.used;
    struct ovl_node *node = ovl_node_new(&f->ctx);
    fault_arm(0, 0);
    int r = ovl_locate(&f->ctx, node, path);
    *calls = fault_disarm();
    if (r == 0) {
        assert_string_equal(node->path, path);
        assert_string_equal(node->real, real(f, deep("upper", depth, middle)));
        assert_true(node->exists && node->top == 0 && S_ISDIR(node->st.st_mode));
        assert_false(ovl_has_lower(f->ovl, &node->dirs));
    }
    ovl_ctx_reset(&f->ctx, mark);
    return r;
}

/* C-2.1, C-2.4, C-2.8: and where only the upper is left, not by a call for each name */
static void a_deep_directory_is_found_again(void **state)
{
    struct fixture *f = *state;
    make_dir(f, deep("upper", DEEP, "d"), 0755);
    make_dir(f, deep("upper", DEEP, ".wh.d"), 0755);
    make_link(f, deep("upper", DEEP / 2 + 1, "link"), "d");
    make_dir(f, "lower2/top/d/d/d", 0755);
    make_file(f, "upper/top/d/d/.wh..wh..opq", 0644, "");
    fixture_open(f, "");
    unsigned calls;
    assert_int_equal(locate_deep(f, DEEP, "d", &calls), 0);
    if (has_openat2())
        assert_in_range(calls, 4, DEEP / 2);
    assert_int_equal(locate_deep(f, DEEP, "link", &calls), -ENOTDIR);
    assert_int_equal(locate_deep(f, DEEP, ".wh.d", &calls), -ENOENT);
    assert_int_equal(locate_deep(f, DEEP, "none", &calls), -ENOENT);
    assert_int_equal(locate_deep(f, DEEP + 1, "d", &calls), -ENOENT);
}

static void copy_up_and_hide(void *arg)
{
    const struct fixture *f = arg;
    make_dir(f, "upper/d", 0755);
    make_file(f, "upper/.wh.d", 0644, "");
}

/* A directory that only a lower layer has is renamed: it is copied up, its old name gets a whiteout, it goes.  Whoever
 * looks at it while that has come as far as the whiteout finds it, wherever that falls in the look-up. */
static void a_name_is_there_until_its_rename(void **state)
{
    struct fixture *f = *state;
    make_file(f, "lower1/d/below", 0644, "");
    make_dir(f, "upper", 0755);
    fixture_open(f, "");
    unsigned n = 0;
    do {
        fault_run_before(++n, 0, copy_up_and_hide, f);
        bool exists = find(f, "/d")->exists;
        fault_disarm();
        if (!exists)
            fail_msg("missing when it is copied up and hidden before call %u", n);
        rmdir(real(f, "upper/d"));
        unlink(real(f, "upper/.wh.d"));
    } while (fault_hit() >= 0);
    assert_true(n > 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(the_highest_layer_wins),
        FIXTURE_TEST(directories_merge_until_something_else),
        FIXTURE_TEST(a_symbolic_link_is_not_a_directory),
        FIXTURE_TEST(a_wh_file_hides_all_layers_below_its_own),
        FIXTURE_TEST(only_a_regular_wh_file_of_a_name_hides),
        FIXTURE_TEST(reserved_names_are_never_there),
        FIXTURE_TEST(a_0_0_device_hides),
        FIXTURE_TEST(an_xattr_whiteout_counts_in_a_marked_directory),
        FIXTURE_TEST(the_same_with_trusted),
        FIXTURE_TEST(opaque_directories_hide_what_lies_below),
        FIXTURE_TEST(opacity_reaches_down),
        FIXTURE_TEST(the_root_of_a_layer_can_be_opaque),
        FIXTURE_TEST(what_lies_elsewhere_is_an_error),
        FIXTURE_TEST(the_root_of_a_layer_can_be_impure),
        FIXTURE_TEST(long_names),
        FIXTURE_TEST(many_layers),
        FIXTURE_TEST(a_deep_directory_is_found_again),
        FIXTURE_TEST(a_name_is_there_until_its_rename),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
