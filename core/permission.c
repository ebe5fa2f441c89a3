/* SPDX-License-Identifier: MIT
 *
 * What the caller may do with an object that it could copy up.
 *
 * The rule (CONTRACT 3.9): what it could do if the object were copied up already, owned by the caller
 * where the owner can't be kept.  Reading and searching happen in the layer itself, so the kernel
 * decides them; only writing is decided here.
 */
#include "types.h"

#include <unistd.h>

enum { CAP_CHOWN_BIT = 0, CAP_DAC_OVERRIDE_BIT = 1 };

struct cap_header {
    uint32_t version;
    int32_t pid;
};
struct cap_data {
    uint32_t effective, permitted, inheritable;
};
#define CAP_VERSION_3 0x20080522u

static bool has_capability(bool effective, int bit)
{
    struct cap_header header = {CAP_VERSION_3, 0};
    struct cap_data data[2] = {{0, 0, 0}, {0, 0, 0}};
    if (ovl_sys_raw(SYS_capget, OVL_SYS_PTR(&header), OVL_SYS_PTR(data), 0, 0, 0, 0) < 0)
        return false;
    /* access(2) asks by the real ids: root's permitted set, nobody else's (access(2), kernel override_creds). */
    uint32_t set = effective ? data[0].effective : ovl_sys_getuid() == 0 ? data[0].permitted : 0;
    return (set >> bit) & 1;
}

static bool in_group(gid_t gid, bool effective)
{
    enum { MOST = 64 };
    gid_t list[MOST];
    gid_t own = effective ? ovl_sys_getegid() : (gid_t)ovl_sys_raw(SYS_getgid, 0, 0, 0, 0, 0, 0);
    if (own == gid)
        return true;
    long n = ovl_sys_raw(SYS_getgroups, MOST, OVL_SYS_PTR(list), 0, 0, 0, 0);
    for (long i = 0; i < n; i++)
        if (list[i] == gid)
            return true;
    return false;
}

/* Whether the copy of an object with these owner and mode may be used so. */
static bool may_use_copy(const struct stat *st, int want, bool effective)
{
    if (S_ISLNK(st->st_mode) || has_capability(effective, CAP_DAC_OVERRIDE_BIT))
        return true;
    uid_t uid = effective ? ovl_sys_geteuid() : ovl_sys_getuid();
    int class = in_group(st->st_gid, effective) ? 3 : 0;
    if (st->st_uid == uid || !has_capability(true, CAP_CHOWN_BIT))
        class = 6;
    return (want & ~(int)(st->st_mode >> class)) == 0;
}

static int ask_kernel(const char *real, int want, bool effective)
{
    int flags = effective ? AT_EACCESS : 0;
    int r = ovl_sys_faccessat2(AT_FDCWD, real, want, flags | AT_SYMLINK_NOFOLLOW);
    if (r == -ENOSYS || r == -EPERM)
        r = ovl_sys_faccessat(AT_FDCWD, real, want);
    return r;
}

int ovl_may(struct ovl_ctx *ctx, const struct ovl *o, unsigned layer, const char *real, const struct stat *st, int want,
            bool effective)
{
    (void)ctx;
    if (o->has_upper && layer == 0)
        return ask_kernel(real, want, effective);
    if ((want & W_OK) && !o->has_upper && (S_ISREG(st->st_mode) || S_ISDIR(st->st_mode) || S_ISLNK(st->st_mode)))
        return -EROFS;
    /* Devices, FIFOs and sockets are written where they are, without a copy. */
    if (!S_ISREG(st->st_mode) && !S_ISDIR(st->st_mode))
        return ask_kernel(real, want, effective);
    int kernel = want & (R_OK | X_OK);
    if ((want & W_OK) && S_ISREG(st->st_mode))
        kernel |= R_OK; /* what can't be read can't be copied up */
    int r = ask_kernel(real, kernel, effective);
    if (r == 0 && (want & W_OK) && !may_use_copy(st, W_OK, effective))
        r = -EACCES;
    /* Of an empty file, as lock files are, there is nothing to read. */
    if (r == -EACCES && (want & W_OK) && S_ISREG(st->st_mode) && st->st_size == 0 && may_use_copy(st, want, effective))
        r = ask_kernel(real, F_OK, effective);
    return r;
}

int ovl_may_search(const char *path)
{
    return ask_kernel(path, X_OK, true);
}

static int ask_parent(struct ovl_ctx *ctx, const struct ovl_node *node, unsigned top)
{
    const struct ovl *o = node->ovl;
    size_t mark = ctx->used;
    int fds = ctx->fds;
    struct stat st;
    char *real = ovl_ctx_alloc(ctx, OVL_REAL_MAX);
    int r = real ? ovl_real_parent(ctx, node, top, real) : -ENOMEM;
    if (r == 0 && o->has_upper && top == 0)
        r = ask_kernel(real, W_OK | X_OK, true);
    else if (r == 0 && (r = ovl_sys_lstat(real, &st)) == 0)
        r = ovl_may(ctx, o, top, real, &st, W_OK | X_OK, true);
    /* It may have been removed since it was looked up, and a whiteout have its name. */
    if (r == -EACCES && ovl_sys_lstat(real, &st) == 0 && !S_ISDIR(st.st_mode))
        r = -ENOENT;
    ovl_ctx_close(ctx, fds);
    ovl_ctx_reset(ctx, mark);
    return r;
}

int ovl_may_change_parent(struct ovl_ctx *ctx, const struct ovl_node *node)
{
    const struct ovl *o = node->ovl;
    unsigned top = ovl_stack_next(&node->in, 0, o->layers);
    if (top == o->layers)
        return -ENOENT;
    return o->has_upper && top == 0 ? 0 : ask_parent(ctx, node, top);
}

int ovl_refused_first(struct ovl_ctx *ctx, const struct ovl_node *node, int error)
{
    unsigned top = ovl_stack_next(&node->in, 0, node->ovl->layers);
    int r = top < node->ovl->layers ? ask_parent(ctx, node, top) : 0;
    return r < 0 ? r : error;
}

int ovl_access(struct ovl_ctx *ctx, const struct ovl_node *node, int mode, bool effective)
{
    if (mode & ~(R_OK | W_OK | X_OK))
        return -EINVAL;
    if (!node->exists)
        return -ENOENT;
    return ovl_may(ctx, node->ovl, ovl_layer_of(node), node->real, &node->st, mode, effective);
}
