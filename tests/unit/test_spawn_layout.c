/* SPDX-License-Identifier: MIT
 *
 * posix_spawn_file_actions_t as the libc at hand fills it, read as shim/spawn_actions.h says: a libc that changed it
 * would have our posix_spawn do other things than were asked for.
 */
#define _GNU_SOURCE
#include "../../shim/spawn_actions.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define ACTIONS 40

static void add_all(posix_spawn_file_actions_t *actions)
{
    assert_int_equal(posix_spawn_file_actions_addclose(actions, 11), 0);
    assert_int_equal(posix_spawn_file_actions_adddup2(actions, 12, 13), 0);
    assert_int_equal(posix_spawn_file_actions_addopen(actions, 14, "/a/file", O_RDWR | O_CREAT, 0640), 0);
    assert_int_equal(posix_spawn_file_actions_addchdir_np(actions, "a/directory"), 0);
    assert_int_equal(posix_spawn_file_actions_addfchdir_np(actions, 15), 0);
    assert_int_equal(posix_spawn_file_actions_addclosefrom_np(actions, 16), 0);
    assert_int_equal(posix_spawn_file_actions_addtcsetpgrp_np(actions, 17), 0);
}

static void test_each_action_is_read_back(void **state)
{
    (void)state;
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    add_all(&actions);
    assert_int_equal(actions.__used, 7);
    const struct shim_spawn_action *a = (const void *)actions.__actions;
    assert_int_equal(a[0].tag, SHIM_SPAWN_CLOSE);
    assert_int_equal(a[0].fd, 11);
    assert_int_equal(a[1].tag, SHIM_SPAWN_DUP2);
    assert_int_equal(a[1].dup2.from, 12);
    assert_int_equal(a[1].dup2.to, 13);
    assert_int_equal(a[2].tag, SHIM_SPAWN_OPEN);
    assert_int_equal(a[2].open.fd, 14);
    assert_string_equal(a[2].open.path, "/a/file");
    assert_int_equal(a[2].open.flags, O_RDWR | O_CREAT);
    assert_int_equal(a[2].open.mode, 0640);
    assert_int_equal(a[3].tag, SHIM_SPAWN_CHDIR);
    assert_string_equal(a[3].directory, "a/directory");
    assert_int_equal(a[4].tag, SHIM_SPAWN_FCHDIR);
    assert_int_equal(a[4].fd, 15);
    assert_int_equal(a[5].tag, SHIM_SPAWN_CLOSEFROM);
    assert_int_equal(a[5].fd, 16);
    assert_int_equal(a[6].tag, SHIM_SPAWN_TCSETPGRP);
    assert_int_equal(a[6].fd, 17);
    posix_spawn_file_actions_destroy(&actions);
}

static void test_the_size_of_an_action(void **state)
{
    (void)state;
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    for (int i = 0; i < ACTIONS; i++)
        assert_int_equal(posix_spawn_file_actions_addclose(&actions, i), 0);
    const struct shim_spawn_action *a = (const void *)actions.__actions;
    assert_int_equal(actions.__used, ACTIONS);
    for (int i = 0; i < ACTIONS; i++)
        assert_int_equal(a[i].fd, i);
    posix_spawn_file_actions_destroy(&actions);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_action_is_read_back),
        cmocka_unit_test(test_the_size_of_an_action),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
