/* SPDX-License-Identifier: MIT
 *
 * The change lock: alone or together, between processes and threads, and taken over from the dead (C-3.4).
 */
#define _GNU_SOURCE
#include "fixture.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

struct board {
    unsigned inside, most, wrong;
    unsigned counter; /* changed without atomics, under the lock alone */
};

static struct board *new_board(void)
{
    struct board *b = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(b != MAP_FAILED);
    return b;
}

static void stay_alone(struct board *b)
{
    if (__atomic_add_fetch(&b->inside, 1, __ATOMIC_SEQ_CST) != 1)
        __atomic_add_fetch(&b->wrong, 1, __ATOMIC_SEQ_CST);
    b->counter++;
    __atomic_sub_fetch(&b->inside, 1, __ATOMIC_SEQ_CST);
}

static void wait_for_child(pid_t pid)
{
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

enum { ROUNDS = 2000 };

static void take_turns(struct ovl *o, struct board *b)
{
    struct ovl_held held;
    for (unsigned i = 0; i < ROUNDS; i++) {
        bool tree = i % 7 == 0;
        if ((tree ? ovl_lock_tree(o, NULL, NULL, &held)
                  : ovl_lock_dirs(o, i % 2 ? "/a" : "/b", i % 2 ? "/b" : "/a", &held)) < 0)
            abort();
        stay_alone(b);
        ovl_unlock(&held);
    }
}

static void two_processes_take_turns(void **state)
{
    struct fixture *f = *state;
    struct board *b = new_board();
    fixture_open(f, "");
    assert_non_null(ovl_shared(f->ovl));
    pid_t pid = fork();
    if (pid == 0) {
        take_turns(f->ovl, b);
        _exit(0);
    }
    take_turns(f->ovl, b);
    wait_for_child(pid);
    assert_int_equal(b->wrong, 0);
    assert_int_equal(b->counter, 2 * ROUNDS);
    munmap(b, 4096);
}

/* A killed owner's lock is taken over, whichever kind it held. */
static void the_dead_hold_nothing(void **state)
{
    struct fixture *f = *state;
    struct ovl_held held;
    fixture_open(f, "");
    assert_non_null(ovl_shared(f->ovl));
    for (int tree = 0; tree < 2; tree++) {
        int ends[2];
        assert_int_equal(pipe(ends), 0);
        pid_t pid = fork();
        if (pid == 0) {
            int r = tree ? ovl_lock_tree(f->ovl, NULL, NULL, &held) : ovl_lock_dirs(f->ovl, "/a", "/b", &held);
            if (r == 0 && write(ends[1], "x", 1) == 1)
                pause();
            _exit(1);
        }
        char c;
        assert_int_equal(read(ends[0], &c, 1), 1);
        assert_int_equal(kill(pid, SIGKILL), 0);
        for (int wanted = 0; wanted < 2; wanted++) {
            assert_int_equal(
                wanted ? ovl_lock_tree(f->ovl, NULL, NULL, &held) : ovl_lock_dirs(f->ovl, "/b", NULL, &held), 0);
            ovl_unlock(&held);
        }
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        close(ends[0]);
        close(ends[1]);
    }
}

/* Other directories change at the same time: were these two one lock, this would wait for ever. */
static void other_directories_are_free(void **state)
{
    struct fixture *f = *state;
    struct ovl_held here, there;
    fixture_open(f, "");
    assert_int_equal(ovl_lock_dirs(f->ovl, "/a", NULL, &here), 0);
    pid_t pid = fork();
    if (pid == 0) {
        alarm(0);
        int r = ovl_lock_dirs(f->ovl, "/another", "/and-another", &there);
        if (r == 0)
            ovl_unlock(&there);
        _exit(r != 0);
    }
    wait_for_child(pid);
    ovl_unlock(&here);
}

/* A library behind us, called under the lock, that calls us again: what its thread holds is its own, and stays held. */
static void nested_calls_share(void **state)
{
    struct fixture *f = *state;
    struct ovl_held outer, inner;
    fixture_open(f, "");
    assert_int_equal(ovl_lock_dirs(f->ovl, "/a", NULL, &outer), 0);
    assert_int_equal(ovl_lock_dirs(f->ovl, "/a", "/b", &inner), 0);
    ovl_unlock(&inner);
    assert_int_equal(ovl_lock_tree(f->ovl, NULL, NULL, &inner), -EDEADLK);
    pid_t pid = fork();
    if (pid == 0)
        _exit(ovl_lock_dirs(f->ovl, "/a", NULL, &inner) != 0);
    usleep(100000);
    assert_int_equal(waitpid(pid, NULL, WNOHANG), 0);
    ovl_unlock(&outer);
    wait_for_child(pid);
    assert_int_equal(ovl_lock_tree(f->ovl, NULL, NULL, &outer), 0);
    assert_int_equal(ovl_lock_dirs(f->ovl, "/a", "/b", &inner), 0);
    ovl_unlock(&inner);
    assert_int_equal(ovl_lock_tree(f->ovl, NULL, NULL, &inner), -EDEADLK);
    ovl_unlock(&outer);
    assert_int_equal(ovl_lock_tree(f->ovl, NULL, NULL, &outer), 0);
    ovl_unlock(&outer);
}

/* What a nested call wants is held by one that waits for the outer call's: the nested one gives up. */
static void nested_calls_give_up(void **state)
{
    struct fixture *f = *state;
    struct board *b = new_board();
    struct ovl_held outer, inner;
    fixture_open(f, "");
    assert_int_equal(ovl_lock_dirs(f->ovl, "/a", NULL, &outer), 0);
    pid_t pid = fork();
    if (pid == 0) {
        if (ovl_lock_dirs(f->ovl, "/other", NULL, &outer) < 0)
            _exit(1);
        __atomic_store_n(&b->inside, 1, __ATOMIC_SEQ_CST);
        if (ovl_lock_dirs(f->ovl, "/a", NULL, &inner) < 0)
            _exit(2);
        ovl_unlock(&inner);
        ovl_unlock(&outer);
        _exit(0);
    }
    while (!__atomic_load_n(&b->inside, __ATOMIC_SEQ_CST))
        usleep(1000);
    int r = ovl_lock_dirs(f->ovl, "/other", NULL, &inner);
    if (r == 0)
        ovl_unlock(&inner);
    ovl_unlock(&outer);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    /* One of the two, or both. */
    assert_true(r == -EDEADLK || WEXITSTATUS(status) == 2);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) != 1);
    munmap(b, 4096);
}

static void signals_wait(void **state)
{
    struct fixture *f = *state;
    struct ovl_held held;
    uint64_t before, during, after;
    fixture_open(f, "");
    ovl_sys_sigprocmask(SIG_BLOCK, NULL, &before);
    assert_int_equal(ovl_lock_dirs(f->ovl, "/a", NULL, &held), 0);
    ovl_sys_sigprocmask(SIG_BLOCK, NULL, &during);
    ovl_unlock(&held);
    ovl_sys_sigprocmask(SIG_BLOCK, NULL, &after);
    assert_true(during & (uint64_t)1 << (SIGALRM - 1));
    assert_true(before == after);
}

/* ---- threads ------------------------------------------------------------------------------------------ */

enum { THREADS = 8, NAMES = 60 };

struct worker {
    struct fixture *f;
    unsigned number, errors;
};

/* Make, replace and remove names of one directory, of which some are the same for all threads. */
static void *work(void *arg)
{
    struct worker *w = arg;
    struct ovl_ctx ctx;
    char path[256];
    for (unsigned i = 0; i < NAMES; i++) {
        if (ovl_ctx_begin(&ctx, w->f->space, &ovl_ops_kernel) < 0) {
            w->errors++;
            continue;
        }
        struct ovl_node *node = ovl_node_new(&ctx);
        bool own = i % 2;
        snprintf(path, sizeof path, "%s/d/%s-%u", w->f->mount, own ? "own" : "shared",
                 own ? w->number * 1000 + i : i % 6);
        int r = ovl_resolve(&ctx, "/", path, 0, node);
        if (r == 0)
            r = ovl_open(&ctx, node, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
        if (r >= 0)
            ovl_sys_close(r);
        bool fine = r >= 0;
        r = ovl_resolve(&ctx, "/", path, 0, node);
        if (r == 0 && !own)
            r = ovl_unlink(&ctx, node);
        fine = fine && (r == 0 || (!own && r == -ENOENT));
        w->errors += !fine;
        ovl_ctx_end(&ctx);
    }
    return NULL;
}

static void eight_threads(void **state)
{
    struct fixture *f = *state;
    pthread_t thread[THREADS];
    struct worker worker[THREADS];
    char path[64];
    for (int i = 0; i < 6; i++) {
        snprintf(path, sizeof path, "lower1/d/shared-%d", i);
        make_file(f, path, 0644, "lower");
    }
    fixture_open(f, "");
    for (unsigned i = 0; i < THREADS; i++) {
        worker[i] = (struct worker){.f = f, .number = i};
        assert_int_equal(pthread_create(&thread[i], NULL, work, &worker[i]), 0);
    }
    unsigned errors = 0;
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(thread[i], NULL);
        errors += worker[i].errors;
    }
    assert_int_equal(errors, 0);
    struct ovl_listing listing;
    assert_int_equal(ovl_list(&f->ctx, find(f, "/d"), &listing), 0);
    unsigned own = 0;
    for (size_t i = 0; i < listing.count; i++)
        own += strncmp(listing.entry[i].name, "own-", 4) == 0;
    ovl_listing_free(&listing);
    assert_int_equal(own, THREADS * NAMES / 2);
    assert_int_equal(leftovers(f), 0);
}

/* C-3.4: two who copy up the same file share one upper file. */
static void one_copy_for_all(void **state)
{
    struct fixture *f = *state;
    char expected[THREADS * 50 + 1];
    make_file(f, "lower1/d/log", 0644, "");
    fixture_open(f, "");
    fflush(NULL);
    pid_t pid[THREADS];
    for (unsigned i = 0; i < THREADS; i++) {
        pid[i] = fork();
        if (pid[i] == 0) {
            for (int k = 0; k < 50; k++)
                if (op_write(f, "/d/log", O_WRONLY | O_APPEND, 0, "x") != 0)
                    _exit(1);
            _exit(0);
        }
    }
    for (unsigned i = 0; i < THREADS; i++)
        wait_for_child(pid[i]);
    memset(expected, 'x', sizeof expected - 1);
    expected[sizeof expected - 1] = '\0';
    assert_string_equal(merged_text(f, "/d/log"), expected);
    assert_int_equal(leftovers(f), 0);
}

/* C-3.7: O_CREAT|O_EXCL has exactly one winner. */
static void one_winner(void **state)
{
    struct fixture *f = *state;
    struct board *b = new_board();
    char path[64];
    fixture_open(f, "");
    fflush(NULL);
    pid_t pid[2];
    for (int i = 0; i < 2; i++) {
        pid[i] = fork();
        if (pid[i] == 0) {
            for (int k = 0; k < 200; k++) {
                snprintf(path, sizeof path, "/n%d", k);
                if (op_write(f, path, O_WRONLY | O_CREAT | O_EXCL, 0600, "") == 0)
                    __atomic_add_fetch(&b->counter, 1, __ATOMIC_SEQ_CST);
            }
            _exit(0);
        }
    }
    wait_for_child(pid[0]);
    wait_for_child(pid[1]);
    assert_int_equal(b->counter, 200);
    munmap(b, 4096);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(two_processes_take_turns),
        FIXTURE_TEST(the_dead_hold_nothing),
        FIXTURE_TEST(other_directories_are_free),
        FIXTURE_TEST(nested_calls_share),
        FIXTURE_TEST(nested_calls_give_up),
        FIXTURE_TEST(signals_wait),
        FIXTURE_TEST(eight_threads),
        FIXTURE_TEST(one_copy_for_all),
        FIXTURE_TEST(one_winner),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
