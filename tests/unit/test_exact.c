/* SPDX-License-Identifier: MIT
 *
 * Layer paths through no symbolic link (C-3.1): what was found may be one by the time that it is used.
 */
#define _GNU_SOURCE
#include "fixture.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#define NO_OPENAT2 "the emulator has no openat2, without which a link on the way is followed"

static void make_layer(struct fixture *f)
{
    make_file(f, "upper/d/f", 0644, "of the upper");
    make_link(f, "upper/to_file", "d/f");
    make_link(f, "upper/to_dir", "d");
    fixture_open(f, "");
}

static int open_and_close(int fd)
{
    return fd < 0 ? fd : close(fd);
}

static void nothing_is_opened_through_a_link(void **state)
{
    struct fixture *f = *state;
    if (!has_openat2())
        skip_because(NO_OPENAT2);
    make_layer(f);
    assert_int_equal(open_and_close(ovl_open_exact(real(f, "upper/d/f"), O_RDONLY, 0)), 0);
    assert_int_equal(ovl_open_exact(real(f, "upper/to_file"), O_RDONLY, 0), -ELOOP);
    assert_int_equal(ovl_open_exact(real(f, "upper/to_dir/f"), O_RDONLY, 0), -ELOOP);
    assert_int_equal(ovl_open_exact(real(f, "upper/to_dir/new"), O_WRONLY | O_CREAT, 0600), -ELOOP);
    assert_int_equal(ovl_open_exact(real(f, "upper/to_dir"), O_PATH | O_DIRECTORY, 0), -ELOOP);
    assert_int_equal(open_and_close(ovl_open_exact(real(f, "upper/to_file"), O_PATH | O_NOFOLLOW, 0)), 0);
    assert_false(is_there(f, "upper/d/new"));
}

static int set_mode(void *arg, int fd, const char *path)
{
    mode_t *mode = arg;
    assert_true(fd >= 0);
    return chmod(path, *mode) == 0 ? 0 : -errno;
}

static int change_mode(struct fixture *f, struct ovl_node *node, mode_t mode)
{
    return ovl_change_exact(&f->ctx, node, set_mode, &mode);
}

/* Let another object have the place of what was found. */
static void replace(struct fixture *f, const char *from, const char *to)
{
    assert_int_equal(rename(real(f, from), real(f, to)), 0);
}

static void what_was_found_is_changed(void **state)
{
    struct fixture *f = *state;
    make_layer(f);
    assert_int_equal(change_mode(f, find(f, "/d/f"), 0600), 0);
    assert_int_equal(stat_of(f, "upper/d/f").st_mode, S_IFREG | 0600);
}

static void a_link_that_has_the_name_is_not_followed(void **state)
{
    struct fixture *f = *state;
    make_file(f, "upper/f", 0644, "");
    make_layer(f);
    struct ovl_node *node = find(f, "/f");
    replace(f, "upper/to_file", "upper/f");
    assert_int_equal(change_mode(f, node, 0600), -ESTALE);
    assert_int_equal(stat_of(f, "upper/d/f").st_mode, S_IFREG | 0644);
}

static void a_link_on_the_way_is_not_followed(void **state)
{
    struct fixture *f = *state;
    if (!has_openat2())
        skip_because(NO_OPENAT2);
    make_file(f, "upper/gone/f", 0644, "");
    make_layer(f);
    struct ovl_node *node = find(f, "/gone/f");
    replace(f, "upper/gone", "upper/elsewhere");
    replace(f, "upper/to_dir", "upper/gone");
    assert_int_equal(change_mode(f, node, 0600), -ESTALE);
    assert_int_equal(stat_of(f, "upper/d/f").st_mode, S_IFREG | 0644);
}

static int set_owner(void *arg, int fd, const char *path)
{
    (void)arg, (void)fd;
    return chown(path, getuid(), getgid()) == 0 ? 0 : -errno;
}

static bool is_equal(struct timespec a, struct timespec b)
{
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

/* chown(2) of "/proc/self/fd/N" ends at the link that is open there, and leaves a new ctime. */
static void a_link_is_changed_itself(void **state)
{
    struct fixture *f = *state;
    make_layer(f);
    const struct timespec file = stat_of(f, "upper/d/f").st_ctim, link = stat_of(f, "upper/to_file").st_ctim;
    usleep(20000); /* the kernel's clock of files ticks by then */
    assert_int_equal(ovl_change_exact(&f->ctx, find(f, "/to_file"), set_owner, NULL), 0);
    assert_true(is_equal(file, stat_of(f, "upper/d/f").st_ctim));
    assert_false(is_equal(link, stat_of(f, "upper/to_file").st_ctim));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(nothing_is_opened_through_a_link),
        FIXTURE_TEST(what_was_found_is_changed),
        FIXTURE_TEST(a_link_that_has_the_name_is_not_followed),
        FIXTURE_TEST(a_link_on_the_way_is_not_followed),
        FIXTURE_TEST(a_link_is_changed_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
