/* SPDX-License-Identifier: MIT
 *
 * Archives that are read: files as they lie, and layers of images, whose sums are known and are checked.
 */
#ifndef CLI_READER_H
#define CLI_READER_H

#include <archive.h>
#include <archive_entry.h>
#include <sha2.h>
#include <stdbool.h>
#include <stdint.h>

/* Bytes somewhere: a file, or a member of an archive that is one. */
struct blob {
    char *file, *member; /* member NULL: the file itself */
    char *digest;        /* of the bytes, 64 hexadecimal digits, or NULL */
    char *diff_id;       /* the same of what they are uncompressed */
    int64_t size;        /* or -1 */
};
void blob_free(struct blob *blob);

struct reader {
    struct archive *entries; /* whose objects are to be read */
    const char *file;        /* that is read by itself, or NULL */
    const struct blob *blob;
    int fd;
    struct archive *outer, *packed; /* the archive that it is a member of; what takes the compression off */
    SHA2_CTX sum, plain_sum;
    int64_t size;
    char *buffer, *plain_buffer;
    char diff_id[SHA256_DIGEST_STRING_LENGTH]; /* after reader_finish(), of a blob */
};

/* Begin to read a file by itself, or a blob; 0, or -1 after a message.  In any case it must be closed. */
int reader_open_file(struct reader *reader, const char *file);
int reader_open_blob(struct reader *reader, const struct blob *blob);
/* Read what is left, and compare the sums, or those of the compression; 0, or -1 after a message. */
int reader_finish(struct reader *reader);
void reader_close(struct reader *reader);

/* All of a blob as a string, if it has no more than `max` bytes: the caller's to free.  NULL after a message; or
 * without one where it is not there and need not be. */
char *blob_text(const struct blob *blob, size_t max, bool must_be);

/* A new reader of archives that can be layers. */
struct archive *archive_of_layers(void);

#endif
