/* SPDX-License-Identifier: MIT
 *
 * What an upper changes against the layers below it, as one walk: status, diff, commit and export are made of it.
 *
 * The merged view, and the view of the lower layers alone, are compared directory by directory, where the upper has a
 * directory.  So it is core that says what a name, a whiteout or an opaque mark means, and what hides nothing, a
 * whiteout over nothing for example, is no change.  Names come in byte order, a directory before what is in it.  Memory
 * is that of the listings of the directories on the way to the place that the walk is at.
 */
#ifndef CLI_CHANGES_H
#define CLI_CHANGES_H

#include <ovl.h>
#include <stdbool.h>
#include <sys/stat.h>

enum change_kind {
    CHANGE_NONE,     /* it was copied up and is the same, or is a directory on the way to a change (CHANGES_ALL) */
    CHANGE_ADDED,    /* no lower layer has the name */
    CHANGE_MODIFIED, /* a file's content, a link's target, a device's number; metadata perhaps too */
    CHANGE_METADATA, /* mode, owner, extended attributes; of all but directories the time of change too; never of the
                      * mount, whose directory in the upper is as whoever made that liked (`differs` tells) */
    CHANGE_DELETED,  /* of a directory: with all that is below it, which is not reported */
    CHANGE_REPLACED, /* by an object of another kind; what a directory had is not reported */
    CHANGE_OPAQUE,   /* a directory hides all that lower ones of its name have; what of it is there again, and what is
                      * not, is reported below it */
    CHANGE_RENAMED   /* added, and known to be what another name was, or that lies below such a directory and was there
                      * already (CHANGES_RENAMES) */
};

/* What is different. */
#define DIFFERS_CONTENT 1u /* or target, or number */
#define DIFFERS_MODE 2u
#define DIFFERS_OWNER 4u /* but an owner that an ordinary user's copy could not keep */
#define DIFFERS_TIME 8u
#define DIFFERS_XATTRS 16u
#define DIFFERS_UNKNOWN 32u /* one of the two files can't be read: taken for different content */

/* One change.  Everything that it points to is true until the visitor returns; a path in a layer (`real`) is for
 * system calls only, as it may go by way of a descriptor.  Symbolic links in it are to be followed by nobody. */
struct change {
    enum change_kind kind;
    unsigned differs;
    const struct ovl *ovl;
    const char *path;     /* merged: absolute */
    const char *relative; /* the same below the mount: "" is the mount itself, else without a slash at its beginning */
    struct {
        bool exists;
        const char *real;
        struct stat st; /* the layer's object, as lstat(2) has it */
        unsigned layer;
        const struct ovl_node *node; /* in the merged view, and in that of the lower layers */
    } upper, lower;                  /* after and before; upper.layer is 0 */
    bool opaque;      /* the upper has a directory that hides lower ones of its name, whatever kind of change it is */
    bool hidden;      /* deleted: by an opaque directory above it, not by a whiteout of its own */
    bool linked;      /* only a lower layer has the name, but another hard link of the object was changed: upper.real is
                       * that copy (CHANGES_LINKS) */
    const char *from; /* renamed: the merged path that it had; `differs` says what else was changed */
    bool moved;       /* renamed, and nothing more to be said of it: with the directory above it, and not changed */
    const char *to;   /* deleted: the merged path that it has now, if it was renamed */
};

#define CHANGES_ALL 1u /* CHANGE_NONE too: all that the upper has */
#define CHANGES_DELETED_FIRST                                                                                          \
    2u                     /* in each directory what was deleted comes before all else, as layers of OCI want it */
#define CHANGES_RENAMES 4u /* find out what was renamed: a first walk, and memory for at most 65536 names */
#define CHANGES_LINKS 8u   /* report other names of changed hard links: looks through all lower layers, if any are */
#define CHANGES_GO_ON 16u  /* complain of what can't be looked into, and go on with the rest */
#define CHANGES_SILENT 64u /* as GO_ON, without a complaint */
#define CHANGES_NO_SOCKETS 128u /* a socket is as good as nothing: what lower layers have of its name is deleted */
#define CHANGES_NAMES 32u /* names and kinds are enough: nothing is compared, what is there twice is CHANGE_NONE */

struct changes_visitor {
    /* 0 to go on; what is greater ends the walk. */
    int (*each)(const struct change *change, void *arg);
    /* NULL, or: each directory of the upper that was reported, once more, after all that is below it. */
    int (*leave)(const struct change *change, void *arg);
    void *arg;
    unsigned flags;
    const char *below; /* NULL, or a merged path: only what is there or below, and what deleted or replaced it */
};

/* Walk.  0; what each() ended it with; or -1 after a message, with GO_ON at the end. */
int changes_walk(struct ovl_ctx *ctx, struct ovl *o, const struct changes_visitor *visitor);

/* "added", "modified" ... */
const char *change_name(enum change_kind kind);

/* ---- compare.c ------------------------------------------------------------------------------------- */

/* Fill change->differs for an object that both sides have, of one kind. */
void change_compare(struct change *change);

/* ---- renames.c --------------------------------------------------------------------------------------- */

struct renames;
/* Find what was renamed; NULL, and -1 in *failed, when something can't be looked into: after a message, or, when the
 * caller goes on, without one. */
struct renames *renames_find(struct ovl_ctx *ctx, struct ovl *o, bool go_on, int *failed);
void renames_free(struct renames *renames);
/* The path that `to` had, that `from` has now, or NULL. */
const char *renames_from(const struct renames *renames, const char *to);
const char *renames_to(const struct renames *renames, const char *from);

#endif
