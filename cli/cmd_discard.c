/* SPDX-License-Identifier: MIT
 *
 * ovl discard: an upper directory and its work directory are removed.
 *
 * What must hold: nothing is removed that is not known to be what libovl has made, nothing that a run uses, and no
 * change is half removed where somebody could go on with the other half.  So the upper is moved into its work directory
 * first, which is one step, and all of that is removed then; called again after a kill, it finishes.
 */
#include "commands.h"
#include "discard.h"
#include "output.h"
#include "remove.h"
#include "space.h"
#include "state.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static const char help[] =
    "usage: ovl discard [OPTION]...\n"
    "\n"
    "Removes the upper directory, with all changes in it, and its work directory; also what `ovl run` has kept of the\n"
    "overlay.  Lower directories are not touched.  Asks first; where nobody can be asked, --force is needed.\n"
    "\n" SPACE_HELP "\n"
    "  -f, --force            do not ask\n"
    "      --temp             instead: all that is left of `ovl run --temp` where that was killed, or left something "
    "running\n"
    "      --dry-run          say what would be removed, and remove nothing\n"
    "      --help             this text\n"
    "\n"
    "Refused are directories that libovl did not make a work directory for, and what a running command uses.\n"
    "\n"
    "Exit status: 0; 2 for a wrong option; 3 when it was refused, or something could not be removed; 125 when the\n"
    "configuration is wrong.\n";

#define RUN_MAGIC "libovl-run "

struct discarding {
    bool force, dry_run;
};

/* ---- what may be removed -------------------------------------------------------------------------------- */

static bool is_there(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0 || errno != ENOENT;
}

/* A directory that only its owner, the caller, can change. */
static bool is_private(const char *path, struct stat *st)
{
    return lstat(path, st) == 0 && S_ISDIR(st->st_mode) && st->st_uid == geteuid() && !(st->st_mode & 022);
}

/* What every run leaves there (core's config_run.c). */
static bool has_run(const char *work)
{
    char magic[sizeof RUN_MAGIC - 1], *path = text("%s/state/run", work);
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    bool has = fd >= 0 && read(fd, magic, sizeof magic) == (ssize_t)sizeof magic &&
               memcmp(magic, RUN_MAGIC, sizeof magic) == 0;
    if (fd >= 0)
        close(fd);
    free(path);
    return has;
}

/* Whether nothing but this name is in a directory, or that is not there. */
static bool has_only(const char *folder, const char *name)
{
    DIR *dir = opendir(folder);
    bool only = dir || errno == ENOENT;
    for (const struct dirent *entry; dir && (entry = readdir(dir));)
        only &= strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 || strcmp(entry->d_name, name) == 0;
    if (dir)
        closedir(dir);
    return only;
}

/* Whether there is nothing but what a call that was killed at its end has left. */
static bool is_hollow(const char *work)
{
    char *state = text("%s/state", work);
    bool hollow = has_only(work, "state") && has_only(state, "");
    free(state);
    return hollow;
}

static int refuse(const char *path, const char *why)
{
    complain("%s %s; look at it, and remove it by other means", path, why);
    return STATUS_FAILED;
}

/* Whether both directories, as far as they are there, are what libovl has made. */
int discard_check(const struct ovl *o)
{
    const char *upper = ovl_layer(o, 0), *work = ovl_work(o);
    struct stat up, st;
    if (!is_there(work))
        return is_there(upper) ? refuse(upper, "has no work directory of libovl's, so that it may be anything")
                               : STATUS_DONE;
    if (!is_private(work, &st) || (!has_run(work) && (is_there(upper) || !is_hollow(work))))
        return refuse(work, "is not a work directory that a run of yours has left");
    if (is_there(upper) && (lstat(upper, &up) < 0 || !S_ISDIR(up.st_mode) || up.st_dev != st.st_dev))
        return refuse(upper, "is not a directory on the file system of its work directory");
    return refuse_user(o, ovl_in_use(o));
}

/* ---- removing --------------------------------------------------------------------------------------------- */

/* Keep new runs from beginning meanwhile (core's config_run.c takes the same lock); -1 where there is nothing to lock.
 */
int discard_lock(const char *work)
{
    char *path = text("%s/state", work);
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    free(path);
    while (fd >= 0 && flock(fd, LOCK_EX) < 0 && errno == EINTR)
        ;
    return fd;
}

/* A directory that can't be written can't be moved: ".." of it would change. */
static int move(const char *upper, const char *to)
{
    struct stat st;
    if (rename(upper, to) == 0)
        return 0;
    if (errno != EACCES || lstat(upper, &st) < 0 || (st.st_mode & S_IWUSR))
        return -1;
    int fd = open(upper, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int r = fd < 0 || fchmod(fd, st.st_mode | S_IRWXU) < 0 ? -1 : rename(upper, to);
    if (fd >= 0)
        close(fd);
    return r;
}

/* What tells that it is ours goes last. */
static int remove_work(const char *work)
{
    char *state = text("%s/state", work), *run = text("%s/state/run", work);
    int r = remove_all_but(work, "state");
    if (r == 0)
        r = remove_all_but(state, "run");
    if (r == 0 && ((unlink(run) < 0 && errno != ENOENT) || (rmdir(state) < 0 && errno != ENOENT) || rmdir(work) < 0)) {
        complain("%s: %s; it is left there", work, strerror(errno));
        r = -1;
    }
    free(state);
    free(run);
    return r;
}

int discard_upper(const struct ovl *o)
{
    const char *upper = ovl_layer(o, 0), *work = ovl_work(o);
    char *folder = text("%s/work", work), *aside = text("%s/discarded-%ld", folder, (long)getpid());
    int status = STATUS_DONE;
    if (is_there(upper) && ((mkdir(folder, 0700) < 0 && errno != EEXIST) || move(upper, aside) < 0)) {
        complain("%s: %s; nothing was removed", upper, strerror(errno));
        status = STATUS_FAILED;
    }
    if (status == STATUS_DONE && is_there(work) && remove_work(work) < 0)
        status = STATUS_FAILED;
    free(folder);
    free(aside);
    return status;
}

static int lock_and_discard(const struct ovl *o)
{
    int lock = discard_lock(ovl_work(o));
    int status = discard_check(o); /* once more: now nobody can begin */
    if (status == STATUS_DONE)
        status = discard_upper(o);
    if (lock >= 0)
        close(lock);
    return status;
}

/* ---- asking ------------------------------------------------------------------------------------------------ */

static bool is_yes(const char *line)
{
    return strcmp(line, "y\n") == 0 || strcmp(line, "yes\n") == 0;
}

static void say_what(const struct space *s)
{
    for (unsigned i = 0; i < ovl_space_count(s->space); i++) {
        const struct ovl *o = ovl_space_at(s->space, i);
        if (!ovl_is_read_only(o))
            tell("%s, with what was changed in %s, and %s", ovl_layer(o, 0), ovl_mount(o), ovl_work(o));
    }
}

/* Half of it is in the layer then, and nothing remembers which half when the upper has gone. */
static int warn_unfinished(const struct ovl *o)
{
    char *journal = text("%s/commit", ovl_work(o));
    if (is_there(ovl_layer(o, 0)) && is_there(journal))
        tell("a commit of %s was begun and not finished; what it has applied stays, and `ovl commit` would finish it",
             ovl_layer(o, 0));
    free(journal);
    return STATUS_DONE;
}

static int confirm(const struct discarding *d, const struct space *s)
{
    char line[16] = "";
    if (d->force)
        return STATUS_DONE;
    if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO)) {
        complain("nobody can be asked here whether these are to be removed; give --force");
        say_what(s);
        return STATUS_FAILED;
    }
    say_what(s);
    fputs("Remove them? [y/N] ", stderr);
    if (fgets(line, sizeof line, stdin) && is_yes(line))
        return STATUS_DONE;
    tell("nothing was removed");
    return STATUS_FAILED;
}

/* ---- the subcommand ------------------------------------------------------------------------------------------ */

static int for_each(const struct space *s, int (*act)(const struct ovl *))
{
    int status = STATUS_DONE;
    for (unsigned i = 0; i < ovl_space_count(s->space) && status == STATUS_DONE; i++)
        if (!ovl_is_read_only(ovl_space_at(s->space, i)))
            status = act(ovl_space_at(s->space, i));
    return status;
}

static bool has_upper(const struct space *s)
{
    bool has = false;
    for (unsigned i = 0; i < ovl_space_count(s->space); i++)
        has |= !ovl_is_read_only(ovl_space_at(s->space, i));
    return has;
}

static void forget(const struct space *s)
{
    if (!s->name)
        return;
    char *folder = state_folder(s->root, s->name);
    state_remove(folder);
    free(folder);
}

static int discard(const struct discarding *d, const struct space *s)
{
    if (!has_upper(s)) {
        complain("the overlay has no upper directory: there is nothing to discard");
        return STATUS_FAILED;
    }
    int status = for_each(s, discard_check);
    if (status == STATUS_DONE)
        status = for_each(s, warn_unfinished);
    if (status == STATUS_DONE && d->dry_run) {
        say_what(s);
        return STATUS_DONE;
    }
    if (status == STATUS_DONE)
        status = confirm(d, s);
    if (status == STATUS_DONE)
        status = for_each(s, lock_and_discard);
    if (status == STATUS_DONE)
        forget(s);
    return status;
}

/* What `ovl run --temp` could not remove: each by itself. */
static int discard_temps(const struct discarding *d)
{
    char *root = state_root();
    if (!root)
        return STATUS_FAILED;
    struct list names = state_temps(root);
    int status = STATUS_DONE;
    for (size_t i = 0; i < names.count; i++) {
        struct space s = {.root = need(strdup(root)), .name = names.at[i]};
        s.conf = state_conf(root, s.name);
        int one = space_begin(&s);
        if (one == STATUS_DONE)
            one = discard(d, &s);
        if (one != STATUS_DONE)
            status = one;
        space_close(&s);
    }
    free(names.at);
    free(root);
    return status;
}

int cmd_discard(int argc, char **argv)
{
    enum { OPTION_DRY_RUN = OPTION_OWN };
    static const struct option table[] = {
        SPACE_LONG,
        {"force", no_argument, NULL, 'f'},
        {"dry-run", no_argument, NULL, OPTION_DRY_RUN},
        {"temp", no_argument, NULL, OPTION_TEMP},
        HELP_LONG,
    };
    static struct options options = {.command = "discard"};
    struct discarding d = {false, false};
    struct space space;
    for (int option; (option = getopt_long(argc, argv, "f" SPACE_SHORT, table, NULL)) != -1;) {
        int taken = options_take(&options, option, help);
        if (ENDS(taken))
            return END_STATUS(taken);
        d.force |= option == 'f';
        d.dry_run |= option == OPTION_DRY_RUN;
    }
    if (optind < argc)
        return usage_error("discard", "'%s': all changes are discarded; single paths are brought back by hand",
                           argv[optind]);
    int status = refuse_inside("discard");
    if (status != STATUS_DONE)
        return status;
    const bool others =
        options.mount || options.upper || options.conf || options.name || options.lower.count || options.exclude.count;
    if (options.temp && others)
        return usage_error("discard", "--temp is about all that was left; leave -m, -l, -u, -x, -n and --conf out");
    if (options.temp)
        return discard_temps(&d);
    status = space_open(&space, &options, NEEDS_UPPER);
    if (status == STATUS_DONE)
        status = discard(&d, &space);
    space_close(&space);
    return status;
}
