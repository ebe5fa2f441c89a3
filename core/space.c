/* SPDX-License-Identifier: MIT
 *
 * The space: what an overlay is made of, and which part of the name space a path belongs to.
 *
 * Everything here is a question about text; the kernel is not asked.  A space never changes after it has
 * been made (space_read.c), so no question needs a lock.
 */
#include "config.h"

/* Paths come with the root as "/"; inside it is "". */
static const char *inner(const char *path)
{
    return path[0] == '/' && !path[1] ? path + 1 : path;
}

static const char *outer(const char *path)
{
    return *path ? path : "/";
}

/* ---- what there is ---------------------------------------------------------------------------------------- */

void ovl_space_close(struct ovl_space *space)
{
    if (!space)
        return;
    for (unsigned i = 0; i < space->ovls; i++) {
        ovl_cache_detach(&space->ovl[i]);
        ovl_shared_detach(&space->ovl[i]);
    }
    ovl_ways_free(space);
    ovl_sys_munmap(space->memory, space->size);
}

const char *ovl_space_record(const struct ovl_space *space)
{
    return space->record;
}

const char *ovl_space_conf(const struct ovl_space *space)
{
    return space->conf;
}

unsigned ovl_space_count(const struct ovl_space *space)
{
    return space->ovls;
}

struct ovl *ovl_space_at(const struct ovl_space *space, unsigned i)
{
    return i < space->ovls ? &space->ovl[i] : NULL;
}

struct ovl *ovl_space_find(const struct ovl_space *space, const char *name)
{
    for (unsigned i = 0; i < space->ovls; i++)
        if (*name && ovl_streq(space->ovl[i].name, name))
            return &space->ovl[i];
    return NULL;
}

enum ovl_static ovl_space_static(const struct ovl_space *space)
{
    enum ovl_static strictest = OVL_STATIC_ALLOW;
    for (unsigned i = 0; i < space->ovls; i++)
        if (space->ovl[i].static_policy > strictest)
            strictest = space->ovl[i].static_policy;
    return strictest;
}

bool ovl_space_static_allows(const struct ovl_space *space, const char *program)
{
    for (unsigned i = 0; i < space->ovls; i++)
        for (unsigned k = 0; k < space->ovl[i].static_allows; k++)
            if (ovl_streq(space->ovl[i].static_allow[k], program))
                return true;
    return false;
}

const char *ovl_name(const struct ovl *o)
{
    return o->name;
}

const char *ovl_mount(const struct ovl *o)
{
    return outer(o->mount);
}

unsigned ovl_layers(const struct ovl *o)
{
    return o->layers;
}

const char *ovl_layer(const struct ovl *o, unsigned i)
{
    return i < o->layers ? outer(o->layer[i].path) : NULL;
}

const char *ovl_work(const struct ovl *o)
{
    return o->work ? outer(o->work) : NULL;
}

enum ovl_patch ovl_patch_of(const struct ovl *o)
{
    return o->patch;
}

bool ovl_is_volatile(const struct ovl *o)
{
    return o->is_volatile;
}

bool ovl_is_read_only(const struct ovl *o)
{
    return !o->has_upper;
}

/* ---- regions ------------------------------------------------------------------------------------------------ */

static void sift_down(struct ovl_region *region, unsigned top, unsigned n)
{
    for (unsigned child = 2 * top + 1; child < n; child = 2 * top + 1) {
        if (child + 1 < n && region[child + 1].length < region[child].length)
            child++;
        if (region[top].length <= region[child].length)
            return;
        struct ovl_region moved = region[top];
        region[top] = region[child];
        region[child] = moved;
        top = child;
    }
}

/* Heap sort: no memory, and no record can make it slow. */
void ovl_regions_sort(struct ovl_region *region, unsigned n)
{
    for (unsigned i = n / 2; i-- > 0;)
        sift_down(region, i, n);
    for (unsigned last = n; last-- > 1;) {
        struct ovl_region shortest = region[0];
        region[0] = region[last];
        region[last] = shortest;
        sift_down(region, 0, last);
    }
}

const struct ovl_region *ovl_region_of(const struct ovl_space *space, const char *path)
{
    path = inner(path);
    size_t length = ovl_strlen(path);
    for (unsigned i = 0; i < space->regions; i++) {
        const struct ovl_region *region = &space->region[i];
        size_t n = region->length;
        if (n <= length && (path[n] == '/' || !path[n]) && memcmp(path, region->path, n) == 0)
            return region;
    }
    return NULL;
}

bool ovl_space_below(const struct ovl_space *space, const char *path)
{
    path = inner(path);
    size_t length = ovl_strlen(path);
    for (unsigned i = 0; i < space->regions; i++)
        if (space->region[i].length >= length && ovl_is_below(space->region[i].path, path, length))
            return true;
    return false;
}

/* ---- from layers back ----------------------------------------------------------------------------------------- */

/* Whether the merged path mount + rest belongs to that mount's overlay. */
static bool shows(const struct ovl_space *space, const struct ovl *o, const char *rest)
{
    for (unsigned i = 0; i < space->regions; i++) {
        const struct ovl_region *region = &space->region[i];
        size_t n = o->mount_length;
        if (region->length <= n
                ? ovl_is_below(o->mount, region->path, region->length)
                : ovl_is_below(region->path, o->mount, n) && ovl_is_below(rest, region->path + n, region->length - n))
            return region->ovl == o;
    }
    return false;
}

/* Whether layer i of o is a better answer than the best so far: longer, or as long and an upper. */
static bool is_better(const struct ovl *o, unsigned i, const struct ovl *best, unsigned best_i)
{
    if (!best)
        return true;
    size_t length = o->layer[i].length, best_length = best->layer[best_i].length;
    bool is_upper = i == 0 && o->has_upper, best_is_upper = best_i == 0 && best->has_upper;
    return length > best_length || (length == best_length && is_upper && !best_is_upper);
}

const struct ovl *ovl_space_layer_of(const struct ovl_space *space, const char *real, unsigned *number)
{
    const struct ovl *best = NULL;
    unsigned best_i = 0;
    real = inner(real);
    for (unsigned k = 0; k < space->ovls; k++) {
        const struct ovl *o = &space->ovl[k];
        for (unsigned i = 0; i < o->layers; i++) {
            const struct ovl_layer *layer = &o->layer[i];
            if (ovl_is_below(real, layer->path, layer->length) && is_better(o, i, best, best_i) &&
                shows(space, o, real + layer->length)) {
                best = o;
                best_i = i;
            }
        }
    }
    *number = best_i;
    return best;
}

ssize_t ovl_merged_path(const struct ovl_space *space, const char *real, char *buf, size_t n)
{
    unsigned i;
    const struct ovl *best = ovl_space_layer_of(space, real, &i);
    if (!best)
        return -ENOENT;
    const char *rest = inner(real) + best->layer[i].length;
    if (!best->mount_length && !*rest)
        rest = "/";
    ssize_t length = ovl_append(buf, n, 0, best->mount);
    return length < 0 ? length : ovl_append(buf, n, (size_t)length, rest);
}

bool ovl_is_written(const struct ovl *ovl, const char *real)
{
    return (ovl->has_upper && ovl_is_below(real, ovl->layer[0].path, ovl->layer[0].length)) ||
           (ovl->work && ovl_is_below(real, ovl->work, ovl->work_length));
}

bool ovl_is_protected(const struct ovl_space *space, const char *real)
{
    size_t lower = 0, exclude = 0;
    bool in_lower = false;
    real = inner(real);
    for (unsigned k = 0; k < space->ovls; k++) {
        const struct ovl *o = &space->ovl[k];
        if (o->work && ovl_is_below(real, o->work, o->work_length))
            return false;
        for (unsigned i = 0; i < o->layers; i++) {
            const struct ovl_layer *layer = &o->layer[i];
            if (!ovl_is_below(real, layer->path, layer->length))
                continue;
            /* A lower inside an upper is that overlay's own place (CONTRACT 1.9): the upper counts. */
            if (i == 0 && o->has_upper)
                return false;
            in_lower = true;
            lower = layer->length > lower ? layer->length : lower;
        }
        for (unsigned i = 0; i < o->excludes; i++) {
            size_t n = ovl_strlen(o->exclude[i]);
            if (n > exclude && ovl_is_below(real, o->exclude[i], n))
                exclude = n;
        }
    }
    /* What is excluded from an in-place overlay is given back to the real file system. */
    return in_lower && lower >= exclude;
}
