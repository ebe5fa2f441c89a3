/* SPDX-License-Identifier: MIT
 *
 * The configuration from any bytes, without the file system: the inline form, the file form, and the record
 * that a parent process hands on.
 *
 * What must hold beside not crashing: a refusal has one line that says why; what is accepted has a mount and
 * a layer in every overlay; a record that is written from it is read back as the same space; any
 * record that is read keeps the promises of types.h, and the questions of space.c answer.
 */
#include "config.h"

#include <stdint.h>
#include <stdlib.h>

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            abort();                                                                                                   \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_message(const struct ovl_message *why)
{
    size_t n = ovl_strlen(why->text);
    CHECK(n > 0 && n < sizeof why->text);
    for (size_t i = 0; i < n; i++)
        CHECK((unsigned char)why->text[i] >= ' ' && why->text[i] != 0x7f);
}

static void check_space(const struct ovl_space *space)
{
    char buf[OVL_PATH_MAX];
    for (unsigned i = 0; i < ovl_space_count(space); i++) {
        const struct ovl *o = ovl_space_at(space, i);
        CHECK(ovl_mount(o)[0] == '/' && ovl_layers(o) > 0 && o->roots <= o->layers);
        CHECK(ovl_region_of(space, ovl_mount(o))->ovl == o);
        CHECK(ovl_space_below(space, ovl_mount(o)));
        for (unsigned k = 0; k < ovl_layers(o); k++) {
            CHECK(ovl_layer(o, k)[0] == '/');
            ssize_t n = ovl_merged_path(space, ovl_layer(o, k), buf, sizeof buf);
            CHECK(n == -ENOENT || (n > 0 && ovl_strlen(buf) == (size_t)n));
            ovl_is_protected(space, ovl_layer(o, k));
        }
        if (!ovl_is_read_only(o))
            CHECK(!ovl_is_protected(space, ovl_layer(o, 0)));
    }
    for (unsigned i = 1; i < space->regions; i++)
        CHECK(space->region[i - 1].length >= space->region[i].length);
}

/* A record as it is, of which anything may be true. */
static void read_record(const char *text)
{
    struct ovl_space *space = NULL, *again = NULL;
    int r = ovl_space_read(text, &space);
    CHECK(r == 0 || r == -EINVAL);
    if (r < 0)
        return;
    check_space(space);
    CHECK(ovl_space_read(ovl_space_record(space), &again) == 0);
    CHECK(again->ovls == space->ovls && again->regions == space->regions && again->size == space->size);
    ovl_space_close(again);
    ovl_space_close(space);
}

/* A path as the walk would leave it, whatever the text: canonical, in one component. */
static const char *canonical(struct ovl_arena *arena, const char *text)
{
    size_t n = ovl_strlen(text);
    char *path = ovl_arena_join(arena, "/x", text, NULL);
    CHECK(path);
    for (size_t i = 2; i < n + 2; i++)
        if (path[i] == '/')
            path[i] = '+';
    if (n > OVL_NAME_MAX)
        path[OVL_NAME_MAX] = '\0';
    return path;
}

/* Plans as if everything in the sections were there. */
static void invent_plans(struct ovl_plans *plans, struct ovl_config *config)
{
    plans->config = config;
    plans->plan = ovl_arena_alloc(config->arena, config->sections * sizeof *plans->plan);
    CHECK(plans->plan);
    for (const struct ovl_section *s = config->first; s; s = s->next) {
        struct ovl_plan *plan = &plans->plan[plans->count++];
        const struct ovl_value *upper = ovl_config_value(s, OVL_KEY_UPPER);
        plan->section = s;
        plan->mount = canonical(config->arena, ovl_config_value(s, OVL_KEY_MOUNT)->text);
        plan->layer = ovl_arena_alloc(config->arena, (s->key[OVL_KEY_LOWER].count + 1) * sizeof *plan->layer);
        CHECK(plan->layer);
        plan->has_upper = upper != NULL;
        if (upper)
            plan->layer[plan->layers++].path = plan->work = canonical(config->arena, upper->text);
        for (const struct ovl_value *v = s->key[OVL_KEY_LOWER].first; v; v = v->next) {
            plan->layer[plan->layers].st.st_dev = plan->layers / 2;
            plan->layer[plan->layers].borrowed = plan->layers % 3 == 2;
            plan->layer[plan->layers++].path = canonical(config->arena, v->text);
        }
        plan->roots = plan->layers;
        plan->static_allow = s->key[OVL_KEY_STATIC_ALLOW];
    }
}

/* Whether the space's layers are those of the plan: the record may refuse too many, and two with one mount. */
static void check_record(struct ovl_config *config, const char *conf)
{
    struct ovl_plans plans = {.count = 0};
    struct ovl_space *space = NULL;
    invent_plans(&plans, config);
    char *record = ovl_record_write(config->arena, &plans, conf);
    CHECK(record);
    for (const char *p = record; *p; p++)
        CHECK((unsigned char)*p >= ' ' && *p != 0x7f);
    if (ovl_space_read(record, &space) < 0)
        return;
    check_space(space);
    CHECK(ovl_streq(ovl_space_conf(space), conf) && space->ovls == plans.count);
    for (unsigned i = 0; i < plans.count; i++) {
        const struct ovl *o = &space->ovl[i];
        const struct ovl_plan *plan = &plans.plan[i];
        CHECK(ovl_streq(o->mount, plan->mount) && ovl_streq(o->name, plan->section->name));
        CHECK(o->layers == plan->layers && o->has_upper == plan->has_upper);
        for (unsigned k = 0; k < o->layers; k++)
            CHECK(ovl_streq(o->layer[k].path, plan->layer[k].path) && o->layer[k].dev == plan->layer[k].st.st_dev);
    }
    ovl_space_close(space);
}

static void parse(const char *text, size_t n, const char *folder)
{
    struct ovl_arena arena = {NULL};
    struct ovl_message why = {""};
    struct ovl_config config = {
        .arena = &arena, .why = &why, .where = folder ? "/etc/x.ini" : "OVL_CONF", .folder = folder};
    int r = ovl_config_parse(&config, text, n);
    CHECK(r == 0 || r == -EINVAL);
    if (r < 0) {
        check_message(&why);
    } else {
        CHECK(config.sections > 0);
        check_record(&config, text);
    }
    ovl_arena_free(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char *const env[] = {"HOME=/home/me", "EMPTY=", "LIST=/a:/b\\,", NULL};
    char *text = malloc(size + 1);
    CHECK(text);
    memcpy(text, data, size);
    text[size] = '\0';
    ovl_config_environ(env);
    parse(text, size, NULL);
    parse(text, size, "/etc");
    read_record(text);
    free(text);
    return 0;
}
