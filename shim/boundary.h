/* SPDX-License-Identifier: MIT
 *
 * Where a libc call crosses into the overlay: what every wrapper begins and ends with.
 *
 * A wrapper reads as: enter; find where the path leads; outside, the next library's function with
 * the path that find gave; inside, core; leave.  errno is set here and nowhere else, and left
 * alone on success.
 */
#ifndef SHIM_BOUNDARY_H
#define SHIM_BOUNDARY_H

#include "ovl.h"

#include <errno.h>
#include <fcntl.h>

/* Marks an interposed function: everything else in the library is hidden. */
#define SHIM_EXPORT __attribute__((visibility("default")))

struct shim_call {
    struct ovl_ctx ctx;
    int saved_errno;
    const char *function;            /* for the log */
    const char *asked;               /* the path that was looked for last, also for the log */
    const struct ovl_glance *glance; /* at the path that is looked for next, or NULL */
    const struct ovl_node *node;     /* what was found last */
    uint64_t moves;                  /* ovl_moves() before what was found last */
    unsigned layer;      /* of the merged directory that was asked for last: whose directory the kernel has for it */
    bool deep;           /* the base directory is outside, too deep to have a path: buf has an ancestor's */
    bool magic;          /* linkat: the first path is a magic link of /proc */
    const char *removed; /* what was found is a removed directory, by the name ".": its parent's path or "" */
    /* For the trace: */
    int at;                      /* the directory that `asked` begins at */
    int flags;                   /* of open(2), or of renameat2(2) where there is `from` */
    const struct ovl_node *from; /* the other name of a rename or link */
    uint64_t began;              /* shim_trace_clock() */
};
#define SHIM_NO_FLAGS (-1)

/* Whether calls are written down, in the debug log or the trace: short cuts go without that.  Set once at start. */
extern bool shim_is_watched;

/* Begin a call.  False when the library is inert here (no configuration, or too early to have
 * one): the wrapper then calls the next library's function with its own arguments, and no
 * shim_leave().  Async-signal-safe. */
bool shim_begin(struct shim_call *call, const char *function);
#define shim_enter(call) shim_begin(call, __func__ + sizeof "wrap_" - 1)

/* Before a call that neither makes a name nor refuses its arguments whatever the path is: whether ENOENT is the answer,
 * which this finds out faster than the call.  That is what most look-ups of a build are for.  What else was seen is for
 * the call's `glance`. */
bool shim_sees_missing(const char *path, struct ovl_glance *glance);

/* End a call: r >= 0 is returned with errno as it was at enter; a negative errno is put into errno
 * and becomes -1. */
long shim_leave(struct shim_call *call, long r);

/* The layer that what a call was about is shown in, in two parts; false where there is none.  r: its answer. */
bool shim_layer_of(const struct ovl_node *node, long r, const char **layer, const char **below);

/* The answer of a next library's function as core has it: r, or -errno where r is -1. */
static inline long shim_result(long r)
{
    return r == -1 ? -errno : r;
}

/* The other way round, where no call was begun. */
static inline int shim_return(int r)
{
    if (r >= 0)
        return r;
    errno = -r;
    return -1;
}

/* What a call begins anew with when directories have moved, or a name has become something else. */
struct shim_try {
    size_t used;
    int fds;
    unsigned n;
};
static inline struct shim_try shim_try(const struct shim_call *call)
{
    return (struct shim_try){call->ctx.used, call->ctx.fds, 0};
}
/* After shim_find(), and what was done with what it found, which came to r: whether to do both once more, because what
 * was found is not what it was.  So after -ESTALE; and after an error where directories have moved since. */
bool shim_again(struct shim_call *call, struct shim_try *tried, long r);
/* The same for a call that changes nothing, whatever it came to. */
bool shim_look_again(struct shim_call *call, struct shim_try *tried, long r);
/* Whether no directory has moved since the call began to find something. */
bool shim_is_settled(const struct shim_call *call);

enum { SHIM_OUTSIDE, SHIM_INSIDE, SHIM_REMOVED };
#define SHIM_NO_LAYER OVL_LAYERS_MAX /* not known */

/* Find where (*dirfd, *path) leads; flags are those of ovl_resolve().
 * SHIM_OUTSIDE: *dirfd and *path are (changed if need be to) what the next library's function
 *   must be called with; *path then lives until the call is left.  *node is NULL.
 * SHIM_INSIDE: *node is the place.
 * Negative errno: the call's answer.
 * A NULL path, and an empty one, are SHIM_OUTSIDE as they are: the kernel has the answer. */
int shim_find(struct shim_call *call, int *dirfd, const char **path, unsigned flags, struct ovl_node **node);

/* Copy up what shim_find() found with these flags.  -ESTALE where a link has its name by now, which is to be followed.
 */
int shim_copy_up(struct shim_call *call, struct ovl_node *node, unsigned flags);

/* The merged path of the directory that dirfd (or AT_FDCWD) stands for, into buf of OVL_PATH_MAX
 * bytes.  Returns 1 when it lies in an overlay, 0 when outside (buf has its real path),
 * negative errno (-EBADF, -ENOTDIR, -ENOENT for a removed one). */
int shim_dir_path(struct shim_call *call, int dirfd, char *buf);

/* The same, but SHIM_REMOVED for a removed one; buf then has the path of its parent directory, or "" when that is
 * not known or is removed too. */
int shim_dir_place(struct shim_call *call, int dirfd, char *buf);

/* The same with the directory looked up, where it is INSIDE: *node is fresh. */
int shim_dir_node(struct shim_call *call, int dirfd, char *buf, struct ovl_node *node);

/* For one that the kernel knows as removed: what is known of its parent, as above. */
void shim_removed_parent(struct shim_call *call, int dirfd, char *buf);

/* For a directory that is too deep for the kernel to name: the path of an ancestor that it can name, if no
 * layer and no mount is near, so that the directory is certainly outside: 0 and call->deep; else
 * -ENAMETOOLONG. */
int shim_ancestor(struct shim_call *call, int dirfd, char *buf);

/* What /proc/self/fd says of fd, into buf of OVL_PATH_MAX bytes: its length or a negative errno. */
ssize_t shim_fd_text(int fd, char *buf);

/* The merged path of what any fd refers to, when it is an object of one of the layers: 1 and
 * *node (resolved by name; its identity is that of the fd); 0 when it is not, or has no name
 * any more; -EROFS when fd is of a lower file whose name is gone (it can't be changed). */
int shim_find_fd(struct shim_call *call, int fd, struct ovl_node **node);

/* Whether ".." is a name in it. */
bool shim_has_dotdot(const char *path);

/* The space of this process, or NULL when inert. */
struct ovl_space *shim_space(void);

/* True in the child of a vfork: nothing of the process's own state may be written. */
bool shim_in_vfork(void);

#endif
