/* SPDX-License-Identifier: MIT
 *
 * The work directory: what the dead left goes, what the living use stays (C-3.4).
 */
#define _GNU_SOURCE
#include "fault_sys.h"
#include "fixture.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void names_differ(void **state)
{
    struct fixture *f = *state;
    char a[OVL_REAL_MAX], b[OVL_REAL_MAX];
    fixture_open(f, "");
    assert_int_equal(ovl_work_name(f->ovl, a), 0);
    assert_int_equal(ovl_work_name(f->ovl, b), 0);
    assert_string_not_equal(a, b);
    assert_int_equal(strncmp(a, ovl_work(f->ovl), strlen(ovl_work(f->ovl))), 0);
}

/* A tree as a killed process leaves it: names of its own making, directories without permissions. */
static void leave_a_tree(struct fixture *f)
{
    char path[OVL_REAL_MAX], below[OVL_REAL_MAX + 32];
    for (int i = 0; i < 2; i++) {
        if (ovl_work_name(f->ovl, path) < 0 || mkdir(path, 0700) != 0)
            _exit(1);
        snprintf(below, sizeof below, "%s/a", path);
        if (mkdir(below, 0700) != 0)
            _exit(1);
        snprintf(below, sizeof below, "%s/a/file", path);
        if (mknod(below, S_IFREG | 0600, 0) != 0)
            _exit(1);
        snprintf(below, sizeof below, "%s/a", path);
        if (chmod(below, 0) != 0 || symlink(f->root, strcat(below, "-link")) != 0)
            _exit(1);
    }
    _exit(0);
}

static void leftovers_of_the_dead_go(void **state)
{
    struct fixture *f = *state;
    make_file(f, "lower1/a", 0644, "");
    fixture_open(f, "");
    pid_t pid = fork();
    if (pid == 0)
        leave_a_tree(f);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(leftovers(f), 2);
    ovl_space_clean(&f->ctx);
    assert_int_equal(leftovers(f), 0);
    assert_true(is_there(f, "lower1/a"));
}

/* The thread's number was given to another one since, to this one here. */
static void numbers_are_given_again(void **state)
{
    struct fixture *f = *state;
    char path[64];
    fixture_open(f, "");
    snprintf(path, sizeof path, "upper.work/work/%llu-%d-1-1", (unsigned long long)ovl_pid_space(), getpid());
    make_file(f, path, 0644, "");
    ovl_space_clean(&f->ctx);
    assert_int_equal(leftovers(f), 0);
}

/* Notes of what was being made in the upper, and links that look like them. */
static void leave_notes(struct fixture *f)
{
    static const char *const target[] = {"upper/d/.wh..wh.new-1",   "upper/d/.wh..wh.new-2",
                                         "upper/d/.wh.gone",        "lower1/.wh..wh.new-3",
                                         "upper/out/.wh..wh.new-4", "upper/none/.wh..wh.new-5"};
    char path[OVL_REAL_MAX];
    if (ovl_work_name(f->ovl, path) < 0 || symlink("1:2:3", path) != 0) /* another kind of note */
        _exit(1);
    for (size_t i = 0; i < sizeof target / sizeof *target; i++)
        if (ovl_work_name(f->ovl, path) < 0 || symlink(real(f, target[i]), path) != 0)
            _exit(1);
    _exit(0);
}

static void what_the_dead_were_making_in_the_upper_goes(void **state)
{
    struct fixture *f = *state;
    if (!has_openat2())
        skip_because("the emulator has no openat2, without which nobody knows that no link leads out of the upper");
    make_file(f, "upper/d/.wh..wh.new-1", 0644, "half");
    make_file(f, "upper/d/.wh..wh.new-2/.wh..wh..opq", 0644, "");
    make_file(f, "upper/d/.wh.gone", 0644, "");
    make_file(f, "lower1/.wh..wh.new-3", 0644, "");
    make_file(f, "lower1/.wh..wh.new-4", 0644, "");
    make_link(f, "upper/out", real(f, "lower1"));
    fixture_open(f, "");
    pid_t pid = fork();
    if (pid == 0)
        leave_notes(f);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    ovl_space_clean(&f->ctx);
    assert_int_equal(leftovers(f), 0);
    assert_false(is_there(f, "upper/d/.wh..wh.new-1"));
    assert_false(is_there(f, "upper/d/.wh..wh.new-2"));
    assert_true(is_there(f, "upper/d/.wh.gone"));
    assert_true(is_there(f, "lower1/.wh..wh.new-3"));
    assert_true(is_there(f, "lower1/.wh..wh.new-4"));
}

/* A directory comes to a name that a whiteout has, which goes to the old name and away; a kill at any call leaves the
 * one view or the other, and nothing in the upper that hides nothing, once the next run has begun. */
static void a_whiteout_that_changed_places_goes(void **state)
{
    struct fixture *f = *state;
    if (geteuid() != 0)
        skip_because("only root makes whiteout devices here");
    if (!has_openat2())
        skip_because("the emulator has no openat2, without which nobody knows that no link leads out of the upper");
    make_file(f, "lower1/gone", 0644, "");
    make_file(f, "lower1/stays", 0644, "");
    make_node(f, "upper/gone", S_IFCHR, 0);
    make_node(f, "upper/stays", S_IFCHR, 0);
    fixture_open_conf(f, "mount=@/mount,lowerdir=@/lower1,upperdir=@/upper,whiteout=kernel");
    int status = 0;
    for (int after = 0; after < 2; after++)
        for (unsigned n = 1; n < 60; n++) {
            op_mkdir(f, "/new", 0755);
            fflush(NULL);
            pid_t pid = fork();
            if (pid == 0) {
                fault_arm(n, after ? FAULT_KILL_AFTER : FAULT_KILL);
                op_rename(f, "/new", "/gone", 0);
                _exit(0);
            }
            assert_int_equal(waitpid(pid, &status, 0), pid);
            ovl_space_clean(&f->ctx);
            bool moved = S_ISDIR(stat_of(f, "upper/gone").st_mode);
            assert_true(moved ? !is_there(f, "upper/new") : S_ISDIR(stat_of(f, "upper/new").st_mode));
            assert_true(S_ISCHR(stat_of(f, "upper/stays").st_mode));
            if (moved)
                assert_int_equal(op_rmdir(f, "/gone"), 0);
        }
    assert_int_equal(status, 0); /* at last it was not killed */
    assert_int_equal(leftovers(f), 0);
}

static void the_living_keep_theirs(void **state)
{
    struct fixture *f = *state;
    char path[OVL_REAL_MAX];
    fixture_open(f, "");
    assert_int_equal(ovl_work_name(f->ovl, path), 0);
    assert_int_equal(mknod(path, S_IFREG | 0600, 0), 0);
    make_file(f, "upper.work/work/not-of-our-making", 0644, "");
    ovl_space_clean(&f->ctx);
    assert_int_equal(leftovers(f), 2);
    ovl_work_discard(&f->ctx, f->ovl, path);
    assert_int_equal(leftovers(f), 1);
    ovl_work_discard(&f->ctx, f->ovl, path); /* not there: nothing happens */
    assert_int_equal(leftovers(f), 1);
}

/* The first run is killed before each call of its start; the second one begins as if nothing had been. */
static void a_killed_start_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    int status = SIGKILL;
    for (unsigned n = 1; status != 0; n++) {
        char options[64], inside[64];
        snprintf(options, sizeof options, ",whiteout=kernel,workdir=@/%u", n);
        snprintf(inside, sizeof inside, "%u/work", n);
        pid_t pid = fork();
        if (pid == 0) {
            fault_arm(n, FAULT_KILL);
            fixture_open(f, options);
            _exit(0);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(status == 0 || WTERMSIG(status) == SIGKILL);
        fixture_open(f, options);
        ovl_space_clean(&f->ctx);
        assert_int_equal(rmdir(real(f, inside)), 0); /* empty */
        fixture_close(f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(names_differ),
        FIXTURE_TEST(leftovers_of_the_dead_go),
        FIXTURE_TEST(numbers_are_given_again),
        FIXTURE_TEST(what_the_dead_were_making_in_the_upper_goes),
        FIXTURE_TEST(a_whiteout_that_changed_places_goes),
        FIXTURE_TEST(the_living_keep_theirs),
        FIXTURE_TEST(a_killed_start_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
