/* SPDX-License-Identifier: MIT
 *
 * The directory cache: what it knows costs no call that asks layers, and is the same as the plain walk says, whoever
 * changes it; and what it never keeps.
 */
#define _GNU_SOURCE
#include "fixture_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* ---- what is known --------------------------------------------------------------------------------------- */

static void known_names_cost_nothing(void **state)
{
    struct fixture *f = *state;
    static const char *const there[] = {"/d", "/d/f", "/d/g", "/d/u", "/d/l", "/d/sub", "/d/sub/x", "/empty"};
    static const char *const missing[] = {"/none", "/d/none", "/d/gone", "/d/sub/none", "/empty/none", "/none/below"};
    cache_layers(f);
    assert_true(cost(f, "/d/sub/x") > 0);
    for (unsigned i = 0; i < sizeof there / sizeof *there; i++)
        if (!is_known(f, there[i]) || look(f, there[i]) != 1)
            fail_msg("%s costs %u calls", there[i], cost(f, there[i]));
    for (unsigned i = 0; i < sizeof missing / sizeof *missing; i++)
        if (!is_known(f, missing[i]))
            fail_msg("%s costs %u calls", missing[i], cost(f, missing[i]));
    ovl_cache_use(OVL_CACHE_OFF);
    assert_true(cost(f, "/d/none") > 0);
    ovl_cache_use(OVL_CACHE_EAGER);
    AGREE(f, "/none", "/d/none", "/d/gone", "/d/f/none", "/d/.wh.gone", "/d/sub/.", "/d//f", "/d/f/", "/d/l/");
}

static void a_listing_costs_nothing(void **state)
{
    struct fixture *f = *state;
    cache_layers(f);
    assert_true(is_dir_known(f, ""));
    assert_true(is_dir_known(f, "/d"));
    assert_true(is_dir_known(f, "/d/sub"));
    assert_true(is_dir_known(f, "/empty"));
    assert_string_equal(names(f, "/d"), "f g l sub u ");
    assert_int_equal(op_write(f, "/d/new", O_WRONLY | O_CREAT, 0644, "x"), 0);
    assert_string_equal(names(f, "/d"), "f g l new sub u ");
    assert_int_equal(op_unlink(f, "/d/f"), 0);
    assert_string_equal(names(f, "/d"), "g l new sub u ");
    assert_true(is_dir_known(f, "/d"));
}

/* Only after some looks, where tests don't want it at once. */
static void a_table_must_be_worth_it(void **state)
{
    struct fixture *f = *state;
    cache_layers(f);
    ovl_cache_use(OVL_CACHE_ON);
    for (int i = 0; i < 3; i++)
        assert_true(cost(f, "/d/f") > 0);
    for (int i = 0; i < 20; i++)
        look(f, "/d/f");
    assert_int_equal(cost(f, "/d/f"), 0);
}

static void changes_are_seen(void **state)
{
    struct fixture *f = *state;
    static const char *const all[] = {"/d/f", "/d/g", "/d/new", "/d/moved", "/d/u",      "/d/dir",
                                      "/x",   "/x/f", "/x/sub", "/empty",   "/empty/in", NULL};
    cache_layers(f);
    agree(f, all);
    assert_int_equal(op_write(f, "/d/new", O_WRONLY | O_CREAT | O_EXCL, 0600, "new"), 0);
    agree(f, all);
    assert_true(is_known(f, "/d/new"));
    assert_int_equal(op_write(f, "/d/f", O_WRONLY | O_APPEND, 0, "more"), 0);
    agree(f, all);
    assert_string_equal(merged_text(f, "/d/f"), "onemore");
    assert_int_equal(op_rename(f, "/d/g", "/d/moved", 0), 0);
    agree(f, all);
    assert_int_equal(op_unlink(f, "/d/u"), 0);
    assert_int_equal(op_unlink(f, "/d/f"), 0);
    agree(f, all);
    assert_true(is_known(f, "/d/f"));
    assert_int_equal(op_symlink(f, "moved", "/d/f"), 0);
    assert_int_equal(op_mkdir(f, "/d/dir", 0755), 0);
    assert_int_equal(op_link(f, "/d/new", "/d/u"), 0);
    agree(f, all);
    assert_int_equal(op_rename(f, "/d/f", "/d/new", RENAME_EXCHANGE), 0);
    agree(f, all);
    assert_int_equal(op_write(f, "/empty/in", O_WRONLY | O_CREAT, 0600, ""), 0);
    agree(f, all);
    assert_int_equal(op_rename(f, "/d", "/x", 0), 0);
    agree(f, all);
    assert_int_equal(op_rename(f, "/x", "/empty", RENAME_EXCHANGE), 0);
    agree(f, all);
}

/* Whoever changes a name says what has become of it: nobody needs to ask. */
static void what_was_changed_is_known(void **state)
{
    struct fixture *f = *state;
    static const char *const all[] = {"/d/f", "/d/g", "/d/new", "/d/link", "/d/moved", "/d/u", NULL};
    cache_layers(f);
    assert_true(is_known(f, "/d/none"));
    assert_int_equal(op_write(f, "/d/new", O_WRONLY | O_CREAT | O_EXCL, 0600, ""), 0);
    assert_int_equal(cost(f, "/d/new"), 0);
    assert_int_equal(op_symlink(f, "new", "/d/link"), 0);
    assert_int_equal(cost(f, "/d/link"), 0);
    assert_int_equal(op_rename(f, "/d/new", "/d/moved", 0), 0);
    assert_int_equal(cost(f, "/d/new") + cost(f, "/d/moved"), 0);
    assert_int_equal(op_rename(f, "/d/moved", "/d/u", 0), 0);
    assert_int_equal(cost(f, "/d/moved") + cost(f, "/d/u"), 0);
    assert_int_equal(op_unlink(f, "/d/g"), 0);
    assert_int_equal(op_unlink(f, "/d/link"), 0);
    assert_int_equal(cost(f, "/d/g") + cost(f, "/d/link"), 0);
    agree(f, all);
    /* Of what failed, or did nothing, nothing is said. */
    assert_int_equal(op_rename(f, "/d/f", "/d/u", RENAME_NOREPLACE), -EEXIST);
    assert_int_equal(op_link(f, "/d/u", "/d/new"), 0);
    assert_int_equal(op_rename(f, "/d/u", "/d/new", 0), 0);
    agree(f, all);
}

/* Nobody needs to look into a directory that was just made. */
static void a_new_directory_is_known(void **state)
{
    struct fixture *f = *state;
    cache_layers(f);
    assert_true(is_known(f, "/d/gone"));
    assert_int_equal(op_mkdir(f, "/d/dir", 0755), 0);
    assert_int_equal(op_mkdir(f, "/d/gone", 0711), 0);
    assert_int_equal(cost(f, "/d/dir/none") + cost(f, "/d/gone/none"), 0);
    assert_int_equal(op_mkdir(f, "/d/dir/below", 0755), 0);
    assert_int_equal(op_write(f, "/d/dir/below/f", O_WRONLY | O_CREAT, 0600, ""), 0);
    assert_int_equal(cost(f, "/d/dir/below/f"), 0);
    AGREE(f, "/d/dir", "/d/dir/below", "/d/dir/below/f", "/d/gone", "/d/gone/none", "/d/dir/none");
    assert_string_equal(names(f, "/d/dir/below"), "f ");
    assert_string_equal(names(f, "/d/gone"), "");
}

/* A whiteout that comes where there was none is looked for again. */
static void whiteouts_are_expected(void **state)
{
    struct fixture *f = *state;
    cache_layers(f);
    assert_int_equal(op_write(f, "/empty/new", O_WRONLY | O_CREAT, 0600, ""), 0);
    assert_true(is_dir_known(f, "/empty"));
    assert_true(is_known(f, "/d/g"));
    assert_true(is_dir_known(f, ""));
    assert_int_equal(op_rename(f, "/d", "/x", 0), 0);
    assert_true(is_there(f, "upper/.wh.d"));
    assert_int_equal(op_mkdir(f, "/d", 0755), 0);
    assert_false(is_there(f, "upper/.wh.d"));
    assert_string_equal(names(f, "/d"), "");
    AGREE(f, "/d", "/d/f", "/x/f");
}

static bool lists_whiteouts(struct fixture *f, const char *path)
{
    struct ovl_listing listing;
    assert_int_equal(ovl_list(&f->ctx, find(f, path), &listing), 0);
    bool whiteouts = listing.whiteouts;
    ovl_listing_free(&listing);
    return whiteouts;
}

/* A listing says the same of whiteouts, whether it comes from the layers or from the cache. */
static void whiteouts_of_a_listing(void **state)
{
    struct fixture *f = *state;
    cache_layers(f);
    assert_int_equal(op_unlink(f, "/d/g"), 0);
    assert_int_equal(op_write(f, "/empty/new", O_WRONLY | O_CREAT, 0600, ""), 0);
    for (int i = 0; i < 3; i++) {
        assert_true(lists_whiteouts(f, "/d"));
        assert_false(lists_whiteouts(f, "/empty"));
    }
    assert_true(is_dir_known(f, "/d"));
}

/* Copied up, emptied, removed, made again (and then it merges with nothing), moved. */
static void directories_come_and_go(void **state)
{
    struct fixture *f = *state;
    static const char *const all[] = {"/d", "/d/f", "/d/g", "/d/sub", "/d/sub/x", "/y", "/y/f", "/y/new", NULL};
    cache_layers(f);
    agree(f, all);
    assert_int_equal(op_copy_up(f, "/d/sub", OVL_COPY_ALL), 0);
    agree(f, all);
    assert_int_equal(op_write(f, "/d/sub/y", O_WRONLY | O_CREAT, 0600, ""), 0);
    agree(f, all);
    assert_int_equal(op_unlink(f, "/d/sub/y"), 0);
    assert_int_equal(op_unlink(f, "/d/sub/x"), 0);
    assert_int_equal(op_rmdir(f, "/d/sub"), 0);
    agree(f, all);
    assert_true(is_known(f, "/d/sub"));
    assert_int_equal(op_mkdir(f, "/d/sub", 0755), 0);
    agree(f, all);
    assert_int_equal(look(f, "/d/sub/x"), 0);
    assert_true(is_known(f, "/d/sub/x"));
    static const char *const rest[] = {"/d/f", "/d/g", "/d/l", "/d/u"};
    for (unsigned i = 0; i < sizeof rest / sizeof *rest; i++)
        assert_int_equal(op_unlink(f, rest[i]), 0);
    assert_int_equal(op_rmdir(f, "/d/sub"), 0);
    assert_int_equal(op_rmdir(f, "/d"), 0);
    agree(f, all);
    assert_int_equal(op_mkdir(f, "/y", 0700), 0);
    assert_int_equal(op_write(f, "/y/new", O_WRONLY | O_CREAT, 0600, ""), 0);
    agree(f, all);
    assert_int_equal(op_rename(f, "/y", "/d", 0), 0);
    agree(f, all);
}

static void replace_by_directory(struct fixture *f)
{
    if (op_unlink(f, "/d/g") < 0 || op_mkdir(f, "/d/g", 0755) < 0 ||
        op_write(f, "/d/g/in", O_WRONLY | O_CREAT, 0600, "in") < 0)
        _exit(1);
}

static void replace_by_file(struct fixture *f)
{
    if (op_unlink(f, "/d/g/in") < 0 || op_rmdir(f, "/d/g") < 0 ||
        op_write(f, "/d/g", O_WRONLY | O_CREAT, 0600, "file again") < 0)
        _exit(1);
}

static void another_process_changes_the_type(void **state)
{
    struct fixture *f = *state;
    cache_layers(f);
    for (int i = 0; i < 3; i++) {
        assert_true(is_known(f, "/d/g"));
        in_child(f, replace_by_directory);
        assert_int_equal(look(f, "/d/g/in"), 1);
        AGREE(f, "/d/g", "/d/g/in");
        assert_true(is_known(f, "/d/g/in"));
        in_child(f, replace_by_file);
        assert_int_equal(look(f, "/d/g/in"), -1);
        AGREE(f, "/d/g", "/d/g/in");
    }
}

struct mode_of {
    const char *place;
    mode_t mode;
};

static int set_mode(void *arg)
{
    const struct mode_of *m = arg;
    return chmod(m->place, m->mode);
}

static void change_mode(struct fixture *f, mode_t mode)
{
    struct mode_of m = {real(f, "upper/d"), mode};
    assert_int_equal(ovl_change_search(find(f, "/d"), set_mode, &m), 0);
}

static void be_another(void)
{
    if (setresgid(12345, 12345, 12345) < 0 || setresuid(12345, 12345, 12345) < 0)
        _exit(9);
}

static void look_as_another(struct fixture *f)
{
    struct ovl_node *node;
    be_another();
    if (look(f, "/d/f") != -1 || look(f, "/d/none") != -1 || glance(f, "/d/f", &node) != 0)
        _exit(1);
}

/* What everybody may search, or its owner, is kept for those; where the kernel decides, it is asked each time. */
static void search_is_asked_for(void **state)
{
    struct fixture *f = *state;
    struct ovl_node *node;
    cache_layers(f);
    assert_true(is_known(f, "/d/f"));
    change_mode(f, 0700);
    is_known(f, "/d/f");
    assert_int_equal(cost(f, "/d/f"), 1); /* who we are */
    assert_int_equal(glance(f, "/d/f", &node), 1);
    assert_int_equal(glance(f, "/d/none", &node), -ENOENT);
    if (geteuid() == 0)
        in_child(f, look_as_another);
    AGREE(f, "/d", "/d/f", "/d/none");
    change_mode(f, 0611);
    is_known(f, "/d/f");
    assert_true(cost(f, "/d/f") > 0);
    assert_int_equal(glance(f, "/d/f", &node), 0);
    AGREE(f, "/d", "/d/f", "/d/none");
}

/* ---- what is not kept at all --------------------------------------------------------------------------------- */

static void other_names_are_copied_up(void **state)
{
    struct fixture *f = *state;
    make_file(f, "lower1/a/h1", 0644, "linked");
    make_hard_link(f, "lower1/b/h2", "lower1/a/h1");
    make_hard_link(f, "lower1/b/h3", "lower1/a/h1");
    fixture_open(f, "");
    names(f, "/a");
    names(f, "/b");
    AGREE(f, "/a/h1", "/b/h2");
    assert_string_equal(merged_text(f, "/b/h2"), "linked");
    assert_int_equal(op_write(f, "/a/h1", O_WRONLY | O_TRUNC, 0, "written"), 0);
    assert_string_equal(merged_text(f, "/b/h2"), "written");
    AGREE(f, "/a/h1", "/b/h2", "/b/h3");
    assert_int_equal(op_unlink(f, "/a/h1"), 0);
    AGREE(f, "/a/h1", "/b/h2", "/b/h3");
    assert_int_equal(op_write(f, "/b/h3", O_WRONLY | O_APPEND, 0, " twice"), 0);
    assert_string_equal(merged_text(f, "/b/h2"), "written twice");
    AGREE(f, "/a/h1", "/b/h2", "/b/h3");
}

static void other_names_of_special_files_are_copied_up(void **state)
{
    struct fixture *f = *state;
    make_node(f, "lower1/a/fifo", S_IFIFO | 0644, 0);
    make_hard_link(f, "lower1/b/fifo", "lower1/a/fifo");
    make_link(f, "lower1/a/link", "target");
    make_hard_link(f, "lower1/b/link", "lower1/a/link");
    fixture_open(f, "");
    names(f, "/b");
    AGREE(f, "/b/fifo", "/b/link");
    assert_int_equal(op_copy_up(f, "/a/fifo", OVL_COPY_ALL), 0);
    assert_int_equal(op_copy_up(f, "/a/link", OVL_COPY_ALL), 0);
    assert_int_equal(chmod(real(f, "upper/a/fifo"), 0600), 0);
    AGREE(f, "/b/fifo", "/b/link");
}

static void impure_directories_are_asked(void **state)
{
    struct fixture *f = *state;
    make_file(f, "lower1/d/f", 0644, "");
    make_file(f, "lower1/d/sub/x", 0644, "");
    make_file(f, "lower1/pure/f", 0644, "");
    set_xattr(f, "lower1/d", "user.overlay.impure", "y");
    make_file(f, "lower1/moved/f", 0644, "");
    set_xattr(f, "lower1/moved", "user.overlay.redirect", "/d");
    fixture_open(f, "");
    assert_true(is_known(f, "/pure/f"));
    assert_false(is_known(f, "/d/f"));
    assert_false(is_known(f, "/d/none"));
    assert_false(is_known(f, "/d/sub/x"));
    assert_false(is_dir_known(f, "/d"));
    AGREE(f, "/d/f", "/d/none", "/d/sub/x", "/moved", "/moved/f");
}

static void whiteouts_of_every_form(void **state)
{
    struct fixture *f = *state;
    static const char *const all[] = {"/d/file",     "/d/device", "/d/attribute", "/d/stays", "/opaque/old",
                                      "/marked/old", "/d",        "/opaque/new",  NULL};
    make_file(f, "lower2/d/file", 0644, "");
    make_file(f, "lower2/d/device", 0644, "");
    make_file(f, "lower2/d/attribute", 0644, "");
    make_file(f, "lower2/d/stays", 0644, "");
    make_file(f, "lower2/opaque/old", 0644, "");
    make_file(f, "lower2/marked/old", 0644, "");
    make_file(f, "lower1/d/.wh.file", 0644, "");
    make_file(f, "lower1/d/attribute", 0644, "");
    set_xattr(f, "lower1/d/attribute", "user.overlay.whiteout", "y");
    set_xattr(f, "lower1/d", "user.overlay.opaque", "x");
    make_file(f, "lower1/opaque/.wh..wh..opq", 0644, "");
    make_file(f, "lower1/opaque/new", 0644, "");
    make_dir(f, "lower1/marked", 0755);
    set_xattr(f, "lower1/marked", "user.overlay.opaque", "y");
    if (geteuid() == 0)
        make_node(f, "lower1/d/device", S_IFCHR | 0600, makedev(0, 0));
    fixture_open(f, "");
    agree(f, all);
    assert_string_equal(names(f, "/d"), geteuid() == 0 ? "stays " : "device stays ");
    for (unsigned i = 0; all[i]; i++)
        assert_true(is_known(f, all[i]));
    assert_int_equal(look(f, "/d/file") + look(f, "/d/attribute") + look(f, "/opaque/old") + look(f, "/marked/old"), 0);
}

static void overlays_below_and_parts_that_pass(void **state)
{
    struct fixture *f = *state;
    make_file(f, "lower1/d/f", 0644, "outer");
    make_file(f, "lower1/d/in/hidden", 0644, "outer");
    make_file(f, "lower2/y", 0644, "inner");
    make_file(f, "mount/d/out/real", 0644, "real");
    make_file(f, "lower1/d/out/hidden", 0644, "outer");
    fixture_open_conf(f, "mount=@/mount,lowerdir=@/lower1,upperdir=@/upper,exclude=d/out;"
                         "mount=@/mount/d/in,lowerdir=@/lower2,upperdir=@/upper2");
    static const char *const all[] = {"/d/in",       "/d/in/y", "/d/in/hidden", "/d/in/new", "/d/out",
                                      "/d/out/real", "/d/f",    "/d/none",      NULL};
    for (int i = 0; i < 3; i++) {
        assert_string_equal(names(f, "/d"), "f in out ");
        for (const char *const *path = all; *path; path++)
            agree_on_name(f, *path);
    }
    assert_true(is_known(f, "/d/in/y"));
    assert_true(is_known(f, "/d/in/hidden"));
    assert_int_equal(look(f, "/d/in/hidden"), 0);
    assert_int_equal(op_write(f, "/d/in/new", O_WRONLY | O_CREAT, 0600, ""), 0);
    for (const char *const *path = all; *path; path++)
        agree_on_name(f, *path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CACHE_TEST(known_names_cost_nothing),
        CACHE_TEST(a_listing_costs_nothing),
        CACHE_TEST(a_table_must_be_worth_it),
        CACHE_TEST(changes_are_seen),
        CACHE_TEST(what_was_changed_is_known),
        CACHE_TEST(a_new_directory_is_known),
        CACHE_TEST(whiteouts_are_expected),
        CACHE_TEST(whiteouts_of_a_listing),
        CACHE_TEST(directories_come_and_go),
        CACHE_TEST(another_process_changes_the_type),
        CACHE_TEST(search_is_asked_for),
        CACHE_TEST(other_names_are_copied_up),
        CACHE_TEST(other_names_of_special_files_are_copied_up),
        CACHE_TEST(impure_directories_are_asked),
        CACHE_TEST(whiteouts_of_every_form),
        CACHE_TEST(overlays_below_and_parts_that_pass),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
