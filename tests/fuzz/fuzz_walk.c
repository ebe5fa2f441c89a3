/* SPDX-License-Identifier: MIT
 *
 * The path walk with any path, base and flags, over a small tree with links, whiteouts and an overlay below an
 * overlay.  The input is: flags, base, the path, and behind a NUL the target of a link that stands in both
 * overlays and outside; '@' is the tree's own root.
 *
 * What must hold: a place is normalised text without a link in its parent; it is inside exactly where a mount
 * says so; the layer path lies below its layer; and no system call on the way changes anything: the floor
 * is replaced by one that ends the program at such a call.
 */
#define _GNU_SOURCE
#include "types.h"

#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                            \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool walking; /* only reading is allowed */
static char root[PATH_MAX];
static struct ovl_space *space;

/* ---- the floor ---------------------------------------------------------------------------------------------- */

static bool is_reading(long nr, long c, long d)
{
    switch (nr) {
    case SYS_openat:
        return (c & (O_ACCMODE | O_CREAT | O_TRUNC)) == O_RDONLY;
    case SYS_mmap:
        return (d & MAP_ANONYMOUS) != 0;
    case SYS_faccessat:
    case SYS_faccessat2:
    case SYS_newfstatat:
    case SYS_statx:
    case SYS_readlinkat:
    case SYS_lgetxattr:
    case SYS_llistxattr:
    case SYS_getdents64:
    case SYS_close:
    case SYS_munmap:
    case SYS_mremap:
        return true;
    default:
        return false;
    }
}

long ovl_sys_raw(long nr, long a, long b, long c, long d, long e, long f)
{
    CHECK(!walking || is_reading(nr, c, d));
    long r = syscall(nr, a, b, c, d, e, f);
    return r == -1 ? -errno : r;
}

/* ---- the tree ------------------------------------------------------------------------------------------------ */

/* A path below the root, with its parent directories made. */
static const char *place(const char *path)
{
    static char whole[PATH_MAX + 256];
    snprintf(whole, sizeof whole, "%s/%s", root, path);
    for (char *slash = whole + strlen(root) + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = '\0';
        mkdir(whole, 0755);
        *slash = '/';
    }
    return whole;
}

static void put(const char *path)
{
    FILE *out = fopen(place(path), "w");
    CHECK(out);
    fclose(out);
}

static const char *const fuzzed_link[] = {"lower/dir/fuzz", "inner/fuzz", "outside/fuzz"};

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

static void remove_tree(void)
{
    nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void make_tree(void)
{
    char template[] = "/tmp/ovl-walk-XXXXXX";
    char conf[PATH_MAX * 8];
    struct ovl_message why = {""};
    ovl_cache_use(OVL_CACHE_OFF); /* whose file is written */
    CHECK(mkdtemp(template) && realpath(template, root));
    atexit(remove_tree);
    put("lower/dir/file");
    put("lower/dir/sub/deep");
    put("lower/hidden/file");
    put("lower/opaque/below");
    put("lower2/dir/second");
    put("lower2/only/file");
    put("lower2/dir/sub/.wh.x");
    put("upper/.wh.hidden");
    put("upper/opaque/.wh..wh..opq");
    put("upper/opaque/own");
    put("upper/dir/new");
    put("inner/file");
    put("outside/dir/file");
    CHECK(symlink("dir/sub", place("lower/link")) == 0);
    CHECK(symlink("..", place("lower/dir/up")) == 0);
    CHECK(symlink("loop", place("lower/loop")) == 0);
    CHECK(symlink("../outside", place("lower/out")) == 0);
    CHECK(symlink("../mount/dir", place("outside/in")) == 0);
    CHECK(symlink(root, place("lower/dir/absolute")) == 0);
    CHECK(symlink("/proc/self/cwd", place("lower/magic")) == 0);
    snprintf(conf, sizeof conf,
             "mount=%s/mount,lowerdir=%s/lower:%s/lower2,upperdir=%s/upper;mount=%s/mount/dir/nested,lowerdir=%s/inner",
             root, root, root, root, root, root);
    if (ovl_space_open(conf, &space, &why) < 0) {
        fprintf(stderr, "%s\n", why.text);
        abort();
    }
    for (unsigned i = 0; i < ovl_space_count(space); i++)
        ovl_shared(ovl_space_at(space, i));
}

/* ---- what must hold -------------------------------------------------------------------------------------------- */

static void check_text(const struct ovl_node *node)
{
    const char *path = node->path;
    size_t length = node->length;
    CHECK(path[0] == '/' && strlen(path) == length && length < OVL_PATH_MAX);
    if (!node->ovl && length > 1 && path[length - 1] == '/')
        length--; /* the kernel shall see that a directory is asked for */
    for (const char *name = path; length > 1 && name && name < path + length; name = strchr(name + 1, '/')) {
        size_t n = strcspn(name + 1, "/");
        CHECK(n > 0 && n <= OVL_NAME_MAX);
        CHECK(!(n == 1 && name[1] == '.') && !(n == 2 && name[1] == '.' && name[2] == '.'));
    }
}

static void check_inside(const struct ovl_node *node)
{
    char text[OVL_PATH_MAX];
    size_t length = node->length;
    memcpy(text, node->path, length + 1);
    if (length > 1 && text[length - 1] == '/')
        text[--length] = '\0';
    const struct ovl_region *region = ovl_region_of(space, text);
    CHECK((region ? region->ovl : NULL) == node->ovl);
}

static void check_layer(const struct ovl_node *node)
{
    const struct ovl_layer *layer = &node->ovl->layer[node->top];
    CHECK(node->top < node->ovl->layers);
    CHECK(strncmp(node->real, layer->path, layer->length) == 0 || strncmp(node->real, "/proc/self/fd/", 14) == 0);
    CHECK(!strstr(node->real, "/../") && !strstr(node->real, "/./"));
    CHECK(!S_ISDIR(node->st.st_mode) || ovl_stack_has(&node->dirs, node->top));
    CHECK(!node->reserved);
}

/* Walked again, a place is itself, and no link is met on the way. */
static void check_again(struct ovl_ctx *ctx, const struct ovl_node *node)
{
    size_t root_length = strlen(root);
    if (node->magic || node->length >= OVL_REAL_MAX || strncmp(node->path, root, root_length) != 0)
        return;
    struct ovl_node *again = ovl_node_new(ctx);
    CHECK(again);
    CHECK(ovl_resolve(ctx, "/", node->path, OVL_NOLINKS, again) == 0);
    CHECK(strcmp(again->path, node->path) == 0 && again->ovl == node->ovl);
    CHECK(!node->ovl || again->exists == node->exists);
}

static void check_place(struct ovl_ctx *ctx, const struct ovl_node *node, unsigned flags)
{
    check_text(node);
    check_inside(node);
    if (node->ovl && node->exists) {
        struct stat st;
        check_layer(node);
        CHECK(!(flags & OVL_FOLLOW) || !S_ISLNK(node->st.st_mode));
        CHECK(ovl_stat(ctx, node, &st) == 0);
        struct ovl_listing listing;
        int r = ovl_list(ctx, node, &listing);
        CHECK(r == (S_ISDIR(st.st_mode) ? 0 : -ENOTDIR));
        if (r == 0)
            ovl_listing_free(&listing);
    }
    check_again(ctx, node);
}

static void walk(const char *base, const char *path, unsigned flags)
{
    struct ovl_ctx ctx;
    CHECK(ovl_ctx_begin(&ctx, space, &ovl_ops_kernel) == 0);
    struct ovl_node *node = ovl_node_new(&ctx);
    size_t used = ctx.used;
    walking = true;
    int r = ovl_resolve(&ctx, base, path, flags, node);
    CHECK(r <= 0 && r != -ENOMEM && r != -EFAULT && r != -EBADF && ctx.used == used);
    CHECK(r != -EROFS || (flags & OVL_CHANGE));
    if (r == 0)
        check_place(&ctx, node, flags);
    ovl_ctx_end(&ctx);
    walking = false;
}

/* The input's text with the root for every '@'; ends at a NUL. Returns how much was taken. */
static size_t expand(const uint8_t *data, size_t size, char *out, size_t room)
{
    size_t at = 0, n = 0;
    for (; at < size && data[at] && n + 1 < room; at++) {
        if (data[at] != '@')
            out[n++] = (char)data[at];
        else if (n + strlen(root) + 1 < room)
            n += (size_t)sprintf(out + n, "%s", root);
    }
    out[n] = '\0';
    return at;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const bases[] = {
        "mount", "mount/dir", "mount/dir/nested", "outside", "mount/dir/sub", "mount/gone", "", "lower"};
    static char path[OVL_PATH_MAX * 2], target[OVL_REAL_MAX], base[PATH_MAX + 64];
    if (!space)
        make_tree();
    if (size < 3)
        return 0;
    size_t taken = 2 + expand(data + 2, size - 2, path, sizeof path);
    if (taken + 1 < size)
        expand(data + taken + 1, size - taken - 1, target, sizeof target);
    else
        strcpy(target, "sub");
    for (size_t i = 0; i < sizeof fuzzed_link / sizeof *fuzzed_link; i++) {
        const char *link = place(fuzzed_link[i]);
        unlink(link);
        if (symlink(target, link) != 0)
            continue; /* no such target: no such link */
    }
    const char *name = bases[data[1] % (sizeof bases / sizeof *bases)];
    snprintf(base, sizeof base, "%s%s%s", root, *name ? "/" : "", name);
    walk(base, path, data[0] & (OVL_FOLLOW | OVL_CHANGE | OVL_NOLINKS));
    return 0;
}
