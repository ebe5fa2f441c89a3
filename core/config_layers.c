/* SPDX-License-Identifier: MIT
 *
 * The lower layers of an overlay: real directories, and places in other overlays.
 *
 * A lower layer that lies below the mount of another overlay stands for that overlay's layers at that
 * place, as they merge when the configuration is resolved (CONTRACT 1.9): its upper first, then its
 * lowers, down to an opaque one or a whiteout.  A path below the overlay's own mount is the real directory
 * (in place).  What those layers white out stays hidden in the borrowing overlay's further layers too.
 */
#include "config.h"

#define REMEDY_EXISTS "; name a directory that exists"

/* Open a directory as lookups and listings will: it must be readable and searchable. */
static int try_directory(const char *path, struct stat *st)
{
    int fd = ovl_sys_open(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK, 0);
    if (fd < 0)
        return fd;
    int r = ovl_sys_fstatat(fd, ".", st, 0);
    ovl_sys_close(fd);
    return r;
}

static int refuse_lower(struct ovl_plans *plans, const struct ovl_value *value, int error)
{
    if (error == -EACCES)
        return ovl_refuse(plans->config, OVL_KEY_LOWER, value,
                          "permission denied; a layer must be readable and searchable for its user", NULL);
    return ovl_refuse(plans->config, OVL_KEY_LOWER, value, ovl_error_text(error), REMEDY_EXISTS, NULL);
}

static int add_layer(struct ovl_plans *plans, struct ovl_plan *plan, const struct ovl_value *value,
                     const struct ovl_plan_layer *layer)
{
    if (plan->layers - plan->has_upper == OVL_LAYERS_MAX - 1)
        return ovl_refuse(plans->config, OVL_KEY_LOWER, value, "more than 1023 lower layers; leave some out", NULL);
    struct ovl_plan_layer *added = &plan->layer[plan->layers];
    *added = *layer;
    int r = try_directory(*layer->path ? layer->path : "/", &added->st);
    if (r < 0)
        return refuse_lower(plans, value, r);
    plan->layers++;
    return 0;
}

/* The layers that the other overlay shows at the walk's place. */
static int borrow(struct ovl_plans *plans, struct ovl_plan *plan, const struct ovl_value *value,
                  const struct ovl_walk *walk)
{
    const struct ovl_plan *from = walk->in;
    int r = 0;
    for (unsigned i = ovl_stack_next(&walk->stack, 0, from->layers); r == 0 && i < from->layers;
         i = ovl_stack_next(&walk->stack, i + 1, from->layers)) {
        struct ovl_plan_layer layer = {.borrowed = true, .upper_of = from->layer[i].upper_of};
        if (i == 0 && from->has_upper)
            layer.upper_of = from;
        layer.path = ovl_arena_join(plans->config->arena, from->layer[i].path, walk->path + from->mount_length, NULL);
        if (!layer.path)
            return ovl_refuse_no_memory(plans->config);
        layer.length = ovl_strlen(layer.path);
        if (layer.length >= OVL_REAL_MAX)
            return refuse_lower(plans, value, -ENAMETOOLONG);
        r = add_layer(plans, plan, value, &layer);
    }
    return r;
}

static int add_lower(struct ovl_plans *plans, struct ovl_plan *plan, const struct ovl_value *value,
                     struct ovl_walk *walk)
{
    int r = ovl_walk(walk, value->text);
    if (r == -EINVAL && plans->config->why->text[0])
        return r; /* said by the overlay that it leads to */
    if (r == 0 && walk->missing)
        r = -ENOENT;
    if (r == 0 && !S_ISDIR(walk->st.st_mode))
        r = -ENOTDIR;
    if (r < 0)
        return refuse_lower(plans, value, r);
    if (walk->in)
        return borrow(plans, plan, value, walk);
    struct ovl_plan_layer layer = {.length = walk->length};
    layer.path = ovl_arena_copy(plans->config->arena, walk->path, walk->length);
    return layer.path ? add_layer(plans, plan, value, &layer) : ovl_refuse_no_memory(plans->config);
}

/* Look at the root of a layer: whether it hides the layers below, 1, 0 or an error; whether it is impure. */
static int look_at_root(struct ovl_plans *plans, struct ovl_plan *plan, const struct ovl_plan_layer *layer)
{
    const char *path = *layer->path ? layer->path : "/";
    struct ovl_marks marks;
    int r = ovl_read_marks(path, &marks);
    if (r == 0)
        r = marks.opaque == 'y' ? 1 : ovl_has_opaque_marker(&plans->ctx, path);
    if (r < 0)
        return ovl_message_set(plans->config->why, plans->config->where, plan->section->line, "the layer ", path,
                               " can't be read: ", ovl_error_text(r), "; it must be readable and searchable", NULL);
    plan->impure |= marks.impure != 0;
    return r;
}

/* Count the layers that merge at the mount. */
static int count_roots(struct ovl_plans *plans, struct ovl_plan *plan)
{
    int r = 0;
    for (plan->roots = 0; plan->roots < plan->layers && r == 0;) {
        const struct ovl_plan_layer *layer = &plan->layer[plan->roots++];
        if (!layer->missing)
            r = look_at_root(plans, plan, layer);
        /* In a borrowed layer the mark has had its effect on the overlay that it belongs to. */
        if (r > 0 && layer->borrowed)
            r = 0;
    }
    return r < 0 ? r : 0;
}

int ovl_plan_lowers(struct ovl_plans *plans, struct ovl_plan *plan)
{
    if (plan->lowers == OVL_LOWERS_KNOWN)
        return 0;
    if (plan->lowers == OVL_LOWERS_WANTED)
        return ovl_refuse(plans->config, OVL_KEY_LOWER, plan->wanted,
                          "the overlay is a layer of itself, by way of others; name a directory outside their mounts",
                          NULL);
    plan->lowers = OVL_LOWERS_WANTED;
    struct ovl_walk walk;
    if (ovl_walk_init(&walk, plans->config->arena) < 0)
        return ovl_refuse_no_memory(plans->config);
    walk.plans = plans;
    walk.own = plan;
    for (const struct ovl_value *value = ovl_config_value(plan->section, OVL_KEY_LOWER); value; value = value->next) {
        plan->wanted = value;
        int r = add_lower(plans, plan, value, &walk);
        if (r < 0)
            return r;
    }
    plan->lowers = OVL_LOWERS_KNOWN;
    return count_roots(plans, plan);
}
