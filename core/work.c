/* SPDX-License-Identifier: MIT
 *
 * The work directory: names for what is half-made, and clearing what killed processes left there.
 *
 * A name tells its maker (pid name space, thread id and a time at which that lived), so that the next run removes
 * exactly what has no living maker.  What must hold: nothing in the work directory is ever the only copy of something
 * that a program has written.
 */
#include "types.h"

#define WORK_DIR "/work/"
#define DEPTH_MAX 64

uint64_t ovl_pid_space(void)
{
    struct stat st;
    return ovl_sys_stat("/proc/self/ns/pid", &st) == 0 ? st.st_ino : 0;
}

int ovl_work_path(const struct ovl *o, const char *name, char *out)
{
    ssize_t n = ovl_append(out, OVL_REAL_MAX, 0, o->work);
    if (n >= 0)
        n = ovl_append(out, OVL_REAL_MAX, (size_t)n, name);
    return (int)n;
}

/* PIDSPACE-TID-TIME-COUNT */
int ovl_work_name(const struct ovl *o, char *out)
{
    static uint32_t counter;
    static uint64_t pid_space;
    uint64_t space = __atomic_load_n(&pid_space, __ATOMIC_RELAXED);
    if (!space) {
        space = ovl_pid_space();
        __atomic_store_n(&pid_space, space, __ATOMIC_RELAXED);
    }
    struct timespec now = {0, 0};
    ovl_sys_clock_gettime(CLOCK_BOOTTIME, &now);
    const uint64_t part[] = {space, (uint64_t)ovl_sys_gettid(),
                             (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec,
                             __atomic_add_fetch(&counter, 1, __ATOMIC_RELAXED)};
    char number[24];
    ssize_t n = ovl_work_path(o, WORK_DIR, out);
    for (size_t i = 0; i < sizeof part / sizeof *part && n >= 0; i++) {
        if (i)
            n = ovl_append(out, OVL_REAL_MAX, (size_t)n, "-");
        if (n >= 0)
            n = ovl_append(out, OVL_REAL_MAX, (size_t)n, ovl_decimal(number, part[i]));
    }
    return n < 0 ? (int)n : 0;
}

/* ---- files that processes share ------------------------------------------------------------------- */

/* Allocated before it is mapped: a hole on a full disk would be a SIGBUS in somebody's
 * program; and so would a limit on the size of files be a SIGXFSZ: it is lifted for so long, as far as it may be. */
int ovl_allocate(int fd, off_t size)
{
    const rlim_t wanted = (rlim_t)size;
    struct rlimit given, lifted;
    if (ovl_sys_prlimit(RLIMIT_FSIZE, NULL, &given) < 0)
        return -EFBIG;
    if (given.rlim_max < wanted)
        return -EFBIG;
    lifted = (struct rlimit){given.rlim_max, given.rlim_max};
    if (given.rlim_cur < wanted && ovl_sys_prlimit(RLIMIT_FSIZE, &lifted, NULL) < 0)
        return -EFBIG;
    int r = ovl_sys_fallocate(fd, size);
    if (r == -EOPNOTSUPP)
        r = ovl_sys_ftruncate(fd, size);
    if (given.rlim_cur < wanted)
        ovl_sys_prlimit(RLIMIT_FSIZE, &given, NULL);
    return r;
}

int ovl_work_make_file(const char *aside, const char *path, const void *header, size_t n, off_t size)
{
    int fd = ovl_sys_open(AT_FDCWD, aside, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return fd;
    int r = ovl_allocate(fd, size);
    if (r == 0) {
        ssize_t written = ovl_sys_write(fd, header, n);
        r = written < 0 ? (int)written : written == (ssize_t)n ? 0 : -EIO;
    }
    ovl_sys_close(fd);
    if (r == 0)
        r = ovl_sys_linkat(AT_FDCWD, aside, AT_FDCWD, path, 0);
    ovl_sys_unlink(aside);
    return r == -EEXIST ? 0 : r;
}

/* ---- what lies in it ----------------------------------------------------------------------------- */

void ovl_work_each(struct ovl_ctx *ctx, struct ovl *o, const char *dir,
                   void (*act)(struct ovl_ctx *ctx, struct ovl *o, const char *path))
{
    enum { SIZE = 8192 };
    size_t mark = ctx->used;
    char *path = ovl_ctx_alloc(ctx, OVL_REAL_MAX), *buf = ovl_ctx_alloc(ctx, SIZE);
    const ssize_t length = path && buf ? ovl_work_path(o, dir, path) : -ENOMEM;
    int fd = length < 0 ? -1 : ovl_sys_open(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
    ssize_t n;
    while (fd >= 0 && (n = ovl_sys_getdents(fd, buf, SIZE)) > 0) {
        for (ssize_t at = 0; at < n;) {
            const struct ovl_dirent *d = (const struct ovl_dirent *)(void *)(buf + at);
            at += d->d_reclen;
            if (!ovl_streq(d->d_name, ".") && !ovl_streq(d->d_name, "..") &&
                ovl_append(path, OVL_REAL_MAX, (size_t)length, d->d_name) >= 0)
                act(ctx, o, path);
        }
    }
    if (fd >= 0)
        ovl_sys_close(fd);
    ovl_ctx_reset(ctx, mark);
}

/* ---- removing trees ---------------------------------------------------------------------------- */

/* The first entry of a directory but "." and ".."; removing it each time needs no position that
 * removal could upset.  1 and its path appended to path, 0 when empty. */
static int first_entry(struct ovl_ctx *ctx, char *path, size_t length)
{
    enum { SIZE = 1024 };
    size_t mark = ctx->used;
    char *buf = ovl_ctx_alloc(ctx, SIZE);
    int fd = buf ? ovl_sys_open(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0) : -ENOMEM;
    if (fd < 0)
        return fd;
    int r = 0;
    ssize_t n;
    while (r == 0 && (n = ovl_sys_getdents(fd, buf, SIZE)) > 0) {
        for (ssize_t at = 0; at < n && r == 0;) {
            const struct ovl_dirent *d = (const struct ovl_dirent *)(void *)(buf + at);
            at += d->d_reclen;
            if (ovl_streq(d->d_name, ".") || ovl_streq(d->d_name, ".."))
                continue;
            ssize_t end = ovl_append(path, OVL_REAL_MAX, length, "/");
            if (end >= 0)
                end = ovl_append(path, OVL_REAL_MAX, (size_t)end, d->d_name);
            r = end < 0 ? (int)end : 1;
        }
    }
    ovl_sys_close(fd);
    ovl_ctx_reset(ctx, mark);
    return r;
}

static int discard_file(struct ovl_ctx *ctx, struct ovl *o, const char *path)
{
    struct stat st;
    const bool known = o && ovl_sys_lstat(path, &st) == 0 && !S_ISDIR(st.st_mode);
    if (known)
        ovl_identity_forget(o, &st);
    int r = ctx->ops->unlink(path);
    if (known)
        ovl_identity_forgotten(o, &st, r);
    return r;
}

static int discard_dir(struct ovl_ctx *ctx, struct ovl *o, const char *path)
{
    struct stat st;
    const bool known = o && ovl_sys_lstat(path, &st) == 0;
    if (known)
        ovl_identity_forget(o, &st);
    int r = ctx->ops->rmdir(path);
    if (known)
        ovl_identity_forgotten(o, &st, r);
    return r;
}

void ovl_work_discard(struct ovl_ctx *ctx, struct ovl *o, const char *top)
{
    size_t mark = ctx->used;
    char *path = ovl_ctx_alloc(ctx, OVL_REAL_MAX);
    ssize_t length = path ? ovl_append(path, OVL_REAL_MAX, 0, top) : -ENOMEM;
    size_t shortest = length < 0 ? 0 : (size_t)length;
    /* Down to a leaf, remove it, up again; every pass removes one object, so this ends. */
    while (length >= (ssize_t)shortest && length > 0) {
        int r = discard_file(ctx, o, path);
        if (r == -EISDIR || r == -EPERM) {
            r = discard_dir(ctx, o, path);
            if (r == -EACCES || r == -ENOTEMPTY || r == -EEXIST) {
                ovl_sys_chmod(path, 0700);
                r = first_entry(ctx, path, (size_t)length);
                if (r == 1) {
                    length = (ssize_t)ovl_strlen(path);
                    continue;
                }
            }
        }
        if (r < 0 && r != -ENOENT)
            break;
        *(char *)(uintptr_t)ovl_strrchr(path, '/') = '\0';
        length = (ssize_t)ovl_strlen(path);
    }
    ovl_ctx_reset(ctx, mark);
}

/* ---- clearing at the start of a run --------------------------------------------------------------- */

/* Whether the maker named in a work entry is certainly gone. */
static bool is_left_over(const char *name, uint64_t pid_space)
{
    const char *p = name;
    uint64_t space = ovl_parse_decimal(&p);
    if (*p++ != '-' || space != pid_space)
        return false;
    uint64_t tid = ovl_parse_decimal(&p);
    if (*p++ != '-' || tid == 0 || tid > INT32_MAX)
        return false;
    uint64_t hundredths = ovl_parse_decimal(&p) / 10000000;
    return ovl_is_dead(hundredths << 32 | tid);
}

int ovl_work_note(const struct ovl *o, const char *real, char *note)
{
    *note = '\0';
    if (ovl_has_prefix(real, OVL_FD_PREFIX))
        return 0;
    int r = ovl_work_name(o, note);
    if (r == 0)
        r = ovl_sys_symlink(real, note);
    if (r < 0)
        *note = '\0';
    return r;
}

/* A whiteout over nothing, unless the name is of something else by now: with its directory's lock, as it may be made
 * again just now. */
static void discard_whiteout(struct ovl_ctx *ctx, struct ovl *o, const char *real)
{
    struct ovl_held held;
    struct stat st;
    const size_t mark = ctx->used;
    char *dir = ovl_ctx_alloc(ctx, OVL_PATH_MAX);
    ssize_t n = dir ? ovl_append(dir, OVL_PATH_MAX, 0, o->mount) : -ENOMEM;
    if (n >= 0)
        n = ovl_append(dir, OVL_PATH_MAX, (size_t)n, real + o->layer[0].length);
    if (n >= 0) {
        char *slash = (char *)(uintptr_t)ovl_strrchr(dir, '/');
        slash[slash == dir] = '\0';
        n = ovl_lock_dirs(o, dir, NULL, &held);
    }
    if (n >= 0) {
        if (ovl_sys_lstat(real, &st) == 0 && ovl_is_whiteout_device(&st))
            ovl_sys_unlink(real);
        ovl_unlock(&held);
    }
    ovl_ctx_reset(ctx, mark);
}

/* What a note names is what a killed process has left in the upper (ovl_work_note()). */
static void discard_noted(struct ovl_ctx *ctx, struct ovl *o, const char *note)
{
    struct stat st;
    size_t mark = ctx->used;
    char *path = ovl_ctx_alloc(ctx, OVL_REAL_MAX);
    ssize_t n = path ? ovl_sys_readlink(note, path, OVL_REAL_MAX - 1) : -ENOMEM;
    if (n > 0) {
        path[n] = '\0';
        struct ovl_open_how how = {.flags = O_PATH | O_NOFOLLOW | O_CLOEXEC, .resolve = OVL_RESOLVE_NO_SYMLINKS};
        const bool is_ours = ovl_is_below(path, o->layer[0].path, o->layer[0].length) && path[o->layer[0].length];
        const bool is_aside = is_ours && ovl_has_prefix(ovl_strrchr(path, '/') + 1, OVL_WH_ASIDE);
        int fd = is_ours ? ovl_sys_openat2(AT_FDCWD, path, &how) : -ENOENT;
        const bool is_whiteout = fd >= 0 && ovl_sys_fstat(fd, &st) == 0 && ovl_is_whiteout_device(&st);
        if (fd >= 0)
            ovl_sys_close(fd);
        if (fd >= 0 && is_aside)
            ovl_work_discard(ctx, o, path);
        else if (is_whiteout)
            discard_whiteout(ctx, o, path);
    }
    ovl_ctx_reset(ctx, mark);
}

static void clean_one(struct ovl_ctx *ctx, struct ovl *o, const char *path)
{
    if (!is_left_over(ovl_strrchr(path, '/') + 1, ovl_pid_space()))
        return;
    if (o->has_upper) {
        ovl_narrow_left_over(ctx, o, path);
        discard_noted(ctx, o, path);
    }
    ovl_work_discard(ctx, o, path);
}

void ovl_space_clean(struct ovl_ctx *ctx)
{
    for (unsigned i = 0; i < ctx->space->ovls; i++)
        if (ctx->space->ovl[i].work) {
            ovl_work_each(ctx, &ctx->space->ovl[i], WORK_DIR, clean_one);
            ovl_group_clean(ctx, &ctx->space->ovl[i]);
        }
}
