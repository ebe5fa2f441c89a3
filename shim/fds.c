/* SPDX-License-Identifier: MIT
 *
 * The table behind fds.h: one fixed entry a descriptor, under a sequence count.  Untouched pages of
 * it cost nothing.  Long paths and high descriptors are not remembered.
 */
#include "fds.h"

#include "sys.h"
#include "text.h"

#include <string.h>

#define ENTRIES 832 /* with more, libovl.so would be larger than libc: see tests/static/size.sh */
#define PATH_SIZE 206

struct entry {
    uint32_t sequence;
    uint8_t kind;
    uint8_t length;
    uint16_t generation;
    uint64_t dev, ino;
    uint64_t mark;  /* ovl_moves_mark(): when the path was true */
    uint16_t layer; /* whose directory it is, or SHIM_NO_LAYER */
    char path[PATH_SIZE];
};

/* What an entry says, but for its path. */
struct said {
    enum shim_fd_kind kind;
    unsigned layer;
    uint64_t mark;
    dev_t dev;
    ino_t ino;
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

static void remember(struct entry *e, const char *path, const struct said *said)
{
    uint32_t sequence;
    size_t length = strlen(path);
    if (shim_in_vfork() || !begin_write(e, &sequence))
        return;
    bool fits = length < PATH_SIZE;
    e->kind = fits ? (uint8_t)said->kind : SHIM_FD_UNKNOWN;
    if (fits) {
        e->dev = said->dev;
        e->ino = said->ino;
        e->mark = said->mark;
        e->layer = (uint16_t)said->layer;
        e->length = (uint8_t)length;
        e->generation = __atomic_load_n(&generation, __ATOMIC_RELAXED);
        memcpy(e->path, path, length + 1);
    }
    end_write(e, sequence);
}

void shim_fds_set(struct shim_call *call, int fd, enum shim_fd_kind kind, const char *path, unsigned layer)
{
    struct entry *e = entry_of(fd);
    struct stat st;
    if (!e)
        return;
    uint64_t mark = kind == SHIM_FD_OUTSIDE ? OVL_MOVES_NONE : ovl_moves_mark(call->ctx.space, path);
    if ((kind != SHIM_FD_OUTSIDE && !ovl_moves_settled(call->ctx.space, call->moves)) || ovl_sys_fstat(fd, &st) < 0)
        shim_fds_clear(fd);
    else
        remember(e, path, &(struct said){kind, layer, mark, st.st_dev, st.st_ino});
}

void shim_fds_set_outside(struct shim_call *call, int fd, const char *path)
{
    char text[PATH_SIZE];
    char link[48] = "/proc/self/fd/";
    char number[24];
    if (path[0] == '/') {
        shim_fds_set(call, fd, SHIM_FD_OUTSIDE, path, SHIM_NO_LAYER);
        return;
    }
    ovl_append(link, sizeof link, strlen(link), ovl_decimal(number, (uint64_t)fd));
    ssize_t n = ovl_sys_readlink(link, text, sizeof text - 1);
    if (n <= 0 || text[0] != '/' || (size_t)n == sizeof text - 1) {
        shim_fds_clear(fd);
        return;
    }
    text[n] = '\0';
    shim_fds_set(call, fd, SHIM_FD_OUTSIDE, text, SHIM_NO_LAYER);
}

/* Copy an entry whole.  False when nothing is remembered of the descriptor, or somebody else writes it just now. */
static bool read_entry(const struct entry *e, char *path, struct said *said)
{
    uint32_t before = __atomic_load_n(&e->sequence, __ATOMIC_ACQUIRE);
    *said = (struct said){(enum shim_fd_kind)e->kind, e->layer, e->mark, e->dev, e->ino};
    if ((before & 1) || e->length >= PATH_SIZE || e->generation != __atomic_load_n(&generation, __ATOMIC_RELAXED))
        return false;
    memcpy(path, e->path, e->length);
    path[e->length] = '\0';
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    return __atomic_load_n(&e->sequence, __ATOMIC_RELAXED) == before && said->kind != SHIM_FD_UNKNOWN;
}

static bool is_still(int fd, const struct said *said)
{
    struct stat now;
    return ovl_sys_fstat(fd, &now) == 0 && now.st_dev == said->dev && now.st_ino == said->ino;
}

bool shim_fds_may_be_inside(int fd)
{
    const struct entry *e = entry_of(fd);
    return !e || __atomic_load_n(&e->kind, __ATOMIC_RELAXED) != SHIM_FD_OUTSIDE;
}

size_t shim_fds_inside(const struct ovl_space *space, int fd, char *buf, size_t n, unsigned *layer)
{
    const struct entry *e = entry_of(fd);
    struct said said;
    if (!e || __atomic_load_n(&e->kind, __ATOMIC_RELAXED) != SHIM_FD_INSIDE || n < PATH_SIZE ||
        !read_entry(e, buf, &said) || said.kind != SHIM_FD_INSIDE || ovl_moved_since(space, said.mark) ||
        !is_still(fd, &said))
        return 0;
    *layer = said.layer;
    return strlen(buf);
}

enum shim_fd_kind shim_fds_get(struct shim_call *call, int fd, char *buf)
{
    struct entry *e = entry_of(fd);
    struct said said;
    call->layer = SHIM_NO_LAYER;
    if (!e || !read_entry(e, buf, &said) || !is_still(fd, &said))
        return SHIM_FD_UNKNOWN;
    if (said.kind == SHIM_FD_OUTSIDE || !ovl_moved_since(call->ctx.space, said.mark)) {
        call->layer = said.layer;
        return said.kind;
    }
    int removed = ovl_follow(&call->ctx, buf, said.kind == SHIM_FD_REMOVED, &said.mark);
    if (removed < 0)
        return SHIM_FD_UNKNOWN;
    said.kind = removed ? SHIM_FD_REMOVED : SHIM_FD_INSIDE;
    said.layer = SHIM_NO_LAYER;
    remember(e, buf, &said);
    return said.kind;
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
    struct said said;
    struct entry *copy = entry_of(to);
    if (!copy)
        return;
    if (read_entry(e, path, &said) && is_still(to, &said))
        remember(copy, path, &said);
    else
        shim_fds_clear(to);
}

void shim_fds_forget(void)
{
    if (!shim_in_vfork())
        __atomic_fetch_add(&generation, 1, __ATOMIC_RELAXED);
}
