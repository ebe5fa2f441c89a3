/* SPDX-License-Identifier: MIT
 *
 * ovl check: what is left over, or means nothing, in an upper and its work directory.
 *
 * What must hold: without --repair nothing is changed, and with it nothing that an overlay shows.
 */
#include "choose.h"
#include "commands.h"
#include "discard.h"
#include "json.h"
#include "layer_walk.h"
#include "options.h"
#include "output.h"
#include "remove.h"
#include "shown.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char help[] =
    "usage: ovl check [OPTION]... [MOUNT]\n"
    "\n"
    "Looks for what killed processes have left in the work directory and in the upper one, for names that look like\n"
    "whiteouts and are none, for whiteouts and opaque marks over nothing, and for damaged files of the cache.  MOUNT\n"
    "says which overlay, where several have an upper.\n"
    "\n" SPACE_HELP "\n"
    "      --repair           remove what was found; what the overlay shows stays the same\n" JSON_HELP
    "      --help             this text\n"
    "\n"
    "left-over       in the work directory or the upper, made by a process that was killed\n"
    "malformed       a name of a whiteout that is none; with --repair only what is empty goes, look at the others\n"
    "over-nothing    a whiteout or an opaque mark that hides nothing\n"
    "beside          a whiteout beside an object of its name; a directory gets an opaque mark instead\n"
    "cache           a file of the cache without what its head says\n"
    "unfinished      a commit that was killed: `ovl commit` finishes it\n"
    "\n"
    "While a run uses the overlay, its work directory is not looked at, and nothing is repaired.\n"
    "\n"
    "Exit status: 0 when all is well, or was repaired; 1 when something was found and is left; 2 for a wrong option; "
    "3\n"
    "when something can't be read or written; 125 when the configuration is wrong.\n";

struct checking {
    struct options options;
    bool repair;
    struct space *space;
    struct ovl *ovl;
    struct json_list list;
    struct list left_overs; /* names in the work directory's `work` */
    uint64_t found, left;
    char *opaque; /* the path of a directory that hides all that lower ones have, while the walk is below it */
    bool failed;
};

/* ---- findings ------------------------------------------------------------------------------------------------ */

/* Something was found, and repaired or not. */
static void report(struct checking *c, const char *kind, const char *path, bool repaired)
{
    c->found++;
    c->left += !repaired;
    if (c->options.json) {
        struct json_object *item = json_new();
        json_add_text(item, "kind", kind);
        json_add_path(item, "path", path);
        json_add_bool(item, "repaired", repaired);
        json_list_item(&c->list, item);
        return;
    }
    printf("%-13s ", kind);
    print_path(stdout, path);
    puts(repaired ? ", repaired" : "");
}

/* What a repair came to, which is tried where that was asked for. */
static bool settle(struct checking *c, const char *path, int r)
{
    if (!c->repair || r == 0)
        return c->repair;
    complain("%s: %s; it is left as it is", path, strerror(errno));
    c->failed = true;
    return false;
}

/* ---- the work directory ---------------------------------------------------------------------------------------- */

/* The names in a directory; none where it is not there. */
static struct list names_in(const char *path)
{
    struct list names = {NULL, 0};
    DIR *dir = opendir(path);
    for (const struct dirent *entry; dir && (entry = readdir(dir));)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            list_add(&names, entry->d_name);
    if (dir)
        closedir(dir);
    return names;
}

/* What the next run would do: it knows which notes have to be followed. */
static void clean_as_a_run(struct checking *c)
{
    struct ovl_space *run;
    struct ovl_message why;
    struct ovl_ctx ctx;
    if (ovl_space_open(c->space->conf, &run, &why) < 0) {
        complain("%s", why.text);
        c->failed = true;
        return;
    }
    if (ovl_ctx_begin(&ctx, run, &ovl_ops_kernel) < 0)
        need(NULL);
    ovl_space_clean(&ctx);
    ovl_ctx_end(&ctx);
    ovl_space_close(run);
}

static void find_left_overs(struct checking *c)
{
    char *folder = text("%s/work", ovl_work(c->ovl));
    c->left_overs = names_in(folder);
    if (c->left_overs.count && c->repair)
        clean_as_a_run(c);
    free(folder);
}

static void check_left_overs(struct checking *c)
{
    for (size_t i = 0; i < c->left_overs.count; i++) {
        char *path = text("%s/work/%s", ovl_work(c->ovl), c->left_overs.at[i]);
        report(c, "left-over", path, settle(c, path, c->repair ? remove_tree(path) : 0));
        free(path);
    }
    list_free(&c->left_overs);
}

static void check_cache(struct checking *c)
{
    char *folder = text("%s/cache", ovl_work(c->ovl));
    struct list names = names_in(folder);
    for (size_t i = 0; i < names.count; i++) {
        char *path = text("%s/%s", folder, names.at[i]);
        if (ovl_cache_check(path) < 0)
            report(c, "cache", path, settle(c, path, c->repair ? unlink(path) : 0));
        free(path);
    }
    list_free(&names);
    free(folder);
}

static void check_journal(struct checking *c)
{
    struct stat st;
    char *path = text("%s/commit", ovl_work(c->ovl));
    if (lstat(path, &st) == 0)
        report(c, "unfinished", path, false);
    free(path);
}

/* ---- the upper -------------------------------------------------------------------------------------------------- */

static bool is_below_opaque(const struct checking *c, const char *relative)
{
    size_t n = c->opaque ? strlen(c->opaque) : 0;
    return c->opaque && (n == 0 || (strncmp(relative, c->opaque, n) == 0 && (relative[n] == '/' || !relative[n])));
}

static char *path_of(const struct checking *c, const struct layer_dir *dir, const char *name)
{
    return text("%s%s%s%s%s", ovl_layer(c->ovl, 0), *dir->relative ? "/" : "", dir->relative, *name ? "/" : "", name);
}

/* What the lower layers have under a name of the directory, "" being that itself, and nothing above it hides. */
static int lower_shows(const struct checking *c, const struct layer_dir *dir, const char *name)
{
    char *relative = text("%s%s%s", dir->relative, *dir->relative && *name ? "/" : "", name);
    int r = is_below_opaque(c, dir->relative) ? (int)SHOWN_NOTHING : shown_from(dir->ctx, c->ovl, 1, relative);
    if (r < 0)
        complain("%s: %s", relative, strerror(-r));
    free(relative);
    return r;
}

static int as_errno(int r)
{
    errno = r < 0 ? -r : 0;
    return r < 0 ? -1 : 0;
}

static int enter(const struct layer_dir *dir, void *arg)
{
    struct checking *c = arg;
    const unsigned both = OVL_OPAQUE_FILE | OVL_OPAQUE_ATTRIBUTE;
    int has = ovl_mark_opacity(dir->ctx, dir->real);
    char *path = path_of(c, dir, "");
    int r = has < 0 ? as_errno(has) : 0;
    if (c->opaque && !is_below_opaque(c, dir->relative)) {
        free(c->opaque);
        c->opaque = NULL;
    }
    if (r < 0)
        complain("%s: %s", path, strerror(errno));
    int shows = r == 0 && ((unsigned)has & both) ? lower_shows(c, dir, "") : (int)SHOWN_OBJECT;
    if (shows == SHOWN_NOTHING) {
        int dropped = c->repair ? as_errno(ovl_mark_drop_opaque(dir->ctx, dir->real, (unsigned)has & both)) : 0;
        report(c, "over-nothing", path, settle(c, path, dropped));
    }
    free(path);
    if (r < 0 || shows < 0)
        return -1;
    if (((unsigned)has & both) && !c->opaque)
        c->opaque = need(strdup(dir->relative));
    return 0;
}

/* Of a name that begins with .wh.: what processes make aside, and what nobody knows. */
static int check_stray(struct checking *c, const struct layer_dir *dir, const char *name)
{
    struct stat st;
    char *path = path_of(c, dir, name);
    bool left_over = strncmp(name, OVL_WH_ASIDE, strlen(OVL_WH_ASIDE)) == 0;
    bool is_empty = fstatat(dir->fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) && st.st_size == 0;
    int r = 0;
    if (c->repair && left_over)
        r = tree_remove(dir->tree, name);
    else if (c->repair && is_empty)
        r = unlinkat(dir->fd, name, 0);
    else if (c->repair && unlinkat(dir->fd, name, AT_REMOVEDIR) == 0)
        is_empty = true;
    report(c, left_over ? "left-over" : "malformed", path, (left_over || is_empty) && settle(c, path, r));
    free(path);
    return 0;
}

/* With the time that it has. */
static int make_opaque(const struct layer_dir *dir, const char *name, const struct stat *st)
{
    const struct timespec times[2] = {st->st_atim, st->st_mtim};
    char *real = path_in(dir->fd, name);
    int r = as_errno(ovl_mark_set_opaque(dir->ctx, real, OVL_MARK_FILE));
    free(real);
    return r < 0 ? r : utimensat(dir->fd, name, times, AT_SYMLINK_NOFOLLOW);
}

/* A whiteout, and an object of the name that it hides. */
static int check_beside(struct checking *c, const struct layer_dir *dir, const char *name, const struct stat *st)
{
    const char *hidden = name + OVL_WH_PREFIX_LENGTH;
    char *path = path_of(c, dir, name);
    int shows = S_ISDIR(st->st_mode) ? lower_shows(c, dir, hidden) : (int)SHOWN_NOTHING, r = shows < 0 ? -1 : 0;
    if (c->repair && shows > SHOWN_NOTHING)
        r = make_opaque(dir, hidden, st);
    if (c->repair && r == 0)
        r = unlinkat(dir->fd, name, 0);
    report(c, "beside", path, settle(c, path, r));
    free(path);
    return 0;
}

static int check_whiteout(struct checking *c, const struct layer_dir *dir, const char *name, const char *hidden)
{
    int shows = lower_shows(c, dir, hidden);
    if (shows != SHOWN_NOTHING)
        return shows < 0 ? -1 : 0;
    char *path = path_of(c, dir, name);
    report(c, "over-nothing", path, settle(c, path, c->repair ? unlinkat(dir->fd, name, 0) : 0));
    free(path);
    return 0;
}

static int check_mark(const struct layer_dir *dir, const char *name, enum ovl_mark mark, void *arg)
{
    struct checking *c = arg;
    struct stat st;
    if (mark == OVL_MARK_OPAQUE)
        return 0;
    if (mark == OVL_MARK_STRAY)
        return check_stray(c, dir, name);
    if (mark != OVL_MARK_FILE)
        return check_whiteout(c, dir, name, name);
    if (fstatat(dir->fd, name + OVL_WH_PREFIX_LENGTH, &st, AT_SYMLINK_NOFOLLOW) == 0)
        return check_beside(c, dir, name, &st);
    return check_whiteout(c, dir, name, name + OVL_WH_PREFIX_LENGTH);
}

static void check_upper(struct checking *c)
{
    const struct layer_visitor visitor = {.enter = enter, .mark = check_mark, .arg = c, .looks = !c->repair};
    const char *upper = ovl_layer(c->ovl, 0);
    if (access(upper, F_OK) < 0 && errno == ENOENT)
        return;
    if (layer_walk(&c->space->ctx, upper, &visitor) < 0)
        c->failed = true;
    free(c->opaque);
    c->opaque = NULL;
}

/* ---- the whole -------------------------------------------------------------------------------------------------- */

static void print_end(const struct checking *c)
{
    if (c->options.json) {
        json_list_end(&c->list);
        putchar('\n');
    } else if (!c->found && !c->failed) {
        puts("nothing was found");
    }
}

static void check_all(struct checking *c, int user)
{
    if (user > 0)
        tell("process %d uses the overlay: its work directory is not looked at", user);
    if (c->options.json)
        json_list_begin(&c->list, json_new(), "problems");
    if (user == 0) {
        check_left_overs(c);
        check_journal(c);
        check_cache(c);
    }
    check_upper(c);
    print_end(c);
}

/* No run may begin while something is repaired. */
static int check_locked(struct checking *c)
{
    int user = ovl_in_use(c->ovl), lock = -1;
    if (user == 0)
        find_left_overs(c);
    if (c->repair && user == 0) {
        lock = discard_lock(ovl_work(c->ovl));
        user = ovl_in_use(c->ovl);
    }
    bool refused = (user < 0 || c->repair) && refuse_user(c->ovl, user) != STATUS_DONE;
    if (!refused)
        check_all(c, user);
    if (lock >= 0)
        close(lock);
    return finish_output(refused || c->failed ? STATUS_FAILED : c->left ? STATUS_DIFFERS : STATUS_DONE);
}

/* ---- the subcommand ------------------------------------------------------------------------------------------------
 */

int cmd_check(int argc, char **argv)
{
    enum { OPTION_REPAIR = OPTION_OWN };
    static const struct option table[] = {
        SPACE_LONG,
        {"repair", no_argument, NULL, OPTION_REPAIR},
        {"json", no_argument, NULL, OPTION_JSON},
        HELP_LONG,
    };
    struct checking c = {.options = {.command = "check"}};
    struct space space;
    for (int option; (option = getopt_long(argc, argv, SPACE_SHORT, table, NULL)) != -1;) {
        int taken = options_take(&c.options, option, help);
        if (ENDS(taken))
            return END_STATUS(taken);
        c.repair |= option == OPTION_REPAIR;
    }
    int status = refuse_inside("check");
    if (status != STATUS_DONE)
        return status;
    status = space_open(&space, &c.options, NEEDS_UPPER);
    c.space = &space;
    if (status == STATUS_DONE)
        c.ovl = choose_overlay(&space, "check", argv + optind, &status);
    if (status == STATUS_DONE)
        status = check_locked(&c);
    space_close(&space);
    return status;
}
