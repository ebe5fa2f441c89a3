/* SPDX-License-Identifier: MIT
 *
 * The table behind fds.h: one fixed entry a descriptor, under a sequence count.  Untouched pages of
 * it cost nothing.  Long paths and high descriptors are not remembered.
 */
#include "fds.h"

#include "sys.h"
#include "text.h"

#include <string.h>

#define ENTRIES 1024
#define PATH_SIZE 208

struct entry {
    uint32_t sequence;
    uint8_t kind;
    uint8_t length;
    uint16_t generation;
    uint64_t dev, ino;
    uint64_t mark; /* ovl_moves_mark(): when the path was true */
    char path[PATH_SIZE];
};

static struct entry table[ENTRIES];
static uint16_t generation;

static struct entry *entry_of(int fd)
{
    return fd >= 0 && fd < ENTRIES ? &table[fd] : NULL;
}

/* False when another writer is at it: the entry then stays what that one makes of it. */
static bool begin_write(struct entry *e, uint32_t *sequence)
{
    *sequence = __atomic_load_n(&e->sequence, __ATOMIC_RELAXED) & ~1u;
    return __atomic_compare_exchange_n(&e->sequence, sequence, *sequence + 1, false, __ATOMIC_ACQ_REL,
                                       __ATOMIC_RELAXED);
}

static void end_write(struct entry *e, uint32_t sequence)
{
    __atomic_store_n(&e->sequence, sequence + 2, __ATOMIC_RELEASE);
}

/* *st is what fstat(2) says of the descriptor. */
static void remember(struct entry *e, enum shim_fd_kind kind, const char *path, uint64_t mark, const struct stat *st)
{
    uint32_t sequence;
    size_t length = strlen(path);
    if (shim_in_vfork() || !begin_write(e, &sequence))
        return;
    bool fits = length < PATH_SIZE;
    e->kind = fits ? (uint8_t)kind : SHIM_FD_UNKNOWN;
    if (fits) {
        e->dev = st->st_dev;
        e->ino = st->st_ino;
        e->mark = mark;
        e->length = (uint8_t)length;
        e->generation = __atomic_load_n(&generation, __ATOMIC_RELAXED);
        memcpy(e->path, path, length + 1);
    }
    end_write(e, sequence);
}

void shim_fds_set(struct shim_call *call, int fd, enum shim_fd_kind kind, const char *path)
{
    struct entry *e = entry_of(fd);
    struct stat st;
    if (!e)
        return;
    uint64_t mark = kind == SHIM_FD_OUTSIDE ? OVL_MOVES_NONE : ovl_moves_mark(call->ctx.space, path);
    if ((kind != SHIM_FD_OUTSIDE && !ovl_moves_settled(call->ctx.space, call->moves)) || ovl_sys_fstat(fd, &st) < 0)
        shim_fds_clear(fd);
    else
        remember(e, kind, path, mark, &st);
}

void shim_fds_set_outside(struct shim_call *call, int fd, const char *path)
{
    char text[PATH_SIZE];
    char link[48] = "/proc/self/fd/";
    char number[24];
    if (path[0] == '/') {
        shim_fds_set(call, fd, SHIM_FD_OUTSIDE, path);
        return;
    }
    ovl_append(link, sizeof link, strlen(link), ovl_decimal(number, (uint64_t)fd));
    ssize_t n = ovl_sys_readlink(link, text, sizeof text - 1);
    if (n <= 0 || text[0] != '/' || (size_t)n == sizeof text - 1) {
        shim_fds_clear(fd);
        return;
    }
    text[n] = '\0';
    shim_fds_set(call, fd, SHIM_FD_OUTSIDE, text);
}

/* Copy an entry whole. */
static enum shim_fd_kind read_entry(const struct entry *e, char *path, uint64_t *mark, struct stat *st)
{
    uint32_t before = __atomic_load_n(&e->sequence, __ATOMIC_ACQUIRE);
    enum shim_fd_kind kind = e->kind;
    *mark = e->mark;
    st->st_dev = e->dev;
    st->st_ino = e->ino;
    if ((before & 1) || e->length >= PATH_SIZE || e->generation != __atomic_load_n(&generation, __ATOMIC_RELAXED))
        return SHIM_FD_UNKNOWN;
    memcpy(path, e->path, e->length);
    path[e->length] = '\0';
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    return __atomic_load_n(&e->sequence, __ATOMIC_RELAXED) == before ? kind : SHIM_FD_UNKNOWN;
}

bool shim_fds_may_be_inside(int fd)
{
    const struct entry *e = entry_of(fd);
    return !e || __atomic_load_n(&e->kind, __ATOMIC_RELAXED) != SHIM_FD_OUTSIDE;
}

enum shim_fd_kind shim_fds_get(struct shim_call *call, int fd, char *buf)
{
    struct entry *e = entry_of(fd);
    struct stat now, then;
    uint64_t mark;
    if (!e || __atomic_load_n(&e->kind, __ATOMIC_RELAXED) == SHIM_FD_UNKNOWN || ovl_sys_fstat(fd, &now) < 0)
        return SHIM_FD_UNKNOWN;
    enum shim_fd_kind kind = read_entry(e, buf, &mark, &then);
    if (kind == SHIM_FD_UNKNOWN || now.st_dev != then.st_dev || now.st_ino != then.st_ino)
        return SHIM_FD_UNKNOWN;
    if (kind == SHIM_FD_OUTSIDE || !ovl_moved_since(call->ctx.space, mark))
        return kind;
    int removed = ovl_follow(&call->ctx, buf, kind == SHIM_FD_REMOVED, &mark);
    if (removed < 0)
        return SHIM_FD_UNKNOWN;
    kind = removed ? SHIM_FD_REMOVED : SHIM_FD_INSIDE;
    remember(e, kind, buf, mark, &now);
    return kind;
}

void shim_fds_clear(int fd)
{
    struct entry *e = entry_of(fd);
    uint32_t sequence;
    if (!e || __atomic_load_n(&e->kind, __ATOMIC_RELAXED) == SHIM_FD_UNKNOWN || shim_in_vfork())
        return;
    if (!begin_write(e, &sequence))
        return;
    e->kind = SHIM_FD_UNKNOWN;
    end_write(e, sequence);
}

void shim_fds_clear_range(unsigned first, unsigned last)
{
    for (unsigned fd = first; fd <= last && fd < ENTRIES; fd++)
        shim_fds_clear((int)fd);
}

void shim_fds_copy(int from, int to)
{
    const struct entry *e = entry_of(from);
    if (from == to)
        return;
    if (!e || e->kind == SHIM_FD_UNKNOWN) {
        shim_fds_clear(to);
        return;
    }
    char path[PATH_SIZE];
    struct stat st, now;
    uint64_t mark;
    enum shim_fd_kind kind = read_entry(e, path, &mark, &st);
    struct entry *copy = entry_of(to);
    if (!copy)
        return;
    if (kind == SHIM_FD_UNKNOWN || ovl_sys_fstat(to, &now) < 0 || now.st_dev != st.st_dev || now.st_ino != st.st_ino)
        shim_fds_clear(to);
    else
        remember(copy, kind, path, mark, &now);
}

void shim_fds_forget(void)
{
    if (!shim_in_vfork())
        __atomic_fetch_add(&generation, 1, __ATOMIC_RELAXED);
}
