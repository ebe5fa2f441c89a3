/* SPDX-License-Identifier: MIT
 *
 * Deciding what help ld.so needs (loader.h).
 *
 * All libraries that the program would load are looked for as ld.so does: what it needs, what those need, and
 * LD_PRELOAD.  If one of them is another file in the merged view than in the kernel's, the audit object helps, unless
 * the libraries need more static TLS than there is with an audit object (glibc sizes it before they are known):
 * then LD_LIBRARY_PATH with the layers' directories, which can't hide a library and comes after an RPATH.
 */
#define _GNU_SOURCE
#include "loader.h"

#include "closure.h"
#include "env.h"
#include "image.h"
#include "init.h"
#include "scratch.h"
#include "sys.h"
#include "text.h"

#include <string.h>

/* What this library and the audit object have of static TLS, and libc. */
#define OWN_TLS 512

/* ---- the program ------------------------------------------------------------------------------------------ */

static bool has_token(const char *path)
{
    return path && ovl_strchr(path, '$');
}

/* The path of the program's file, links resolved, into the asker. */
static int resolve_program(struct shim_closure *c, const struct shim_program *program)
{
    char *path = ovl_ctx_alloc(c->ctx, OVL_REAL_MAX);
    int fd = path ? shim_image_open(program->dirfd, program->path) : -ENOMEM;
    if (fd < 0)
        return fd;
    char link[48] = "/proc/self/fd/", number[24];
    ovl_append(link, sizeof link, ovl_strlen(link), ovl_decimal(number, (uint64_t)fd));
    ssize_t n = ovl_sys_readlink(link, path, OVL_REAL_MAX - 1);
    ovl_sys_close(fd);
    if (n > 0) {
        path[n] = '\0';
        c->first.asker.file = path;
    }
    return 0;
}

/* The path that ld.so has for the program; resolved only if that is worth the calls. */
static int name_program(struct shim_closure *c, const struct shim_program *program)
{
    struct shim_asker *asker = &c->first.asker;
    asker->file = program->path;
    if (program->node) {
        asker->file = program->node->real;
        asker->merged = program->node->path;
        return 0;
    }
    bool is_wanted = has_token(asker->rpath) || has_token(asker->runpath) || has_token(c->search->library_path);
    return is_wanted ? resolve_program(c, program) : 0;
}

/* Keep a string for the exec. */
static int keep(struct shim_call *call, const char *text, const char **kept)
{
    size_t n = ovl_strlen(text) + 1;
    char *copy = shim_scratch(call, n);
    if (!copy)
        return -ENOMEM;
    memcpy(copy, text, n);
    *kept = copy;
    return 0;
}

/* The loader is a library too, and is there from the beginning. */
static int note_interpreter(struct shim_closure *c)
{
    const char *slash = c->first.elf.interpreter ? ovl_strrchr(c->first.elf.interpreter, '/') : NULL;
    return slash ? shim_closure_note(c, slash + 1) : 0;
}

/* Whether the program's loader is another file inside. */
static int find_interpreter(struct shim_closure *c, struct shim_call *call, const struct shim_program *program,
                            struct shim_loader *loader)
{
    const char *name = c->first.elf.interpreter;
    if (!name || !ovl_strchr(name, '/'))
        return 0;
    int r = shim_library_find(c->search, NULL, name, c->found);
    if (r < 0)
        return r;
    if (c->found->fd >= 0)
        ovl_sys_close(c->found->fd);
    if (c->found->kind == SHIM_LIBRARY_HIDDEN)
        return -ENOENT;
    if (c->found->kind != SHIM_LIBRARY_VIRTUAL)
        return 0;
    r = program->node ? 0 : resolve_program(c, program);
    if (r == 0)
        r = keep(call, c->first.asker.file, &loader->program);
    return r < 0 ? r : keep(call, c->found->path, &loader->interpreter);
}

static int add_preloaded(struct shim_closure *c, const char *value)
{
    int r = 0;
    while (r == 0 && *value) {
        size_t n = strcspn(value, ": ");
        if (n && !shim_env_is_ours(value, n)) {
            char *name = ovl_ctx_alloc(c->ctx, n + 1);
            if (!name)
                return -ENOMEM;
            memcpy(name, value, n);
            name[n] = '\0';
            r = shim_closure_add(c, &c->first, name);
        }
        value += n + (value[n] != '\0');
    }
    return r;
}

/* ---- the decision ----------------------------------------------------------------------------------------- */

/* Add a virtual library's directory to a list, ':' between, of OVL_REAL_MAX bytes. */
static void note_directory(char *list, const char *path)
{
    size_t n = (size_t)(ovl_strrchr(path, '/') - path), length = ovl_strlen(list);
    for (const char *at = list; *at;) {
        size_t size = strcspn(at, ":");
        if (size == n && memcmp(at, path, n) == 0)
            return;
        at += size + (at[size] == ':');
    }
    if (memchr(path, ':', n) || memchr(path, ';', n) || length + n + 2 > OVL_REAL_MAX)
        return;
    if (length)
        list[length++] = ':';
    memcpy(list + length, path, n);
    list[length + n] = '\0';
}

/* The audit object lies beside this library. */
static int find_audit_object(struct shim_call *call, const char *directories, struct shim_loader *loader)
{
    const char *library = shim_library();
    size_t n = strlen(library);
    char *path = shim_scratch(call, n + sizeof SHIM_AUDIT_SUFFIX);
    if (!path)
        return -ENOMEM;
    memcpy(path, library, n + 1);
    strcpy(path + n - shim_env_suffix(library, n), SHIM_AUDIT_SUFFIX);
    if (ovl_sys_faccessat(AT_FDCWD, path, R_OK) == 0) {
        loader->audit = path;
        return 0;
    }
    ovl_log_line(OVL_LOG_WARN, path, ": not there: removed libraries may be found, and others by an RPATH", NULL);
    return *directories ? keep(call, directories, &loader->library_path) : 0;
}

static int choose(const struct shim_closure *c, struct shim_call *call, struct shim_loader *loader)
{
    bool is_virtual = false;
    size_t static_tls = OWN_TLS;
    char *directories = ovl_ctx_alloc(c->ctx, OVL_REAL_MAX);
    if (!directories)
        return -ENOMEM;
    directories[0] = '\0';
    for (const struct shim_object *o = c->first.next; o; o = o->next) {
        is_virtual |= o->kind == SHIM_LIBRARY_VIRTUAL || o->kind == SHIM_LIBRARY_HIDDEN;
        static_tls += o->elf.static_tls;
        if (o->kind == SHIM_LIBRARY_VIRTUAL)
            note_directory(directories, o->asker.file);
    }
    if (!is_virtual)
        return 0;
    if (static_tls <= SHIM_STATIC_TLS)
        return find_audit_object(call, directories, loader);
    return *directories ? keep(call, directories, &loader->library_path) : 0;
}

static int decide(struct shim_closure *c, struct shim_call *call, const struct shim_program *program, char *const *env,
                  struct shim_loader *loader)
{
    const char *library_path = shim_env_find(env, "LD_LIBRARY_PATH="), *preload = shim_env_find(env, "LD_PRELOAD=");
    c->search->program = &c->first.asker;
    c->search->library_path = library_path ? shim_env_without_directories(c->ctx, library_path) : NULL;
    c->first.elf = *program->elf;
    c->first.asker.rpath = program->elf->rpath;
    c->first.asker.runpath = program->elf->runpath;
    c->first.asker.no_default = program->elf->no_default;
    int r = name_program(c, program);
    if (r == 0)
        r = note_interpreter(c);
    if (r == 0)
        r = add_preloaded(c, preload ? preload : "");
    if (r == 0)
        r = shim_closure_complete(c);
    if (r == 0) /* last, when its directory is mostly known */
        r = find_interpreter(c, call, program, loader);
    return r < 0 ? r : choose(c, call, loader);
}

const char *shim_find_cwd(struct ovl_ctx *ctx, void *call)
{
    char *cwd = ovl_ctx_alloc(ctx, OVL_PATH_MAX);
    return cwd && shim_dir_path(call, AT_FDCWD, cwd) >= 0 ? cwd : NULL;
}

struct question {
    struct shim_call *call;
    const struct shim_program *program;
    char *const *env;
    struct shim_loader *loader;
};

static int ask(struct ovl_ctx *ctx, void *argument)
{
    const struct question *q = argument;
    memset(q->loader, 0, sizeof *q->loader);
    struct shim_closure *c = shim_closure_new(ctx);
    if (!c)
        return -ENOMEM;
    c->search->find_cwd = shim_find_cwd;
    c->search->cwd_argument = q->call;
    int r = decide(c, q->call, q->program, q->env, q->loader);
    shim_libraries_end(c->search);
    return r;
}

int shim_loader_ask(struct shim_call *call, const struct shim_program *program, char *const *env,
                    struct shim_loader *loader)
{
    struct question q = {call, program, env, loader};
    return shim_with_memory(call->ctx.space, call->ctx.ops, ask, &q);
}
