/* SPDX-License-Identifier: MIT
 *
 * From sections of strings to plans: absolute, canonical, checked against the file system and against each
 * other (CONTRACT 1.5, 1.6, 1.8, 1.9).
 *
 * What must hold: a configuration that could lose data or change a lower layer never passes, and nothing
 * is made on disk before all that can be checked without it has been.
 */
#include "config.h"

#define REMOVED_TRIES 8

static bool is_strictly_below(const char *path, const char *dir, size_t dir_length)
{
    return path[dir_length] && ovl_is_below(path, dir, dir_length);
}

/* Paths for messages: the root is kept as "". */
static const char *shown(const char *path)
{
    return *path ? path : "/";
}

/* ---- mounts --------------------------------------------------------------------------------------------- */

static int resolve_mount(struct ovl_plans *plans, struct ovl_plan *plan)
{
    const struct ovl_value *value = ovl_config_value(plan->section, OVL_KEY_MOUNT);
    struct ovl_walk walk;
    if (ovl_walk_init(&walk, plans->config->arena) < 0)
        return ovl_refuse_no_memory(plans->config);
    int r = ovl_walk(&walk, value->text);
    if (r == -ENOTDIR)
        return ovl_refuse(plans->config, OVL_KEY_MOUNT, value,
                          "lies below a file; a mount is a directory, or a path that leads to nothing yet", NULL);
    if (r < 0)
        return ovl_refuse(plans->config, OVL_KEY_MOUNT, value, ovl_error_text(r), "; name a path that can be looked up",
                          NULL);
    if (!walk.missing && !S_ISDIR(walk.st.st_mode))
        return ovl_refuse(plans->config, OVL_KEY_MOUNT, value,
                          "not a directory; a mount is a directory, or a path that leads to nothing yet", NULL);
    plan->mount = walk.path;
    plan->mount_length = walk.length;
    return 0;
}

/* Longest mount first, so that the first plan that has a path is the right one. */
static void sort_plans(struct ovl_plans *plans)
{
    for (unsigned i = 1; i < plans->count; i++) {
        struct ovl_plan plan = plans->plan[i];
        unsigned to = i;
        for (; to > 0 && plans->plan[to - 1].mount_length < plan.mount_length; to--)
            plans->plan[to] = plans->plan[to - 1];
        plans->plan[to] = plan;
    }
}

static int check_mounts(const struct ovl_plans *plans)
{
    for (unsigned i = 1; i < plans->count; i++)
        for (unsigned k = 0; k < i; k++)
            if (ovl_streq(plans->plan[i].mount, plans->plan[k].mount))
                return ovl_refuse(plans->config, OVL_KEY_MOUNT, ovl_config_value(plans->plan[i].section, OVL_KEY_MOUNT),
                                  "two overlays have this mount; merge them into one or change a mount", NULL);
    return 0;
}

/* ---- excludes ------------------------------------------------------------------------------------------- */

static int add_path(struct ovl_plans *plans, struct ovl_values *values, const char *path)
{
    struct ovl_value *value = ovl_arena_alloc(plans->config->arena, sizeof *value);
    char *text = ovl_arena_copy(plans->config->arena, path, ovl_strlen(path));
    if (!value || !text)
        return ovl_refuse_no_memory(plans->config);
    value->text = text;
    *(values->last ? &values->last->next : &values->first) = value;
    values->last = value;
    values->count++;
    return 0;
}

/* The name itself passes through; if it is a link to a directory below the mount, that one too, or what is
 * reached through the name would not. */
static int resolve_exclude(struct ovl_plans *plans, struct ovl_plan *plan, const struct ovl_value *value,
                           struct ovl_walk *walk)
{
    const char *path = value->text;
    if (path[0] != '/')
        path = ovl_arena_join(plans->config->arena, plan->mount, "/", path, NULL);
    if (!path)
        return ovl_refuse_no_memory(plans->config);
    walk->no_follow = true;
    int r = ovl_walk(walk, path);
    if (r < 0)
        return ovl_refuse(plans->config, OVL_KEY_EXCLUDE, value, ovl_error_text(r),
                          "; name a path that can be looked up", NULL);
    if (!is_strictly_below(walk->path, plan->mount, plan->mount_length))
        return ovl_refuse(plans->config, OVL_KEY_EXCLUDE, value, "not below the mount ", shown(plan->mount),
                          "; exclude paths below it only", NULL);
    r = add_path(plans, &plan->exclude, walk->path);
    if (r < 0 || walk->missing || !S_ISLNK(walk->st.st_mode))
        return r;
    walk->no_follow = false;
    if (ovl_walk(walk, path) == 0 && !walk->missing && S_ISDIR(walk->st.st_mode) &&
        is_strictly_below(walk->path, plan->mount, plan->mount_length))
        r = add_path(plans, &plan->exclude, walk->path);
    return r;
}

static int resolve_excludes(struct ovl_plans *plans, struct ovl_plan *plan)
{
    static struct ovl_value usual[] = {{"/proc", 0, usual + 1}, {"/sys", 0, usual + 2}, {"/dev", 0, usual + 3},
                                       {"/run", 0, usual + 4},  {"/tmp", 0, usual + 5}, {"/var/tmp", 0, NULL}};
    const struct ovl_value *value = ovl_config_value(plan->section, OVL_KEY_EXCLUDE);
    struct ovl_walk walk;
    if (!value && plan->mount_length > 0)
        return 0;
    if (ovl_walk_init(&walk, plans->config->arena) < 0)
        return ovl_refuse_no_memory(plans->config);
    for (value = value ? value : usual; value; value = value->next) {
        int r = resolve_exclude(plans, plan, value, &walk);
        if (r < 0)
            return r;
    }
    return 0;
}

/* Programs are compared by their merged path with links resolved.  Links of the overlay are not known here, those of
 * the real file system often are the same: both what is written and where it leads are allowed. */
static int resolve_allowed(struct ovl_plans *plans, struct ovl_plan *plan)
{
    struct ovl_walk walk;
    const struct ovl_value *value = ovl_config_value(plan->section, OVL_KEY_STATIC_ALLOW);
    if (value && ovl_walk_init(&walk, plans->config->arena) < 0)
        return ovl_refuse_no_memory(plans->config);
    for (; value; value = value->next) {
        int r = ovl_walk(&walk, value->text);
        if (r < 0)
            return ovl_refuse(plans->config, OVL_KEY_STATIC_ALLOW, value, ovl_error_text(r),
                              "; name the path of a program", NULL);
        r = add_path(plans, &plan->static_allow, walk.path);
        if (r == 0 && !ovl_streq(walk.path, value->text))
            r = add_path(plans, &plan->static_allow, value->text);
        if (r < 0)
            return r;
    }
    return 0;
}

/* ---- the name space ------------------------------------------------------------------------------------- */

/* Whether a part of the name space that passes through, longer than `length`, has the path. */
static bool passes_through(const struct ovl_plan *plan, const char *path, size_t length)
{
    for (const struct ovl_value *value = plan->exclude.first; value; value = value->next) {
        size_t n = ovl_strlen(value->text);
        if (n > length && ovl_is_below(path, value->text, n))
            return true;
    }
    return (plan->has_upper && plan->layer[0].length > length &&
            ovl_is_below(path, plan->layer[0].path, plan->layer[0].length)) ||
           (plan->work && plan->work_length > length && ovl_is_below(path, plan->work, plan->work_length));
}

struct ovl_plan *ovl_plan_of(const struct ovl_plans *plans, const char *path)
{
    struct ovl_plan *plan = NULL;
    for (unsigned i = 0; i < plans->count && !plan; i++)
        if (ovl_is_below(path, plans->plan[i].mount, plans->plan[i].mount_length))
            plan = &plans->plan[i];
    for (unsigned i = 0; i < plans->count && plan; i++)
        if (passes_through(&plans->plan[i], path, plan->mount_length))
            plan = NULL;
    return plan;
}

/* ---- overlaps ------------------------------------------------------------------------------------------- */

static int refuse_pair(const struct ovl_plans *plans, const struct ovl_plan *plan, const char *relation,
                       const char *path, const char *remedy)
{
    return ovl_refuse(plans->config, OVL_KEY_UPPER, ovl_config_value(plan->section, OVL_KEY_UPPER), relation,
                      shown(path), remedy, NULL);
}

static bool is_same_object(const struct ovl_plan_layer *a, const struct ovl_plan_layer *b)
{
    return !a->missing && !b->missing && a->st.st_ino == b->st.st_ino && a->st.st_dev == b->st.st_dev;
}

/* The upper and the work directory of `plan` against a layer of any overlay. */
static int check_lower(const struct ovl_plans *plans, const struct ovl_plan *plan, const struct ovl_plan_layer *lower)
{
    static const char remedy[] = "; name a directory that holds no layer";
    if (plan->work && ovl_is_below(lower->path, plan->work, plan->work_length))
        return ovl_refuse_work(plans, plan, "equals or contains the lower layer ", shown(lower->path));
    if (!plan->has_upper || lower->upper_of == plan)
        return 0;
    const struct ovl_plan_layer *upper = &plan->layer[0];
    if (is_same_object(upper, lower))
        return refuse_pair(plans, plan, "equals the lower layer ", lower->path, remedy);
    if (ovl_is_below(lower->path, upper->path, upper->length))
        return refuse_pair(plans, plan, "contains the lower layer ", lower->path, remedy);
    return 0;
}

static int check_uppers(const struct ovl_plans *plans, const struct ovl_plan *plan, const struct ovl_plan *other)
{
    static const char remedy[] = "; give each overlay an upperdir of its own";
    if (!plan->has_upper || !other->has_upper)
        return 0;
    const struct ovl_plan_layer *a = &plan->layer[0], *b = &other->layer[0];
    if (is_same_object(a, b) || ovl_streq(a->path, b->path))
        return refuse_pair(plans, plan, "also the upper of the overlay at ", other->mount, remedy);
    if (ovl_is_below(a->path, b->path, b->length))
        return refuse_pair(plans, plan, "inside the upper of the overlay at ", other->mount, remedy);
    if (ovl_is_below(b->path, a->path, a->length))
        return refuse_pair(plans, plan, "contains the upper of the overlay at ", other->mount, remedy);
    return 0;
}

static int check_works(const struct ovl_plans *plans, const struct ovl_plan *plan, const struct ovl_plan *other)
{
    if (!plan->work)
        return 0;
    if (other->has_upper && ovl_is_below(plan->work, other->layer[0].path, other->layer[0].length))
        return ovl_refuse_work(plans, plan, "lies in the upper of the overlay at ", shown(other->mount));
    if (other->has_upper && ovl_is_below(other->layer[0].path, plan->work, plan->work_length))
        return ovl_refuse_work(plans, plan, "contains the upper of the overlay at ", shown(other->mount));
    if (plan != other && other->work && ovl_is_below(plan->work, other->work, other->work_length))
        return ovl_refuse_work(plans, plan, "is or lies in the work directory of the overlay at ", shown(other->mount));
    return 0;
}

static int check_layers(const struct ovl_plans *plans, const struct ovl_plan *plan, const struct ovl_plan *other)
{
    int r = plan > other ? check_uppers(plans, plan, other) : 0; /* each pair once */
    for (unsigned i = other->has_upper; r == 0 && i < other->layers; i++)
        r = check_lower(plans, plan, &other->layer[i]);
    return r;
}

static int for_each_pair(const struct ovl_plans *plans,
                         int (*check)(const struct ovl_plans *, const struct ovl_plan *, const struct ovl_plan *))
{
    int r = 0;
    for (unsigned i = 0; i < plans->count; i++)
        for (unsigned k = 0; k < plans->count && r == 0; k++)
            r = check(plans, &plans->plan[i], &plans->plan[k]);
    return r;
}

/* ---- all of it ------------------------------------------------------------------------------------------ */

static int for_each(struct ovl_plans *plans, int (*step)(struct ovl_plans *, struct ovl_plan *))
{
    int r = 0;
    for (unsigned i = 0; i < plans->count && r == 0; i++)
        r = step(plans, &plans->plan[i]);
    return r;
}

static int begin_plans(struct ovl_plans *plans)
{
    const struct ovl_config *config = plans->config;
    plans->plan = ovl_arena_alloc(config->arena, config->sections * sizeof *plans->plan);
    if (!plans->plan)
        return ovl_refuse_no_memory(config);
    for (const struct ovl_section *s = config->first; s; s = s->next) {
        struct ovl_plan *plan = &plans->plan[plans->count++];
        plan->section = s;
        plan->layer = ovl_arena_alloc(config->arena, OVL_LAYERS_MAX * sizeof *plan->layer);
        if (!plan->layer)
            return ovl_refuse_no_memory(config);
    }
    return 0;
}

static int make_upper(struct ovl_plans *plans, struct ovl_plan *plan)
{
    return plan->has_upper ? ovl_plan_make_upper(plans, plan) : 0;
}

/* What was made is made once more where it was removed before we had the lock. */
static int enter_run(struct ovl_plans *plans, struct ovl_plan *plan)
{
    int r = plan->work ? ovl_plan_enter_run(plans, plan) : 0;
    for (int i = 0; r == -ESTALE && i < REMOVED_TRIES; i++) {
        plan->layer[0].missing |= plan->has_upper;
        r = make_upper(plans, plan);
        if (r == 0)
            r = ovl_plan_make_work(plans, plan);
        if (r == 0)
            r = ovl_plan_enter_run(plans, plan);
    }
    return r == -ESTALE ? ovl_refuse_work(plans, plan, "is removed again and again by others", "") : r;
}

int ovl_plans_resolve(struct ovl_plans *plans, struct ovl_config *config)
{
    memset(plans, 0, sizeof *plans);
    plans->config = config;
    int r = begin_plans(plans);
    if (r < 0)
        return r;
    if (ovl_ctx_begin(&plans->ctx, NULL, &ovl_ops_kernel) < 0)
        return ovl_refuse_no_memory(config);
    r = for_each(plans, resolve_mount);
    sort_plans(plans);
    if (r == 0)
        r = check_mounts(plans);
    int (*const step[])(struct ovl_plans *, struct ovl_plan *) = {resolve_excludes, resolve_allowed, ovl_plan_upper,
                                                                  ovl_plan_work, ovl_plan_lowers};
    for (size_t i = 0; r == 0 && i < sizeof step / sizeof *step; i++)
        r = for_each(plans, step[i]);
    if (r == 0)
        r = for_each_pair(plans, check_layers);
    if (r == 0)
        r = for_each_pair(plans, check_works);
    int (*const make[])(struct ovl_plans *, struct ovl_plan *) = {make_upper, ovl_plan_make_work, enter_run};
    for (size_t i = 0; r == 0 && !config->looks && i < sizeof make / sizeof *make; i++)
        r = for_each(plans, make[i]);
    ovl_ctx_end(&plans->ctx);
    return r;
}
