/* SPDX-License-Identifier: MIT
 *
 * A layer as a file.  libarchive makes the tar; its bytes are summed, and go through a second archive, which has no
 * format and only compresses, or to the file as they are.
 */
#include "layer_file.h"

#include "output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK (64 << 10)

/* ---- names ------------------------------------------------------------------------------------------------- */

static bool ends_in(const char *path, const char *end)
{
    size_t n = strlen(path), m = strlen(end);
    return n > m && strcmp(path + n - m, end) == 0 && path[n - m - 1] != '/';
}

enum packing packing_of(const char *path)
{
    return ends_in(path, ".tar")                               ? PACKING_NONE
           : ends_in(path, ".tar.gz") || ends_in(path, ".tgz") ? PACKING_GZIP
           : ends_in(path, ".tar.zst")                         ? PACKING_ZSTD
                                                               : PACKING_UNKNOWN;
}

const char *packing_media_type(enum packing packing)
{
    static const char *const type[] = {"application/vnd.oci.image.layer.v1.tar",
                                       "application/vnd.oci.image.layer.v1.tar+gzip",
                                       "application/vnd.oci.image.layer.v1.tar+zstd"};
    return type[packing];
}

/* ---- bytes ------------------------------------------------------------------------------------------------- */

static int complain_of(struct layer_file *file, struct archive *a)
{
    int error = file->error ? file->error : a ? archive_errno(a) : errno;
    const char *why = !file->error && a && archive_error_string(a) ? archive_error_string(a) : strerror(error);
    complain("%s: %s", file->path, why);
    return -1;
}

/* Bytes of the file itself. */
static la_ssize_t write_out(struct archive *a, void *arg, const void *bytes, size_t n)
{
    struct layer_file *file = arg;
    for (size_t done = 0; done < n;) {
        ssize_t r = write(file->fd, (const char *)bytes + done, n - done);
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0) {
            file->error = errno;
            archive_set_error(a, errno, "%s", strerror(errno));
            return -1;
        }
        done += (size_t)r;
    }
    SHA256Update(&file->sum, bytes, n);
    file->size += n;
    return (la_ssize_t)n;
}

/* Bytes of the tar. */
static la_ssize_t write_plain(struct archive *a, void *arg, const void *bytes, size_t n)
{
    struct layer_file *file = arg;
    SHA256Update(&file->plain_sum, bytes, n);
    if (!file->packed)
        return write_out(a, arg, bytes, n);
    if (archive_write_data(file->packed, bytes, n) == (la_ssize_t)n)
        return (la_ssize_t)n;
    archive_set_error(a, archive_errno(file->packed), "%s", archive_error_string(file->packed));
    return -1;
}

/* ---- beginning --------------------------------------------------------------------------------------------- */

static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return !slash ? text(".") : slash == path ? text("/") : text("%.*s", (int)(slash - path), path);
}

static mode_t mode_of_new_files(void)
{
    mode_t mask = umask(0);
    umask(mask);
    return 0666 & ~mask;
}

static int open_aside(struct layer_file *file)
{
    char *folder = folder_of(file->path);
    file->fd = open(folder, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0666);
    if (file->fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL)) {
        file->aside = text("%s.XXXXXX", file->path);
        file->fd = mkostemp(file->aside, O_CLOEXEC);
        if (file->fd >= 0)
            (void)!fchmod(file->fd, mode_of_new_files());
    }
    free(folder);
    return file->fd < 0 ? -1 : 0;
}

static int begin_tar(struct layer_file *file)
{
    file->tar = need(archive_write_new());
    int r = archive_write_set_format_pax_restricted(file->tar);
    if (r == ARCHIVE_OK)
        r = archive_write_set_format_option(file->tar, "pax", "xattrheader", "SCHILY"); /* as OCI's layer.md has it */
    if (r == ARCHIVE_OK)
        r = archive_write_set_bytes_per_block(file->tar, BLOCK);
    if (r == ARCHIVE_OK)
        r = archive_write_set_bytes_in_last_block(file->tar, 1);
    return r == ARCHIVE_OK ? archive_write_open(file->tar, file, NULL, write_plain, NULL) : r;
}

static int begin_packed(struct layer_file *file, enum packing packing)
{
    if (packing == PACKING_NONE)
        return ARCHIVE_OK;
    struct archive *a = file->packed = need(archive_write_new());
    int r = archive_write_set_format_raw(a);
    if (r == ARCHIVE_OK)
        r = packing == PACKING_GZIP ? archive_write_add_filter_gzip(a) : archive_write_add_filter_zstd(a);
    if (r == ARCHIVE_OK && packing == PACKING_GZIP)
        r = archive_write_set_filter_option(a, "gzip", "timestamp", NULL);
    if (r == ARCHIVE_OK)
        r = archive_write_set_bytes_per_block(a, BLOCK);
    if (r == ARCHIVE_OK)
        r = archive_write_set_bytes_in_last_block(a, 1);
    if (r == ARCHIVE_OK)
        r = archive_write_open(a, file, NULL, write_out, NULL);
    struct archive_entry *entry = need(archive_entry_new());
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_pathname(entry, "layer");
    if (r == ARCHIVE_OK)
        r = archive_write_header(a, entry);
    archive_entry_free(entry);
    return r;
}

int layer_file_open(struct layer_file *file, const char *path)
{
    *file = (struct layer_file){.path = path, .fd = -1};
    SHA256Init(&file->sum);
    SHA256Init(&file->plain_sum);
    if (open_aside(file) < 0)
        return complain_of(file, NULL);
    if (begin_packed(file, packing_of(path)) != ARCHIVE_OK)
        return complain_of(file, file->packed);
    return begin_tar(file) == ARCHIVE_OK ? 0 : complain_of(file, file->tar);
}

/* ---- objects ----------------------------------------------------------------------------------------------- */

/* A warning is an entry that is not as it was wanted. */
int layer_file_put(struct layer_file *file, struct archive_entry *entry)
{
    int r = archive_write_header(file->tar, entry);
    if (r == ARCHIVE_OK || (r == ARCHIVE_WARN && archive_errno(file->tar) == EILSEQ))
        return 0; /* a name that is no UTF-8: the header says so */
    return complain_of(file, file->tar);
}

int layer_file_write(struct layer_file *file, const void *bytes, size_t n)
{
    return archive_write_data(file->tar, bytes, n) == (la_ssize_t)n ? 0 : complain_of(file, file->tar);
}

/* ---- ending ------------------------------------------------------------------------------------------------ */

static int close_archive(struct layer_file *file, struct archive **a)
{
    int r = *a ? archive_write_close(*a) : ARCHIVE_OK;
    if (r != ARCHIVE_OK)
        complain_of(file, *a);
    archive_write_free(*a);
    *a = NULL;
    return r == ARCHIVE_OK ? 0 : -1;
}

/* Give the file a name beside the one that it is to have, unless that is free. */
static int name_aside(struct layer_file *file)
{
    char self[40];
    snprintf(self, sizeof self, "/proc/self/fd/%d", file->fd);
    if (linkat(AT_FDCWD, self, AT_FDCWD, file->path, AT_SYMLINK_FOLLOW) == 0)
        return 1;
    for (unsigned i = 0; errno == EEXIST; i++) {
        free(file->aside);
        file->aside = text("%s.%ld-%u", file->path, (long)getpid(), i);
        if (linkat(AT_FDCWD, self, AT_FDCWD, file->aside, AT_SYMLINK_FOLLOW) == 0)
            return 0;
    }
    free(file->aside);
    file->aside = NULL;
    return -1;
}

static int take_name(struct layer_file *file)
{
    if (fsync(file->fd) < 0)
        return -1;
    int r = file->aside ? 0 : name_aside(file);
    if (r != 0)
        return r < 0 ? -1 : 0;
    if (rename(file->aside, file->path) < 0)
        return -1;
    free(file->aside);
    file->aside = NULL;
    return 0;
}

int layer_file_finish(struct layer_file *file)
{
    int r = close_archive(file, &file->tar);
    if (close_archive(file, &file->packed) < 0)
        r = -1;
    SHA256End(&file->plain_sum, file->diff_id);
    SHA256End(&file->sum, file->digest);
    if (r == 0 && take_name(file) < 0)
        r = complain_of(file, NULL);
    layer_file_drop(file);
    return r;
}

void layer_file_drop(struct layer_file *file)
{
    archive_write_free(file->tar); /* NULL is fine */
    archive_write_free(file->packed);
    file->tar = file->packed = NULL;
    if (file->aside)
        unlink(file->aside);
    free(file->aside);
    file->aside = NULL;
    if (file->fd >= 0)
        close(file->fd);
    file->fd = -1;
}
