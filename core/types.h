/* SPDX-License-Identifier: MIT
 *
 * What core's files share: the overlay's own structures and the functions between files, under
 * a heading for the file that has them.  Nothing here is for users of the library (ovl.h is).
 */
#ifndef OVL_TYPES_H
#define OVL_TYPES_H

#include "ovl.h"
#include "sys.h"
#include "text.h"

#include <errno.h>
#include <string.h> /* memcpy memset memmove memcmp: the compiler's own; nothing else of it */

/* With -ffreestanding they are calls of functions else, even for eight bytes. */
#define memcpy __builtin_memcpy
#define memset __builtin_memset
#define memcmp __builtin_memcmp

/* A layer's directory. `path` has no trailing slash, so that the root is "" and joining is one rule. */
struct ovl_layer {
    const char *path;
    size_t length;
    dev_t dev;
    bool borrowed; /* it stands for a place in another overlay (CONTRACT 1.9) */
};

enum ovl_whiteout_form { OVL_WHITEOUT_OCI, OVL_WHITEOUT_KERNEL };

/* One overlay. Immutable after the space is made, but for `shared`. */
struct ovl {
    unsigned number; /* its place in the space */
    const char *name;
    const char *mount; /* like a layer's path: "" is the root */
    size_t mount_length;
    struct ovl_layer *layer; /* 0 is the upper if has_upper */
    unsigned layers;
    unsigned roots; /* how many of them merge at the mount: up to the first whose root is opaque */
    bool has_upper;
    bool impure; /* the mount's directory: see struct ovl_stack */
    bool sorted; /* readdir=sorted */
    bool is_volatile;
    bool one_dev; /* all layers on one file system */
    bool looks;   /* nothing is made in the work directory, and nothing noted there: ovl_space_look() */
    enum ovl_whiteout_form whiteout;
    enum ovl_patch patch;
    enum ovl_guard guard;
    enum ovl_static static_policy;
    const char *work; /* NULL: none */
    size_t work_length;
    dev_t dir_dev; /* what directories report as st_dev */
    const char **static_allow;
    unsigned static_allows;
    const char **exclude; /* absolute merged paths */
    unsigned excludes;
    struct ovl_shared *shared; /* lock.c: mapped on first use; read and set atomically */
    struct ovl_cache *cache;   /* cache_file.c: the same */
    unsigned cache_asked;      /* how many layers before it is mapped */
    bool cache_failed;         /* it can't be */
};

/* A part of the name space: an overlay's mount, or (ovl NULL) a path below a mount that passes
 * through to the real file system: an exclude, a layer, a work directory. */
struct ovl_region {
    const char *path;
    size_t length;
    struct ovl *ovl;
};

struct ovl_space {
    struct ovl *ovl; /* longest mount first */
    unsigned ovls;
    struct ovl_region *region; /* longest path first */
    unsigned regions;
    const char *conf;
    const char *record;
    void *memory; /* all of the above, one mapping */
    size_t size;
    struct ovl_ways *ways; /* cache_walk.c: mapped on first use; read and set atomically */
};

/* The layer that a node's object is of. */
static inline unsigned ovl_layer_of(const struct ovl_node *node)
{
    return node->linked ? 0 : node->top;
}

/* ---- stack operations -------------------------------------------------------------------------- */
static inline void ovl_stack_add(struct ovl_stack *s, unsigned i)
{
    s->bits[i / 64] |= (uint64_t)1 << (i % 64);
}
/* The first layer at or after i that takes part, or `layers` if there is none. */
static inline unsigned ovl_stack_next(const struct ovl_stack *s, unsigned i, unsigned layers)
{
    while (i < layers) {
        uint64_t word = s->bits[i / 64] >> (i % 64);
        if (word)
            return i + (unsigned)__builtin_ctzll(word);
        i = (i / 64 + 1) * 64;
    }
    return layers;
}
static inline bool ovl_has_lower(const struct ovl *o, const struct ovl_stack *s)
{
    return ovl_stack_next(s, o->has_upper ? 1 : 0, o->layers) < o->layers;
}
static inline unsigned ovl_lowest(const struct ovl *o, const struct ovl_stack *s)
{
    unsigned last = o->layers;
    for (unsigned i = ovl_stack_next(s, 0, o->layers); i < o->layers; i = ovl_stack_next(s, i + 1, o->layers))
        last = i;
    return last;
}

/* ---- ctx.c ----------------------------------------------------------------------------------- */
/* Once per process, before the first context. */
void ovl_ctx_init(void);

/* ---- path.c ---------------------------------------------------------------------------------- */
/* The part of a merged path below its overlay's mount: "" or "/a/b". */
static inline const char *ovl_relative(const struct ovl *o, const char *merged)
{
    const char *rel = merged + o->mount_length;
    return rel[0] == '/' && !rel[1] ? rel + 1 : rel;
}
/* The layer path of rel ("" or "/a/b") in `root`, made short enough for one system call (through a
 * directory descriptor held by ctx if need be).  out has OVL_REAL_MAX bytes. */
int ovl_real_path(struct ovl_ctx *ctx, const char *root, const char *rel, char *out);
/* What the kernel calls a descriptor; room for that, a number and a slash. */
#define OVL_FD_PREFIX "/proc/self/fd/"
#define OVL_FD_PATH_MAX 40
/* That path, with `behind` after it ("" or "/a"), into n bytes: its length, or -ENAMETOOLONG. */
ssize_t ovl_fd_path(int fd, const char *behind, char *out, size_t n);
/* Where a layer path (as ovl_real_path() gives it) begins: at a descriptor of this call, which is no symbolic link of
 * the layer's, or at the root (AT_FDCWD). *real is then what comes behind. */
int ovl_real_start(const char **real);
/* Whether the first bytes of rel lead to a directory in `root` and each name on the way is one, not a symbolic link.
 * False also where that can't be told (permissions, no descriptor). */
bool ovl_is_plain_directory(struct ovl_ctx *ctx, const char *root, const char *rel, size_t rel_length);
/* The length of the merged path of the directory that the node's name is in. */
static inline size_t ovl_parent_length(const struct ovl_node *node)
{
    return node->name > 1 ? node->name - 1 : 1;
}
/* The path of that directory in a layer. */
int ovl_real_parent(struct ovl_ctx *ctx, const struct ovl_node *node, unsigned layer, char *out);
/* node->real: the node's path in the layer `top`. */
int ovl_real_of_top(struct ovl_ctx *ctx, struct ovl_node *node);
/* The same for a sibling: rel's last component replaced by prefix + itself (a whiteout's name). */
int ovl_real_sibling(struct ovl_ctx *ctx, const char *root, const char *rel, const char *prefix, char *out);
/* The same for a name below rel. */
int ovl_real_child(struct ovl_ctx *ctx, const char *root, const char *rel, const char *name, char *out);
/* The region that holds a normalised path: the longest one, or NULL for outside. (space.c) */
const struct ovl_region *ovl_region_of(const struct ovl_space *space, const char *path);
/* The region whose root is exactly this path, or NULL. */
const struct ovl_region *ovl_region_at(const struct ovl_space *space, const char *path, size_t length);

/* ---- anchor.c ---------------------------------------------------------------------------------- */
/* The lowest anchor at or above the merged path that lies in `o`, or NULL. */
const struct ovl_anchor *ovl_anchor_of(const struct ovl_ctx *ctx, const struct ovl *o, const char *path, size_t length);
/* The directory's path and what fstat(2) says of it. */
int ovl_anchor_stat(const struct ovl_ctx *ctx, const struct ovl_anchor *a, char *real, struct stat *st);
/* Of the first bytes of rel in the layer at `root`: how many an anchor stands for, and in prefix, of
 * OVL_ANCHOR_PREFIX_MAX bytes, what to write for root and these; "" where there is no anchor.  `itself`: no name
 * follows. */
#define OVL_ANCHOR_PREFIX_MAX (OVL_FD_PATH_MAX + 8)
size_t ovl_anchor_root(const struct ovl_ctx *ctx, const char *root, const char *rel, size_t length, bool itself,
                       char *prefix);
/* A walk goes up from the anchor at path, and the way to its parent is barred: anchor that too, or -EACCES. */
int ovl_anchor_above(struct ovl_ctx *ctx, const char *path, size_t length);
/* Forget those whose descriptors are closed. */
void ovl_anchors_drop(struct ovl_ctx *ctx);

/* ---- whiteout.c -------------------------------------------------------------------------------- */
#define OVL_WHITEOUT_MODE 0600 /* bits that no sensible umask takes away: the same upper whoever writes it */
static inline bool ovl_is_whiteout_device(const struct stat *st)
{
    return S_ISCHR(st->st_mode) && st->st_rdev == 0;
}
/* Whether an object found in a layer is itself a whiteout: a 0/0 device, or a zero-size file with
 * the whiteout xattr in a directory marked opaque=x: 1, 0, or an error. */
int ovl_is_whiteout(struct ovl_ctx *ctx, const char *real, const struct stat *st);
/* Whether layer `root` has a .wh. file for the name at rel: 1, 0, or an error. */
int ovl_has_whiteout(struct ovl_ctx *ctx, const char *root, const char *rel);
/* Whether the directory `real` hides what lies below it in further layers: 1, 0, or an error. */
int ovl_is_opaque(struct ovl_ctx *ctx, const char *real);
/* The same, by the marker file alone. */
int ovl_has_opaque_marker(struct ovl_ctx *ctx, const char *real);
/* What overlayfs says of a directory in attributes: the first byte of each, '?' for a long one, 0 for none. */
struct ovl_marks {
    char opaque;
    char redirect; /* it was renamed: what belongs to it lies elsewhere in the layers below (redirect_dir=on) */
    char impure;   /* something in it was copied up or moved there */
};
/* 0 or an error. */
int ovl_read_marks(const char *real, struct ovl_marks *marks);
/* What stands for something in the layers below that libovl does not look for: a log line, and -EIO. */
int ovl_refuse_redirect(const char *real);
/* 0, or the same for a file of an impure directory whose content was left below (metacopy=on). */
int ovl_check_content(const char *real);
/* Whether it is marked opaque=x, so that zero-size files in it may be whiteouts: 1, 0, or an error. */
int ovl_may_hold_xattr_whiteouts(const char *real);
/* Hide the node's name, of which the upper has nothing visible or (replacing) the object itself, from
 * the layers below; the parent directory is in the upper and locked. In the form that the overlay
 * writes; `.wh.` form leaves an upper object in place, the other forms take its place. */
int ovl_whiteout_make(struct ovl_ctx *ctx, const struct ovl_node *node);
/* Remove the .wh. file for the node's name from the upper, if there is one. */
int ovl_whiteout_remove(struct ovl_ctx *ctx, const struct ovl_node *node);
/* Whether the overlay would hide the node's name by an object of that very name. */
bool ovl_whiteout_takes_name(const struct ovl_node *node);
/* Let a whiteout of the xattr form count under the node's name: its directory gets the mark that this needs. */
int ovl_whiteout_allow(struct ovl_ctx *ctx, const struct ovl_node *node);
/* Whether the upper has a whiteout under the node's very name (a device or an xattr form). */
int ovl_whiteout_at_name(struct ovl_ctx *ctx, const struct ovl_node *node);
/* Mark the upper directory `real` as opaque, or take away every mark in it. */
int ovl_opaque_set(struct ovl_ctx *ctx, const struct ovl *o, const char *real);
/* The same for a directory of any layer, by the attribute or by a file; and taking the attribute away. */
int ovl_opaque_write(struct ovl_ctx *ctx, const char *real, bool by_attribute);
int ovl_opaque_remove_attributes(const char *real);
/* Make a whiteout of the attribute form aside, for a name in this directory, which from now on can hold it. */
int ovl_whiteout_attribute(const char *dir, const char *aside);
int ovl_markers_clear(struct ovl_ctx *ctx, const struct ovl *o, const char *real);
/* Remove the marks from an upper directory below which no lower layer takes part any more: they hide nothing. What is
 * visible stays, and so do the times. */
int ovl_markers_sweep(struct ovl_ctx *ctx, const struct ovl *o, const char *real, bool keep_opaque);

/* ---- lookup.c ---------------------------------------------------------------------------------- */
/* Look up the last component of node->path, whose parent directory node->in is: fills exists,
 * top, st, real, dirs.  An absent name is no error. */
int ovl_lookup(struct ovl_ctx *ctx, struct ovl_node *node);
/* The same, but of st the type will do. */
int ovl_lookup_type(struct ovl_ctx *ctx, struct ovl_node *node);
/* Look up the whole of node->path at once, from the mount of its overlay down: 1 when that was possible, 0 when it must
 * be walked name by name, or an error. */
int ovl_lookup_path(struct ovl_ctx *ctx, struct ovl_node *node, bool type_only);
/* The same by what a glance told: fills ovl and path too. */
int ovl_lookup_known(struct ovl_ctx *ctx, const struct ovl_glance *glance, struct ovl_node *node, bool type_only);
/* Whether a lower layer has the name at node->path (so that removing it needs a whiteout): 1 or 0. */
int ovl_lower_has(struct ovl_ctx *ctx, const struct ovl_node *node);
/* Put node at a merged directory path that has no symbolic links (finds overlay and stack).
 * path may be node->path itself. -ENOENT or -ENOTDIR when it is no such directory (any more). */
int ovl_locate(struct ovl_ctx *ctx, struct ovl_node *node, const char *path);
/* The same, but of st the type will do. */
int ovl_locate_type(struct ovl_ctx *ctx, struct ovl_node *node, const char *path);
/* Look at an inside node again, from the mount down: what it says may be old. */
int ovl_refresh(struct ovl_ctx *ctx, struct ovl_node *node);
/* The same, but of st the type will do. */
int ovl_refresh_type(struct ovl_ctx *ctx, struct ovl_node *node);
/* Add a component to node->path: -ENAMETOOLONG. */
int ovl_node_append(struct ovl_node *node, const char *name, size_t n);
/* Cut node->path back to its parent directory. */
void ovl_node_parent(struct ovl_node *node);
/* Whether the node is its overlay's mount itself. */
static inline bool ovl_is_mount(const struct ovl_node *node)
{
    return node->length <= (node->ovl->mount_length ? node->ovl->mount_length : 1);
}
/* The stack of an overlay's mount directory. */
void ovl_root_stack(const struct ovl *o, struct ovl_stack *s);

/* ---- cache_file.c ------------------------------------------------------------------------------ */
#define OVL_CACHE_ALIGN 64
#define OVL_CACHE_UNKNOWN 1u /* cache.c: the word of a name of which nothing is known */
bool ovl_cache_is_eager(void);
/* The cache of this run, made if need be; NULL when there is none to be had, or none wanted. */
struct ovl_cache *ovl_cache_for_reading(struct ovl *o);
/* The same for whoever changes something, with the change lock; NULL when nobody has one. */
struct ovl_cache *ovl_cache_for_changing(struct ovl *o);
/* What we change can't be said: from now on nobody believes the cache, in this run. */
void ovl_cache_give_up(struct ovl *o);
/* How one process sees it.  A segment is as large as all before it; the first one has OVL_CACHE_FIRST units. */
#define OVL_CACHE_FIRST 32768u
#define OVL_CACHE_SEGMENTS 11 /* 256 MiB in all: two million names and more */
struct ovl_cache {
    uint64_t run;
    const struct ovl *ovl;
    const struct ovl_cache_state *state;
    char *segment[OVL_CACHE_SEGMENTS + 20]; /* for any reference there is; the last ones are never mapped */
    char path[OVL_REAL_MAX], aside[OVL_REAL_MAX];
};
static inline uint32_t ovl_cache_run(const struct ovl_cache *cache)
{
    return (uint32_t)cache->run;
}
static inline unsigned ovl_cache_segment(uint64_t ref)
{
    return ref < OVL_CACHE_FIRST ? 0 : 64u - (unsigned)__builtin_clzll(ref / OVL_CACHE_FIRST);
}
static inline uint64_t ovl_cache_segment_begin(unsigned i)
{
    return i ? (uint64_t)OVL_CACHE_FIRST << (i - 1) : 0;
}
/* Whether this, which ovl_cache_for_reading() has given before, would be given again. */
bool ovl_cache_is_current(const struct ovl_cache *cache);
/* Map a segment; NULL when that can't be. */
void *ovl_cache_map(struct ovl_cache *cache, unsigned segment);
/* The place of a reference, NULL when it can't be mapped. */
static inline void *ovl_cache_at(struct ovl_cache *cache, uint32_t ref)
{
    const unsigned i = ovl_cache_segment(ref);
    char *segment = __atomic_load_n(&cache->segment[i], __ATOMIC_ACQUIRE);
    if (!segment && !(segment = ovl_cache_map(cache, i)))
        return NULL;
    return segment + (ref - ovl_cache_segment_begin(i)) * sizeof(uint64_t);
}
/* Memory for everybody, and for ever; 0: none left. */
uint32_t ovl_cache_alloc(struct ovl_cache *cache, size_t size);
/* Whether there is room for what is only made again, so that it may be listed faster. */
bool ovl_cache_has_room(struct ovl_cache *cache);
/* The word of the mount's directory. */
uint64_t *ovl_cache_root(struct ovl_cache *cache);
/* A run begins that no other one shares the work directory with. */
void ovl_cache_start(struct ovl *o);
/* When the overlay is freed. */
void ovl_cache_detach(struct ovl *o);

/* ---- cache.c ------------------------------------------------------------------------------------- */
/* Between ovl_cache_ask() and ovl_cache_tell(). */
struct ovl_cached {
    struct ovl_cache *cache;
    uint64_t *word; /* NULL: the answer of the plain walk can't be kept */
    uint64_t seen;
};
/* Whether the cache knows the name: fills exists, top, dirs, and of st the type.  The node says "not there" before. */
bool ovl_cache_ask(struct ovl_ctx *ctx, struct ovl_node *node, struct ovl_cached *cached);
/* The same, without the upper. */
bool ovl_cache_ask_lower(struct ovl_ctx *ctx, struct ovl_node *node);
/* The same for the directory of the node's overlay. */
bool ovl_cache_ask_mount(struct ovl_ctx *ctx, struct ovl_node *node, struct ovl_cached *cached);
/* What the plain walk found instead.  False: the name has changed meanwhile, ovl_cache_ask_again() and look again. */
bool ovl_cache_tell(struct ovl_node *node, const struct ovl_cached *cached);
void ovl_cache_ask_again(struct ovl_cached *cached);
/* Give the node's directory (node->in) its table; false when that can't be. */
bool ovl_cache_build(struct ovl_ctx *ctx, const struct ovl_node *node);
/* A listing without the numbers of "." and ".."; false where the layers must be asked. */
bool ovl_cache_list(struct ovl_ctx *ctx, const struct ovl_node *dir, struct ovl_listing *listing);
/* With the change lock: the name changes from now on, until ovl_cache_end() with what this returned.  `alone`: no outer
 * call of this thread holds the same lock. */
uint64_t *ovl_cache_begin(struct ovl *o, const struct ovl_node *node, bool alone, uint64_t *before);
void ovl_cache_end(uint64_t *word, uint64_t after);
/* With the lock of the node's directory: whether the upper is known to hold no whiteout in it, of any form. */
bool ovl_cache_has_no_whiteout(struct ovl_ctx *ctx, const struct ovl_node *node);
/* Before one is made there. */
void ovl_cache_expect_whiteout(const struct ovl_node *node);

/* ---- cache_walk.c -------------------------------------------------------------------------------- */
/* The number of a merged directory among the ways: of those with one number, the last that was gone to is remembered.
 */
unsigned ovl_way_number(const char *text, size_t n);
/* The whole of node->path, below the mount of node->ovl, without links and dots: 1 when it is known, as for
 * ovl_cache_ask(), with node->in; 0 when it must be walked name by name; or why it leads nowhere. */
int ovl_cache_walk(struct ovl_ctx *ctx, struct ovl_node *node);
/* The same by what a glance told; false when it must be walked. */
bool ovl_cache_recall(const struct ovl_ctx *ctx, const struct ovl_glance *glance, struct ovl_node *node);
/* When the space is freed. */
void ovl_ways_free(struct ovl_space *space);

/* ---- lock.c ------------------------------------------------------------------------------------ */
/* The overlay's change lock.  All signals are blocked while it is held. */
struct ovl_held {
    struct ovl_shared *shared;
    uint64_t owner;
    uint64_t signals;  /* the caller's mask */
    int bucket[2];     /* -1: none; equal ones are held once */
    int reader;        /* slot; -1: the tree is held as a whole; -2: by an outer call of the same thread */
    uint64_t *word[2]; /* cache.c: of the names that change */
    uint64_t before[2];
    uint64_t after[2]; /* what they have become; 0: that is to be found out */
};
/* cache.c: before a locked name (0 or 1, as it was given) is unlocked: after the change nothing has it. */
void ovl_held_gone(struct ovl_held *held, int which);
/* Or an object of the upper has it, which is of this type and no directory. */
void ovl_held_there(struct ovl_held *held, int which, mode_t type);
/* Or a directory of the upper, at `real`, has it that was made just now, whose own lock is held too: nothing is in it,
 * and nothing merges with it. */
void ovl_held_made(struct ovl_held *held, int which, struct ovl *o, const char *real);
/* The names of a and b (NULL: only a) change, each in its directory, and of the group with that index (NULL: none).
 * Other directories can be changed meanwhile. -EACCES when the work directory can't be used. In a call that a library
 * makes while this thread holds the lock already: what is held is shared, -EDEADLK where that can't be. */
int ovl_lock_names(struct ovl_node *a, struct ovl_node *b, const char *group, struct ovl_held *held);
/* Who may search the directory changes. */
int ovl_lock_search(const struct ovl_node *dir, struct ovl_held *held);
/* The same for what is no name: the directories at merged paths a and b, or groups (b NULL: only a). */
int ovl_lock_dirs(struct ovl *o, const char *a, const char *b, struct ovl_held *held);
/* No name changes in the directory while it is listed.  -EDEADLK when this thread holds anything already. */
int ovl_lock_listing(const struct ovl_node *dir, struct ovl_held *held);
/* Hold the whole tree: the directory a, and b (each may be NULL), moves or goes. */
int ovl_lock_tree(struct ovl *o, struct ovl_node *a, struct ovl_node *b, struct ovl_held *held);
void ovl_unlock(struct ovl_held *held);
#define OVL_SHARED_FILE "/state/shared"
/* The mapping that processes share, attached if need be; NULL where it can't be. */
struct ovl_shared *ovl_shared(struct ovl *o);
/* Unmap it, when the overlay is freed. */
void ovl_shared_detach(struct ovl *o);
/* Whether the file at this path is there, and not one that a libovl of this build has made. */
bool ovl_shared_is_foreign(const char *path);
/* The filter before the identity map: a number that may have an origin. */
bool ovl_shared_may_have(const struct ovl_shared *shared, uint64_t ino);
void ovl_shared_note(struct ovl_shared *shared, uint64_t ino);
/* Whether a lower file with several names was copied up, in this run or before. */
bool ovl_shared_has_groups(const struct ovl_shared *shared);
/* Before its index is there. */
void ovl_shared_note_group(struct ovl_shared *shared, uint64_t ino);
/* Of the directory cache. */
struct ovl_cache_state {
    uint64_t run;  /* which one has it; 0: none yet */
    uint64_t made; /* the last run that has a cache */
    uint64_t off;  /* somebody can't say what it changes: nothing is believed any more in this run */
};
struct ovl_cache_state *ovl_shared_cache(struct ovl_shared *shared);
/* Positions in the log of directories that move: both only grow. */
struct ovl_moves {
    uint64_t position; /* what is committed, and in the lowest bit whether a change is announced */
    uint64_t start;    /* where this run began */
};
struct ovl_moves *ovl_shared_moves(struct ovl_shared *shared);

/* ---- moves.c ------------------------------------------------------------------------------------ */
enum ovl_move { OVL_MOVE_TO = 1, OVL_MOVE_EXCHANGED, OVL_MOVE_REMOVED };
/* With the tree locked, before directory `from` is renamed to `to`, exchanged with it or removed (to NULL): announce
 * it.  After it, successful (0) or not, ovl_moves_end() with what this returned. */
uint64_t ovl_moves_begin(struct ovl_ctx *ctx, const struct ovl_node *from, const char *to, enum ovl_move kind);
void ovl_moves_end(const struct ovl *o, uint64_t end, int result);
/* A run begins that no other one shares the work directory with: what was logged is of no use any more. */
void ovl_moves_start(struct ovl *o);
/* The overlay and the number of the layer that a real path lies in (as for ovl_merged_path()), or NULL. (space.c) */
const struct ovl *ovl_space_layer_of(const struct ovl_space *space, const char *real, unsigned *number);

/* ---- work.c ------------------------------------------------------------------------------------ */
/* The path of a name, which begins with a slash, in the work directory: its length, or an error. out has OVL_REAL_MAX
 * bytes. */
int ovl_work_path(const struct ovl *o, const char *name, char *out);
/* Call act(ctx, o, path) for each entry, but "." and "..", of a directory of the work directory, as "/state/gone/". */
void ovl_work_each(struct ovl_ctx *ctx, struct ovl *o, const char *dir,
                   void (*act)(struct ovl_ctx *ctx, struct ovl *o, const char *path));
/* Give a file that will be mapped its size, and the space for that on the disk. */
int ovl_allocate(int fd, off_t size);
/* Make a file that processes share, beginning with so many bytes of header: aside, and linked into place, so that
 * nobody sees it half-made; the loser of a race uses the winner's. */
int ovl_work_make_file(const char *aside, const char *path, const void *header, size_t n, off_t size);
/* A fresh path in the work directory for something half-made. out has OVL_REAL_MAX bytes. */
int ovl_work_name(const struct ovl *o, char *out);
/* Note in the work directory what a kill from now on would leave in the upper at `real`, so that the next run takes it
 * away: an object under a reserved name (OVL_WH_ASIDE), or a whiteout, a device, over nothing.  `note`, of OVL_REAL_MAX
 * bytes, is then to be unlinked; "" where `real` is no name that lasts. */
int ovl_work_note(const struct ovl *o, const char *real, char *note);
/* The number of this process's pid name space. */
uint64_t ovl_pid_space(void);
/* Whether a thread has ended: its id and, in the high half, a time at which it lived, in hundredths of a second since
 * boot.  Where nobody can tell, it has not. */
bool ovl_is_dead(uint64_t owner);
/* Remove what lies at a path in the work directory, a tree too, and forget its identity (o NULL: it has none). Best
 * effort. */
void ovl_work_discard(struct ovl_ctx *ctx, struct ovl *o, const char *top);

/* ---- widen.c ------------------------------------------------------------------------------------- */
struct ovl_widened {
    mode_t mode;      /* what the directory had */
    const char *note; /* NULL: nothing was changed */
};
/* Let the owner of a directory read, write and search it; nothing is done to one that allows that, or to no directory.
 * `later`: its path if we are killed before ovl_narrow(). */
int ovl_widen(struct ovl_ctx *ctx, const struct ovl *o, const char *dir, const char *later,
              struct ovl_widened *widened);
void ovl_narrow(const char *dir, const struct ovl_widened *widened);
/* Do something to the upper directory `real` that is none of the program's doings: where its mode forbids it to the
 * owner, the mode is widened meanwhile. */
int ovl_with_access(struct ovl_ctx *ctx, const struct ovl *o, const char *real,
                    int (*act)(struct ovl_ctx *ctx, void *arg), void *arg);
/* Put back the mode that a killed process has noted. */
void ovl_narrow_left_over(struct ovl_ctx *ctx, const struct ovl *o, const char *note);

/* ---- link_index.c -------------------------------------------------------------------------------- */
/* The names of one lower object that is hard linked: the path of its index, or "" for none. */
struct ovl_group {
    char path[640];
};
/* The group of an object by its origin's numbers; false when the path would be too long. */
bool ovl_group_path(const struct ovl *o, const struct stat *origin, uint64_t birth, struct ovl_group *group);
/* The group of a node whose name only lower layers have: 1, 0 (and "") when it is of none, or an error. */
int ovl_group_of(const struct ovl_node *node, struct ovl_group *group);
/* Let a node that look-up has found in a lower layer stand for the copy that another of its names has got. */
int ovl_group_look(struct ovl_node *node);
/* Set st->st_nlink: `visible` names are in the upper. */
void ovl_group_count(const struct ovl_group *group, nlink_t visible, struct stat *st);
/* The same for an object of a lower layer, with (dirfd, path, flags) as for statx(2); false when it has no group. */
bool ovl_group_count_lower(struct ovl *o, int dirfd, const char *path, int flags, struct stat *st);
/* With the group locked, as a directory of its path: make the index of the first copy, which is at `aside`; the group
 * becomes "" where there can be none. */
int ovl_group_begin(struct ovl_ctx *ctx, const struct ovl_node *node, struct ovl_group *group, const char *aside);
/* The same for a copy at `aside` that is not to take its place yet: afterwards it is a link of the index. No lock is
 * held. */
int ovl_group_share(struct ovl_ctx *ctx, const struct ovl_node *node, const char *aside);
/* Take that back: the copy got no name, so that nothing was written to it. */
void ovl_group_undo(struct ovl_ctx *ctx, const struct ovl_node *node, const struct ovl_group *group);
/* With the group locked: the node's name, which only lower layers had, has been taken out of the group. */
void ovl_group_cover(struct ovl_ctx *ctx, const struct ovl_node *node, const struct ovl_group *group);
/* With the tree locked: a directory that only lower layers had was moved into the upper whole. */
void ovl_group_cover_tree(struct ovl_ctx *ctx, const struct ovl_node *dir);
/* With no lock held: the name was removed, or something else has taken its place. */
void ovl_group_name_gone(struct ovl_ctx *ctx, const struct ovl_node *node);
/* Remove what killed processes left of groups that no name needs. */
void ovl_group_clean(struct ovl_ctx *ctx, struct ovl *o);

/* ---- identity.c ------------------------------------------------------------------------------- */
/* Record that upper object `copy` (as fstat answers) has the identity of `origin`, which is of a group of links if
 * `birth`, its time of birth, is given. */
int ovl_identity_record(struct ovl *o, int fd, const char *path, const struct stat *copy, const struct stat *origin,
                        const uint64_t *birth);
/* A name of it is about to go: forget it, if that is the last one.  Before it goes: then its number may be that of
 * another process's copy. */
void ovl_identity_forget(struct ovl *o, const struct stat *copy);
/* The name has gone, or could not go (result < 0). */
void ovl_identity_forgotten(struct ovl *o, const struct stat *copy, int result);
/* A run begins that shares the work directory with none: nobody has a forgotten object open. */
void ovl_identity_start(struct ovl *o);
/* The group of links that is recorded for it, if one is. */
bool ovl_identity_group(struct ovl *o, const struct stat *copy, struct ovl_group *group);
/* When an object was made; 0 where the file system doesn't say. (dirfd, path, flags) as for statx(2). */
int ovl_birth(int dirfd, const char *path, int flags, uint64_t *birth);
/* The number that a directory shows: (dev, ino) is its lowest layer's. */
uint64_t ovl_identity_dir_ino(const struct ovl *o, dev_t dev, uint64_t ino);

/* ---- source.c ---------------------------------------------------------------------------------- */
/* The lower object of a node, held open by who copies it. */
struct ovl_source {
    const char *path;
    int fd;
    bool readable; /* a file or directory that may be read; of others the descriptor is O_PATH */
};
/* What the next library says of it. -ESTALE: the path leads to another object by now. */
int ovl_source_stat(struct ovl_ctx *ctx, const struct ovl_node *node, struct stat *st);
/* Open it; the caller closes the descriptor. -ESTALE as above. */
int ovl_source_open(const struct ovl_node *node, struct ovl_source *source);

/* ---- xattr.c ----------------------------------------------------------------------------------- */
/* Copy the extended attributes of an object to its copy; those that can't be set are dropped with
 * a log line (CONTRACT 3.3); `keep_caps` is false where the owner was not kept.  */
int ovl_copy_xattrs(const struct ovl_source *from, const char *to, bool keep_caps);

/* ---- copy_up.c --------------------------------------------------------------------------------- */
/* Make the node's parent directory exist in the upper, with its own metadata and times kept. */
int ovl_copy_up_parents(struct ovl_ctx *ctx, struct ovl_node *node);
/* Make the copy of a lower object at `aside` in the work directory, whole, a directory without what is in it. */
int ovl_copy_make(struct ovl_ctx *ctx, const struct ovl_node *node, const char *aside, enum ovl_copy how);
/* Give a directory that was made so, and filled since, the mode and times of its origin again. */
int ovl_copy_finish_dir(struct ovl_ctx *ctx, const struct ovl_node *node, const char *aside);
/* With the tree locked: move a copy into the upper, unless the upper has the object already. */
int ovl_copy_move_in(struct ovl_ctx *ctx, struct ovl_node *node, const char *aside);
/* Copy up a lower file for open(2) with O_TRUNC, without data.  The copy is opened before it takes the file's place: a
 * file is not emptied by an open that fails.  A descriptor, or -ESTALE (look again). */
int ovl_copy_up_emptied(struct ovl_ctx *ctx, struct ovl_node *node, int flags);
/* Make what ovl_copy_make() would make of a node that stands for the copy of another name: a link to that. */
int ovl_copy_link(const struct ovl_node *node, const char *aside);
/* The path of the node's place in the upper (the object need not be there). */
int ovl_upper_path(struct ovl_ctx *ctx, const struct ovl_node *node, char *out);
/* Times of the node's parent directory in the upper, kept over a change that is none of the program's. */
struct ovl_times {
    struct timespec ts[2];
    bool known;
};
void ovl_times_save(struct ovl_ctx *ctx, const struct ovl_node *node, struct ovl_times *times);
void ovl_times_restore(struct ovl_ctx *ctx, const struct ovl_node *node, const struct ovl_times *times);

/* ---- tree_walk.c ------------------------------------------------------------------------------- */
/* What is done with each object below a merged directory. */
#define OVL_VISIT_BELOW 1
struct ovl_visitor {
    /* 0, OVL_VISIT_BELOW to visit what is in the directory next, or an error, which ends the walk. */
    int (*enter)(struct ovl_ctx *ctx, struct ovl_node *node, void *arg);
    /* NULL, or: after everything in it has been visited. */
    int (*leave)(struct ovl_ctx *ctx, struct ovl_node *node, void *arg);
    void *arg;
    bool passes_closed; /* what the caller may not look into does not end the walk */
};
int ovl_tree_walk(struct ovl_ctx *ctx, const struct ovl_node *top, const struct ovl_visitor *visitor);

/* ---- copy_up_tree.c ------------------------------------------------------------------------------ */
/* Copy what only lower layers have, the directory itself and everything below it, to a fresh path in the work
 * directory: `aside` has OVL_REAL_MAX bytes, and is "" where there is nothing to discard.  No lock is held. */
int ovl_copy_up_tree_aside(struct ovl_ctx *ctx, const struct ovl_node *dir, char *aside);
/* With the tree locked: move the copies into the upper, which then has everything below the directory.  -ESTALE when
 * there is something that was not copied.  What is left at `aside` is the caller's to discard. */
int ovl_copy_up_tree_place(struct ovl_ctx *ctx, struct ovl_node *dir, const char *aside);

/* ---- merge.c ----------------------------------------------------------------------------------- */
#define OVL_DOTS 2 /* the first entries of a listing */
/* An empty listing with room for so many entries beside the dots, which have no numbers yet, and so many bytes. */
int ovl_listing_begin(struct ovl_listing *listing, size_t count, size_t text);
/* List the layers, without the numbers of the dots. */
int ovl_list_names(struct ovl_ctx *ctx, const struct ovl_node *dir, struct ovl_listing *listing);
/* How many names a merged directory shows, but "." and "..".  No memory is mapped for a small one. */
int ovl_count(struct ovl_ctx *ctx, const struct ovl_node *dir);

/* ---- remove.c ---------------------------------------------------------------------------------- */
/* Whether a merged directory shows nothing: 0, -ENOTEMPTY, or an error. An upper directory is looked into whatever
 * its mode, as the kernel does. */
int ovl_check_empty(struct ovl_ctx *ctx, struct ovl_node *node);

/* ---- create.c ---------------------------------------------------------------------------------- */
/* Make a regular file for open(2) with O_CREAT: a descriptor, -EEXIST, or -ESTALE (look again). */
int ovl_create_file(struct ovl_ctx *ctx, struct ovl_node *node, int flags, mode_t mode);
/* The merged path of the node's parent directory, in ctx's memory; NULL when that is used up. */
const char *ovl_parent_path(struct ovl_ctx *ctx, const struct ovl_node *node);
/* What the kernel refuses for a last component that is no name: `dot`, `dotdot` for those, `root` for a mount. */
static inline int ovl_check_last(const struct ovl_node *node, int dot, int dotdot, int root)
{
    if (node->last == OVL_LAST_DOT)
        return dot;
    if (node->last == OVL_LAST_DOTDOT)
        return dotdot;
    return node->last == OVL_LAST_ROOT || ovl_is_mount(node) ? root : 0;
}

/* ---- permission.c ------------------------------------------------------------------------------ */
/* Whether the caller may act on an object as if it were copied up (CONTRACT 3.9). want: R_OK|W_OK|X_OK. */
int ovl_may(struct ovl_ctx *ctx, const struct ovl *o, unsigned layer, const char *real, const struct stat *st, int want,
            bool effective);
/* Whether the caller may look up names in the directory at a real path. */
int ovl_may_search(const char *path);
/* Whether the caller may add or remove names in the parent directory of node; where that is in the upper, the
 * kernel says so at the change itself, and nothing is asked. */
int ovl_may_change_parent(struct ovl_ctx *ctx, const struct ovl_node *node);
/* What to answer instead of `error` (about the object's kind): the parent's refusal comes first. */
int ovl_refused_first(struct ovl_ctx *ctx, const struct ovl_node *node, int error);

/* ---- sticky.c ------------------------------------------------------------------------------------ */
/* What open(2) with O_CREAT says of what is there already: 0, or -EACCES in a sticky directory. */
int ovl_may_create_in_sticky(struct ovl_ctx *ctx, const struct ovl_node *node);

/* ---- config files ------------------------------------------------------------------------------ */
/* See config.h. */

#endif
