/* SPDX-License-Identifier: MIT
 *
 * The directory cache: what it knows costs no call that asks layers, and is the same as the plain walk says, whoever
 * changes it, is killed at that, or can't have it.
 */
#define _GNU_SOURCE
#include "fault_sys.h"
#include "fixture.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- what the tests ask --------------------------------------------------------------------------------- */

static int look(struct fixture *f, const char *path)
{
    struct ovl_node *node;
    ovl_ctx_close(&f->ctx, 0);
    ovl_ctx_reset(&f->ctx, 0);
    return try_resolve(f, path, OVL_TYPE, &node) < 0 ? -1 : node->exists;
}

/* How many calls that could fail are needed to know whether the name is there, and of which type. */
static unsigned cost(struct fixture *f, const char *path)
{
    fault_arm(0, 0);
    look(f, path);
    return fault_disarm();
}

enum { DEPTH = 6 }; /* each look brings a table for one more directory of a path */

static bool is_known(struct fixture *f, const char *path)
{
    for (int i = 0; i < DEPTH; i++)
        look(f, path);
    return cost(f, path) == 0;
}

static bool is_dir_known(struct fixture *f, const char *path)
{
    struct ovl_listing cached;
    for (int i = 0; i < DEPTH; i++)
        look(f, path);
    names(f, path);
    const struct ovl_node *dir = find(f, path);
    fault_arm(0, 0);
    bool known = ovl_cache_list(&f->ctx, dir, &cached);
    unsigned calls = fault_disarm();
    if (known)
        ovl_listing_free(&cached);
    return known && calls == 1; /* for the listing's memory */
}

/* Everything that is said of a name, as text; the caller frees. */
static char *described(struct fixture *f, const char *path)
{
    struct stat st;
    char *text;
    int r = op_stat(f, path, &st);
    assert_true((r < 0 ? asprintf(&text, "%s: error %d", path, -r)
                       : asprintf(&text, "%s: mode %o size %jd ino %ju dev %ju links %ju rdev %jx", path, st.st_mode,
                                  (intmax_t)st.st_size, (uintmax_t)st.st_ino, (uintmax_t)st.st_dev,
                                  (uintmax_t)st.st_nlink, (uintmax_t)st.st_rdev)) > 0);
    return text;
}

static void agree_on_name(struct fixture *f, const char *path)
{
    for (int i = 0; i < 3; i++) {
        char *cached = described(f, path);
        ovl_cache_use(OVL_CACHE_OFF);
        char *plain = described(f, path);
        ovl_cache_use(OVL_CACHE_EAGER);
        assert_string_equal(cached, plain);
        free(cached);
        free(plain);
    }
}

/* The whole view, and names that may not be in it (ended by NULL), are the same with the cache as without. */
static void agree(struct fixture *f, const char *const *paths)
{
    ovl_cache_use(OVL_CACHE_OFF);
    char *plain = view(f);
    ovl_cache_use(OVL_CACHE_EAGER);
    for (int i = 0; i < 3; i++) {
        char *cached = view(f);
        assert_string_equal(cached, plain);
        free(cached);
    }
    free(plain);
    for (; *paths; paths++)
        agree_on_name(f, *paths);
}
#define AGREE(f, ...) agree(f, (const char *const[]){__VA_ARGS__, NULL})

/* Run act(f) in a process of its own, which must end well. */
static void in_child(struct fixture *f, void (*act)(struct fixture *f))
{
    int status;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        act(f);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

/* A process takes the lock of a name, begins to remove it, and is killed. */
static void kill_remover(struct fixture *f, const char *path, const char *whiteout)
{
    int status;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        struct ovl_held held;
        const struct ovl_node *node = find(f, path);
        if (ovl_lock_names(node, NULL, NULL, &held) == 0) {
            make_file(f, whiteout, 0644, "");
            kill(getpid(), SIGKILL);
        }
        _exit(1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
}

static int setup(void **state)
{
    ovl_cache_use(OVL_CACHE_EAGER);
    return fixture_setup(state);
}
#define CACHE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, fixture_teardown)

static void layers(struct fixture *f)
{
    make_file(f, "lower1/d/f", 0644, "one");
    make_file(f, "lower1/d/gone", 0644, "hidden");
    make_file(f, "lower2/d/g", 0640, "two");
    make_file(f, "lower2/d/f", 0600, "below");
    make_file(f, "lower2/d/sub/x", 0644, "deep");
    make_link(f, "lower1/d/l", "f");
    make_dir(f, "lower1/empty", 0755);
    make_file(f, "upper/d/u", 0644, "upper");
    make_file(f, "upper/d/.wh.gone", 0644, "");
    fixture_open(f, "");
}

/* ---- what is known --------------------------------------------------------------------------------------- */

static void known_names_cost_nothing(void **state)
{
    struct fixture *f = *state;
    static const char *const there[] = {"/d", "/d/f", "/d/g", "/d/u", "/d/l", "/d/sub", "/d/sub/x", "/empty"};
    static const char *const missing[] = {"/none", "/d/none", "/d/gone", "/d/sub/none", "/empty/none", "/none/below"};
    layers(f);
    assert_true(cost(f, "/d/sub/x") > 0);
    for (unsigned i = 0; i < sizeof there / sizeof *there; i++)
        if (!is_known(f, there[i]) || look(f, there[i]) != 1)
            fail_msg("%s costs %u calls", there[i], cost(f, there[i]));
    for (unsigned i = 0; i < sizeof missing / sizeof *missing; i++)
        if (!is_known(f, missing[i]))
            fail_msg("%s costs %u calls", missing[i], cost(f, missing[i]));
    ovl_cache_use(OVL_CACHE_OFF);
    assert_true(cost(f, "/d/none") > 0);
    ovl_cache_use(OVL_CACHE_EAGER);
    AGREE(f, "/none", "/d/none", "/d/gone", "/d/f/none", "/d/.wh.gone", "/d/sub/.", "/d//f", "/d/f/", "/d/l/");
}

static void a_listing_costs_nothing(void **state)
{
    struct fixture *f = *state;
    layers(f);
    assert_true(is_dir_known(f, ""));
    assert_true(is_dir_known(f, "/d"));
    assert_true(is_dir_known(f, "/d/sub"));
    assert_true(is_dir_known(f, "/empty"));
    assert_string_equal(names(f, "/d"), "f g l sub u ");
    assert_int_equal(op_write(f, "/d/new", O_WRONLY | O_CREAT, 0644, "x"), 0);
    assert_string_equal(names(f, "/d"), "f g l new sub u ");
    assert_int_equal(op_unlink(f, "/d/f"), 0);
    assert_string_equal(names(f, "/d"), "g l new sub u ");
    assert_true(is_dir_known(f, "/d"));
}

/* Only after some looks, where tests don't want it at once. */
static void a_table_must_be_worth_it(void **state)
{
    struct fixture *f = *state;
    layers(f);
    ovl_cache_use(OVL_CACHE_ON);
    for (int i = 0; i < 3; i++)
        assert_true(cost(f, "/d/f") > 0);
    for (int i = 0; i < 20; i++)
        look(f, "/d/f");
    assert_int_equal(cost(f, "/d/f"), 0);
}

static void changes_are_seen(void **state)
{
    struct fixture *f = *state;
    static const char *const all[] = {"/d/f", "/d/g",  "/d/new", "/d/moved", "/d/u",    "/d/dir",
                                      "/x",   "/x/f",  "/x/sub", "/empty",   "/empty/in", NULL};
    layers(f);
    agree(f, all);
    assert_int_equal(op_write(f, "/d/new", O_WRONLY | O_CREAT | O_EXCL, 0600, "new"), 0);
    agree(f, all);
    assert_true(is_known(f, "/d/new"));
    assert_int_equal(op_write(f, "/d/f", O_WRONLY | O_APPEND, 0, "more"), 0);
    agree(f, all);
    assert_string_equal(merged_text(f, "/d/f"), "onemore");
    assert_int_equal(op_rename(f, "/d/g", "/d/moved", 0), 0);
    agree(f, all);
    assert_int_equal(op_unlink(f, "/d/u"), 0);
    assert_int_equal(op_unlink(f, "/d/f"), 0);
    agree(f, all);
    assert_true(is_known(f, "/d/f"));
    assert_int_equal(op_symlink(f, "moved", "/d/f"), 0);
    assert_int_equal(op_mkdir(f, "/d/dir", 0755), 0);
    assert_int_equal(op_link(f, "/d/new", "/d/u"), 0);
    agree(f, all);
    assert_int_equal(op_rename(f, "/d/f", "/d/new", RENAME_EXCHANGE), 0);
    agree(f, all);
    assert_int_equal(op_write(f, "/empty/in", O_WRONLY | O_CREAT, 0600, ""), 0);
    agree(f, all);
    assert_int_equal(op_rename(f, "/d", "/x", 0), 0);
    agree(f, all);
    assert_int_equal(op_rename(f, "/x", "/empty", RENAME_EXCHANGE), 0);
    agree(f, all);
}

/* Copied up, emptied, removed, made again (and then it merges with nothing), moved. */
static void directories_come_and_go(void **state)
{
    struct fixture *f = *state;
    static const char *const all[] = {"/d", "/d/f", "/d/g", "/d/sub", "/d/sub/x", "/y", "/y/f", "/y/new", NULL};
    layers(f);
    agree(f, all);
    assert_int_equal(op_copy_up(f, "/d/sub", OVL_COPY_ALL), 0);
    agree(f, all);
    assert_int_equal(op_write(f, "/d/sub/y", O_WRONLY | O_CREAT, 0600, ""), 0);
    agree(f, all);
    assert_int_equal(op_unlink(f, "/d/sub/y"), 0);
    assert_int_equal(op_unlink(f, "/d/sub/x"), 0);
    assert_int_equal(op_rmdir(f, "/d/sub"), 0);
    agree(f, all);
    assert_true(is_known(f, "/d/sub"));
    assert_int_equal(op_mkdir(f, "/d/sub", 0755), 0);
    agree(f, all);
    assert_int_equal(look(f, "/d/sub/x"), 0);
    assert_true(is_known(f, "/d/sub/x"));
    static const char *const rest[] = {"/d/f", "/d/g", "/d/l", "/d/u"};
    for (unsigned i = 0; i < sizeof rest / sizeof *rest; i++)
        assert_int_equal(op_unlink(f, rest[i]), 0);
    assert_int_equal(op_rmdir(f, "/d/sub"), 0);
    assert_int_equal(op_rmdir(f, "/d"), 0);
    agree(f, all);
    assert_int_equal(op_mkdir(f, "/y", 0700), 0);
    assert_int_equal(op_write(f, "/y/new", O_WRONLY | O_CREAT, 0600, ""), 0);
    agree(f, all);
    assert_int_equal(op_rename(f, "/y", "/d", 0), 0);
    agree(f, all);
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

static void another_process_changes_the_type(void **state)
{
    struct fixture *f = *state;
    layers(f);
    for (int i = 0; i < 3; i++) {
        assert_true(is_known(f, "/d/g"));
        in_child(f, replace_by_directory);
        assert_int_equal(look(f, "/d/g/in"), 1);
        AGREE(f, "/d/g", "/d/g/in");
        assert_true(is_known(f, "/d/g/in"));
        in_child(f, replace_by_file);
        assert_int_equal(look(f, "/d/g/in"), -1);
        AGREE(f, "/d/g", "/d/g/in");
    }
}

static int set_mode(void *arg)
{
    return chmod(arg, 0700);
}

/* What everybody may search is kept; where the kernel decides, it is asked each time. */
static void search_is_asked_for(void **state)
{
    struct fixture *f = *state;
    char place[OVL_PATH_MAX];
    layers(f);
    assert_true(is_known(f, "/d/f"));
    strcpy(place, real(f, "upper/d"));
    assert_int_equal(ovl_change_search(find(f, "/d"), set_mode, place), 0);
    assert_false(is_known(f, "/d/f"));
    assert_int_equal(look(f, "/d/f"), 1);
    AGREE(f, "/d", "/d/f", "/d/none");
}

/* ---- what can't be kept ------------------------------------------------------------------------------------ */

static void killed_writers_leave_doubt(void **state)
{
    struct fixture *f = *state;
    layers(f);
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
    layers(f);
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
    layers(f);
    for (unsigned n = 1; n < 40; n++) {
        int before = look(f, "/d/new");
        /* Let its word say that nothing is known. */
        change_meanwhile(f);
        change_meanwhile(f);
        assert_int_equal(look(f, "/d"), 1);
        fault_run_before(n, 0, change_meanwhile, f);
        look(f, "/d/new");
        fault_disarm();
        bool changed = fault_hit() >= 0;
        assert_int_equal(look(f, "/d/new"), changed ? !before : before);
        AGREE(f, "/d/new");
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
    layers(f);
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
    layers(f);
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
    layers(f);
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
    layers(f);
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
    layers(f);
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

/* A record that was found in one run and is used in the next. */
static void records_are_of_one_run(void **state)
{
    struct fixture *f = *state;
    struct ovl_listing listing;
    layers(f);
    assert_true(is_dir_known(f, "/d"));
    struct ovl_node dir = *find(f, "/d");
    assert_true(dir.dirs.record != 0);
    ovl_cache_start(f->ovl);
    assert_false(ovl_cache_list(&f->ctx, &dir, &listing));
    assert_true(is_dir_known(f, "/d"));
}

/* ---- what is not kept at all --------------------------------------------------------------------------------- */

static void other_names_are_copied_up(void **state)
{
    struct fixture *f = *state;
    make_file(f, "lower1/a/h1", 0644, "linked");
    make_hard_link(f, "lower1/b/h2", "lower1/a/h1");
    make_hard_link(f, "lower1/b/h3", "lower1/a/h1");
    fixture_open(f, "");
    names(f, "/a");
    names(f, "/b");
    AGREE(f, "/a/h1", "/b/h2");
    assert_string_equal(merged_text(f, "/b/h2"), "linked");
    assert_int_equal(op_write(f, "/a/h1", O_WRONLY | O_TRUNC, 0, "written"), 0);
    assert_string_equal(merged_text(f, "/b/h2"), "written");
    AGREE(f, "/a/h1", "/b/h2", "/b/h3");
    assert_int_equal(op_unlink(f, "/a/h1"), 0);
    AGREE(f, "/a/h1", "/b/h2", "/b/h3");
    assert_int_equal(op_write(f, "/b/h3", O_WRONLY | O_APPEND, 0, " twice"), 0);
    assert_string_equal(merged_text(f, "/b/h2"), "written twice");
    AGREE(f, "/a/h1", "/b/h2", "/b/h3");
}

static void impure_directories_are_asked(void **state)
{
    struct fixture *f = *state;
    make_file(f, "lower1/d/f", 0644, "");
    make_file(f, "lower1/d/sub/x", 0644, "");
    make_file(f, "lower1/pure/f", 0644, "");
    set_xattr(f, "lower1/d", "user.overlay.impure", "y");
    make_file(f, "lower1/moved/f", 0644, "");
    set_xattr(f, "lower1/moved", "user.overlay.redirect", "/d");
    fixture_open(f, "");
    assert_true(is_known(f, "/pure/f"));
    assert_false(is_known(f, "/d/f"));
    assert_false(is_known(f, "/d/none"));
    assert_false(is_known(f, "/d/sub/x"));
    assert_false(is_dir_known(f, "/d"));
    AGREE(f, "/d/f", "/d/none", "/d/sub/x", "/moved", "/moved/f");
}

static void whiteouts_of_every_form(void **state)
{
    struct fixture *f = *state;
    static const char *const all[] = {"/d/file",     "/d/device", "/d/attribute", "/d/stays", "/opaque/old",
                                      "/marked/old", "/d",        "/opaque/new",  NULL};
    make_file(f, "lower2/d/file", 0644, "");
    make_file(f, "lower2/d/device", 0644, "");
    make_file(f, "lower2/d/attribute", 0644, "");
    make_file(f, "lower2/d/stays", 0644, "");
    make_file(f, "lower2/opaque/old", 0644, "");
    make_file(f, "lower2/marked/old", 0644, "");
    make_file(f, "lower1/d/.wh.file", 0644, "");
    make_file(f, "lower1/d/attribute", 0644, "");
    set_xattr(f, "lower1/d/attribute", "user.overlay.whiteout", "y");
    set_xattr(f, "lower1/d", "user.overlay.opaque", "x");
    make_file(f, "lower1/opaque/.wh..wh..opq", 0644, "");
    make_file(f, "lower1/opaque/new", 0644, "");
    make_dir(f, "lower1/marked", 0755);
    set_xattr(f, "lower1/marked", "user.overlay.opaque", "y");
    if (geteuid() == 0)
        make_node(f, "lower1/d/device", S_IFCHR | 0600, makedev(0, 0));
    fixture_open(f, "");
    agree(f, all);
    assert_string_equal(names(f, "/d"), geteuid() == 0 ? "stays " : "device stays ");
    for (unsigned i = 0; all[i]; i++)
        assert_true(is_known(f, all[i]));
    assert_int_equal(look(f, "/d/file") + look(f, "/d/attribute") + look(f, "/opaque/old") + look(f, "/marked/old"), 0);
}

static void overlays_below_and_parts_that_pass(void **state)
{
    struct fixture *f = *state;
    make_file(f, "lower1/d/f", 0644, "outer");
    make_file(f, "lower1/d/in/hidden", 0644, "outer");
    make_file(f, "lower2/y", 0644, "inner");
    make_file(f, "mount/d/out/real", 0644, "real");
    make_file(f, "lower1/d/out/hidden", 0644, "outer");
    fixture_open_conf(f, "mount=@/mount,lowerdir=@/lower1,upperdir=@/upper,exclude=d/out;"
                         "mount=@/mount/d/in,lowerdir=@/lower2,upperdir=@/upper2");
    static const char *const all[] = {"/d/in",       "/d/in/y", "/d/in/hidden", "/d/in/new", "/d/out",
                                      "/d/out/real", "/d/f",    "/d/none",      NULL};
    for (int i = 0; i < 3; i++) {
        assert_string_equal(names(f, "/d"), "f in out ");
        for (const char *const *path = all; *path; path++)
            agree_on_name(f, *path);
    }
    assert_true(is_known(f, "/d/in/y"));
    assert_true(is_known(f, "/d/in/hidden"));
    assert_int_equal(look(f, "/d/in/hidden"), 0);
    assert_int_equal(op_write(f, "/d/in/new", O_WRONLY | O_CREAT, 0600, ""), 0);
    for (const char *const *path = all; *path; path++)
        agree_on_name(f, *path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CACHE_TEST(known_names_cost_nothing),
        CACHE_TEST(a_listing_costs_nothing),
        CACHE_TEST(a_table_must_be_worth_it),
        CACHE_TEST(changes_are_seen),
        CACHE_TEST(directories_come_and_go),
        CACHE_TEST(another_process_changes_the_type),
        CACHE_TEST(search_is_asked_for),
        CACHE_TEST(killed_writers_leave_doubt),
        CACHE_TEST(nested_changes_end_nothing),
        CACHE_TEST(what_changed_meanwhile_is_not_kept),
        CACHE_TEST(tables_of_what_went_are_not_used),
        CACHE_TEST(no_room_costs_only_time),
        CACHE_TEST(failed_calls_leave_nothing_wrong),
        CACHE_TEST(one_without_it_switches_it_off),
        CACHE_TEST(there_are_not_two_of_a_run),
        CACHE_TEST(a_new_run_forgets),
        CACHE_TEST(records_are_of_one_run),
        CACHE_TEST(other_names_are_copied_up),
        CACHE_TEST(impure_directories_are_asked),
        CACHE_TEST(whiteouts_of_every_form),
        CACHE_TEST(overlays_below_and_parts_that_pass),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
