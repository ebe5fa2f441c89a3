/* SPDX-License-Identifier: MIT
 *
 * guard=landlock: the kernel itself refuses changes below the lower layers to this process and to all that it
 * starts, static programs too (landlock(7)).
 *
 * Landlock only knows what is allowed, and allows it for all that lies below.  So no directory above a lower layer can
 * be named: what lies beside the way to it is, entry by entry, as it is when the run begins.  What must hold: nothing
 * is allowed below a lower layer but what the overlays themselves need there (an upper, a work directory) and what is
 * excluded from them.  Modes, owners, times and extended attributes are out of Landlock's reach.
 */
#include "config.h"

#include <sys/prctl.h>

#define DENTS_SIZE ((size_t)32 << 10)

#define WRITE_FILE (1u << 1)
#define REMOVE_AND_MAKE (0x1ffu << 4) /* REMOVE_DIR to MAKE_SYM */
#define REFER (1u << 13)              /* move and link from one directory to another: ABI 2 */
#define TRUNCATE (1u << 14)           /* ABI 3 */
#define OLDEST_ABI 2

struct guard {
    const struct ovl_space *space;
    struct ovl_arena arena;
    uint64_t rights; /* all that the kernel knows of those that change something */
    int ruleset;
};

static bool is_wanted(const struct ovl_space *space)
{
    for (unsigned i = 0; i < space->ovls; i++)
        if (space->ovl[i].guard == OVL_GUARD_LANDLOCK)
            return true;
    return false;
}

static const char *lower(const struct ovl *o, unsigned i)
{
    return i == 0 && o->has_upper ? NULL : o->layer[i].path;
}

/* Whether a lower layer lies in a directory, or is it. */
static bool holds_lower(const struct guard *g, const char *path)
{
    size_t n = ovl_strlen(path);
    for (unsigned k = 0; k < g->space->ovls; k++)
        for (unsigned i = 0; i < g->space->ovl[k].layers; i++) {
            const char *layer = lower(&g->space->ovl[k], i);
            if (layer && ovl_is_below(layer, path, n) && ovl_is_protected(g->space, layer))
                return true;
        }
    return false;
}

/* Allow changes of an object and of all below it.  What is gone or out of reach can't be changed anyway. */
static int allow(const struct guard *g, const char *path)
{
    struct stat st;
    int fd = ovl_sys_open(AT_FDCWD, path, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0);
    if (fd < 0)
        return fd == -EMFILE || fd == -ENFILE || fd == -ENOMEM ? fd : 0;
    int r = ovl_sys_fstat(fd, &st);
    if (r == 0 && !S_ISLNK(st.st_mode)) {
        uint64_t rights = S_ISDIR(st.st_mode) ? g->rights : g->rights & (WRITE_FILE | TRUNCATE);
        r = ovl_sys_landlock_allow(g->ruleset, fd, rights);
    }
    ovl_sys_close(fd);
    return r;
}

/* Allow what lies in a directory above lower layers and is not on the way to one. */
static int allow_entries(struct guard *g, const char *dir, const char *dents, ssize_t n)
{
    int r = 0;
    for (ssize_t at = 0; at < n && r == 0;) {
        const struct ovl_dirent *d = (const struct ovl_dirent *)(const void *)(dents + at);
        at += d->d_reclen;
        if (ovl_streq(d->d_name, ".") || ovl_streq(d->d_name, ".."))
            continue;
        const char *path = ovl_arena_join(&g->arena, dir, "/", d->d_name, NULL);
        if (!path)
            return -ENOMEM;
        if (!ovl_is_protected(g->space, path) && !holds_lower(g, path))
            r = allow(g, path);
    }
    return r;
}

static int allow_beside(struct guard *g, const char *dir)
{
    char *dents = ovl_arena_alloc(&g->arena, DENTS_SIZE);
    if (!dents)
        return -ENOMEM;
    int fd = ovl_sys_open(AT_FDCWD, *dir ? dir : "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (fd == -EACCES)
        return 0; /* what can't be listed stays as it is */
    if (fd < 0)
        return fd;
    int r = 0;
    ssize_t n;
    while (r == 0 && (n = ovl_sys_getdents(fd, dents, DENTS_SIZE)) != 0)
        r = n < 0 ? (int)n : allow_entries(g, dir, dents, n);
    ovl_sys_close(fd);
    return r;
}

/* Whether `dir` is above one of the lower layers before number (k, i), whose way was then gone. */
static bool is_done(const struct guard *g, const char *dir, unsigned k, unsigned i)
{
    size_t n = ovl_strlen(dir);
    for (unsigned a = 0; a <= k; a++)
        for (unsigned b = 0; b < (a < k ? g->space->ovl[a].layers : i); b++) {
            const char *layer = lower(&g->space->ovl[a], b);
            if (layer && ovl_is_below(layer, dir, n) && layer[n] && ovl_is_protected(g->space, layer))
                return true;
        }
    return false;
}

/* Allow what lies beside the way from the root to a lower layer. */
static int allow_around(struct guard *g, unsigned k, unsigned i)
{
    const char *layer = lower(&g->space->ovl[k], i);
    int r = 0;
    if (!layer || !ovl_is_protected(g->space, layer))
        return 0;
    for (const char *slash = layer; slash && r == 0; slash = ovl_strchr(slash + 1, '/')) {
        const char *dir = ovl_arena_copy(&g->arena, layer, (size_t)(slash - layer));
        if (!dir)
            return -ENOMEM;
        if (*slash && !ovl_is_protected(g->space, dir) && !is_done(g, dir, k, i))
            r = allow_beside(g, dir);
    }
    return r;
}

/* Allow what overlays write to and what they leave to the real file system, wherever it lies. */
static int allow_own(const struct guard *g, const struct ovl *o)
{
    int r = o->has_upper ? allow(g, o->layer[0].path) : 0;
    if (r == 0 && o->work)
        r = allow(g, o->work);
    for (unsigned i = 0; i < o->excludes && r == 0; i++)
        if (!ovl_is_protected(g->space, o->exclude[i]) && !holds_lower(g, o->exclude[i]))
            r = allow(g, o->exclude[i]);
    return r;
}

static int allow_all(struct guard *g)
{
    int r = 0;
    for (unsigned k = 0; k < g->space->ovls && r == 0; k++) {
        for (unsigned i = 0; i < g->space->ovl[k].layers && r == 0; i++)
            r = allow_around(g, k, i);
        if (r == 0)
            r = allow_own(g, &g->space->ovl[k]);
    }
    return r;
}

/* Set-id programs keep their meaning where the caller may restrict itself without giving that up. */
static int restrict_self(int ruleset)
{
    int r = ovl_sys_landlock_restrict(ruleset);
    if (r != -EPERM)
        return r;
    r = ovl_sys_prctl(PR_SET_NO_NEW_PRIVS, 1);
    return r < 0 ? r : ovl_sys_landlock_restrict(ruleset);
}

static int refuse(struct ovl_message *why, int error)
{
    return ovl_message_set(why, "OVL_CONF", 0, "guard=landlock: can't be had: ", ovl_error_text(error),
                           "; it takes Linux 5.19 with Landlock switched on; leave it out", NULL);
}

int ovl_space_guard(const struct ovl_space *space, struct ovl_message *why)
{
    if (!is_wanted(space))
        return 0;
    int abi = ovl_sys_landlock_abi();
    if (abi < OLDEST_ABI)
        return refuse(why, abi < 0 ? abi : -ENOSYS);
    struct guard g = {.space = space, .rights = WRITE_FILE | REMOVE_AND_MAKE | REFER | (abi > 2 ? TRUNCATE : 0)};
    g.ruleset = ovl_sys_landlock_create(g.rights);
    if (g.ruleset < 0)
        return refuse(why, g.ruleset);
    int r = allow_all(&g);
    if (r == 0)
        r = restrict_self(g.ruleset);
    ovl_sys_close(g.ruleset);
    ovl_arena_free(&g.arena);
    return r < 0 ? refuse(why, r) : 0;
}
