/* SPDX-License-Identifier: MIT
 *
 * The environment that an exec'd program gets (env.h).
 *
 * Restored: our entry in LD_PRELOAD, by absolute path, at the place where an entry of ours stands;
 * OVL_CONF where it is unset.  Set always: OVL_RUN, and OVL_CWD where the cwd lies in an overlay.
 * A lost LD_PRELOAD entry goes to the end: whoever preloads something into one program (fakeroot,
 * a sanitizer that insists on coming first) puts it before what was there, so this is where our
 * entry would be if it had not been dropped.
 *
 * Of several LD_PRELOAD ld.so takes the last, of several OVL_CONF getenv takes the first: so do we.
 */
#define _GNU_SOURCE
#include "env.h"

#include "cwd.h"
#include "init.h"
#include "scratch.h"

#include <string.h>

#define PRELOAD "LD_PRELOAD="
#define CONF "OVL_CONF="

/* The value when `entry` sets the variable `name` ("NAME="), else NULL. */
static const char *value_of(const char *entry, const char *name)
{
    size_t n = strlen(name);
    return strncmp(entry, name, n) == 0 ? entry + n : NULL;
}

static size_t count(char *const *env)
{
    size_t n = 0;
    while (env && env[n])
        n++;
    return n;
}

bool shim_env_lets_out(char *const *env)
{
    for (; env && *env; env++) {
        const char *conf = value_of(*env, CONF);
        if (conf)
            return !*conf;
    }
    return false;
}

/* Where the last LD_PRELOAD stands, or n. */
static size_t find_preload(char *const *env, size_t n)
{
    for (size_t i = n; i > 0; i--)
        if (value_of(env[i - 1], PRELOAD))
            return i - 1;
    return n;
}

static char *add(char *to, const char *text, size_t n)
{
    memcpy(to, text, n);
    to[n] = '\0';
    return to + n;
}

static char *add_text(char *to, const char *text)
{
    return add(to, text, strlen(text));
}

static const char *base_name(const char *path, size_t n)
{
    const char *slash = memrchr(path, '/', n);
    return slash ? slash + 1 : path;
}

/* Whether an LD_PRELOAD entry is this library, by its path or under another one by its name. */
static bool is_ours(const char *entry, size_t n)
{
    const char *library = shim_library();
    const char *name = base_name(library, strlen(library));
    const char *other = base_name(entry, n);
    size_t length = n - (size_t)(other - entry);
    return length == strlen(name) && memcmp(other, name, length) == 0;
}

/* Write an LD_PRELOAD value without our entries, but with `library` (may be NULL) where the first of
 * them was, or at the end.  The room needed is that of both with a separator and the NUL. */
static char *write_preload(char *to, const char *value, const char *library)
{
    char *begin = to;
    while (*value) {
        size_t n = strcspn(value, ": ");
        const char *entry = value;
        size_t length = n;
        value += n + (value[n] != '\0');
        if (n && is_ours(entry, n)) {
            if (!library)
                continue;
            entry = library;
            length = strlen(library);
            library = NULL;
        }
        if (!n)
            continue;
        if (to > begin)
            *to++ = ':';
        to = add(to, entry, length);
    }
    if (library) {
        if (to > begin)
            *to++ = ':';
        to = add_text(to, library);
    }
    *to = '\0';
    return to;
}

/* Copy the pointers of all but the internal variables.  *preload is moved to where that entry came. */
static size_t copy_env(char **to, char *const *env, size_t n, size_t *preload)
{
    size_t used = 0, found = n;
    for (size_t i = 0; i < n; i++) {
        if (value_of(env[i], SHIM_ENV_RUN) || value_of(env[i], SHIM_ENV_CWD))
            continue;
        if (i == *preload)
            found = used;
        to[used++] = env[i];
    }
    *preload = found < n ? found : used;
    return used;
}

static bool has_conf(char *const *env)
{
    for (; env && *env; env++)
        if (value_of(*env, CONF))
            return true;
    return false;
}

char **shim_env_inside(struct shim_call *call, char *const *env)
{
    const char *run = ovl_space_record(call->ctx.space), *conf = ovl_space_conf(call->ctx.space);
    const char *library = shim_library();
    size_t n = count(env), preload = find_preload(env, n);
    const char *old = preload < n ? env[preload] + strlen(PRELOAD) : "";
    size_t text = sizeof SHIM_ENV_RUN + strlen(run) + sizeof CONF + strlen(conf) + sizeof PRELOAD + strlen(old) + 1 +
                  strlen(library) + sizeof SHIM_ENV_CWD + OVL_PATH_MAX;
    char **new = shim_scratch(call, (n + 5) * sizeof *new + text);
    if (!new)
        return NULL;
    char *to = (char *)(new + n + 5);
    size_t used = copy_env(new, env, n, &preload);
    if (preload == used)
        used++;
    new[preload] = to;
    to = write_preload(add_text(to, PRELOAD), old, library) + 1;
    if (!has_conf(env)) {
        new[used++] = to;
        to = add_text(add_text(to, CONF), conf) + 1;
    }
    new[used++] = to;
    to = add_text(add_text(to, SHIM_ENV_RUN), run) + 1;
    if (shim_cwd_export(call, add_text(to, SHIM_ENV_CWD)) == 1)
        new[used++] = to;
    new[used] = NULL;
    return new;
}

char **shim_env_outside(struct shim_call *call, char *const *env)
{
    size_t n = count(env), preload = find_preload(env, n);
    const char *old = preload < n ? env[preload] + strlen(PRELOAD) : "";
    char **new = shim_scratch(call, (n + 1) * sizeof *new + sizeof PRELOAD + strlen(old) + 1);
    if (!new)
        return NULL;
    char *to = (char *)(new + n + 1), *value = add_text(to, PRELOAD);
    size_t used = copy_env(new, env, n, &preload);
    if (preload < used) {
        new[preload] = to;
        if (write_preload(value, old, NULL) == value)
            memmove(new + preload, new + preload + 1, (--used - preload) * sizeof *new);
    }
    new[used] = NULL;
    return new;
}
