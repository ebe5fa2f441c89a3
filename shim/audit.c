/* SPDX-License-Identifier: MIT
 *
 * libovl-audit.so, the audit object of ld.so (rtld-audit(7)): in LD_AUDIT where loader.c found libraries that ld.so
 * can't find by itself.
 *
 * It is an object of its own, in a name space of its own, and runs before the program's libc is there. It needs no
 * other object: a libc beside it would cost more than all the rest, and would be looked for by the program's RPATH. So
 * nothing but core is called.  Every search of ld.so is answered when it begins (LA_SER_ORIG), because ld.so looks into
 * no directory again that it found missing once.  No la_symbind and no la_*_pltenter: they would cost at every call.
 */
#define _GNU_SOURCE
#include "boundary.h"
#include "cwd_text.h"
#include "env.h"
#include "library_search.h"
#include "sys.h"
#include "text.h"

#include <link.h>
#include <string.h>
#include <sys/mman.h>

#define RECORDS_MAX 2048

/* An object and the one that it was loaded for, whose RPATH counts for it. */
struct record {
    const struct link_map *map;
    const struct record *loader;
};

static struct {
    struct ovl_space *space;
    const char *cwd, *program, *audit, *library_path; /* variables */
    char exe[OVL_REAL_MAX];
    struct record record[RECORDS_MAX];
    unsigned records;
    const struct record *asked_by; /* who the library that is searched for is for */
    struct shim_library found;     /* its path is what ld.so is given */
} audit;

/* The kernel takes no larger environment and arguments than a quarter of the stack's limit; of the address space that
 * is reserved only what is read is used. */
#define ENVIRONMENT_MAX ((size_t)64 << 20)

/* ---- start ------------------------------------------------------------------------------------------------ */

/* The environment, as the kernel has it: where it lies is known to ld.so alone. */
static const char *read_environment(size_t *length)
{
    int fd = ovl_sys_open(AT_FDCWD, "/proc/self/environ", O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return NULL;
    char *text = ovl_sys_mmap(ENVIRONMENT_MAX, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
    ssize_t n = 1;
    *length = 0;
    while (text && n > 0 && *length < ENVIRONMENT_MAX - 1) {
        n = ovl_sys_read(fd, text + *length, ENVIRONMENT_MAX - 1 - *length);
        *length += n > 0 ? (size_t)n : 0;
    }
    ovl_sys_close(fd);
    if (text)
        ovl_sys_munmap(text + ((*length + 4096) & ~(size_t)4095), ENVIRONMENT_MAX - ((*length + 4096) & ~(size_t)4095));
    return text;
}

static void take_variable(const char *entry)
{
    const struct {
        const char *name, **value;
    } wanted[] = {{SHIM_ENV_CWD, &audit.cwd},
                  {SHIM_ENV_PROGRAM, &audit.program},
                  {"LD_AUDIT=", &audit.audit},
                  {"LD_LIBRARY_PATH=", &audit.library_path}};
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        if (ovl_has_prefix(entry, wanted[i].name))
            *wanted[i].value = entry + ovl_strlen(wanted[i].name);
}

static bool import(const char *const *part)
{
    struct ovl_message why;
    size_t mapped;
    const char *record = ovl_record_join(part, &mapped);
    bool done = record && ovl_space_import(record, &audit.space, &why) == 0;
    if (mapped)
        ovl_sys_munmap((void *)(uintptr_t)record, mapped);
    return done;
}

/* Called by ld.so first; 0: this object is not wanted. */
SHIM_EXPORT unsigned la_version(unsigned version)
{
    size_t length;
    const char *part[OVL_RECORD_PARTS] = {NULL}, *value;
    const char *environment = read_environment(&length);
    for (size_t at = 0; environment && at < length; at += ovl_strlen(environment + at) + 1) {
        int number = ovl_record_part(environment + at, &value);
        if (number >= 0)
            part[number] = value;
        else
            take_variable(environment + at);
    }
    if (!import(part))
        return 0;
    if (!audit.program) {
        ssize_t n = ovl_sys_readlink("/proc/self/exe", audit.exe, sizeof audit.exe - 1);
        audit.exe[n > 0 ? n : 0] = '\0';
        audit.program = audit.exe;
    }
    return version < LAV_CURRENT ? version : LAV_CURRENT;
}

/* ---- who asks --------------------------------------------------------------------------------------------- */

static bool is_record(uintptr_t cookie)
{
    return cookie >= (uintptr_t)audit.record && cookie < (uintptr_t)(audit.record + audit.records);
}

/* A cookie is the object's link map until it is given a record. */
static const struct record *record_of(uintptr_t cookie)
{
    return is_record(cookie) ? (const struct record *)cookie : NULL; /* NOLINT(*int-to-ptr) */
}

SHIM_EXPORT unsigned la_objopen(struct link_map *map, Lmid_t lmid, uintptr_t *cookie)
{
    (void)lmid;
    if (audit.records < RECORDS_MAX) {
        struct record *record = &audit.record[audit.records++];
        *record = (struct record){map, audit.asked_by};
        *cookie = (uintptr_t)record;
    }
    audit.asked_by = NULL;
    return 0;
}

/* The askers from a record up to the program, in the context's memory. */
static struct shim_asker *make_askers(struct ovl_ctx *ctx, const struct record *record, struct shim_asker *program)
{
    struct shim_asker *first = NULL, **to = &first;
    for (int i = 0; record && record->map->l_prev && i < 64; record = record->loader, i++) {
        struct shim_asker *asker = ovl_ctx_alloc(ctx, sizeof *asker);
        if (!asker)
            break;
        shim_asker_of_map(record->map, NULL, asker);
        *to = asker;
        to = (struct shim_asker **)&asker->loader;
    }
    *to = program;
    return first;
}

/* ---- searching -------------------------------------------------------------------------------------------- */

/* The merged cwd: as it was handed over if that is still where the process is, else what its layer path stands for;
 * NULL: there is none. */
static const char *find_cwd(struct ovl_ctx *ctx, void *unused)
{
    (void)unused;
    struct stat here;
    char *buf = ovl_ctx_alloc(ctx, OVL_PATH_MAX), *merged = ovl_ctx_alloc(ctx, OVL_PATH_MAX);
    struct ovl_node *node = ovl_node_new(ctx);
    if (!buf || !merged || !node || ovl_sys_stat(".", &here) < 0)
        return NULL;
    if (audit.cwd && shim_cwd_read(ctx, audit.cwd, merged) == 0 && ovl_resolve(ctx, NULL, merged, 0, node) == 0 &&
        node->ovl && node->exists && node->st.st_dev == here.st_dev && node->st.st_ino == here.st_ino)
        return merged;
    if (ovl_sys_getcwd(buf, OVL_PATH_MAX) <= 0 || buf[0] != '/')
        return NULL;
    ssize_t n = ovl_place_of(ctx, buf, merged, OVL_PATH_MAX);
    return n > 0 ? merged : n < 0 ? buf : NULL; /* 0: it is removed */
}

/* Whether a name is that of libovl.so, whose audit object is in LD_AUDIT: it is found whatever is mounted over it. */
static bool is_own(const char *name)
{
    size_t n = ovl_strlen(name), stem = n > 3 && ovl_streq(name + n - 3, ".so") ? n - 3 : n;
    const size_t suffix = sizeof SHIM_AUDIT_SUFFIX - 1;
    const char *at = name[0] == '/' ? audit.audit : NULL;
    while (at) {
        size_t length = 0;
        while (at[length] && at[length] != ':')
            length++;
        if (length == stem + suffix && memcmp(at, name, stem) == 0 && memcmp(at + stem, SHIM_AUDIT_SUFFIX, suffix) == 0)
            return true;
        at = at[length] ? at + length + 1 : NULL;
    }
    return false;
}

static int search(struct ovl_ctx *ctx, const char *name, uintptr_t cookie)
{
    const struct record *record = record_of(cookie);
    const struct link_map *map = record ? record->map : (const struct link_map *)cookie; /* NOLINT(*int-to-ptr) */
    const struct link_map *head = map;
    struct shim_asker *program = ovl_ctx_alloc(ctx, sizeof *program);
    struct shim_libraries *l = shim_libraries_new(ctx);
    if (!program || !l)
        return -ENOMEM;
    while (head->l_prev)
        head = head->l_prev;
    shim_asker_of_map(head, audit.program, program);
    l->program = program;
    l->library_path = audit.library_path;
    l->find_cwd = find_cwd;
    struct shim_asker *asker = make_askers(ctx, record, program);
    int r = shim_library_find(l, asker, name, &audit.found);
    if (r == 0 && audit.found.fd >= 0)
        ovl_sys_close(audit.found.fd);
    shim_libraries_end(l);
    return r < 0 ? r : (int)audit.found.kind;
}

/* ld.so looks for a library: the name that it shall go on with; NULL: it is not there. */
SHIM_EXPORT char *la_objsearch(const char *name, uintptr_t *cookie, unsigned flag)
{
    struct ovl_ctx ctx;
    if (flag != LA_SER_ORIG)
        return (char *)name;
    audit.asked_by = record_of(*cookie);
    if (is_own(name) || ovl_ctx_begin(&ctx, audit.space, &ovl_ops_kernel) < 0)
        return (char *)name;
    int kind = search(&ctx, name, *cookie);
    ovl_ctx_end(&ctx);
    if (kind == SHIM_LIBRARY_HIDDEN) {
        ssize_t n = ovl_append(audit.found.path, OVL_REAL_MAX, 0, *name == '/' ? SHIM_NOWHERE : SHIM_NOWHERE "/");
        return ovl_append(audit.found.path, OVL_REAL_MAX, (size_t)n, name) < 0 ? NULL : audit.found.path;
    }
    return kind == SHIM_LIBRARY_VIRTUAL ? audit.found.path : (char *)name;
}
