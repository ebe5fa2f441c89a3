/* SPDX-License-Identifier: MIT
 *
 * Archives that are read.  A blob goes through two of libarchive's readers: one without a format, which takes the
 * compression off, and one for the entries; its bytes are summed before the first and between them.
 */
#include "reader.h"

#include "output.h"
#include "space.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#define BUFFER (256 << 10)
#define LINKS_MAX 8 /* from one to the next */

void blob_free(struct blob *blob)
{
    free(blob->file);
    free(blob->member);
    free(blob->digest);
    free(blob->diff_id);
    *blob = (struct blob){.file = NULL};
}

/* ---- libarchive's readers ---------------------------------------------------------------------------------- */

/* Those that need no other program. */
static void support_filters(struct archive *a)
{
    archive_read_support_filter_gzip(a);
    archive_read_support_filter_bzip2(a);
    archive_read_support_filter_xz(a);
    archive_read_support_filter_lzma(a);
    archive_read_support_filter_zstd(a);
    archive_read_support_filter_lz4(a);
}

struct archive *archive_of_layers(void)
{
    struct archive *a = need(archive_read_new());
    support_filters(a);
    archive_read_support_format_tar(a);
    archive_read_support_format_cpio(a);
    archive_read_support_format_zip(a);
    archive_read_support_format_empty(a);
    return a;
}

static int complain_of(const char *file, const char *member, const char *why)
{
    complain("%s%s%s: %s", file, member ? ": " : "", member ? member : "", why);
    return -1;
}

static int complain_of_archive(const struct reader *r, struct archive *a)
{
    const char *why = archive_error_string(a);
    return complain_of(r->blob->file, r->blob->member, why ? why : "can't be read");
}

/* ---- bytes ------------------------------------------------------------------------------------------------- */

static ssize_t read_file(int fd, void *to, size_t n)
{
    ssize_t got;
    do
        got = read(fd, to, n);
    while (got < 0 && errno == EINTR);
    return got;
}

/* The bytes of the blob itself. */
static la_ssize_t read_bytes(struct archive *a, void *arg, const void **bytes)
{
    struct reader *r = arg;
    la_ssize_t n = r->outer ? archive_read_data(r->outer, r->buffer, BUFFER) : read_file(r->fd, r->buffer, BUFFER);
    if (n < 0) {
        const char *why = r->outer ? archive_error_string(r->outer) : strerror(errno);
        archive_set_error(a, EIO, "%s", why ? why : "can't be read");
        return -1;
    }
    SHA256Update(&r->sum, (const uint8_t *)r->buffer, (size_t)n);
    r->size += n;
    *bytes = r->buffer;
    return n;
}

/* What they are uncompressed. */
static la_ssize_t read_plain(struct archive *a, void *arg, const void **bytes)
{
    struct reader *r = arg;
    la_ssize_t n = r->packed ? archive_read_data(r->packed, r->plain_buffer, BUFFER) : 0;
    if (n < 0) {
        const char *why = archive_error_string(r->packed);
        archive_set_error(a, EIO, "%s", why ? why : "can't be read");
        return -1;
    }
    SHA256Update(&r->plain_sum, (const uint8_t *)r->plain_buffer, (size_t)n);
    *bytes = r->plain_buffer;
    return n;
}

/* ---- opening ----------------------------------------------------------------------------------------------- */

/* Archives name their members as they like. */
static bool is_member(const char *name, const char *wanted)
{
    while (name[0] == '.' && name[1] == '/')
        name += 2;
    return strcmp(name, wanted) == 0;
}

/* What a member that is a link stands for, or NULL. */
static char *target_of(struct archive_entry *entry, const char *member)
{
    const char *hard = archive_entry_hardlink(entry), *soft = archive_entry_symlink(entry);
    const char *slash = strrchr(member, '/');
    if (!hard && (!soft || *soft == '/'))
        return NULL;
    char *target = hard ? text("/%s", hard) : text("/%.*s%s", slash ? (int)(slash + 1 - member) : 0, member, soft);
    tidy_path(target);
    return memmove(target, target + 1, strlen(target));
}

/* 1: it is not there. */
static int open_member(struct reader *r, const char *member, int links)
{
    struct archive_entry *entry;
    r->outer = need(archive_read_new());
    support_filters(r->outer);
    archive_read_support_format_tar(r->outer);
    int got = archive_read_open_filename(r->outer, r->blob->file, BUFFER);
    while (got == ARCHIVE_OK || got == ARCHIVE_WARN) {
        got = archive_read_next_header(r->outer, &entry);
        if (got == ARCHIVE_EOF)
            return 1;
        if ((got != ARCHIVE_OK && got != ARCHIVE_WARN) || !is_member(archive_entry_pathname(entry), member))
            continue;
        if (archive_entry_filetype(entry) == AE_IFREG && !archive_entry_hardlink(entry))
            return 0;
        char *target = links < LINKS_MAX ? target_of(entry, member) : NULL;
        if (!target)
            return complain_of(r->blob->file, r->blob->member, "is no file, nor a link to one in this archive");
        archive_read_free(r->outer);
        int opened = open_member(r, target, links + 1);
        free(target);
        return opened;
    }
    return complain_of_archive(r, r->outer);
}

/* 1: it is not there. */
static int open_bytes(struct reader *r, const struct blob *blob)
{
    *r = (struct reader){.blob = blob, .fd = -1};
    r->buffer = need(malloc(BUFFER));
    SHA256Init(&r->sum);
    SHA256Init(&r->plain_sum);
    if (blob->member)
        return open_member(r, blob->member, 0);
    r->fd = open(blob->file, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (r->fd < 0 && errno == ENOENT)
        return 1;
    return r->fd < 0 ? complain_of(blob->file, NULL, strerror(errno)) : 0;
}

static int missing(const struct blob *blob)
{
    return complain_of(blob->file, blob->member, "is missing; the image is not whole");
}

static int open_packed(struct reader *r)
{
    struct archive_entry *entry;
    r->packed = need(archive_read_new());
    support_filters(r->packed);
    archive_read_support_format_raw(r->packed);
    archive_read_support_format_empty(r->packed);
    if (archive_read_open(r->packed, r, NULL, read_bytes, NULL) != ARCHIVE_OK)
        return complain_of_archive(r, r->packed);
    int got = archive_read_next_header(r->packed, &entry);
    if (got == ARCHIVE_OK)
        return 0;
    if (got != ARCHIVE_EOF)
        return complain_of_archive(r, r->packed);
    archive_read_free(r->packed); /* no bytes at all */
    r->packed = NULL;
    return 0;
}

int reader_open_blob(struct reader *r, const struct blob *blob)
{
    int opened = open_bytes(r, blob);
    if (opened != 0)
        return opened > 0 ? missing(blob) : -1;
    r->plain_buffer = need(malloc(BUFFER));
    if (open_packed(r) < 0)
        return -1;
    r->entries = need(archive_read_new());
    archive_read_support_format_tar(r->entries);
    archive_read_support_format_empty(r->entries);
    if (archive_read_open(r->entries, r, NULL, read_plain, NULL) == ARCHIVE_OK)
        return 0;
    return complain_of_archive(r, r->entries);
}

int reader_open_file(struct reader *r, const char *file)
{
    *r = (struct reader){.fd = -1, .file = file, .entries = archive_of_layers()};
    if (archive_read_open_filename(r->entries, file, BUFFER) == ARCHIVE_OK)
        return 0;
    const char *why = archive_error_string(r->entries);
    complain("%s: %s; tar, cpio and zip archives can be read, and images", file, why ? why : "can't be read");
    return -1;
}

/* ---- ending ------------------------------------------------------------------------------------------------ */

/* What lies behind the archive belongs to the sums, too. */
static int drain(struct reader *r)
{
    const void *bytes;
    la_ssize_t n = 1;
    while (r->packed && n > 0)
        n = read_plain(r->packed, r, &bytes);
    if (n < 0)
        return complain_of_archive(r, r->packed);
    struct archive *a = r->packed ? r->packed : r->entries;
    do
        n = read_bytes(a, r, &bytes);
    while (n > 0);
    return n < 0 ? complain_of_archive(r, a) : 0;
}

/* libarchive does not look at gzip's sum. */
static int check_gzip(const char *file)
{
    gzFile gz = gzopen(file, "rbe");
    if (!gz)
        return complain_of(file, NULL, strerror(errno));
    char *bytes = need(malloc(BUFFER));
    int error;
    while (gzread(gz, bytes, BUFFER) > 0)
        ;
    gzerror(gz, &error);
    if (error != Z_OK)
        complain_of(file, NULL, error == Z_ERRNO ? strerror(errno) : "is not what gzip has summed up; it is damaged");
    gzclose(gz);
    free(bytes);
    return error == Z_OK ? 0 : -1;
}

/* Compression has sums of its own, the last of them behind all that an archive is read of: the whole file once more. */
static int check_packing(const char *file)
{
    struct archive *a = need(archive_read_new());
    struct archive_entry *entry;
    const void *bytes;
    size_t n;
    la_int64_t at;
    support_filters(a);
    archive_read_support_format_raw(a);
    int got = archive_read_open_filename(a, file, BUFFER);
    if (got == ARCHIVE_OK)
        got = archive_read_next_header(a, &entry);
    while (got == ARCHIVE_OK)
        got = archive_read_data_block(a, &bytes, &n, &at);
    const char *why = archive_error_string(a);
    int r = got == ARCHIVE_EOF ? 0 : complain_of(file, NULL, why ? why : "can't be read");
    archive_read_free(a);
    return r;
}

static int compare(const struct reader *r, const char *what, const char *wanted, const char *is)
{
    if (!wanted || strcmp(wanted, is) == 0)
        return 0;
    complain("%s%s%s: its %s is sha256:%s, and should be sha256:%s; the image is damaged or was changed", r->blob->file,
             r->blob->member ? ": " : "", r->blob->member ? r->blob->member : "", what, is, wanted);
    return -1;
}

static int check_bytes(struct reader *r)
{
    char sum[SHA256_DIGEST_STRING_LENGTH];
    SHA256End(&r->sum, sum);
    if (r->blob->size >= 0 && r->blob->size != r->size)
        return complain_of(r->blob->file, r->blob->member, "has another size than its image says; it is damaged");
    return compare(r, "digest", r->blob->digest, sum);
}

int reader_finish(struct reader *r)
{
    const int filters = archive_filter_count(r->entries); /* the last of them is none */
    if (!r->blob && filters > 1 && archive_filter_code(r->entries, filters - 2) == ARCHIVE_FILTER_GZIP)
        return check_gzip(r->file);
    if (!r->blob)
        return filters > 1 ? check_packing(r->file) : 0;
    if (drain(r) < 0 || check_bytes(r) < 0)
        return -1;
    SHA256End(&r->plain_sum, r->diff_id);
    return compare(r, "diff-id", r->blob->diff_id, r->diff_id);
}

void reader_close(struct reader *r)
{
    archive_read_free(r->entries);
    archive_read_free(r->packed);
    archive_read_free(r->outer);
    if (r->fd >= 0)
        close(r->fd);
    free(r->buffer);
    free(r->plain_buffer);
    *r = (struct reader){.fd = -1};
}

/* ---- texts ------------------------------------------------------------------------------------------------- */

static char *read_text(struct reader *r, size_t max)
{
    char *made = need(malloc(max + 1));
    struct archive *a = r->outer ? r->outer : need(archive_read_new());
    const void *bytes = NULL;
    size_t length = 0;
    la_ssize_t n = 0;
    while (length <= max && (n = read_bytes(a, r, &bytes)) > 0) {
        if (length + (size_t)n <= max)
            memcpy(made + length, bytes, (size_t)n);
        length += (size_t)n;
    }
    int bad = n < 0          ? complain_of_archive(r, a)
              : length > max ? complain_of(r->blob->file, r->blob->member, "is too long for what it should be")
                             : check_bytes(r);
    if (!r->outer)
        archive_read_free(a);
    if (bad == 0) {
        made[length] = '\0';
        return made;
    }
    free(made);
    return NULL;
}

char *blob_text(const struct blob *blob, size_t max, bool must_be)
{
    struct reader r;
    int opened = open_bytes(&r, blob);
    char *made = opened == 0 ? read_text(&r, max) : NULL;
    if (opened > 0 && must_be)
        missing(blob);
    reader_close(&r);
    return made;
}
