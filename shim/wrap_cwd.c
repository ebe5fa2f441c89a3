/* SPDX-License-Identifier: MIT
 *
 * The current directory, and paths made canonical.
 */
#define _GNU_SOURCE
#include "boundary.h"
#include "cwd.h"
#include "fds.h"
#include "real.h"
#include "sys.h"
#include "wrap.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- chdir ---------------------------------------------------------------------------------------- */

/* The kernel has gone somewhere outside: remember where, as it says it. */
static void set_from_kernel(struct shim_call *call)
{
    char *buf = ovl_ctx_alloc(&call->ctx, OVL_PATH_MAX);
    if (!buf || ovl_sys_getcwd(buf, OVL_PATH_MAX) <= 0 || buf[0] != '/')
        shim_cwd_set(call, NULL, SHIM_OUTSIDE, SHIM_NO_LAYER);
    else
        shim_cwd_set(call, buf, SHIM_OUTSIDE, SHIM_NO_LAYER);
}

/* Whether the kernel would write a core file into the current directory (core(5)). */
static bool dumps_core_here(void)
{
    struct rlimit limit;
    char first = '|';
    if (ovl_sys_prlimit(RLIMIT_CORE, NULL, &limit) < 0 || limit.rlim_cur == 0)
        return false;
    int fd = ovl_sys_open(AT_FDCWD, "/proc/sys/kernel/core_pattern", O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return false;
    ovl_sys_read(fd, &first, 1);
    ovl_sys_close(fd);
    return first != '|' && first != '/';
}

/* A core file must not fall into a lower layer (CONTRACT 3.1): its directory is copied up first. */
static void keep_core_out(struct shim_call *call, struct ovl_node *node)
{
    bool in_lower = node->top != 0 || ovl_is_read_only(node->ovl);
    if (in_lower && dumps_core_here() && ovl_copy_up(&call->ctx, node, OVL_COPY_ALL) < 0)
        ovl_log_line(OVL_LOG_WARN, node->path, ": a core file of this process would be made in the lower layer", NULL);
}

/* Where a descriptor is missing the kernel takes the path. */
static int change_to(const char *real)
{
    int fd = ovl_open_exact(real, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
    if (fd == -EMFILE || fd == -ENFILE)
        return (int)shim_result(REAL(chdir)(real));
    int r = fd < 0 ? fd : (int)shim_result(REAL(fchdir)(fd));
    if (fd >= 0)
        ovl_sys_close(fd);
    return r == -ELOOP ? -ESTALE : r;
}

static int go_inside(struct shim_call *call, struct ovl_node *node)
{
    if (!node->exists)
        return -ENOENT;
    if (!S_ISDIR(node->st.st_mode))
        return -ENOTDIR;
    keep_core_out(call, node);
    int r = change_to(node->real);
    if (r == 0)
        shim_cwd_set(call, node->path, SHIM_INSIDE, node->top);
    return r;
}

static int go(struct shim_call *call, const char *path)
{
    struct ovl_node *node;
    int dirfd = AT_FDCWD;
    int r = shim_find(call, &dirfd, &path, OVL_FOLLOW, &node);
    if (r == SHIM_INSIDE)
        return go_inside(call, node);
    if (r != SHIM_OUTSIDE)
        return r;
    r = (int)shim_result(REAL(chdir)(path));
    if (r == 0 && !call->removed) /* else: "." stays what it is */
        set_from_kernel(call);
    return r;
}

int wrap_chdir(const char *path)
{
    struct shim_call call;
    if (!shim_enter(&call))
        return REAL(chdir)(path);
    int r;
    struct shim_try tried = shim_try(&call);
    do
        r = go(&call, path);
    while (shim_again(&call, &tried, r));
    return (int)shim_leave(&call, r);
}

void shim_cwd_start(void)
{
    int saved = errno;
    if (shim_inherited_cwd() && dumps_core_here())
        wrap_chdir("."); /* inherited from a process that could not dump core there */
    errno = saved;
}

static int go_to_descriptor(struct shim_call *call, int fd)
{
    char *path = ovl_ctx_alloc(&call->ctx, OVL_PATH_MAX);
    struct ovl_node *node = ovl_node_new(&call->ctx);
    int r = path && node ? shim_dir_node(call, fd, path, node) : -ENOMEM;
    if (r == SHIM_INSIDE)
        return node->ovl ? go_inside(call, node) : -ENOENT;
    if (r < 0 && r != -EBADF && r != -ENOTDIR)
        return r;
    const bool is_removed = r == SHIM_REMOVED;
    r = (int)shim_result(REAL(fchdir)(fd));
    if (r == 0 && is_removed)
        shim_cwd_set(call, path, SHIM_REMOVED, SHIM_NO_LAYER);
    else if (r == 0)
        set_from_kernel(call);
    return r;
}

int wrap_fchdir(int fd)
{
    struct shim_call call;
    if (!shim_enter(&call))
        return REAL(fchdir)(fd);
    int r;
    struct shim_try tried = shim_try(&call);
    do
        r = go_to_descriptor(&call, fd);
    while (shim_again(&call, &tried, r));
    return (int)shim_leave(&call, r);
}

/* ---- getcwd ------------------------------------------------------------------------------------------ */

/* The merged cwd if it is inside and still there: 1; 0 when libc's own answer is right; or an error. */
static int inside_cwd(struct shim_call *call, char **path)
{
    struct ovl_node *node = ovl_node_new(&call->ctx);
    *path = ovl_ctx_alloc(&call->ctx, OVL_PATH_MAX);
    int r = *path && node ? shim_dir_node(call, AT_FDCWD, *path, node) : -ENOMEM;
    if (r == -EACCES) /* a directory above may not be searched: none is asked for */
        return 1;
    if (r != SHIM_INSIDE)
        return r == SHIM_REMOVED ? -ENOENT : r;
    return node->ovl && !node->exists ? -ENOENT : 1;
}

/* size 0 and buf NULL: as much as is needed, from malloc (getcwd(3), glibc's extension). */
char *wrap_getcwd(char *buf, size_t size)
{
    struct shim_call call;
    if (!shim_enter(&call))
        return REAL(getcwd)(buf, size);
    char *path;
    char *result = NULL;
    int r = inside_cwd(&call, &path);
    if (r == 0) {
        result = REAL(getcwd)(buf, size);
        r = result ? 0 : -errno;
    } else if (r == 1) {
        size_t need = strlen(path) + 1;
        r = buf && size == 0 ? -EINVAL : size != 0 && size < need ? -ERANGE : 0;
        if (r == 0)
            result = buf ? buf : malloc(size ? size : need);
        if (r == 0 && !result)
            r = -ENOMEM;
        if (result)
            memcpy(result, path, need);
    }
    shim_leave(&call, r);
    return result;
}

char *wrap_getwd(char *buf)
{
    if (!buf) {
        errno = EINVAL;
        return NULL;
    }
    return wrap_getcwd(buf, PATH_MAX);
}

/* $PWD where it is the cwd, as get_current_dir_name(3) says. */
char *wrap_get_current_dir_name(void)
{
    struct stat named, here;
    const char *pwd = getenv("PWD");
    int saved = errno;
    if (pwd && *pwd == '/' && wrap_stat(pwd, &named) == 0 && wrap_stat(".", &here) == 0 &&
        named.st_dev == here.st_dev && named.st_ino == here.st_ino)
        return strdup(pwd);
    errno = saved;
    return wrap_getcwd(NULL, 0);
}

/* ---- realpath -------------------------------------------------------------------------------------------- */

static int find_canonical(struct shim_call *call, const char *path, const char **canonical)
{
    struct ovl_node *node;
    struct stat st;
    int dirfd = AT_FDCWD;
    int r = shim_find(call, &dirfd, &path, OVL_FOLLOW | OVL_LONG, &node);
    if (r < 0 || call->removed)
        return r < 0 ? r : -ENOENT;
    *canonical = path;
    if (r == SHIM_OUTSIDE)
        return REAL(fstatat)(dirfd, path, &st, 0) < 0 ? -errno : SHIM_OUTSIDE;
    *canonical = node->path;
    return node->exists ? SHIM_INSIDE : -ENOENT;
}

char *wrap_realpath(const char *path, char *resolved)
{
    struct shim_call call;
    if (!path || !shim_enter(&call))
        return REAL(realpath)(path, resolved);
    const char *canonical = NULL;
    char *result = NULL;
    int r;
    struct shim_try tried = shim_try(&call);
    do
        r = find_canonical(&call, path, &canonical);
    while (shim_look_again(&call, &tried, r));
    if (r == SHIM_OUTSIDE) {
        result = REAL(realpath)(canonical, resolved);
        r = result ? 0 : -errno;
    } else if (r == SHIM_INSIDE) {
        size_t need = strlen(canonical) + 1;
        r = need > PATH_MAX ? -ENAMETOOLONG : 0;
        if (r == 0 && !(result = resolved ? resolved : malloc(need)))
            r = -ENOMEM;
        if (result)
            memcpy(result, canonical, need);
    }
    shim_leave(&call, r);
    return result;
}

char *wrap_canonicalize_file_name(const char *path)
{
    return wrap_realpath(path, NULL);
}

#define SHIM_FILE_cwd
#include "export.h"
