/* SPDX-License-Identifier: MIT
 *
 * libovlcore: overlays of directories without privileges, as a library.
 *
 * The words are those of Linux overlayfs (Documentation/filesystems/overlayfs.rst).  A *space* is
 * the name space that one configuration makes: the real file system with one or more *overlays*
 * in it.  An overlay has *layers*: lower ones, which nothing here ever changes, and perhaps an
 * upper one, which takes every change.  A *node* is a place in the space: a merged path, and
 * what is there.
 *
 * Unless a function says otherwise:
 *  - it returns 0 or more on success and a negative errno on failure; errno is never touched;
 *  - it is thread-safe and async-signal-safe, allocates nothing but from its context, keeps no
 *    file descriptor open after it returns and holds no lock that a forked child could inherit;
 *  - paths are NUL-terminated byte strings, merged paths absolute and without ".", ".." or
 *    repeated slashes.
 */
#ifndef OVL_H
#define OVL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Longest merged path, with its NUL. Longer than the kernel's PATH_MAX, because a relative path of
 * PATH_MAX below a deep directory is legal (path_resolution(7)). */
#define OVL_PATH_MAX 8192
/* Longest path given to the kernel in one call (PATH_MAX of Linux). */
#define OVL_REAL_MAX 4096
/* Most layers of one overlay, the upper included. */
#define OVL_LAYERS_MAX 1024
/* Longest name of a directory entry (NAME_MAX of Linux). */
#define OVL_NAME_MAX 255

struct ovl;       /* one overlay */
struct ovl_space; /* the name space of one configuration */

/* ---- messages ------------------------------------------------------------------------------ */

/* Why a configuration is refused: one line for a human, without "libovl: " and newline. */
struct ovl_message {
    char text[1024];
};

/* ---- the space and its overlays ------------------------------------------------------------- */

/* Open the overlays that `conf` names: a file's path or the configuration itself, as OVL_CONF has
 * it (a value with '=' before its first '/' is the configuration itself).  Everything is checked
 * against the file system and resolved to absolute paths; missing upper and work directories are
 * made.  *space is the caller's to close.  -EINVAL with *why filled when the configuration is
 * wrong in any way.  Not async-signal-safe: maps memory, reads files. */
int ovl_space_open(const char *conf, struct ovl_space **space, struct ovl_message *why);

/* The same for a look by a tool: nothing on disk changes.  What is missing stays so (a missing upper is an empty one),
 * no run is entered, no cache is used; listings are sorted.  Only what a look needs is checked: that the upper can
 * be written, and the work directory trusted, is not.  Nothing may be changed by way of such a space. */
int ovl_space_look(const char *conf, struct ovl_space **space, struct ovl_message *why);

/* The environment for ~/ and ${VAR} of configurations; without it every variable is unset.  It must live on. */
void ovl_config_environ(char *const *env);

/* Make the space that another process has opened, from its record (ovl_space_record).  Nothing is
 * checked again and no configuration file is read.  -EINVAL when the record is not one of this
 * version. */
int ovl_space_import(const char *record, struct ovl_space **space, struct ovl_message *why);

/* The resolved configuration as one line of text that ovl_space_import() takes: what a child
 * process gets.  Belongs to the space. */
const char *ovl_space_record(const struct ovl_space *space);

/* How a record goes through an environment: in OVL_RECORD_PARTS variables at most. (config_record.c) */
#define OVL_RECORD_PARTS 15
/* Which part an entry of an environment sets, and its value; -1: none. */
int ovl_record_part(const char *entry, const char **value);
/* Write the entries of a record at `to`, each with its NUL, and note their places: the bytes that they take.  With `to`
 * NULL they are only counted. */
size_t ovl_record_put(const char *record, char *to, char **entries, unsigned *count);
/* The record of which these are the parts (NULL: not there): part[0] itself, or *mapped bytes that are the caller's to
 * unmap.  NULL when there is none, and no record at all ("") when one is missing, or memory is. */
const char *ovl_record_join(const char *const *part, size_t *mapped);

/* The text that was given to ovl_space_open() in the process that resolved it. */
const char *ovl_space_conf(const struct ovl_space *space);

/* Free a space. No context of it may be in use. */
void ovl_space_close(struct ovl_space *space);

/* How many overlays there are, and number i of them (longest mount first). */
unsigned ovl_space_count(const struct ovl_space *space);
struct ovl *ovl_space_at(const struct ovl_space *space, unsigned i);

/* The overlay whose [overlay NAME] is `name`, or NULL. */
struct ovl *ovl_space_find(const struct ovl_space *space, const char *name);

/* What to do with a program that preloading can't reach; the strictest of all overlays counts. */
enum ovl_static { OVL_STATIC_ALLOW, OVL_STATIC_WARN, OVL_STATIC_DENY };
enum ovl_static ovl_space_static(const struct ovl_space *space);
/* Whether the merged path of a program is in some overlay's static-allow list. */
bool ovl_space_static_allows(const struct ovl_space *space, const char *program);

/* What to do about libc's own look-ups inside (shim/patch.c), which no wrapper sees: let them see this overlay
 * where that is needed and can be done, never, or else refuse to run. */
enum ovl_patch { OVL_PATCH_AUTO, OVL_PATCH_OFF, OVL_PATCH_REQUIRE };
enum ovl_patch ovl_patch_of(const struct ovl *o);

/* Whether the kernel is to refuse changes below the lower layers too. */
enum ovl_guard { OVL_GUARD_OFF, OVL_GUARD_LANDLOCK };
/* Let the kernel refuse to this thread, and to all that it starts from now on, changes below the lower layers, if an
 * overlay has guard=landlock: of names and content, not of modes, owners, times and extended attributes (landlock(7)).
 * In directories above a lower layer nothing new can be made then.  A process that may not do so otherwise gives up
 * set-id programs (PR_SET_NO_NEW_PRIVS).  -EINVAL with *why filled where it can't be had.  Not
 * async-signal-safe: maps memory, reads directories. */
int ovl_space_guard(const struct ovl_space *space, struct ovl_message *why);

/* An overlay's name ("" if it has none), its mount ("/" for the root), its number of layers, the
 * path of layer i (0 is the highest: the upper if there is one; "/" for the root), its work
 * directory (NULL if it has none). */
const char *ovl_name(const struct ovl *o);
const char *ovl_mount(const struct ovl *o);
unsigned ovl_layers(const struct ovl *o);
const char *ovl_layer(const struct ovl *o, unsigned i);
const char *ovl_work(const struct ovl *o);
/* Setting number i of an overlay, resolved and complete, as its configuration could have it: false beyond the last.  A
 * key with several values comes several times in a row. */
bool ovl_setting(const struct ovl *o, unsigned i, const char **key, const char **value);
/* The number of a process, other than this one, that lives and uses the work directory, as far as /proc tells; 0: none
 * does.  Not async-signal-safe: maps memory, looks through /proc. */
int ovl_in_use(const struct ovl *o);
/* True if nothing written to the overlay need survive a crash of the machine (volatile=on). */
bool ovl_is_volatile(const struct ovl *o);
/* True if the overlay has no upper directory: every change fails with EROFS. */
bool ovl_is_read_only(const struct ovl *o);

/* The merged path of a path below one of the layers (the upper of an overlay before any lower;
 * the longest layer path wins).  Writes at most n bytes with the NUL.  Returns the length,
 * -ENOENT when no layer holds it, -ENAMETOOLONG. Text only: no call to the kernel. */
ssize_t ovl_merged_path(const struct ovl_space *space, const char *real, char *buf, size_t n);

/* The merged path to show for the real path of a copied-up object that was reached by a name which only a lower layer
 * has: that of one of its hard links.  -ENOENT for any other path. */
ssize_t ovl_linked_path(const struct ovl_space *space, const char *real, char *buf, size_t n);

/* Whether a real path (no symbolic links in it) lies in a lower layer and in no upper or work
 * directory: nothing may change there. Text only. */
bool ovl_is_protected(const struct ovl_space *space, const char *real);

/* Whether a real path lies in the upper or the work directory of an overlay.  Text only. */
bool ovl_is_written(const struct ovl *ovl, const char *real);

/* Whether an overlay's mount, or a part of a space that passes through to the real file system,
 * lies below `path` or is `path`; a relative path below a directory for which this is false and
 * that is outside can't reach an overlay without a symbolic link or "..". */
bool ovl_space_below(const struct ovl_space *space, const char *path);

/* Whether an absolute path begins with some overlay's mount, however its slashes and dots are written, and not with
 * what passes through it (where that is written without any: errs towards yes). */
bool ovl_space_holds(const struct ovl_space *space, const char *path);

/* Whether an absolute path (a directory's, or any object's) lies in a layer or has one below it: only then can
 * a change there be one of a lower layer.  Text only; a path with ".." must not be asked. */
bool ovl_space_layers_near(const struct ovl_space *space, const char *path);

/* ---- one call -------------------------------------------------------------------------------- */

/* What core does on a program's behalf with objects that the program can see: filled by the shim
 * with the functions of the next library in the chain (so that fakeroot sees them), by tools and
 * tests with ovl_ops_kernel.  Each returns 0 or more, or a negative errno. Paths are layer paths. */
struct ovl_ops {
    int (*open)(const char *path, int flags, mode_t mode);
    int (*lstat)(const char *path, struct stat *st);
    int (*fstat)(int fd, struct stat *st);
    int (*mkdir)(const char *path, mode_t mode);
    int (*mknod)(const char *path, mode_t mode, dev_t dev);
    int (*unlink)(const char *path);
    int (*rmdir)(const char *path);
    int (*rename)(const char *from, const char *to, unsigned flags);
    int (*chmod)(const char *path, mode_t mode);
    int (*fchmod)(int fd, mode_t mode);
    int (*lchown)(const char *path, uid_t uid, gid_t gid);
    int (*fchown)(int fd, uid_t uid, gid_t gid);
    bool is_kernel; /* what lstat() would answer is what the kernel does, so that it need not be asked twice */
};
extern const struct ovl_ops ovl_ops_kernel;

/* A directory of the upper that a call reaches by a descriptor: see ovl_anchor(). */
struct ovl_anchor {
    struct ovl *ovl;
    const char *path; /* the merged path */
    size_t length;
    int slot;    /* of the descriptor in the context's */
    int below;   /* the slot of the one that it was reached from by "..", or -1 */
    bool impure; /* see struct ovl_stack */
};

/* One call's context: the space, the operations and memory for paths.  On the caller's stack;
 * the memory comes from a pool that needs neither a lock nor malloc. */
struct ovl_ctx {
    struct ovl_space *space;
    const struct ovl_ops *ops;
    char *memory;
    size_t used, size;
    int slot;
    int fd[16]; /* of directories on the way to a path longer than the kernel takes, and of anchors */
    int fds;
    struct ovl_anchor anchor[8]; /* in the order of their descriptors */
    int anchors;
    bool builds; /* the call has made a table for the directory cache, and goes on with what is on its way */
};

/* Begin and end a call.  Between them the context belongs to one thread.  -ENOMEM. */
int ovl_ctx_begin(struct ovl_ctx *ctx, struct ovl_space *space, const struct ovl_ops *ops);
void ovl_ctx_end(struct ovl_ctx *ctx);
/* n bytes that live until the context ends, or NULL. */
void *ovl_ctx_alloc(struct ovl_ctx *ctx, size_t n);
/* Give back what was allocated since the mark was read from ctx->used. */
static inline void ovl_ctx_reset(struct ovl_ctx *ctx, size_t mark)
{
    ctx->used = mark;
}

/* Whether p points into the memory of some call: a path there is a layer's or was settled already.  Errs only towards
 * no, and only with hundreds of calls at a time. */
bool ovl_ctx_holds(const void *p);

/* Close the descriptors of overlong paths, and of anchors, beyond the first `keep`. */
void ovl_ctx_close(struct ovl_ctx *ctx, int keep);

/* Call act(arg), which leaves no descriptor open.  Where it answers -EMFILE, it is called once more with some
 * descriptors free, in a child that shares our memory; `keep` and the context's (ctx may be NULL) stay open there.
 * Returns what act returns, or -EMFILE where there can be no child.  act may use 16 KiB of stack. (descriptors.c) */
int ovl_with_descriptors(struct ovl_ctx *ctx, int keep, int (*act)(void *arg), void *arg);

/* Memory slots that a vfork child took and could not give back because it called exec:
 * read before vfork, handed back in the parent after it. */
uint32_t ovl_ctx_held(void);
void ovl_ctx_restore(uint32_t before);

/* ---- places ---------------------------------------------------------------------------------- */

/* The layers, highest first, that take part in a directory: bit i of word i/64 is layer i. */
struct ovl_stack {
    uint64_t bits[OVL_LAYERS_MAX / 64];
    bool impure;          /* Linux overlayfs copied up, or moved, something into it */
    uint32_t record, run; /* what the directory cache knows of it, 0: nothing; the run of which that is */
};

/* What the last component of a resolved path was; the kernel refuses some calls for some. */
enum ovl_last { OVL_LAST_NAME, OVL_LAST_DOT, OVL_LAST_DOTDOT, OVL_LAST_ROOT };

/* A place in the space. Filled by ovl_resolve(); read-only for callers. */
struct ovl_node {
    struct ovl *ovl;         /* the overlay that it lies in; NULL: outside, `path` is a real path */
    enum ovl_last last;      /* how the path ended */
    bool slash;              /* the path ended in a slash: it must be a directory */
    bool exists;             /* inside only: whether the object is there */
    bool reserved;           /* inside only: the name begins with ".wh." */
    bool magic;              /* outside only: a magic link of /proc, which the kernel must follow itself */
    bool crossed;            /* some overlay was on the way: the kernel alone may come elsewhere */
    bool partly;             /* inside only: of `st` only the type is known, as OVL_TYPE allows */
    bool linked;             /* inside only: `real` and `st` are not those of the name in layer `top`, but of the copy
                              * that another hard link of the object has in the upper */
    uint64_t before;         /* cache.c: what was known of the name when it was locked; 0: nothing */
    unsigned top;            /* inside only: the layer that has the name, and `real` is in if not `linked` */
    struct stat st;          /* inside only: the object as the kernel sees it in that layer */
    struct ovl_stack in;     /* the layers that merge to the parent directory */
    struct ovl_stack dirs;   /* of a directory: the layers that merge to it */
    size_t length, name;     /* length of `path`; where its last component begins */
    char path[OVL_PATH_MAX]; /* the merged path, symbolic links resolved as far as asked */
    char real[OVL_REAL_MAX]; /* inside only: the object's path in its layer */
};

/* Flags of ovl_resolve(). */
#define OVL_FOLLOW 1u /* follow a symbolic link in the last component */
#define OVL_CHANGE 2u /* the caller will change the object or its name: outside, a place in a lower layer is -EROFS */
#define OVL_NAME                                                                                                       \
    4u                 /* the name itself is meant (to make, move or remove it): a trailing slash follows no link, and \
                          whether it must be a directory is the caller's to say */
#define OVL_TYPE 32u   /* of the object's `st` only the type is wanted */
#define OVL_LONG 16u   /* the path may be longer than the kernel takes (realpath(3)) */
#define OVL_NOLINKS 8u /* a symbolic link anywhere is -ELOOP (RESOLVE_NO_SYMLINKS of openat2(2)) */

/* A node in the context's memory, or NULL. */
struct ovl_node *ovl_node_new(struct ovl_ctx *ctx);

/* Walk `path` from the merged directory `base` (ignored when path is absolute), through symbolic
 * links in and out of overlays, and fill *node.  A missing last component is no error: inside,
 * node->exists is false; outside nothing is said.  Errors are those of path_resolution(7):
 * ENOENT, ENOTDIR, EACCES, ELOOP (40 links), ENAMETOOLONG; a path that ends in a slash and leads to
 * something other than a directory is ENOTDIR. */
int ovl_resolve(struct ovl_ctx *ctx, const char *base, const char *path, unsigned flags, struct ovl_node *node);

/* What a glance at a path told: for ovl_resolve_known(), in the same call. */
struct ovl_glance {
    uint64_t moves;   /* ovl_moves() before, which the caller has asked for */
    const char *path; /* NULL: nothing */
    size_t length, name;
    struct ovl *ovl;
    struct ovl_cache *cache;
    uint32_t record;
    uint64_t word;
};
/* Look at an absolute path of this length in a directory that the process knows from before, in a few hundred
 * instructions: 1 when something may be there, -ENOENT when nothing is, and 0, with path NULL, when it is not known. */
int ovl_glance(const struct ovl_space *space, const char *path, size_t length, struct ovl_glance *glance);
/* What is shown at a path: a file, or a symbolic link that is not to be followed. */
struct ovl_spot {
    struct ovl *ovl;
    mode_t type;
    unsigned layer;
    const char *real; /* its path there, in the memory that was given for it */
};
/* Whether a glance was enough to tell it, with flags as for ovl_resolve(), and its path fits into the n bytes at real;
 * the caller then makes its call there, and asks ovl_resolve() where that fails. */
bool ovl_glance_spot(const struct ovl_glance *glance, unsigned flags, char *real, size_t n, struct ovl_spot *spot);
/* ovl_stat() of it: *st is what (dirfd, path), which name the object, answered to lstat(2).  False when it is another
 * object by now. */
bool ovl_spot_stat(struct ovl_space *space, const struct ovl_spot *spot, int dirfd, const char *path, struct stat *st);
/* ovl_resolve() of the path by what the glance told: 1 when *node is filled, or 0: ask ovl_resolve(). */
int ovl_resolve_known(struct ovl_ctx *ctx, const struct ovl_glance *glance, unsigned flags, struct ovl_node *node);

/* fd is open on the directory that the kernel has for a cwd or a descriptor, `path` is its merged path, and a walk from
 * there was refused (EACCES), perhaps because a directory above may not be searched.  From now on what this call looks
 * for at `path` or below is looked for from fd.  -EACCES where that is not the upper's directory alone, so that what is
 * seen in it is not certain.  fd is the context's in any case. (anchor.c) */
int ovl_anchor(struct ovl_ctx *ctx, int fd, const char *path);

/* ---- directories that move ---------------------------------------------------------------------- */
/* A merged path that is remembered, of the cwd or of an open directory, is true until some process renames or removes
 * a directory. */

/* The state of all overlays in this respect.  What was found out after it was read is true if it is settled then:
 * nothing has changed, and nothing is just changing. */
uint64_t ovl_moves(const struct ovl_space *space);
bool ovl_moves_settled(const struct ovl_space *space, uint64_t seen);
/* Wait for a change that is going on; that of a killed process is finished here. */
void ovl_moves_wait(struct ovl_ctx *ctx);
/* What to remember beside a path.  It means the same in every process of a run. */
#define OVL_MOVES_NONE UINT64_MAX /* of a path outside */
uint64_t ovl_moves_mark(const struct ovl_space *space, const char *path);
/* Whether anything in the path's overlay has moved since: one atomic load. */
bool ovl_moved_since(const struct ovl_space *space, uint64_t mark);
/* Bring a remembered path (in OVL_PATH_MAX bytes) and its mark up to date: 0; 1 when the directory has been removed,
 * path then being its parent's, or "" when that is removed too (`removed`: it was so before); -ESTALE when it is
 * not known. */
int ovl_follow(struct ovl_ctx *ctx, char *path, bool removed, uint64_t *mark);
/* ovl_merged_path() for a path that the kernel gives for an open object: a directory of a lower layer stands for
 * what it has become in this run.  0 when that is removed; buf (OVL_PATH_MAX bytes) then has its parent's path
 * or "". */
ssize_t ovl_place_of(struct ovl_ctx *ctx, const char *real, char *buf, size_t n);

/* ---- reading ----------------------------------------------------------------------------------- */

/* stat(2) of the node's object (a symbolic link is not followed): through ops->lstat, with the
 * identity that it keeps across copy-up.  -ENOENT when it does not exist; -ESTALE when its name has become
 * something else since it was looked up, which makes a difference: a link, or no link any more. */
int ovl_stat(struct ovl_ctx *ctx, const struct ovl_node *node, struct stat *st);

/* Give *st, which stat(2) answered for a layer's object other than a directory, the identity of
 * its origin if it was copied up, and count its names in the merged view if it has several in a lower layer. (dirfd,
 * path, flags) name the object as for statx(2).  -ESTALE: something else has the name by now; *st is what it was. */
int ovl_identity(struct ovl_space *space, int dirfd, const char *path, int flags, struct stat *st);

/* Whether *st may be of a lower object that was copied up in this or an earlier run: a quick look that errs
 * only towards yes. */
bool ovl_may_be_copied(struct ovl_space *space, const struct stat *st);

/* The identity of a merged directory: what ovl_stat() gives it. */
void ovl_identity_dir(struct ovl_ctx *ctx, const struct ovl_node *node, struct stat *st);

/* What access(2) answers for mode R_OK|W_OK|X_OK, or F_OK, as if the object were copied up already.
 * `effective`: by the effective ids, else by the real ones. */
int ovl_access(struct ovl_ctx *ctx, const struct ovl_node *node, int mode, bool effective);

/* One entry of a listing. */
struct ovl_entry {
    uint64_t ino;
    uint8_t type; /* DT_* of dirent.h */
    uint8_t length;
    uint16_t layer;   /* which shows it */
    const char *name; /* NUL-terminated, in the listing's memory */
};
struct ovl_listing {
    struct ovl_entry *entry;
    size_t count;
    bool whiteouts; /* the upper's directory may hold some */
    void *memory;   /* mapped, not from the heap */
    size_t size;
};
/* The merged entries of a directory, "." and ".." first, each name once, in the order that the
 * overlay's `readdir` asks for.  Free it with ovl_listing_free().  Needs one free descriptor. */
int ovl_list(struct ovl_ctx *ctx, const struct ovl_node *dir, struct ovl_listing *listing);
void ovl_listing_free(struct ovl_listing *listing);

/* ---- layers by themselves ----------------------------------------------------------------------- */
/* For tools: what some of an overlay's layers show by themselves, by the same rules.  What the upper is compared with
 * is the view of the layers 1 to ovl_layers(). */
struct ovl_view {
    struct ovl *ovl;
    unsigned first, end; /* the layers first .. end - 1 */
};

/* Put node at the mount.  node->exists is false when none of the layers is there. */
int ovl_view_mount(struct ovl_ctx *ctx, const struct ovl_view *view, struct ovl_node *node);
/* From a directory that node is at, and the layers that merge to it (ovl_node.dirs, of a node of the same view), to a
 * name in it.  An absent name is no error: node->exists tells.  node->ovl is NULL where the path belongs to another
 * overlay, or passes through. */
int ovl_view_name(struct ovl_ctx *ctx, const struct ovl_view *view, const struct ovl_stack *dirs, const char *name,
                  struct ovl_node *node);
/* Back to a directory above, of whose path this is the length. */
void ovl_view_up(struct ovl_node *node, size_t length);
/* What one layer has under a node's name, by itself. */
enum ovl_says { OVL_SAYS_NOTHING, OVL_SAYS_OBJECT, OVL_SAYS_WHITEOUT };
struct ovl_said {
    enum ovl_says says;
    bool opaque;             /* a directory that those of lower layers don't merge with */
    struct stat st;          /* of an object */
    char real[OVL_REAL_MAX]; /* its path */
};
/* The layer must be one of those that merge to the directory that the name is in (node->in), or node be at the mount.
 */
int ovl_layer_says(struct ovl_ctx *ctx, const struct ovl_node *node, unsigned layer, struct ovl_said *said);
/* Whether an object with other names in a lower layer was changed, so that those show the change too. */
bool ovl_has_links(struct ovl *o);
/* Whether layer i is one of these. */
static inline bool ovl_stack_has(const struct ovl_stack *s, unsigned i)
{
    return (s->bits[i / 64] >> (i % 64)) & 1;
}

/* ---- marks of layers that no run uses ------------------------------------------------------------- */
/* For tools that read and write layers as directories.  `dir` is a real path of a directory, which can go by way of a
 * descriptor: /proc/self/fd/N/. */
enum ovl_mark {
    OVL_MARK_NONE,      /* an object */
    OVL_MARK_FILE,      /* .wh.NAME, OCI's whiteout */
    OVL_MARK_DEVICE,    /* a 0/0 device, the kernel's */
    OVL_MARK_ATTRIBUTE, /* an empty file with an attribute, for names that are too long for .wh. before them */
    OVL_MARK_OPAQUE,    /* the file that makes its directory opaque */
    OVL_MARK_STRAY      /* a name that begins with .wh. and is none of these: it is never seen, and hides nothing */
};
/* How marks that are files are called (OCI's layer.md): what stands before the name that is hidden, and the name of the
 * one that makes its directory opaque. */
#define OVL_WH_PREFIX ".wh."
#define OVL_WH_PREFIX_LENGTH 4
#define OVL_WH_OPAQUE ".wh..wh..opq"
/* Begins the name of something half-made: it is never seen. */
#define OVL_WH_ASIDE ".wh..wh.new-"
/* What a name in the directory is: enum ovl_mark, or a negative errno. */
int ovl_mark_of(struct ovl_ctx *ctx, const char *dir, const char *name);
/* Hide a name in the form OVL_MARK_FILE or OVL_MARK_DEVICE; -EEXIST when it is hidden so by a file already, or, where
 * the mark would take the name, an object has that. */
int ovl_mark_hide(struct ovl_ctx *ctx, const char *dir, const char *name, enum ovl_mark form);
/* By what the directory is opaque, and whether it may have whiteouts of the attribute form: bits, or a negative errno.
 */
#define OVL_OPAQUE_FILE 1u
#define OVL_OPAQUE_ATTRIBUTE 2u
#define OVL_OPAQUE_FOR_WHITEOUTS 4u
int ovl_mark_opacity(struct ovl_ctx *ctx, const char *dir);
/* Make it opaque in one of these forms (it may be so already), and take marks away. */
int ovl_mark_set_opaque(struct ovl_ctx *ctx, const char *dir, enum ovl_mark form);
int ovl_mark_drop_opaque(struct ovl_ctx *ctx, const char *dir, unsigned which);

/* ---- changing ---------------------------------------------------------------------------------- */
/* All fail with EROFS when the overlay is read-only, and follow the errors of the system call of the
 * same name.  The nodes must be fresh from ovl_resolve(); what they say is checked again under
 * the overlay's lock.  After an error nothing is half-made. */

/* open(2).  Copies up for writing.  Returns a descriptor of the object's layer file.  -ELOOP for a symbolic link, which
 * the name may have become since it was looked up. */
int ovl_open(struct ovl_ctx *ctx, struct ovl_node *node, int flags, mode_t mode);
int ovl_mkdir(struct ovl_ctx *ctx, struct ovl_node *node, mode_t mode);
/* mode has the type; dev is the kernel's number. */
int ovl_mknod(struct ovl_ctx *ctx, struct ovl_node *node, mode_t mode, dev_t dev);
int ovl_symlink(struct ovl_ctx *ctx, const char *target, struct ovl_node *node);
/* link(2); both in one overlay, else EXDEV. */
int ovl_link(struct ovl_ctx *ctx, struct ovl_node *from, struct ovl_node *to);
/* What link(2) refuses about its new name before it looks at what is to be linked. */
int ovl_check_target(const struct ovl_node *to);
/* linkat(2) of a file without a name (O_TMPFILE), open as fd on the upper's file system. */
int ovl_link_fd(struct ovl_ctx *ctx, int fd, struct ovl_node *to);
/* Make a name by a call that core has no word for (bind(2) of a unix socket): `with` makes it at the layer path that
 * it is given, under the overlay's lock; 0 or a negative errno. */
int ovl_make_with(struct ovl_ctx *ctx, struct ovl_node *node, int (*with)(void *arg, const char *real), void *arg);
int ovl_unlink(struct ovl_ctx *ctx, struct ovl_node *node);
int ovl_rmdir(struct ovl_ctx *ctx, struct ovl_node *node);
/* What is wrong with renameat2(2)'s flags, which the kernel looks at before all else: 0 or EINVAL. */
int ovl_check_rename_flags(unsigned flags);
/* renameat2(2) with its flags; EXDEV across overlays. A directory with lower content is copied up with all that is
 * below it. */
int ovl_rename(struct ovl_ctx *ctx, struct ovl_node *from, struct ovl_node *to, unsigned flags);

/* How much of an object a change needs in the upper. */
enum ovl_copy { OVL_COPY_ALL, OVL_COPY_NO_DATA };
/* Bring the object into the upper, so that node->real is there.  Nothing to do if it is already. */
int ovl_copy_up(struct ovl_ctx *ctx, struct ovl_node *node, enum ovl_copy how);

/* ---- layer paths through no symbolic link (exact.c) ------------------------------------------------- */
/* Open a layer path; flags and mode as for open(2).  -ELOOP where a link is in the way (openat2(2)). */
int ovl_open_exact(const char *real, int flags, mode_t mode);
/* The same for a path that begins in an open directory, or an absolute one. */
int ovl_open_exact_at(int dirfd, const char *path, int flags, mode_t mode);
/* Call change(arg, fd, path) for the object at node->real and nothing else: it is open as fd, with O_PATH, and where
 * links are followed path leads to it.  (Without /proc there is no such path, and change is called with -1 and
 * node->real.)  Returns what change returns, or a negative errno: -ESTALE where a link is in the way. */
int ovl_change_exact(struct ovl_ctx *ctx, const struct ovl_node *node,
                     int (*change)(void *arg, int fd, const char *path), void *arg);

/* Whether an extended attribute is the overlay's own: never listed, never set (EPERM as in
 * overlayfs), never read (ENODATA). */
bool ovl_is_private_xattr(const char *name);
#define OVL_ACL_DEFAULT "system.posix_acl_default"
#define OVL_ACL_ACCESS "system.posix_acl_access"

/* How this process's look-ups and listings use the directory cache. */
enum ovl_cache_use {
    OVL_CACHE_ON,    /* a directory is kept when it has been listed, or asked some times: at first so */
    OVL_CACHE_EAGER, /* when it is first asked: for tests */
    OVL_CACHE_OFF    /* never: each call asks the kernel */
};
void ovl_cache_use(enum ovl_cache_use use);

/* Whether a file of the cache (docs/cache.md) has what its head says: 0, -EIO when it has not, or another error. */
int ovl_cache_check(const char *path);

/* Change who may search the directory at `dir`, which is in the upper: change(arg) does it, and its answer is returned.
 * -EACCES when the work directory can't be used. */
int ovl_change_search(const struct ovl_node *dir, int (*change)(void *arg), void *arg);

/* Empty the work directories of what killed processes left, if no other process of a run uses them.
 * For the first process of a run. */
void ovl_space_clean(struct ovl_ctx *ctx);

/* ---- the log ------------------------------------------------------------------------------------ */

enum ovl_log { OVL_LOG_ERROR, OVL_LOG_WARN, OVL_LOG_INFO, OVL_LOG_DEBUG };
/* Set once at start; file may be NULL (nothing is written). The string must live on. */
void ovl_log_set(enum ovl_log level, const char *file);
bool ovl_log_wants(enum ovl_log level);
/* One line, "libovl: " and the strings in a row, appended to the log file in one write.  The list
 * ends with NULL. Opens the file for each line: nothing stays open. */
void ovl_log_line(enum ovl_log level, const char *first, ...);
/* How a file is opened that lines are appended to, by several processes perhaps, and that nobody may lead elsewhere. */
#define OVL_LOG_FLAGS (O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK)
/* The same for a line of another kind and file, which is made if it is missing. */
void ovl_append_line(const char *file, const char *line, size_t n);

/* How many bytes at s, which is not empty, are one character of UTF-8 (RFC 3629); 0 for none. */
size_t ovl_utf8(const char *s);

#ifdef __cplusplus
}
#endif
#endif
