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
#define PATH_SIZE 216

struct entry {
    uint32_t sequence;
    uint8_t kind;
    uint8_t length;
    uint16_t generation;
    uint64_t dev, ino, renames;
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

void shim_fds_set(int fd, enum shim_fd_kind kind, const char *path, uint64_t renames)
{
    struct entry *e = entry_of(fd);
    struct stat st;
    uint32_t sequence;
    size_t length = strlen(path);
    if (!e || shim_in_vfork())
        return;
    bool fits = length < PATH_SIZE && ovl_sys_fstat(fd, &st) == 0;
    if (!begin_write(e, &sequence))
        return;
    e->kind = fits ? (uint8_t)kind : SHIM_FD_UNKNOWN;
    if (fits) {
        e->dev = st.st_dev;
        e->ino = st.st_ino;
        e->renames = renames;
        e->length = (uint8_t)length;
        e->generation = __atomic_load_n(&generation, __ATOMIC_RELAXED);
        memcpy(e->path, path, length + 1);
    }
    end_write(e, sequence);
}

void shim_fds_set_outside(int fd, const char *path)
{
    char text[PATH_SIZE];
    char link[48] = "/proc/self/fd/";
    char number[24];
    if (path[0] == '/') {
        shim_fds_set(fd, SHIM_FD_OUTSIDE, path, 0);
        return;
    }
    ovl_append(link, sizeof link, strlen(link), ovl_decimal(number, (uint64_t)fd));
    ssize_t n = ovl_sys_readlink(link, text, sizeof text - 1);
    if (n <= 0 || text[0] != '/' || (size_t)n == sizeof text - 1) {
        shim_fds_clear(fd);
        return;
    }
    text[n] = '\0';
    shim_fds_set(fd, SHIM_FD_OUTSIDE, text, 0);
}

enum shim_fd_kind shim_fds_get(int fd, char *buf)
{
    const struct entry *e = entry_of(fd);
    struct stat st;
    if (!e || __atomic_load_n(&e->kind, __ATOMIC_RELAXED) == SHIM_FD_UNKNOWN || ovl_sys_fstat(fd, &st) < 0)
        return SHIM_FD_UNKNOWN;
    uint32_t before = __atomic_load_n(&e->sequence, __ATOMIC_ACQUIRE);
    enum shim_fd_kind kind = e->kind;
    bool same = e->dev == st.st_dev && e->ino == st.st_ino && e->length < PATH_SIZE &&
                e->generation == __atomic_load_n(&generation, __ATOMIC_RELAXED) &&
                (kind == SHIM_FD_OUTSIDE || e->renames == ovl_space_renames(shim_space()));
    if ((before & 1) || !same)
        return SHIM_FD_UNKNOWN;
    memcpy(buf, e->path, e->length);
    buf[e->length] = '\0';
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    return __atomic_load_n(&e->sequence, __ATOMIC_RELAXED) == before ? kind : SHIM_FD_UNKNOWN;
}

bool shim_fds_may_be_inside(int fd)
{
    const struct entry *e = entry_of(fd);
    return !e || __atomic_load_n(&e->kind, __ATOMIC_RELAXED) != SHIM_FD_OUTSIDE;
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
    uint32_t before = __atomic_load_n(&e->sequence, __ATOMIC_ACQUIRE);
    enum shim_fd_kind kind = e->kind;
    uint64_t renames = e->renames;
    memcpy(path, e->path, sizeof path);
    path[sizeof path - 1] = '\0';
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    if ((before & 1) || __atomic_load_n(&e->sequence, __ATOMIC_RELAXED) != before)
        shim_fds_clear(to);
    else
        shim_fds_set(to, kind, path, renames);
}

void shim_fds_forget(void)
{
    if (!shim_in_vfork())
        __atomic_fetch_add(&generation, 1, __ATOMIC_RELAXED);
}
