/* SPDX-License-Identifier: MIT
 *
 * Temporary names and files: the mkstemp family, mkdtemp, mktemp, tempnam, tmpnam, tmpfile.
 *
 * All of them are a loop over random names and one exclusive call, so they are built here on our own
 * open, mkdir and lstat, wherever the template lies: the name that the caller gets back is the merged
 * one, and a name that is only whited out counts as free.
 */
#define _GNU_SOURCE
#include "boundary.h"
#include "real.h"
#include "wrap.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#define RANDOM_CHARS 6
#define TRIES (62 * 62 * 62) /* as many as glibc makes, the least that POSIX allows */

/* ---- random names ---------------------------------------------------------------------------- */

static uint64_t random_bits(void)
{
    uint64_t bits;
    if (getrandom(&bits, sizeof bits, GRND_NONBLOCK) == (ssize_t)sizeof bits)
        return bits;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    bits = (uint64_t)now.tv_nsec << 32 ^ (uint64_t)now.tv_sec ^ (uint64_t)getpid() << 16 ^ (uint64_t)(uintptr_t)&bits;
    return bits * 0x9e3779b97f4a7c15u;
}

static void fill_random(char *place)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    uint64_t bits = random_bits();
    for (int i = 0; i < RANDOM_CHARS; i++) {
        place[i] = letters[bits % (sizeof letters - 1)];
        bits /= sizeof letters - 1;
    }
}

/* Try to make a thing of that name: 0 or more, or -1 with errno; EEXIST asks for another name. */
typedef int attempt(const char *path, int flags);

static int make_unique(char *template, int suffix, int flags, attempt *try)
{
    size_t length = strlen(template);
    if (suffix < 0 || length < (size_t)suffix + RANDOM_CHARS) {
        errno = EINVAL;
        return -1;
    }
    char *place = template + length - (size_t)suffix - RANDOM_CHARS;
    if (strncmp(place, "XXXXXX", RANDOM_CHARS) != 0) {
        errno = EINVAL;
        return -1;
    }
    int before = errno;
    for (int i = 0; i < TRIES; i++) {
        fill_random(place);
        int r = try(template, flags);
        if (r >= 0)
            errno = before;
        if (r >= 0 || errno != EEXIST)
            return r;
    }
    errno = EEXIST;
    return -1;
}

static int try_file(const char *path, int flags)
{
    return wrap_open(path, (flags & ~O_ACCMODE) | O_RDWR | O_CREAT | O_EXCL, 0600);
}

static int try_directory(const char *path, int flags)
{
    (void)flags;
    return wrap_mkdir(path, 0700);
}

static int try_free(const char *path, int flags)
{
    struct stat st;
    (void)flags;
    if (wrap_lstat(path, &st) == 0 || errno == EOVERFLOW)
        errno = EEXIST;
    else if (errno == ENOENT)
        return 0;
    return -1;
}

/* ---- files from templates -------------------------------------------------------------------- */

int wrap_mkostemps(char *template, int suffix, int flags)
{
    return make_unique(template, suffix, flags, try_file);
}

int wrap_mkostemp(char *template, int flags)
{
    return make_unique(template, 0, flags, try_file);
}

int wrap_mkstemps(char *template, int suffix)
{
    return make_unique(template, suffix, 0, try_file);
}

int wrap_mkstemp(char *template)
{
    return make_unique(template, 0, 0, try_file);
}

char *wrap_mkdtemp(char *template)
{
    return make_unique(template, 0, 0, try_directory) == -1 ? NULL : template;
}

char *wrap_mktemp(char *template)
{
    if (make_unique(template, 0, 0, try_free) == -1)
        template[0] = '\0';
    return template;
}

/* ---- names in the usual directories ------------------------------------------------------------ */

static bool is_directory(const char *path)
{
    struct stat st;
    return path && *path && wrap_stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* The caller's TMPDIR, then the directory that it names, then the system's (tempnam(3)). */
static const char *temporary_directory(const char *dir)
{
    const char *candidate = secure_getenv("TMPDIR");
    if (is_directory(candidate))
        return candidate;
    if (is_directory(dir))
        return dir;
    if (is_directory(P_tmpdir))
        return P_tmpdir;
    errno = ENOENT;
    return NULL;
}

char *wrap_tempnam(const char *dir, const char *prefix)
{
    int before = errno;
    dir = temporary_directory(dir);
    if (!dir)
        return NULL;
    size_t length = strlen(dir);
    while (length > 1 && dir[length - 1] == '/')
        length--;
    char *name;
    if (asprintf(&name, "%.*s/%.5sXXXXXX", (int)length, dir, prefix && *prefix ? prefix : "file") == -1)
        return NULL;
    if (make_unique(name, 0, 0, try_free) == -1) {
        free(name);
        return NULL;
    }
    errno = before;
    return name;
}

static bool name_in_tmp(char *buf)
{
    strcpy(buf, P_tmpdir "/fileXXXXXX");
    return make_unique(buf, 0, 0, try_free) == 0;
}

char *wrap_tmpnam_r(char *buf)
{
    return buf && name_in_tmp(buf) ? buf : NULL;
}

char *wrap_tmpnam(char *buf)
{
    static char own[L_tmpnam];
    char name[L_tmpnam];
    if (!name_in_tmp(name))
        return NULL;
    return strcpy(buf ? buf : own, name);
}

/* A file without a name, or with one that is gone at once where the file system has no such files. */
static int open_nameless(void)
{
    int fd = wrap_open(P_tmpdir, O_RDWR | O_EXCL | O_TMPFILE, 0600);
    if (fd >= 0)
        return fd;
    char name[] = P_tmpdir "/tmpfXXXXXX";
    fd = make_unique(name, 0, 0, try_file);
    if (fd >= 0)
        wrap_unlink(name);
    return fd;
}

FILE *wrap_tmpfile(void)
{
    int before = errno;
    int fd = open_nameless();
    if (fd == -1)
        return NULL;
    FILE *stream = fdopen(fd, "w+");
    if (stream)
        errno = before;
    else
        shim_close(fd);
    return stream;
}

#define SHIM_FILE_temp
#include "export.h"
