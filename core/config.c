/* SPDX-License-Identifier: MIT
 *
 * The text of a configuration: overlayfs mount options in one line, or INI (CONTRACT 1.2 to 1.5).
 *
 * Both forms end in the same sections of unescaped, expanded values.  What must hold: the file system is
 * not asked, any bytes are survived, nothing that is not understood is ignored.
 */
#include "config.h"

enum kind { KIND_PATH, KIND_PATHS, KIND_WORD };

struct key {
    const char *name;
    const char *word[3]; /* in the order of the enumeration that it stands for */
    const char *words;
    enum kind kind;
    unsigned usual;
};

static const struct key keys[OVL_KEYS] = {
    [OVL_KEY_MOUNT] = {.name = "mount", .kind = KIND_PATH},
    [OVL_KEY_LOWER] = {.name = "lowerdir", .kind = KIND_PATHS},
    [OVL_KEY_UPPER] = {.name = "upperdir", .kind = KIND_PATH},
    [OVL_KEY_WORK] = {.name = "workdir", .kind = KIND_PATH},
    [OVL_KEY_EXCLUDE] = {.name = "exclude", .kind = KIND_PATHS},
    [OVL_KEY_WHITEOUT] = {"whiteout", {"oci", "kernel"}, "'oci' or 'kernel'", KIND_WORD, OVL_WHITEOUT_OCI},
    [OVL_KEY_READDIR] = {"readdir", {"sorted", "native"}, "'sorted' or 'native'", KIND_WORD, 0},
    [OVL_KEY_STATIC] = {"static", {"allow", "warn", "deny"}, "'deny', 'warn' or 'allow'", KIND_WORD, OVL_STATIC_DENY},
    [OVL_KEY_STATIC_ALLOW] = {.name = "static-allow", .kind = KIND_PATHS},
    [OVL_KEY_VOLATILE] = {"volatile", {"off", "on"}, "'off' or 'on'", KIND_WORD, 0},
    [OVL_KEY_PATCH] = {"patch", {"auto", "off", "require"}, "'auto', 'off' or 'require'", KIND_WORD, OVL_PATCH_AUTO},
    [OVL_KEY_GUARD] = {"guard", {"off", "landlock"}, "'off' or 'landlock'", KIND_WORD, OVL_GUARD_OFF},
};

/* Bytes of the text that is being parsed. */
struct span {
    const char *at;
    size_t n;
};

struct parser {
    struct ovl_config *config;
    struct ovl_section *section;
    unsigned line;
    bool has_lower; /* the section has a plain lowerdir */
};

static char *const *environment;

void ovl_config_environ(char *const *env)
{
    environment = env;
}

const char *ovl_key_name(enum ovl_key key)
{
    return keys[key].name;
}

int ovl_key_choice(enum ovl_key key, const char *text)
{
    for (size_t i = 0; i < sizeof keys[key].word / sizeof *keys[key].word && keys[key].word[i]; i++)
        if (ovl_streq(text, keys[key].word[i]))
            return (int)i;
    return -EINVAL;
}

const char *ovl_key_word(enum ovl_key key, unsigned choice)
{
    return keys[key].word[choice];
}

const char *ovl_config_word(const struct ovl_section *s, enum ovl_key key)
{
    return s->key[key].first ? s->key[key].first->text : keys[key].word[keys[key].usual];
}

static bool is_file(const struct parser *p)
{
    return p->config->folder != NULL;
}

/* A copy for a message. */
static const char *shown(struct parser *p, struct span s)
{
    const char *copy = ovl_arena_copy(p->config->arena, s.at, s.n);
    return copy ? copy : "";
}

static int refuse(struct parser *p, enum ovl_key key, struct span raw, const char *problem)
{
    const struct ovl_value value = {.text = shown(p, raw), .line = p->line};
    return ovl_refuse(p->config, key, &value, problem, NULL);
}

/* ---- values -------------------------------------------------------------------------------------- */

static const char *variable(struct span name)
{
    for (char *const *env = environment; env && *env; env++) {
        size_t i = 0;
        while (i < name.n && (*env)[i] == name.at[i])
            i++;
        if (i == name.n && (*env)[i] == '=')
            return *env + i + 1;
    }
    return NULL;
}

static bool is_variable_name(struct span name)
{
    for (size_t i = 0; i < name.n; i++) {
        char c = name.at[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        if (!letter && !(i && c >= '0' && c <= '9'))
            return false;
    }
    return name.n > 0;
}

/* The value of ${NAME} at raw.at + at, and the length of that text in *used; NULL with a message. */
static const char *expand(struct parser *p, enum ovl_key key, struct span raw, size_t at, size_t *used)
{
    size_t end = at + 2;
    while (end < raw.n && raw.at[end] != '}')
        end++;
    struct span name = {raw.at + at + 2, end - at - 2};
    if (end == raw.n || !is_variable_name(name)) {
        refuse(p, key, raw, "'${' begins no ${NAME}; write '\\$' for a dollar sign");
        return NULL;
    }
    *used = end + 1 - at;
    const char *value = variable(name);
    if (!value)
        ovl_message_set(p->config->why, p->config->where, p->line, keys[key].name, "=", shown(p, raw),
                        ": the variable ", shown(p, name), " is not set; set it or write its value", NULL);
    return value;
}

static bool is_escaped(const struct parser *p, struct span raw, size_t at)
{
    if (at + 1 == raw.n)
        return false;
    char c = raw.at[at + 1];
    return c == ',' || c == ':' || c == ';' || c == '\\' || (c == '$' && is_file(p));
}

/* Unescape and expand raw into out; only count if out is NULL. The length, or an error with its message. */
static ssize_t decode(struct parser *p, enum ovl_key key, struct span raw, char *out)
{
    size_t length = 0;
    for (size_t at = 0; at < raw.n;) {
        const char *from = raw.at + at;
        size_t n = 1, used = 1;
        if (*from == '\\') {
            if (!is_escaped(p, raw, at))
                return refuse(p, key, raw,
                              is_file(p) ? "a backslash stands only before , : ; $ and \\"
                                         : "a backslash stands only before , : ; and \\");
            from++;
            used = 2;
        } else if (is_file(p) && *from == '$' && at + 1 < raw.n && from[1] == '{') {
            from = expand(p, key, raw, at, &used);
            if (!from)
                return -EINVAL;
            n = ovl_strlen(from);
        } else if (is_file(p) && at == 0 && *from == '~' && raw.n > 1 && from[1] == '/') {
            from = variable((struct span){"HOME", 4});
            if (!from)
                return refuse(p, key, raw, "'~/' needs the variable HOME; set it or write an absolute path");
            n = ovl_strlen(from);
        }
        if (out)
            memcpy(out + length, from, n);
        length += n;
        at += used;
    }
    return (ssize_t)length;
}

/* The text of a path as it counts: relative ones of a file begin in its folder. */
static const char *complete_path(struct parser *p, enum ovl_key key, struct span raw, const char *path)
{
    if (ovl_strlen(path) >= OVL_REAL_MAX) {
        refuse(p, key, raw, "too long; a path has 4095 bytes at most");
        return NULL;
    }
    if (path[0] == '/' || key == OVL_KEY_EXCLUDE)
        return path;
    if (!is_file(p)) {
        refuse(p, key, raw, "not an absolute path; paths in OVL_CONF begin with '/'");
        return NULL;
    }
    if (key == OVL_KEY_MOUNT) {
        refuse(p, key, raw, "not an absolute path; a mount begins with '/'");
        return NULL;
    }
    path = ovl_arena_join(p->config->arena, p->config->folder, "/", path, NULL);
    if (!path)
        ovl_refuse_no_memory(p->config);
    return path;
}

static int add_value(struct parser *p, enum ovl_key key, struct span raw)
{
    ssize_t n = decode(p, key, raw, NULL);
    if (n < 0)
        return (int)n;
    if (n == 0)
        return refuse(p, key, raw, "empty; give a value or leave the key out");
    struct ovl_value *value = ovl_arena_alloc(p->config->arena, sizeof *value);
    char *text = ovl_arena_alloc(p->config->arena, (size_t)n + 1);
    if (!value || !text)
        return ovl_refuse_no_memory(p->config);
    decode(p, key, raw, text);
    value->text = text;
    value->line = p->line;
    if (keys[key].kind != KIND_WORD) {
        value->text = complete_path(p, key, raw, text);
        if (!value->text)
            return -EINVAL;
    } else if (ovl_key_choice(key, text) < 0) {
        return ovl_refuse(p->config, key, value, "unknown value; it is ", keys[key].words, NULL);
    }
    struct ovl_values *values = &p->section->key[key];
    *(values->last ? &values->last->next : &values->first) = value;
    values->last = value;
    values->count++;
    return 0;
}

static size_t end_of(struct span s, const char *separators)
{
    for (size_t i = 0; i < s.n; i++) {
        if (s.at[i] == '\\')
            i++;
        else if (s.at[i] && ovl_strchr(separators, s.at[i]))
            return i;
    }
    return s.n;
}

static struct span rest_from(struct span s, size_t at)
{
    return at < s.n ? (struct span){s.at + at, s.n - at} : (struct span){s.at + s.n, 0};
}

static int add_list(struct parser *p, enum ovl_key key, struct span raw)
{
    for (struct span rest = raw;;) {
        size_t n = end_of(rest, ":");
        if (n == 0 && raw.n > 0)
            return refuse(p, key, raw, "a path is empty; write '\\:' for a colon that belongs to a path");
        int r = add_value(p, key, (struct span){rest.at, n});
        if (r < 0 || n == rest.n)
            return r;
        rest = rest_from(rest, n + 1);
    }
}

/* ---- KEY=VALUE ----------------------------------------------------------------------------------- */

static bool span_is(struct span s, const char *text)
{
    return s.n == ovl_strlen(text) && memcmp(s.at, text, s.n) == 0;
}

static int find_key(struct parser *p, struct span name, enum ovl_key *key)
{
    for (unsigned i = 0; i < OVL_KEYS; i++)
        if (span_is(name, keys[i].name)) {
            *key = (enum ovl_key)i;
            return 0;
        }
    return ovl_message_set(p->config->why, p->config->where, p->line, "unknown key '", shown(p, name),
                           "'; the keys are mount, lowerdir, upperdir, workdir, exclude, whiteout, readdir, static, "
                           "static-allow, volatile, patch and guard",
                           NULL);
}

static int refuse_repeated(struct parser *p, enum ovl_key key)
{
    const char *better = key == OVL_KEY_LOWER           ? "separate layers by ':' or append them with lowerdir+="
                         : keys[key].kind == KIND_PATHS ? "separate paths by ':'"
                                                        : "leave one of them out";
    return ovl_message_set(p->config->why, p->config->where, p->line, "key '", keys[key].name,
                           "' is given twice for one overlay; ", better, NULL);
}

static int add_pair(struct parser *p, struct span name, struct span value)
{
    enum ovl_key key = OVL_KEY_LOWER;
    if (span_is(name, "lowerdir+"))
        return add_value(p, key, value);
    int r = find_key(p, name, &key);
    if (r < 0)
        return r;
    bool again = key == OVL_KEY_LOWER ? p->has_lower && !is_file(p) : p->section->key[key].count > 0;
    if (again)
        return refuse_repeated(p, key);
    if (key == OVL_KEY_LOWER)
        p->has_lower = true;
    return keys[key].kind == KIND_PATHS ? add_list(p, key, value) : add_value(p, key, value);
}

static int begin_section(struct parser *p, const char *name)
{
    struct ovl_config *config = p->config;
    if (config->sections == OVL_OVERLAYS_MAX)
        return ovl_message_set(config->why, config->where, p->line, "more than 256 overlays; leave some out", NULL);
    struct ovl_section *section = ovl_arena_alloc(config->arena, sizeof *section);
    if (!section || !name)
        return ovl_refuse_no_memory(config);
    for (const struct ovl_section *s = config->first; s; s = s->next)
        if (*name && ovl_streq(s->name, name))
            return ovl_message_set(config->why, config->where, p->line, "two overlays are named '", name,
                                   "'; give each a name of its own", NULL);
    section->name = name;
    section->line = p->line;
    *(config->last ? &config->last->next : &config->first) = section;
    config->last = section;
    config->sections++;
    p->section = section;
    p->has_lower = false;
    return 0;
}

static int check_sections(const struct ovl_config *config)
{
    if (!config->first)
        return ovl_message_set(config->why, config->where, 0,
                               config->folder ? "no overlay; add a section [overlay] with mount= and lowerdir="
                                              : "no overlay; write mount=/PATH,lowerdir=/PATH",
                               NULL);
    for (const struct ovl_section *s = config->first; s; s = s->next) {
        const struct ovl_value *mount = ovl_config_value(s, OVL_KEY_MOUNT);
        if (!mount)
            return ovl_message_set(config->why, config->where, s->line,
                                   "an overlay has no mount; add mount= and the absolute path where it is to be seen",
                                   NULL);
        if (!ovl_config_value(s, OVL_KEY_LOWER))
            return ovl_message_set(config->why, config->where, s->line, "the overlay of mount=", mount->text,
                                   " has no lower layer; add lowerdir= and one or more directories", NULL);
    }
    return 0;
}

/* ---- the inline form ------------------------------------------------------------------------------ */

static int parse_option(struct parser *p, struct span option)
{
    size_t equals = 0;
    while (equals < option.n && option.at[equals] != '=')
        equals++;
    if (equals == option.n)
        return ovl_message_set(p->config->why, p->config->where, 0, "'", shown(p, option),
                               "' has no '='; options are KEY=VALUE, a comma in a value is '\\,'", NULL);
    int r = p->section ? 0 : begin_section(p, "");
    return p->section ? add_pair(p, (struct span){option.at, equals}, rest_from(option, equals + 1)) : r;
}

static int parse_inline(struct parser *p, struct span rest)
{
    int r = 0;
    while (r == 0 && rest.n > 0) {
        size_t n = end_of(rest, ",;");
        if (n > 0)
            r = parse_option(p, (struct span){rest.at, n});
        if (n < rest.n && rest.at[n] == ';')
            p->section = NULL;
        rest = rest_from(rest, n + 1);
    }
    return r;
}

/* ---- the file form -------------------------------------------------------------------------------- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static struct span trim(struct span s)
{
    while (s.n > 0 && is_blank(s.at[s.n - 1]))
        s.n--;
    while (s.n > 0 && is_blank(*s.at)) {
        s.at++;
        s.n--;
    }
    return s;
}

static int parse_header(struct parser *p, struct span line)
{
    static const char word[] = "overlay";
    const size_t length = sizeof word - 1;
    struct span inner = {line.at + 1, line.n - 1};
    bool closed = inner.n > 0 && inner.at[inner.n - 1] == ']';
    if (closed)
        inner.n--;
    inner = trim(inner);
    bool named = inner.n > length && is_blank(inner.at[length]);
    bool right = closed && inner.n >= length && memcmp(inner.at, word, length) == 0 && (inner.n == length || named);
    struct span name = trim(rest_from(inner, length));
    for (size_t i = 0; i < name.n; i++)
        right = right && name.at[i] != ']' && name.at[i] != '[';
    if (!right)
        return ovl_message_set(p->config->why, p->config->where, p->line, "'", shown(p, line),
                               "' begins no section; write [overlay] or [overlay NAME] on a line of its own", NULL);
    return begin_section(p, ovl_arena_copy(p->config->arena, name.at, name.n));
}

static int parse_line(struct parser *p, struct span line)
{
    line = trim(line);
    if (line.n == 0 || *line.at == '#' || *line.at == ';')
        return 0;
    if (*line.at == '[')
        return parse_header(p, line);
    size_t equals = 0;
    while (equals < line.n && line.at[equals] != '=')
        equals++;
    if (equals == line.n)
        return ovl_message_set(p->config->why, p->config->where, p->line, "'", shown(p, line),
                               "' has no '='; lines are KEY=VALUE, [overlay NAME], or comments that begin with '#'",
                               NULL);
    struct span name = trim((struct span){line.at, equals});
    if (!p->section)
        return ovl_message_set(p->config->why, p->config->where, p->line, "key '", shown(p, name),
                               "' stands before the first section; begin with a line [overlay]", NULL);
    return add_pair(p, name, trim(rest_from(line, equals + 1)));
}

static int parse_file(struct parser *p, struct span rest)
{
    int r = 0;
    if (rest.n >= 3 && memcmp(rest.at, "\xef\xbb\xbf", 3) == 0)
        rest = rest_from(rest, 3); /* a byte order mark */
    while (r == 0 && rest.n > 0) {
        size_t n = 0;
        while (n < rest.n && rest.at[n] != '\n')
            n++;
        p->line++;
        if (n >= OVL_CONFIG_LINE_MAX)
            return ovl_message_set(p->config->why, p->config->where, p->line,
                                   "the line is longer than 1 MiB; repeat lowerdir= for more layers", NULL);
        r = parse_line(p, (struct span){rest.at, n});
        rest = rest_from(rest, n + 1);
    }
    return r;
}

int ovl_config_parse(struct ovl_config *config, const char *text, size_t n)
{
    struct parser p = {.config = config};
    unsigned line = config->folder ? 1 : 0;
    for (size_t i = 0; i < n; i++) {
        if (!text[i])
            return ovl_message_set(config->why, config->where, line, "a NUL byte; a configuration is text", NULL);
        if (line && text[i] == '\n')
            line++;
    }
    int r = config->folder ? parse_file(&p, (struct span){text, n}) : parse_inline(&p, (struct span){text, n});
    return r < 0 ? r : check_sections(config);
}
