/* SPDX-License-Identifier: MIT
 *
 * The hooks behind libc's patched entries (hooks.h, patch.c).
 *
 * A hook is reached by libc's calls inside, and by calls that are on their way down from a wrapper, perhaps through
 * fakeroot or a sanitizer.  Three rules tell the two apart and keep calls from coming back:
 * a wrapper passes down paths that lie in the memory of its call, and those go to the kernel as they are; any other
 * path is resolved; a hook ends in the kernel, or in a function of libc that is not patched, never in the next library.
 * No state is kept: a signal handler may come between, jump out, or open files itself.
 *
 * What libc may do inside (a lock held, a signal handler, a vfork child, no cancellation) a hook may do too.
 * Numbers that stat tells inside are the layers' own, as fstat's are there: libc compares the two.
 */
#define _GNU_SOURCE
#include "hooks.h"

#include "boundary.h"
#include "early.h"
#include "fds.h"
#include "next.h"
#include "real.h"
#include "streams.h"
#include "sys.h"
#include "text.h"
#include "wrap.h"

#include <pthread.h>
#include <stddef.h>
#include <string.h>
#include <sys/un.h>

static int (*libc_openat)(int dirfd, const char *path, int flags, ...); /* a cancellation point, and not patched */
static struct ovl_ops uncancelled;
bool shim_hooks_active;

/* Whether a call goes to the kernel as it is.  /dev/shm is how libc makes names of shared memory and semaphores, with
 * calls that are not patched among them: those names are no files. */
static bool is_settled(const char *path)
{
    return !path || !*path || ovl_ctx_holds(path) || !shim_space() || ovl_has_prefix(path, "/dev/shm/");
}

static long answer(long r)
{
    if (r >= 0)
        return r;
    errno = (int)-r;
    return -1;
}

/* ---- open ---------------------------------------------------------------------------------------- */

static mode_t mode_of(int flags, va_list args)
{
    return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(args, mode_t) : 0;
}

static int hook_open(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    mode_t mode = mode_of(flags, args);
    va_end(args);
    const struct shim_way way = {libc_openat, &shim_next};
    return is_settled(path) ? libc_openat(AT_FDCWD, path, flags, mode)
                            : shim_open_at(&way, "libc:open", AT_FDCWD, path, flags, mode);
}

static int raw_openat(int dirfd, const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    mode_t mode = mode_of(flags, args);
    va_end(args);
    return (int)answer(ovl_sys_open(dirfd, path, flags, mode));
}

static int raw_open(const char *path, int flags, mode_t mode)
{
    return ovl_sys_open(AT_FDCWD, path, flags, mode);
}

/* What libc reads most by itself, locales, is outside of most overlays: one call instead of three.  -ELOOP where the
 * whole way must be gone. */
static int open_outside(const char *path, int flags)
{
    const struct ovl_open_how how = {.flags = (unsigned)flags, .resolve = OVL_RESOLVE_NO_SYMLINKS};
    if (*path != '/' || flags & ~(O_CLOEXEC | O_NONBLOCK | O_NOCTTY | O_LARGEFILE) || strstr(path, "..") ||
        ovl_space_holds(shim_space(), path))
        return -ELOOP;
    int r = ovl_sys_openat2(AT_FDCWD, path, &how);
    return r == -ENOSYS || r == -EPERM || r == -EINVAL || r == -EAGAIN ? -ELOOP : r;
}

/* No cancellation point: libc calls it with locks held. */
static int hook_open_nocancel(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    mode_t mode = mode_of(flags, args);
    va_end(args);
    if (is_settled(path))
        return raw_openat(AT_FDCWD, path, flags, mode);
    const struct shim_way way = {raw_openat, &uncancelled};
    int r = open_outside(path, flags);
    return r == -ELOOP ? shim_open_at(&way, "libc:open_nocancel", AT_FDCWD, path, flags, mode) : (int)answer(r);
}

/* ---- looking ------------------------------------------------------------------------------------- */

static int stat_found(const struct ovl_node *node, struct stat *st)
{
    int r = node->exists ? ovl_sys_lstat(node->real, st) : -ENOENT;
    return r == 0 && S_ISLNK(st->st_mode) != S_ISLNK(node->st.st_mode) ? -ESTALE : r;
}

static int find_and_stat(struct shim_call *call, int dirfd, const char *path, struct stat *st, int flags)
{
    struct ovl_node *node;
    int r = shim_find(call, &dirfd, &path, flags & AT_SYMLINK_NOFOLLOW ? 0 : OVL_FOLLOW, &node);
    if (r == SHIM_OUTSIDE)
        return ovl_sys_fstatat(dirfd, path, st, flags);
    return r == SHIM_INSIDE ? stat_found(node, st) : r;
}

static int hook_fstatat(int dirfd, const char *path, struct stat *st, int flags)
{
    struct shim_call call;
    if (is_settled(path) || !shim_begin(&call, "libc:fstatat"))
        return (int)answer(ovl_sys_fstatat(dirfd, path, st, flags));
    int r;
    struct shim_try tried = shim_try(&call);
    do
        r = find_and_stat(&call, dirfd, path, st, flags);
    while (shim_look_again(&call, &tried, r));
    return (int)shim_leave(&call, r);
}

static int look_for_access(struct shim_call *call, const char *path, int mode)
{
    int dirfd = AT_FDCWD;
    struct ovl_node *node;
    int r = shim_find(call, &dirfd, &path, OVL_FOLLOW, &node);
    if (r == SHIM_OUTSIDE)
        return ovl_sys_faccessat(dirfd, path, mode);
    return r == SHIM_INSIDE ? ovl_access(&call->ctx, node, mode, false) : r;
}

static int hook_access(const char *path, int mode)
{
    struct shim_call call;
    if (is_settled(path) || mode & ~(R_OK | W_OK | X_OK) || !shim_begin(&call, "libc:access"))
        return (int)answer(ovl_sys_faccessat(AT_FDCWD, path, mode));
    int r;
    struct shim_try tried = shim_try(&call);
    do
        r = look_for_access(&call, path, mode);
    while (shim_look_again(&call, &tried, r));
    return (int)shim_leave(&call, r);
}

static ssize_t look_for_link(struct shim_call *call, const char *path, char *buf, size_t size)
{
    int dirfd = AT_FDCWD;
    struct ovl_node *node;
    int r = shim_find(call, &dirfd, &path, 0, &node);
    if (r == SHIM_OUTSIDE)
        return ovl_sys_raw(SYS_readlinkat, dirfd, OVL_SYS_PTR(path), OVL_SYS_PTR(buf), (long)size, 0, 0);
    if (r < 0)
        return r;
    return node->exists ? ovl_sys_readlink(node->real, buf, size) : -ENOENT;
}

static ssize_t hook_readlink(const char *path, char *buf, size_t size)
{
    struct shim_call call;
    if (is_settled(path) || !shim_begin(&call, "libc:readlink"))
        return answer(ovl_sys_readlink(path, buf, size));
    ssize_t r;
    struct shim_try tried = shim_try(&call);
    do
        r = look_for_link(&call, path, buf, size);
    while (shim_look_again(&call, &tried, r));
    return shim_leave(&call, r);
}

/* A directory that libc opened inside, by hook_open_nocancel, which remembers it. */
static ssize_t hook_getdents64(int fd, void *buf, size_t size)
{
    if (!shim_space() || !shim_fds_may_be_inside(fd) || shim_in_vfork())
        return answer(ovl_sys_getdents(fd, buf, size));
    return shim_getdents(fd, buf, size);
}

/* ---- nscd ---------------------------------------------------------------------------------------- */

/* The name service cache answers from the real /etc; without it libc reads the files itself. */
static bool is_nscd(const struct sockaddr *address, socklen_t length)
{
    static const char path[] = "/var/run/nscd/socket";
    const struct sockaddr_un *un = (const struct sockaddr_un *)(const void *)address;
    return address && length >= offsetof(struct sockaddr_un, sun_path) + sizeof path && un->sun_family == AF_UNIX &&
           memcmp(un->sun_path, path, sizeof path) == 0;
}

static int hook_connect(int fd, const struct sockaddr *address, socklen_t length)
{
    if (is_nscd(address, length) && shim_space() && ovl_space_holds(shim_space(), "/etc/passwd"))
        return (int)answer(-ENOENT);
    int type;
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &type);
    long r = ovl_sys_raw(SYS_connect, fd, OVL_SYS_PTR(address), (long)length, 0, 0, 0);
    pthread_setcanceltype(type, NULL);
    return (int)answer(r);
}

/* ---- the table ----------------------------------------------------------------------------------- */

#define PATCH(symbol, hook) {#symbol, (const void *)(hook)},
const struct shim_hook shim_hooks[] = {
#include "patch_table.def"
};
#undef PATCH
const unsigned shim_hooks_count = sizeof shim_hooks / sizeof *shim_hooks;

bool shim_hooks_prepare(const struct shim_object *libc)
{
    size_t size;
    void *openat = shim_object_function(libc, "openat64", &size);
    if (!openat)
        return false;
    memcpy(&libc_openat, &openat, sizeof libc_openat);
    uncancelled = shim_next;
    uncancelled.open = raw_open;
    return true;
}

void shim_hooks_done(const struct shim_object *libc)
{
    size_t size;
    void *own = shim_object_function(libc, "fstatat64", &size);
    shim_hooks_active = true;
    if (own && shim_real_get(SHIM_REAL_fstatat) == own)
        __atomic_store_n(&shim_real_slot[SHIM_REAL_fstatat], shim_early_function("fstatat"), __ATOMIC_RELEASE);
}
