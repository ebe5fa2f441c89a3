/* SPDX-License-Identifier: MIT
 *
 * Streams: fopen, freopen, setmntent.
 *
 * A file that is only read is handed to the real fopen by its layer path, and looked at afterwards.  One that may be
 * made or changed is opened by wrap_open() exactly once, because a second open of the same file is not the same thing:
 * a file made with mode 0444 refuses it, a FIFO's other end sees it, "x" fails. The stream is then put over that
 * descriptor: by fdopen, or, where only fopen and freopen know how to set the stream up, by opening /dev/null and
 * moving our descriptor onto the stream's number.
 */
#define _GNU_SOURCE
#include "boundary.h"
#include "real.h"
#include "sys.h"
#include "wrap.h"

#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MODE_CHARS 7 /* so many characters of a mode glibc looks at */

/* What a mode string asks for. */
struct mode {
    int flags;    /* of open(2) */
    bool special; /* 'c' or ",ccs=": set up by fopen, ignored by fdopen */
};

static bool parse_mode(const char *text, struct mode *mode)
{
    int access = O_WRONLY, other = O_CREAT;
    if (*text == 'r') {
        access = O_RDONLY;
        other = 0;
    } else if (*text == 'w') {
        other |= O_TRUNC;
    } else if (*text == 'a') {
        other |= O_APPEND;
    } else {
        return false;
    }
    mode->special = strstr(text, ",ccs=") != NULL;
    for (int i = 1; i < MODE_CHARS && text[i]; i++) {
        if (text[i] == '+')
            access = O_RDWR;
        else if (text[i] == 'x')
            other |= O_EXCL;
        else if (text[i] == 'e')
            other |= O_CLOEXEC;
        else if (text[i] == 'c')
            mode->special = true;
    }
    mode->flags = access | other;
    return true;
}

static bool only_reads(const struct mode *mode)
{
    return (mode->flags & O_ACCMODE) == O_RDONLY;
}

/* Put the file open as fd under a stream that is open on /dev/null. fd is taken. */
static FILE *move_under(FILE *stream, int fd, const struct mode *mode)
{
    int moved = wrap_dup3(fd, fileno(stream), mode->flags & O_CLOEXEC);
    int error = errno;
    shim_close(fd);
    errno = error;
    return moved == -1 ? NULL : stream;
}

/* The same mode without "x", for a file that exists already. NULL without memory. */
static char *without_exclusive(const char *text)
{
    char *copy = strdup(text);
    for (int i = 1; copy && i < MODE_CHARS && copy[i] && copy[i] != ','; i++)
        if (copy[i] == 'x')
            copy[i] = 'b';
    return copy;
}

/* A stream that is set up as the mode says, on /dev/null: a new one, or `stream` opened again. */
static FILE *open_carrier(const char *text, FILE *stream)
{
    char *copy = without_exclusive(text);
    if (!copy)
        return NULL;
    FILE *carrier = stream ? REAL(freopen)("/dev/null", copy, stream) : REAL(fopen)("/dev/null", copy);
    free(copy);
    return carrier;
}

static int open_for(const char *path, const struct mode *mode)
{
    int fd = wrap_open(path, mode->flags, 0666);
    if (fd >= 0 && (mode->flags & (O_APPEND | O_ACCMODE)) == (O_APPEND | O_WRONLY))
        lseek(fd, 0, SEEK_END);
    return fd;
}

/* Open through the overlay and put a stream over it. */
static FILE *open_exactly(const char *path, const char *text, const struct mode *mode)
{
    /* First, so that the descriptor has the number that it would have. */
    FILE *carrier = mode->special ? open_carrier(text, NULL) : NULL;
    if (mode->special && !carrier)
        return NULL;
    int fd = open_for(path, mode);
    if (carrier && (fd == -1 || !move_under(carrier, fd, mode))) {
        int error = errno;
        fclose(carrier);
        errno = error;
        return NULL;
    }
    if (carrier || fd == -1)
        return carrier;
    FILE *stream = fdopen(fd, text);
    if (!stream)
        shim_close(fd);
    return stream;
}

/* Whether a stream is of the object that was found: libc follows a link that its name has become since. */
static bool is_of(FILE *stream, const struct ovl_node *node)
{
    struct stat st;
    return ovl_sys_fstat(fileno(stream), &st) == 0 && st.st_dev == node->st.st_dev && st.st_ino == node->st.st_ino;
}

static FILE *open_to_read(const struct shim_call *call, const char *path, const struct ovl_node *node, const char *text,
                          const struct mode *mode)
{
    FILE *stream = REAL(fopen)(node->real, text);
    if (stream && shim_is_settled(call) && is_of(stream, node))
        return stream;
    if (stream)
        fclose(stream);
    return open_exactly(path, text, mode);
}

FILE *wrap_fopen(const char *path, const char *text)
{
    struct shim_call call;
    struct mode mode;
    if (!parse_mode(text, &mode) || !shim_enter(&call))
        return REAL(fopen)(path, text);
    call.flags = mode.flags;

    int dirfd = AT_FDCWD;
    const char *place = path;
    struct ovl_node *node;
    FILE *stream = NULL;
    bool reads = only_reads(&mode);
    int r = shim_find(&call, &dirfd, &place, reads ? OVL_FOLLOW : OVL_FOLLOW | OVL_CHANGE, &node);
    if (r == SHIM_INSIDE && reads && !node->exists)
        r = -ENOENT;
    if (r == SHIM_OUTSIDE)
        stream = REAL(fopen)(place, text);
    else if (!reads)
        stream = open_exactly(path, text, &mode);
    else if (r == SHIM_INSIDE)
        stream = open_to_read(&call, path, node, text, &mode);
    else
        errno = -r;
    shim_leave(&call, stream ? 0 : -errno);
    return stream;
}

/* freopen fails with an error of ours: the stream is closed and its descriptor too, as always. */
static FILE *reopen_fails(FILE *stream, int error)
{
    REAL(freopen)("", "r", stream);
    errno = error;
    return NULL;
}

static FILE *reopen_exactly(const char *path, const char *text, const struct mode *mode, FILE *stream)
{
    /* First, so that what the stream holds is written before the file is opened again, perhaps the same one. */
    FILE *carrier = open_carrier(text, stream);
    if (!carrier)
        return reopen_fails(stream, errno);
    int fd = open_for(path, mode);
    return fd >= 0 && move_under(carrier, fd, mode) ? carrier : reopen_fails(stream, errno);
}

/* Where a stream's own file lies, for a change of its mode. */
static int find_own(struct shim_call *call, FILE *stream, struct ovl_node **node)
{
    int fd = fileno(stream);
    return fd == -1 ? SHIM_OUTSIDE : shim_find_fd(call, fd, node);
}

FILE *wrap_freopen(const char *path, const char *text, FILE *stream)
{
    struct shim_call call;
    struct mode mode;
    if (!parse_mode(text, &mode) || !shim_enter(&call))
        return REAL(freopen)(path, text, stream);
    call.flags = mode.flags;

    bool reads = only_reads(&mode);
    int dirfd = AT_FDCWD, r = SHIM_OUTSIDE;
    const char *place = path;
    struct ovl_node *node = NULL;
    if (path)
        r = shim_find(&call, &dirfd, &place, reads ? OVL_FOLLOW : OVL_FOLLOW | OVL_CHANGE, &node);
    else if (!reads)
        r = find_own(&call, stream, &node);

    FILE *reopened;
    if (r == SHIM_INSIDE)
        reopened = reopen_exactly(path ? path : node->path, text, &mode, stream);
    else if (r == SHIM_OUTSIDE)
        reopened = REAL(freopen)(place, text, stream);
    else
        reopened = reopen_fails(stream, -r);
    shim_leave(&call, reopened ? 0 : -errno);
    return reopened;
}

/* glibc reads mount tables with close-on-exec, without cancellation, and without locks. */
FILE *wrap_setmntent(const char *path, const char *text)
{
    char *full;
    if (!shim_is_active())
        return REAL(setmntent)(path, text);
    if (asprintf(&full, "%sce", text) == -1)
        return NULL;
    FILE *stream = wrap_fopen(path, full);
    free(full);
    if (stream)
        __fsetlocking(stream, FSETLOCKING_BYCALLER);
    return stream;
}

#define SHIM_FILE_stdio
#include "export.h"
