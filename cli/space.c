/* SPDX-License-Identifier: MIT
 *
 * The overlays that a command is about.  What must hold: opening them changes nothing on disk.
 */
#include "space.h"

#include "changes.h"
#include "output.h"
#include "state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define INLINE_PREFIX "OVL_CONF: "

/* ---- which one ------------------------------------------------------------------------------------- */

int space_check_options(const struct options *options)
{
    const char *command = options->command;
    if (options->conf && (options_describe(options) || options->name))
        return usage_error(command, "--conf says all of it; leave -m, -l, -u, -x, -n and --temp out");
    if (options_describe(options) && !options->mount)
        return usage_error(command, "-m is missing: the path under which the overlay is seen");
    if (options->name && (options->upper || options->temp))
        return usage_error(command, "-n names an upper that ovl keeps; leave -u and --temp out");
    if (options->upper && options->temp)
        return usage_error(command, "-u keeps the changes and --temp drops them; leave one out");
    if (options->name && !state_is_name(options->name))
        return usage_error(command, "-n %s: a name has letters, digits, '.', '_', '+' and '-'", options->name);
    return STATUS_DONE;
}

static int find_named(struct space *s, const char *name)
{
    char *folder = state_folder(s->root, name);
    int status = state_is_ours(folder) ? STATUS_DONE : STATUS_FAILED;
    if (status == STATUS_DONE) {
        s->name = need(strdup(name));
        s->conf = state_conf(s->root, name);
    } else {
        complain("nothing is kept as '%s' in %s; `ovl run -m MOUNT -- COMMAND` keeps what a command changes", name,
                 s->root);
    }
    free(folder);
    return status;
}

/* A name can be that of several mounts, which differ in what it leaves out; layers need not be named again. */
static int compare_kept(const struct options *options, const char *folder, const char *name)
{
    bool whole = options->lower.count || options->exclude.count;
    char *conf = options_conf(options, FORM_FILE, "upper");
    int r = conf ? (whole ? state_compare : state_compare_mount)(folder, name, conf) : -1;
    free(conf);
    return r;
}

/* Layers and a mount, and no upper named: it is the one that `ovl run` has kept for them. */
static int find_kept(struct space *s, const struct options *options, enum need needs)
{
    char *mount = mount_path(options);
    char *name = options->name ? need(strdup(options->name)) : state_name_of(mount);
    char *folder = state_folder(s->root, name);
    int status = STATUS_DONE;
    if (!state_is_ours(folder) && needs == NEEDS_LAYERS) {
        s->conf = options_conf(options, FORM_INLINE, NULL);
    } else {
        status = find_named(s, name);
        if (status == STATUS_DONE && compare_kept(options, folder, name) < 0)
            status = STATUS_FAILED;
    }
    free(mount);
    free(name);
    free(folder);
    return status;
}

static int find_last(struct space *s)
{
    char *last = state_last(s->root);
    if (!last) {
        complain("there is no overlay to speak of; name one with -m, -n or --conf, or begin one with "
                 "`ovl run -m MOUNT -- COMMAND`");
        return STATUS_FAILED;
    }
    int status = find_named(s, last);
    free(last);
    return status;
}

/* A file's path as OVL_CONF has it: with a '=' before its first '/' it would be a configuration. */
static char *file_as_conf(const char *path)
{
    size_t n = strcspn(path, "/=");
    return path[n] == '/' ? need(strdup(path)) : text("./%s", path);
}

int space_find(struct space *s, const struct options *options, enum need needs)
{
    const char *left = getenv(LEFT_CONF), *environment = left && *left ? left : getenv("OVL_CONF");
    *s = (struct space){.conf = NULL};
    int status = space_check_options(options);
    if (status != STATUS_DONE)
        return status;
    if (options->conf)
        s->conf = file_as_conf(options->conf);
    else if (options->upper)
        s->conf = options_conf(options, FORM_INLINE, options->upper);
    else if (!options_describe(options) && !options->name && environment && *environment)
        s->conf = need(strdup(environment));
    if (s->conf)
        return STATUS_DONE;
    s->root = state_root();
    if (!s->root)
        return STATUS_FAILED;
    return options->mount ? find_kept(s, options, needs) : options->name ? find_named(s, options->name) : find_last(s);
}

/* ---- opening --------------------------------------------------------------------------------------- */

static int look(const struct space *s, struct ovl_space **space)
{
    struct ovl_message why;
    ovl_config_environ(environ);
    if (ovl_space_look(s->conf, space, &why) == 0)
        return STATUS_DONE;
    bool own = strncmp(why.text, INLINE_PREFIX, strlen(INLINE_PREFIX)) == 0 && !getenv("OVL_CONF");
    complain("%s", own ? why.text + strlen(INLINE_PREFIX) : why.text);
    return STATUS_REFUSED;
}

int space_check(const struct space *s)
{
    struct ovl_space *space;
    int status = look(s, &space);
    if (status == STATUS_DONE)
        ovl_space_close(space);
    return status;
}

int space_begin(struct space *s)
{
    int status = look(s, &s->space);
    if (status == STATUS_DONE && ovl_ctx_begin(&s->ctx, s->space, &ovl_ops_kernel) < 0)
        no_memory();
    return status;
}

int space_open(struct space *s, const struct options *options, enum need needs)
{
    int status = space_find(s, options, needs);
    return status == STATUS_DONE ? space_begin(s) : status;
}

void space_close(struct space *s)
{
    if (s->space) {
        ovl_ctx_end(&s->ctx);
        ovl_space_close(s->space);
    }
    free(s->conf);
    free(s->root);
    free(s->name);
    *s = (struct space){.conf = NULL};
}

/* ---- paths ----------------------------------------------------------------------------------------- */

struct ovl *space_overlay_of(const struct space *s, const char *path)
{
    for (unsigned i = 0; i < ovl_space_count(s->space); i++) { /* longest mount first */
        struct ovl *o = ovl_space_at(s->space, i);
        size_t n = strlen(ovl_mount(o));
        if (n == 1 || (strncmp(path, ovl_mount(o), n) == 0 && (!path[n] || path[n] == '/')))
            return o;
    }
    return NULL;
}

int space_changes(struct space *s, struct ovl *o, const struct changes_visitor *visitor, char *const *paths)
{
    if (!*paths)
        return changes_walk(&s->ctx, o, visitor);
    struct changes_visitor below = *visitor;
    int r = 0;
    for (; *paths; paths++)
        if (space_overlay_of(s, *paths) == o) {
            below.below = *paths;
            r |= changes_walk(&s->ctx, o, &below);
        }
    return r;
}

void tidy_path(char *path)
{
    char *to = path;
    for (const char *from = path; *from;) {
        size_t n = strcspn(from + 1, "/");
        bool up = n == 2 && from[1] == '.' && from[2] == '.', here = n == 0 || (n == 1 && from[1] == '.');
        if (up)
            while (to > path && *--to != '/')
                ;
        else if (!here)
            to = (char *)memmove(to, from, n + 1) + n + 1;
        from += n + 1;
    }
    if (to == path)
        *to++ = '/';
    *to = '\0';
}

/* What was deleted with its directory can't be looked up. */
static char *merged_path(struct space *s, const char *argument)
{
    char *path = absolute_path(argument);
    size_t mark = s->ctx.used;
    struct ovl_node *node = need(ovl_node_new(&s->ctx));
    if (ovl_resolve(&s->ctx, "/", path, OVL_NAME | OVL_LONG, node) == 0) {
        free(path);
        path = need(strdup(node->path));
    } else {
        tidy_path(path);
    }
    ovl_ctx_close(&s->ctx, 0);
    ovl_ctx_reset(&s->ctx, mark);
    return path;
}

char **space_paths(struct space *s, char *const *arguments, int *status)
{
    size_t count = 0;
    while (arguments[count])
        count++;
    char **paths = need(calloc(count + 1, sizeof *paths));
    for (size_t i = 0; i < count; i++) {
        paths[i] = merged_path(s, arguments[i]);
        if (space_overlay_of(s, paths[i]))
            continue;
        complain("%s lies in no overlay; `ovl conf` shows their mounts", arguments[i]);
        *status = STATUS_FAILED;
        space_free_paths(paths);
        return NULL;
    }
    return paths;
}

void space_free_paths(char **paths)
{
    for (char **path = paths; path && *path; path++)
        free(*path);
    free(paths);
}

/* ---- inside ---------------------------------------------------------------------------------------- */

bool is_inside(void)
{
    const char *value;
    for (char *const *entry = environ; *entry; entry++)
        if (ovl_record_part(*entry, &value) == 0)
            return true;
    return false;
}

void leave_overlay(char **argv)
{
    char *cwd = getcwd(NULL, 0);
    setenv(LEFT_CONF, getenv("OVL_CONF") ? getenv("OVL_CONF") : "", 1);
    setenv(LEFT_CWD, cwd ? cwd : "/", 1);
    setenv("OVL_CONF", "", 1);
    execv("/proc/self/exe", argv);
    complain("can't be started again outside of the overlay: %s", strerror(errno));
    free(cwd);
}

int refuse_inside(const char *command)
{
    if (!is_inside())
        return STATUS_DONE;
    complain("`ovl %s` can't be used inside an overlay; leave it first, or call `env OVL_CONF= ovl %s`", command,
             command);
    return STATUS_FAILED;
}

int refuse_user(const struct ovl *o, int user)
{
    if (user == 0)
        return STATUS_DONE;
    if (user < 0)
        complain("%s: %s; it can't be told whether a run uses it", ovl_work(o), strerror(-user));
    else
        complain("%s is in use by process %d; end that first", ovl_layer(o, 0), user);
    return STATUS_FAILED;
}
