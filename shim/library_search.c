/* SPDX-License-Identifier: MIT
 *
 * Looking for libraries by the rules of ld.so(8) (library_search.h).
 *
 * The order: RPATH of the object that asks and of those that it was loaded for, the program's, unless the object has a
 * RUNPATH; LD_LIBRARY_PATH; RUNPATH of the object; the cache; the default directories.  In each directory the
 * hwcaps subdirectories come first.  A file for another machine is passed over.
 */
#include "library_search.h"

#include "hwcaps.h"
#include "sys.h"
#include "text.h"

#include <errno.h>
#include <link.h>
#include <string.h>

#if defined(__x86_64__)
#define PLATFORM "x86_64"
#elif defined(__aarch64__)
#define PLATFORM "aarch64"
#endif

#ifdef OVL_MULTIARCH
#define LIB "lib/" OVL_MULTIARCH
#else
#define LIB "lib64"
#endif

/* Where ld.so looks last. */
static const char *const defaults[] = {
#ifdef OVL_MULTIARCH
    "/lib/" OVL_MULTIARCH,
    "/usr/lib/" OVL_MULTIARCH,
    "/lib",
    "/usr/lib",
#else
    "/lib64",
    "/usr/lib64",
#endif
};

/* Directories that ld.so knows from its cache alone, which is not made again after an installation inside (ldconfig
 * counts as done): looked into in the merged view. */
static const char *const cached[] = {
#ifdef OVL_MULTIARCH
    "/usr/local/lib/" OVL_MULTIARCH,
#endif
    "/usr/local/lib",
};

#define HWCAPS "/glibc-hwcaps"
#define OPEN_FLAGS (O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)

struct shim_libraries *shim_libraries_new(struct ovl_ctx *ctx)
{
    struct shim_libraries *l = ovl_ctx_alloc(ctx, sizeof *l);
    if (!l)
        return NULL;
    memset(l, 0, sizeof *l);
    l->ctx = ctx;
    l->place = ovl_ctx_alloc(ctx, sizeof *l->place);
    l->node = ovl_node_new(ctx);
    l->window = ovl_ctx_alloc(ctx, sizeof *l->window);
    return l->place && l->node && l->window ? l : NULL;
}

void shim_libraries_end(struct shim_libraries *l)
{
    shim_library_cache_close(&l->cache);
    shim_library_cache_close(&l->merged_cache);
}

/* ---- a place's text --------------------------------------------------------------------------------------- */

static bool append(char *buf, size_t *length, const char *text, size_t n)
{
    if (n >= OVL_REAL_MAX - *length)
        return false;
    memcpy(buf + *length, text, n);
    *length += n;
    buf[*length] = '\0';
    return true;
}

/* Add to both paths of the place; one that the kernel's view has not stays empty. */
static bool extend(struct shim_place *place, const char *text)
{
    size_t n = ovl_strlen(text);
    return append(place->merged, &place->merged_length, text, n) &&
           (!place->file_length || append(place->file, &place->file_length, text, n));
}

static void cut(struct shim_place *place, size_t file_length, size_t merged_length)
{
    place->file[place->file_length = file_length] = '\0';
    place->merged[place->merged_length = merged_length] = '\0';
}

static size_t directory_length(const char *path)
{
    const char *slash = ovl_strrchr(path, '/');
    return slash ? (size_t)(slash - path) : 0;
}

static const char *find_cwd(struct shim_libraries *l)
{
    if (!l->cwd && l->find_cwd)
        l->cwd = l->find_cwd(l->ctx, l->cwd_argument);
    return l->cwd;
}

static bool append_merged(struct shim_place *place, const char *text, size_t n)
{
    return append(place->merged, &place->merged_length, text, n);
}

/* $ORIGIN of an object that ld.so knows by a relative path. */
static bool extend_relative(struct shim_libraries *l, const char *file)
{
    struct shim_place *place = l->place;
    const char *cwd = find_cwd(l);
    size_t n = directory_length(file), room = OVL_REAL_MAX - place->file_length;
    ssize_t length = cwd ? ovl_sys_getcwd(place->file + place->file_length, room) : -ENOENT;
    if (length <= 0 || place->file[place->file_length] != '/')
        return false;
    place->file_length += (size_t)length - 1;
    return append(place->file, &place->file_length, "/", 1) && append(place->file, &place->file_length, file, n) &&
           append_merged(place, cwd, ovl_strlen(cwd)) && append_merged(place, "/", 1) && append_merged(place, file, n);
}

/* $ORIGIN: the directory of the object's file; in the merged view, where that directory is merged. */
static bool extend_origin(struct shim_libraries *l, const struct shim_asker *asker)
{
    struct shim_place *place = l->place;
    if (!asker || !asker->file || !*asker->file)
        return false;
    if (*asker->file != '/')
        return extend_relative(l, asker->file);
    size_t before = place->file_length, n = directory_length(asker->file);
    if (!append(place->file, &place->file_length, asker->file, n))
        return false;
    if (asker->merged)
        return append_merged(place, asker->merged, directory_length(asker->merged));
    char *buf = place->merged + place->merged_length;
    ssize_t length = ovl_merged_path(l->ctx->space, place->file + before, buf, OVL_REAL_MAX - place->merged_length);
    if (length < 0)
        return append_merged(place, asker->file, n);
    place->merged_length += (size_t)length;
    return true;
}

static const struct {
    const char *name, *value;
} token[] = {{"ORIGIN", NULL}, {"LIB", LIB}, {"PLATFORM", PLATFORM}};

/* Whether a dynamic string token begins at `text` (behind the '$'): its number and length, else -1. */
static int find_token(const char *text, size_t n, size_t *length)
{
    bool brace = n && *text == '{';
    for (int i = 0; i < (int)(sizeof token / sizeof *token); i++) {
        size_t size = ovl_strlen(token[i].name);
        if (size + 2 * (size_t)brace > n || !ovl_has_prefix(text + brace, token[i].name))
            continue;
        char after = '\0';
        if (size + brace < n)
            after = text[brace + size];
        if (brace ? after != '}' : (after >= 'A' && after <= 'Z') || (after >= 'a' && after <= 'z') || after == '_')
            continue;
        *length = size + 2 * (size_t)brace;
        return i;
    }
    return -1;
}

/* Make the place of an element of a search path, or of a library's name with a slash. */
static bool expand(struct shim_libraries *l, const struct shim_asker *asker, const char *text, size_t n)
{
    struct shim_place *place = l->place;
    cut(place, 0, 0);
    if (n == 0) {
        text = ".";
        n = 1;
    }
    if (*text != '/' && *text != '$') {
        const char *cwd = find_cwd(l);
        if (!cwd || !append_merged(place, cwd, ovl_strlen(cwd)) || !append_merged(place, "/", 1))
            return false;
    }
    for (size_t i = 0; i < n; i++) {
        size_t length = 0;
        int which = text[i] == '$' ? find_token(text + i + 1, n - i - 1, &length) : -1;
        if (which == 0 && !extend_origin(l, asker))
            return false;
        const char *value = which > 0 ? token[which].value : text + i;
        size_t size = which > 0 ? ovl_strlen(value) : 1;
        if (which != 0 && (!append(place->file, &place->file_length, value, size) ||
                           !append(place->merged, &place->merged_length, value, size)))
            return false;
        i += length;
    }
    return place->merged[0] == '/';
}

/* ---- looking at a file ------------------------------------------------------------------------------------ */

/* Open a file that ld.so would load, or that would make it give up; -ENOENT for one that it passes over. */
static int open_library(struct shim_libraries *l, const char *path)
{
    int fd = ovl_sys_open(AT_FDCWD, path, OPEN_FLAGS, 0);
    if (fd < 0 || shim_elf_fits(fd, l->window) != 0)
        return fd;
    ovl_sys_close(fd);
    return -ENOENT;
}

static bool is_out_of_descriptors(int r)
{
    return r == -EMFILE || r == -ENFILE;
}

static bool is_same_file(int fd, const char *path)
{
    struct stat a, b;
    return ovl_sys_fstat(fd, &a) == 0 && ovl_sys_stat(path, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

static int found_at(struct shim_library *found, enum shim_library_kind kind, int fd, const char *path)
{
    found->kind = kind;
    found->fd = fd;
    memcpy(found->path, path, ovl_strlen(path) + 1);
    return 1;
}

/* Look for the place in the merged view: a descriptor with *real set, or a negative errno. */
static int open_merged(struct shim_libraries *l, const char **real)
{
    int fds = l->ctx->fds;
    struct ovl_node *node = l->node;
    int r = ovl_resolve(l->ctx, NULL, l->place->merged, OVL_FOLLOW, node);
    if (r == 0 && node->ovl && !node->exists)
        r = -ENOENT;
    if (r == 0) {
        *real = node->ovl ? node->real : node->path;
        r = open_library(l, *real);
    }
    while (l->ctx->fds > fds)
        ovl_sys_close(l->ctx->fd[--l->ctx->fds]);
    return r;
}

/* Look at the place: 1 when the search is over, 0 when it goes on, negative errno. */
static int look(struct shim_libraries *l, struct shim_library *found)
{
    const char *file = l->place->file, *real = NULL;
    int fd = open_merged(l, &real);
    if (is_out_of_descriptors(fd) || fd == -ENOMEM)
        return fd;
    if (fd >= 0 && *file && !l->hidden && (ovl_streq(file, real) || is_same_file(fd, file)))
        return found_at(found, SHIM_LIBRARY_NATIVE, fd, file);
    if (fd >= 0)
        return found_at(found, SHIM_LIBRARY_VIRTUAL, fd, real);
    int other = *file ? open_library(l, file) : -ENOENT;
    if (other < 0)
        return is_out_of_descriptors(other) ? other : 0;
    ovl_sys_close(other);
    l->hidden = true;
    return 0;
}

/* ---- directories that are the same in both views ---------------------------------------------------------- */

static bool is_directory(const char *path, struct stat *st)
{
    return ovl_sys_stat(path, st) == 0 && S_ISDIR(st->st_mode);
}

static struct shim_known *find_known(struct shim_libraries *l)
{
    for (unsigned i = 0; i < l->knows; i++)
        if (ovl_streq(l->known[i].text, l->place->merged) && ovl_streq(l->place->file, l->place->merged))
            return &l->known[i];
    return NULL;
}

/* Whether nothing but the directory that the kernel has makes the one that was resolved: outside, or in an overlay in
 * place where no other layer has it. */
static bool is_native(const struct shim_libraries *l, const struct ovl_node *node)
{
    int layers = 0;
    if (node->magic || ovl_space_below(l->ctx->space, node->path))
        return false;
    if (!node->ovl)
        return true;
    for (unsigned i = 0; i < sizeof node->dirs.bits / sizeof *node->dirs.bits; i++)
        for (uint64_t word = node->dirs.bits[i]; word; word &= word - 1)
            layers++;
    return node->exists && S_ISDIR(node->st.st_mode) && layers == 1 && ovl_streq(node->real, node->path);
}

/* The place is a directory: remember it if all names in it are the same in both views. */
static struct shim_known *learn(struct shim_libraries *l)
{
    struct shim_place *place = l->place;
    struct ovl_node *node = l->node;
    struct stat a, b;
    if (l->knows == SHIM_KNOWN_DIRECTORIES || place->merged_length >= sizeof l->known->text ||
        !ovl_streq(place->file, place->merged))
        return NULL;
    if (ovl_resolve(l->ctx, NULL, place->merged, OVL_FOLLOW, node) < 0 || node->length >= sizeof l->known->real ||
        !is_native(l, node))
        return NULL;
    if (node->crossed && !ovl_streq(place->merged, node->path) &&
        !(is_directory(place->merged, &a) && is_directory(node->path, &b) && a.st_dev == b.st_dev &&
          a.st_ino == b.st_ino))
        return NULL;
    struct shim_known *known = &l->known[l->knows++];
    memcpy(known->text, place->merged, place->merged_length + 1);
    memcpy(known->real, node->path, node->length + 1);
    known->hwcaps = SHIM_HWCAPS_UNKNOWN;
    return known;
}

/* Where a link in a known directory leads, if that is known too: put the path into `path` (OVL_REAL_MAX bytes, of which
 * the first n are the link's directory with its slash). */
static bool follow_known(const struct shim_libraries *l, char *path, size_t n, const char *link)
{
    size_t directory = directory_length(link);
    if (*link != '/')
        return !directory && ovl_append(path, OVL_REAL_MAX, n, link) >= 0;
    for (unsigned i = 0; i < l->knows; i++) {
        const struct shim_known *known = &l->known[i];
        if (ovl_strlen(known->text) == directory && memcmp(known->text, link, directory) == 0) {
            path[0] = '\0';
            ssize_t length = ovl_append(path, OVL_REAL_MAX, 0, known->real);
            return ovl_append(path, OVL_REAL_MAX, (size_t)length, link + directory) >= 0;
        }
    }
    return false;
}

/* Look for a name in a known directory, without a walk.  1, 0, negative errno; -ELOOP: a walk is needed. */
static int look_known(struct shim_libraries *l, const struct shim_known *known, const char *name,
                      struct shim_library *found)
{
    const struct ovl_open_how how = {.flags = OPEN_FLAGS, .resolve = OVL_RESOLVE_NO_SYMLINKS};
    char *path = l->node->path, *link = l->node->real;
    size_t n = ovl_strlen(known->real);
    memcpy(path, known->real, n);
    path[n++] = '/';
    path[n] = '\0';
    if (ovl_append(path, OVL_REAL_MAX, n, name) < 0)
        return -ELOOP;
    for (int links = 0; links < 4; links++) {
        int fd = ovl_sys_openat2(AT_FDCWD, path, &how);
        if (fd >= 0 && shim_elf_fits(fd, l->window) == 0) {
            ovl_sys_close(fd);
            return 0;
        }
        if (fd >= 0 && l->hidden)
            return found_at(found, SHIM_LIBRARY_VIRTUAL, fd, path);
        if (fd >= 0)
            return found_at(found, SHIM_LIBRARY_NATIVE, fd, l->place->file);
        if (fd == -ENOENT || fd == -ENOTDIR || fd == -EACCES)
            return 0;
        ssize_t length = fd == -ELOOP ? ovl_sys_readlink(path, link, OVL_REAL_MAX - 1) : fd;
        if (length < 0)
            return is_out_of_descriptors((int)length) ? (int)length : -ELOOP;
        link[length] = '\0';
        n = (size_t)(ovl_strrchr(path, '/') + 1 - path);
        path[n] = '\0';
        if (!follow_known(l, path, n, link))
            return -ELOOP;
    }
    return -ELOOP;
}

/* ---- search paths ----------------------------------------------------------------------------------------- */

/* Look for the name below the directory that the place is. */
static int look_below(struct shim_libraries *l, const struct shim_known *known, const char *subdirectory,
                      const char *name, struct shim_library *found)
{
    struct shim_place *place = l->place;
    size_t file_length = place->file_length, merged_length = place->merged_length;
    int r = 0;
    if (extend(place, subdirectory) && extend(place, "/") && extend(place, name)) {
        const char *below = place->merged + merged_length + 1;
        r = known ? look_known(l, known, below, found) : -ELOOP;
        if (r == -ELOOP)
            r = look(l, found);
    }
    cut(place, file_length, merged_length);
    return r;
}

/* Whether either view has hwcaps subdirectories in the directory that the place is. */
static bool has_hwcaps(struct shim_libraries *l, struct shim_known *known)
{
    struct shim_place *place = l->place;
    if (known && known->hwcaps != SHIM_HWCAPS_UNKNOWN)
        return known->hwcaps == SHIM_HWCAPS_SOME;
    size_t file_length = place->file_length, merged_length = place->merged_length;
    struct stat st;
    bool has =
        extend(place, HWCAPS) && ((place->file_length && is_directory(place->file, &st)) ||
                                  (!known && ovl_resolve(l->ctx, NULL, place->merged, OVL_FOLLOW, l->node) == 0 &&
                                   l->node->ovl && l->node->exists));
    cut(place, file_length, merged_length);
    if (known)
        known->hwcaps = has ? SHIM_HWCAPS_SOME : SHIM_HWCAPS_NONE;
    return has;
}

static int look_in(struct shim_libraries *l, const char *name, struct shim_library *found)
{
    struct shim_known *known = find_known(l);
    if (!known)
        known = learn(l);
    if (has_hwcaps(l, known))
        for (const char *const *level = shim_hwcaps(); *level; level++) {
            char subdirectory[32] = HWCAPS "/";
            ovl_append(subdirectory, sizeof subdirectory, sizeof HWCAPS, *level);
            int r = look_below(l, known, subdirectory, name, found);
            if (r != 0)
                return r;
        }
    return look_below(l, known, "", name, found);
}

/* Look in the directories of a search path; ';' separates too where `semicolon`. */
static int look_along(struct shim_libraries *l, const struct shim_asker *asker, const char *path, bool semicolon,
                      const char *name, struct shim_library *found)
{
    while (path) {
        size_t n = 0;
        while (path[n] && path[n] != ':' && !(semicolon && path[n] == ';'))
            n++;
        int r = expand(l, asker, path, n) ? look_in(l, name, found) : 0;
        if (r != 0)
            return r;
        path = path[n] ? path + n + 1 : NULL;
    }
    return 0;
}

static int look_rpaths(struct shim_libraries *l, const struct shim_asker *asker, const char *name,
                       struct shim_library *found)
{
    bool did_program = false;
    int r = 0;
    for (const struct shim_asker *a = asker; r == 0 && a; a = a->loader) {
        did_program |= a == l->program;
        if (a->rpath && !a->runpath)
            r = look_along(l, a, a->rpath, false, name, found);
    }
    if (r == 0 && !did_program && l->program && l->program->rpath && !l->program->runpath)
        r = look_along(l, l->program, l->program->rpath, false, name, found);
    return r;
}

/* Look at the file that the place is. */
static int look_at(struct shim_libraries *l, struct shim_library *found)
{
    struct shim_place *place = l->place;
    size_t n = directory_length(place->merged);
    char name[OVL_NAME_MAX + 1];
    if (!n || place->merged_length - n > OVL_NAME_MAX || !ovl_streq(place->file, place->merged))
        return look(l, found);
    memcpy(name, place->merged + n + 1, place->merged_length - n);
    cut(place, n, n);
    const struct shim_known *known = find_known(l);
    return look_below(l, known ? known : learn(l), "", name, found);
}

/* ---- the cache -------------------------------------------------------------------------------------------- */

static void open_caches(struct shim_libraries *l)
{
    l->has_cache = true;
    shim_library_cache_open(&l->cache, SHIM_LIBRARY_CACHE);
    if (!ovl_space_holds(l->ctx->space, SHIM_LIBRARY_CACHE) ||
        ovl_resolve(l->ctx, NULL, SHIM_LIBRARY_CACHE, OVL_FOLLOW, l->node) < 0)
        return;
    struct stat a, b;
    const char *real = l->node->ovl ? l->node->real : l->node->path;
    if (ovl_streq(real, SHIM_LIBRARY_CACHE) || (l->node->ovl && !l->node->exists) || ovl_sys_stat(real, &a) < 0 ||
        (ovl_sys_stat(SHIM_LIBRARY_CACHE, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino))
        return;
    l->has_merged_cache = true;
    shim_library_cache_open(&l->merged_cache, real);
}

/* Look at the file that a cache names; in_file and in_merged say in which view the cache is in force. */
static int look_cached(struct shim_libraries *l, const struct shim_library_cache *cache, bool in_file, bool in_merged,
                       const char *name, struct shim_library *found)
{
    const char *path = shim_library_cache_find(cache, name);
    struct shim_place *place = l->place;
    cut(place, 0, 0);
    size_t n = path ? directory_length(path) : 0;
    if (n == 0 || n >= OVL_REAL_MAX)
        return 0;
    if (!in_merged) {
        int other = open_library(l, path);
        if (other < 0)
            return is_out_of_descriptors(other) ? other : 0;
        ovl_sys_close(other);
        l->hidden = true;
        return 0;
    }
    n += ovl_strlen(path + n);
    bool fits = append(place->merged, &place->merged_length, path, n) &&
                (!in_file || append(place->file, &place->file_length, path, n));
    return fits ? look_at(l, found) : 0;
}

static int look_defaults(struct shim_libraries *l, const char *name, struct shim_library *found)
{
    if (!l->has_cache)
        open_caches(l);
    int r = look_cached(l, &l->cache, true, !l->has_merged_cache, name, found);
    if (r == 0 && l->has_merged_cache)
        r = look_cached(l, &l->merged_cache, false, true, name, found);
    for (unsigned i = 0; r == 0 && i < sizeof defaults / sizeof *defaults; i++)
        if (expand(l, NULL, defaults[i], ovl_strlen(defaults[i])))
            r = look_in(l, name, found);
    for (unsigned i = 0; r == 0 && i < sizeof cached / sizeof *cached; i++)
        if (ovl_space_holds(l->ctx->space, cached[i]) && expand(l, NULL, cached[i], ovl_strlen(cached[i]))) {
            cut(l->place, 0, l->place->merged_length);
            r = look_in(l, name, found);
        }
    return r;
}

/* ---- the whole -------------------------------------------------------------------------------------------- */

static int search(struct shim_libraries *l, const struct shim_asker *asker, const char *name,
                  struct shim_library *found)
{
    if (ovl_strchr(name, '/'))
        return expand(l, asker, name, ovl_strlen(name)) ? look_at(l, found) : 0;
    int r = 0;
    if (!asker || !asker->runpath)
        r = look_rpaths(l, asker, name, found);
    if (r == 0 && l->library_path && *l->library_path)
        r = look_along(l, l->program, l->library_path, true, name, found);
    if (r == 0 && asker && asker->runpath)
        r = look_along(l, asker, asker->runpath, false, name, found);
    if (r == 0 && !(asker && asker->no_default))
        r = look_defaults(l, name, found);
    return r;
}

int shim_library_find(struct shim_libraries *l, const struct shim_asker *asker, const char *name,
                      struct shim_library *found)
{
    l->hidden = false;
    found->fd = -1;
    found->path[0] = '\0';
    found->kind = SHIM_LIBRARY_ABSENT;
    int r = search(l, asker, name, found);
    if (r == 0 && l->hidden)
        found->kind = SHIM_LIBRARY_HIDDEN;
    return r < 0 ? r : 0;
}

/* ---- objects that are loaded ------------------------------------------------------------------------------ */

void shim_asker_of_map(const struct link_map *map, const char *file, struct shim_asker *asker)
{
    memset(asker, 0, sizeof *asker);
    asker->file = map->l_name && *map->l_name ? map->l_name : file;
    const ElfW(Dyn) *rpath = NULL, *runpath = NULL;
    uintptr_t strings = 0;
    for (const ElfW(Dyn) *d = map->l_ld; d && d->d_tag != DT_NULL; d++) {
        if (d->d_tag == DT_STRTAB)
            strings = d->d_un.d_ptr;
        else if (d->d_tag == DT_RPATH)
            rpath = d;
        else if (d->d_tag == DT_RUNPATH)
            runpath = d;
        else if (d->d_tag == DT_FLAGS_1)
            asker->no_default = d->d_un.d_val & DF_1_NODEFLIB;
    }
    if (!strings)
        return;
    if (strings < map->l_addr)
        strings += map->l_addr; /* a dynamic section that ld.so could not write to */
    if (runpath)
        asker->runpath = (const char *)strings + runpath->d_un.d_val; /* NOLINT(*int-to-ptr) */
    else if (rpath)
        asker->rpath = (const char *)strings + rpath->d_un.d_val; /* NOLINT(*int-to-ptr) */
}
