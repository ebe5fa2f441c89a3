/* SPDX-License-Identifier: MIT
 *
 * Layer paths: joining, the root, and paths longer than the kernel takes.
 */
#define _GNU_SOURCE
#include "fixture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void joining(void **state)
{
    struct fixture *f = *state;
    char out[OVL_REAL_MAX];
    fixture_open(f, "");
    assert_int_equal(ovl_real_path(&f->ctx, "/layer", "/a/b", out), 0);
    assert_string_equal(out, "/layer/a/b");
    assert_int_equal(ovl_real_path(&f->ctx, "/layer", "", out), 0);
    assert_string_equal(out, "/layer");
    assert_int_equal(ovl_real_path(&f->ctx, "", "", out), 0);
    assert_string_equal(out, "/");
    assert_int_equal(ovl_real_path(&f->ctx, "", "/a", out), 0);
    assert_string_equal(out, "/a");
    assert_int_equal(ovl_real_sibling(&f->ctx, "/layer", "/a/b", ".wh.", out), 0);
    assert_string_equal(out, "/layer/a/.wh.b");
    assert_int_equal(ovl_real_sibling(&f->ctx, "", "/b", ".wh.", out), 0);
    assert_string_equal(out, "/.wh.b");
    assert_int_equal(ovl_real_child(&f->ctx, "/layer", "/a", "b", out), 0);
    assert_string_equal(out, "/layer/a/b");
    assert_int_equal(ovl_real_child(&f->ctx, "", "", "b", out), 0);
    assert_string_equal(out, "/b");
}

/* Make this many directories, one in the other, each 200 bytes of the path. */
static char *make_deep(struct fixture *f, size_t depth)
{
    char name[201] = "/";
    char *path = calloc(1, depth * 200 + 1);
    memset(name + 1, 'x', 199);
    int dir = open(real(f, "deep"), O_PATH | O_DIRECTORY | O_CLOEXEC);
    while (depth--) {
        strcat(path, name);
        assert_int_equal(mkdirat(dir, name + 1, 0755), 0);
        int next = openat(dir, name + 1, O_PATH | O_DIRECTORY | O_CLOEXEC);
        close(dir);
        dir = next;
    }
    close(dir);
    return path;
}

/* Take away what removal by path can't reach. */
static void remove_deep(struct fixture *f, size_t depth)
{
    char name[200] = "";
    memset(name, 'x', 199);
    for (; depth > 0; depth--) {
        int dir = open(real(f, "deep"), O_PATH | O_DIRECTORY | O_CLOEXEC);
        for (size_t i = 1; i < depth; i++) {
            int next = openat(dir, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
            close(dir);
            dir = next;
        }
        assert_int_equal(unlinkat(dir, name, AT_REMOVEDIR), 0);
        close(dir);
    }
}

static void long_paths_go_through_a_descriptor(void **state)
{
    struct fixture *f = *state;
    enum { DEPTH = 26 };
    char out[OVL_REAL_MAX];
    struct stat st;
    make_dir(f, "deep", 0755);
    fixture_open(f, "");
    unsigned fds = open_fds();
    char *path = make_deep(f, DEPTH);
    assert_int_equal(ovl_real_path(&f->ctx, real(f, "deep"), path, out), 0);
    assert_int_equal(strncmp(out, "/proc/self/fd/", 14), 0);
    assert_int_equal(lstat(out, &st), 0);
    assert_int_equal(ovl_real_child(&f->ctx, real(f, "deep"), path, "none", out), 0);
    assert_int_equal(lstat(out, &st), -1);
    assert_int_equal(f->ctx.fds, 2);
    ovl_ctx_close(&f->ctx, 0);
    assert_int_equal(open_fds(), fds);
    path[1] = 'y';
    assert_int_equal(ovl_real_path(&f->ctx, real(f, "deep"), path, out), -ENOENT);
    assert_int_equal(open_fds(), fds);
    remove_deep(f, DEPTH);
    free(path);
}

static void regions(void **state)
{
    struct fixture *f = *state;
    fixture_open(f, ",exclude=@/mount/out");
    const struct ovl_region *r = ovl_region_of(f->space, merged(f, "/a/b"));
    assert_non_null(r);
    assert_ptr_equal(r->ovl, f->ovl);
    r = ovl_region_of(f->space, merged(f, "/out/b"));
    assert_true(!r || !r->ovl);
    r = ovl_region_of(f->space, merged(f, "/outer"));
    assert_ptr_equal(r->ovl, f->ovl);
    assert_null(ovl_region_of(f->space, f->root));
    assert_null(ovl_region_of(f->space, merged(f, "x")));
    assert_non_null(ovl_region_at(f->space, f->mount, strlen(f->mount)));
    assert_null(ovl_region_at(f->space, merged(f, "/a"), strlen(f->mount) + 2));
    assert_true(ovl_space_holds(f->space, merged(f, "/a")));
    assert_false(ovl_space_holds(f->space, merged(f, "x")));
    assert_true(ovl_space_holds(f->space, merged(f, "/outer")));
    assert_true(ovl_space_holds(f->space, merged(f, "/./out/b")));
    assert_false(ovl_space_holds(f->space, merged(f, "/out/b")));
    assert_true(ovl_is_protected(f->space, real(f, "lower1/a")));
    assert_false(ovl_is_protected(f->space, real(f, "upper/a")));
    char back[OVL_PATH_MAX];
    assert_int_equal(ovl_merged_path(f->space, real(f, "lower2/a/b"), back, sizeof back), strlen(f->mount) + 4);
    assert_string_equal(back, merged(f, "/a/b"));
    assert_int_equal(ovl_merged_path(f->space, real(f, "lower22"), back, sizeof back), -ENOENT);
    assert_int_equal(ovl_merged_path(f->space, real(f, "upper/a"), back, 5), -ENAMETOOLONG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(joining),
        FIXTURE_TEST(long_paths_go_through_a_descriptor),
        FIXTURE_TEST(regions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
