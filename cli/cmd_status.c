/* SPDX-License-Identifier: MIT
 *
 * ovl status: what the upper changes, a line for each name.
 */
#include "changes.h"
#include "commands.h"
#include "json.h"
#include "output.h"
#include "space.h"

#include <stdlib.h>
#include <string.h>

static const char help[] =
    "usage: ovl status [OPTION]... [PATH]...\n"
    "\n"
    "Shows what the upper directory changes against the lower ones, of all, or of the paths and what is below them.\n"
    "Nothing is changed, and nothing made.\n"
    "\n" SPACE_HELP "\n"
    "  -s, --short            a letter and the path for each change, and nothing else:\n"
    "                         A added, M modified, m metadata, D deleted, T replaced by another kind of object,\n"
    "                         O a directory that hides all that lower ones have, R renamed (the old path follows)\n"
    "  -a, --all              what is unchanged but in the upper, too (a space in --short)\n"
    "      --links            other names of changed hard links, too: looks through all layers, if there can be any\n"
    "      --exit-code        exit with 1 when there are changes\n" JSON_HELP RESULT_HELP "\n"
    "added       no lower layer has the name\n"
    "modified    a file's content, or where a link points\n"
    "metadata    mode, owner, times, extended attributes (of directories not the times; and an owner that is the\n"
    "            user's own because copies of an ordinary user's can't belong to others is none)\n"
    "deleted     hidden by the upper; of a directory: with all that is below it\n"
    "replaced    by another kind of object\n"
    "opaque      a directory was removed and made again: what lower ones have in it is hidden\n"
    "renamed     as far as the overlay remembers; of a directory this line stands for all that moved with it\n"
    "\n"
    "Exit status: 0; 1 with --exit-code when there are changes; 2 for a wrong option; 3 when something can't be read "
    "or\n"
    "there is no such overlay; 125 when the configuration is wrong.\n";

enum { OPTION_EXIT_CODE = OPTION_OWN, OPTION_LINKS };

struct status_options {
    struct options shared;
    bool is_short, exit_code;
    unsigned flags;
};

/* One run of the command. */
struct showing {
    const struct status_options *options;
    char *const *paths; /* which are asked for; none: all */
    struct json_list list;
    size_t count[CHANGE_RENAMED + 1];
    char *moved; /* the path of a directory that was renamed, while what is below it comes */
};

/* ---- lines ------------------------------------------------------------------------------------------- */

static enum color color_of(enum change_kind kind)
{
    static const enum color colors[] = {COLOR_NONE, COLOR_GOOD,    COLOR_CHANGED, COLOR_CHANGED,
                                        COLOR_BAD,  COLOR_CHANGED, COLOR_CHANGED, COLOR_GOOD};
    return colors[kind];
}

static const char *const difference[] = {"content", "mode", "owner", "time", "xattrs", "unreadable"};
#define DIFFERENCES (sizeof difference / sizeof *difference)

static void print_differences(const struct change *change)
{
    const char *before = " (";
    for (size_t i = 0; i < DIFFERENCES; i++)
        if (change->differs & (1u << i)) {
            printf("%s%s", before, difference[i]);
            before = ", ";
        }
    if (*before == ',')
        putchar(')');
}

static void print_line(const struct showing *s, const struct change *change)
{
    static const char letter[] = " AMmDTOR";
    const char *name = change_name(change->kind);
    fputs(color_begin(color_of(change->kind)), stdout);
    if (s->options->is_short)
        printf("%c ", letter[change->kind]);
    else
        printf("    %s:%*s", name, (int)(11 - strlen(name)), "");
    if (change->kind == CHANGE_RENAMED && !s->options->is_short) {
        print_path(stdout, change->from);
        fputs(" -> ", stdout);
    }
    print_path(stdout, *change->path ? change->path : "/");
    if (change->upper.exists && S_ISDIR(change->upper.st.st_mode) && change->path[1])
        putchar('/');
    if (change->kind == CHANGE_RENAMED && s->options->is_short) {
        fputs(" <- ", stdout);
        print_path(stdout, change->from);
    }
    if (change->kind == CHANGE_METADATA && !s->options->is_short)
        print_differences(change);
    puts(color_end());
}

/* ---- JSON -------------------------------------------------------------------------------------------- */

static const char *type_of(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFDIR:
        return "directory";
    case S_IFREG:
        return "file";
    case S_IFLNK:
        return "link";
    case S_IFIFO:
        return "fifo";
    case S_IFSOCK:
        return "socket";
    case S_IFCHR:
        return "character device";
    default:
        return "block device";
    }
}

static void add_object(struct json_object *item, const char *key, const struct stat *st, const char *layer)
{
    struct json_object *object = json_new();
    char mode[8];
    snprintf(mode, sizeof mode, "%04o", st->st_mode & 07777);
    json_add_text(object, "type", type_of(st->st_mode));
    json_add_text(object, "mode", mode);
    json_add_number(object, "uid", st->st_uid);
    json_add_number(object, "gid", st->st_gid);
    json_add_number(object, "size", st->st_size);
    json_add_number(object, "mtime", st->st_mtim.tv_sec);
    json_add_path(object, "layer", layer);
    json_object_object_add(item, key, object);
}

static struct json_object *item_of(const struct change *change)
{
    struct json_object *item = json_new(), *differs = need(json_object_new_array());
    json_add_text(item, "kind", change_name(change->kind));
    json_add_path(item, "path", change->path);
    if (change->from)
        json_add_path(item, "from", change->from);
    if (change->to)
        json_add_path(item, "to", change->to);
    for (size_t i = 0; i < DIFFERENCES; i++)
        if (change->differs & (1u << i))
            json_append_text(differs, difference[i]);
    json_object_object_add(item, "differs", differs);
    if (change->opaque)
        json_add_bool(item, "opaque", true);
    if (change->hidden)
        json_add_bool(item, "hidden", true);
    if (change->linked)
        json_add_bool(item, "linked", true);
    if (change->upper.exists)
        add_object(item, "after", &change->upper.st, ovl_layer(change->ovl, 0));
    if (change->lower.exists)
        add_object(item, "before", &change->lower.st, ovl_layer(change->ovl, change->lower.layer));
    return item;
}

/* ---- what is shown ------------------------------------------------------------------------------------- */

static bool is_below(const char *path, const char *dir)
{
    size_t n = strlen(dir);
    return strncmp(path, dir, n) == 0 && (n == 1 || path[n] == '/');
}

static bool is_asked(const struct showing *s, const char *path)
{
    bool asked = !*s->paths;
    for (char *const *at = s->paths; *at; at++)
        asked |= strcmp(path, *at) == 0 || is_below(path, *at);
    return asked;
}

/* Whether the change is said by the line of another one: the old name of what was renamed, and what moved with it. */
static bool is_said(struct showing *s, const struct change *change)
{
    if (change->kind == CHANGE_DELETED && change->to)
        return is_asked(s, change->to);
    if (s->moved && !is_below(change->path, s->moved)) {
        free(s->moved);
        s->moved = NULL;
    }
    if (s->moved)
        return change->moved;
    if (change->kind == CHANGE_RENAMED && S_ISDIR(change->upper.st.st_mode))
        s->moved = need(strdup(change->path));
    return false;
}

static int show(const struct change *change, void *arg)
{
    struct showing *s = arg;
    if (s->options->shared.json) {
        json_list_item(&s->list, item_of(change));
    } else if (!is_said(s, change)) {
        print_line(s, change);
    } else {
        return 0;
    }
    s->count[change->kind]++;
    return 0;
}

static void begin(struct showing *s, const struct ovl *o)
{
    if (s->options->shared.json) {
        struct json_object *members = json_new();
        json_add_text(members, "name", ovl_name(o));
        json_add_path(members, "mount", ovl_mount(o));
        json_add_path(members, "upper", ovl_layer(o, 0));
        json_list_begin(&s->list, members, "changes");
    } else if (!s->options->is_short) {
        fputs(color_begin(COLOR_HEAD), stdout);
        print_path(stdout, ovl_mount(o));
        printf("%s, changed in ", color_end());
        print_path(stdout, ovl_layer(o, 0));
        fputs(":\n", stdout);
    }
}

static size_t total(const struct showing *s)
{
    size_t n = 0;
    for (size_t i = CHANGE_ADDED; i <= CHANGE_RENAMED; i++)
        n += s->count[i];
    return n;
}

static void end(struct showing *s)
{
    free(s->moved);
    s->moved = NULL;
    if (s->options->shared.json) {
        json_list_end(&s->list);
        return;
    }
    if (s->options->is_short)
        return;
    const char *before = "  ";
    for (size_t i = CHANGE_ADDED; i <= CHANGE_RENAMED; i++)
        if (s->count[i]) {
            printf("%s%zu %s", before, s->count[i], change_name((enum change_kind)i));
            before = ", ";
        }
    puts(total(s) ? "" : "  nothing is changed");
}

static int walk_paths(struct showing *s, struct space *space, struct ovl *o)
{
    struct changes_visitor visitor = {
        .each = show, .arg = s, .flags = s->options->flags | CHANGES_GO_ON | CHANGES_RENAMES};
    return space_changes(space, o, &visitor, s->paths);
}

static int show_overlay(struct showing *s, struct space *space, struct ovl *o)
{
    begin(s, o);
    int r = walk_paths(s, space, o);
    end(s);
    if (!s->options->shared.json && !(s->options->flags & CHANGES_LINKS) && ovl_has_links(o))
        tell("hard links were changed by one of their names; --links shows what others show that too");
    return r;
}

/* ---- the subcommand ------------------------------------------------------------------------------------- */

static bool is_asked_for(const struct space *space, const struct ovl *o, char *const *paths)
{
    bool asked = !*paths;
    for (; *paths; paths++)
        asked |= space_overlay_of(space, *paths) == o;
    return asked && !ovl_is_read_only(o);
}

static int show_all(const struct status_options *options, struct space *space, char *const *paths)
{
    bool failed = false, differs = false;
    unsigned shown = 0;
    if (options->shared.json)
        fputs("{\"overlays\":[", stdout);
    for (unsigned i = 0; i < ovl_space_count(space->space); i++) {
        struct showing s = {.options = options, .paths = paths};
        struct ovl *o = ovl_space_at(space->space, i);
        if (!is_asked_for(space, o, paths))
            continue;
        if (shown++ && options->shared.json)
            putchar(',');
        failed |= show_overlay(&s, space, o) != 0;
        differs |= total(&s) > 0;
    }
    if (options->shared.json)
        puts("]}");
    if (!shown) {
        complain("the overlay has no upper directory: it is read-only, and nothing can be changed");
        failed = true;
    }
    int status = finish_output(failed ? STATUS_FAILED : STATUS_DONE);
    return status == STATUS_DONE && differs && options->exit_code ? STATUS_DIFFERS : status;
}

static int take_options(int argc, char **argv, struct status_options *options)
{
    static const struct option table[] = {
        SPACE_LONG,
        RESULT_LONG,
        {"short", no_argument, NULL, 's'},
        {"all", no_argument, NULL, 'a'},
        {"links", no_argument, NULL, OPTION_LINKS},
        {"exit-code", no_argument, NULL, OPTION_EXIT_CODE},
        HELP_LONG,
    };
    for (int option; (option = getopt_long(argc, argv, "sa" SPACE_SHORT, table, NULL)) != -1;) {
        int taken = options_take(&options->shared, option, help);
        if (ENDS(taken))
            return taken;
        options->is_short |= option == 's';
        options->exit_code |= option == OPTION_EXIT_CODE;
        options->flags |= option == 'a' ? CHANGES_ALL : option == OPTION_LINKS ? CHANGES_LINKS : 0;
    }
    return 0;
}

int cmd_status(int argc, char **argv)
{
    static struct status_options options = {.shared = {.command = "status"}};
    struct space space;
    int taken = take_options(argc, argv, &options);
    if (ENDS(taken))
        return END_STATUS(taken);
    int status = space_open(&space, &options.shared, NEEDS_UPPER);
    char **paths = status == STATUS_DONE ? space_paths(&space, argv + optind, &status) : NULL;
    if (status == STATUS_DONE)
        status = show_all(&options, &space, paths);
    space_free_paths(paths);
    space_close(&space);
    return status;
}
