/* SPDX-License-Identifier: MIT
 *
 * Anchors: which directories may be one, and what is found and changed below them, also where the layer's own path does
 * not lead there any more: the upper is moved away, which stands for a directory that may not be searched.
 */
#define _GNU_SOURCE
#include "fixture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int anchor(struct fixture *f, const char *layer_path, const char *path)
{
    int fd = open(real(f, layer_path), O_PATH | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    return ovl_anchor(&f->ctx, fd, merged(f, path));
}

/* Also a second place beside what was found before. */
static struct ovl_node *also_from(struct fixture *f, const char *base, const char *path)
{
    struct ovl_node *node = ovl_node_new(&f->ctx);
    assert_non_null(node);
    assert_int_equal(ovl_resolve(&f->ctx, merged(f, base), path, 0, node), 0);
    return node;
}

static struct ovl_node *from(struct fixture *f, const char *base, const char *path)
{
    ovl_ctx_reset(&f->ctx, 0);
    return also_from(f, base, path);
}

static void only_what_the_upper_alone_has(void **state)
{
    struct fixture *f = *state;
    make_dir(f, "lower1/merged", 0755);
    make_dir(f, "lower2/deep/merged", 0755);
    make_dir(f, "lower1/low", 0755);
    make_dir(f, "lower1/opaque", 0755);
    make_file(f, "lower1/file", 0644, "");
    make_dir(f, "upper/merged", 0755);
    make_dir(f, "upper/deep/merged", 0755);
    make_dir(f, "upper/file", 0755);
    make_dir(f, "upper/up/d", 0755);
    make_file(f, "upper/opaque/.wh..wh..opq", 0644, "");
    fixture_open(f, "");
    unsigned fds = open_fds();
    assert_int_equal(anchor(f, "upper/merged", "/merged"), -EACCES);
    assert_int_equal(anchor(f, "upper/deep/merged", "/deep/merged"), -EACCES);
    assert_int_equal(anchor(f, "lower1/low", "/low"), -EACCES);
    assert_int_equal(anchor(f, "upper/up", "/up/d"), -EACCES);
    assert_int_equal(anchor(f, "upper/up/d", "/up"), -EACCES);
    assert_int_equal(anchor(f, "lower1", "/up"), -EACCES);
    assert_int_equal(open_fds(), fds);
    assert_int_equal(anchor(f, "upper/up/d", "/up/d"), 0);
    assert_int_equal(anchor(f, "upper/opaque", "/opaque"), 0);
    assert_int_equal(anchor(f, "upper/file", "/file"), 0);
    assert_int_equal(f->ctx.anchors, 3);
    size_t size = f->ctx.size;
    ovl_ctx_close(&f->ctx, 1);
    assert_int_equal(f->ctx.anchors, 1);
    assert_true(f->ctx.size > size);
    ovl_ctx_close(&f->ctx, 0);
    assert_int_equal(f->ctx.anchors, 0);
    assert_int_equal(open_fds(), fds);
}

static void as_many_as_there_is_room_for(void **state)
{
    struct fixture *f = *state;
    make_dir(f, "upper/d", 0755);
    fixture_open(f, "");
    unsigned fds = open_fds();
    const unsigned room = sizeof f->ctx.anchor / sizeof *f->ctx.anchor;
    for (unsigned i = 0; i < room; i++)
        assert_int_equal(anchor(f, "upper/d", "/d"), 0);
    assert_int_equal(anchor(f, "upper/d", "/d"), -EACCES);
    ovl_ctx_close(&f->ctx, 0);
    assert_int_equal(open_fds(), fds);
}

static void paths_below_begin_at_it(void **state)
{
    struct fixture *f = *state;
    char out[OVL_REAL_MAX], wanted[64];
    make_dir(f, "upper/a/d", 0755);
    fixture_open(f, "");
    assert_int_equal(anchor(f, "upper/a/d", "/a/d"), 0);
    const char *root = f->ovl->layer[0].path;
    snprintf(wanted, sizeof wanted, "/proc/self/fd/%d/.", f->ctx.fd[0]);
    assert_int_equal(ovl_real_path(&f->ctx, root, "/a/d", out), 0);
    assert_string_equal(out, wanted);
    strcat(wanted, "/x/y");
    assert_int_equal(ovl_real_path(&f->ctx, root, "/a/d/x/y", out), 0);
    assert_string_equal(out, wanted);
    assert_int_equal(ovl_real_child(&f->ctx, root, "/a/d/x", "y", out), 0);
    assert_string_equal(out, wanted);
    assert_int_equal(ovl_real_path(&f->ctx, root, "/a/dd", out), 0);
    assert_string_equal(out, real(f, "upper/a/dd"));
    assert_int_equal(ovl_real_sibling(&f->ctx, root, "/a/d", ".wh.", out), 0); /* a name in the directory above */
    assert_string_equal(out, real(f, "upper/a/.wh.d"));
    assert_int_equal(ovl_real_path(&f->ctx, f->ovl->layer[1].path, "/a/d/x", out), 0);
    assert_string_equal(out, real(f, "lower1/a/d/x"));
}

static void everything_works_below(void **state)
{
    struct fixture *f = *state;
    char *away = strdup(real(f, "away")), *upper = strdup(real(f, "upper"));
    make_file(f, "lower1/a/d2/hidden", 0644, "");
    make_file(f, "upper/a/d/f", 0644, "text");
    make_file(f, "upper/a/d/sub/g", 0644, "");
    make_file(f, "upper/a/d/.wh.dir", 0600, "");
    fixture_open(f, "");
    assert_int_equal(anchor(f, "upper/a/d", "/a/d"), 0);
    assert_int_equal(rename(upper, away), 0);
    struct ovl_node *node = from(f, "/a/d", "f");
    assert_true(node->exists);
    assert_int_equal(node->top, 0);
    assert_string_equal(node->path, merged(f, "/a/d/f"));
    assert_true(from(f, "/a/d", "sub/../sub/g")->exists);
    assert_false(from(f, "/a/d", "missing")->exists);
    node = from(f, "/a/d", ".");
    assert_int_equal(ovl_resolve(&f->ctx, merged(f, "/a/d"), "../d/f", 0, node), -ENOENT);
    assert_int_equal(ovl_resolve(&f->ctx, NULL, merged(f, "/a/d/f"), 0, node), -ENOENT);
    assert_int_equal(ovl_resolve(&f->ctx, merged(f, "/a/d"), "f", OVL_LONG, node), -EACCES);
    int fd = ovl_open(&f->ctx, from(f, "/a/d", "new"), O_WRONLY | O_CREAT | O_EXCL, 0644);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(ovl_mkdir(&f->ctx, from(f, "/a/d", "dir"), 0755), 0);
    node = from(f, "/a/d", "new");
    assert_int_equal(ovl_rename(&f->ctx, node, also_from(f, "/a/d", "dir/renamed"), 0), 0);
    node = from(f, "/a/d", "f");
    assert_int_equal(ovl_link(&f->ctx, node, also_from(f, "/a/d", "dir/linked")), 0);
    assert_int_equal(ovl_unlink(&f->ctx, from(f, "/a/d", "f")), 0);
    struct ovl_listing listing;
    assert_int_equal(ovl_list(&f->ctx, from(f, "/a/d", "dir"), &listing), 0);
    assert_int_equal(listing.count, 4);
    ovl_listing_free(&listing);
    ovl_ctx_close(&f->ctx, 0);
    assert_int_equal(rename(away, upper), 0);
    assert_string_equal(text_of(f, "upper/a/d/dir/linked"), "text");
    assert_true(is_there(f, "upper/a/d/dir/renamed"));
    assert_false(is_there(f, "upper/a/d/f"));
    assert_false(is_there(f, "upper/a/d/.wh.f"));
    assert_false(is_there(f, "upper/a/d/.wh.dir"));
    free(away);
    free(upper);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(only_what_the_upper_alone_has),
        FIXTURE_TEST(as_many_as_there_is_room_for),
        FIXTURE_TEST(paths_below_begin_at_it),
        FIXTURE_TEST(everything_works_below),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
