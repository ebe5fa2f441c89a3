/* SPDX-License-Identifier: MIT
 *
 * guard=landlock: what the kernel then refuses, and what it must go on allowing, for layers beside, above and in one
 * another.  Each look is taken by a child, because nothing takes a guard back.
 */
#define _GNU_SOURCE
#include "config_check.h"
#include "fault_sys.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static bool can_guard(void)
{
    return ovl_sys_landlock_abi() >= 2;
}

#define OK "mount=@/mount,lowerdir=@/lower1"

#define NEEDS_LANDLOCK                                                                                                 \
    do {                                                                                                               \
        if (!can_guard())                                                                                              \
            skip_because("no Landlock here");                                                                          \
    } while (0)

/* What making a file in the directory answers: 0 or an errno. */
static int try_make(const char *dir)
{
    char path[512];
    snprintf(path, sizeof path, "%s/made", dir);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return errno;
    close(fd);
    return unlink(path) == 0 ? 0 : errno;
}

/* In a child with the guard on: what making a file in each of the directories answers, '+' or '-' each. */
static void assert_allowed(const struct fixture *f, const char *conf, const char *expected, const char *const *dir)
{
    struct ovl_message why = {"nothing was said"};
    struct ovl_space *space = opened(f, conf);
    pid_t child = fork();
    if (child == 0) {
        if (ovl_space_guard(space, &why) < 0) {
            fprintf(stderr, "%s\n", why.text);
            _exit(100);
        }
        for (int i = 0; dir[i]; i++) {
            int error = try_make(real(f, dir[i]));
            bool right = expected[i] == '+' ? error == 0 : error == EACCES;
            if (!right) {
                fprintf(stderr, "%s: %s, expected %c\n", dir[i], strerror(error), expected[i]);
                _exit(1);
            }
        }
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    ovl_space_close(space);
}

#define DIRECTORIES(...)                                                                                               \
    (const char *[])                                                                                                   \
    {                                                                                                                  \
        __VA_ARGS__, NULL                                                                                              \
    }

static void test_off(void **state)
{
    assert_allowed(*state, OK ",upperdir=@/upper", "++", DIRECTORIES("lower1", "beside"));
    assert_allowed(*state, OK ",upperdir=@/upper,guard=off", "++", DIRECTORIES("lower1", "beside"));
}

/* Lower layers and what is above them; all that is beside, and what the overlay needs. */
static void test_beside(void **state)
{
    NEEDS_LANDLOCK;
    assert_allowed(*state, OK ",upperdir=@/upper,guard=landlock", "--++++-",
                   DIRECTORIES("lower1", "lower1/in", "lower2", "beside", "upper", "upper.work/work", "."));
    assert_allowed(*state, "mount=@/mount,lowerdir=@/lower1:@/lower2,guard=landlock", "--+-",
                   DIRECTORIES("lower1", "lower2", "beside", "."));
}

/* One overlay asks for it: every lower layer has it. */
static void test_all_overlays(void **state)
{
    NEEDS_LANDLOCK;
    assert_allowed(*state, OK ",upperdir=@/upper;mount=@/other,lowerdir=@/deep/a/lower3,guard=landlock", "-+--++",
                   DIRECTORIES("lower1", "upper", "deep/a/lower3", "deep/a", "deep/a/beside", "deep/b"));
}

/* An upper below a lower layer, as with lowerdir=/, and a lower layer below another. */
static void test_inside(void **state)
{
    NEEDS_LANDLOCK;
    assert_allowed(*state, "mount=@/deep,lowerdir=@/deep,upperdir=@/deep/b/up,exclude=@/deep/b,guard=landlock", "--++-",
                   DIRECTORIES("deep", "deep/a", "deep/b", "deep/b/up", "."));
    assert_allowed(*state, "mount=@/mount,lowerdir=@/deep:@/deep/a/lower3,upperdir=@/upper,guard=landlock", "--+-",
                   DIRECTORIES("deep/a/lower3", "deep/a/beside", "upper", "deep"));
}

static void test_refusals(void **state)
{
    struct ovl_message why = {"nothing was said"};
    struct ovl_space *space = opened(*state, OK ",upperdir=@/upper,guard=landlock");
    assert_refused(*state, OK ",guard=on", "OVL_CONF: guard=on: unknown value; it is 'off' or 'landlock'");
    fault_arm(1, ENOSYS);
    int r = ovl_space_guard(space, &why);
    fault_disarm();
    assert_int_equal(r, -EINVAL);
    assert_string_equal(why.text, "OVL_CONF: guard=landlock: can't be had: the system refuses it; it takes Linux 5.19 "
                                  "with Landlock switched on; leave it out");
    ovl_space_close(space);
}

static int setup(void **state)
{
    int r = fixture_setup(state);
    if (r != 0)
        return r;
    const struct fixture *f = *state;
    static const char *const dirs[] = {"lower1/in",     "beside",    "deep/a/lower3",
                                       "deep/a/beside", "deep/b/up", "upper.work/work"};
    for (size_t i = 0; i < sizeof dirs / sizeof *dirs; i++)
        make_dir(f, dirs[i], 0755);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_off), TEST(test_beside), TEST(test_all_overlays), TEST(test_inside), TEST(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
