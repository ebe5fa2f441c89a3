/* SPDX-License-Identifier: MIT
 *
 * The record: a resolved configuration as one line of text, which children get in their environment.
 *
 *   ovl2 conf=TEXT overlay=NAME mount=/m roots=2 ... work=/w upper=DEV:/u lower=DEV:/a lower=/b overlay= ...
 *
 * Words are KEY=VALUE with '%', blanks and control characters as %XX, the root as "/".  A layer on the
 * file system of the one before has no DEV.  `borrowed` is a lower layer that stands for a place in
 * another overlay.  A record is only ever read by the version that wrote it (OVL_RECORD_MAGIC).
 */
#include "config.h"

#include <sys/mman.h>

/* ---- writing -------------------------------------------------------------------------------------------- */

/* Where the text goes; with `to` NULL it is only measured. */
struct writer {
    char *to;
    size_t length;
};

static void put_byte(struct writer *w, char c)
{
    if (w->to)
        w->to[w->length] = c;
    w->length++;
}

static void put(struct writer *w, const char *text)
{
    while (*text)
        put_byte(w, *text++);
}

static void put_escaped(struct writer *w, const char *text)
{
    static const char digit[] = "0123456789ABCDEF";
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c > ' ' && c != '%' && c != 0x7f) {
            put_byte(w, *text);
            continue;
        }
        put_byte(w, '%');
        put_byte(w, digit[c >> 4]);
        put_byte(w, digit[c & 15]);
    }
}

static void put_pair(struct writer *w, const char *key, const char *value)
{
    put(w, " ");
    put(w, key);
    put(w, "=");
    put_escaped(w, value);
}

static void put_path(struct writer *w, const char *key, const char *path)
{
    put_pair(w, key, *path ? path : "/");
}

static void put_number(struct writer *w, const char *key, uint64_t number)
{
    char text[24];
    put_pair(w, key, ovl_decimal(text, number));
}

static void put_layers(struct writer *w, const struct ovl_plan *plan)
{
    char dev[24];
    for (unsigned i = 0; i < plan->layers; i++) {
        const struct ovl_plan_layer *layer = &plan->layer[i];
        put(w, i == 0 && plan->has_upper ? " upper=" : layer->borrowed ? " borrowed=" : " lower=");
        if (i == 0 || layer->st.st_dev != layer[-1].st.st_dev) {
            put(w, ovl_decimal(dev, layer->st.st_dev));
            put(w, ":");
        }
        put_escaped(w, *layer->path ? layer->path : "/");
    }
}

static void put_plan(struct writer *w, const struct ovl_plan *plan)
{
    static const enum ovl_key words[] = {OVL_KEY_WHITEOUT, OVL_KEY_READDIR, OVL_KEY_STATIC,
                                         OVL_KEY_VOLATILE, OVL_KEY_PATCH,   OVL_KEY_GUARD};
    put_pair(w, "overlay", plan->section->name);
    put_path(w, "mount", plan->mount);
    put_number(w, "roots", plan->roots);
    put_number(w, "impure", plan->impure);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        put_pair(w, ovl_key_name(words[i]), ovl_config_word(plan->section, words[i]));
    for (const struct ovl_value *v = plan->static_allow.first; v; v = v->next)
        put_path(w, "static-allow", v->text);
    for (const struct ovl_value *v = plan->exclude.first; v; v = v->next)
        put_pair(w, "exclude", v->text);
    if (plan->work)
        put_path(w, "work", plan->work);
    put_layers(w, plan);
}

static void put_record(struct writer *w, const struct ovl_plans *plans, const char *conf)
{
    put(w, OVL_RECORD_MAGIC);
    put_pair(w, "conf", conf);
    for (unsigned i = 0; i < plans->count; i++)
        put_plan(w, &plans->plan[i]);
    put_byte(w, '\0');
}

char *ovl_record_write(struct ovl_arena *arena, const struct ovl_plans *plans, const char *conf)
{
    struct writer w = {NULL, 0};
    put_record(&w, plans, conf);
    w.to = ovl_arena_alloc(arena, w.length);
    w.length = 0;
    if (w.to)
        put_record(&w, plans, conf);
    return w.to;
}

char *ovl_record_escape(struct ovl_arena *arena, const char *path)
{
    struct writer w = {ovl_arena_alloc(arena, ovl_strlen(path) * 3 + 1), 0};
    if (w.to)
        put_escaped(&w, path);
    return w.to;
}

/* ---- in the environment ------------------------------------------------------------------------------------- */

/* OVL_RUN=, OVL_RUN_1= ...: the kernel takes no string of more than 128 KiB.  Each part begins with the magic and,
 * where that is possible, ends where a word ends, so that whoever looks for a word finds it in one (config_run.c).  All
 * but the last end with a tab, so that a lost one is missed. */
#define VARIABLE "OVL_RUN"
#define MORE '\t'
#define MAGIC_LENGTH (sizeof OVL_RECORD_MAGIC - 1)

int ovl_record_part(const char *entry, const char **value)
{
    if (!ovl_has_prefix(entry, VARIABLE))
        return -1;
    const char *p = entry + sizeof VARIABLE - 1;
    uint64_t number = 0;
    if (*p == '_') {
        p++;
        number = ovl_parse_decimal(&p);
        if (!number)
            return -1;
    }
    if (*p != '=' || number >= OVL_RECORD_PARTS)
        return -1;
    *value = p + 1;
    return (int)number;
}

static size_t part_length(const char *rest)
{
    size_t n = ovl_strlen(rest);
    if (n <= OVL_RECORD_PART_MAX)
        return n;
    for (size_t end = OVL_RECORD_PART_MAX; end > 1; end--)
        if (rest[end] == ' ')
            return end;
    return OVL_RECORD_PART_MAX;
}

size_t ovl_record_put(const char *record, char *to, char **entries, unsigned *count)
{
    struct writer w = {to, 0};
    *count = 0;
    for (const char *rest = record + MAGIC_LENGTH; *rest && *count < OVL_RECORD_PARTS; ++*count) {
        char number[24];
        size_t n = part_length(rest);
        if (to)
            entries[*count] = to + w.length;
        put(&w, VARIABLE);
        if (*count) {
            put(&w, "_");
            put(&w, ovl_decimal(number, *count));
        }
        put(&w, "=" OVL_RECORD_MAGIC);
        for (; n > 0; n--)
            put_byte(&w, *rest++);
        if (*rest)
            put_byte(&w, MORE);
        put_byte(&w, '\0');
    }
    return w.length;
}

/* The parts that belong together: how many, and their length; 0 when there is none or one is missing. */
static unsigned count_parts(const char *const *part, size_t *length)
{
    *length = 0;
    for (unsigned i = 0; i < OVL_RECORD_PARTS && part[i]; i++) {
        size_t n = ovl_strlen(part[i]);
        *length += n;
        if (!n || part[i][n - 1] != MORE)
            return i + 1;
    }
    return 0;
}

const char *ovl_record_join(const char *const *part, size_t *mapped)
{
    size_t length;
    unsigned count = count_parts(part, &length);
    *mapped = 0;
    if (count <= 1)
        return count || !part[0] ? part[0] : "";
    struct writer w = {ovl_sys_mmap(length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1), 0};
    if (!w.to)
        return "";
    *mapped = length;
    for (unsigned i = 0; i < count; i++) {
        const char *text = part[i] + (i && ovl_has_prefix(part[i], OVL_RECORD_MAGIC) ? MAGIC_LENGTH : 0);
        while (*text && *text != MORE)
            put_byte(&w, *text++);
    }
    put_byte(&w, '\0');
    return w.to;
}
