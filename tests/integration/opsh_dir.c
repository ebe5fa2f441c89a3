/* SPDX-License-Identifier: MIT
 *
 * opsh's operations on directory streams, patterns and whole trees.
 */
#include "opsh.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <glob.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

static DIR *stream[SLOTS];
static long position[SLOTS];

static DIR **stream_of(const char *word)
{
    return &stream[number(word) % SLOTS];
}

static char entry_type(unsigned char type)
{
    return type == DT_UNKNOWN ? '?' : type_letter(DTTOIF(type));
}

static void put_entry(const struct dirent *e)
{
    putchar(' ');
    put_escaped(e->d_name, strlen(e->d_name));
    printf(":%c", entry_type(e->d_type));
}

/* Names as they come. */
static void do_readdir_native(char **a)
{
    DIR *d = opendir(a[1]);
    if (!d) {
        say_errno();
        return;
    }
    fputs("ok", stdout);
    for (struct dirent *e = readdir(d); e; e = readdir(d))
        put_entry(e);
    putchar('\n');
    closedir(d);
}

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

/* Names in order. */
static void do_readdir(char **a)
{
    struct dirent **list;
    int n = scandir(a[1], &list, NULL, by_bytes);
    if (n < 0) {
        say_errno();
        return;
    }
    fputs("ok", stdout);
    for (int i = 0; i < n; i++) {
        put_entry(list[i]);
        free(list[i]);
    }
    putchar('\n');
    free(list);
}

static void do_opendir(char **a)
{
    DIR *d = opendir(a[2]);
    *stream_of(a[1]) = d;
    say(d ? 0 : -1);
}
static void do_fdopendir(char **a)
{
    DIR *d = fdopendir(fd_of(a[2]));
    *stream_of(a[1]) = d;
    say(d ? 0 : -1);
}
static void do_closedir(char **a)
{
    say(closedir(*stream_of(a[1])));
}
static void do_rewinddir(char **a)
{
    rewinddir(*stream_of(a[1]));
    say(0);
}
static void do_telldir(char **a)
{
    position[number(a[1]) % SLOTS] = telldir(*stream_of(a[1]));
    say(0);
}
static void do_seekdir(char **a)
{
    seekdir(*stream_of(a[1]), position[number(a[1]) % SLOTS]);
    say(0);
}
static void do_dirfd(char **a)
{
    keep(a[1], dirfd(*stream_of(a[2])));
}

/* next SLOT [N]: so many entries, or all that are left, in order. */
static void do_next(char **a)
{
    DIR *d = *stream_of(a[1]);
    int left = a[2] ? number(a[2]) : INT32_MAX, n = 0;
    char *name[1024];
    for (struct dirent *e; left > 0 && n < 1024 && (e = readdir(d)); left--)
        name[n++] = strdup(e->d_name);
    for (int i = 1; i < n; i++)
        for (int j = i; j > 0 && strcmp(name[j - 1], name[j]) > 0; j--) {
            char *t = name[j];
            name[j] = name[j - 1];
            name[j - 1] = t;
        }
    fputs("ok", stdout);
    for (int i = 0; i < n; i++) {
        putchar(' ');
        put_escaped(name[i], strlen(name[i]));
        free(name[i]);
    }
    putchar('\n');
}

/* count SLOT N: how many of at most N entries came (their order is the file system's). */
static void do_count(char **a)
{
    int n = 0;
    while (n < number(a[2]) && readdir(*stream_of(a[1])))
        n++;
    say_number(n);
}

/* dident DIR NAME: the identity that the listing gives; the device is the directory's. */
static void do_dident(char **a)
{
    struct stat st;
    DIR *d = opendir(a[1]);
    long r = -1;
    if (d && stat(a[1], &st) == 0) {
        errno = ENOENT;
        for (struct dirent *e = readdir(d); e; e = readdir(d))
            if (strcmp(e->d_name, a[2]) == 0)
                r = identity(st.st_dev, e->d_ino);
    }
    say_number(r);
    if (d)
        closedir(d);
}

/* getdents SLOT: names by the raw call through libc's syscall(2), in order. */
static void do_getdents(char **a)
{
    static char buf[1 << 16];
    char *name[1024];
    int n = 0;
    long r;
    while ((r = syscall(SYS_getdents64, fd_of(a[1]), buf, sizeof buf)) > 0)
        for (long at = 0; at < r && n < 1024; at += ((struct dirent64 *)(buf + at))->d_reclen)
            name[n++] = strdup(((struct dirent64 *)(buf + at))->d_name);
    if (r < 0) {
        say_errno();
        return;
    }
    for (int i = 1; i < n; i++)
        for (int j = i; j > 0 && strcmp(name[j - 1], name[j]) > 0; j--) {
            char *t = name[j];
            name[j] = name[j - 1];
            name[j - 1] = t;
        }
    fputs("ok", stdout);
    for (int i = 0; i < n; i++) {
        putchar(' ');
        put_escaped(name[i], strlen(name[i]));
        free(name[i]);
    }
    putchar('\n');
}

static void do_glob(char **a)
{
    glob_t g;
    int r = glob(a[1], GLOB_MARK, NULL, &g);
    if (r != 0) {
        printf("nomatch %d\n", r);
        return;
    }
    fputs("ok", stdout);
    for (size_t i = 0; i < g.gl_pathc; i++) {
        putchar(' ');
        put_escaped(g.gl_pathv[i], strlen(g.gl_pathv[i]));
    }
    putchar('\n');
    globfree(&g);
}

static int compare_lines(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static char *walked[4096];
static size_t walked_n;

static int note_walked(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)ftw;
    if (walked_n < 4096 && asprintf(&walked[walked_n], "%s:%d", path, flag) >= 0)
        walked_n++;
    return 0;
}

static void do_nftw(char **a)
{
    walked_n = 0;
    if (nftw(a[1], note_walked, 8, FTW_PHYS) != 0) {
        say_errno();
        return;
    }
    qsort(walked, walked_n, sizeof *walked, compare_lines);
    fputs("ok", stdout);
    for (size_t i = 0; i < walked_n; i++) {
        putchar(' ');
        put_escaped(walked[i], strlen(walked[i]));
        free(walked[i]);
    }
    putchar('\n');
}

/* ---- tree: everything below a directory, one tab-separated entry an object ---------------------- */

/* Names that overlay file systems keep to themselves, and that a bare directory would show. */
static int is_private_xattr(const char *name)
{
    return strncmp(name, "trusted.overlay.", 16) == 0 || strncmp(name, "user.overlay.", 13) == 0 ||
           strncmp(name, "security.selinux", 16) == 0;
}

static void put_xattrs(const char *path)
{
    char buf[4096], value[1024], *name[64];
    ssize_t n = llistxattr(path, buf, sizeof buf);
    size_t names = 0;
    for (char *p = buf; n > 0 && p < buf + n && names < 64; p += strlen(p) + 1)
        if (!is_private_xattr(p))
            name[names++] = p;
    qsort(name, names, sizeof *name, compare_lines);
    for (size_t i = 0; i < names; i++) {
        ssize_t size = lgetxattr(path, name[i], value, sizeof value);
        printf(" %s=", name[i]);
        put_escaped(value, size > 0 ? (size_t)size : 0);
    }
}

static void put_content(const char *path)
{
    static unsigned char buf[1 << 16];
    uint64_t hash = HASH_START;
    int fd = open(path, O_RDONLY | O_NOFOLLOW);
    if (fd < 0) {
        printf(" unreadable:%s", strerrorname_np(errno));
        return;
    }
    for (ssize_t n; (n = read(fd, buf, sizeof buf)) > 0;)
        hash = hash_of(buf, (size_t)n, hash);
    close(fd);
    printf(" #%016llx", (unsigned long long)hash);
}

static void put_tree(const char *path, const char *relative)
{
    struct stat st;
    char target[4096];
    printf("\t");
    put_escaped(relative, strlen(relative));
    if (lstat(path, &st) != 0) {
        printf(" lstat:%s", strerrorname_np(errno));
        return;
    }
    putchar(' ');
    put_stat(&st);
    put_xattrs(path);
    if (S_ISREG(st.st_mode))
        put_content(path);
    if (S_ISLNK(st.st_mode)) {
        ssize_t n = readlink(path, target, sizeof target);
        fputs(" -> ", stdout);
        put_escaped(target, n > 0 ? (size_t)n : 0);
    }
    if (!S_ISDIR(st.st_mode))
        return;
    struct dirent **list;
    int n = scandir(path, &list, NULL, by_bytes);
    if (n < 0) {
        printf(" scandir:%s", strerrorname_np(errno));
        return;
    }
    for (int i = 0; i < n; i++) {
        char *child = NULL, *below = NULL;
        const char *name = list[i]->d_name;
        if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0 && asprintf(&child, "%s/%s", path, name) >= 0 &&
            asprintf(&below, "%s%s%s", relative, *relative ? "/" : "", name) >= 0)
            put_tree(child, below);
        free(child);
        free(below);
        free(list[i]);
    }
    free(list);
}

static void do_tree(char **a)
{
    fputs("ok", stdout);
    put_tree(a[1], "");
    putchar('\n');
}

const struct op dir_ops[] = {
    {"readdir", 1, do_readdir},
    {"readdir_native", 1, do_readdir_native},
    {"opendir", 2, do_opendir},
    {"fdopendir", 2, do_fdopendir},
    {"closedir", 1, do_closedir},
    {"rewinddir", 1, do_rewinddir},
    {"telldir", 1, do_telldir},
    {"seekdir", 1, do_seekdir},
    {"dirfd", 2, do_dirfd},
    {"next", 1, do_next},
    {"count", 2, do_count},
    {"dident", 2, do_dident},
    {"getdents", 1, do_getdents},
    {"glob", 1, do_glob},
    {"nftw", 1, do_nftw},
    {"tree", 1, do_tree},
    {NULL, 0, NULL},
};
