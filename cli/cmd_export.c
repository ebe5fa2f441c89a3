/* SPDX-License-Identifier: MIT
 *
 * ovl export: the upper as a layer of an OCI image.
 *
 * What must hold: the bytes depend on what the upper changes, the owner that was chosen and SOURCE_DATE_EPOCH, and on
 * nothing else; not on who exports it, where it lies, the form of its whiteouts or the locale.
 */
#include "changes.h"
#include "choose.h"
#include "commands.h"
#include "json.h"
#include "layer_file.h"
#include "links.h"
#include "output.h"
#include "progress.h"
#include "space.h"
#include "xattrs.h"

#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static const char help[] =
    "usage: ovl export [OPTION]... -o FILE.tar[.gz|.zst] [MOUNT]\n"
    "\n"
    "Writes what the upper directory changes as a layer of an OCI image, and prints the layer's digest (of the file)\n"
    "and diff-id (of the tar in it).  MOUNT says which overlay, where several have an upper.  Nothing else is "
    "changed.\n"
    "\n" SPACE_HELP "\n"
    "  -o, --output FILE      the file to write; its name says how it is compressed: .tar, .tar.gz, .tgz, .tar.zst\n"
    "      --owner UID:GID    the owner of everything, in numbers (default: as it is in the upper)\n" JSON_HELP
        RESULT_HELP "\n"
    "The same changes give the same bytes: names are sorted, times are whole seconds, and what is newer than\n"
    "SOURCE_DATE_EPOCH (seconds since 1970), if that is set, has that time; owners are numbers.  With the same\n"
    "versions of zlib and libzstd that holds for compressed files too, and for the diff-id always.  Whiteouts have "
    "the\n"
    "form of OCI (.wh.NAME), whatever they are in the upper, and come before what else is in their directory.\n"
    "Whiteouts over nothing are left out; so are sockets (what they hide stays hidden), the attributes of a machine\n"
    "(security.selinux, security.ima, security.evm, system.nfs4_acl) and the overlay's own.  Hard links stay links,\n"
    "also to names that only a lower layer has.  FILE gets its name when it is whole.\n"
    "\n"
    "Exit status: 0; 2 for a wrong option; 3 when something can't be read or written, or there is no such overlay;\n"
    "125 when the configuration is wrong.\n";

#define BUFFER (256 << 10)

struct export_options {
    struct options shared;
    const char *output, *owner;
    bool has_owner, has_epoch;
    unsigned uid, gid;
    int64_t epoch;
};

struct exporting {
    const struct export_options *options;
    struct space *space;
    struct ovl *ovl;
    struct layer_file file;
    struct links links;
    struct progress progress;
    struct archive_entry *entry;
    char *buffer;
    char *above; /* the directory that was put last, for what only lower layers have above a name */
    uint64_t objects, whiteouts;
};

/* ---- one object -------------------------------------------------------------------------------------------- */

static void set_owner(const struct exporting *e, uid_t uid, gid_t gid)
{
    archive_entry_set_uid(e->entry, e->options->has_owner ? e->options->uid : uid);
    archive_entry_set_gid(e->entry, e->options->has_owner ? e->options->gid : gid);
}

static int64_t clamp(const struct exporting *e, int64_t time)
{
    return e->options->has_epoch && time > e->options->epoch ? e->options->epoch : time;
}

static void begin_entry(const struct exporting *e, const char *name, const struct stat *st)
{
    archive_entry_clear(e->entry);
    archive_entry_copy_pathname(e->entry, name);
    archive_entry_set_mode(e->entry, st->st_mode);
    archive_entry_set_mtime(e->entry, clamp(e, st->st_mtim.tv_sec), 0);
    set_owner(e, st->st_uid, st->st_gid);
    archive_entry_set_size(e->entry, S_ISREG(st->st_mode) ? st->st_size : 0);
    if (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode)) {
        archive_entry_set_rdevmajor(e->entry, major(st->st_rdev));
        archive_entry_set_rdevminor(e->entry, minor(st->st_rdev));
    }
}

/* A mark: nothing of it is taken from the upper, which may have it in another form. */
static int put_mark(struct exporting *e, const char *name)
{
    const struct stat st = {.st_mode = S_IFREG | 0600, .st_mtim = {.tv_sec = 0}};
    begin_entry(e, name, &st);
    e->whiteouts++;
    return layer_file_put(&e->file, e->entry);
}

/* DIRECTORY/PREFIX NAME of a path below the mount. */
static int put_whiteout(struct exporting *e, const char *relative)
{
    const char *slash = strrchr(relative, '/'), *name = slash ? slash + 1 : relative;
    char *mark = text("%.*s%s%s", (int)(name - relative), relative, OVL_WH_PREFIX, name);
    int r = put_mark(e, mark);
    free(mark);
    return r;
}

static int put_opaque(struct exporting *e, const char *relative)
{
    char *mark = text("%s%s%s", relative, *relative ? "/" : "", OVL_WH_OPAQUE);
    int r = put_mark(e, mark);
    free(mark);
    return r;
}

static int complain_of(const char *path, const char *what)
{
    complain("%s: %s", path, what);
    return -1;
}

/* A pax header's keyword ends in a '=' and is UTF-8, and libarchive writes what else might be in the way as %XX, which
 * is another name to everybody else. */
static bool fits_header(const char *name)
{
    for (; *name; name++)
        if (*name <= ' ' || *name > '~' || *name == '=' || *name == '%')
            return false;
    return true;
}

static int add_xattrs(struct exporting *e, const struct change *change)
{
    struct xattrs xattrs;
    if (xattrs_read(&xattrs, change->upper.real) < 0)
        return complain_of(change->path, strerror(errno));
    int r = 0;
    /* The last one that is added comes first. */
    for (size_t i = xattrs.count; r == 0 && i-- > 0;) {
        const struct xattr *x = &xattrs.at[i];
        if (xattr_is_local(x->name))
            continue;
        if (fits_header(x->name)) {
            archive_entry_xattr_add_entry(e->entry, x->name, x->value, x->size);
        } else {
            complain("%s: the name of its extended attribute '%s' does not fit into a tar; remove or rename that",
                     change->path, x->name);
            r = -1;
        }
    }
    xattrs_free(&xattrs);
    return r;
}

static int add_target(struct exporting *e, const struct change *change)
{
    char target[OVL_REAL_MAX];
    ssize_t n = readlink(change->upper.real, target, sizeof target - 1);
    if (n < 0)
        return complain_of(change->path, strerror(errno));
    target[n] = '\0';
    archive_entry_copy_symlink(e->entry, target);
    return 0;
}

/* ---- content ----------------------------------------------------------------------------------------------- */

static bool is_same(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_dev == b->st_dev && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static int copy_content(struct exporting *e, const struct change *change, int fd)
{
    off_t left = change->upper.st.st_size;
    while (left > 0) {
        ssize_t n = read(fd, e->buffer, left < BUFFER ? (size_t)left : BUFFER);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return complain_of(change->path, strerror(errno));
        if (n == 0)
            break;
        if (layer_file_write(&e->file, e->buffer, (size_t)n) < 0)
            return -1;
        progress_add(&e->progress, 0, (uint64_t)n);
        left -= n;
    }
    struct stat now;
    if (left == 0 && fstat(fd, &now) == 0 && is_same(&now, &change->upper.st))
        return 0;
    return complain_of(change->path, "was changed while it was read; export again when nothing runs in the overlay");
}

/* Opened before its header is written: of what can't be read there is nothing in the file. */
static int put_file(struct exporting *e, const struct change *change)
{
    int fd = open(change->upper.real, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return complain_of(change->path, strerror(errno));
    int r = layer_file_put(&e->file, e->entry);
    if (r == 0)
        r = copy_content(e, change, fd);
    close(fd);
    return r;
}

/* ---- changes ------------------------------------------------------------------------------------------------- */

static int put_link(struct exporting *e, const char *first)
{
    archive_entry_copy_hardlink(e->entry, first);
    archive_entry_set_size(e->entry, 0);
    return layer_file_put(&e->file, e->entry);
}

/* Whether a path is the directory that was put last, or above that. */
static bool is_put(const struct exporting *e, const char *relative, size_t n)
{
    return e->above && strncmp(e->above, relative, n) == 0 && (!e->above[n] || e->above[n] == '/');
}

static void remember(struct exporting *e, const char *directory)
{
    free(e->above);
    e->above = need(strdup(directory));
}

static int put_object(struct exporting *e, const struct change *change)
{
    const struct stat *st = &change->upper.st;
    begin_entry(e, change->relative, st);
    char *first = links_first(&e->links, st, change->relative);
    if (!first && errno)
        return complain_of(change->path, strerror(errno));
    int r = first ? put_link(e, first) : add_xattrs(e, change);
    if (!first && r == 0 && S_ISLNK(st->st_mode))
        r = add_target(e, change);
    if (!first && r == 0)
        r = S_ISREG(st->st_mode) ? put_file(e, change) : layer_file_put(&e->file, e->entry);
    free(first);
    if (S_ISDIR(st->st_mode))
        remember(e, change->relative);
    e->objects++;
    return r;
}

/* Another name of a changed file lies in directories that the upper may not have. */
static int put_directories_above(struct exporting *e, const struct change *change)
{
    int r = 0;
    for (const char *slash = strchr(change->relative, '/'); r == 0 && slash; slash = strchr(slash + 1, '/')) {
        size_t n = (size_t)(slash - change->relative), mark = e->space->ctx.used;
        const int fds = e->space->ctx.fds;
        if (is_put(e, change->relative, n))
            continue;
        char *path = text("%.*s", (int)(slash - change->path), change->path);
        char *relative = text("%.*s", (int)n, change->relative);
        struct ovl_node *node = need(ovl_node_new(&e->space->ctx));
        r = ovl_resolve(&e->space->ctx, "/", path, OVL_NAME | OVL_LONG | OVL_NOLINKS, node);
        struct change directory = {.path = path, .relative = relative};
        directory.upper.real = node->real;
        directory.upper.st = node->st;
        r = r < 0 ? complain_of(path, strerror(-r)) : put_object(e, &directory);
        ovl_ctx_close(&e->space->ctx, fds);
        ovl_ctx_reset(&e->space->ctx, mark);
        free(path);
        free(relative);
    }
    return r;
}

static int each(const struct change *change, void *arg)
{
    struct exporting *e = arg;
    const struct ovl_node *shown = change->upper.node;
    const bool is_socket = shown->exists && S_ISSOCK(shown->st.st_mode);
    int r = 0;
    if (is_socket)
        tell("%s: a socket, which a tar can't hold, is left out", change->path);
    if (is_socket && change->kind != CHANGE_DELETED)
        return 0;
    if (change->kind == CHANGE_DELETED)
        return change->hidden ? 0 : put_whiteout(e, change->relative) < 0;
    if (change->linked)
        r = put_directories_above(e, change);
    if (r == 0 && *change->relative)
        r = put_object(e, change);
    if (r == 0 && change->opaque)
        r = put_opaque(e, change->relative);
    progress_add(&e->progress, 1, 0);
    return r < 0;
}

/* ---- the whole ------------------------------------------------------------------------------------------------- */

struct totals {
    uint64_t files, bytes;
};

static int count(const struct change *change, void *arg)
{
    struct totals *totals = arg;
    totals->files += change->upper.exists;
    totals->bytes += change->upper.exists && S_ISREG(change->upper.st.st_mode) ? (uint64_t)change->upper.st.st_size : 0;
    return 0;
}

static void begin_progress(struct exporting *e)
{
    struct totals totals = {0, 0};
    const struct changes_visitor visitor = {
        .each = count, .arg = &totals, .flags = CHANGES_ALL | CHANGES_NAMES | CHANGES_SILENT};
    if (progress_is_wanted())
        changes_walk(&e->space->ctx, e->ovl, &visitor);
    progress_begin(&e->progress, "exporting", totals.files, totals.bytes);
}

static int put_all(struct exporting *e)
{
    const struct changes_visitor visitor = {.each = each,
                                            .arg = e,
                                            .flags = CHANGES_ALL | CHANGES_NAMES | CHANGES_DELETED_FIRST |
                                                     CHANGES_LINKS | CHANGES_NO_SOCKETS};
    begin_progress(e);
    int r = changes_walk(&e->space->ctx, e->ovl, &visitor);
    progress_end(&e->progress);
    return r;
}

static void print_result(const struct exporting *e)
{
    const enum packing packing = packing_of(e->options->output);
    if (!e->options->shared.json) {
        printf("digest   sha256:%s\ndiff-id  sha256:%s\n", e->file.digest, e->file.diff_id);
        return;
    }
    struct json_object *result = json_new();
    char *digest = text("sha256:%s", e->file.digest), *diff_id = text("sha256:%s", e->file.diff_id);
    json_add_path(result, "file", e->options->output);
    json_add_text(result, "media_type", packing_media_type(packing));
    json_add_text(result, "digest", digest);
    json_add_text(result, "diff_id", diff_id);
    json_add_number(result, "size", (int64_t)e->file.size);
    json_add_number(result, "objects", (int64_t)e->objects);
    json_add_number(result, "whiteouts", (int64_t)e->whiteouts);
    json_print(result);
    free(digest);
    free(diff_id);
}

static int export(struct exporting *e)
{
    e->entry = need(archive_entry_new());
    e->buffer = need(malloc(BUFFER));
    int r = layer_file_open(&e->file, e->options->output);
    if (r == 0)
        r = put_all(e);
    if (r == 0)
        r = layer_file_finish(&e->file);
    if (r == 0)
        print_result(e);
    layer_file_drop(&e->file);
    links_free(&e->links);
    archive_entry_free(e->entry);
    free(e->buffer);
    free(e->above);
    return finish_output(r == 0 ? STATUS_DONE : STATUS_FAILED);
}

/* ---- the subcommand ---------------------------------------------------------------------------------------------- */

enum { OPTION_OWNER = OPTION_OWN };

/* A decimal number up to `max`, and nothing behind it but `end`; NULL: it is none. */
static const char *number(const char *word, char end, uint64_t max, uint64_t *value)
{
    *value = 0;
    const char *p = word;
    for (; *p >= '0' && *p <= '9'; p++) {
        unsigned digit = (unsigned)(*p - '0');
        if (*value > (max - digit) / 10)
            return NULL;
        *value = *value * 10 + digit;
    }
    return p > word && *p == end ? p : NULL;
}

static int check_owner(struct export_options *options)
{
    uint64_t uid, gid;
    if (!options->owner)
        return STATUS_DONE;
    const char *colon = number(options->owner, ':', UINT32_MAX - 1, &uid);
    if (!colon || !number(colon + 1, '\0', UINT32_MAX - 1, &gid))
        return usage_error("export", "--owner %s: two numbers with a ':' between, as 0:0", options->owner);
    options->has_owner = true;
    options->uid = (unsigned)uid;
    options->gid = (unsigned)gid;
    return STATUS_DONE;
}

static int check_epoch(struct export_options *options)
{
    const char *epoch = getenv("SOURCE_DATE_EPOCH");
    uint64_t value;
    if (!epoch || !*epoch)
        return STATUS_DONE;
    if (!number(epoch, '\0', INT64_MAX, &value))
        return usage_error("export", "SOURCE_DATE_EPOCH=%s: seconds since 1970, a number", epoch);
    options->has_epoch = true;
    options->epoch = (int64_t)value;
    return STATUS_DONE;
}

static int check_options(struct export_options *options)
{
    if (!options->output)
        return usage_error("export", "-o is missing: the file to write, NAME.tar, NAME.tar.gz or NAME.tar.zst");
    if (packing_of(options->output) == PACKING_UNKNOWN)
        return usage_error("export", "-o %s: its name must end in .tar, .tar.gz, .tgz or .tar.zst", options->output);
    int status = check_owner(options);
    return status == STATUS_DONE ? check_epoch(options) : status;
}

static int take_options(int argc, char **argv, struct export_options *options)
{
    static const struct option table[] = {
        SPACE_LONG,
        RESULT_LONG,
        {"output", required_argument, NULL, 'o'},
        {"owner", required_argument, NULL, OPTION_OWNER},
        HELP_LONG,
    };
    for (int option; (option = getopt_long(argc, argv, "o:" SPACE_SHORT, table, NULL)) != -1;) {
        int taken = options_take(&options->shared, option, help);
        if (ENDS(taken))
            return taken;
        if (option == 'o')
            options->output = optarg;
        if (option == OPTION_OWNER)
            options->owner = optarg;
    }
    return 0;
}

int cmd_export(int argc, char **argv)
{
    struct export_options options = {.shared = {.command = "export"}};
    struct space space;
    int taken = take_options(argc, argv, &options);
    if (ENDS(taken))
        return END_STATUS(taken);
    int status = check_options(&options);
    if (status == STATUS_DONE)
        status = refuse_inside("export");
    if (status != STATUS_DONE)
        return status;
    setlocale(LC_CTYPE, "C.UTF-8"); /* libarchive's headers depend on it; glibc has this one built in */
    status = space_open(&space, &options.shared, NEEDS_UPPER);
    struct exporting e = {.options = &options, .space = &space, .file = {.fd = -1}};
    if (status == STATUS_DONE)
        e.ovl = choose_overlay(&space, "export", argv + optind, &status);
    if (status == STATUS_DONE)
        status = export(&e);
    space_close(&space);
    return status;
}
