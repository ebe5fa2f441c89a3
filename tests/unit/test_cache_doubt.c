/* SPDX-License-Identifier: MIT
 *
 * The directory cache where something is in doubt: writers at work or killed, no room, no file, another run.
 */
#define _GNU_SOURCE
#include "fault_sys.h"
#include "fixture_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- changes ---------------------------------------------------------------------------------------------- */

/* A process takes the lock of a name, begins to remove it, and is killed. */
static void kill_remover(struct fixture *f, const char *path, const char *whiteout)
{
    int status;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        struct ovl_held held;
        struct ovl_node *node = find(f, path);
        if (ovl_lock_names(node, NULL, NULL, &held) == 0) {
            make_file(f, whiteout, 0644, "");
            kill(getpid(), SIGKILL);
        }
        _exit(1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
}

static void replace_by_directory(struct fixture *f)
{
    if (op_unlink(f, "/d/g") < 0 || op_mkdir(f, "/d/g", 0755) < 0 ||
        op_write(f, "/d/g/in", O_WRONLY | O_CREAT, 0600, "in") < 0)
        _exit(1);
}

static void replace_by_file(struct fixture *f)
{
    if (op_unlink(f, "/d/g/in") < 0 || op_rmdir(f, "/d/g") < 0 ||
        op_write(f, "/d/g", O_WRONLY | O_CREAT, 0600, "file again") < 0)
        _exit(1);
}

static void killed_writers_leave_doubt(void **state)
{
    struct fixture *f = *state;
    cache_layers(f);
    assert_true(is_known(f, "/d/f"));
    assert_int_equal(look(f, "/d/f"), 1);
    kill_remover(f, "/d/f", "upper/d/.wh.f");
    assert_false(is_known(f, "/d/f"));
    assert_int_equal(look(f, "/d/f"), 0);
    assert_int_equal(op_write(f, "/d/f", O_WRONLY | O_CREAT | O_EXCL, 0600, "again"), 0);
    assert_true(is_known(f, "/d/f"));
    AGREE(f, "/d/f");
    /* A name that the table does not have yet is in doubt too. */
    assert_true(is_known(f, "/d/other"));
    kill_remover(f, "/d/other", "upper/d/other");
    assert_false(is_known(f, "/d/other"));
    assert_int_equal(look(f, "/d/other"), 1);
    assert_string_equal(names(f, "/d"), "f g l other sub u ");
}

static void nested_changes_end_nothing(void **state)
{
    struct fixture *f = *state;
    struct ovl_held outer, inner;
    struct ovl_node outside, inside;
    cache_layers(f);
    assert_true(is_known(f, "/d/f"));
    outside = *find(f, "/d/f");
    inside = *find(f, "/d/f");
    assert_int_equal(ovl_lock_names(&outside, NULL, NULL, &outer), 0);
    assert_int_equal(ovl_lock_names(&inside, NULL, NULL, &inner), 0);
    ovl_unlock(&inner);
    look(f, "/d/f");
    assert_true(cost(f, "/d/f") > 0);
    make_file(f, "upper/d/.wh.f", 0644, "");
    assert_int_equal(look(f, "/d/f"), 0);
    ovl_unlock(&outer);
    assert_true(is_known(f, "/d/f"));
    assert_int_equal(look(f, "/d/f"), 0);
}

/* Who has the lock is told what was before its change, once. */
static void the_changer_looks_again(void **state)
{
    struct fixture *f = *state;
    struct ovl_held held;
    cache_layers(f);
    assert_true(is_known(f, "/d/f"));
    struct ovl_node node = *find(f, "/d/f");
    assert_int_equal(ovl_lock_names(&node, NULL, NULL, &held), 0);
    assert_int_equal(ovl_lookup(&f->ctx, &node), 0);
    assert_true(node.exists);
    make_file(f, "upper/d/.wh.f", 0644, "");
    assert_int_equal(ovl_lookup(&f->ctx, &node), 0);
    assert_false(node.exists);
    ovl_unlock(&held);
}

/* Whatever the memory of a new node was used for. */
static void a_new_node_remembers_nothing(void **state)
{
    struct fixture *f = *state;
    cache_layers(f);
    const size_t mark = f->ctx.used;
    memset(ovl_ctx_alloc(&f->ctx, sizeof(struct ovl_node)), 0xff, sizeof(struct ovl_node));
    ovl_ctx_reset(&f->ctx, mark);
    const struct ovl_node *node = ovl_node_new(&f->ctx);
    assert_int_equal(node->before, 0);
    assert_int_equal(node->in.record, 0);
    assert_int_equal(node->dirs.record, 0);
    assert_false(node->partly);
}

/* Let its word say that nothing is known. */
static void doubt(struct fixture *f, const char *path)
{
    struct ovl_held held;
    assert_int_equal(ovl_lock_names(find(f, path), NULL, NULL, &held), 0);
    ovl_unlock(&held);
}

/* What is found while the name changes is not kept: the change may end before that. */
static void change_meanwhile(void *arg)
{
    struct fixture *f = arg;
    struct ovl_ctx kept = f->ctx;
    assert_int_equal(ovl_ctx_begin(&f->ctx, f->space, &ovl_ops_kernel), 0);
    if (op_unlink(f, "/d/new") == -ENOENT)
        assert_int_equal(op_write(f, "/d/new", O_WRONLY | O_CREAT, 0600, ""), 0);
    ovl_ctx_end(&f->ctx);
    f->ctx = kept;
}

static void what_changed_meanwhile_is_not_kept(void **state)
{
    struct fixture *f = *state;
    cache_layers(f);
    for (unsigned n = 1; n < 40; n++) {
        int before = look(f, "/d/new");
        doubt(f, "/d/new");
        assert_int_equal(look(f, "/d"), 1);
        fault_run_before(n, 0, change_meanwhile, f);
        look(f, "/d/new");
        fault_disarm();
        bool changed = fault_hit() >= 0;
        assert_int_equal(look(f, "/d/new"), changed ? !before : before);
        AGREE(f, "/d/new");
    }
}

/* Two names become those of one file, while one is moved over the other: then that does nothing. */
static void become_one(void *arg)
{
    struct fixture *f = arg;
    struct ovl_ctx kept = f->ctx;
    struct ovl_held held;
    assert_int_equal(ovl_ctx_begin(&f->ctx, f->space, &ovl_ops_kernel), 0);
    if (ovl_lock_listing(find(f, "/d"), &held) == 0) {
        ovl_unlock(&held);
        if (look(f, "/d/a") == 1)
            op_unlink(f, "/d/b");
        op_link(f, "/d/a", "/d/b");
    }
    ovl_ctx_end(&f->ctx);
    f->ctx = kept;
}

static void nothing_is_said_of_what_did_not_move(void **state)
{
    struct fixture *f = *state;
    cache_layers(f);
    bool met = true;
    for (unsigned n = 1; met; n++) {
        assert_int_equal(op_write(f, "/d/a", O_WRONLY | O_CREAT, 0600, "a"), 0);
        op_unlink(f, "/d/b");
        assert_int_equal(op_write(f, "/d/b", O_WRONLY | O_CREAT, 0600, "b"), 0);
        fault_run_before(n, 0, become_one, f);
        assert_int_equal(op_rename(f, "/d/a", "/d/b", 0), 0);
        fault_disarm();
        met = fault_hit() >= 0;
        AGREE(f, "/d/a", "/d/b");
    }
}

static pid_t other;

/* Another process waits for a directory, to make a file in it. */
static void begin_to_use(struct fixture *f)
{
    fflush(NULL);
    other = fork();
    if (other != 0)
        return;
    int r = -ENOENT;
    for (int i = 0; r == -ENOENT && i < 100000; i++)
        r = is_there(f, "upper/d/new") ? op_write(f, "/d/new/in", O_WRONLY | O_CREAT, 0600, "") : -ENOENT;
    _exit(r == 0 ? 0 : 1);
}

static void wait_a_moment(void *arg)
{
    (void)arg;
    usleep(20000);
}

static void what_comes_into_a_new_directory_is_seen(void **state)
{
    struct fixture *f = *state;
    cache_layers(f);
    bool met = true;
    for (unsigned n = 1; met; n++) {
        int status;
        assert_true(is_known(f, "/d/new"));
        begin_to_use(f);
        fault_run_before(n, 0, wait_a_moment, f);
        assert_int_equal(op_mkdir(f, "/d/new", 0755), 0);
        fault_disarm();
        met = fault_hit() >= 0;
        assert_int_equal(waitpid(other, &status, 0), other);
        assert_int_equal(status, 0);
        AGREE(f, "/d/new", "/d/new/in", "/d/new/none");
        assert_int_equal(op_unlink(f, "/d/new/in"), 0);
        assert_int_equal(op_rmdir(f, "/d/new"), 0);
    }
}

static void make_or_remove(void *arg)
{
    struct fixture *f = arg;
    struct ovl_ctx kept = f->ctx;
    assert_int_equal(ovl_ctx_begin(&f->ctx, f->space, &ovl_ops_kernel), 0);
    if (op_rmdir(f, "/d/gone") == -ENOENT)
        assert_int_equal(op_mkdir(f, "/d/gone", 0755), 0);
    ovl_ctx_end(&f->ctx);
    f->ctx = kept;
}

/* A name that is made and removed between two calls of one look never showed what is below its whiteout. */
static void a_look_is_of_one_moment(void **state)
{
    struct fixture *f = *state;
    struct ovl_node *node;
    cache_layers(f);
    assert_true(is_known(f, "/d/gone"));
    for (unsigned n = 1; n < 12; n++)
        for (unsigned again = n + 1; again < n + 4; again++) {
            make_or_remove(f);
            if (look(f, "/d/gone"))
                make_or_remove(f);
            doubt(f, "/d/gone");
            ovl_ctx_close(&f->ctx, 0);
            ovl_ctx_reset(&f->ctx, 0);
            fault_run_before(n, again, make_or_remove, f);
            int r = try_resolve(f, "/d/gone", OVL_TYPE, &node);
            fault_disarm();
            assert_int_equal(r, 0);
            assert_false(node->exists && !S_ISDIR(node->st.st_mode));
        }
}

/* Not while the look holds the lock, for which this would wait. */
static void replace_meanwhile(void *arg)
{
    struct fixture *f = arg;
    struct ovl_ctx kept = f->ctx;
    struct ovl_held held;
    assert_int_equal(ovl_ctx_begin(&f->ctx, f->space, &ovl_ops_kernel), 0);
    if (ovl_lock_listing(find(f, ""), &held) == 0) {
        ovl_unlock(&held);
        in_child(f, look(f, "/d/g/in") == 1 ? replace_by_file : replace_by_directory);
    }
    ovl_ctx_end(&f->ctx);
    f->ctx = kept;
}

/* A directory goes up, or comes and goes, while a table is made of it. */
static void tables_of_what_went_are_not_used(void **state)
{
    struct fixture *f = *state;
    make_file(f, "lower1/d/g", 0644, "");
    fixture_open(f, "");
    for (unsigned n = 1;; n++) {
        ovl_cache_start(f->ovl);
        fault_run_before(n, 0, replace_meanwhile, f);
        look(f, "/d/g/in");
        fault_disarm();
        AGREE(f, "/d/g", "/d/g/in");
        if (fault_hit() < 0)
            break;
    }
}

static void leave_no_room(struct fixture *f)
{
    struct ovl_cache *cache = ovl_cache_for_reading(f->ovl);
    const struct rlimit small = {300000, 300000};
    if (!cache || setrlimit(RLIMIT_FSIZE, &small) < 0)
        _exit(2);
    for (size_t size = 4096; size >= OVL_CACHE_ALIGN; size /= 2)
        while (ovl_cache_alloc(cache, size))
            ;
    /* A new name has no place in its table: then that is none any more. */
    if (op_write(f, "/d/new", O_WRONLY | O_CREAT, 0600, "new") < 0)
        _exit(3);
    if (look(f, "/d/new") != 1 || op_unlink(f, "/d/f") < 0)
        _exit(4);
    AGREE(f, "/d/new", "/d/f", "/d/sub/x", "/empty/none");
}

static void no_room_costs_only_time(void **state)
{
    struct fixture *f = *state;
    cache_layers(f);
    assert_true(is_known(f, "/d/sub"));
    assert_true(is_known(f, "/d/none"));
    in_child(f, leave_no_room);
    assert_int_equal(look(f, "/d/new"), 1);
    AGREE(f, "/d/new", "/d/f", "/d/sub/x", "/empty/none");
}

/* Each call that a look needs fails once. */
static void failed_calls_leave_nothing_wrong(void **state)
{
    struct fixture *f = *state;
    cache_layers(f);
    for (int error = 0; error < 2; error++)
        for (unsigned n = 1;; n++) {
            ovl_cache_start(f->ovl);
            f->ovl->cache_failed = false;
            fault_arm(n, error ? ENOSPC : ENOMEM);
            look(f, "/d/sub/x");
            look(f, "/d/none");
            fault_disarm();
            bool hit = fault_hit() >= 0;
            AGREE(f, "/d/none", "/d/sub/x");
            if (!hit)
                break;
        }
}

static const char *cache_file(struct fixture *f)
{
    char name[64];
    uint64_t run = ovl_shared_cache(ovl_shared(f->ovl))->run;
    snprintf(name, sizeof name, "upper.work/cache/names-%ju", (uintmax_t)run);
    return real(f, name);
}

static void change_without_the_file(struct fixture *f)
{
    ovl_cache_detach(f->ovl);
    if (op_unlink(f, "/d/f") < 0)
        _exit(1);
}

/* Who can't say what it changes tells the others to believe nothing. */
static void one_without_it_switches_it_off(void **state)
{
    struct fixture *f = *state;
    char file[OVL_PATH_MAX], aside[OVL_PATH_MAX];
    cache_layers(f);
    assert_true(is_known(f, "/d/f"));
    strcpy(file, cache_file(f));
    strcpy(aside, real(f, "aside"));
    assert_int_equal(rename(file, aside), 0);
    in_child(f, change_without_the_file);
    assert_int_equal(look(f, "/d/f"), 0);
    assert_false(is_known(f, "/d/g"));
    assert_int_equal(rename(aside, file), 0);
    assert_false(is_known(f, "/d/g"));
    AGREE(f, "/d/f");
    ovl_cache_start(f->ovl);
    assert_true(is_known(f, "/d/f"));
}

static void look_without_the_file(struct fixture *f)
{
    ovl_cache_detach(f->ovl);
    if (is_known(f, "/d/f") || look(f, "/d/f") != 1)
        _exit(1);
    f->ovl->cache_failed = false;
    if (op_write(f, "/d/new", O_WRONLY | O_CREAT, 0600, "") < 0)
        _exit(2);
}

/* The file of a run is made once: two of them would not know of each other. */
static void there_are_not_two_of_a_run(void **state)
{
    struct fixture *f = *state;
    cache_layers(f);
    assert_true(is_known(f, "/d/f"));
    assert_true(is_known(f, "/d/new"));
    assert_int_equal(unlink(cache_file(f)), 0);
    in_child(f, look_without_the_file);
    assert_int_equal(look(f, "/d/new"), 1);
    AGREE(f, "/d/new");
}

/* Between two runs the layers may change as they like. */
static void a_new_run_forgets(void **state)
{
    struct fixture *f = *state;
    cache_layers(f);
    assert_true(is_known(f, "/d/none"));
    assert_true(is_known(f, "/d/u"));
    make_file(f, "upper/d/none", 0644, "");
    assert_int_equal(unlink(real(f, "upper/d/u")), 0);
    assert_int_equal(look(f, "/d/none"), 0); /* it is believed, so what follows shows something */
    ovl_cache_start(f->ovl);
    assert_int_equal(look(f, "/d/none"), 1);
    assert_int_equal(look(f, "/d/u"), 0);
    assert_true(is_known(f, "/d/none"));
    AGREE(f, "/d/none", "/d/u");
}

/* A record that was found in one run is another directory's in the next. */
static void records_are_of_one_run(void **state)
{
    struct fixture *f = *state;
    struct ovl_listing listing;
    cache_layers(f);
    assert_true(is_dir_known(f, "/d"));
    struct ovl_node dir = *find(f, "/d");
    assert_true(dir.dirs.record != 0);
    ovl_cache_start(f->ovl);
    assert_true(is_dir_known(f, "/empty"));
    dir.dirs.record = find(f, "/empty")->dirs.record;
    assert_false(ovl_cache_list(&f->ctx, &dir, &listing));
    assert_true(is_dir_known(f, "/d"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CACHE_TEST(killed_writers_leave_doubt),
        CACHE_TEST(nested_changes_end_nothing),
        CACHE_TEST(the_changer_looks_again),
        CACHE_TEST(a_new_node_remembers_nothing),
        CACHE_TEST(what_changed_meanwhile_is_not_kept),
        CACHE_TEST(nothing_is_said_of_what_did_not_move),
        CACHE_TEST(what_comes_into_a_new_directory_is_seen),
        CACHE_TEST(a_look_is_of_one_moment),
        CACHE_TEST(tables_of_what_went_are_not_used),
        CACHE_TEST(no_room_costs_only_time),
        CACHE_TEST(failed_calls_leave_nothing_wrong),
        CACHE_TEST(one_without_it_switches_it_off),
        CACHE_TEST(there_are_not_two_of_a_run),
        CACHE_TEST(a_new_run_forgets),
        CACHE_TEST(records_are_of_one_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
