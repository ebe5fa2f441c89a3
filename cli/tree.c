/* SPDX-License-Identifier: MIT
 *
 * A directory tree that is being changed.
 */
#include "tree.h"

#include "output.h"
#include "remove.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <ovl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NOTES 2048 /* no path is deeper */
#define OPEN_DIRECTORY (O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

struct tree_dir {
    char *name;
    int fd;
    mode_t mode; /* which it has when it is left */
    struct timespec mtime;
    bool widened;
    bool foreign; /* somebody else's, who alone can give it a mode or time */
};

/* As many directories on the way as may be open. */
static void raise_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/* By the descriptor alone: in a directory that may not be searched there is no ".". */
static int set_mode(int fd, mode_t mode)
{
    char self[40];
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    return chmod(self, mode);
}

static struct tree_dir *here(const struct tree *tree)
{
    return &tree->dir[tree->depth - 1];
}

/* ---- modes ------------------------------------------------------------------------------------------------- */
/* A directory that is open to its owner while one stands in it has a note in the tree's root meanwhile, by which the
 * next call puts its mode back if this one is killed: a symbolic link, whose name no overlay shows, to "MODE:PATH". */

static char *note_of(size_t depth)
{
    return text(OVL_WH_ASIDE "mode-%zu", depth);
}

/* The path of a name in the directory that one stands in. */
static char *path_below(const struct tree *tree, const char *name)
{
    char *path = need(strdup(""));
    for (size_t i = 1; i <= tree->depth; i++) {
        char *longer = text("%s%s%s", path, *path ? "/" : "", i < tree->depth ? tree->dir[i].name : name);
        free(path);
        path = longer;
    }
    return path;
}

static bool is_closed(mode_t mode)
{
    return geteuid() != 0 && (mode & S_IRWXU) != S_IRWXU;
}

static int widen(const struct tree *tree, const char *name, int fd, mode_t mode)
{
    int r = 0;
    if (tree->depth > 0) {
        char *note = note_of(tree->depth), *path = path_below(tree, name), *target = text("%o:%s", mode, path);
        unlinkat(tree->dir[0].fd, note, 0);
        r = symlinkat(target, tree->dir[0].fd, note);
        free(note);
        free(path);
        free(target);
    }
    return r < 0 ? r : set_mode(fd, mode | S_IRWXU);
}

static int narrow(const struct tree *tree, const struct tree_dir *dir, size_t depth)
{
    if (set_mode(dir->fd, dir->mode) < 0)
        return -1;
    char *note = note_of(depth);
    int r = depth > 0 ? unlinkat(tree->dir[0].fd, note, 0) : 0;
    free(note);
    return r < 0 && errno != ENOENT ? -1 : 0;
}

/* A note of somebody else's than the directory's owner, who could change that by himself, is none. */
static bool is_owner(int root, const char *note, int fd)
{
    struct stat of_note, st;
    return fstatat(root, note, &of_note, AT_SYMLINK_NOFOLLOW) == 0 && fstat(fd, &st) == 0 &&
           of_note.st_uid == st.st_uid;
}

static void put_back(int root, const char *note, const char *target)
{
    struct open_how how = {.flags = OPEN_DIRECTORY, .resolve = RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH};
    char *path;
    unsigned long mode = strtoul(target, &path, 8);
    int fd = *path == ':' && mode <= 07777 ? (int)syscall(SYS_openat2, root, path + 1, &how, sizeof how) : -1;
    if (fd < 0)
        return;
    if (is_owner(root, note, fd))
        set_mode(fd, (mode_t)mode);
    close(fd);
}

/* What a call that was killed has left; the deepest first, as those above it may be closed then. */
static void put_back_all(int root)
{
    char target[PATH_MAX];
    for (size_t depth = NOTES; depth > 0; depth--) {
        char *note = note_of(depth);
        ssize_t n = readlinkat(root, note, target, sizeof target - 1);
        target[n < 0 ? 0 : n] = '\0';
        if (n > 0)
            put_back(root, note, target);
        if (n > 0)
            unlinkat(root, note, 0);
        free(note);
    }
}

/* ---- the way ----------------------------------------------------------------------------------------------- */

static int push(struct tree *tree, const char *name, int fd)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -1;
    bool foreign = !object_is_ours(&st);
    bool widened = !tree->looks && !foreign && is_closed(st.st_mode);
    if (widened && widen(tree, name, fd, st.st_mode & 07777) < 0)
        return -1;
    if (tree->depth == tree->room) {
        tree->room = tree->room ? tree->room * 2 : 16;
        tree->dir = need(realloc(tree->dir, tree->room * sizeof *tree->dir));
    }
    tree->dir[tree->depth++] = (struct tree_dir){.name = need(strdup(name)),
                                                 .fd = fd,
                                                 .mode = st.st_mode & 07777,
                                                 .mtime = st.st_mtim,
                                                 .widened = widened,
                                                 .foreign = foreign};
    return fd;
}

static int pop(struct tree *tree)
{
    struct tree_dir dir = *here(tree);
    const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, dir.mtime};
    int r = tree->looks || dir.foreign ? 0 : utimensat(dir.fd, ".", times, 0);
    if (dir.widened && narrow(tree, &dir, tree->depth - 1) < 0)
        r = -1;
    tree->depth--;
    close(dir.fd);
    free(dir.name);
    return r;
}

static int begin(struct tree *tree, int root)
{
    raise_limit();
    if (!tree->looks)
        put_back_all(root);
    if (push(tree, "", root) >= 0)
        return 0;
    close(root);
    return -1;
}

int tree_open(struct tree *tree, int root)
{
    *tree = (struct tree){.dir = NULL};
    return begin(tree, root);
}

int tree_look(struct tree *tree, int root)
{
    *tree = (struct tree){.looks = true};
    return begin(tree, root);
}

int tree_close(struct tree *tree)
{
    int r = 0;
    while (tree->depth > 0)
        if (pop(tree) < 0)
            r = -1;
    free(tree->dir);
    *tree = (struct tree){.dir = NULL};
    return r;
}

/* Make a directory as if its parent and the umask asked for nothing. */
static int make_directory(int above, const char *name)
{
    if (mkdirat(above, name, 0755) < 0 || object_drop_acls(above, name, S_IFDIR) < 0)
        return -1;
    return fchmodat(above, name, 0755, AT_SYMLINK_NOFOLLOW);
}

static int enter(struct tree *tree, const char *name, bool make)
{
    const int above = here(tree)->fd;
    int fd = openat(above, name, OPEN_DIRECTORY);
    if (fd < 0 && errno == ENOENT && make && make_directory(above, name) == 0)
        fd = openat(above, name, OPEN_DIRECTORY);
    if (fd < 0 || push(tree, name, fd) >= 0)
        return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

/* The number of directories on the way that are on the way to the path, too; *rest: what comes behind them. */
static size_t common(const struct tree *tree, const char *path, const char **rest)
{
    size_t depth = 1;
    for (*rest = path; depth < tree->depth; depth++) {
        const char *name = tree->dir[depth].name;
        size_t n = strlen(name);
        if (strncmp(*rest, name, n) != 0 || ((*rest)[n] && (*rest)[n] != '/'))
            break;
        *rest += n + ((*rest)[n] == '/');
    }
    return depth;
}

int tree_go(struct tree *tree, const char *path, bool make)
{
    const char *rest;
    size_t depth = common(tree, path, &rest);
    while (tree->depth > depth)
        if (pop(tree) < 0)
            return -1;
    int fd = here(tree)->fd;
    while (*rest && fd >= 0) {
        size_t n = strcspn(rest, "/");
        char *name = need(strndup(rest, n));
        fd = enter(tree, name, make);
        free(name);
        rest += n + (rest[n] == '/');
    }
    return fd;
}

int tree_dress(struct tree *tree, struct object *object)
{
    struct tree_dir *dir = here(tree);
    if (object_dress(dir->fd, object) < 0)
        return -1;
    struct stat st;
    if (fstat(dir->fd, &st) < 0)
        return -1;
    dir->mode = st.st_mode & 07777;
    dir->mtime = object->st.st_mtim;
    bool was_widened = dir->widened;
    dir->widened = is_closed(dir->mode);
    if (dir->widened || was_widened) { /* with the mode of now in its note */
        tree->depth--;
        int r = widen(tree, dir->name, dir->fd, dir->mode);
        tree->depth++;
        dir->widened = true;
        return r;
    }
    return 0;
}

void tree_set_time(struct tree *tree, const struct timespec *mtime)
{
    here(tree)->mtime = *mtime;
}

static int move_directory(const struct tree *tree, int from, const char *aside, int fd, const char *name)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -1;
    const struct tree_dir dir = {.fd = fd, .mode = st.st_mode & 07777};
    bool widened = is_closed(dir.mode);
    if (widened && widen(tree, name, fd, dir.mode) < 0)
        return -1;
    int r = renameat(from, aside, here(tree)->fd, name), error = errno;
    if (widened && narrow(tree, &dir, tree->depth) < 0)
        return -1;
    errno = error;
    return r;
}

int tree_move_in(const struct tree *tree, int from, const char *aside, const char *name)
{
    int fd = openat(from, aside, OPEN_DIRECTORY);
    if (fd < 0)
        return errno == ENOTDIR || errno == ELOOP ? renameat(from, aside, here(tree)->fd, name) : -1;
    int r = move_directory(tree, from, aside, fd, name), error = errno;
    close(fd);
    errno = error;
    return r;
}

int tree_remove(const struct tree *tree, const char *name)
{
    int fd = here(tree)->fd;
    if (unlinkat(fd, name, 0) == 0 || errno == ENOENT)
        return 0;
    if (errno != EISDIR && errno != EPERM)
        return -1;
    if (unlinkat(fd, name, AT_REMOVEDIR) == 0)
        return 0;
    if (errno != ENOTEMPTY && errno != EEXIST && errno != EACCES)
        return -1;
    char *path = path_in(fd, name);
    int r = remove_tree(path); /* tells what it is by itself */
    free(path);
    return r < 0 ? -2 : 0;
}
