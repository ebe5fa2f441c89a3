/* SPDX-License-Identifier: MIT
 *
 * ovl convert: the marks of a layer get another form.
 *
 * What must hold: whatever is killed, no name appears that was hidden: the new mark is there before the old one goes;
 * called again, it finishes.
 */
#include "choose.h"
#include "commands.h"
#include "json.h"
#include "layer_walk.h"
#include "output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char help[] =
    "usage: ovl convert --whiteout oci|kernel [OPTION]... [DIR]...\n"
    "\n"
    "Gives whiteouts and opaque marks another form: in the directories, which are layers that nothing uses, or else "
    "in\n"
    "the upper directory of the overlay.  libovl reads both forms; new marks are written as the configuration says.\n"
    "\n"
    "  -w, --whiteout oci     files .wh.NAME, and .wh..wh..opq in opaque directories: what images have\n"
    "      --whiteout kernel  0/0 devices and attributes: what Linux overlayfs can mount\n"
    "\n" SPACE_HELP "\n" JSON_HELP "      --help             this text\n"
    "\n"
    "A name that is too long for .wh. before it has an attribute in the form of OCI.  Names that begin with .wh. and\n"
    "are no whiteouts stay as they are (`ovl check` shows them).  Killed, nothing that was hidden appears, and the "
    "next\n"
    "call finishes it.  An upper that a run uses is refused.\n"
    "\n"
    "Exit status: 0; 2 for a wrong option; 3 when it was refused, or something could not be read or written; 125 when\n"
    "the configuration is wrong.\n";

struct converting {
    struct options options;
    enum ovl_mark form;
    bool has_form;
    uint64_t whiteouts, opaque;
    bool has_attributes; /* the directory that the walk is in: whiteouts of that form stay there */
};

static int refuse(const struct layer_dir *dir, const char *name, int error)
{
    complain("%s%s%s: %s", dir->relative, *dir->relative ? "/" : "", name, strerror(error));
    return -1;
}

/* ---- whiteouts --------------------------------------------------------------------------------------------- */

static int drop(const struct layer_dir *dir, const char *name)
{
    return unlinkat(dir->fd, name, 0) < 0 && errno != ENOENT ? refuse(dir, name, errno) : 0;
}

static int make_device(const struct layer_dir *dir, const char *name, const char *hidden)
{
    int r = ovl_mark_hide(dir->ctx, dir->real, hidden, OVL_MARK_DEVICE);
    return r < 0 ? refuse(dir, name, -r) : 0;
}

/* What the name has that the whiteout stands beside: nothing is hidden by it but what a directory would merge with. */
static int convert_beside(const struct layer_dir *dir, const char *hidden, const struct stat *st)
{
    if (!S_ISDIR(st->st_mode))
        return 0;
    char *real = path_in(dir->fd, hidden);
    int r = ovl_mark_set_opaque(dir->ctx, real, OVL_MARK_DEVICE);
    free(real);
    return r < 0 ? refuse(dir, hidden, -r) : 0;
}

static int convert_file(const struct layer_dir *dir, const char *name)
{
    struct stat st;
    const char *hidden = name + OVL_WH_PREFIX_LENGTH;
    int mark = ovl_mark_of(dir->ctx, dir->real, hidden), r = 0;
    if (mark == OVL_MARK_NONE && fstatat(dir->fd, hidden, &st, AT_SYMLINK_NOFOLLOW) == 0)
        r = convert_beside(dir, hidden, &st);
    else if (mark != OVL_MARK_DEVICE)
        r = make_device(dir, name, hidden);
    return r < 0 ? r : drop(dir, name);
}

static int convert_to_kernel(const struct layer_dir *dir, const char *name, enum ovl_mark mark)
{
    if (mark == OVL_MARK_FILE)
        return convert_file(dir, name);
    return make_device(dir, name, name);
}

static int convert_to_oci(const struct layer_dir *dir, const char *name)
{
    int r = ovl_mark_hide(dir->ctx, dir->real, name, OVL_MARK_FILE);
    if (r < 0 && r != -EEXIST)
        return refuse(dir, name, -r);
    /* One that took the name is of the attribute form now. */
    return ovl_mark_of(dir->ctx, dir->real, name) == OVL_MARK_DEVICE ? drop(dir, name) : 0;
}

static bool has_room_for_prefix(const char *name)
{
    return strlen(name) + OVL_WH_PREFIX_LENGTH <= OVL_NAME_MAX;
}

static int convert_mark(const struct layer_dir *dir, const char *name, enum ovl_mark mark, void *arg)
{
    struct converting *c = arg;
    const char *hidden = mark == OVL_MARK_FILE ? name + OVL_WH_PREFIX_LENGTH : name;
    bool to_attribute = c->form == OVL_MARK_FILE && !has_room_for_prefix(hidden);
    if (mark == OVL_MARK_OPAQUE || mark == OVL_MARK_STRAY)
        return 0;
    c->has_attributes |= to_attribute;
    if (mark == c->form || (mark == OVL_MARK_ATTRIBUTE && to_attribute))
        return 0;
    c->whiteouts++;
    if (c->form == OVL_MARK_DEVICE)
        return convert_to_kernel(dir, name, mark);
    if (convert_to_oci(dir, name) < 0)
        return -1;
    return mark == OVL_MARK_ATTRIBUTE ? drop(dir, name) : 0;
}

/* ---- opaque directories -------------------------------------------------------------------------------------- */

static int refuse_dir(const struct layer_dir *dir, int error)
{
    return refuse(dir, "", -error);
}

/* Before the whiteouts in it: one of the attribute form would take the place of the attribute that makes it opaque. */
static int enter(const struct layer_dir *dir, void *arg)
{
    struct converting *c = arg;
    int has = ovl_mark_opacity(dir->ctx, dir->real);
    c->has_attributes = false;
    if (has < 0)
        return refuse_dir(dir, has);
    if (c->form != OVL_MARK_FILE || !(has & (int)OVL_OPAQUE_ATTRIBUTE))
        return 0;
    c->opaque++;
    int r = ovl_mark_set_opaque(dir->ctx, dir->real, OVL_MARK_FILE);
    if (r == 0)
        r = ovl_mark_drop_opaque(dir->ctx, dir->real, OVL_OPAQUE_ATTRIBUTE);
    return r < 0 ? refuse_dir(dir, r) : 0;
}

static int leave(const struct layer_dir *dir, void *arg)
{
    struct converting *c = arg;
    int has = ovl_mark_opacity(dir->ctx, dir->real), r = has;
    if (has >= 0 && c->form == OVL_MARK_DEVICE && (has & (int)OVL_OPAQUE_FILE)) {
        c->opaque++;
        r = ovl_mark_set_opaque(dir->ctx, dir->real, OVL_MARK_DEVICE);
        if (r == 0)
            r = ovl_mark_drop_opaque(dir->ctx, dir->real, OVL_OPAQUE_FILE);
    } else if (has >= 0 && !c->has_attributes && (has & (int)OVL_OPAQUE_FOR_WHITEOUTS)) {
        r = ovl_mark_drop_opaque(dir->ctx, dir->real, OVL_OPAQUE_FOR_WHITEOUTS);
    }
    return r < 0 ? refuse_dir(dir, r) : 0;
}

/* ---- layers -------------------------------------------------------------------------------------------------- */

static int convert(struct converting *c, struct ovl_ctx *ctx, const char *layer)
{
    const struct layer_visitor visitor = {.enter = enter, .mark = convert_mark, .leave = leave, .arg = c};
    return layer_walk(ctx, layer, &visitor) < 0 ? STATUS_FAILED : STATUS_DONE;
}

static int convert_directories(struct converting *c, char *const *dirs)
{
    struct ovl_ctx ctx;
    int status = STATUS_DONE;
    if (ovl_ctx_begin(&ctx, NULL, &ovl_ops_kernel) < 0)
        need(NULL);
    for (; status == STATUS_DONE && *dirs; dirs++)
        status = convert(c, &ctx, *dirs);
    ovl_ctx_end(&ctx);
    return status;
}

static int convert_upper(struct converting *c)
{
    struct space space;
    char *none[] = {NULL};
    int status = space_open(&space, &c->options, NEEDS_UPPER);
    const struct ovl *o = status == STATUS_DONE ? choose_overlay(&space, "convert", none, &status) : NULL;
    if (status == STATUS_DONE)
        status = refuse_user(o, ovl_in_use(o));
    if (status == STATUS_DONE && access(ovl_layer(o, 0), F_OK) == 0)
        status = convert(c, &space.ctx, ovl_layer(o, 0));
    space_close(&space);
    return status;
}

/* ---- the subcommand ------------------------------------------------------------------------------------------ */

static int take_form(struct converting *c)
{
    c->has_form = true;
    c->form = strcmp(optarg, "kernel") == 0 ? OVL_MARK_DEVICE : OVL_MARK_FILE;
    if (c->form == OVL_MARK_DEVICE || strcmp(optarg, "oci") == 0)
        return 0;
    return usage_error("convert", "--whiteout %s: it is oci or kernel", optarg) + 1;
}

static int take_options(int argc, char **argv, struct converting *c)
{
    static const struct option table[] = {
        SPACE_LONG,
        {"whiteout", required_argument, NULL, 'w'},
        {"json", no_argument, NULL, OPTION_JSON},
        HELP_LONG,
    };
    for (int option; (option = getopt_long(argc, argv, "w:" SPACE_SHORT, table, NULL)) != -1;) {
        int taken = option == 'w' ? take_form(c) : options_take(&c->options, option, help);
        if (ENDS(taken))
            return taken;
    }
    return 0;
}

static int check_options(const struct converting *c, char *const *dirs)
{
    const struct options *o = &c->options;
    if (!c->has_form)
        return usage_error("convert", "--whiteout is missing: oci or kernel");
    if (*dirs && (options_describe(o) || o->conf || o->name))
        return usage_error("convert",
                           "directories are converted by themselves; leave -m, -l, -u, -x, -n and --conf out");
    return refuse_inside("convert");
}

static void print_result(const struct converting *c)
{
    if (!c->options.json) {
        printf("%llu whiteouts and %llu opaque directories have another form now\n", (unsigned long long)c->whiteouts,
               (unsigned long long)c->opaque);
        return;
    }
    struct json_object *result = json_new();
    json_add_number(result, "whiteouts", (int64_t)c->whiteouts);
    json_add_number(result, "opaque", (int64_t)c->opaque);
    json_print(result);
}

int cmd_convert(int argc, char **argv)
{
    struct converting c = {.options = {.command = "convert"}};
    int taken = take_options(argc, argv, &c);
    if (ENDS(taken))
        return END_STATUS(taken);
    int status = check_options(&c, argv + optind);
    if (status == STATUS_DONE)
        status = argv[optind] ? convert_directories(&c, argv + optind) : convert_upper(&c);
    if (status == STATUS_DONE)
        print_result(&c);
    return finish_output(status);
}
