/* SPDX-License-Identifier: MIT
 *
 * The log of directories that move (C-2.11): what it says of a remembered path, whatever stands in its file, and
 * whoever was killed while writing it.
 */
#define _GNU_SOURCE
#include "fault_sys.h"
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOG "upper.work/state/moves"

/* A path, remembered. */
struct held {
    char path[OVL_PATH_MAX];
    uint64_t mark;
    bool removed;
};

static void hold(struct fixture *f, struct held *h, const char *path)
{
    strcpy(h->path, merged(f, path));
    h->mark = ovl_moves_mark(f->space, h->path);
    h->removed = false;
    assert_true(h->mark != OVL_MOVES_NONE);
    assert_false(ovl_moved_since(f->space, h->mark));
}

static int follow(struct fixture *f, struct held *h)
{
    int r = ovl_follow(&f->ctx, h->path, h->removed, &h->mark);
    if (r >= 0) {
        h->removed = r;
        assert_false(ovl_moved_since(f->space, h->mark));
    }
    return r;
}

static void layers(struct fixture *f)
{
    make_file(f, "lower1/a/b/f", 0644, "1");
    make_dir(f, "lower1/c", 0755);
    make_file(f, "lower2/file", 0644, "2");
    fixture_open(f, "");
}

static void paths_follow(void **state)
{
    struct fixture *f = *state;
    struct held at, below, beside;
    layers(f);
    hold(f, &at, "/a");
    hold(f, &below, "/a/b");
    hold(f, &beside, "/c");
    assert_int_equal(op_rename(f, "/a", "/x", 0), 0);
    assert_true(ovl_moved_since(f->space, at.mark));
    assert_int_equal(follow(f, &at), 0);
    assert_string_equal(at.path, merged(f, "/x"));
    assert_int_equal(op_rename(f, "/x", "/file", 2), 0);
    assert_int_equal(op_mkdir(f, "/a", 0755), 0);
    assert_int_equal(op_rename(f, "/c", "/file", 2), 0);
    assert_int_equal(follow(f, &at), 0);
    assert_string_equal(at.path, merged(f, "/c"));
    assert_int_equal(follow(f, &below), 0);
    assert_string_equal(below.path, merged(f, "/c/b"));
    assert_int_equal(follow(f, &beside), 0);
    assert_string_equal(beside.path, merged(f, "/file"));
}

/* Of a removed directory the parent is followed on, and gone when that is removed. */
static void removed_ones_are_known(void **state)
{
    struct fixture *f = *state;
    struct held b, c, root;
    layers(f);
    hold(f, &b, "/a/b");
    hold(f, &c, "/c");
    hold(f, &root, "");
    assert_int_equal(op_unlink(f, "/a/b/f"), 0);
    assert_int_equal(op_rmdir(f, "/a/b"), 0);
    assert_int_equal(op_mkdir(f, "/a/b", 0755), 0);
    assert_int_equal(follow(f, &b), 1);
    assert_string_equal(b.path, merged(f, "/a"));
    assert_int_equal(op_rename(f, "/a", "/c", 0), 0);
    assert_int_equal(follow(f, &b), 1);
    assert_string_equal(b.path, merged(f, "/c"));
    assert_int_equal(follow(f, &c), 1); /* it gave way */
    assert_string_equal(c.path, f->mount);
    assert_int_equal(op_rmdir(f, "/c/b"), 0);
    assert_int_equal(op_rmdir(f, "/c"), 0);
    assert_int_equal(follow(f, &b), 1);
    assert_string_equal(b.path, "");
    assert_int_equal(follow(f, &root), 0);
    assert_string_equal(root.path, f->mount);
}

/* What the kernel says of an open directory of a lower layer. */
static void lower_directories_are_found_again(void **state)
{
    struct fixture *f = *state;
    char buf[OVL_PATH_MAX];
    layers(f);
    assert_int_equal(op_rename(f, "/a", "/x", 0), 0);
    assert_int_equal(op_mkdir(f, "/a", 0755), 0);
    assert_true(ovl_place_of(&f->ctx, real(f, "lower1/a/b"), buf, sizeof buf) > 0);
    assert_string_equal(buf, merged(f, "/x/b"));
    assert_true(ovl_place_of(&f->ctx, real(f, "upper/a"), buf, sizeof buf) > 0);
    assert_string_equal(buf, merged(f, "/a"));
    assert_int_equal(op_rmdir(f, "/c"), 0);
    assert_int_equal(ovl_place_of(&f->ctx, real(f, "lower1/c"), buf, sizeof buf), 0);
    assert_string_equal(buf, f->mount);
    assert_int_equal(ovl_place_of(&f->ctx, "/", buf, sizeof buf), -ENOENT);
}

static void failures_are_not_moves(void **state)
{
    struct fixture *f = *state;
    layers(f);
    uint64_t before = ovl_moves(f->space);
    assert_int_equal(op_rename(f, "/a", "/a/b/c", 0), -EINVAL);
    assert_int_equal(op_rename(f, "/c", "/a", 0), -ENOTEMPTY);
    assert_int_equal(op_rmdir(f, "/a"), -ENOTEMPTY);
    assert_int_equal(op_rename(f, "/file", "/file2", 0), 0);
    assert_true(ovl_moves_settled(f->space, before));
}

/* ---- a file that is not what it should be ------------------------------------------------------------------- */

static void write_log(const struct fixture *f, const void *bytes, size_t n, off_t at)
{
    int fd = open(real(f, LOG), O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, n, at), n);
    close(fd);
}

static void nonsense_is_not_believed(void **state)
{
    struct fixture *f = *state;
    struct held at;
    char buf[OVL_PATH_MAX];
    layers(f);
    hold(f, &at, "/a");
    struct held first = at;
    assert_int_equal(op_rename(f, "/a", "/x", 0), 0);
    struct stat st = stat_of(f, LOG);
    char *good = malloc((size_t)st.st_size), *bad = malloc((size_t)st.st_size);
    int fd = open(real(f, LOG), O_RDONLY);
    assert_int_equal(read(fd, good, (size_t)st.st_size), st.st_size);
    close(fd);
    srandom(1);
    for (int i = 0; i < 20000; i++) {
        memcpy(bad, good, (size_t)st.st_size);
        for (int k = 0; k <= i % 5; k++)
            bad[random() % (i % 2 ? 16 : st.st_size)] = (char)random();
        write_log(f, bad, (size_t)st.st_size, 0);
        at = first;
        int r = ovl_follow(&f->ctx, at.path, false, &at.mark);
        assert_true(r == 0 || r == 1 || r == -ESTALE || r == -ENAMETOOLONG);
        assert_true(strlen(at.path) < OVL_PATH_MAX);
        assert_true(ovl_place_of(&f->ctx, real(f, "lower1/a"), buf, sizeof buf) >= 0);
    }
    const uint16_t huge[8] = {1, 8191, 8191};
    write_log(f, huge, sizeof huge, 0);
    at = first;
    assert_int_equal(follow(f, &at), -ESTALE);
    assert_int_equal(truncate(real(f, LOG), st.st_size - 8), 0);
    write_log(f, good, 16, 0);
    assert_int_equal(follow(f, &at), -ESTALE);
    assert_int_equal(unlink(real(f, LOG)), 0);
    assert_int_equal(follow(f, &at), -ESTALE);
    at.mark += 4096; /* what no position is */
    assert_int_equal(follow(f, &at), -ESTALE);
    free(good);
    free(bad);
}

/* A tail that nobody committed is overwritten. */
static void a_tail_is_overwritten(void **state)
{
    struct fixture *f = *state;
    struct held at, c;
    layers(f);
    hold(f, &at, "/a");
    assert_int_equal(op_rename(f, "/a", "/x", 0), 0);
    char nonsense[1000];
    memset(nonsense, 7, sizeof nonsense);
    write_log(f, nonsense, sizeof nonsense, stat_of(f, LOG).st_size);
    hold(f, &c, "/c");
    assert_int_equal(op_rename(f, "/x", "/y", 0), 0);
    assert_int_equal(op_rename(f, "/c", "/z", 0), 0);
    assert_int_equal(follow(f, &at), 0);
    assert_string_equal(at.path, merged(f, "/y"));
    assert_int_equal(follow(f, &c), 0);
    assert_string_equal(c.path, merged(f, "/z"));
}

/* ---- killed writers -------------------------------------------------------------------------------------------- */

/* A process is killed between the announcement and the commitment, before or after the change. */
static void die_moving(struct fixture *f, const char *from, const char *to, bool after)
{
    pid_t pid = fork();
    if (pid == 0) {
        struct ovl_held held;
        char in_upper[OVL_PATH_MAX];
        snprintf(in_upper, sizeof in_upper, "%s%s", real(f, "upper"), to);
        struct ovl_node *node = find(f, from), *target = ovl_node_new(&f->ctx);
        if (ovl_resolve(&f->ctx, NULL, merged(f, to), OVL_NAME, target) == 0 &&
            ovl_lock_tree(f->ovl, node, target, &held) == 0 &&
            ovl_moves_begin(&f->ctx, node, merged(f, to), OVL_MOVE_TO) && (!after || rename(node->real, in_upper) == 0))
            kill(getpid(), SIGKILL);
        _exit(1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
}

static void the_killed_leave_no_doubt(void **state)
{
    struct fixture *f = *state;
    struct held at;
    make_dir(f, "upper/up", 0755);
    layers(f);
    for (int after = 0; after < 2; after++)
        for (int waits = 0; waits < 2; waits++) {
            char from[16], to[16];
            snprintf(from, sizeof from, "/d%d%d", after, waits);
            snprintf(to, sizeof to, "/t%d%d", after, waits);
            assert_int_equal(op_mkdir(f, from, 0755), 0);
            hold(f, &at, from);
            die_moving(f, from, to, after);
            assert_false(ovl_moves_settled(f->space, ovl_moves(f->space)));
            if (waits)
                ovl_moves_wait(&f->ctx);
            else
                assert_int_equal(op_rmdir(f, "/up"), 0); /* whoever changes something next */
            assert_true(ovl_moves_settled(f->space, ovl_moves(f->space)));
            assert_int_equal(follow(f, &at), 0);
            assert_string_equal(at.path, merged(f, after ? to : from));
            if (!waits)
                assert_int_equal(op_mkdir(f, "/up", 0755), 0);
        }
}

enum { RENAMES, EXCHANGES, REMOVES, CHANGES };

static int change(struct fixture *f, int what, const char *from, const char *to)
{
    return what == REMOVES ? op_rmdir(f, from) : op_rename(f, from, to, what == EXCHANGES ? 2 : 0);
}

/* What was held before a change that may have been killed is known to be where it is, or to be gone. */
static void must_be_followed(struct fixture *f, struct held *h, uint64_t ino)
{
    struct stat st;
    int r = follow(f, h);
    const char *path = h->path + strlen(f->mount);
    assert_true(r == 0 || r == 1);
    if (r == 0) {
        assert_int_equal(op_stat(f, path, &st), 0);
        assert_int_equal(st.st_ino, ino);
    }
}

static void follow_a_killed_change(struct fixture *f, int what, unsigned n, int when, int *status)
{
    struct held a, b;
    struct stat at_a, at_b, left;
    char from[32], to[32];
    snprintf(from, sizeof from, "/a%d%d-%u", what, -when, n);
    snprintf(to, sizeof to, "/b%d%d-%u", what, -when, n);
    assert_int_equal(op_mkdir(f, from, 0755), 0);
    assert_int_equal(op_mkdir(f, to, 0755), 0);
    assert_int_equal(op_stat(f, from, &at_a) | op_stat(f, to, &at_b), 0);
    hold(f, &a, from);
    hold(f, &b, to);
    pid_t pid = fork();
    if (pid == 0) {
        fault_arm(n, when);
        int r = change(f, what, from, to);
        fault_disarm();
        _exit(r != 0);
    }
    assert_int_equal(waitpid(pid, status, 0), pid);
    ovl_moves_wait(&f->ctx);
    must_be_followed(f, &a, at_a.st_ino);
    bool gone = op_stat(f, from, &left) != 0;
    assert_int_equal(a.removed, what == REMOVES && gone);
    must_be_followed(f, &b, at_b.st_ino);
    assert_int_equal(b.removed, what == RENAMES && gone);
}

/* By whatever call of a change its process was killed, before it or after. */
static void killed_changes_are_followed(void **state)
{
    struct fixture *f = *state;
    layers(f);
    for (int what = 0; what < CHANGES; what++)
        for (int when = FAULT_KILL_AFTER; when <= FAULT_KILL; when++) {
            int status = SIGKILL;
            for (unsigned n = 1; status != 0; n++) {
                follow_a_killed_change(f, what, n, when, &status);
                assert_true(status == 0 || WTERMSIG(status) == SIGKILL);
            }
        }
}

/* Whoever settles may not be able to see the directory, or to read the log: what is not known is not applied, then nor
 * later. */
static void what_cant_be_settled_is_not_known(void **state)
{
    static const int errors[] = {EACCES, EIO, EMFILE};
    struct fixture *f = *state;
    struct held at, later;
    layers(f);
    for (unsigned i = 0, call = 1; i < 6; call++) {
        bool after = i % 2;
        char from[16], to[16];
        snprintf(from, sizeof from, "/d%u-%u", i, call);
        snprintf(to, sizeof to, "/t%u-%u", i, call);
        assert_int_equal(op_mkdir(f, from, 0755), 0);
        hold(f, &at, from);
        die_moving(f, from, to, after);
        fault_arm(call, errors[i / 2]);
        ovl_moves_wait(&f->ctx);
        fault_disarm();
        bool failed = fault_hit() >= 0;
        ovl_moves_wait(&f->ctx);
        assert_true(ovl_moves_settled(f->space, ovl_moves(f->space)));
        hold(f, &later, after ? to : from);
        struct held early = at;
        for (int again = 0; again < 2; again++) {
            int r = follow(f, &at);
            assert_true(r == 0 || (failed && r == -ESTALE));
            if (r == 0)
                assert_string_equal(at.path, merged(f, again ? "/here" : after ? to : from));
            at = early;
            if (!again)
                assert_int_equal(op_rename(f, after ? to : from, "/here", 0), 0);
        }
        assert_int_equal(follow(f, &later), 0);
        assert_string_equal(later.path, merged(f, "/here"));
        assert_int_equal(op_rmdir(f, "/here"), 0);
        i += !failed;
        call = failed ? call : 0;
    }
}

/* ---- a log that can't be written ----------------------------------------------------------------------------------
 */

static void a_change_needs_no_log(void **state)
{
    struct fixture *f = *state;
    struct held at, later;
    layers(f);
    assert_int_equal(op_mkdir(f, "/up", 0755), 0);
    hold(f, &at, "/up");
    pid_t pid = fork();
    if (pid == 0) {
        const struct rlimit none = {0, 0};
        setrlimit(RLIMIT_FSIZE, &none);
        _exit(op_rename(f, "/up", "/elsewhere", 0) != 0); /* SIGXFSZ would kill it */
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_true(ovl_moved_since(f->space, at.mark));
    assert_int_equal(follow(f, &at), -ESTALE); /* nobody knows: the kernel is asked */
    hold(f, &later, "/elsewhere");
    assert_int_equal(op_rename(f, "/elsewhere", "/here", 0), 0);
    assert_int_equal(follow(f, &later), 0);
    assert_string_equal(later.path, merged(f, "/here"));
    char buf[OVL_PATH_MAX];
    assert_int_equal(op_rename(f, "/c", "/y", 0), 0);
    assert_true(ovl_place_of(&f->ctx, real(f, "lower1/c"), buf, sizeof buf) > 0);
    assert_string_equal(buf, merged(f, "/y"));
}

/* What a run logged says nothing in the next one. */
static void a_run_begins_anew(void **state)
{
    struct fixture *f = *state;
    struct held at;
    char buf[OVL_PATH_MAX];
    layers(f);
    hold(f, &at, "/c");
    assert_int_equal(op_rename(f, "/c", "/x", 0), 0);
    assert_int_equal(op_rename(f, "/x", "/c", 0), 0);
    assert_int_equal(op_rename(f, "/c", "/x", 0), 0);
    fixture_close(f);
    fixture_open(f, "");
    assert_int_equal(stat_of(f, LOG).st_size, 0);
    assert_int_equal(follow(f, &at), -ESTALE);
    assert_true(ovl_place_of(&f->ctx, real(f, "lower1/c"), buf, sizeof buf) > 0);
    assert_string_equal(buf, merged(f, "/c"));
    hold(f, &at, "/x");
    assert_int_equal(op_rename(f, "/x", "/z", 0), 0);
    assert_int_equal(follow(f, &at), 0);
    assert_string_equal(at.path, merged(f, "/z"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(paths_follow),
        FIXTURE_TEST(removed_ones_are_known),
        FIXTURE_TEST(lower_directories_are_found_again),
        FIXTURE_TEST(failures_are_not_moves),
        FIXTURE_TEST(nonsense_is_not_believed),
        FIXTURE_TEST(a_tail_is_overwritten),
        FIXTURE_TEST(the_killed_leave_no_doubt),
        FIXTURE_TEST(killed_changes_are_followed),
        FIXTURE_TEST(what_cant_be_settled_is_not_known),
        FIXTURE_TEST(a_change_needs_no_log),
        FIXTURE_TEST(a_run_begins_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
