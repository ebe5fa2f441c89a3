/* SPDX-License-Identifier: MIT
 *
 * Every change with every system call failing once: afterwards the merged view is what it was or what was wanted,
 * never between (C-3.4, C-3.13).
 *
 * A child process acts on the broken floor; its parent, as the next run would, clears what was left and looks.  Also
 * checked: a success is one, nothing is left in the work directory, no descriptor and no lock stays, signals are
 * as before.  A failure may come after the change was made (the last step was to clear up behind it).
 *
 *   OVL_FAULT=SCENARIO[:CALL]   only that one, every answer on stderr
 */
#define _GNU_SOURCE
#include "fault_sys.h"
#include "fixture.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#define LONG_NAME                                                                                                      \
    "long-name-of-255-bytes-0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567" \
    "8901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456"  \
    "78901234567890123456789012345678901"
#define CALLS_MAX 2000
#define EXCHANGE 2u

struct scenario {
    const char *name;
    void (*prepare)(struct fixture *f); /* with the overlay open, or NULL */
    int (*act)(struct fixture *f);
};

/* What the child tells. */
struct outcome {
    int result;
    unsigned calls;
    long hit;
    bool leaks_fd, changes_signals;
};

/* ---- scenarios ------------------------------------------------------------------------------------------ */

static void make_layers(struct fixture *f)
{
    make_file(f, "lower2/d/e/file", 0640, "lower text");
    set_xattr(f, "lower2/d/e/file", "user.kept", "value");
    make_file(f, "lower1/d/other", 0644, "other");
    make_file(f, "lower1/d/both", 0644, "lower");
    make_file(f, "lower1/full/a", 0644, "a");
    make_file(f, "lower2/full/b", 0644, "b");
    make_dir(f, "lower1/empty", 0755);
    make_link(f, "lower1/d/link", "other");
    make_file(f, "lower1/locked/file", 0444, "locked");
    make_dir(f, "lower1/locked", 0555);
    make_file(f, "lower1/" LONG_NAME, 0644, "long");
    make_file(f, "upper/d/both", 0644, "upper");
    make_file(f, "upper/u/only", 0644, "only");
    make_file(f, "upper/u/sub/deep", 0644, "deep");
    make_dir(f, "upper/blank", 0755);
    make_dir(f, "upper/empty", 0750);
}

static int append_lower(struct fixture *f)
{
    return op_write(f, "/d/e/file", O_WRONLY | O_APPEND, 0, " and more");
}

static int truncate_lower(struct fixture *f)
{
    return op_write(f, "/d/e/file", O_WRONLY | O_TRUNC, 0, "new");
}

static int create_in_lower(struct fixture *f)
{
    return op_write(f, "/d/e/new", O_WRONLY | O_CREAT | O_EXCL, 0644, "new");
}

static void remove_some(struct fixture *f)
{
    assert_int_equal(op_unlink(f, "/d/other"), 0);
    assert_int_equal(op_unlink(f, "/full/a"), 0);
    assert_int_equal(op_unlink(f, "/full/b"), 0);
    assert_int_equal(op_unlink(f, "/" LONG_NAME), 0);
}

static void remove_directory(struct fixture *f)
{
    remove_some(f);
    assert_int_equal(op_rmdir(f, "/full"), 0);
}

static int create_over_whiteout(struct fixture *f)
{
    return op_write(f, "/d/other", O_WRONLY | O_CREAT, 0600, "again");
}

static int mkdir_new(struct fixture *f)
{
    return op_mkdir(f, "/d/e/new", 0755);
}

static int mkdir_over_whiteout(struct fixture *f)
{
    return op_mkdir(f, "/full", 0755);
}

static int mkdir_over_long(struct fixture *f)
{
    return op_mkdir(f, "/" LONG_NAME, 0755);
}

static int create_over_long(struct fixture *f)
{
    return op_write(f, "/" LONG_NAME, O_WRONLY | O_CREAT, 0644, "again");
}

static int symlink_over_whiteout(struct fixture *f)
{
    return op_symlink(f, "target", "/d/other");
}

static int symlink_new(struct fixture *f)
{
    return op_symlink(f, "target", "/d/e/new");
}

static int mknod_new(struct fixture *f)
{
    return op_mknod(f, "/d/e/new", S_IFIFO | 0644, 0);
}

static int link_lower(struct fixture *f)
{
    return op_link(f, "/d/e/file", "/full/linked");
}

static int link_over_whiteout(struct fixture *f)
{
    return op_link(f, "/d/e/file", "/d/other");
}

static int unlink_lower(struct fixture *f)
{
    return op_unlink(f, "/d/e/file");
}

static int unlink_upper(struct fixture *f)
{
    return op_unlink(f, "/u/only");
}

static int unlink_both(struct fixture *f)
{
    return op_unlink(f, "/d/both");
}

static int unlink_long(struct fixture *f)
{
    return op_unlink(f, "/" LONG_NAME);
}

static void copy_up_long(struct fixture *f)
{
    assert_int_equal(op_copy_up(f, "/" LONG_NAME, OVL_COPY_ALL), 0);
}

static int rmdir_merged(struct fixture *f)
{
    return op_rmdir(f, "/full");
}

static int rmdir_both(struct fixture *f)
{
    return op_rmdir(f, "/empty");
}

static int rmdir_upper(struct fixture *f)
{
    return op_rmdir(f, "/blank");
}

static void make_again(struct fixture *f)
{
    remove_directory(f);
    assert_int_equal(op_mkdir(f, "/full", 0755), 0);
}

static int rename_lower(struct fixture *f)
{
    return op_rename(f, "/d/e/file", "/full/new", 0);
}

static int rename_over_lower(struct fixture *f)
{
    return op_rename(f, "/d/e/file", "/d/other", 0);
}

static int rename_over_upper(struct fixture *f)
{
    return op_rename(f, "/d/e/file", "/u/only", 0);
}

static int rename_upper_over_lower(struct fixture *f)
{
    return op_rename(f, "/u/only", "/d/other", 0);
}

static int rename_both(struct fixture *f)
{
    return op_rename(f, "/d/both", "/d/both2", 0);
}

static int rename_to_long(struct fixture *f)
{
    return op_rename(f, "/d/both", "/" LONG_NAME, 0);
}

static int rename_from_long(struct fixture *f)
{
    return op_rename(f, "/" LONG_NAME, "/d/other", 0);
}

static int rename_directory(struct fixture *f)
{
    return op_rename(f, "/u", "/d/moved", 0);
}

static int rename_directory_over_name(struct fixture *f)
{
    return op_rename(f, "/u", "/full", 0);
}

static int rename_directory_over_empty(struct fixture *f)
{
    return op_rename(f, "/u", "/empty", 0);
}

static int rename_directory_over_blank(struct fixture *f)
{
    return op_rename(f, "/u", "/blank", 0);
}

static int exchange_files(struct fixture *f)
{
    return op_rename(f, "/d/e/file", "/d/other", EXCHANGE);
}

static int exchange_directory(struct fixture *f)
{
    return op_rename(f, "/u", "/d/other", EXCHANGE);
}

static int copy_up_file(struct fixture *f)
{
    return op_copy_up(f, "/d/e/file", OVL_COPY_ALL);
}

static int copy_up_link(struct fixture *f)
{
    return op_copy_up(f, "/d/link", OVL_COPY_ALL);
}

static int copy_up_directory(struct fixture *f)
{
    return op_copy_up(f, "/d/e", OVL_COPY_ALL);
}

static int create_in_locked(struct fixture *f)
{
    return op_write(f, "/locked/new", O_WRONLY | O_CREAT, 0644, "new");
}

static const struct scenario scenarios[] = {
    {"append_lower", NULL, append_lower},
    {"truncate_lower", NULL, truncate_lower},
    {"create_in_lower", NULL, create_in_lower},
    {"create_in_locked", NULL, create_in_locked},
    {"create_over_whiteout", remove_some, create_over_whiteout},
    {"create_over_long", remove_some, create_over_long},
    {"mkdir_new", NULL, mkdir_new},
    {"mkdir_over_whiteout", remove_directory, mkdir_over_whiteout},
    {"mkdir_over_long", remove_some, mkdir_over_long},
    {"symlink_new", NULL, symlink_new},
    {"symlink_over_whiteout", remove_some, symlink_over_whiteout},
    {"mknod_new", NULL, mknod_new},
    {"link_lower", NULL, link_lower},
    {"link_over_whiteout", remove_some, link_over_whiteout},
    {"unlink_lower", NULL, unlink_lower},
    {"unlink_upper", NULL, unlink_upper},
    {"unlink_both", NULL, unlink_both},
    {"unlink_long", NULL, unlink_long},
    {"unlink_long_both", copy_up_long, unlink_long},
    {"rmdir_merged", remove_some, rmdir_merged},
    {"rmdir_both", NULL, rmdir_both},
    {"rmdir_upper", NULL, rmdir_upper},
    {"rmdir_made_again", make_again, rmdir_merged},
    {"rename_lower", NULL, rename_lower},
    {"rename_over_lower", NULL, rename_over_lower},
    {"rename_over_upper", NULL, rename_over_upper},
    {"rename_over_whiteout", remove_some, rename_over_lower},
    {"rename_upper_over_lower", NULL, rename_upper_over_lower},
    {"rename_upper_over_whiteout", remove_some, rename_upper_over_lower},
    {"rename_both", NULL, rename_both},
    {"rename_to_long", NULL, rename_to_long},
    {"rename_to_removed_long", remove_some, rename_to_long},
    {"rename_from_long", NULL, rename_from_long},
    {"rename_directory", NULL, rename_directory},
    {"rename_directory_over_whiteout", remove_directory, rename_directory_over_name},
    {"rename_directory_over_removed", remove_some, rename_directory_over_name},
    {"rename_directory_over_made_again", make_again, rename_directory_over_name},
    {"rename_directory_over_empty", NULL, rename_directory_over_empty},
    {"rename_directory_over_blank", NULL, rename_directory_over_blank},
    {"exchange_files", NULL, exchange_files},
    {"exchange_directory", NULL, exchange_directory},
    {"copy_up_file", NULL, copy_up_file},
    {"copy_up_link", NULL, copy_up_link},
    {"copy_up_directory", NULL, copy_up_directory},
};

/* ---- one broken call ------------------------------------------------------------------------------------ */

static struct fixture *begin(const struct scenario *s, const char *options)
{
    void *state;
    fixture_setup(&state);
    struct fixture *f = state;
    make_layers(f);
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

static void act_in_child(struct fixture *f, const struct scenario *s, const char *options, unsigned n, int error, int out)
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
    if (ovl_lock_tree(f->ovl, &held) == 0) /* waits for ever where a lock was left */
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

static void judge(struct run *run, struct fixture *f, unsigned n, int error, const struct outcome *o, bool verbose)
{
    fixture_open(f, run->options);
    ovl_space_clean(&f->ctx);
    char *now = view(f);
    bool is_before = strcmp(now, run->before) == 0;
    bool is_wanted = strcmp(now, run->wanted) == 0;
    if (verbose)
        fprintf(stderr, "call %u: system call %ld, result %d, %s\n", n, o->hit, o->result,
                is_wanted ? "wanted" : is_before ? "before" : "between");
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
    if (has_residue(f) && o->hit != SYS_unlinkat)
        complain(run, "something is left in the upper", n, error, o);
    run->late += o->result < 0 && is_wanted && !is_before;
    free(now);
}

static void run_error(struct run *run, int error, unsigned only)
{
    for (unsigned n = only ? only : 1; n < CALLS_MAX; n++) {
        struct fixture *f = begin(run->s, run->options);
        struct outcome o = act(f, run->s, run->options, n, error);
        judge(run, f, n, error, &o, only || getenv("OVL_FAULT"));
        end(f);
        run->calls = n - 1;
        if (o.hit < 0 || only)
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

static void run_all(const char *options)
{
    static const int errors[] = {EIO, ENOSPC, EINTR};
    const char *chosen = getenv("OVL_FAULT");
    const char *colon = chosen ? strchr(chosen, ':') : NULL;
    unsigned wrong = 0;
    for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++) {
        struct run run = {.s = &scenarios[i], .options = options};
        size_t length = colon ? (size_t)(colon - chosen) : chosen ? strlen(chosen) : 0;
        if (chosen && (strncmp(run.s->name, chosen, length) != 0 || run.s->name[length]))
            continue;
        take_views(&run);
        for (size_t e = 0; e < sizeof errors / sizeof *errors; e++)
            run_error(&run, errors[e], colon ? (unsigned)atoi(colon + 1) : 0);
        print_message("%s%s: %u calls, %u failures after the change was made\n", run.s->name, options, run.calls,
                      run.late);
        wrong += run.wrong;
        free(run.before);
        free(run.wanted);
    }
    assert_int_equal(wrong, 0);
}

static void with_oci_whiteouts(void **state)
{
    (void)state;
    run_all("");
}

static void with_kernel_whiteouts(void **state)
{
    (void)state;
    run_all(",whiteout=kernel");
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

int main(void)
{
    choose_place();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(with_oci_whiteouts),
        cmocka_unit_test(with_kernel_whiteouts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
