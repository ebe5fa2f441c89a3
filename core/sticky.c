/* SPDX-License-Identifier: MIT
 *
 * open(2) with O_CREAT of what is there already, in a sticky directory.
 *
 * The kernel refuses what is another's where others may make names: a trap laid in /tmp (fs/namei.c,
 * may_create_in_sticky(); proc_sys_fs(5), protected_fifos and protected_regular).  We open what is there without
 * O_CREAT, so the kernel does not look.
 */
#include "types.h"

#define SYSCTL "/proc/sys/fs/"

static int read_digit(void *arg)
{
    char digit = '0';
    int fd = ovl_sys_open(AT_FDCWD, arg, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return 0; /* where it is not known, the kernel's own default */
    ssize_t n = ovl_sys_read(fd, &digit, 1);
    ovl_sys_close(fd);
    return n == 1 ? digit - '0' : 0;
}

/* 0: not protected; 1: where everybody may make names; 2: where a group may, too. */
static int protection_of(mode_t mode)
{
    static char regular[] = SYSCTL "protected_regular", fifos[] = SYSCTL "protected_fifos";
    if (!S_ISREG(mode) && !S_ISFIFO(mode))
        return 1;
    return ovl_with_descriptors(NULL, -1, read_digit, S_ISREG(mode) ? regular : fifos);
}

static int stat_parent(struct ovl_ctx *ctx, const struct ovl_node *node, struct stat *st)
{
    const struct ovl *o = node->ovl;
    size_t mark = ctx->used;
    int fds = ctx->fds;
    char *real = ovl_ctx_alloc(ctx, OVL_REAL_MAX);
    const unsigned top = ovl_stack_next(&node->in, 0, o->layers);
    int r = real && top < o->layers ? ovl_real_parent(ctx, node, top, real) : -ENOMEM;
    if (r == 0)
        r = ovl_sys_lstat(real, st);
    ovl_ctx_close(ctx, fds);
    ovl_ctx_reset(ctx, mark);
    return r;
}

int ovl_may_create_in_sticky(struct ovl_ctx *ctx, const struct ovl_node *node)
{
    struct stat dir;
    const uid_t owner = node->st.st_uid;
    if (owner == ovl_sys_geteuid()) /* what is one's own is most there is */
        return 0;
    if (stat_parent(ctx, node, &dir) < 0 || !(dir.st_mode & S_ISVTX) || !(dir.st_mode & 022) || owner == dir.st_uid)
        return 0;
    int protection = protection_of(node->st.st_mode);
    bool is_device = !S_ISREG(node->st.st_mode) && !S_ISFIFO(node->st.st_mode);
    bool refused = dir.st_mode & 02 ? protection >= 1 : protection >= 2 && !is_device;
    return refused ? -EACCES : 0;
}
