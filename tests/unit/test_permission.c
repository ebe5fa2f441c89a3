/* SPDX-License-Identifier: MIT
 *
 * What an ordinary user may do: what it could do if the object were its own copy (C-3.9).  As root the tests
 * run in a child with another user's ids; without root they have nobody else's files to try.
 */
#define _GNU_SOURCE
#include "fixture.h"

#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define USER 12345

/* Run in a child as USER, whose layers' upper and work directory are its own. */
static void as_user(struct fixture *f, void (*test)(struct fixture *f))
{
    if (geteuid() != 0)
        skip_because("needs root");
    assert_int_equal(chmod(f->root, 0755), 0);
    assert_int_equal(chown(real(f, "upper"), USER, USER), 0);
    make_dir(f, "upper.work", 0700);
    assert_int_equal(chown(real(f, "upper.work"), USER, USER), 0);
    fixture_remember(f);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        if (setgroups(0, NULL) != 0 || setresgid(USER, USER, USER) != 0 || setresuid(USER, USER, USER) != 0)
            _exit(97);
        fixture_open(f, "");
        test(f);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void change_what_is_roots(struct fixture *f)
{
    assert_int_equal(op_access(f, "/d/file", R_OK | W_OK), 0);
    assert_int_equal(op_write(f, "/d/file", O_WRONLY | O_APPEND, 0, "+"), 0);
    assert_string_equal(merged_text(f, "/d/file"), "text+");
    assert_int_equal(stat_of(f, "upper/d/file").st_uid, USER);
    assert_int_equal(op_access(f, "/d", W_OK), 0);
    assert_int_equal(op_write(f, "/d/new", O_WRONLY | O_CREAT, 0644, ""), 0);
    assert_int_equal(op_mkdir(f, "/d/dir", 0755), 0);
    assert_int_equal(op_unlink(f, "/d/other"), 0);
    assert_int_equal(op_rename(f, "/d/setuid", "/d/moved", 0), 0);
    assert_int_equal(stat_of(f, "upper/d/moved").st_mode, S_IFREG | 0755); /* without its set-user-id bit */
}

static void a_user_can_change_what_is_roots(void **state)
{
    struct fixture *f = *state;
    make_file(f, "lower1/d/file", 0644, "text");
    make_file(f, "lower1/d/other", 0644, "text");
    make_file(f, "lower1/d/setuid", 04755, "text");
    as_user(f, change_what_is_roots);
}

static void be_refused(struct fixture *f)
{
    assert_int_equal(op_open(f, "/readonly", O_WRONLY, 0), -EACCES);
    assert_int_equal(op_access(f, "/readonly", W_OK), -EACCES);
    assert_int_equal(op_access(f, "/readonly", R_OK), 0);
    assert_int_equal(op_open(f, "/secret", O_RDONLY, 0), -EACCES);
    assert_int_equal(op_open(f, "/secret", O_WRONLY, 0), -EACCES);
    assert_int_equal(op_copy_up(f, "/secret", OVL_COPY_ALL), -EACCES);
    assert_int_equal(op_access(f, "/secret", W_OK), -EACCES);
    assert_int_equal(op_access(f, "/plain", X_OK), -EACCES);
    assert_int_equal(op_access(f, "/closed/x", F_OK), -EACCES);
    assert_int_equal(op_write(f, "/locked/new", O_WRONLY | O_CREAT, 0644, ""), -EACCES);
    assert_int_equal(op_mkdir(f, "/locked/new", 0755), -EACCES);
    assert_int_equal(op_unlink(f, "/locked/x"), -EACCES);
    assert_int_equal(op_rename(f, "/locked/x", "/x", 0), -EACCES);
    assert_false(is_there(f, "upper/readonly"));
    assert_false(is_there(f, "upper/secret"));
    assert_false(is_there(f, "upper/locked/new"));
    assert_int_equal(op_unlink(f, "/secret"), 0); /* its directory's matter */
}

static void mode_bits_count(void **state)
{
    struct fixture *f = *state;
    make_file(f, "lower1/readonly", 0444, "text");
    make_file(f, "lower1/secret", 0600, "text");
    make_file(f, "lower1/plain", 0644, "text");
    make_file(f, "lower1/closed/x", 0644, "text");
    make_dir(f, "lower1/closed", 0700);
    make_file(f, "lower1/locked/x", 0644, "text");
    make_dir(f, "lower1/locked", 0555);
    as_user(f, be_refused);
}

static void access_checks_its_mode(void **state)
{
    struct fixture *f = *state;
    make_file(f, "lower1/file", 0644, "x");
    fixture_open(f, "");
    assert_int_equal(op_access(f, "/file", 8), -EINVAL);
    assert_int_equal(op_access(f, "/none", F_OK), -ENOENT);
    assert_int_equal(op_access(f, "/file", F_OK), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(a_user_can_change_what_is_roots),
        FIXTURE_TEST(mode_bits_count),
        FIXTURE_TEST(access_checks_its_mode),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
