/* SPDX-License-Identifier: MIT
 *
 * st_dev and st_ino that stay the same across copy-up.
 *
 * A directory has the identity of the lowest layer's directory that takes part.  Any other object that
 * was copied up has that of its origin, and a directory that was renamed the one that it had; these are recorded under
 * the copy's own number in the work directory: a symbolic link state/origin/DEV-INO whose target is "DEV:INO:BIRTH"
 * (and ":BIRTH" of the origin where that has several names, link_index.c), written in one call, read in one call, and
 * told from a stale one by the copy's birth time.  When the copy's last name goes, its record moves to state/gone,
 * where descriptors of it find it until the next run: before, with a name that says so, and again after it.  The filter
 * in shared memory makes the look-up free for objects that were never copied up.  No mark stands on upper files
 * themselves.
 */
#include "types.h"

#define ORIGIN_DIR "/state/origin/"
#define GONE_DIR "/state/gone/" /* of objects without a name, which some process may have open */
#define GOING "-going"          /* behind the number of one that is about to lose its name */
/* Numbers of directories on another file system than dir_dev are moved out of the way of its own. */
#define FOREIGN_SHIFT 56

/* The part of the kernel's struct statx that is needed here (statx(2)); libc's own would clash. */
struct birth {
    char before[32];
    uint64_t ino;
    char between[40];
    int64_t sec;
    uint32_t nsec;
    char after[256 - 92];
};
#define STATX_INO_BIT 0x100u
#define STATX_BTIME_BIT 0x800u

static int look(int dirfd, const char *path, int flags, struct birth *b)
{
    memset(b, 0, sizeof *b);
    return ovl_sys_statx(dirfd, path, flags, STATX_BTIME_BIT | STATX_INO_BIT, b);
}

static uint64_t nanoseconds(const struct birth *b)
{
    return (uint64_t)b->sec * 1000000000u + b->nsec;
}

int ovl_birth(int dirfd, const char *path, int flags, uint64_t *birth)
{
    struct birth b;
    int r = look(dirfd, path, flags, &b);
    *birth = nanoseconds(&b);
    return r == -ENOSYS || r == -EPERM ? 0 : r; /* no such call (CONTRACT 4.6) */
}

/* Where the record of a copy is, or may be. */
struct place {
    const char *dir, *suffix;
};
static const struct place recorded = {ORIGIN_DIR, ""}, going = {GONE_DIR, GOING}, gone = {GONE_DIR, ""};

static int record_path(const struct ovl *o, struct place place, const struct stat *copy, char *out, size_t n)
{
    char number[24];
    ssize_t at = ovl_append(out, n, 0, o->work);
    if (at >= 0)
        at = ovl_append(out, n, (size_t)at, place.dir);
    if (at >= 0)
        at = ovl_append(out, n, (size_t)at, ovl_decimal(number, copy->st_dev));
    if (at >= 0)
        at = ovl_append(out, n, (size_t)at, "-");
    if (at >= 0)
        at = ovl_append(out, n, (size_t)at, ovl_decimal(number, copy->st_ino));
    if (at >= 0)
        at = ovl_append(out, n, (size_t)at, place.suffix);
    return at < 0 ? (int)at : 0;
}

/* A path in the work directory is short; this bounds what stands on a small stack. */
enum { RECORD_MAX = 600, TARGET_MAX = 104 };

/* What a record says. */
struct record {
    struct stat origin; /* its device and inode */
    uint64_t birth;     /* of the copy */
    bool linked;
    uint64_t origin_birth; /* if linked */
};

int ovl_identity_record(struct ovl *o, int fd, const char *path, const struct stat *copy, const struct stat *origin,
                        const uint64_t *origin_birth)
{
    char record[RECORD_MAX];
    char target[TARGET_MAX];
    char number[24];
    struct ovl_shared *shared = ovl_shared(o);
    if (!shared || record_path(o, recorded, copy, record, sizeof record) < 0)
        return 0; /* without a record the number changes; the data are safe */
    uint64_t birth;
    ovl_birth(fd, path, fd == AT_FDCWD ? AT_SYMLINK_NOFOLLOW : AT_EMPTY_PATH, &birth);
    ssize_t at = ovl_append(target, sizeof target, 0, ovl_decimal(number, origin->st_dev));
    at = ovl_append(target, sizeof target, (size_t)at, ":");
    at = ovl_append(target, sizeof target, (size_t)at, ovl_decimal(number, origin->st_ino));
    at = ovl_append(target, sizeof target, (size_t)at, ":");
    at = ovl_append(target, sizeof target, (size_t)at, ovl_decimal(number, birth));
    if (origin_birth) {
        at = ovl_append(target, sizeof target, (size_t)at, ":");
        ovl_append(target, sizeof target, (size_t)at, ovl_decimal(number, *origin_birth));
    }
    int r = ovl_sys_symlink(target, record);
    if (r == -EEXIST) {
        ovl_sys_unlink(record);
        r = ovl_sys_symlink(target, record);
    }
    if (r == 0) {
        ovl_shared_note(shared, copy->st_ino);
        ovl_shared_note(shared, origin->st_ino); /* ovl_may_be_copied() */
    }
    return r;
}

static void move_record(struct ovl *o, const struct stat *copy, struct place from_place, struct place to_place)
{
    char from[RECORD_MAX], to[RECORD_MAX];
    const struct ovl_shared *shared = ovl_shared(o);
    if (copy->st_nlink > 1 && !S_ISDIR(copy->st_mode))
        return; /* it has other names */
    if (shared && ovl_shared_may_have(shared, copy->st_ino) &&
        record_path(o, from_place, copy, from, sizeof from) == 0 && record_path(o, to_place, copy, to, sizeof to) == 0)
        ovl_sys_rename(from, to, 0);
}

void ovl_identity_forget(struct ovl *o, const struct stat *copy)
{
    move_record(o, copy, recorded, going);
}

void ovl_identity_forgotten(struct ovl *o, const struct stat *copy, int result)
{
    move_record(o, copy, going, result < 0 ? recorded : gone);
}

/* Who was about to remove a copy may have been killed before that: its record is one again, and, if the copy is gone, a
 * stale one. */
static bool take_back(struct ovl *o, const char *path)
{
    char record[RECORD_MAX];
    const char *number = ovl_strrchr(path, '/') + 1, *suffix = ovl_strrchr(number, '-');
    ssize_t n = ovl_append(record, sizeof record, 0, o->work);
    if (!suffix || !ovl_streq(suffix, GOING) || n < 0)
        return false;
    n = ovl_append(record, sizeof record, (size_t)n, ORIGIN_DIR);
    n = n < 0 ? n : ovl_append(record, sizeof record, (size_t)n, number);
    if (n < 0)
        return false;
    record[(size_t)n - (sizeof GOING - 1)] = '\0';
    return ovl_sys_rename(path, record, 1u /* RENAME_NOREPLACE */) == 0;
}

static void clear_record(struct ovl_ctx *ctx, struct ovl *o, const char *path)
{
    (void)ctx;
    if (!take_back(o, path))
        ovl_sys_unlink(path);
}

void ovl_identity_start(struct ovl *o)
{
    struct ovl_ctx ctx;
    if (ovl_ctx_begin(&ctx, NULL, NULL) < 0)
        return;
    ovl_work_each(&ctx, o, GONE_DIR, clear_record);
    ovl_ctx_end(&ctx);
}

/* The target of a record; of an object that has had a name when it was looked at, and has none any more, too. */
static ssize_t read_target(const struct ovl *o, const struct stat *copy, char *target, size_t n)
{
    const struct place places[] = {recorded, going, gone, recorded}; /* in the order in which it moves, and back */
    char path[RECORD_MAX];
    ssize_t r = -1;
    for (size_t i = 0; r <= 0 && i < sizeof places / sizeof *places; i++)
        r = record_path(o, places[i], copy, path, sizeof path) < 0 ? -1 : ovl_sys_readlink(path, target, n);
    return r;
}

static bool read_record(struct ovl *o, const struct stat *copy, struct record *record)
{
    char target[TARGET_MAX];
    const struct ovl_shared *shared = ovl_shared(o);
    if (!shared || !ovl_shared_may_have(shared, copy->st_ino))
        return false;
    ssize_t n = read_target(o, copy, target, sizeof target - 1);
    if (n <= 0)
        return false;
    target[n] = '\0';
    const char *p = target;
    record->origin.st_dev = ovl_parse_decimal(&p);
    if (*p++ != ':')
        return false;
    record->origin.st_ino = ovl_parse_decimal(&p);
    if (*p++ != ':')
        return false;
    record->birth = ovl_parse_decimal(&p);
    record->linked = *p == ':';
    if (record->linked) {
        p++;
        record->origin_birth = ovl_parse_decimal(&p);
    }
    return true;
}

bool ovl_identity_group(struct ovl *o, const struct stat *copy, struct ovl_group *group)
{
    struct record record;
    return read_record(o, copy, &record) && record.linked &&
           ovl_group_path(o, &record.origin, record.origin_birth, group);
}

/* Give *st the identity that is recorded for it in this overlay: 1; 0, there is none; or -ESTALE, another object has
 * its name by now, so that nobody can tell. */
static int find_origin(struct ovl *o, int dirfd, const char *path, int flags, struct stat *st)
{
    struct birth birth;
    struct record record;
    struct ovl_group group;
    if (!read_record(o, st, &record))
        return 0;
    const int r = look(dirfd, path, flags, &birth);
    if (r == -ENOENT || (r == 0 && birth.ino != st->st_ino))
        return -ESTALE;
    if (record.birth != nanoseconds(&birth))
        return 0;
    st->st_dev = record.origin.st_dev;
    st->st_ino = record.origin.st_ino;
    if (record.linked && st->st_nlink > 0 && ovl_group_path(o, &record.origin, record.origin_birth, &group))
        ovl_group_count(&group, st->st_nlink - 1, st); /* but the index */
    return 1;
}

int ovl_identity(struct ovl_space *space, int dirfd, const char *path, int flags, struct stat *st)
{
    for (unsigned i = 0; i < space->ovls; i++) {
        struct ovl *o = &space->ovl[i];
        const int r = o->has_upper && o->layer[0].dev == st->st_dev ? find_origin(o, dirfd, path, flags, st) : 0;
        if (r != 0)
            return r < 0 ? r : 0;
    }
    /* A lower object: others of its names may have been removed, or have been copied up by now. */
    if (st->st_nlink < 2 || S_ISDIR(st->st_mode))
        return 0;
    for (unsigned i = 0; i < space->ovls; i++)
        if (space->ovl[i].has_upper && ovl_group_count_lower(&space->ovl[i], dirfd, path, flags, st))
            break;
    return 0;
}

bool ovl_may_be_copied(struct ovl_space *space, const struct stat *st)
{
    for (unsigned i = 0; i < space->ovls; i++) {
        struct ovl *o = &space->ovl[i];
        const struct ovl_shared *shared = o->has_upper ? ovl_shared(o) : NULL;
        if (shared && ovl_shared_may_have(shared, st->st_ino))
            return true;
    }
    return false;
}

uint64_t ovl_identity_dir_ino(const struct ovl *o, dev_t dev, uint64_t ino)
{
    if (dev == o->dir_dev)
        return ino;
    for (unsigned i = 0; i < o->layers; i++)
        if (o->layer[i].dev == dev)
            return ino ^ ((uint64_t)(i % 255 + 1) << FOREIGN_SHIFT);
    return ino ^ ((uint64_t)255 << FOREIGN_SHIFT);
}

/* *st is of the directory's uppermost layer. */
static void identify_dir(struct ovl_ctx *ctx, const struct ovl_node *node, struct stat *st)
{
    const struct ovl *o = node->ovl;
    unsigned lowest = ovl_lowest(o, &node->dirs);
    if (o->has_upper && lowest == 0 && find_origin(node->ovl, AT_FDCWD, node->real, AT_SYMLINK_NOFOLLOW, st) > 0)
        return; /* a merged one before it was renamed */
    if (lowest != node->top && lowest < o->layers) {
        size_t mark = ctx->used;
        int fds = ctx->fds;
        struct stat low;
        char *path = ovl_ctx_alloc(ctx, OVL_REAL_MAX);
        if (path && ovl_real_path(ctx, o->layer[lowest].path, ovl_relative(o, node->path), path) == 0 &&
            ovl_sys_lstat(path, &low) == 0) {
            st->st_dev = low.st_dev;
            st->st_ino = low.st_ino;
        }
        ovl_ctx_close(ctx, fds);
        ovl_ctx_reset(ctx, mark);
        st->st_nlink = 1; /* as overlayfs: the links of the merged directory are not counted */
    }
    st->st_ino = ovl_identity_dir_ino(o, st->st_dev, st->st_ino);
    st->st_dev = o->dir_dev;
}

void ovl_identity_dir(struct ovl_ctx *ctx, const struct ovl_node *node, struct stat *st)
{
    st->st_dev = node->st.st_dev;
    st->st_ino = node->st.st_ino;
    identify_dir(ctx, node, st);
}

bool ovl_spot_stat(struct ovl_space *space, const struct ovl_spot *spot, int dirfd, const char *path, struct stat *st)
{
    if ((st->st_mode & S_IFMT) != spot->type)
        return false;
    const bool may_differ = spot->ovl->has_upper && (spot->layer == 0 || st->st_nlink > 1);
    return !may_differ || ovl_identity(space, dirfd, path, AT_SYMLINK_NOFOLLOW, st) == 0;
}

int ovl_stat(struct ovl_ctx *ctx, const struct ovl_node *node, struct stat *st)
{
    if (!node->exists)
        return -ENOENT;
    int r = 0;
    if (ctx->ops->is_kernel && !node->partly)
        *st = node->st;
    else
        r = ctx->ops->lstat(node->real, st);
    if (r < 0)
        return r;
    if (S_ISLNK(st->st_mode) != S_ISLNK(node->st.st_mode))
        return -ESTALE;
    if (S_ISCHR(st->st_mode) && st->st_rdev == 0)
        return -ENOENT; /* a whiteout has taken the name since it was looked up */
    if (S_ISDIR(st->st_mode))
        identify_dir(ctx, node, st);
    else if (node->ovl->has_upper && (node->top == 0 || node->linked || st->st_nlink > 1))
        return ovl_identity(ctx->space, AT_FDCWD, node->real, AT_SYMLINK_NOFOLLOW, st);
    return 0;
}
