/* SPDX-License-Identifier: MIT
 *
 * From a record (config_record.c) to a space: two passes over the text, one that counts and one that fills
 * a single mapping.
 *
 * The record comes from the environment, so any bytes are survived, and what is accepted keeps every
 * promise of types.h: paths canonical, mounts longest first, layers and roots within bounds.  The
 * file system is not asked.
 */
#include "config.h"

#include <sys/mman.h>

enum token {
    TOKEN_CONF,
    TOKEN_OVERLAY,
    TOKEN_MOUNT,
    TOKEN_ROOTS,
    TOKEN_IMPURE,
    TOKEN_WHITEOUT,
    TOKEN_READDIR,
    TOKEN_STATIC,
    TOKEN_VOLATILE,
    TOKEN_PATCH,
    TOKEN_GUARD,
    TOKEN_ALLOW,
    TOKEN_EXCLUDE,
    TOKEN_WORK,
    TOKEN_UPPER,
    TOKEN_LOWER,
    TOKEN_BORROWED,
    TOKENS
};

static const char *const token_name[TOKENS] = {"conf",    "overlay", "mount",    "roots", "impure",  "whiteout",
                                               "readdir", "static",  "volatile", "patch", "guard",   "static-allow",
                                               "exclude", "work",    "upper",    "lower", "borrowed"};

struct reader {
    const char *at;
    size_t count[TOKENS];
    size_t bytes; /* of all values, with a NUL each */
    /* the second pass: what is left of the mapping's parts */
    struct ovl_space *space;
    struct ovl_layer *layer;
    const char **string;
    char *text;
    struct ovl *ovl; /* the one that is being read */
};

/* ---- words ---------------------------------------------------------------------------------------------- */

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Decode the value at r->at, up to a blank or the end, into `to` (NULL: only measure). */
static ssize_t decode(struct reader *r, char *to)
{
    size_t n = 0;
    for (; *r->at && *r->at != ' '; r->at++, n++) {
        int c = (unsigned char)*r->at;
        if (c == '%') {
            int high = hex(r->at[1]);
            int low = high < 0 ? -1 : hex(r->at[2]);
            c = high * 16 + low;
            if (low < 0 || c == 0)
                return -EINVAL;
            r->at += 2;
        }
        if (to)
            to[n] = (char)c;
    }
    if (to)
        to[n] = '\0';
    return (ssize_t)n;
}

/* Read " KEY=": which one, TOKENS at the end. */
static int next_token(struct reader *r)
{
    if (!*r->at)
        return TOKENS;
    if (*r->at++ != ' ')
        return -EINVAL;
    for (int i = 0; i < TOKENS; i++) {
        size_t n = ovl_strlen(token_name[i]);
        if (ovl_has_prefix(r->at, token_name[i]) && r->at[n] == '=') {
            r->at += n + 1;
            return i;
        }
    }
    return -EINVAL;
}

static int count(struct reader *r)
{
    for (;;) {
        int token = next_token(r);
        if (token < 0 || token == TOKENS)
            return token < 0 ? token : 0;
        ssize_t n = decode(r, NULL);
        if (n < 0)
            return (int)n;
        r->count[token]++;
        r->bytes += (size_t)n + 1;
    }
}

/* ---- values --------------------------------------------------------------------------------------------- */

/* Whether a path is absolute, without empty, "." and ".." components and without a slash at its end. */
static bool is_canonical(const char *path)
{
    if (path[0] == '/' && !path[1])
        return true;
    const char *p = path;
    while (*p == '/') {
        const char *name = ++p;
        while (*p && *p != '/')
            p++;
        size_t n = (size_t)(p - name);
        if (n == 0 || (n == 1 && name[0] == '.') || (n == 2 && name[0] == '.' && name[1] == '.'))
            return false;
    }
    return p > path && !*p && (size_t)(p - path) < OVL_REAL_MAX;
}

/* A path that may pass through to the real file system (settle_regions). */
static void note_region(struct reader *r, const char *path, size_t length)
{
    r->space->region[r->space->regions++] = (struct ovl_region){path, length, NULL};
}

/* A canonical path in types.h's form, where the root is "". */
static int take_path(const char *text, const char **path, size_t *length)
{
    if (!is_canonical(text))
        return -EINVAL;
    *path = text[1] ? text : text + 1;
    *length = ovl_strlen(*path);
    return 0;
}

static int take_string(struct reader *r, const char *text, const char ***list, unsigned *n)
{
    if (text[0] != '/')
        return -EINVAL;
    if (!*n)
        *list = r->string;
    if (*list + *n != r->string)
        return -EINVAL; /* not in one row */
    *r->string++ = text;
    ++*n;
    return 0;
}

static int take_layer(struct reader *r, int token, const char *text)
{
    struct ovl *o = r->ovl;
    struct ovl_layer *layer = r->layer;
    if (o->layers == OVL_LAYERS_MAX || (token == TOKEN_UPPER && o->layers > 0))
        return -EINVAL;
    if (*text != '/') {
        layer->dev = (dev_t)ovl_parse_decimal(&text);
        if (*text++ != ':')
            return -EINVAL;
    } else if (o->layers == 0) {
        return -EINVAL;
    } else {
        layer->dev = layer[-1].dev;
    }
    if (o->layers == 0)
        o->layer = layer;
    layer->borrowed = token == TOKEN_BORROWED;
    r->layer++;
    o->layers++;
    o->has_upper = o->has_upper || token == TOKEN_UPPER;
    int result = take_path(text, &layer->path, &layer->length);
    if (result == 0 && token != TOKEN_BORROWED)
        note_region(r, layer->path, layer->length);
    return result;
}

static int take_work(struct reader *r, const char *text)
{
    struct ovl *o = r->ovl;
    int result = o->work ? -EINVAL : take_path(text, &o->work, &o->work_length);
    if (result == 0)
        note_region(r, o->work, o->work_length);
    return result;
}

static int take_exclude(struct reader *r, const char *text)
{
    if (!is_canonical(text) || !text[1])
        return -EINVAL;
    note_region(r, text, ovl_strlen(text));
    return take_string(r, text, &r->ovl->exclude, &r->ovl->excludes);
}

static int take_roots(struct ovl *o, const char *text)
{
    uint64_t n = ovl_parse_decimal(&text);
    o->roots = n > OVL_LAYERS_MAX ? 0 : (unsigned)n;
    return *text ? -EINVAL : 0;
}

static int take_impure(struct ovl *o, const char *text)
{
    o->impure = *text == '1';
    return ovl_streq(text, "0") || ovl_streq(text, "1") ? 0 : -EINVAL;
}

static int take_word(struct ovl *o, int token, const char *text)
{
    static const enum ovl_key key[] = {OVL_KEY_WHITEOUT, OVL_KEY_READDIR, OVL_KEY_STATIC,
                                       OVL_KEY_VOLATILE, OVL_KEY_PATCH,   OVL_KEY_GUARD};
    int choice = ovl_key_choice(key[token - TOKEN_WHITEOUT], text);
    if (choice < 0)
        return choice;
    if (token == TOKEN_WHITEOUT)
        o->whiteout = (enum ovl_whiteout_form)choice;
    else if (token == TOKEN_READDIR)
        o->sorted = choice == 0;
    else if (token == TOKEN_STATIC)
        o->static_policy = (enum ovl_static)choice;
    else if (token == TOKEN_VOLATILE)
        o->is_volatile = choice == 1;
    else if (token == TOKEN_PATCH)
        o->patch = (enum ovl_patch)choice;
    else
        o->guard = (enum ovl_guard)choice;
    return 0;
}

static int begin_overlay(struct reader *r, const char *name)
{
    r->ovl = &r->space->ovl[r->space->ovls];
    r->ovl->number = r->space->ovls++;
    r->ovl->name = name;
    r->ovl->sorted = true;
    r->ovl->static_policy = OVL_STATIC_DENY;
    return 0;
}

static int take(struct reader *r, int token, const char *text)
{
    struct ovl *o = r->ovl;
    if (token == TOKEN_CONF) {
        r->space->conf = text;
        return 0;
    }
    if (token == TOKEN_OVERLAY)
        return begin_overlay(r, text);
    if (!o)
        return -EINVAL;
    switch (token) {
    case TOKEN_MOUNT:
        return o->mount ? -EINVAL : take_path(text, &o->mount, &o->mount_length);
    case TOKEN_WORK:
        return take_work(r, text);
    case TOKEN_ROOTS:
        return take_roots(o, text);
    case TOKEN_IMPURE:
        return take_impure(o, text);
    case TOKEN_ALLOW:
        return take_string(r, text, &o->static_allow, &o->static_allows);
    case TOKEN_EXCLUDE:
        return take_exclude(r, text);
    case TOKEN_UPPER:
    case TOKEN_LOWER:
    case TOKEN_BORROWED:
        return take_layer(r, token, text);
    default:
        return take_word(o, token, text);
    }
}

/* ---- the space ------------------------------------------------------------------------------------------ */

static int finish_overlay(struct ovl *o, const struct ovl *before)
{
    if (!o->mount || o->layers < (o->has_upper ? 2u : 1u) || o->roots == 0 || o->roots > o->layers)
        return -EINVAL;
    if (o->has_upper && !o->work)
        return -EINVAL;
    if (before && before->mount_length < o->mount_length)
        return -EINVAL;
    for (unsigned i = 0; i < o->excludes; i++)
        if (!ovl_is_below(o->exclude[i], o->mount, o->mount_length))
            return -EINVAL;
    o->dir_dev = o->layer[0].dev;
    o->one_dev = true;
    for (unsigned i = 1; i < o->layers; i++)
        o->one_dev = o->one_dev && o->layer[i].dev == o->dir_dev;
    return 0;
}

static int check_overlays(struct ovl_space *space)
{
    for (unsigned i = 0; i < space->ovls; i++) {
        int r = finish_overlay(&space->ovl[i], i ? &space->ovl[i - 1] : NULL);
        if (r < 0)
            return r;
        for (unsigned k = 0; k < i; k++)
            if (ovl_streq(space->ovl[k].mount, space->ovl[i].mount))
                return -EINVAL;
    }
    return space->ovls > 0 && space->conf ? 0 : -EINVAL;
}

static bool is_mount(const struct ovl_space *space, const char *path)
{
    for (unsigned i = 0; i < space->ovls; i++)
        if (ovl_streq(space->ovl[i].mount, path))
            return true;
    return false;
}

static bool is_below_a_mount(const struct ovl_space *space, const char *path)
{
    for (unsigned i = 0; i < space->ovls; i++)
        if (ovl_is_below(path, space->ovl[i].mount, space->ovl[i].mount_length))
            return true;
    return false;
}

/* Of the paths that were read keep as regions those that pass through a mount; add the mounts. */
static void settle_regions(struct ovl_space *space)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < space->regions; i++)
        if (!is_mount(space, space->region[i].path) && is_below_a_mount(space, space->region[i].path))
            space->region[kept++] = space->region[i];
    for (unsigned i = 0; i < space->ovls; i++)
        space->region[kept++] = (struct ovl_region){space->ovl[i].mount, space->ovl[i].mount_length, &space->ovl[i]};
    space->regions = kept;
    ovl_regions_sort(space->region, kept);
}

static void *carve(char **memory, size_t n)
{
    void *part = *memory;
    *memory += (n + 15) & ~(size_t)15;
    return part;
}

/* One mapping for everything; its parts are handed out from the reader. */
static int allocate(struct reader *r, const char *record)
{
    size_t layers = r->count[TOKEN_UPPER] + r->count[TOKEN_LOWER] + r->count[TOKEN_BORROWED];
    size_t strings = r->count[TOKEN_ALLOW] + r->count[TOKEN_EXCLUDE];
    size_t ovls = r->count[TOKEN_OVERLAY];
    size_t regions = ovls + layers + r->count[TOKEN_EXCLUDE] + r->count[TOKEN_WORK];
    size_t length = ovl_strlen(record) + 1;
    if (ovls > OVL_OVERLAYS_MAX || regions > UINT32_MAX)
        return -EINVAL;
    size_t size = sizeof(struct ovl_space) + ovls * sizeof(struct ovl) + layers * sizeof(struct ovl_layer) +
                  regions * sizeof(struct ovl_region) + strings * sizeof(char *) + length + r->bytes + 8 * (size_t)16;
    char *memory = ovl_sys_mmap(size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    if (!memory)
        return -ENOMEM;
    r->space = carve(&memory, sizeof *r->space);
    r->space->memory = r->space;
    r->space->size = size;
    r->space->ovl = carve(&memory, ovls * sizeof(struct ovl));
    r->space->region = carve(&memory, regions * sizeof(struct ovl_region));
    r->layer = carve(&memory, layers * sizeof(struct ovl_layer));
    r->string = carve(&memory, strings * sizeof(char *));
    char *copy = carve(&memory, length);
    memcpy(copy, record, length);
    r->space->record = copy;
    r->text = memory;
    return 0;
}

static int fill(struct reader *r)
{
    for (;;) {
        int token = next_token(r);
        if (token < 0 || token == TOKENS)
            return token < 0 ? token : 0;
        char *text = r->text;
        ssize_t n = decode(r, text);
        if (n < 0)
            return (int)n;
        r->text += n + 1;
        int result = take(r, token, text);
        if (result < 0)
            return result;
    }
}

int ovl_space_read(const char *record, struct ovl_space **space)
{
    const size_t magic = sizeof OVL_RECORD_MAGIC - 1;
    if (!ovl_has_prefix(record, OVL_RECORD_MAGIC))
        return -EINVAL;
    struct reader r = {.at = record + magic};
    int result = count(&r);
    if (result == 0)
        result = allocate(&r, record);
    if (result < 0)
        return result;
    r.at = record + magic;
    result = fill(&r);
    if (result == 0)
        result = check_overlays(r.space);
    if (result < 0) {
        ovl_space_close(r.space);
        return result;
    }
    settle_regions(r.space);
    ovl_ctx_init();
    *space = r.space;
    return 0;
}
