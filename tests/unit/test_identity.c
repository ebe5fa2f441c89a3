/* SPDX-License-Identifier: MIT
 *
 * st_dev and st_ino stay the same across copy-up, and no two objects share a pair (C-2.6).
 */
#define _GNU_SOURCE
#include "fixture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/vfs.h>
#include <unistd.h>

static struct stat stat_at(struct fixture *f, const char *path)
{
    struct stat st;
    assert_int_equal(op_stat(f, path, &st), 0);
    return st;
}

static void assert_same(struct stat a, struct stat b)
{
    assert_int_equal(a.st_dev, b.st_dev);
    assert_int_equal(a.st_ino, b.st_ino);
}

static void copy_up_keeps_it(void **state)
{
    struct fixture *f = *state;
    static const char *const path[] = {"/d/file", "/d/link", "/d/fifo", "/d", "/d/sub"};
    struct stat before[5];
    make_file(f, "lower1/d/file", 0644, "x");
    make_link(f, "lower1/d/link", "file");
    make_node(f, "lower1/d/fifo", S_IFIFO | 0644, 0);
    make_dir(f, "lower1/d/sub", 0755);
    make_dir(f, "lower2/d/sub", 0755);
    fixture_open(f, "");
    for (int i = 0; i < 5; i++)
        before[i] = stat_at(f, path[i]);
    for (int i = 0; i < 5; i++)
        assert_int_equal(op_copy_up(f, path[i], OVL_COPY_ALL), 0);
    for (int i = 0; i < 5; i++)
        assert_same(before[i], stat_at(f, path[i]));
}

static void open_files_agree(void **state)
{
    struct fixture *f = *state;
    struct stat st;
    make_file(f, "lower1/file", 0644, "x");
    fixture_open(f, "");
    struct stat before = stat_at(f, "/file");
    int fd = op_open(f, "/file", O_RDWR, 0);
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_not_equal(st.st_ino, before.st_ino);
    ovl_identity(f->space, fd, "", AT_EMPTY_PATH, &st);
    assert_same(before, st);
    close(fd);
}

static void it_moves_with_the_object(void **state)
{
    struct fixture *f = *state;
    make_file(f, "lower1/a", 0644, "a");
    make_file(f, "lower1/b", 0644, "b");
    fixture_open(f, "");
    struct stat a = stat_at(f, "/a");
    assert_int_equal(op_rename(f, "/a", "/c", 0), 0);
    assert_same(a, stat_at(f, "/c"));
    assert_int_equal(op_rename(f, "/c", "/b", 0), 0);
    assert_same(a, stat_at(f, "/b"));
    assert_int_equal(op_link(f, "/b", "/d"), 0);
    assert_same(a, stat_at(f, "/d"));
}

/* A new file may get the number of a removed copy: it must not inherit the origin. */
static void a_new_file_is_another(void **state)
{
    struct fixture *f = *state;
    make_file(f, "lower1/a", 0644, "a");
    fixture_open(f, "");
    struct stat a = stat_at(f, "/a");
    for (int i = 0; i < 20; i++) {
        assert_int_equal(op_copy_up(f, "/a", OVL_COPY_ALL), i ? -ENOENT : 0);
        assert_int_equal(op_unlink(f, "/a"), i ? -ENOENT : 0);
        assert_int_equal(op_write(f, "/new", O_WRONLY | O_CREAT | O_EXCL, 0644, ""), 0);
        assert_int_not_equal(stat_at(f, "/new").st_ino, a.st_ino);
        assert_int_equal(op_unlink(f, "/new"), 0);
    }
}

/* C-2.6: who has it open still knows it. */
static void a_removed_copy_keeps_it_while_it_is_open(void **state)
{
    struct fixture *f = *state;
    make_file(f, "lower1/a", 0644, "a");
    make_file(f, "lower1/b", 0644, "b");
    fixture_open(f, "");
    const struct stat a = stat_at(f, "/a"), b = stat_at(f, "/b");
    struct stat st;
    int removed = op_open(f, "/a", O_RDWR, 0), replaced = op_open(f, "/b", O_RDWR, 0);
    assert_true(removed >= 0 && replaced >= 0);
    assert_int_equal(op_unlink(f, "/a"), 0);
    assert_int_equal(op_write(f, "/new", O_WRONLY | O_CREAT | O_EXCL, 0644, ""), 0);
    assert_int_equal(op_rename(f, "/new", "/b", 0), 0);
    assert_int_equal(fstat(removed, &st), 0);
    ovl_identity(f->space, removed, "", AT_EMPTY_PATH, &st);
    assert_same(a, st);
    assert_int_equal(fstat(replaced, &st), 0);
    ovl_identity(f->space, replaced, "", AT_EMPTY_PATH, &st);
    assert_same(b, st);
    close(removed);
    close(replaced);
    fixture_close(f);
    fixture_open(f, "");
    assert_int_equal(rmdir(real(f, "upper.work/state/gone")), 0); /* it is empty */
}

/* C-2.6: whose removal failed, or was cut short, keeps it. */
static void a_kill_before_the_removal_takes_nothing(void **state)
{
    struct fixture *f = *state;
    make_file(f, "lower1/a", 0644, "a");
    fixture_open(f, "");
    const struct stat a = stat_at(f, "/a");
    assert_int_equal(op_copy_up(f, "/a", OVL_COPY_ALL), 0);
    const struct stat copy = stat_of(f, "upper/a");
    ovl_identity_forget(find(f, "/a")->ovl, &copy);
    assert_same(a, stat_at(f, "/a"));
    ovl_identity_forgotten(find(f, "/a")->ovl, &copy, -EBUSY);
    assert_same(a, stat_at(f, "/a"));
    ovl_identity_forget(find(f, "/a")->ovl, &copy);
    fixture_close(f);
    fixture_open(f, "");
    assert_same(a, stat_at(f, "/a"));
}

/* What was looked at has its number by a record that tells its birth, which another object's says nothing of. */
static void of_a_replaced_name_it_is_not_known(void **state)
{
    struct fixture *f = *state;
    make_file(f, "lower1/a", 0644, "a");
    make_file(f, "upper/new", 0644, "");
    fixture_open(f, "");
    struct stat st;
    assert_int_equal(op_copy_up(f, "/a", OVL_COPY_ALL), 0);
    struct ovl_node *node = find(f, "/a");
    assert_int_equal(ovl_stat(&f->ctx, node, &st), 0);
    assert_int_equal(rename(real(f, "upper/new"), real(f, "upper/a")), 0);
    assert_int_equal(ovl_stat(&f->ctx, node, &st), -ESTALE);
}

static void it_survives_a_new_run(void **state)
{
    struct fixture *f = *state;
    make_file(f, "lower1/a", 0644, "a");
    fixture_open(f, "");
    struct stat before = stat_at(f, "/a");
    assert_int_equal(op_copy_up(f, "/a", OVL_COPY_ALL), 0);
    fixture_close(f);
    fixture_open(f, "");
    assert_same(before, stat_at(f, "/a"));
}

/* Layers on two file systems: directories report one device, and no pair collides. */
static void layers_on_two_file_systems(void **state)
{
    struct fixture *f = *state;
    char other[] = "/dev/shm/ovl-unit-XXXXXX";
    char conf[256], path[128];
    if (stat_of(f, "upper").st_dev == stat_of(f, "lower1").st_dev && !mkdtemp(other))
        skip_because("no file system beside the upper's");
    struct stat here = stat_of(f, "upper"), there;
    assert_int_equal(stat(other, &there), 0);
    if (here.st_dev == there.st_dev) {
        rmdir(other);
        skip_because("no file system beside the upper's");
    }
    snprintf(path, sizeof path, "%s/far", other);
    assert_int_equal(mkdir(path, 0755), 0);
    make_dir(f, "lower1/near", 0755);
    snprintf(conf, sizeof conf, "mount=@/mount,lowerdir=@/lower1:%s,upperdir=@/upper", other);
    fixture_open_conf(f, conf);
    struct stat far = stat_at(f, "/far"), near = stat_at(f, "/near");
    assert_int_equal(far.st_dev, here.st_dev);
    assert_int_equal(near.st_dev, here.st_dev);
    assert_int_not_equal(far.st_ino, near.st_ino);
    assert_int_equal(op_copy_up(f, "/far", OVL_COPY_ALL), 0);
    assert_same(far, stat_at(f, "/far"));
    rmdir(path);
    rmdir(other);
}

static void directories_count_one_link_or_all(void **state)
{
    struct fixture *f = *state;
    make_dir(f, "lower1/d/a", 0755);
    make_dir(f, "lower2/d/b", 0755);
    make_dir(f, "lower2/only/b", 0755);
    fixture_open(f, "");
    assert_int_equal(stat_at(f, "/d").st_nlink, 1);
    assert_int_equal(stat_at(f, "/only").st_nlink, stat_of(f, "lower2/only").st_nlink);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(copy_up_keeps_it),
        FIXTURE_TEST(open_files_agree),
        FIXTURE_TEST(it_moves_with_the_object),
        FIXTURE_TEST(a_new_file_is_another),
        FIXTURE_TEST(a_removed_copy_keeps_it_while_it_is_open),
        FIXTURE_TEST(a_kill_before_the_removal_takes_nothing),
        FIXTURE_TEST(of_a_replaced_name_it_is_not_known),
        FIXTURE_TEST(it_survives_a_new_run),
        FIXTURE_TEST(layers_on_two_file_systems),
        FIXTURE_TEST(directories_count_one_link_or_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
