/* SPDX-License-Identifier: MIT
 *
 * Layer paths through no symbolic link.
 *
 * What was found at a layer's path may be something else by the time it is opened or changed.  What must hold: where
 * the name, or a directory on the way, has become a link meanwhile, that is not followed.  Its target is a place of the
 * merged view; the kernel would look for it outside, where it may be a lower layer's file.
 */
#include "types.h"

/* Where the kernel has no openat2(2), or a filter forbids it: a link in place of the object is not followed, nor taken
 * for it; one on the way can't be told. */
static int open_by_name(int dirfd, const char *path, int flags, mode_t mode)
{
    struct stat st;
    int fd = ovl_sys_open(dirfd, path, flags | O_NOFOLLOW, mode);
    if (flags & O_NOFOLLOW || (fd >= 0 && !(flags & O_PATH)) || (fd < 0 && fd != -ENOTDIR))
        return fd;
    const int r = fd < 0 ? ovl_sys_fstatat(dirfd, path, &st, AT_SYMLINK_NOFOLLOW) : ovl_sys_fstat(fd, &st);
    if (r < 0 || !S_ISLNK(st.st_mode))
        return fd;
    if (fd >= 0)
        ovl_sys_close(fd);
    return -ELOOP;
}

int ovl_open_exact_at(int dirfd, const char *path, int flags, mode_t mode)
{
    const struct ovl_open_how how = {.flags = ovl_openat2_flags(flags),
                                     .mode = flags & (O_CREAT | (O_TMPFILE & ~O_DIRECTORY)) ? mode & 07777 : 0,
                                     .resolve = OVL_RESOLVE_NO_SYMLINKS};
    int r = ovl_sys_openat2(dirfd, path, &how);
    return r == -ENOSYS || r == -EPERM ? open_by_name(dirfd, path, flags, mode) : r;
}

int ovl_open_exact(const char *real, int flags, mode_t mode)
{
    int dirfd = ovl_real_start(&real);
    return ovl_open_exact_at(dirfd, real, flags, mode);
}

struct changing {
    const struct ovl_node *node;
    int (*change)(void *arg, int fd, const char *path);
    void *arg;
};

static int change_by_descriptor(void *arg)
{
    const struct changing *c = arg;
    char path[OVL_FD_PATH_MAX];
    struct stat st;
    const int flags = S_ISLNK(c->node->st.st_mode) ? O_PATH | O_NOFOLLOW | O_CLOEXEC : O_PATH | O_CLOEXEC;
    int fd = ovl_open_exact(c->node->real, flags, 0);
    if (fd < 0)
        return fd;
    ovl_fd_path(fd, "", path, sizeof path);
    int r = c->change(c->arg, fd, path);
    ovl_sys_close(fd);
    /* Without /proc what is open has no other name. */
    if (r == -ENOENT && !S_ISLNK(c->node->st.st_mode) && ovl_sys_stat(OVL_FD_PREFIX, &st) == -ENOENT)
        return c->change(c->arg, -1, c->node->real);
    return r;
}

int ovl_change_exact(struct ovl_ctx *ctx, const struct ovl_node *node,
                     int (*change)(void *arg, int fd, const char *path), void *arg)
{
    struct changing changing = {node, change, arg};
    int r = ovl_with_descriptors(ctx, -1, change_by_descriptor, &changing);
    return r == -ELOOP ? -ESTALE : r;
}
