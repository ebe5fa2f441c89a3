/* SPDX-License-Identifier: MIT
 *
 * ovl explain: layer by layer where a name is, what hides it, and what a change of it would cost.
 *
 * The path is walked name by name in the merged view.  A layer that takes part in a directory and not in the next one
 * on the way is out: it has no such directory, or one of the layers above hides it.
 */
#include "commands.h"
#include "json.h"
#include "output.h"
#include "space.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char help[] =
    "usage: ovl explain [OPTION]... PATH...\n"
    "\n"
    "Shows for each path, layer by layer, the highest first, what is there and what hides it; which is seen; and\n"
    "what would be copied up if it were changed.  Nothing is changed.\n"
    "\n" SPACE_HELP "\n" JSON_HELP RESULT_HELP "\n"
    "Exit status: 0; 1 when one of the paths is not there; 2 for a wrong option; 3 when something can't be read or "
    "there\n"
    "is no such overlay; 125 when the configuration is wrong.\n";

enum fate {
    FATE_NOTHING, /* it has no such name */
    FATE_NO_WAY,  /* nor a directory on the way to it */
    FATE_SHOWN,
    FATE_MERGED,   /* a directory, below one that is shown */
    FATE_WHITEOUT, /* it hides the name in the layers below */
    FATE_HIDDEN,   /* by another layer, at the name or on the way to it; whatever it has */
};

/* What is known of one layer. */
struct layer {
    enum fate fate;
    bool opaque; /* its directory hides those of lower layers */
    mode_t mode; /* of what it has */
    off_t size;
    char *real;  /* where that is */
    char *at;    /* hidden: the merged path at which that happens; no way: where it ends */
    unsigned by; /* hidden: the layer that does it */
    const char *how;
};

struct explanation {
    const struct ovl *o;
    struct layer *layer;
    bool exists;
    unsigned top;
    mode_t mode;
    off_t size;
    char *copy;       /* what is seen instead: another of its names was changed */
    unsigned parents; /* directories that a change would copy up first */
    bool allowed;     /* to change it */
};

/* ---- finding out ---------------------------------------------------------------------------------------- */

/* How what a layer says of a name hides what lower ones have; NULL: it does not. */
static const char *hides(const struct ovl_said *said)
{
    if (said->says == OVL_SAYS_NOTHING)
        return NULL;
    if (said->says == OVL_SAYS_WHITEOUT)
        return "a whiteout";
    if (S_ISDIR(said->st.st_mode))
        return said->opaque ? "an opaque directory" : NULL;
    return S_ISREG(said->st.st_mode) ? "a file" : S_ISLNK(said->st.st_mode) ? "a symbolic link" : "a special file";
}

/* The first layer, of those before `end`, that hides what lower ones have under the node's name; false: none does. */
static bool find_hiding(struct ovl_ctx *ctx, const struct ovl_node *node, unsigned end, unsigned *by, const char **how)
{
    struct ovl_said *said = need(ovl_ctx_alloc(ctx, sizeof *said));
    bool is_mount = node->length == strlen(ovl_mount(node->ovl));
    for (*by = 0; *by < end; ++*by) {
        bool asked = is_mount || ovl_stack_has(&node->in, *by);
        *how = asked && ovl_layer_says(ctx, node, *by, said) == 0 ? hides(said) : NULL;
        if (*how)
            return true;
    }
    return false;
}

/* A layer takes no part below this directory of the way any more. */
static void drop_layer(struct ovl_ctx *ctx, struct explanation *e, const struct ovl_node *node, unsigned i)
{
    struct layer *layer = &e->layer[i];
    size_t mark = ctx->used;
    layer->at = need(strdup(node->path));
    layer->fate = find_hiding(ctx, node, i, &layer->by, &layer->how) ? FATE_HIDDEN : FATE_NO_WAY;
    ovl_ctx_reset(ctx, mark);
}

/* Go over a directory on the way, at which node is. */
static void pass_directory(struct ovl_ctx *ctx, struct explanation *e, const struct ovl_node *node)
{
    bool is_dir = node->exists && S_ISDIR(node->st.st_mode);
    for (unsigned i = 0; i < ovl_layers(e->o); i++)
        if (!e->layer[i].at && !(is_dir && ovl_stack_has(&node->dirs, i)))
            drop_layer(ctx, e, node, i);
    e->parents += is_dir && node->top > 0;
}

/* What becomes of what a layer says of the name itself. */
static void decide(struct ovl_ctx *ctx, const struct explanation *e, const struct ovl_node *node, unsigned i,
                   const struct ovl_said *said)
{
    struct layer *layer = &e->layer[i];
    const bool is_object = said->says == OVL_SAYS_OBJECT;
    if (find_hiding(ctx, node, i, &layer->by, &layer->how)) {
        layer->fate = FATE_HIDDEN;
    } else if (!is_object) {
        layer->fate = FATE_WHITEOUT;
    } else if (!node->exists || i == node->top) {
        layer->fate = FATE_SHOWN;
    } else if (S_ISDIR(said->st.st_mode)) {
        layer->fate = FATE_MERGED;
    } else {
        layer->fate = FATE_HIDDEN;
        layer->by = node->top;
        layer->how = "a directory";
    }
    if (layer->fate == FATE_HIDDEN)
        layer->at = need(strdup(node->path));
}

/* The path of what a layer has, for people: the caller's to free.  A long one goes by way of a descriptor of ours. */
static char *real_path(const struct ovl *o, const struct ovl_node *node, unsigned layer, const struct ovl_said *said)
{
    static const char descriptor[] = "/proc/self/fd/";
    if (strncmp(said->real, descriptor, strlen(descriptor)) != 0)
        return need(strdup(said->real));
    const char *mount = ovl_mount(o);
    return text("%s%s", ovl_layer(o, layer), node->path + (mount[1] ? strlen(mount) : 0));
}

static int ask_layers(struct ovl_ctx *ctx, const struct explanation *e, const struct ovl_node *node)
{
    size_t mark = ctx->used;
    struct ovl_said *said = need(ovl_ctx_alloc(ctx, sizeof *said));
    int r = 0;
    for (unsigned i = 0; i < ovl_layers(e->o) && r == 0; i++) {
        struct layer *layer = &e->layer[i];
        size_t inner = ctx->used;
        r = layer->at ? 0 : ovl_layer_says(ctx, node, i, said);
        if (layer->at || r < 0 || said->says == OVL_SAYS_NOTHING)
            continue;
        if (said->says == OVL_SAYS_OBJECT) {
            layer->opaque = said->opaque;
            layer->mode = said->st.st_mode;
            layer->size = said->st.st_size;
            layer->real = real_path(e->o, node, i, said);
        }
        decide(ctx, e, node, i, said);
        ovl_ctx_reset(ctx, inner);
    }
    ovl_ctx_reset(ctx, mark);
    return r;
}

static void conclude(struct ovl_ctx *ctx, struct explanation *e, const struct ovl_node *node)
{
    e->exists = node->exists;
    if (!e->exists)
        return;
    e->top = node->linked ? 0 : node->top;
    if (node->linked)
        e->copy = need(strdup(node->real));
    e->mode = node->st.st_mode;
    e->size = node->st.st_size;
    e->allowed = S_ISLNK(e->mode) || ovl_access(ctx, node, W_OK, true) == 0;
}

/* Walk to the path; 0, or an error at *node. */
static int walk(struct space *s, struct explanation *e, const char *path, struct ovl_node *node)
{
    const struct ovl_view view = {(struct ovl *)(uintptr_t)e->o, 0, ovl_layers(e->o)};
    const char *mount = ovl_mount(e->o);
    char *rest = need(strdup(path + (mount[1] ? strlen(mount) : 0))), *save = NULL;
    int r = ovl_view_mount(&s->ctx, &view, node);
    for (char *name = strtok_r(rest, "/", &save); r == 0 && name; name = strtok_r(NULL, "/", &save)) {
        struct ovl_stack dirs = node->dirs;
        bool is_dir = node->exists && S_ISDIR(node->st.st_mode);
        pass_directory(&s->ctx, e, node);
        if (!is_dir)
            memset(&dirs, 0, sizeof dirs);
        r = ovl_view_name(&s->ctx, &view, &dirs, name, node);
        if (r == 0 && !node->ovl) /* an overlay's mount, or what passes through, below: space_paths() has looked */
            r = -EXDEV;
    }
    free(rest);
    if (r == 0)
        r = ask_layers(&s->ctx, e, node);
    if (r == 0)
        conclude(&s->ctx, e, node);
    return r;
}

/* ---- words -------------------------------------------------------------------------------------------------- */

static void print_object(const struct layer *layer)
{
    printf("%s%s", layer->opaque ? "opaque " : "", kind_name(layer->mode));
    if (S_ISREG(layer->mode))
        printf(", %lld bytes", (long long)layer->size);
}

static void print_fate(const struct layer *layer)
{
    switch (layer->fate) {
    case FATE_NOTHING:
        fputs("nothing", stdout);
        break;
    case FATE_NO_WAY:
        fputs("nothing: no directory ", stdout);
        print_path(stdout, layer->at);
        break;
    case FATE_SHOWN:
        print_object(layer);
        fputs(": this is seen", stdout);
        break;
    case FATE_MERGED:
        print_object(layer);
        fputs(": merged with it", stdout);
        break;
    case FATE_WHITEOUT:
        fputs("a whiteout: hides the name in the layers below", stdout);
        break;
    case FATE_HIDDEN:
        if (layer->mode) {
            print_object(layer);
            fputs(": ", stdout);
        }
        printf("hidden by %s in layer %u", layer->how, layer->by);
        if (!layer->mode) {
            fputs(", at ", stdout);
            print_path(stdout, layer->at);
        }
        break;
    }
}

static enum color color_of(enum fate fate)
{
    return fate == FATE_SHOWN || fate == FATE_MERGED      ? COLOR_GOOD
           : fate == FATE_WHITEOUT || fate == FATE_HIDDEN ? COLOR_BAD
                                                          : COLOR_NONE;
}

static void print_change(const struct explanation *e)
{
    fputs("  to change it: ", stdout);
    if (ovl_is_read_only(e->o)) {
        fputs("can't be, the overlay is read-only", stdout);
    } else if (e->top == 0) {
        fputs("it is in the upper already", stdout);
    } else {
        if (S_ISREG(e->mode))
            printf("%lld bytes are copied up", (long long)e->size);
        else
            printf("the %s is copied up%s", kind_name(e->mode),
                   S_ISDIR(e->mode) ? ", by itself; if it is renamed, with all that is below it" : "");
        if (e->parents)
            printf(", and %u director%s above it", e->parents, e->parents == 1 ? "y" : "ies");
    }
    puts(e->allowed || ovl_is_read_only(e->o) ? "" : "; but you may not write to it");
}

static void print_text(const struct explanation *e, const char *path)
{
    fputs(color_begin(COLOR_HEAD), stdout);
    print_path(stdout, path);
    printf("%s%s\n", color_end(), e->exists ? "" : ": not there");
    for (unsigned i = 0; i < ovl_layers(e->o); i++) {
        printf("  %u %s ", i, i == 0 && !ovl_is_read_only(e->o) ? "upper" : "lower");
        print_path(stdout, ovl_layer(e->o, i));
        printf(": %s", color_begin(color_of(e->layer[i].fate)));
        print_fate(&e->layer[i]);
        puts(color_end());
    }
    if (e->copy) {
        fputs("  another of its names was changed; what is seen is their common copy, ", stdout);
        print_path(stdout, e->copy);
        putchar('\n');
    }
    if (e->exists)
        print_change(e);
}

/* ---- JSON ------------------------------------------------------------------------------------------------------ */

static struct json_object *object_of_layer(const struct explanation *e, unsigned i)
{
    static const char *const names[] = {"nothing", "nothing", "shown", "merged", "whiteout", "hidden"};
    const struct layer *layer = &e->layer[i];
    struct json_object *object = json_new();
    json_add_number(object, "layer", i);
    json_add_bool(object, "upper", i == 0 && !ovl_is_read_only(e->o));
    json_add_path(object, "directory", ovl_layer(e->o, i));
    json_add_text(object, "is", names[layer->fate]);
    if (layer->mode) {
        json_add_text(object, "type", kind_name(layer->mode));
        json_add_number(object, "size", layer->size);
        json_add_path(object, "path", layer->real);
    }
    if (layer->opaque)
        json_add_bool(object, "opaque", true);
    if (layer->at)
        json_add_path(object, "at", layer->at);
    if (layer->fate == FATE_HIDDEN) {
        json_add_number(object, "by", layer->by);
        json_add_text(object, "how", layer->how);
    }
    return object;
}

static struct json_object *object_of(const struct explanation *e, const char *path)
{
    struct json_object *object = json_new(), *list = need(json_object_new_array());
    json_add_path(object, "path", path);
    json_add_path(object, "mount", ovl_mount(e->o));
    json_add_bool(object, "exists", e->exists);
    if (e->exists) {
        if (e->copy)
            json_add_path(object, "copy", e->copy);
        bool copies = e->top > 0 && !ovl_is_read_only(e->o);
        json_add_number(object, "shown", e->top);
        json_add_bool(object, "writable", e->allowed && !ovl_is_read_only(e->o));
        json_add_bool(object, "copies_up", copies);
        json_add_number(object, "copy_bytes", copies && S_ISREG(e->mode) ? e->size : 0);
        json_add_number(object, "copy_parents", copies ? e->parents : 0);
    }
    for (unsigned i = 0; i < ovl_layers(e->o); i++)
        if (json_object_array_add(list, object_of_layer(e, i)) < 0)
            no_memory();
    json_object_object_add(object, "layers", list);
    return object;
}

/* ---- the subcommand ------------------------------------------------------------------------------------------ */

struct explaining {
    bool json;
    struct json_list list;
    bool missing, failed;
};

static void show(struct explaining *x, const struct explanation *e, const char *path)
{
    x->missing |= !e->exists;
    if (x->json)
        json_list_item(&x->list, object_of(e, path));
    else
        print_text(e, path);
}

static void show_outside(struct explaining *x, const char *path)
{
    if (x->json) {
        struct json_object *object = json_new();
        json_add_path(object, "path", path);
        json_add_bool(object, "outside", true);
        json_list_item(&x->list, object);
    } else {
        fputs(color_begin(COLOR_HEAD), stdout);
        print_path(stdout, path);
        printf("%s: in no overlay: the real file system's\n", color_end());
    }
}

static void explain(struct explaining *x, struct space *s, const char *path)
{
    struct explanation e = {.o = space_overlay_of(s, path)};
    size_t mark = s->ctx.used;
    struct ovl_node *node = need(ovl_node_new(&s->ctx));
    e.layer = need(calloc(ovl_layers(e.o), sizeof *e.layer));
    int r = walk(s, &e, path, node);
    if (r == -EXDEV) {
        show_outside(x, path);
    } else if (r < 0) {
        complain("%s: %s", path, strerror(-r));
        x->failed = true;
    } else {
        show(x, &e, path);
    }
    for (unsigned i = 0; i < ovl_layers(e.o); i++) {
        free(e.layer[i].real);
        free(e.layer[i].at);
    }
    free(e.layer);
    free(e.copy);
    ovl_ctx_close(&s->ctx, 0);
    ovl_ctx_reset(&s->ctx, mark);
}

static int explain_all(struct explaining *x, struct space *s, char *const *paths)
{
    if (x->json)
        json_list_begin(&x->list, json_new(), "paths");
    for (; *paths; paths++)
        explain(x, s, *paths);
    if (x->json) {
        json_list_end(&x->list);
        putchar('\n');
    }
    return finish_output(x->failed ? STATUS_FAILED : x->missing ? STATUS_DIFFERS : STATUS_DONE);
}

int cmd_explain(int argc, char **argv)
{
    static const struct option table[] = {SPACE_LONG, RESULT_LONG, HELP_LONG};
    static struct options options = {.command = "explain"};
    struct space space;
    for (int option; (option = getopt_long(argc, argv, SPACE_SHORT, table, NULL)) != -1;) {
        int taken = options_take(&options, option, help);
        if (ENDS(taken))
            return END_STATUS(taken);
    }
    if (optind == argc)
        return usage_error("explain", "a path is missing");
    struct explaining x = {.json = options.json};
    int status = space_open(&space, &options, NEEDS_LAYERS);
    char **paths = status == STATUS_DONE ? space_paths(&space, argv + optind, &status) : NULL;
    if (status == STATUS_DONE)
        status = explain_all(&x, &space, paths);
    space_free_paths(paths);
    space_close(&space);
    return status;
}
