/* SPDX-License-Identifier: MIT
 *
 * Making objects as they are described.
 */
#include "object.h"

#include "output.h"

#include <errno.h>
#include <fcntl.h>
#include <ovl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

char *path_in(int dir, const char *name)
{
    return text("/proc/self/fd/%d/%s", dir, name);
}

/* ---- metadata -------------------------------------------------------------------------------------------- */

/* What is dressed, for *at() calls. */
struct place {
    int dir;
    const char *name;
    int flags;
};

/* The owner, as far as the caller may give it; *mode loses what would be somebody else's. */
static int set_owner(const struct place *p, const struct stat *wanted, mode_t *mode)
{
    struct stat now;
    if (fstatat(p->dir, p->name, &now, p->flags) < 0)
        return -1;
    if (now.st_uid != wanted->st_uid || now.st_gid != wanted->st_gid) {
        if (fchownat(p->dir, p->name, wanted->st_uid, wanted->st_gid, p->flags) == 0)
            return 0;
        if (errno != EPERM && errno != EINVAL)
            return -1;
        if (fchownat(p->dir, p->name, (uid_t)-1, wanted->st_gid, p->flags) == 0)
            now.st_gid = wanted->st_gid;
    }
    if (now.st_uid != wanted->st_uid)
        *mode &= ~(mode_t)S_ISUID;
    if (now.st_gid != wanted->st_gid && !S_ISDIR(*mode))
        *mode &= ~(mode_t)S_ISGID;
    return 0;
}

static bool is_droppable(int error)
{
    return error == EPERM || error == EACCES || error == EOPNOTSUPP || error == EINVAL;
}

static bool is_acl(const struct xattr *x)
{
    return strcmp(x->name, OVL_ACL_ACCESS) == 0;
}

/* The access list, or all others: how many were set, or -1. */
static int set_xattrs(const struct place *p, struct object *o, bool acl)
{
    char *path = p->flags ? path_in(p->dir, p->name) : NULL;
    int count = 0;
    for (size_t i = 0; count >= 0 && i < o->xattrs.count; i++) {
        const struct xattr *x = &o->xattrs.at[i];
        if (is_acl(x) != acl)
            continue;
        if ((path ? lsetxattr(path, x->name, x->value, x->size, 0)
                  : setxattr(p->name, x->name, x->value, x->size, 0)) == 0) {
            count++;
            continue;
        }
        count = is_droppable(errno) ? count : -1;
        o->lost_xattrs |= !xattr_is_local(x->name);
    }
    free(path);
    return count;
}

/* The permissions are those that the access list has given: of an archive with lists of two kinds, libarchive tells a
 * mode that is neither's. */
static int take_permissions(const struct place *p, mode_t *mode)
{
    struct stat now;
    if (fstatat(p->dir, p->name, &now, p->flags) < 0)
        return -1;
    *mode = (*mode & ~(mode_t)0777) | (now.st_mode & 0777);
    return 0;
}

/* The access list and the mode come last: they may forbid the rest, and a change of the owner takes bits away. */
static int dress(const struct place *p, struct object *o)
{
    mode_t mode = o->st.st_mode;
    if (set_owner(p, &o->st, &mode) < 0 || set_xattrs(p, o, false) < 0)
        return -1;
    const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, o->st.st_mtim};
    if (utimensat(p->dir, p->name, times, p->flags) < 0)
        return -1;
    int lists = set_xattrs(p, o, true);
    if (lists < 0 || (lists > 0 && take_permissions(p, &mode) < 0))
        return -1;
    return S_ISLNK(mode) ? 0 : fchmodat(p->dir, p->name, mode & 07777, p->flags);
}

bool object_is_ours(const struct stat *st)
{
    return geteuid() == 0 || st->st_uid == geteuid();
}

int object_dress(int fd, struct object *o)
{
    char self[40];
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    return dress(&(struct place){AT_FDCWD, self, 0}, o);
}

/* ---- making ------------------------------------------------------------------------------------------------ */

static int make_file(int dir, const char *name, const struct object *o)
{
    int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return -1;
    int r = o->write && o->write(o->arg, fd) < 0 ? -2 : 0;
    if (close(fd) < 0 && r == 0)
        r = -1;
    return r;
}

static int make_bare(int dir, const char *name, const struct object *o)
{
    switch (o->st.st_mode & S_IFMT) {
    case S_IFREG:
        return make_file(dir, name, o);
    case S_IFDIR:
        return mkdirat(dir, name, 0700);
    case S_IFLNK:
        return symlinkat(o->target, dir, name);
    default:
        return mknodat(dir, name, (o->st.st_mode & S_IFMT) | 0600, o->st.st_rdev);
    }
}

int object_drop_acls(int dir, const char *name, mode_t mode)
{
    static const char *const acl[] = {OVL_ACL_ACCESS, OVL_ACL_DEFAULT};
    char *path = path_in(dir, name);
    int r = 0;
    for (size_t i = 0; r == 0 && i < (S_ISDIR(mode) ? 2 : 1); i++)
        r = lremovexattr(path, acl[i]) < 0 && errno != ENODATA && errno != EOPNOTSUPP ? -1 : 0;
    free(path);
    return r;
}

int object_make(int dir, const char *name, struct object *o)
{
    int r = make_bare(dir, name, o);
    if (r == 0 && !S_ISLNK(o->st.st_mode))
        r = object_drop_acls(dir, name, o->st.st_mode);
    return r < 0 ? r : dress(&(struct place){dir, name, AT_SYMLINK_NOFOLLOW}, o);
}
