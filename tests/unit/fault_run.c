/* SPDX-License-Identifier: MIT
 *
 * Every change with every system call failing once, and with a kill before and after each: afterwards the merged view
 * is what it was or what was wanted, never between (C-3.4, C-3.6, C-3.13).
 *
 * A child process acts on the broken floor; its parent looks, as other processes of the run would, clears what was
 * left, as the next run would, and looks again.  Also checked: a success is one, nothing is left in the work directory,
 * no descriptor and no lock stays, signals are as before.  A failure may come after the change was made (the last step
 * was to clear up behind it).
 *
 *   OVL_FAULT=SCENARIO[:CALL]   only that one, every answer on stderr
 *   OVL_FAULT_STRIDE=N          every Nth call and one of the errors in turn: for an emulated machine, where a
 *                               fork is slow
 */
#define _GNU_SOURCE
#include "fault_run.h"
#include "fault_sys.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#define CALLS_MAX 2000

/* What the child tells. */
struct outcome {
    int result;
    unsigned calls;
    long hit;
    bool leaks_fd, changes_signals;
    bool killed;
};

/* ---- one broken call ------------------------------------------------------------------------------------ */

static struct fixture *begin(const struct scenario *s, const char *options)
{
    void *state;
    fixture_setup(&state);
    struct fixture *f = state;
    fault_layers(f);
    fixture_remember(f);
    if (s->prepare) {
        fixture_open(f, options);
        s->prepare(f);
        fixture_close(f);
    }
    return f;
}

static void end(struct fixture *f)
{
    void *state = f;
    fixture_teardown(&state);
}

static void act_in_child(struct fixture *f, const struct scenario *s, const char *options, unsigned n, int error,
                         int out)
{
    struct outcome o = {0};
    uint64_t before, after; /* the kernel's; libc's set has room that it never fills */
    fixture_open(f, options);
    ovl_sys_sigprocmask(SIG_BLOCK, NULL, &before);
    unsigned fds = open_fds();
    fault_arm(n, error);
    o.result = s->act(f);
    o.calls = fault_disarm();
    o.hit = fault_hit();
    find(f, ""); /* lets go of what the operation's context held */
    o.leaks_fd = open_fds() != fds;
    ovl_sys_sigprocmask(SIG_BLOCK, NULL, &after);
    o.changes_signals = before != after;
    struct ovl_held held;
    if (ovl_lock_tree(f->ovl, NULL, NULL, &held) == 0) /* waits for ever where a lock was left */
        ovl_unlock(&held);
    ssize_t written = write(out, &o, sizeof o);
    _exit(written == sizeof o ? 0 : 98);
}

static struct outcome act(struct fixture *f, const struct scenario *s, const char *options, unsigned n, int error)
{
    struct outcome o = {0};
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close(ends[0]);
        alarm(0);
        act_in_child(f, s, options, n, error, ends[1]);
    }
    close(ends[1]);
    ssize_t got = read(ends[0], &o, sizeof o);
    close(ends[0]);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (got == 0 && error <= 0 && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
        return (struct outcome){.killed = true, .result = -EINTR};
    if (got != sizeof o || status != 0)
        fail_msg("%s%s call %u error %d: the child ended with status %#x", s->name, options, n, error, status);
    return o;
}

/* Objects made beside a name must not stay in the upper either. */
static bool has_residue(const struct fixture *f)
{
    char *text = tree(f, "upper");
    bool found = strstr(text, ".wh..wh.new-") != NULL;
    free(text);
    return found;
}

struct run {
    const struct scenario *s;
    const char *options;
    char *before, *wanted;
    unsigned wrong, late, calls;
};

static void complain(struct run *run, const char *what, unsigned n, int error, const struct outcome *o)
{
    run->wrong++;
    fprintf(stderr, "%s%s: call %u (system call %ld) with error %d, result %d: %s\n", run->s->name, run->options, n,
            o->hit, error, o->result, what);
}

/* As the others of its run see it. */
static void look_before_clearing(struct run *run, struct fixture *f, unsigned n, int error, const struct outcome *o)
{
    char *now = view(f);
    if (strcmp(now, run->before) != 0 && strcmp(now, run->wanted) != 0)
        complain(run, "between until the next run", n, error, o);
    free(now);
}

static void judge(struct run *run, struct fixture *f, unsigned n, int error, const struct outcome *o, bool verbose)
{
    fixture_open(f, run->options);
    if (o->killed)
        look_before_clearing(run, f, n, error, o);
    ovl_space_clean(&f->ctx);
    char *now = view(f);
    bool is_before = strcmp(now, run->before) == 0;
    bool is_wanted = strcmp(now, run->wanted) == 0;
    if (verbose)
        fprintf(stderr, "call %u: system call %ld, result %d, %s\n", n, o->hit, o->result,
                is_wanted   ? "wanted"
                : is_before ? "before"
                            : "between");
    if (!is_before && !is_wanted)
        complain(run, "between", n, error, o);
    if (verbose && !is_before && !is_wanted)
        fprintf(stderr, "---- before\n%s---- wanted\n%s---- now\n%s", run->before, run->wanted, now);
    if (o->result >= 0 && !is_wanted)
        complain(run, "a success that did nothing", n, error, o);
    if (o->leaks_fd)
        complain(run, "a descriptor is left open", n, error, o);
    if (o->changes_signals)
        complain(run, "the signal mask is another", n, error, o);
    if (leftovers(f))
        complain(run, "something is left in the work directory", n, error, o);
    if (has_residue(f) && o->hit != SYS_unlinkat && !o->killed)
        complain(run, "something is left in the upper", n, error, o);
    run->late += o->result < 0 && is_wanted && !is_before;
    free(now);
}

/* Fail call number `first`, and every stride-th after it until the change needs no so many. */
static void run_error(struct run *run, int error, unsigned first, unsigned stride, bool only)
{
    for (unsigned n = first; n < CALLS_MAX; n += stride) {
        struct fixture *f = begin(run->s, run->options);
        struct outcome o = act(f, run->s, run->options, n, error);
        judge(run, f, n, error, &o, only || getenv("OVL_FAULT"));
        end(f);
        run->calls = n - 1;
        if ((o.hit < 0 && !o.killed) || only)
            return;
    }
    fail_msg("%s needs more than %d calls", run->s->name, CALLS_MAX);
}

static void take_views(struct run *run)
{
    struct fixture *f = begin(run->s, run->options);
    fixture_open(f, run->options);
    run->before = view(f);
    fixture_close(f);
    struct outcome o = act(f, run->s, run->options, 0, 0);
    assert_true(o.result >= 0);
    fixture_open(f, run->options);
    run->wanted = view(f);
    end(f);
}

/* The scenario with every call and every error, or (a stride above 1) with its share of them. */
static void run_scenario(struct run *run, unsigned stride, unsigned only)
{
    static const int errors[] = {EIO, ENOSPC, EDQUOT, EMFILE, EINTR, FAULT_KILL, FAULT_KILL_AFTER};
    enum { ERRORS = sizeof errors / sizeof *errors };
    take_views(run);
    if (stride > 1) {
        unsigned turn = (unsigned)(run->s - fault_scenarios);
        run_error(run, errors[turn % ERRORS], 1 + turn % stride, stride, false);
        return;
    }
    for (size_t e = 0; e < ERRORS; e++)
        run_error(run, errors[e], only ? only : 1, 1, only > 0);
}

static void run_all(void **state)
{
    const char *options = *state;
    const char *chosen = getenv("OVL_FAULT");
    const char *colon = chosen ? strchr(chosen, ':') : NULL;
    const char *wanted_stride = getenv("OVL_FAULT_STRIDE");
    int stride = wanted_stride ? atoi(wanted_stride) : 1;
    unsigned wrong = 0;
    for (const struct scenario *s = fault_scenarios; s->name; s++) {
        struct run run = {.s = s, .options = options};
        size_t length = colon ? (size_t)(colon - chosen) : chosen ? strlen(chosen) : 0;
        if (chosen && (strncmp(s->name, chosen, length) != 0 || s->name[length]))
            continue;
        run_scenario(&run, stride > 0 ? (unsigned)stride : 1, colon ? (unsigned)atoi(colon + 1) : 0);
        print_message("%s%s: %u calls, %u failures after the change was made\n", run.s->name, options, run.calls,
                      run.late);
        wrong += run.wrong;
        free(run.before);
        free(run.wanted);
    }
    assert_int_equal(wrong, 0);
}

/* Thousands of small trees are made: in memory, where that takes the attributes that are copied. */
static void choose_place(void)
{
    char path[] = "/dev/shm/ovl-unit-XXXXXX";
    int fd = getenv("TMPDIR") ? -1 : mkstemp(path);
    if (fd < 0)
        return;
    if (fsetxattr(fd, "user.try", "", 0, 0) == 0)
        setenv("TMPDIR", "/dev/shm", 1);
    close(fd);
    unlink(path);
}

int fault_main(const char *options)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_prestate(run_all, (void *)(uintptr_t)options)};
    choose_place();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
