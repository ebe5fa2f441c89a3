/* SPDX-License-Identifier: MIT
 *
 * Directory streams and getdents64.
 *
 * A stream over a merged directory is ours: a snapshot of the merged listing, taken at the first read
 * and again after rewinddir.  Streams over anything else are libc's own and pass through; the two are
 * told apart by their first word, where libc has a descriptor.  Positions are indices into the
 * listing.  What must hold: an entry removed or made meanwhile neither ends the stream nor shows twice.
 */
#define _GNU_SOURCE
#include "boundary.h"
#include "fds.h"
#include "real.h"
#include "streams.h"
#include "sys.h"
#include "wrap.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TRIES 256                          /* while directories are being renamed */
#define MAGIC INT64_C(-0x6f766c5f64697231) /* libc's struct begins with a descriptor, which is never negative */

struct shim_dir {
    int64_t magic;
    int fd;
    bool listed;
    struct ovl_listing listing;
    size_t next;
    struct dirent entry;
};

static struct shim_dir *ours(DIR *dir)
{
    struct shim_dir *d = (struct shim_dir *)(void *)dir;
    return d && d->magic == MAGIC ? d : NULL;
}

/* ---- listing ---------------------------------------------------------------------------------------- */

/* 1, 0 when the directory has no merged listing, or an error. */
static int list_once(struct shim_call *call, int fd, char *path, struct ovl_node *node, struct ovl_listing *listing)
{
    int r = shim_dir_node(call, fd, path, node);
    if (r != SHIM_INSIDE)
        return r == SHIM_REMOVED ? -ENOENT : r;
    if (!node->ovl)
        return 0;
    r = ovl_list(&call->ctx, node, listing);
    return r < 0 ? r : 1;
}

int shim_list_fd(int fd, struct ovl_listing *listing)
{
    struct shim_call call;
    if (!shim_begin(&call, "readdir"))
        return 0;
    char *path = ovl_ctx_alloc(&call.ctx, OVL_PATH_MAX);
    struct ovl_node *node = ovl_node_new(&call.ctx);
    int r = path && node ? 0 : -ENOMEM;
    for (int i = 0; r != -ENOMEM; i++) {
        r = list_once(&call, fd, path, node, listing);
        /* Where the directory has moved meanwhile, nothing was listed, or another one that has its name now. */
        if (i == TRIES || ovl_moves_settled(call.ctx.space, call.moves))
            break;
        if (r > 0)
            ovl_listing_free(listing);
        ovl_moves_wait(&call.ctx);
    }
    return (int)shim_leave(&call, r);
}

static int fill(struct shim_dir *d)
{
    if (d->listed)
        return 0;
    int r = shim_list_fd(d->fd, &d->listing);
    if (r < 0 && errno != ENOENT)
        return -1;
    if (r <= 0)
        memset(&d->listing, 0, sizeof d->listing); /* removed meanwhile: nothing is left to list */
    d->listed = true;
    return 0;
}

static struct dirent *next_entry(struct shim_dir *d)
{
    int saved = errno;
    if (fill(d) < 0)
        return NULL;
    errno = saved;
    if (d->next >= d->listing.count)
        return NULL;
    const struct ovl_entry *e = &d->listing.entry[d->next++];
    d->entry.d_ino = e->ino;
    d->entry.d_off = (off_t)d->next;
    d->entry.d_type = e->type;
    d->entry.d_reclen = (unsigned short)((offsetof(struct dirent, d_name) + e->length + 1u + 7u) & ~7u);
    memcpy(d->entry.d_name, e->name, e->length + 1u);
    return &d->entry;
}

/* ---- opening and closing ------------------------------------------------------------------------------ */

/* A stream begins where the descriptor stands, which getdents64 may have moved. */
static DIR *make_stream(int fd)
{
    struct shim_dir *d = calloc(1, sizeof *d);
    if (!d)
        return NULL;
    off_t at = ovl_sys_lseek(fd, 0, SEEK_CUR);
    d->magic = MAGIC;
    d->fd = fd;
    d->next = at < 0 ? 0 : (size_t)at;
    return (DIR *)(void *)d;
}

/* Whether fd is a merged directory. */
static bool is_merged(int fd)
{
    struct shim_call call;
    if (!shim_begin(&call, "fdopendir"))
        return false;
    char *path = ovl_ctx_alloc(&call.ctx, OVL_PATH_MAX);
    int r = path ? shim_dir_place(&call, fd, path) : 0;
    shim_leave(&call, 0);
    return r == SHIM_INSIDE || r == SHIM_REMOVED;
}

DIR *wrap_fdopendir(int fd)
{
    struct stat st;
    if (!is_merged(fd))
        return REAL(fdopendir)(fd);
    if (REAL(fstat)(fd, &st) < 0)
        return NULL;
    int flags = REAL(fcntl)(fd, F_GETFL);
    if (!S_ISDIR(st.st_mode) || flags & O_PATH || (flags & O_ACCMODE) == O_WRONLY) {
        errno = S_ISDIR(st.st_mode) ? (flags & O_PATH ? EBADF : EINVAL) : ENOTDIR;
        return NULL;
    }
    REAL(fcntl)(fd, F_SETFD, FD_CLOEXEC);
    return make_stream(fd);
}

DIR *wrap_opendir(const char *path)
{
    if (!path || !*path) {
        errno = path ? ENOENT : EFAULT;
        return NULL;
    }
    int fd = shim_open_directory(AT_FDCWD, path);
    if (fd < 0)
        return NULL;
    DIR *dir = wrap_fdopendir(fd);
    if (!dir) {
        int why = errno;
        shim_close(fd);
        errno = why;
    }
    return dir;
}

int wrap_closedir(DIR *dir)
{
    struct shim_dir *d = ours(dir);
    if (!d) {
        int fd = dir ? REAL(dirfd)(dir) : -1;
        if (fd >= 0)
            shim_fds_clear(fd);
        return REAL(closedir)(dir);
    }
    int fd = d->fd;
    ovl_listing_free(&d->listing);
    d->magic = 0;
    free(d);
    return shim_close(fd);
}

int wrap_dirfd(DIR *dir)
{
    const struct shim_dir *d = ours(dir);
    return d ? d->fd : REAL(dirfd)(dir);
}

/* ---- reading -------------------------------------------------------------------------------------------- */

struct dirent *wrap_readdir(DIR *dir)
{
    struct shim_dir *d = ours(dir);
    return d ? next_entry(d) : REAL(readdir)(dir);
}

int wrap_readdir_r(DIR *dir, struct dirent *entry, struct dirent **result)
{
    struct shim_dir *d = ours(dir);
    if (!d) {
        _Pragma("GCC diagnostic push")
            _Pragma("GCC diagnostic ignored \"-Wdeprecated-declarations\"") return REAL(readdir_r)(dir, entry, result);
        _Pragma("GCC diagnostic pop")
    }
    int saved = errno;
    errno = 0;
    const struct dirent *e = next_entry(d);
    int why = errno;
    errno = saved;
    *result = NULL;
    if (!e)
        return why;
    memcpy(entry, e, e->d_reclen);
    *result = entry;
    return 0;
}

long wrap_telldir(DIR *dir)
{
    const struct shim_dir *d = ours(dir);
    return d ? (long)d->next : REAL(telldir)(dir);
}

void wrap_seekdir(DIR *dir, long position)
{
    struct shim_dir *d = ours(dir);
    if (!d)
        REAL(seekdir)(dir, position);
    else
        d->next = position < 0 ? 0 : (size_t)position;
}

void wrap_rewinddir(DIR *dir)
{
    struct shim_dir *d = ours(dir);
    if (!d) {
        REAL(rewinddir)(dir);
        return;
    }
    ovl_listing_free(&d->listing);
    d->listed = false;
    d->next = 0;
}

/* ---- getdents64 -------------------------------------------------------------------------------------------- */

static size_t put_entry(const struct ovl_entry *e, size_t index, char *to, size_t room)
{
    size_t length = (offsetof(struct ovl_dirent, d_name) + e->length + 1u + 7u) & ~(size_t)7;
    if (length > room)
        return 0;
    struct ovl_dirent head = {
        .d_ino = e->ino, .d_off = (int64_t)index + 1, .d_reclen = (uint16_t)length, .d_type = e->type};
    memset(to, 0, length);
    memcpy(to, &head, offsetof(struct ovl_dirent, d_name));
    memcpy(to + offsetof(struct ovl_dirent, d_name), e->name, e->length + 1u);
    return length;
}

/* The position is the kernel's own file offset, so that lseek, dup and fork have their usual meaning. */
static ssize_t getdents_merged(int fd, const struct ovl_listing *listing, char *buf, size_t size)
{
    off_t at = ovl_sys_lseek(fd, 0, SEEK_CUR);
    if (at < 0)
        return at;
    size_t used = 0;
    size_t index = (size_t)at;
    for (; index < listing->count; index++) {
        size_t n = put_entry(&listing->entry[index], index, buf + used, size - used);
        if (n == 0)
            break;
        used += n;
    }
    if (used == 0 && index < listing->count)
        return -EINVAL; /* as the kernel where the buffer is too small for one entry */
    off_t r = ovl_sys_lseek(fd, (off_t)index, SEEK_SET);
    return r < 0 ? r : (ssize_t)used;
}

/* From the merged listing of fd, or from `next`, the kernel's own way, where there is none. */
static ssize_t getdents_by(ssize_t (*next)(int fd, void *buf, size_t size), int fd, void *buf, size_t size)
{
    struct ovl_listing own, *listing;
    int known = shim_stream_of(fd, &own, &listing);
    if (known <= 0)
        return known < 0 ? -1 : next(fd, buf, size);
    ssize_t r = getdents_merged(fd, listing, buf, size);
    if (listing == &own)
        ovl_listing_free(&own);
    if (r >= 0)
        return r;
    errno = (int)-r;
    return -1;
}

ssize_t wrap_getdents64(int fd, void *buf, size_t size)
{
    return getdents_by(REAL(getdents64), fd, buf, size);
}

static ssize_t getdents_raw(int fd, void *buf, size_t size)
{
    ssize_t r = ovl_sys_getdents(fd, buf, size);
    if (r >= 0)
        return r;
    errno = (int)-r;
    return -1;
}

ssize_t shim_getdents(int fd, void *buf, size_t size)
{
    return getdents_by(getdents_raw, fd, buf, size);
}

ssize_t wrap_getdirentries(int fd, char *buf, size_t size, off_t *base)
{
    off_t at = ovl_sys_lseek(fd, 0, SEEK_CUR);
    ssize_t n = wrap_getdents64(fd, buf, size);
    if (n >= 0 && base)
        *base = at;
    return n;
}

#define SHIM_FILE_dir
#include "export.h"
