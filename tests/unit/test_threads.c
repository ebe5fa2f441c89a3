/* SPDX-License-Identifier: MIT
 *
 * Threads that make, open, rename, list and remove in one overlay at a time (C-3.4, C-3.6, C-4.5): under TSan, core is
 * shown to have no data race. The same from outside, with signals and processes: tests/integration/stress.c.
 */
#define _GNU_SOURCE
#include "fixture.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

enum { THREADS = 8, ROUNDS = 60, SHARED = 6, LINE = __LINE__ };

struct worker {
    pthread_t thread;
    struct fixture *fixture;
    int number;
    int wrong; /* line of the first wrong answer */
    struct ovl_ctx ctx;
};

#define MUST(w, condition)                                                                                             \
    do {                                                                                                               \
        if (!(condition) && !(w)->wrong)                                                                               \
            (w)->wrong = __LINE__;                                                                                     \
    } while (0)

/* The node at a place of the merged view, in memory that lives until empty(). */
static struct ovl_node *node_at(struct worker *w, const char *path, unsigned flags)
{
    char merged[256];
    snprintf(merged, sizeof merged, "%s%s", w->fixture->mount, path);
    struct ovl_node *node = ovl_node_new(&w->ctx);
    MUST(w, node && ovl_resolve(&w->ctx, "/", merged, flags, node) == 0);
    return node;
}

static void empty(struct worker *w)
{
    ovl_ctx_close(&w->ctx, 0);
    ovl_ctx_reset(&w->ctx, 0);
}

static int open_at(struct worker *w, const char *path, int flags)
{
    empty(w);
    return ovl_open(&w->ctx, node_at(w, path, flags & O_EXCL ? OVL_CHANGE : OVL_FOLLOW), flags | O_CLOEXEC, 0600);
}

static int rename_at(struct worker *w, const char *from, const char *to, unsigned flags)
{
    empty(w);
    struct ovl_node *a = node_at(w, from, OVL_CHANGE);
    return ovl_rename(&w->ctx, a, node_at(w, to, OVL_CHANGE), flags);
}

static int remove_at(struct worker *w, const char *path)
{
    empty(w);
    return ovl_unlink(&w->ctx, node_at(w, path, OVL_CHANGE));
}

/* How many names a directory shows. */
static int count_at(struct worker *w, const char *path)
{
    struct ovl_listing listing;
    empty(w);
    int r = ovl_list(&w->ctx, node_at(w, path, 0), &listing);
    if (r < 0)
        return r;
    int count = (int)listing.count - 2;
    ovl_listing_free(&listing);
    return count;
}

static void own_names(struct worker *w)
{
    char dir[32], a[64], b[64];
    snprintf(dir, sizeof dir, "/own%d", w->number);
    snprintf(a, sizeof a, "%s/a", dir);
    snprintf(b, sizeof b, "%s/b", dir);
    int fd = open_at(w, a, O_WRONLY | O_CREAT | O_EXCL);
    MUST(w, fd >= 0);
    close(fd);
    MUST(w, count_at(w, dir) == 2); /* and a lower file */
    MUST(w, rename_at(w, a, b, 0) == 0);
    fd = open_at(w, b, O_RDONLY);
    MUST(w, fd >= 0);
    close(fd);
    MUST(w, count_at(w, dir) == 2);
    MUST(w, remove_at(w, b) == 0);
    MUST(w, count_at(w, dir) == 1);
}

static void shared_names(struct worker *w, int round)
{
    char a[32], b[32], text[8] = "";
    snprintf(a, sizeof a, "/shared/%d", (w->number + round) % SHARED);
    snprintf(b, sizeof b, "/shared/%d", round % SHARED);
    int fd = open_at(w, a, O_RDWR | O_APPEND);
    MUST(w, fd >= 0 && read(fd, text, 4) == 4 && strcmp(text, "file") == 0 && write(fd, "x", 1) == 1);
    close(fd);
    int r = rename_at(w, a, b, RENAME_EXCHANGE);
    MUST(w, r == 0);
    MUST(w, count_at(w, "/shared") == SHARED);
}

static void *work(void *argument)
{
    struct worker *w = argument;
    if (ovl_ctx_begin(&w->ctx, w->fixture->space, &ovl_ops_kernel) < 0) {
        w->wrong = LINE;
        return NULL;
    }
    for (int round = 0; round < ROUNDS && !w->wrong; round++) {
        own_names(w);
        shared_names(w, round);
    }
    ovl_ctx_end(&w->ctx);
    return NULL;
}

static void threads_in_one_overlay(void **state)
{
    struct fixture *f = *state;
    struct worker worker[THREADS] = {{0}};
    char name[64];
    for (int i = 0; i < SHARED; i++) {
        snprintf(name, sizeof name, "lower%d/shared/%d", 1 + i % 2, i);
        make_file(f, name, 0644, "file");
    }
    for (int i = 0; i < THREADS; i++) {
        snprintf(name, sizeof name, "lower1/own%d/low", i);
        make_file(f, name, 0644, "low");
    }
    fixture_open(f, "");
    for (int i = 0; i < THREADS; i++) {
        worker[i].fixture = f;
        worker[i].number = i;
        assert_int_equal(pthread_create(&worker[i].thread, NULL, work, &worker[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(worker[i].thread, NULL);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(worker[i].wrong, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {FIXTURE_TEST(threads_in_one_overlay)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
