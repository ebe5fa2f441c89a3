/* SPDX-License-Identifier: MIT
 *
 * The record: a resolved configuration as one line of text, which children get in their environment.
 *
 *   ovl1 conf=TEXT overlay=NAME mount=/m roots=2 ... work=/w upper=DEV:/u lower=DEV:/a lower=/b overlay= ...
 *
 * Words are KEY=VALUE with '%', blanks and control characters as %XX, the root as "/".  A layer on the
 * file system of the one before has no DEV.  `borrowed` is a lower layer that stands for a place in
 * another overlay.  A record is only ever read by the version that wrote it (OVL_RECORD_MAGIC).
 */
#include "config.h"

#define RECORD_FILE_MAX ((size_t)64 << 20)

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

/* ---- a record too long for the environment ------------------------------------------------------------------ */

static int write_all(int fd, const char *text, size_t n)
{
    while (n > 0) {
        ssize_t r = ovl_sys_write(fd, text, n);
        if (r < 0 && r != -EINTR)
            return (int)r;
        if (r > 0) {
            text += r;
            n -= (size_t)r;
        }
    }
    return 0;
}

static int write_file(struct ovl_arena *arena, const char *path, const char *text)
{
    char number[24];
    const char *aside = ovl_arena_join(arena, path, ".", ovl_decimal(number, (uint64_t)ovl_sys_getpid()), NULL);
    if (!aside)
        return -ENOMEM;
    ovl_sys_unlink(aside);
    int fd = ovl_sys_open(AT_FDCWD, aside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return fd;
    int r = write_all(fd, text, ovl_strlen(text));
    ovl_sys_close(fd);
    if (r == 0)
        r = ovl_sys_rename(aside, path, 0);
    if (r < 0)
        ovl_sys_unlink(aside);
    return r;
}

/* Named by its content: runs of the same configuration share the file, others never touch it. */
static char *file_of(struct ovl_arena *arena, const char *work, const char *record)
{
    char number[24];
    uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a */
    for (const char *p = record; *p; p++)
        hash = (hash ^ (unsigned char)*p) * 0x100000001b3u;
    return ovl_arena_join(arena, "@", work, OVL_RECORD_FILE, ovl_decimal(number, hash), NULL);
}

int ovl_record_store(const struct ovl_plans *plans, char **record)
{
    const struct ovl_config *config = plans->config;
    const struct ovl_plan *plan = NULL;
    if (ovl_strlen(*record) <= OVL_RECORD_INLINE_MAX)
        return 0;
    for (unsigned i = 0; i < plans->count && !plan; i++)
        if (plans->plan[i].work)
            plan = &plans->plan[i];
    if (!plan)
        return ovl_message_set(config->why, config->where, 0,
                               "the layers' paths are too long for the environment (100 KiB) and there is no work "
                               "directory to keep them in; set workdir=",
                               NULL);
    char *file = file_of(config->arena, plan->work, *record);
    if (!file)
        return ovl_refuse_no_memory(config);
    int r = write_file(config->arena, file + 1, *record);
    if (r < 0)
        return ovl_refuse_work(plans, plan, "can't keep the resolved configuration: ", ovl_error_text(r));
    *record = file;
    return 0;
}

int ovl_record_load(struct ovl_arena *arena, const char **record)
{
    if ((*record)[0] != '@')
        return 0;
    int fd = ovl_sys_open(AT_FDCWD, *record + 1, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0);
    if (fd < 0)
        return fd;
    struct stat st;
    int r = ovl_sys_fstat(fd, &st);
    if (r == 0 && (!S_ISREG(st.st_mode) || st.st_size < 0 || (size_t)st.st_size > RECORD_FILE_MAX))
        r = -EINVAL;
    char *text = r == 0 ? ovl_arena_alloc(arena, (size_t)st.st_size + 1) : NULL;
    if (r == 0 && !text)
        r = -ENOMEM;
    for (size_t at = 0; r == 0 && at < (size_t)st.st_size;) {
        ssize_t n = ovl_sys_pread(fd, text + at, (size_t)st.st_size - at, (off_t)at);
        r = n < 0 ? (int)n : n == 0 ? -EINVAL : 0;
        at += n > 0 ? (size_t)n : 0;
    }
    ovl_sys_close(fd);
    if (r == 0)
        *record = text;
    return r;
}
