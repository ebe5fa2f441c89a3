/* SPDX-License-Identifier: MIT
 *
 * Walking paths: links in and out of the overlay, "..", loops, trailing slashes, magic links of /proc, mounts below
 * mounts (C-1.8, C-1.9, C-2.8, C-3.13).
 */
#define _GNU_SOURCE
#include "fixture.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

/* Resolve any path from any base: the answer, with its path in *path. */
static int walk(struct fixture *f, const char *base, const char *path, unsigned flags, struct ovl_node **node)
{
    ovl_ctx_close(&f->ctx, 0);
    ovl_ctx_reset(&f->ctx, 0);
    *node = ovl_node_new(&f->ctx);
    return ovl_resolve(&f->ctx, base, path, flags, *node);
}

static void expect_place(struct fixture *f, const char *base, const char *path, unsigned flags, const char *place)
{
    struct ovl_node *node;
    assert_int_equal(walk(f, base, path, flags, &node), 0);
    assert_string_equal(node->path, place);
    assert_int_equal(node->length, strlen(place));
}

static void expect_error(struct fixture *f, const char *path, unsigned flags, int error)
{
    struct ovl_node *node;
    assert_int_equal(walk(f, f->mount, path, flags, &node), -error);
}

static void text_is_normalised(void **state)
{
    struct fixture *f = *state;
    char path[512];
    make_file(f, "lower1/d/f", 0644, "");
    fixture_open(f, "");
    snprintf(path, sizeof path, "//%s/./d//f", f->mount + 1);
    expect_place(f, "/", path, 0, merged(f, "/d/f"));
    snprintf(path, sizeof path, "/./%s/d/../d/./f", f->mount + 1);
    expect_place(f, "/", path, 0, merged(f, "/d/f"));
    expect_place(f, merged(f, "/d"), "f", 0, merged(f, "/d/f"));
    expect_place(f, merged(f, "/d"), "..", 0, f->mount);
    expect_place(f, merged(f, "/d"), "../../../../../../../../../../..", 0, "/");
    expect_place(f, merged(f, "/d"), "../..", 0, f->root);
    expect_place(f, f->root, "mount/d/f", 0, merged(f, "/d/f"));
    expect_place(f, f->root, "mount", 0, f->mount);
    expect_place(f, "/", "/", 0, "/");
    expect_error(f, "", 0, ENOENT);
}

static void the_last_component_is_told(void **state)
{
    struct fixture *f = *state;
    struct ovl_node *node;
    make_file(f, "lower1/d/f", 0644, "");
    fixture_open(f, "");
    assert_int_equal(walk(f, f->mount, "d/.", 0, &node), 0);
    assert_int_equal(node->last, OVL_LAST_DOT);
    assert_int_equal(walk(f, f->mount, "d/..", 0, &node), 0);
    assert_int_equal(node->last, OVL_LAST_DOTDOT);
    assert_int_equal(walk(f, f->mount, "d/", 0, &node), 0);
    assert_int_equal(node->last, OVL_LAST_NAME);
    assert_true(node->slash);
    assert_int_equal(walk(f, "/", f->mount, 0, &node), 0);
    assert_ptr_equal(node->ovl, f->ovl);
    assert_true(node->exists);
}

static void errors_are_those_of_path_resolution(void **state)
{
    struct fixture *f = *state;
    static char long_path[OVL_REAL_MAX + 8];
    make_file(f, "lower1/d/f", 0644, "");
    make_link(f, "lower1/to-file", "d/f");
    make_link(f, "lower1/dangling", "none");
    make_link(f, "lower1/empty-dir-link", "d");
    fixture_open(f, "");
    expect_error(f, "none/x", 0, ENOENT);
    expect_error(f, "d/f/x", 0, ENOTDIR);
    expect_error(f, "d/f/.", 0, ENOTDIR);
    expect_error(f, "d/f/..", 0, ENOTDIR);
    expect_error(f, "d/f/", 0, ENOTDIR);
    expect_error(f, "to-file/", 0, ENOTDIR);
    expect_error(f, "none/..", 0, ENOENT);
    expect_error(f, "none/.", 0, ENOENT);
    expect_error(f, "dangling/x", OVL_FOLLOW, ENOENT);
    expect_place(f, f->mount, "dangling", OVL_FOLLOW, merged(f, "/none"));
    memset(long_path, '/', sizeof long_path - 1);
    memcpy(long_path, "d", 1);
    memcpy(long_path + OVL_REAL_MAX - 2, "f", 2);
    expect_place(f, f->mount, long_path, 0, merged(f, "/d/f"));
    memcpy(long_path + OVL_REAL_MAX - 2, "/f", 3);
    expect_error(f, long_path, 0, ENAMETOOLONG);
}

static void links_inside(void **state)
{
    struct fixture *f = *state;
    char target[256];
    make_file(f, "lower2/d/e/f", 0644, "");
    make_link(f, "lower1/relative", "d/e");
    make_link(f, "upper/up", "../mount/d");
    make_link(f, "lower1/d/back", "..");
    snprintf(target, sizeof target, "%s/d", f->mount);
    make_link(f, "lower1/absolute", target);
    fixture_open(f, "");
    expect_place(f, f->mount, "relative", 0, merged(f, "/relative"));
    expect_place(f, f->mount, "relative", OVL_FOLLOW, merged(f, "/d/e"));
    expect_place(f, f->mount, "relative/", 0, merged(f, "/d/e"));
    expect_place(f, f->mount, "relative/f", 0, merged(f, "/d/e/f"));
    expect_place(f, f->mount, "relative/..", 0, merged(f, "/d"));
    expect_place(f, f->mount, "absolute/e", 0, merged(f, "/d/e"));
    expect_place(f, f->mount, "up/e", 0, merged(f, "/d/e"));
    expect_place(f, f->mount, "d/back/relative/f", 0, merged(f, "/d/e/f"));
    expect_error(f, "relative/f", OVL_NOLINKS, ELOOP);
    expect_place(f, f->mount, "relative", OVL_NOLINKS, merged(f, "/relative"));
}

static void links_across_the_border(void **state)
{
    struct fixture *f = *state;
    struct ovl_node *node;
    char target[256];
    make_file(f, "outside/dir/file", 0644, "outside");
    make_file(f, "lower1/d/f", 0644, "");
    make_link(f, "lower1/out", "../outside/dir");
    snprintf(target, sizeof target, "%s/outside/in-again", f->root);
    make_link(f, "lower1/out-in", target);
    make_link(f, "outside/in-again", "../mount/d");
    make_link(f, "outside/in", f->mount);
    fixture_open(f, "");
    expect_place(f, f->mount, "out/file", 0, real(f, "outside/dir/file"));
    assert_int_equal(walk(f, f->mount, "out/file", 0, &node), 0);
    assert_null(node->ovl);
    expect_place(f, f->mount, "out/..", 0, real(f, "outside"));
    expect_place(f, f->root, "outside/in/d/f", 0, merged(f, "/d/f"));
    expect_place(f, f->root, "outside/in", 0, real(f, "outside/in"));
    expect_place(f, f->root, "outside/in", OVL_FOLLOW, f->mount);
    expect_place(f, f->mount, "out-in/f", 0, merged(f, "/d/f"));
    expect_place(f, f->root, "outside/in/..", 0, f->root);
}

/* C-2.8: 40 links are followed, the 41st is ELOOP */
static void forty_links(void **state)
{
    struct fixture *f = *state;
    char path[64], target[64];
    make_file(f, "lower1/0", 0644, "end");
    for (int i = 1; i <= 41; i++) {
        snprintf(path, sizeof path, "lower1/%d", i);
        snprintf(target, sizeof target, "%d", i - 1);
        make_link(f, path, target);
    }
    make_link(f, "lower1/self", "self");
    make_link(f, "lower1/ping", "pong");
    make_link(f, "lower1/pong", "ping");
    fixture_open(f, "");
    expect_place(f, f->mount, "40", OVL_FOLLOW, merged(f, "/0"));
    expect_error(f, "41", OVL_FOLLOW, ELOOP);
    expect_place(f, f->mount, "41", 0, merged(f, "/41"));
    expect_error(f, "self", OVL_FOLLOW, ELOOP);
    expect_error(f, "self/x", 0, ELOOP);
    expect_error(f, "ping", OVL_FOLLOW, ELOOP);
}

static void a_change_of_a_lower_layer_is_refused(void **state)
{
    struct fixture *f = *state;
    struct ovl_node *node;
    make_file(f, "lower1/f", 0644, "");
    make_file(f, "outside/f", 0644, "");
    make_link(f, "lower1/to-lower", "../lower1/f");
    fixture_open(f, "");
    assert_int_equal(walk(f, f->root, "lower1/f", OVL_CHANGE, &node), -EROFS);
    assert_int_equal(walk(f, f->root, "lower2/new", OVL_CHANGE, &node), -EROFS);
    assert_int_equal(walk(f, f->root, "lower1/f", 0, &node), 0);
    assert_int_equal(walk(f, f->root, "outside/f", OVL_CHANGE, &node), 0);
    assert_int_equal(walk(f, f->root, "upper/x", OVL_CHANGE, &node), 0);
    assert_int_equal(walk(f, f->mount, "to-lower", OVL_CHANGE | OVL_FOLLOW, &node), -EROFS);
}

static void magic_links(void **state)
{
    struct fixture *f = *state;
    struct ovl_node *node;
    char path[64];
    make_file(f, "lower1/d/f", 0644, "x");
    fixture_open(f, "");
    int fd = op_open(f, "/d/f", O_RDONLY, 0);
    assert_true(fd >= 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    expect_place(f, "/", path, OVL_FOLLOW, merged(f, "/d/f"));
    close(fd);
    fd = open(real(f, "lower1/d"), O_PATH | O_DIRECTORY | O_CLOEXEC);
    snprintf(path, sizeof path, "/proc/self/fd/%d/f", fd);
    expect_place(f, "/", path, OVL_FOLLOW, merged(f, "/d/f"));
    close(fd);
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", ends[0]);
    assert_int_equal(walk(f, "/", path, OVL_FOLLOW, &node), 0);
    assert_true(node->magic);
    assert_string_equal(node->path + strlen(node->path) - strlen(strrchr(path, '/')), strrchr(path, '/'));
    close(ends[0]);
    close(ends[1]);
}

static void an_overlay_below_an_overlay(void **state)
{
    struct fixture *f = *state;
    struct ovl_node *node;
    make_file(f, "lower1/d/hidden", 0644, "");
    make_file(f, "lower2/inner", 0644, "");
    fixture_open_conf(f, "mount=@/mount,lowerdir=@/lower1,upperdir=@/upper;mount=@/mount/d,lowerdir=@/lower2");
    assert_int_equal(walk(f, f->mount, "d/inner", 0, &node), 0);
    assert_true(node->exists);
    assert_string_equal(ovl_mount(node->ovl), merged(f, "/d"));
    assert_int_equal(walk(f, f->mount, "d/hidden", 0, &node), 0);
    assert_false(node->exists);
    expect_place(f, merged(f, "/d"), "..", 0, f->mount);
    assert_string_equal(names(f, ""), "d ");
    assert_string_equal(names(f, "/d"), "inner ");
    assert_int_equal(op_write(f, "/d/new", O_WRONLY | O_CREAT, 0644, ""), -EROFS);
    assert_int_equal(op_rename(f, "/d", "/e", 0), -EBUSY);
    assert_int_equal(op_rmdir(f, "/d"), -EBUSY);
}

static void in_place(void **state)
{
    struct fixture *f = *state;
    struct ovl_node *node;
    make_file(f, "lower1/f", 0644, "lower");
    fixture_open_conf(f, "mount=@/lower1,lowerdir=@/lower1,upperdir=@/upper");
    assert_int_equal(walk(f, f->root, "lower1/f", OVL_CHANGE, &node), 0);
    assert_ptr_equal(node->ovl, f->ovl);
    int fd = ovl_open(&f->ctx, node, O_WRONLY | O_TRUNC | O_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "new", 3), 3);
    close(fd);
    assert_string_equal(text_of(f, "lower1/f"), "lower");
    assert_string_equal(text_of(f, "upper/f"), "new");
}

/* C-2.10: the upper and work directories below an in-place mount are themselves. */
static void layers_below_the_mount_pass_through(void **state)
{
    struct fixture *f = *state;
    struct ovl_node *node;
    make_file(f, "base/f", 0644, "");
    make_dir(f, "base/up", 0755);
    fixture_open_conf(f, "mount=@/base,lowerdir=@/base,upperdir=@/base/up");
    assert_int_equal(walk(f, real(f, "base"), "up", 0, &node), 0);
    assert_null(node->ovl);
    assert_int_equal(walk(f, real(f, "base"), "up/x", OVL_CHANGE, &node), 0);
    assert_null(node->ovl);
    assert_int_equal(walk(f, real(f, "base"), "up/../f", 0, &node), 0);
    assert_ptr_equal(node->ovl, f->ovl);
}

/* What passes through is there as a mount is: also where the overlay lacks the way to it, and if it is a link. */
static void what_passes_through_needs_no_way_to_it(void **state)
{
    struct fixture *f = *state;
    struct ovl_node *node;
    make_file(f, "mount/home/me/work/x", 0644, "");
    make_dir(f, "mount/run", 0755);
    make_link(f, "mount/run/lock", "../var/lock");
    make_dir(f, "lower1/run", 0755);
    make_dir(f, "lower1/var/lock", 0755);
    fixture_open(f, ",exclude=@/mount/home/me/work:@/mount/run/lock");
    assert_int_equal(walk(f, "/", merged(f, "/home/me/work/x"), OVL_CHANGE, &node), 0);
    assert_null(node->ovl);
    assert_string_equal(node->path, merged(f, "/home/me/work/x"));
    expect_place(f, "/", merged(f, "/home/.//me/work/"), 0, merged(f, "/home/me/work/"));
    expect_place(f, "/", merged(f, "/home/me/work"), OVL_NAME | OVL_CHANGE, merged(f, "/home/me/work"));
    expect_error(f, merged(f, "/home/me"), 0, ENOENT);
    expect_error(f, merged(f, "/home/me/work/.."), 0, ENOENT);
    expect_error(f, merged(f, "/home/me/works"), 0, ENOENT);
    expect_place(f, "/", merged(f, "/run/lock"), OVL_FOLLOW, merged(f, "/var/lock"));
    assert_int_equal(walk(f, "/", merged(f, "/run/lock/x"), OVL_CHANGE, &node), 0);
    assert_ptr_equal(node->ovl, f->ovl);
}

/* A merged path that the kernel takes, but whose layer path is too long for it. */
static void long_layer_paths(void **state)
{
    struct fixture *f = *state;
    static char path[OVL_PATH_MAX];
    char name[202];
    memset(name, 'x', 200);
    name[0] = '/';
    name[200] = '\0';
    fixture_open(f, "");
    while (strlen(f->mount) + strlen(path) + 201 < OVL_REAL_MAX - 1) {
        strcat(path, name);
        assert_int_equal(op_mkdir(f, path, 0755), 0);
    }
    size_t room = OVL_REAL_MAX - 1 - strlen(f->mount) - strlen(path);
    name[room < 200 ? room : 200] = '\0';
    strcat(path, room > 1 ? name : "");
    assert_int_equal(op_write(f, path, O_WRONLY | O_CREAT, 0644, "deep"), 0);
    assert_string_equal(merged_text(f, path), "deep");
    assert_int_equal(op_unlink(f, path), 0);
    assert_false(find(f, path)->exists);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(text_is_normalised),
        FIXTURE_TEST(the_last_component_is_told),
        FIXTURE_TEST(errors_are_those_of_path_resolution),
        FIXTURE_TEST(links_inside),
        FIXTURE_TEST(links_across_the_border),
        FIXTURE_TEST(forty_links),
        FIXTURE_TEST(a_change_of_a_lower_layer_is_refused),
        FIXTURE_TEST(magic_links),
        FIXTURE_TEST(an_overlay_below_an_overlay),
        FIXTURE_TEST(in_place),
        FIXTURE_TEST(layers_below_the_mount_pass_through),
        FIXTURE_TEST(what_passes_through_needs_no_way_to_it),
        FIXTURE_TEST(long_layer_paths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
