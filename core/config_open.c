/* SPDX-License-Identifier: MIT
 *
 * Opening a space: from what OVL_CONF holds, or from the record that another process has made of it.
 */
#include "config.h"

#define INLINE_NAME "OVL_CONF"

/* CONTRACT 1.2: '=' before the first '/'. */
static bool is_inline(const char *conf)
{
    while (*conf && *conf != '/' && *conf != '=')
        conf++;
    return *conf == '=';
}

/* ---- the file ----------------------------------------------------------------------------------------------- */

static int refuse_file(const struct ovl_config *config, const char *conf, const char *problem)
{
    return ovl_message_set(config->why, INLINE_NAME, 0, "the configuration file ", conf, " can't be read: ", problem,
                           "; name a readable file, or write mount=/PATH,lowerdir=/PATH", NULL);
}

/* The whole file, which may be a pipe. */
static int read_config(struct ovl_config *config, const char *conf, const char **text, size_t *n)
{
    size_t size = (size_t)64 << 10, length = 0;
    ssize_t r = 1;
    int fd = ovl_sys_open(AT_FDCWD, conf, O_RDONLY | O_CLOEXEC | O_NOCTTY, 0);
    if (fd < 0)
        return refuse_file(config, conf, ovl_error_text(fd));
    char *buf = ovl_arena_alloc(config->arena, size);
    while (buf && r > 0 && length <= OVL_CONFIG_FILE_MAX) {
        r = ovl_sys_read(fd, buf + length, size - length);
        length += r > 0 ? (size_t)r : 0;
        r = r == -EINTR ? 1 : r;
        if (length < size)
            continue;
        char *larger = ovl_arena_alloc(config->arena, size *= 2);
        if (larger)
            memcpy(larger, buf, length);
        buf = larger;
    }
    ovl_sys_close(fd);
    if (!buf)
        return ovl_refuse_no_memory(config);
    if (r < 0)
        return refuse_file(config, conf, ovl_error_text((int)r));
    if (length > OVL_CONFIG_FILE_MAX)
        return refuse_file(config, conf, "larger than 16 MiB");
    *text = buf;
    *n = length;
    return 0;
}

/* The folder that relative paths of the file begin in. */
static int find_folder(struct ovl_config *config, const char *conf)
{
    struct ovl_walk walk;
    char *cwd = ovl_arena_alloc(config->arena, OVL_REAL_MAX);
    if (!cwd || ovl_walk_init(&walk, config->arena) < 0)
        return ovl_refuse_no_memory(config);
    const char *slash = ovl_strrchr(conf, '/');
    const char *folder = slash ? ovl_arena_copy(config->arena, conf, (size_t)(slash + 1 - conf)) : "";
    int r = 0;
    if (conf[0] != '/') {
        r = (int)ovl_sys_getcwd(cwd, OVL_REAL_MAX);
        if (r >= 0 && cwd[0] != '/')
            r = -ENOENT; /* "(unreachable)" */
        folder = folder ? ovl_arena_join(config->arena, cwd, "/", folder, NULL) : NULL;
    }
    if (r >= 0 && folder)
        r = ovl_walk(&walk, folder);
    if (r < 0)
        return refuse_file(config, conf, ovl_error_text(r));
    config->folder = walk.path;
    return folder ? 0 : ovl_refuse_no_memory(config);
}

static int parse(struct ovl_config *config, const char *conf)
{
    config->where = INLINE_NAME;
    if (is_inline(conf))
        return ovl_config_parse(config, conf, ovl_strlen(conf));
    const char *text = NULL;
    size_t n = 0;
    int r = read_config(config, conf, &text, &n);
    if (r == 0)
        r = find_folder(config, conf);
    config->where = conf;
    return r < 0 ? r : ovl_config_parse(config, text, n);
}

/* ---- the space ---------------------------------------------------------------------------------------------- */

/* Map what processes share before any can be forked: it shows that they take part in the run (config_run.c). */
static void attach(struct ovl_space *space)
{
    for (unsigned i = 0; i < space->ovls; i++)
        ovl_shared(&space->ovl[i]);
}

static void look_only(struct ovl_space *space)
{
    for (unsigned i = 0; i < space->ovls; i++)
        space->ovl[i].looks = true;
}

static int make_space(const struct ovl_plans *plans, const char *conf, struct ovl_space **space)
{
    char *record = ovl_record_write(plans->config->arena, plans, conf);
    if (!record)
        return ovl_refuse_no_memory(plans->config);
    if (ovl_strlen(record) > OVL_RECORD_MAX)
        return ovl_message_set(plans->config->why, plans->config->where, 0,
                               "the layers' paths are too long to be handed on in the environment (1200 KiB in all); "
                               "use shorter paths, or fewer layers",
                               NULL);
    int r = ovl_space_read(record, space);
    if (r == -EINVAL)
        return ovl_message_set(plans->config->why, INLINE_NAME, 0,
                               "libovl can't read its own record of it; please report this as a bug", NULL);
    if (r < 0)
        return ovl_refuse_no_memory(plans->config);
    if (plans->config->looks)
        look_only(*space);
    else
        attach(*space);
    return 0;
}

static int open_space(const char *conf, bool looks, struct ovl_space **space, struct ovl_message *why)
{
    struct ovl_arena arena = {NULL};
    struct ovl_config config = {.arena = &arena, .why = why, .looks = looks};
    struct ovl_plans plans;
    why->text[0] = '\0';
    int r = parse(&config, conf);
    if (r == 0)
        r = ovl_plans_resolve(&plans, &config);
    if (r == 0)
        r = make_space(&plans, conf, space);
    ovl_arena_free(&arena);
    return r;
}

int ovl_space_open(const char *conf, struct ovl_space **space, struct ovl_message *why)
{
    return open_space(conf, false, space, why);
}

int ovl_space_look(const char *conf, struct ovl_space **space, struct ovl_message *why)
{
    return open_space(conf, true, space, why);
}

int ovl_space_import(const char *record, struct ovl_space **space, struct ovl_message *why)
{
    int r = ovl_space_read(record, space);
    if (r < 0)
        ovl_message_set(why, INLINE_NAME, 0, "the configuration handed on by the parent process ",
                        r == -ENOMEM ? "needs more memory than there is"
                                     : "is not one of this version of libovl; start again from outside the overlay",
                        NULL);
    if (r == 0)
        attach(*space);
    return r;
}
