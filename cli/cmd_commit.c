/* SPDX-License-Identifier: MIT
 *
 * ovl commit: what the upper changes is applied to a lower directory, and the upper is dropped.
 *
 * The journal is a file in the work directory that names the layer: while it is there, a call that was killed is to be
 * finished.  It goes with the upper (cmd_discard.c), of which the first step is one rename.
 */
#include "choose.h"
#include "commands.h"
#include "commit.h"
#include "discard.h"
#include "json.h"
#include "output.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char help[] =
    "usage: ovl commit [OPTION]... [MOUNT]\n"
    "\n"
    "Applies what the upper directory changes to a lower one, for good, and drops the upper with its work directory.\n"
    "MOUNT says which overlay, where several have an upper.\n"
    "\n" SPACE_HELP "\n"
    "      --to LAYER         the lower directory to change (default: the highest one)\n"
    "      --dry-run          say what would be applied, and change nothing\n"
    "      --force            overwrite what was changed in LAYER meanwhile, too\n" JSON_HELP
    "      --help             this text\n"
    "\n"
    "Refused, before anything is changed: when a run uses the overlay; when LAYER, or a directory of it that has to\n"
    "be changed or emptied, can't be written or is another file system; when a file can't be read; when a layer above\n"
    "LAYER would hide what is applied; when the upper was not made by a run; and when something that would be\n"
    "overwritten or removed was changed in LAYER since the first run with this upper began: its status change time is\n"
    "then later than the births of the upper and of the work directory's `state`.  (A change that leaves that time, "
    "by\n"
    "a clock that was set back for example, and new names in directories that stay, are not seen.)\n"
    "\n"
    "When it was killed, the overlay shows what it showed before, and the next call finishes it.  Of layers below "
    "LAYER\n"
    "what has to be hidden is hidden, by whiteouts of the configured form.  An ordinary user's copies have the owner "
    "of\n"
    "what they were copied from, where that can be given to them.\n"
    "\n"
    "Exit status: 0; 2 for a wrong option; 3 when it was refused, or something can't be read or written; 125 when the\n"
    "configuration is wrong.\n";

#define JOURNAL_BEGUN "ovl commit 1\n"
#define JOURNAL_STOPPED "ovl commit 1, stopped\n"

struct commit_options {
    struct options shared;
    const char *to;
    bool dry_run, force;
};

/* ---- the journal ------------------------------------------------------------------------------------------- */

static char *journal_path(const struct commit *c)
{
    return text("%s/commit", ovl_work(c->ovl));
}

/* When something was made: 0, or a negative errno, -ENODATA where the file system does not say. */
static int birth_of(const char *path, struct timespec *birth)
{
    struct statx st;
    if (statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_BTIME, &st) < 0)
        return -errno;
    *birth = (struct timespec){st.stx_btime.tv_sec, st.stx_btime.tv_nsec};
    return st.stx_mask & STATX_BTIME ? 0 : -ENODATA;
}

static bool is_later(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec > b->tv_sec || (a->tv_sec == b->tv_sec && a->tv_nsec > b->tv_nsec);
}

/* Whether the journal is of an upper that was there before this one: a call that was killed when it had moved that
 * away. */
static bool is_stale(const struct commit *c, const struct stat *journal)
{
    struct timespec born = {0};
    return birth_of(ovl_layer(c->ovl, 0), &born) == 0 && is_later(&born, &journal->st_mtim);
}

/* What is behind these words, or NULL. */
static const char *after(const char *content, const char *words)
{
    size_t n = strlen(words);
    return strncmp(content, words, n) == 0 ? content + n : NULL;
}

/* The layer that an unfinished call applied to, the caller's to free; NULL: there was none.  What is newer there was
 * changed by that call; if it stopped by itself, what is newer than that was not. */
static char *read_journal(struct commit *c)
{
    struct stat st;
    char *path = journal_path(c), *content = need(calloc(1, PATH_MAX + sizeof JOURNAL_STOPPED));
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    bool is_there = fd >= 0 && fstat(fd, &st) == 0 && !is_stale(c, &st) &&
                    read(fd, content, PATH_MAX + sizeof JOURNAL_STOPPED - 1) > 0;
    const char *begun = after(content, JOURNAL_BEGUN), *stopped = after(content, JOURNAL_STOPPED);
    char *layer = begun || stopped ? need(strdup(begun ? begun : stopped)) : NULL;
    if (is_there && stopped)
        c->began = st.st_mtim;
    c->forced |= is_there && begun;
    if (fd >= 0)
        close(fd);
    free(content);
    free(path);
    return layer;
}

static int write_whole(const char *aside, const char *content)
{
    int fd = open(aside, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return -1;
    size_t n = strlen(content);
    errno = ENOSPC;
    int r = write(fd, content, n) == (ssize_t)n && fsync(fd) == 0 ? 0 : -1;
    int error = errno;
    close(fd);
    errno = error;
    return r;
}

/* Put the names in a directory on disk. */
static int flush_names(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int r = fd < 0 ? -1 : fsync(fd), error = errno;
    if (fd >= 0)
        close(fd);
    errno = error;
    return r;
}

static int put_journal(const struct commit *c, const char *words)
{
    char *path = journal_path(c), *aside = text("%s.new", path);
    char *content = text("%s%s", words, ovl_layer(c->ovl, c->target));
    int r = write_whole(aside, content) < 0 || rename(aside, path) < 0 || flush_names(ovl_work(c->ovl)) < 0 ? -1 : 0;
    free(path);
    free(aside);
    free(content);
    return r;
}

static int begin_journal(const struct commit *c)
{
    int r = put_journal(c, JOURNAL_BEGUN);
    if (r < 0)
        complain("%s: %s; nothing was changed", ovl_work(c->ovl), strerror(errno));
    return r;
}

/* ---- which layer ------------------------------------------------------------------------------------------- */

static int refuse_layer(const struct commit *c, const char *to)
{
    complain("%s is no lower directory of %s; those are:", to, ovl_mount(c->ovl));
    for (unsigned i = 1; i < ovl_layers(c->ovl); i++)
        tell("  %s", ovl_layer(c->ovl, i));
    return STATUS_FAILED;
}

/* The number of the layer at a path, which need not be written as the configuration has it; 0: none. */
static unsigned find_layer(const struct commit *c, const char *path)
{
    char *absolute = absolute_path(path), *resolved = realpath(absolute, NULL);
    unsigned i = ovl_layers(c->ovl) - 1;
    while (i > 0 && (!resolved || strcmp(ovl_layer(c->ovl, i), resolved) != 0))
        i--;
    free(absolute);
    free(resolved);
    return i;
}

/* Of a call that is to be finished it is settled. */
static int choose_layer(struct commit *c, const char *to)
{
    char *begun = read_journal(c);
    c->target = to ? find_layer(c, to) : 1;
    int status = c->target ? STATUS_DONE : refuse_layer(c, to);
    if (begun && status == STATUS_DONE) {
        unsigned layer = find_layer(c, begun);
        if (!layer || (to && layer != c->target)) {
            complain("a commit to %s was begun and not finished; finish it with --to %s", begun, begun);
            status = STATUS_FAILED;
        }
        c->target = layer;
    }
    free(begun);
    return status;
}

/* ---- what is known of it ------------------------------------------------------------------------------------- */

static const char *setting(const struct ovl *o, const char *wanted)
{
    const char *key, *value;
    for (unsigned i = 0; ovl_setting(o, i, &key, &value); i++)
        if (strcmp(key, wanted) == 0)
            return value;
    return "";
}

/* The first run with this upper made the younger of the two, or found both. */
static int find_begin(struct commit *c)
{
    struct timespec upper;
    if (c->began.tv_sec) /* by the journal */
        return STATUS_DONE;
    char *state = text("%s/state", ovl_work(c->ovl));
    int r = birth_of(state, &c->began);
    if (r == 0 && birth_of(ovl_layer(c->ovl, 0), &upper) == 0 && is_later(&upper, &c->began))
        c->began = upper;
    free(state);
    if (r == 0 || r == -ENOENT || c->forced)
        return STATUS_DONE;
    complain("the file system of %s does not say when the first run began, so that it can't be told whether %s was "
             "changed since; look at that, and commit with --force",
             ovl_work(c->ovl), ovl_layer(c->ovl, c->target));
    return STATUS_FAILED;
}

/* Whether the upper can be moved away at the end. */
static int check_parent(const struct commit *c)
{
    char *parent = need(strdup(ovl_layer(c->ovl, 0)));
    *(strrchr(parent, '/') == parent ? parent + 1 : strrchr(parent, '/')) = '\0';
    int r = faccessat(AT_FDCWD, parent, W_OK | X_OK, AT_EACCESS);
    if (r < 0)
        complain("%s: %s; the upper directory could not be dropped afterwards", parent, strerror(errno));
    free(parent);
    return r < 0 ? STATUS_FAILED : STATUS_DONE;
}

static int check_layer(const struct commit *c)
{
    const char *layer = ovl_layer(c->ovl, c->target);
    if (faccessat(AT_FDCWD, layer, W_OK | X_OK, AT_EACCESS) == 0)
        return STATUS_DONE;
    complain("%s: %s; commit to a directory that you may write to, or `ovl export` the changes", layer,
             strerror(errno));
    return STATUS_FAILED;
}

/* ---- the result ---------------------------------------------------------------------------------------------- */

static void show(const struct change *change)
{
    printf("%-9s ", change_name(change->kind));
    print_path(stdout, change->path);
    putchar('\n');
}

static uint64_t total(const struct commit *c)
{
    uint64_t n = 0;
    for (size_t i = CHANGE_NONE; i <= CHANGE_RENAMED; i++)
        n += c->count[i];
    return n;
}

static void print_result(const struct commit *c, const struct commit_options *options)
{
    const char *layer = ovl_layer(c->ovl, c->target);
    if (c->lost_xattrs)
        tell("some extended attributes could not be set in %s", layer);
    if (!options->shared.json) {
        printf("%llu changes %s applied to ", (unsigned long long)total(c), options->dry_run ? "would be" : "were");
        print_path(stdout, layer);
        putchar('\n');
        return;
    }
    struct json_object *result = json_new(), *changes = json_new();
    json_add_path(result, "layer", layer);
    json_add_bool(result, "applied", !options->dry_run);
    for (size_t i = CHANGE_ADDED; i <= CHANGE_OPAQUE; i++)
        json_add_number(changes, change_name((enum change_kind)i), (int64_t)c->count[i]);
    json_object_object_add(result, "changes", changes);
    json_print(result);
}

/* ---- the steps ------------------------------------------------------------------------------------------------- */

static int prepare(struct commit *c, const struct commit_options *options)
{
    int status = discard_check(c->ovl);
    if (status == STATUS_DONE)
        status = choose_layer(c, options->to);
    if (status == STATUS_DONE)
        status = check_layer(c);
    if (status == STATUS_DONE)
        status = check_parent(c);
    if (status == STATUS_DONE && !options->dry_run && commit_lock(c) < 0)
        status = STATUS_FAILED;
    if (status == STATUS_DONE)
        status = find_begin(c);
    c->form = strcmp(setting(c->ovl, "whiteout"), "kernel") == 0 ? OVL_MARK_DEVICE : OVL_MARK_FILE;
    if (status == STATUS_DONE && commit_check(c, options->dry_run && !options->shared.json ? show : NULL) < 0)
        status = STATUS_FAILED;
    return status;
}

/* It is not, when nothing was changed, or a call was killed when all was applied. */
static bool is_upper_there(const struct commit *c)
{
    struct stat st;
    return lstat(ovl_layer(c->ovl, 0), &st) == 0;
}

static int commit(struct commit *c, const struct commit_options *options)
{
    int lock = options->dry_run ? -1 : discard_lock(ovl_work(c->ovl));
    int status = prepare(c, options);
    if (status == STATUS_DONE && !options->dry_run && is_upper_there(c)) {
        status = begin_journal(c) < 0 ? STATUS_FAILED : STATUS_DONE;
        if (status == STATUS_DONE && commit_apply(c) < 0) {
            complain("the rest is still in %s; the overlay shows what it showed before, and `ovl commit` called again "
                     "finishes it",
                     ovl_layer(c->ovl, 0));
            (void)!put_journal(c, JOURNAL_STOPPED); /* without it, all that is newer is that call's */
            status = STATUS_FAILED;
        }
    }
    if (status == STATUS_DONE && !options->dry_run)
        status = discard_upper(c->ovl);
    if (c->root >= 0)
        close(c->root);
    if (lock >= 0)
        close(lock);
    if (status == STATUS_DONE)
        print_result(c, options);
    return finish_output(status);
}

/* ---- the subcommand ---------------------------------------------------------------------------------------------- */

enum { OPTION_TO = OPTION_OWN, OPTION_DRY_RUN, OPTION_FORCE };

static int take_options(int argc, char **argv, struct commit_options *options)
{
    static const struct option table[] = {
        SPACE_LONG,
        {"to", required_argument, NULL, OPTION_TO},
        {"dry-run", no_argument, NULL, OPTION_DRY_RUN},
        {"force", no_argument, NULL, OPTION_FORCE},
        {"json", no_argument, NULL, OPTION_JSON},
        HELP_LONG,
    };
    for (int option; (option = getopt_long(argc, argv, SPACE_SHORT, table, NULL)) != -1;) {
        int taken = options_take(&options->shared, option, help);
        if (ENDS(taken))
            return taken;
        if (option == OPTION_TO)
            taken = options_take_once(&options->shared, &options->to, "to");
        if (ENDS(taken))
            return taken;
        options->dry_run |= option == OPTION_DRY_RUN;
        options->force |= option == OPTION_FORCE;
    }
    return 0;
}

int cmd_commit(int argc, char **argv)
{
    struct commit_options options = {.shared = {.command = "commit"}};
    struct space space;
    int taken = take_options(argc, argv, &options);
    if (ENDS(taken))
        return END_STATUS(taken);
    int status = refuse_inside("commit");
    if (status != STATUS_DONE)
        return status;
    status = space_open(&space, &options.shared, NEEDS_UPPER);
    struct commit c = {.space = &space, .forced = options.force, .root = -1};
    if (status == STATUS_DONE)
        c.ovl = choose_overlay(&space, "commit", argv + optind, &status);
    if (status == STATUS_DONE)
        status = commit(&c, &options);
    space_close(&space);
    return status;
}
