/* SPDX-License-Identifier: MIT
 *
 * An archive's objects become a layer.  Whiteouts stay as OCI has them, in files, but where such a file can't have the
 * name; tree.c sees to it that nothing else than the layer is reached.
 */
#include "extract.h"

#include "output.h"

#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define NO_DIRECTORY "goes through something that is no directory of this layer; nothing is imported"
#define NOT_THERE "is not in this layer, and something is a hard link to it; nothing is imported"
#define WH_RESERVED ".wh..wh." /* aufs' own, which OCI's layers inherited */

static int refuse(const struct extraction *x, const char *name, const char *why)
{
    complain("%s: %s: %s", x->source, name, why);
    return -1;
}

static int refuse_errno(const struct extraction *x, const char *name)
{
    return refuse(x, name, strerror(errno));
}

/* ---- names ------------------------------------------------------------------------------------------------- */

/* A name as a path below the layer, without ".", doubled slashes and slashes at its ends, the caller's to free; NULL
 * after a message. */
static char *path_of(const struct extraction *x, const char *name)
{
    char *path = need(malloc(strlen(name) + 1)), *to = path;
    for (const char *p = name; *p;) {
        size_t n = strcspn(p, "/");
        if (n == 2 && p[0] == '.' && p[1] == '.') {
            refuse(x, name, "a name with '..' in it could lead out of the layer; nothing is imported");
            free(path);
            return NULL;
        }
        if (n > 0 && !(n == 1 && *p == '.')) {
            if (to > path)
                *to++ = '/';
            memcpy(to, p, n);
            to += n;
        }
        p += n + (p[n] == '/');
    }
    *to = '\0';
    if (to - path < OVL_PATH_MAX)
        return path;
    path[NAME_MAX] = '\0';
    refuse(x, path, "the path that begins so is longer than those of an overlay can be; nothing is imported");
    free(path);
    return NULL;
}

/* Whether a directory on the way would have a mark's name: it would hide what is below it, and be in the mark's way.
 * aufs had directories of its own with such names. */
static bool goes_through_mark(const char *path)
{
    for (const char *slash; (slash = strchr(path, '/')); path = slash + 1)
        if (strncmp(path, OVL_WH_OPAQUE "/", strlen(OVL_WH_OPAQUE "/")) == 0 ||
            (strncmp(path, OVL_WH_PREFIX, OVL_WH_PREFIX_LENGTH) == 0 &&
             strncmp(path, WH_RESERVED, strlen(WH_RESERVED)) != 0))
            return true;
    return false;
}

/* Go to the directory of a path; its last name is put into *name. */
static int go_above(struct extraction *x, char *path, const char **name, bool make)
{
    if (goes_through_mark(path))
        return refuse(x, path, NO_DIRECTORY);
    char *slash = strrchr(path, '/');
    *name = slash ? slash + 1 : path;
    if (slash)
        *slash = '\0';
    int fd = tree_go(&x->tree, slash ? path : "", make);
    if (slash)
        *slash = '/';
    if (fd >= 0)
        return fd;
    if (errno == ENOTDIR || errno == ELOOP)
        return refuse(x, path, NO_DIRECTORY);
    return !make && errno == ENOENT ? refuse(x, path, NOT_THERE) : refuse_errno(x, path);
}

/* ---- content ----------------------------------------------------------------------------------------------- */

static void tell_progress(struct extraction *x, uint64_t files)
{
    int64_t now = archive_filter_bytes(x->from, -1);
    progress_add(x->progress, files, now > x->before ? (uint64_t)(now - x->before) : 0);
    x->before = now;
}

static int write_at(int fd, const char *bytes, size_t n, off_t at)
{
    while (n > 0) {
        ssize_t done = pwrite(fd, bytes, n, at);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return -1;
        bytes += done;
        n -= (size_t)done;
        at += done;
    }
    return 0;
}

struct content {
    struct extraction *x;
    const char *path;
    off_t size; /* or -1 */
};

static int refuse_archive(const struct extraction *x, const char *path)
{
    const char *why = archive_error_string(x->from);
    return refuse(x, path, why ? why : "can't be read");
}

static int write_content(void *arg, int fd)
{
    const struct content *c = arg;
    const void *bytes;
    size_t n;
    la_int64_t at;
    int r;
    while ((r = archive_read_data_block(c->x->from, &bytes, &n, &at)) == ARCHIVE_OK) {
        if (write_at(fd, bytes, n, at) < 0)
            return refuse_errno(c->x, c->path);
        tell_progress(c->x, 0);
    }
    if (r != ARCHIVE_EOF)
        return refuse_archive(c->x, c->path);
    return c->size >= 0 && ftruncate(fd, c->size) < 0 ? refuse_errno(c->x, c->path) : 0;
}

/* ---- objects ----------------------------------------------------------------------------------------------- */

/* tar's own way to write access lists, by names of users, is not followed; tar --xattrs and images have attributes. */
static bool has_list_of_tar(struct archive_entry *entry, const struct object *o)
{
    bool has = archive_entry_acl_types(entry) != 0;
    for (size_t i = 0; i < o->xattrs.count; i++)
        has &= strcmp(o->xattrs.at[i].name, OVL_ACL_ACCESS) != 0 && strcmp(o->xattrs.at[i].name, OVL_ACL_DEFAULT) != 0;
    return has;
}

static void describe(struct archive_entry *entry, struct object *o)
{
    const char *name;
    const void *value;
    size_t size;
    *o = (struct object){.target = archive_entry_symlink(entry)};
    o->st.st_mode = archive_entry_filetype(entry) | archive_entry_perm(entry);
    o->st.st_uid = (uid_t)archive_entry_uid(entry);
    o->st.st_gid = (gid_t)archive_entry_gid(entry);
    o->st.st_rdev = makedev((unsigned)archive_entry_rdevmajor(entry), (unsigned)archive_entry_rdevminor(entry));
    o->st.st_mtim = (struct timespec){archive_entry_mtime(entry), archive_entry_mtime_nsec(entry)};
    archive_entry_xattr_reset(entry);
    while (archive_entry_xattr_next(entry, &name, &value, &size) == ARCHIVE_OK) {
        if (ovl_is_private_xattr(name))
            o->lost_xattrs = true;
        else
            xattrs_add(&o->xattrs, name, value, size);
    }
    o->lost_xattrs |= has_list_of_tar(entry, o);
}

static int make_directory(struct extraction *x, const char *path, struct object *o)
{
    if (tree_go(&x->tree, path, true) < 0 || tree_dress(&x->tree, o) < 0)
        return refuse_errno(x, *path ? path : ".");
    x->objects += *path != '\0';
    return 0;
}

/* An archive may have a name twice: the last one counts, but directories are kept. */
static int make_room(struct extraction *x, int fd, const char *path, const char *name, mode_t mode)
{
    struct stat st;
    if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : refuse_errno(x, path);
    if (S_ISDIR(st.st_mode) && S_ISDIR(mode))
        return 0;
    int r = tree_remove(&x->tree, name);
    return r == -1 ? refuse_errno(x, path) : r;
}

/* Root may be without the right, too: in a container, or in a user name space. */
static bool is_left_out(const struct object *o, int error)
{
    return (S_ISCHR(o->st.st_mode) || S_ISBLK(o->st.st_mode)) && error == EPERM;
}

static int make_object(struct extraction *x, int fd, const char *path, const char *name, struct archive_entry *entry,
                       struct object *described)
{
    struct content content = {x, path, archive_entry_size_is_set(entry) ? archive_entry_size(entry) : -1};
    struct object o = *described;
    o.write = write_content;
    o.arg = &content;
    if (S_ISLNK(o.st.st_mode) && !o.target)
        return refuse(x, path, "a symbolic link without a target");
    int r = object_make(fd, name, &o);
    described->lost_xattrs = o.lost_xattrs;
    if (r == -1 && is_left_out(&o, errno)) {
        x->devices_left++;
        return 0;
    }
    x->objects += r == 0;
    return r == -1 ? refuse_errno(x, path) : r;
}

/* A file of the layer, found as the directory of any name is: not through links. */
static int make_link(struct extraction *x, char *path, char *target)
{
    const char *from_name, *name;
    int r = go_above(x, target, &from_name, false);
    int from = r < 0 ? -1 : fcntl(r, F_DUPFD_CLOEXEC, 0);
    int fd = from < 0 ? -1 : go_above(x, path, &name, true);
    if (fd < 0)
        r = -1;
    else if ((r = make_room(x, fd, path, name, S_IFREG)) == 0 && linkat(from, from_name, fd, name, 0) < 0)
        r = errno == ENOENT ? refuse(x, target, NOT_THERE) : refuse_errno(x, path);
    if (from >= 0)
        close(from);
    return r;
}

/* cpio's archives have the content with the last name of a file; what was there is replaced.  Its mode and times, which
 * writing changes, are given once more. */
static int fill_link(struct extraction *x, int fd, const char *path, const char *name, struct content *content,
                     struct object *o)
{
    char self[40];
    struct stat st;
    int found = openat(fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (found < 0 || fstat(found, &st) < 0 || !S_ISREG(st.st_mode)) {
        if (found >= 0)
            close(found);
        return refuse(x, path, "has content, and is a hard link to what can have none; nothing is imported");
    }
    snprintf(self, sizeof self, "/proc/self/fd/%d", found);
    int to = chmod(self, S_IRUSR | S_IWUSR) < 0 ? -1 : open(self, O_WRONLY | O_TRUNC | O_CLOEXEC);
    int r = to < 0 ? refuse_errno(x, path) : write_content(content, to);
    if (to >= 0 && close(to) < 0 && r == 0)
        r = refuse_errno(x, path);
    if (r == 0 && object_dress(found, o) < 0)
        r = refuse_errno(x, path);
    close(found);
    return r;
}

/* What tar(1) is told to take twice is a link to itself the second time. */
static int put_link(struct extraction *x, int fd, char *path, const char *name, struct archive_entry *entry,
                    struct object *o)
{
    struct stat st;
    char *target = path_of(x, archive_entry_hardlink(entry));
    bool is_itself = target && strcmp(target, path) == 0 && fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
    int r = is_itself ? 0 : target ? make_link(x, path, target) : -1;
    free(target);
    if (r < 0 || !S_ISREG(o->st.st_mode) || archive_entry_size(entry) == 0)
        return r;
    struct content content = {x, path, archive_entry_size(entry)};
    fd = go_above(x, path, &name, false); /* the link's target was elsewhere */
    return fd < 0 ? -1 : fill_link(x, fd, path, name, &content, o);
}

/* ---- whiteouts --------------------------------------------------------------------------------------------- */

static bool is_device_whiteout(const struct object *o)
{
    return S_ISCHR(o->st.st_mode) && o->st.st_rdev == 0;
}

static int make_mark(struct extraction *x, int fd, const char *path, const char *hidden)
{
    char *dir = path_in(fd, ".");
    int r =
        hidden ? ovl_mark_hide(&x->ctx, dir, hidden, OVL_MARK_FILE) : ovl_mark_set_opaque(&x->ctx, dir, OVL_MARK_FILE);
    free(dir);
    x->whiteouts++;
    if (r == 0 || r == -EEXIST)
        return 0;
    errno = -r;
    return refuse_errno(x, path);
}

static int put_whiteout(struct extraction *x, int fd, const char *path, const char *name)
{
    const char *hidden = name + OVL_WH_PREFIX_LENGTH;
    if (strcmp(name, OVL_WH_OPAQUE) == 0)
        return make_mark(x, fd, path, NULL);
    if (strncmp(name, WH_RESERVED, strlen(WH_RESERVED)) == 0)
        return 0;
    if (!*hidden || strcmp(hidden, ".") == 0 || strcmp(hidden, "..") == 0)
        return refuse(x, path, "a whiteout that names nothing");
    return make_mark(x, fd, path, hidden);
}

/* ---- the archive ------------------------------------------------------------------------------------------- */

static int put(struct extraction *x, char *path, struct archive_entry *entry, struct object *o)
{
    const char *name;
    if (!*path)
        return S_ISDIR(o->st.st_mode) ? make_directory(x, path, o) : refuse(x, "/", "is no directory");
    int fd = go_above(x, path, &name, true);
    if (fd < 0)
        return -1;
    if (strncmp(name, OVL_WH_PREFIX, OVL_WH_PREFIX_LENGTH) == 0)
        return put_whiteout(x, fd, path, name);
    if (archive_entry_hardlink(entry))
        return put_link(x, fd, path, name, entry, o);
    int r = make_room(x, fd, path, name, o->st.st_mode);
    if (r < 0)
        return r;
    if (is_device_whiteout(o))
        return make_mark(x, fd, path, name);
    return S_ISDIR(o->st.st_mode) ? make_directory(x, path, o) : make_object(x, fd, path, name, entry, o);
}

/* Why an entry would become something else than it is described as, or NULL. */
static const char *misfit(struct archive_entry *entry)
{
    const la_int64_t uid = archive_entry_uid(entry), gid = archive_entry_gid(entry), end = (uid_t)-1;
    if (uid < 0 || uid >= end || gid < 0 || gid >= end)
        return "its owner or group is a number that none can have; nothing is imported";
    if (!archive_entry_filetype(entry) && !archive_entry_hardlink(entry))
        return "is of a kind that is not known; nothing is imported";
    return NULL;
}

static int extract_entry(struct extraction *x, struct archive_entry *entry)
{
    struct object o;
    const char *name = archive_entry_pathname(entry);
    if (!name)
        return refuse(x, "an entry", "has no name that can be read");
    char *path = path_of(x, name);
    if (!path)
        return -1;
    describe(entry, &o);
    const char *why = misfit(entry);
    int r = why ? refuse(x, path, why) : put(x, path, entry, &o);
    x->xattrs_left += o.lost_xattrs;
    xattrs_free(&o.xattrs);
    free(path);
    tell_progress(x, 1);
    return r;
}

static int extract_all(struct extraction *x)
{
    struct archive_entry *entry;
    int got, r = 0;
    while (r == 0 && ((got = archive_read_next_header(x->from, &entry)) == ARCHIVE_OK || got == ARCHIVE_WARN))
        r = extract_entry(x, entry);
    if (r < 0)
        return -1;
    if (got == ARCHIVE_EOF)
        return 0;
    const char *why = archive_error_string(x->from);
    complain("%s: %s", x->source, why ? why : "can't be read");
    return -1;
}

int extract(struct extraction *x, int root)
{
    x->before = 0;
    if (ovl_ctx_begin(&x->ctx, NULL, &ovl_ops_kernel) < 0)
        need(NULL);
    int r = tree_open(&x->tree, root) < 0 ? refuse_errno(x, "the layer's directory") : extract_all(x);
    if (tree_close(&x->tree) < 0 && r == 0)
        r = refuse_errno(x, "a directory's mode or time");
    ovl_ctx_end(&x->ctx);
    return r;
}
