/* SPDX-License-Identifier: MIT
 *
 * The files of who is logged in: utmp and wtmp.  libc opens them itself, by the name that utmpname was given or by
 * the usual one; here it gets the layer's path, of the copy where it is going to write.
 */
#define _GNU_SOURCE
#include "boundary.h"
#include "real.h"
#include "wrap.h"

#include <paths.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>
#include <utmp.h>

/* The functions that come back here use libc's one stream: as in libc itself, none of them is thread-safe. */
static char *chosen; /* the merged name that utmpname was called with last */

/* The layer's path of a file, copied up if it will be changed: a string for the caller to free; NULL with errno.
 * A name that is not there stays without a file. */
static char *layer_file(const char *path, bool change)
{
    struct shim_call call;
    if (!shim_begin(&call, "utmp"))
        return strdup(path);
    struct ovl_node *node;
    const char *place = path;
    char *copy = NULL;
    int dirfd = AT_FDCWD;
    int r = shim_find(&call, &dirfd, &place, change ? OVL_FOLLOW | OVL_CHANGE : OVL_FOLLOW, &node);
    if (r == SHIM_INSIDE && !node->exists)
        r = -ENOENT;
    if (r == SHIM_INSIDE && change)
        r = ovl_access(&call.ctx, node, W_OK, true);
    if (r == 0 && node && change)
        r = ovl_copy_up(&call.ctx, node, OVL_COPY_ALL);
    if (r >= 0) {
        copy = strdup(node ? node->real : place);
        r = copy ? 0 : -ENOMEM;
    }
    shim_leave(&call, r);
    return copy;
}

int wrap_utmpname(const char *path)
{
    if (!shim_is_active())
        return REAL(utmpname)(path);
    int saved = errno;
    char *real = layer_file(path, false), *name = strdup(path);
    errno = saved;
    int r = name ? REAL(utmpname)(real ? real : "/dev/null") : -1;
    free(real);
    if (r == -1) {
        free(name);
        return -1;
    }
    free(chosen);
    chosen = name;
    return r;
}

/* The file that pututline will write: libc's stream begins anew where it is another one now. */
static int prepare_write(void)
{
    const char *name = chosen ? chosen : _PATH_UTMP;
    char *before = layer_file(name, false), *real = layer_file(name, true);
    int r = real ? 0 : -1;
    if (real && strcmp(real, name) != 0 && (!before || strcmp(before, real) != 0))
        r = REAL(utmpname)(real);
    int why = errno;
    free(before);
    free(real);
    errno = why;
    return r;
}

struct utmp *wrap_pututline(const struct utmp *entry)
{
    if (shim_is_active() && prepare_write() == -1)
        return NULL;
    return REAL(pututline)(entry);
}

void wrap_updwtmp(const char *path, const struct utmp *entry)
{
    char *real = layer_file(path, true);
    if (real)
        REAL(updwtmp)(real, entry);
    free(real);
}

/* ---- the functions that libc builds on these ------------------------------------------------------------------ */

static void stamp(struct utmp *entry)
{
    struct timeval now;
    gettimeofday(&now, NULL);
    entry->ut_tv.tv_sec = (__typeof__(entry->ut_tv.tv_sec))now.tv_sec;
    entry->ut_tv.tv_usec = (__typeof__(entry->ut_tv.tv_usec))now.tv_usec;
}

void wrap_logwtmp(const char *line, const char *name, const char *host)
{
    struct utmp entry = {.ut_type = (short)(name[0] ? USER_PROCESS : DEAD_PROCESS), .ut_pid = getpid()};
    strncpy(entry.ut_line, line, sizeof entry.ut_line);
    strncpy(entry.ut_user, name, sizeof entry.ut_user);
    strncpy(entry.ut_host, host, sizeof entry.ut_host);
    stamp(&entry);
    wrap_updwtmp(_PATH_WTMP, &entry);
}

/* The terminal's name without /dev/, into entry->ut_line. */
static void find_line(struct utmp *entry)
{
    char name[sizeof entry->ut_line + sizeof _PATH_DEV];
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (ttyname_r(fd, name, sizeof name) != 0)
            continue;
        const char *line = strncmp(name, _PATH_DEV, sizeof _PATH_DEV - 1) == 0 ? name + sizeof _PATH_DEV - 1 : name;
        strncpy(entry->ut_line, line, sizeof entry->ut_line);
        return;
    }
    strncpy(entry->ut_line, "???", sizeof entry->ut_line);
}

void wrap_login(const struct utmp *given)
{
    struct utmp entry = *given;
    entry.ut_type = USER_PROCESS;
    entry.ut_pid = getpid();
    find_line(&entry);
    if (strncmp(entry.ut_line, "???", sizeof entry.ut_line) != 0 && wrap_utmpname(_PATH_UTMP) == 0) {
        setutent();
        wrap_pututline(&entry);
        endutent();
    }
    wrap_updwtmp(_PATH_WTMP, &entry);
}

int wrap_logout(const char *line)
{
    struct utmp wanted = {.ut_type = USER_PROCESS}, room, *entry;
    bool done = false;
    if (wrap_utmpname(_PATH_UTMP) == -1)
        return 0;
    setutent();
    strncpy(wanted.ut_line, line, sizeof wanted.ut_line);
    if (getutline_r(&wanted, &room, &entry) == 0) {
        memset(entry->ut_name, 0, sizeof entry->ut_name);
        memset(entry->ut_host, 0, sizeof entry->ut_host);
        stamp(entry);
        entry->ut_type = DEAD_PROCESS;
        done = wrap_pututline(entry) != NULL;
    }
    endutent();
    return done;
}

#define SHIM_FILE_utmp
#include "export.h"
