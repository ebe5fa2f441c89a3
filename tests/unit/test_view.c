/* SPDX-License-Identifier: MIT
 *
 * What tools ask of a space: a look that changes nothing, layers by themselves, settings, and who uses a work
 * directory.
 */
#define _GNU_SOURCE
#include "config_check.h"
#include "fixture.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- a look ---------------------------------------------------------------------------------------------- */

static struct ovl_space *looked(const struct fixture *f, const char *conf)
{
    struct ovl_space *space = NULL;
    struct ovl_message why;
    if (ovl_space_look(expanded(f, conf), &space, &why) < 0)
        fail_msg("%s", why.text);
    return space;
}

#define CONF "mount=@/mount,lowerdir=@/lower1:@/lower2,upperdir=@/upper"

static void a_look_makes_nothing(void **state)
{
    struct fixture *f = *state;
    make_file(f, "lower2/a", 0644, "a");
    make_hard_link(f, "lower2/b", "lower2/a"); /* its group is looked for in the work directory */
    rmdir(real(f, "upper"));
    rmdir(real(f, "upper.work"));
    fixture_remember(f);
    f->space = looked(f, CONF);
    f->ovl = ovl_space_at(f->space, 0);
    assert_int_equal(ovl_ctx_begin(&f->ctx, f->space, &ovl_ops_kernel), 0);
    assert_string_equal(merged_text(f, "/a"), "a");
    assert_string_equal(names(f, "/"), "a b ");
    assert_false(ovl_has_links(f->ovl));
    assert_false(is_there(f, "upper"));
    assert_false(is_there(f, "upper.work"));
    fixture_close(f);
    /* And of a work directory there is only as much as there was. */
    make_dir(f, "upper.work/state", 0700);
    make_dir(f, "upper.work/work", 0700);
    f->space = looked(f, CONF);
    f->ovl = ovl_space_at(f->space, 0);
    assert_int_equal(ovl_ctx_begin(&f->ctx, f->space, &ovl_ops_kernel), 0);
    assert_string_equal(merged_text(f, "/a"), "a");
    assert_true(find(f, "/a")->exists);
    assert_string_equal(names_in(f, "upper.work/work"), "");
    assert_string_equal(names_in(f, "upper.work/state"), "");
}

static void a_look_uses_no_cache(void **state)
{
    struct fixture *f = *state;
    make_file(f, "lower1/a", 0644, "a");
    ovl_cache_use(OVL_CACHE_OFF);
    fixture_open(f, "");
    fixture_close(f);
    ovl_cache_use(OVL_CACHE_EAGER);
    f->space = looked(f, CONF);
    f->ovl = ovl_space_at(f->space, 0);
    assert_int_equal(ovl_ctx_begin(&f->ctx, f->space, &ovl_ops_kernel), 0);
    assert_string_equal(names(f, "/"), "a ");
    assert_string_equal(names_in(f, "upper.work/cache"), "");
    ovl_cache_use(OVL_CACHE_ON);
}

static void a_look_is_refused_as_all_others(void **state)
{
    struct fixture *f = *state;
    struct ovl_space *space;
    struct ovl_message why;
    assert_int_equal(ovl_space_look(expanded(f, "mount=@/m,lowerdir=@/none"), &space, &why), -EINVAL);
    assert_string_equal(why.text, expanded(f, "OVL_CONF: lowerdir=@/none: no such file or directory; name a directory "
                                              "that exists"));
    assert_int_equal(ovl_space_look(expanded(f, "mount=@/m,lowerdir=@/lower1,upperdir=@/lower1"), &space, &why),
                     -EINVAL);
}

/* ---- views ------------------------------------------------------------------------------------------------- */

/* The layer that a view has a name of the mount in, or -1. */
static int top_in(struct fixture *f, unsigned first, unsigned end, const char *name)
{
    const struct ovl_view view = {f->ovl, first, end};
    size_t mark = f->ctx.used;
    struct ovl_node *node = ovl_node_new(&f->ctx);
    assert_int_equal(ovl_view_mount(&f->ctx, &view, node), 0);
    const struct ovl_stack dirs = node->dirs;
    assert_int_equal(ovl_view_name(&f->ctx, &view, &dirs, name, node), 0);
    int top = node->exists ? (int)node->top : -1;
    ovl_ctx_reset(&f->ctx, mark);
    return top;
}

static void a_view_is_of_its_layers(void **state)
{
    struct fixture *f = *state;
    make_file(f, "upper/a", 0644, "");
    make_file(f, "lower1/a", 0644, "");
    make_file(f, "lower2/a", 0644, "");
    make_file(f, "upper/.wh.b", 0644, "");
    make_file(f, "lower1/.wh.c", 0644, "");
    make_file(f, "lower2/b", 0644, "");
    make_file(f, "lower2/c", 0644, "");
    fixture_open(f, "");
    assert_int_equal(top_in(f, 0, 3, "a"), 0);
    assert_int_equal(top_in(f, 1, 3, "a"), 1);
    assert_int_equal(top_in(f, 2, 3, "a"), 2);
    assert_int_equal(top_in(f, 0, 3, "b"), -1);
    assert_int_equal(top_in(f, 1, 3, "b"), 2);
    assert_int_equal(top_in(f, 1, 3, "c"), -1);
    assert_int_equal(top_in(f, 2, 3, "c"), 2);
    assert_int_equal(top_in(f, 0, 2, "c"), -1);
}

static void an_opaque_root_hides_in_its_view_only(void **state)
{
    struct fixture *f = *state;
    make_file(f, "upper/.wh..wh..opq", 0644, "");
    make_file(f, "lower1/a", 0644, "");
    make_file(f, "lower2/b", 0644, "");
    fixture_open(f, "");
    assert_int_equal(top_in(f, 0, 3, "a"), -1);
    assert_int_equal(top_in(f, 1, 3, "a"), 1);
    assert_int_equal(top_in(f, 1, 3, "b"), 2);
}

/* The lower object itself, though another of its names was changed. */
static void a_lower_view_knows_no_copies(void **state)
{
    struct fixture *f = *state;
    make_file(f, "lower1/a", 0644, "old");
    make_hard_link(f, "lower1/b", "lower1/a");
    fixture_open(f, "");
    assert_false(ovl_has_links(f->ovl));
    assert_int_equal(op_write(f, "/a", O_WRONLY | O_TRUNC, 0, "new, longer"), 0);
    assert_true(ovl_has_links(f->ovl));
    assert_true(find(f, "/b")->linked);
    const struct ovl_view view = {f->ovl, 1, 3};
    struct ovl_node *node = ovl_node_new(&f->ctx);
    assert_int_equal(ovl_view_mount(&f->ctx, &view, node), 0);
    const struct ovl_stack dirs = node->dirs;
    assert_int_equal(ovl_view_name(&f->ctx, &view, &dirs, "b", node), 0);
    assert_false(node->linked);
    assert_string_equal(node->real, real(f, "lower1/b"));
    assert_int_equal(node->st.st_size, 3);
}

static void a_view_ends_at_other_overlays(void **state)
{
    struct fixture *f = *state;
    make_dir(f, "lower1/in", 0755);
    make_dir(f, "lower1/out", 0755);
    fixture_open_conf(f, "mount=@/mount,lowerdir=@/lower1,upperdir=@/upper,exclude=@/mount/out;"
                         "mount=@/mount/in,lowerdir=@/lower2");
    struct ovl *o = ovl_space_at(f->space, 1);
    const struct ovl_view view = {o, 0, 2};
    struct ovl_node *node = ovl_node_new(&f->ctx);
    static const char *const name[] = {"in", "out"};
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(ovl_view_mount(&f->ctx, &view, node), 0);
        const struct ovl_stack dirs = node->dirs;
        assert_int_equal(ovl_view_name(&f->ctx, &view, &dirs, name[i], node), 0);
        assert_null(node->ovl);
        assert_false(node->exists);
    }
}

/* ---- one layer ------------------------------------------------------------------------------------------------ */

static enum ovl_says says(struct fixture *f, const char *path, unsigned layer, bool opaque)
{
    struct ovl_said said;
    assert_int_equal(ovl_layer_says(&f->ctx, find(f, path), layer, &said), 0);
    assert_int_equal(said.opaque, opaque);
    return said.says;
}

static void what_one_layer_says(void **state)
{
    struct fixture *f = *state;
    make_file(f, "upper/.wh.gone", 0644, "");
    make_file(f, "lower1/gone", 0644, "");
    make_file(f, "upper/d/.wh..wh..opq", 0644, "");
    make_dir(f, "lower1/d", 0755);
    make_dir(f, "upper/e", 0755);
    make_file(f, "upper/.wh.e", 0644, "");
    make_dir(f, "lower2/e", 0755);
    fixture_open(f, "");
    assert_int_equal(says(f, "/gone", 0, false), OVL_SAYS_WHITEOUT);
    assert_int_equal(says(f, "/gone", 1, false), OVL_SAYS_OBJECT);
    assert_int_equal(says(f, "/gone", 2, false), OVL_SAYS_NOTHING);
    assert_int_equal(says(f, "/d", 0, true), OVL_SAYS_OBJECT);
    assert_int_equal(says(f, "/d", 1, false), OVL_SAYS_OBJECT);
    assert_int_equal(says(f, "/e", 0, true), OVL_SAYS_OBJECT); /* a whiteout beside it */
    assert_int_equal(says(f, "/e", 2, false), OVL_SAYS_OBJECT);
    assert_int_equal(says(f, "/", 0, false), OVL_SAYS_OBJECT);
}

/* ---- settings --------------------------------------------------------------------------------------------------- */

static void settings_are_complete(void **state)
{
    struct fixture *f = *state;
    char all[4096] = "";
    const char *key, *value;
    fixture_open(f, ",exclude=x:y,readdir=native,static=warn,static-allow=/a/b,volatile=on,patch=off,whiteout=oci");
    for (unsigned i = 0; ovl_setting(f->ovl, i, &key, &value); i++) {
        strcat(all, key);
        strcat(strcat(strcat(all, "="), value), "\n");
    }
    assert_string_equal(
        all, expanded(f, "mount=@/mount\nlowerdir=@/lower1\nlowerdir=@/lower2\nupperdir=@/upper\n"
                         "workdir=@/upper.work\nexclude=@/mount/x\nexclude=@/mount/y\nwhiteout=oci\n"
                         "readdir=native\nstatic=warn\nstatic-allow=/a/b\nvolatile=on\npatch=off\nguard=off\n"));
    fixture_close(f);
    fixture_open_read_only(f);
    for (unsigned i = 0; ovl_setting(f->ovl, i, &key, &value); i++)
        assert_string_not_equal(key, "upperdir");
}

/* ---- in use -------------------------------------------------------------------------------------------------------
 */

static void who_uses_a_work_directory(void **state)
{
    struct fixture *f = *state;
    int ends[2];
    char byte = 0;
    fixture_remember(f);
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        struct ovl_space *space = opened(f, CONF);
        (void)!write(ends[1], &byte, 1);
        pause();
        ovl_space_close(space);
        _exit(0);
    }
    assert_int_equal(read(ends[0], &byte, 1), 1);
    struct ovl_space *space = looked(f, CONF);
    assert_int_equal(ovl_in_use(ovl_space_at(space, 0)), child);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    assert_int_equal(ovl_in_use(ovl_space_at(space, 0)), 0);
    ovl_space_close(space);
    close(ends[0]);
    close(ends[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(a_look_makes_nothing),
        FIXTURE_TEST(a_look_uses_no_cache),
        FIXTURE_TEST(a_look_is_refused_as_all_others),
        FIXTURE_TEST(a_view_is_of_its_layers),
        FIXTURE_TEST(an_opaque_root_hides_in_its_view_only),
        FIXTURE_TEST(a_lower_view_knows_no_copies),
        FIXTURE_TEST(a_view_ends_at_other_overlays),
        FIXTURE_TEST(what_one_layer_says),
        FIXTURE_TEST(settings_are_complete),
        FIXTURE_TEST(who_uses_a_work_directory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
