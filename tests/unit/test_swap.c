/* SPDX-License-Identifier: MIT
 *
 * A lower layer that somebody else changes during a copy-up: before each system call a directory of it, or the file
 * itself, gives way to a symbolic link out of the layer (the file to another one, too), for good or for a few calls.
 * What must hold: nothing outside is changed, nothing of it gets into the upper, and what is copied is of one object
 * (C-1.13, C-3.1).
 */
#define _GNU_SOURCE
#include "fault_sys.h"
#include "fixture.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/xattr.h>
#include <unistd.h>

#define CALLS_MAX 2000

struct swap {
    const char *a, *b; /* names that change places */
    const char *name;
    int (*act)(struct fixture *f);
    bool read_only;
};

static int act_append(struct fixture *f)
{
    return op_write(f, "/d/sub/f", O_WRONLY | O_APPEND, 0, "+");
}

static int act_truncate(struct fixture *f)
{
    return op_write(f, "/d/sub/f", O_WRONLY | O_TRUNC, 0, "+");
}

static int act_copy_link(struct fixture *f)
{
    return op_copy_up(f, "/d/sub/link", OVL_COPY_ALL);
}

static int act_create(struct fixture *f)
{
    return op_mkdir(f, "/d/sub/new", 0755);
}

static int act_rename(struct fixture *f)
{
    return op_rename(f, "/d/sub/f", "/moved", 0);
}

static int act_rename_tree(struct fixture *f)
{
    return op_rename(f, "/d", "/moved", 0);
}

static int act_unlink(struct fixture *f)
{
    return op_unlink(f, "/d/sub/f");
}

static int act_open_socket(struct fixture *f)
{
    return op_write(f, "/d/sub/socket", O_WRONLY | O_TRUNC | O_NONBLOCK, 0, "+");
}

static int act_open_fifo(struct fixture *f)
{
    return op_write(f, "/d/sub/fifo", O_RDWR | O_TRUNC | O_NONBLOCK, 0, "+");
}

static const struct swap swaps[] = {
    {"lower1/d", "lower1/to-d", "append, top", act_append, false},
    {"lower1/d/sub", "lower1/d/to-sub", "append, parent", act_append, false},
    {"lower1/d/sub/f", "lower1/d/sub/to-f", "append, itself", act_append, false},
    {"lower1/d/sub/f", "lower1/d/sub/other", "append, a file for another", act_append, false},
    {"lower1/d/sub", "lower1/d/to-sub", "truncate, parent", act_truncate, false},
    {"lower1/d/sub", "lower1/d/to-sub", "link, parent", act_copy_link, false},
    {"lower1/d", "lower1/to-d", "create, top", act_create, false},
    {"lower1/d/sub", "lower1/d/to-sub", "create, itself", act_create, false},
    {"lower1/d/sub", "lower1/d/to-sub", "rename, parent", act_rename, false},
    {"lower1/d/sub", "lower1/d/to-sub", "rename tree, below", act_rename_tree, false},
    {"lower1/d", "lower1/to-d", "rename tree, top", act_rename_tree, false},
    {"lower1/d/sub", "lower1/d/to-sub", "unlink, parent", act_unlink, false},
    {"lower1/d/sub", "lower1/d/to-sub", "socket, parent", act_open_socket, false},
    {"lower1/d/sub", "lower1/d/to-sub", "FIFO, parent", act_open_fifo, false},
    {"lower1/d/sub", "lower1/d/to-sub", "FIFO, parent, read-only", act_open_fifo, true},
};

static void make_layers(struct fixture *f)
{
    char target[256];
    make_file(f, "outside/sub/f", 0600, "secret");
    make_file(f, "outside/sub/only-outside", 0600, "secret too");
    make_link(f, "outside/sub/link", "secret-target");
    set_xattr(f, "outside/sub/f", "user.secret", "secret");
    set_xattr(f, "outside/sub", "user.secret", "secret");
    make_file(f, "outside/sub/socket", 0600, "secret, was no socket");
    make_file(f, "outside/sub/fifo", 0600, "secret, was no FIFO");
    make_file(f, "lower1/d/sub/f", 0644, "lower!");
    make_file(f, "lower1/d/sub/other", 0600, "other!");
    make_node(f, "lower1/d/sub/socket", S_IFSOCK | 0644, 0);
    make_node(f, "lower1/d/sub/fifo", S_IFIFO | 0644, 0);
    make_link(f, "lower1/d/sub/link", "lower-target");
    snprintf(target, sizeof target, "%s/outside", f->root);
    make_link(f, "lower1/to-d", target);
    make_link(f, "lower1/d/to-sub", "../../outside/sub");
    make_link(f, "lower1/d/sub/to-f", "../../../outside/sub/f");
}

struct swapping {
    const struct fixture *f;
    const struct swap *swap;
};

static void change_places(void *arg)
{
    const struct swapping *s = arg;
    if (renameat2(AT_FDCWD, real(s->f, s->swap->a), AT_FDCWD, real(s->f, s->swap->b), RENAME_EXCHANGE) != 0)
        abort();
}

static char found[256];

static int look_at_content(const char *path, const struct stat *st, int type, struct FTW *at)
{
    char text[64] = "";
    (void)at;
    FILE *file = type == FTW_F && S_ISREG(st->st_mode) ? fopen(path, "r") : NULL;
    if (file && fgets(text, sizeof text, file) && strstr(text, "secret"))
        snprintf(found, sizeof found, "%s has the text of a file outside", path);
    mode_t mode = strstr(text, "other") ? 0600 : 0644;
    if (file && st->st_size > 0 && (st->st_mode & 07777) != mode)
        snprintf(found, sizeof found, "%s has another file's mode: %o", path, st->st_mode);
    if (file)
        fclose(file);
    return 0;
}

/* Nothing of what lies outside. */
static void check_upper(const struct fixture *f, const char *when)
{
    char *now = tree(f, "upper");
    if (strstr(now, "secret") || strstr(now, "only-outside"))
        fail_msg("%s: something from outside is in the upper:\n%s", when, now);
    free(now);
    found[0] = '\0';
    nftw(real(f, "upper"), look_at_content, 8, FTW_PHYS);
    if (found[0])
        fail_msg("%s: %s", when, found);
}

/* Whether call n was reached. */
static bool swap_before(const struct swap *swap, unsigned n, unsigned back)
{
    char when[128];
    void *state;
    fixture_setup(&state);
    struct fixture *f = state;
    make_layers(f);
    struct swapping swapping = {f, swap};
    char *outside = tree(f, "outside");
    if (swap->read_only)
        fixture_open_read_only(f);
    else
        fixture_open(f, ",volatile=on");
    fault_run_before(n, back ? n + back : 0, change_places, &swapping);
    int r = swap->act(f);
    fault_disarm();
    long hit = fault_hit();
    snprintf(when, sizeof when, "%s, call %u (system call %ld), back after %u: %d", swap->name, n, hit, back, r);
    check_upper(f, when);
    char *now = tree(f, "outside");
    if (strcmp(outside, now) != 0)
        fail_msg("%s: outside was\n%s\nand is\n%s", when, outside, now);
    if (!swap->read_only && leftovers(f))
        fail_msg("%s: something is left in the work directory", when);
    free(now);
    free(outside);
    free(f->lowers); /* changed by the test itself */
    f->lowers = NULL;
    fixture_teardown(&state);
    return hit >= 0;
}

/* For good before each call; for some calls before every third one, or as OVL_FAULT_STRIDE says. */
static void swapped_at_each_call(void **state)
{
    static const unsigned back[] = {0, 1, 2, 3};
    const char *text = getenv("OVL_FAULT_STRIDE");
    unsigned stride = text && strtoul(text, NULL, 10) ? (unsigned)strtoul(text, NULL, 10) : 1;
    (void)state;
    if (!has_openat2())
        skip_because("the emulator has no openat2, without which copy-up can't keep to its layer");
    for (size_t i = 0; i < sizeof swaps / sizeof *swaps; i++)
        for (unsigned k = 0; k < sizeof back / sizeof *back; k++)
            for (unsigned n = 1 + k; n < CALLS_MAX && swap_before(&swaps[i], n, back[k]);)
                n += back[k] ? 3 * stride : stride;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(swapped_at_each_call)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
