/* SPDX-License-Identifier: MIT
 *
 * Functions of libc that open a file of a given or a fixed name inside, to write it or because the caller named it:
 * the lock of the password files, the host's number, a profile, message catalogs.
 */
#define _GNU_SOURCE
#include "boundary.h"
#include "real.h"
#include "sys.h"
#include "wrap.h"

#include <locale.h>
#include <nl_types.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Whether a path leads into an overlay. */
static bool is_inside(const char *path)
{
    struct shim_call call;
    struct ovl_node *node;
    int dirfd = AT_FDCWD;
    if (!shim_begin(&call, "inside"))
        return false;
    int r = shim_find(&call, &dirfd, &path, OVL_FOLLOW, &node);
    shim_leave(&call, 0);
    return r != SHIM_OUTSIDE;
}

/* ---- the lock of the password files ---------------------------------------------------------------------- */

#define PASSWORD_LOCK "/etc/.pwd.lock"
#define LOCK_SECONDS 15 /* so long glibc waits */

static int password_lock = -1;

/* Wait for the lock of the file: 0, or -1 with errno. */
static int wait_for_lock(int fd)
{
    const struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    const struct timespec pause = {0, 20000000};
    struct timespec now, end;
    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += LOCK_SECONDS;
    while (wrap_fcntl(fd, F_SETLK, &whole) == -1) {
        clock_gettime(CLOCK_MONOTONIC, &now);
        if (errno != EAGAIN && errno != EACCES)
            return -1;
        if (now.tv_sec > end.tv_sec) {
            errno = EINTR; /* what glibc's alarm gives */
            return -1;
        }
        nanosleep(&pause, NULL);
    }
    return 0;
}

int wrap_lckpwdf(void)
{
    if (!is_inside(PASSWORD_LOCK))
        return REAL(lckpwdf)();
    if (__atomic_load_n(&password_lock, __ATOMIC_RELAXED) != -1)
        return -1;
    int fd = wrap_open(PASSWORD_LOCK, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd == -1)
        return -1;
    if (wait_for_lock(fd) == -1) {
        int why = errno;
        shim_close(fd);
        errno = why;
        return -1;
    }
    __atomic_store_n(&password_lock, fd, __ATOMIC_RELAXED);
    return 0;
}

int wrap_ulckpwdf(void)
{
    int fd = __atomic_exchange_n(&password_lock, -1, __ATOMIC_RELAXED);
    return fd == -1 ? REAL(ulckpwdf)() : shim_close(fd);
}

/* ---- the host's number --------------------------------------------------------------------------------------- */

#define HOST_ID "/etc/hostid"

int wrap_sethostid(long id)
{
    int32_t number = (int32_t)id;
    if (!is_inside(HOST_ID))
        return REAL(sethostid)(id);
    int fd = wrap_open(HOST_ID, O_CREAT | O_WRONLY | O_TRUNC, 0644);
    if (fd == -1)
        return -1;
    ssize_t n = write(fd, &number, sizeof number);
    shim_close(fd);
    return n == (ssize_t)sizeof number ? 0 : -1;
}

/* ---- a profile (gcc -pg) ------------------------------------------------------------------------------------- */

#define PROFILE "gmon.out"
#define PROFILE_VARIABLE "GMON_OUT_PREFIX"

/* Make the profile's file where it belongs.  Where that is inside, its layer's path into real (OVL_REAL_MAX bytes):
 * SHIM_INSIDE; SHIM_OUTSIDE; or a negative errno. */
static int make_profile(const char *name, char *real)
{
    struct shim_call call;
    struct ovl_node *node;
    const char *path = name;
    int dirfd = AT_FDCWD;
    int fd = wrap_open(name, O_CREAT | O_TRUNC | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (fd == -1)
        return -errno;
    shim_close(fd);
    if (!shim_begin(&call, "gmon"))
        return SHIM_OUTSIDE;
    int r = shim_find(&call, &dirfd, &path, 0, &node);
    if (r == SHIM_INSIDE)
        memcpy(real, node->real, strlen(node->real) + 1);
    shim_leave(&call, 0);
    return r;
}

/* Let libc write "gmon.out" into the kernel's cwd, which is the upper directory's for so long. */
static void write_profile_in(char *real)
{
    int here = ovl_sys_open(AT_FDCWD, ".", O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
    char *slash = strrchr(real, '/');
    *slash = '\0';
    if (here >= 0 && REAL(chdir)(slash == real ? "/" : real) == 0) {
        REAL(_mcleanup)();
        REAL(fchdir)(here);
    }
    if (here >= 0)
        ovl_sys_close(here);
}

/* The name that libc will open: for the caller to free; NULL without memory. */
static char *profile_name(const char *prefix)
{
    char *name = NULL;
    if (!prefix)
        return strdup(PROFILE);
    return asprintf(&name, "%s.%u", prefix, (unsigned)getpid()) == -1 ? NULL : name;
}

/* At exit of a program that was built with -pg: libc itself would write into the directory of a lower layer. */
void wrap__mcleanup(void)
{
    const char *prefix = secure_getenv(PROFILE_VARIABLE);
    if (!shim_is_active()) {
        REAL(_mcleanup)();
        return;
    }
    char *real = malloc(OVL_REAL_MAX), *name = profile_name(prefix);
    int r = real && name ? make_profile(name, real) : -ENOMEM;
    if (r == SHIM_OUTSIDE) {
        REAL(_mcleanup)();
    } else if (r == SHIM_INSIDE && prefix) {
        real[strlen(real) - (strlen(name) - strlen(prefix))] = '\0';
        if (setenv(PROFILE_VARIABLE, real, 1) == 0)
            REAL(_mcleanup)();
    } else if (r == SHIM_INSIDE) {
        write_profile_in(real);
    }
    free(name);
    free(real);
}

/* ---- message catalogs ------------------------------------------------------------------------------------------ */

#define USUAL_CATALOGS                                                                                                 \
    "/usr/share/locale/%L/%N:/usr/share/locale/%L/LC_MESSAGES/%N:/usr/share/locale/%l/%N:"                             \
    "/usr/share/locale/%l/LC_MESSAGES/%N:"

static const nl_catd no_catalog = (nl_catd)-1;

/* Open one file: the layer's, if it is inside. */
static nl_catd open_catalog(const char *path, int flag)
{
    struct shim_call call;
    struct ovl_node *node;
    nl_catd catalog = no_catalog;
    const char *place = path;
    int dirfd = AT_FDCWD;
    if (!shim_begin(&call, "catopen"))
        return REAL(catopen)(path, flag);
    int r = shim_find(&call, &dirfd, &place, OVL_FOLLOW, &node);
    if (r == SHIM_INSIDE && !node->exists)
        r = -ENOENT;
    if (r >= 0) {
        catalog = REAL(catopen)(node ? node->real : place, flag);
        r = catalog == no_catalog ? -errno : 0;
    }
    shim_leave(&call, r);
    return catalog;
}

/* A part of the locale's name, language[_territory][.codeset], as NLSPATH has it: %L %l %t %c. */
static const char *locale_part(char which, const char *locale, size_t *n)
{
    const char *part = which == 't' ? strchr(locale, '_') : which == 'c' ? strchr(locale, '.') : locale;
    if (!part || (which == 't' && memchr(locale, '.', (size_t)(part - locale)))) {
        *n = 0;
        return "";
    }
    part += part != locale || which == 't' || which == 'c';
    *n = which == 'L' ? strlen(part) : strcspn(part, which == 'l' ? "_.@" : which == 't' ? ".@" : "@");
    return part;
}

/* Expand one entry of NLSPATH, up to a colon; an empty one is the name itself. NULL when it is too long. */
static char *expand_entry(const char **entry, const char *name, const char *locale, char *to)
{
    size_t used = 0, n;
    const char *p = *entry;
    for (; *p && *p != ':'; p++) {
        const char *text = p;
        n = 1;
        if (*p == '%' && p[1]) {
            p++;
            text = *p == 'N' ? name : *p == '%' ? p : locale_part(*p, locale, &n);
            if (*p == 'N')
                n = strlen(name);
        }
        if (used + n >= OVL_REAL_MAX)
            return NULL;
        memcpy(to + used, text, n);
        used += n;
    }
    *entry = p;
    if (used == 0)
        return strcpy(to, name);
    to[used] = '\0';
    return to;
}

static nl_catd search_catalog(const char *path, const char *name, const char *locale, int flag, char *room)
{
    while (*path) {
        if (*path == ':') {
            path++;
            continue;
        }
        const char *file = expand_entry(&path, name, locale, room);
        if (!file)
            break;
        /* A name without a slash would be searched for again. */
        nl_catd catalog = strchr(file, '/') ? open_catalog(file, flag) : no_catalog;
        if (catalog != no_catalog)
            return catalog;
    }
    errno = ENOENT;
    return no_catalog;
}

nl_catd wrap_catopen(const char *name, int flag)
{
    if (!shim_is_active())
        return REAL(catopen)(name, flag);
    if (strchr(name, '/'))
        return open_catalog(name, flag);
    const char *locale = flag == NL_CAT_LOCALE ? setlocale(LC_MESSAGES, NULL) : getenv("LANG");
    const char *path = secure_getenv("NLSPATH");
    char *all = NULL, *room = strlen(name) < OVL_REAL_MAX ? malloc(OVL_REAL_MAX) : NULL;
    nl_catd catalog = no_catalog;
    if (room && asprintf(&all, "%s:%s", path ? path : "", USUAL_CATALOGS) != -1)
        catalog = search_catalog(all, name, locale && *locale ? locale : "C", flag, room);
    int why = errno;
    free(all);
    free(room);
    errno = why;
    return catalog;
}

#define SHIM_FILE_inner
#include "export.h"
