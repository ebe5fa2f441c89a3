/* SPDX-License-Identifier: MIT
 *
 * Trees as text, so that two states compare as strings and a difference can be read: see fixture.h.
 */
#define _GNU_SOURCE
#include "fixture.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/xattr.h>
#include <unistd.h>

struct text {
    FILE *out;
    char *at;
    size_t size;
};

static uint64_t hash_of(uint64_t hash, const void *data, size_t n)
{
    const unsigned char *p = data;
    while (n--)
        hash = (hash ^ *p++) * 0x100000001b3u;
    return hash;
}

static void print_content(FILE *out, int fd)
{
    char buf[8192];
    uint64_t hash = 0xcbf29ce484222325u;
    ssize_t n;
    while ((n = read(fd, buf, sizeof buf)) > 0)
        hash = hash_of(hash, buf, (size_t)n);
    assert_int_equal(n, 0);
    fprintf(out, " content=%016" PRIx64, hash);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Attributes, sorted; the overlay's own ones only where `all` is wanted. */
static void print_xattrs(FILE *out, const char *path, bool all)
{
    char list[4096];
    char value[4096];
    char *name[128];
    size_t count = 0;
    ssize_t n = llistxattr(path, list, sizeof list);
    for (char *p = list; n > 0 && p < list + n && count < 128; p += strlen(p) + 1)
        name[count++] = p;
    qsort(name, count, sizeof *name, by_name);
    for (size_t i = 0; i < count; i++) {
        ssize_t size = lgetxattr(path, name[i], value, sizeof value);
        if (size >= 0 && (all || !ovl_is_private_xattr(name[i])))
            fprintf(out, " %s=%zd:%016" PRIx64, name[i], size, hash_of(7, value, (size_t)size));
    }
}

static void print_target(FILE *out, const char *path)
{
    char target[OVL_REAL_MAX];
    ssize_t n = readlink(path, target, sizeof target - 1);
    assert_true(n >= 0);
    fprintf(out, " -> %.*s", (int)n, target);
}

/* ---- a real tree -------------------------------------------------------------------------------------- */

static void print_real(FILE *out, const char *path, const struct stat *st)
{
    fprintf(out, "%s %06o %u:%u ino=%ju links=%ju rdev=%jx size=%jd blocks=%jd mtime=%jd.%09ld ctime=%jd.%09ld", path,
            st->st_mode, st->st_uid, st->st_gid, (uintmax_t)st->st_ino, (uintmax_t)st->st_nlink, (uintmax_t)st->st_rdev,
            (intmax_t)st->st_size, (intmax_t)st->st_blocks, (intmax_t)st->st_mtim.tv_sec, st->st_mtim.tv_nsec,
            (intmax_t)st->st_ctim.tv_sec, st->st_ctim.tv_nsec);
    if (S_ISLNK(st->st_mode))
        print_target(out, path);
    int fd = S_ISREG(st->st_mode) ? open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
    if (fd >= 0) {
        print_content(out, fd);
        close(fd);
    }
    print_xattrs(out, path, true);
    fputc('\n', out);
}

static void walk_real(FILE *out, const char *path)
{
    struct stat st;
    assert_int_equal(lstat(path, &st), 0);
    print_real(out, path, &st);
    if (!S_ISDIR(st.st_mode))
        return;
    struct dirent **entry;
    int n = scandir(path, &entry, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        char *below;
        assert_true(asprintf(&below, "%s/%s", path, entry[i]->d_name) > 0);
        if (strcmp(entry[i]->d_name, ".") && strcmp(entry[i]->d_name, ".."))
            walk_real(out, below);
        free(below);
        free(entry[i]);
    }
    if (n >= 0)
        free(entry);
}

char *tree(const struct fixture *f, const char *path)
{
    struct text text = {NULL, NULL, 0};
    text.out = open_memstream(&text.at, &text.size);
    assert_non_null(text.out);
    walk_real(text.out, real(f, path));
    fclose(text.out);
    return text.at;
}

/* ---- the merged view ----------------------------------------------------------------------------------- */

static void walk_view(FILE *out, struct fixture *f, const char *path)
{
    struct stat st;
    int r = op_stat(f, path, &st);
    if (r < 0) {
        fprintf(out, "%s error=%d\n", path, -r);
        return;
    }
    fprintf(out, "%s %06o %u:%u", path, st.st_mode, st.st_uid, st.st_gid);
    if (!S_ISDIR(st.st_mode))
        fprintf(out, " rdev=%jx size=%jd", (uintmax_t)st.st_rdev, (intmax_t)st.st_size);
    const struct ovl_node *node = find(f, path);
    if (S_ISLNK(st.st_mode))
        print_target(out, node->real);
    print_xattrs(out, node->real, false);
    int fd = S_ISREG(st.st_mode) ? op_open(f, path, O_RDONLY, 0) : -1;
    if (fd >= 0) {
        print_content(out, fd);
        close(fd);
    }
    fputc('\n', out);
    if (!S_ISDIR(st.st_mode))
        return;
    struct ovl_listing listing;
    node = find(f, path);
    r = ovl_list(&f->ctx, node, &listing);
    if (r < 0) {
        fprintf(out, "%s/ error=%d\n", path, -r);
        return;
    }
    for (size_t i = 2; i < listing.count; i++) {
        char *below;
        assert_true(asprintf(&below, "%s/%s", path, listing.entry[i].name) > 0);
        walk_view(out, f, below);
        free(below);
    }
    ovl_listing_free(&listing);
}

char *view(struct fixture *f)
{
    struct text text = {NULL, NULL, 0};
    text.out = open_memstream(&text.at, &text.size);
    assert_non_null(text.out);
    walk_view(text.out, f, "");
    fclose(text.out);
    return text.at;
}
