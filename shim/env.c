/* SPDX-License-Identifier: MIT
 *
 * The environment that an exec'd program gets (env.h).
 *
 * Restored: our entry in LD_PRELOAD, by absolute path, at the place where an entry of ours stands;
 * OVL_CONF and OVL_TRACE where they are unset.  Set always: OVL_RUN (and OVL_RUN_1 ..., where it is long), and OVL_CWD
 * where the cwd lies in an overlay. A lost LD_PRELOAD entry goes to the end: whoever preloads something into one
 * program (fakeroot, a sanitizer that insists on coming first) puts it before what was there, so this is where our
 * entry would be if it had not been dropped.
 *
 * What ld.so needs to find libraries (loader.h) is put in for each program anew, and what was put in for another is
 * taken out: our entry in LD_AUDIT with its tunable, and our directories in LD_LIBRARY_PATH.  What is the
 * user's in these variables stays.
 *
 * Of several LD_PRELOAD ld.so takes the last, of several OVL_CONF getenv takes the first: so do we.
 */
#define _GNU_SOURCE
#include "env.h"

#include "cwd.h"
#include "init.h"
#include "scratch.h"
#include "text.h"
#include "trace.h"

#include <string.h>

#define CONF "OVL_CONF="
#define TRACE "OVL_TRACE="
#define STRING(x) STRING_OF(x)
#define STRING_OF(x) #x
#define STATIC_TLS SHIM_STATIC_TLS_TUNABLE "=" STRING(SHIM_STATIC_TLS)
/* Before and behind the directories that we put in front of LD_LIBRARY_PATH: a path that can have nothing below it. */
#define MARK "/dev/null/libovl"

/* The variables of ld.so that have entries of ours. */
enum variable { PRELOAD, AUDIT, TUNABLES, LIBRARY_PATH, VARIABLES };
static const char *const variable[VARIABLES] = {"LD_PRELOAD=", "LD_AUDIT=", "GLIBC_TUNABLES=", "LD_LIBRARY_PATH="};

#define NOWHERE SIZE_MAX
/* What can be added beside those: the configuration and its record, the trace, the cwd, the program, its name, and
 * NULL. */
#define ADDED (OVL_RECORD_PARTS + 6)

/* An environment that is being made. */
struct build {
    char **env;
    size_t used;
    char *to; /* where the next new string goes */
    size_t at[VARIABLES];
    const char *old[VARIABLES]; /* the values, "" where there is none */
};

/* ---- reading ---------------------------------------------------------------------------------------------- */

/* The value when `entry` sets the variable `name` ("NAME="), else NULL. */
static const char *value_of(const char *entry, const char *name)
{
    if (*entry != *name) /* most variables */
        return NULL;
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

const char *shim_env_find(char *const *env, const char *name)
{
    const char *found = NULL;
    for (; env && *env; env++) {
        const char *value = value_of(*env, name);
        found = value ? value : found;
    }
    return found;
}

static bool has(char *const *env, const char *name)
{
    for (; env && *env; env++)
        if (value_of(*env, name))
            return true;
    return false;
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

static const char *base_name(const char *path, size_t n)
{
    const char *slash = memrchr(path, '/', n);
    return slash ? slash + 1 : path;
}

size_t shim_env_suffix(const char *name, size_t n)
{
    return n > 3 && memcmp(name + n - 3, ".so", 3) == 0 ? 3 : 0;
}

bool shim_env_is_ours(const char *entry, size_t n)
{
    const char *library = shim_library();
    const char *name = base_name(library, strlen(library));
    const char *other = base_name(entry, n);
    size_t length = n - (size_t)(other - entry), own = strlen(name), stem = own - shim_env_suffix(name, own);
    if (length == own && memcmp(other, name, own) == 0)
        return true;
    return length == stem + strlen(SHIM_AUDIT_SUFFIX) && memcmp(other, name, stem) == 0 &&
           memcmp(other + stem, SHIM_AUDIT_SUFFIX, length - stem) == 0;
}

bool shim_env_has_ours(const char *value, const char *separators)
{
    while (value && *value) {
        size_t n = strcspn(value, separators);
        if (n && shim_env_is_ours(value, n))
            return true;
        value += n + (value[n] != '\0');
    }
    return false;
}

/* ---- writing values --------------------------------------------------------------------------------------- */

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

static char *add_entry(char *to, const char *begin, const char *text, size_t n)
{
    if (to > begin)
        *to++ = ':';
    return add(to, text, n);
}

/* Write a list without our entries, but with `library` (may be NULL) where the first of them was, or at the
 * end.  The room needed is that of both with a separator and the NUL. */
static char *write_list(char *to, const char *value, const char *separators, const char *library)
{
    char *begin = to;
    *to = '\0';
    while (*value) {
        size_t n = strcspn(value, separators), length = n;
        const char *entry = value;
        value += n + (value[n] != '\0');
        if (n && shim_env_is_ours(entry, n)) {
            if (!library)
                continue;
            entry = library;
            length = strlen(library);
            library = NULL;
        }
        if (n)
            to = add_entry(to, begin, entry, length);
    }
    return library ? add_entry(to, begin, library, strlen(library)) : to;
}

/* Write the tunables without ours, but with it at the end if it is `wanted` and the user has not set that one. */
static char *write_tunables(char *to, const char *value, bool wanted)
{
    char *begin = to;
    *to = '\0';
    while (*value) {
        size_t n = strcspn(value, ":");
        bool is_ours = n == strlen(STATIC_TLS) && memcmp(value, STATIC_TLS, n) == 0;
        if (!is_ours && value_of(value, SHIM_STATIC_TLS_TUNABLE "="))
            wanted = false;
        if (n && !is_ours)
            to = add_entry(to, begin, value, n);
        value += n + (value[n] != '\0');
    }
    return wanted ? add_entry(to, begin, STATIC_TLS, strlen(STATIC_TLS)) : to;
}

/* The part of LD_LIBRARY_PATH from one mark to the other: where it begins, and *end behind it with its separator;
 * NULL when there is none. */
static const char *find_marked(const char *value, const char **end)
{
    const char *begin = strstr(value, MARK), *last = begin ? strstr(begin + 1, MARK) : NULL;
    if (!last)
        return NULL;
    *end = last + strlen(MARK);
    *end += **end == ':';
    return begin;
}

static char *write_without_marked(char *to, const char *value)
{
    const char *end, *begin = find_marked(value, &end);
    if (!begin)
        return add_text(to, value);
    size_t n = (size_t)(begin - value);
    if (n && !*end)
        n--; /* the separator before it */
    return add_text(add(to, value, n), end);
}

const char *shim_env_without_directories(struct ovl_ctx *ctx, const char *value)
{
    const char *end;
    if (!find_marked(value, &end))
        return value;
    char *copy = ovl_ctx_alloc(ctx, strlen(value) + 1);
    if (copy)
        write_without_marked(copy, value);
    return copy;
}

static char *write_library_path(char *to, const char *value, const char *directories)
{
    if (!directories)
        return write_without_marked(to, value);
    to = add_text(add_text(add_text(to, MARK ":"), directories), ":" MARK);
    char *end = write_without_marked(to + 1, value);
    if (end == to + 1)
        return add(to, "", 0);
    *to = ':';
    return end;
}

/* ---- the whole -------------------------------------------------------------------------------------------- */

static bool is_internal(const char *entry)
{
    const char *value;
    return value_of(entry, SHIM_ENV_CWD) || value_of(entry, SHIM_ENV_PROGRAM) || value_of(entry, SHIM_ENV_COMM) ||
           ovl_record_part(entry, &value) >= 0;
}

/* Begin with the pointers of all but the internal variables, and room for `strings` and what changes in the
 * others. */
static bool begin(struct build *b, struct shim_call *call, char *const *env, size_t strings)
{
    size_t n = count(env);
    for (enum variable v = 0; v < VARIABLES; v++) {
        const char *value = shim_env_find(env, variable[v]);
        b->at[v] = NOWHERE;
        b->old[v] = value ? value : "";
        strings += strlen(variable[v]) + strlen(b->old[v]) + 1;
    }
    b->used = 0;
    b->env = shim_scratch(call, (n + VARIABLES + ADDED) * sizeof *b->env + strings);
    if (!b->env)
        return false;
    b->to = (char *)(b->env + n + VARIABLES + ADDED);
    for (size_t i = 0; i < n; i++) {
        if (is_internal(env[i]))
            continue;
        for (enum variable v = 0; v < VARIABLES; v++)
            if (value_of(env[i], variable[v]))
                b->at[v] = b->used;
        b->env[b->used++] = env[i];
    }
    return true;
}

static char *value_at(struct build *b, enum variable v)
{
    return add_text(b->to, variable[v]);
}

/* Put in the variable whose text was written at b->to up to `end`; an empty value takes it out. */
static void put(struct build *b, enum variable v, char *end)
{
    size_t at = b->at[v];
    if (end == b->to + strlen(variable[v])) {
        if (at == NOWHERE)
            return;
        memmove(b->env + at, b->env + at + 1, (--b->used - at) * sizeof *b->env);
        for (enum variable other = 0; other < VARIABLES; other++)
            if (b->at[other] != NOWHERE && b->at[other] > at)
                b->at[other]--;
        b->at[v] = NOWHERE;
        return;
    }
    if (at == NOWHERE)
        at = b->used++;
    b->env[at] = b->to;
    b->to = end + 1;
}

/* What helps ld.so: nothing is touched where nothing of ours is or should be. */
static void put_help(struct build *b, const struct shim_loader *loader)
{
    bool had_audit = shim_env_has_ours(b->old[AUDIT], ":");
    const char *audit = loader ? loader->audit : NULL;
    const char *directories = loader ? loader->library_path : NULL, *end;
    if (had_audit || audit) {
        put(b, AUDIT, write_list(value_at(b, AUDIT), b->old[AUDIT], ":", audit));
        put(b, TUNABLES, write_tunables(value_at(b, TUNABLES), b->old[TUNABLES], audit != NULL));
    }
    if (directories || find_marked(b->old[LIBRARY_PATH], &end))
        put(b, LIBRARY_PATH, write_library_path(value_at(b, LIBRARY_PATH), b->old[LIBRARY_PATH], directories));
}

static void put_text(struct build *b, const char *name, const char *value)
{
    b->env[b->used++] = b->to;
    b->to = add_text(add_text(b->to, name), value) + 1;
}

char **shim_env_inside(struct shim_call *call, char *const *env, const struct shim_loader *loader, const char *comm)
{
    const char *record = ovl_space_record(call->ctx.space), *conf = ovl_space_conf(call->ctx.space);
    const char *library = shim_library(), *trace = shim_trace_file();
    size_t directories = loader->library_path ? strlen(loader->library_path) : 0;
    size_t program = loader->interpreter ? sizeof SHIM_ENV_PROGRAM + strlen(loader->program) : 0;
    unsigned parts;
    size_t run = ovl_record_put(record, NULL, NULL, &parts);
    struct build b;
    if (!begin(&b, call, env,
               run + sizeof CONF + strlen(conf) + sizeof TRACE + (trace ? strlen(trace) : 0) +
                   2 * (strlen(library) + sizeof SHIM_AUDIT_SUFFIX) + sizeof STATIC_TLS + directories + program +
                   2 * sizeof MARK + 2 + sizeof SHIM_ENV_COMM + (comm ? strlen(comm) : 0) + sizeof SHIM_ENV_CWD +
                   SHIM_CWD_TEXT_MAX))
        return NULL;
    put(&b, PRELOAD, write_list(value_at(&b, PRELOAD), b.old[PRELOAD], ": ", library));
    put_help(&b, loader);
    if (!has(env, CONF))
        put_text(&b, CONF, conf);
    if (trace && !has(env, TRACE))
        put_text(&b, TRACE, trace);
    b.to += ovl_record_put(record, b.to, b.env + b.used, &parts);
    b.used += parts;
    if (loader->interpreter)
        put_text(&b, SHIM_ENV_PROGRAM, loader->program);
    if (comm)
        put_text(&b, SHIM_ENV_COMM, comm);
    if (shim_cwd_export(call, add_text(b.to, SHIM_ENV_CWD)) == 1)
        b.env[b.used++] = b.to;
    b.env[b.used] = NULL;
    return b.env;
}

char **shim_env_outside(struct shim_call *call, char *const *env)
{
    struct build b;
    if (!begin(&b, call, env, 0))
        return NULL;
    if (b.at[PRELOAD] != NOWHERE)
        put(&b, PRELOAD, write_list(value_at(&b, PRELOAD), b.old[PRELOAD], ": ", NULL));
    put_help(&b, NULL);
    b.env[b.used] = NULL;
    return b.env;
}
