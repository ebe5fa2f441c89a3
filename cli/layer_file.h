/* SPDX-License-Identifier: MIT
 *
 * A layer as a file: a tar, compressed as its name says, whose bytes depend on what is put into it alone.
 *
 * It is written aside, without a name where the file system can do that, and takes its name when it is whole.
 */
#ifndef CLI_LAYER_FILE_H
#define CLI_LAYER_FILE_H

#include <archive.h>
#include <archive_entry.h>
#include <sha2.h>
#include <stdbool.h>
#include <stdint.h>

enum packing { PACKING_NONE, PACKING_GZIP, PACKING_ZSTD, PACKING_UNKNOWN };

struct layer_file {
    const char *path;
    char *aside; /* NULL: it has no name yet */
    int fd, error;
    struct archive *tar, *packed;
    SHA2_CTX plain_sum, sum;
    uint64_t size;
    char diff_id[SHA256_DIGEST_STRING_LENGTH], digest[SHA256_DIGEST_STRING_LENGTH]; /* of the tar, of the file */
};

/* By the end of the file's name. */
enum packing packing_of(const char *path);
/* The media type of OCI for it. */
const char *packing_media_type(enum packing packing);

/* Begin a file; 0, or -1 with a message.  In any case it must be ended by one of the last two. */
int layer_file_open(struct layer_file *file, const char *path);
/* Put an object there, and content of one that has some; 0, or -1 with a message. */
int layer_file_put(struct layer_file *file, struct archive_entry *entry);
int layer_file_write(struct layer_file *file, const void *bytes, size_t n);
/* The file is whole: it gets its name, and replaces what had that.  0, or -1 with a message. */
int layer_file_finish(struct layer_file *file);
/* Nothing is left of it. */
void layer_file_drop(struct layer_file *file);

#endif
