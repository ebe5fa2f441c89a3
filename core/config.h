/* SPDX-License-Identifier: MIT
 *
 * From the text of a configuration to a space, in four steps, each of which can be tested alone:
 *
 *   text -> ovl_config_parse() -> sections of strings         config.c          no file system
 *        -> ovl_plans_resolve() -> checked, absolute plans    config_check.c    and the files it names
 *        -> ovl_record_write() -> one line of text            config_record.c   no file system
 *        -> ovl_space_read() -> a space                       space_read.c      no file system
 *
 * The process that reads the configuration makes its own space from the record too, so that a child can't
 * get another one.  What must hold: any byte string is survived, and a refusal has one line that says
 * what is wrong and what would be right.
 *
 * Decisions where the contract is silent:
 *  - `\,` `\:` `\;` `\\` (in a file also `\$`) are the only escapes, in both forms; any other backslash is
 *    an error, because it would be one of the wrong meaning.
 *  - empty options and overlays of the inline form (a trailing ',' or ';') are ignored, as mount(8) does.
 *  - a variable's value is a part of one path: it is neither split at ':' nor expanded again.
 *  - a relative `exclude` is taken from the mount, a relative `mount` is an error in both forms.
 *  - `exclude` replaces the default list.
 *  - an upper or work directory in or around another overlay's is an error.
 */
#ifndef OVL_CONFIG_H
#define OVL_CONFIG_H

#include "types.h"

/* Longest line of a configuration file, with its newline; largest file. */
#define OVL_CONFIG_LINE_MAX ((size_t)1 << 20)
#define OVL_CONFIG_FILE_MAX ((size_t)16 << 20)
/* Most overlays of one configuration. */
#define OVL_OVERLAYS_MAX 256
/* Longest part of a record that goes into an environment variable (the kernel takes 128 KiB), and longest record: with
 * it there is still room for arguments in the 2 MiB that the kernel takes in all. */
#define OVL_RECORD_PART_MAX ((size_t)100 << 10)
#define OVL_RECORD_MAX ((OVL_RECORD_PARTS - 3) * OVL_RECORD_PART_MAX) /* parts are not always full */

/* ---- config_memory.c: memory until the space is made, and messages ---------------------------- */

struct ovl_arena {
    struct ovl_chunk *chunk;
};
/* n zeroed bytes that live until the arena is freed, or NULL. */
void *ovl_arena_alloc(struct ovl_arena *arena, size_t n);
/* The n bytes at s as a string. */
char *ovl_arena_copy(struct ovl_arena *arena, const char *s, size_t n);
/* The strings in a row (the list ends with NULL) as one. */
char *ovl_arena_join(struct ovl_arena *arena, const char *first, ...) __attribute__((sentinel));
void ovl_arena_free(struct ovl_arena *arena);

/* What strerror(3) would say. */
const char *ovl_error_text(int error);
/* The start of a line: "WHERE:LINE: " or, with line 0, "WHERE: ", then the strings in a row (the list ends
 * with NULL), cut to fit and without control characters.  Returns -EINVAL. */
int ovl_message_set(struct ovl_message *why, const char *where, unsigned line, ...) __attribute__((sentinel));

/* ---- config.c: the text ------------------------------------------------------------------------ */

enum ovl_key {
    OVL_KEY_MOUNT,
    OVL_KEY_LOWER,
    OVL_KEY_UPPER,
    OVL_KEY_WORK,
    OVL_KEY_EXCLUDE,
    OVL_KEY_WHITEOUT,
    OVL_KEY_READDIR,
    OVL_KEY_STATIC,
    OVL_KEY_STATIC_ALLOW,
    OVL_KEY_VOLATILE,
    OVL_KEY_PATCH,
    OVL_KEY_GUARD,
    OVL_KEYS
};

struct ovl_value {
    const char *text; /* unescaped and expanded; a path is absolute, but for OVL_KEY_EXCLUDE */
    unsigned line;    /* 0 in the inline form */
    struct ovl_value *next;
};

/* The values of one key, in order. */
struct ovl_values {
    struct ovl_value *first, *last;
    unsigned count;
};

/* One overlay. */
struct ovl_section {
    const char *name; /* "" if it has none */
    unsigned line;
    struct ovl_values key[OVL_KEYS];
    struct ovl_section *next;
};

struct ovl_config {
    struct ovl_arena *arena;
    struct ovl_message *why;
    const char *where;  /* what messages begin with: "OVL_CONF" or the file's path */
    const char *folder; /* of the file, absolute, "" is the root; NULL: the inline form */
    struct ovl_section *first, *last;
    unsigned sections;
    bool looks; /* nothing is made: ovl_space_look() */
};

/* Parse n bytes: INI if config->folder is set, else the inline form.  arena, why, where and folder are
 * the caller's to set.  Everything that can be said without the file system is checked. */
int ovl_config_parse(struct ovl_config *config, const char *text, size_t n);
/* Refuse: "WHERE:LINE: KEY=VALUE: " and the strings in a row (the list ends with NULL). Returns -EINVAL. */
int ovl_refuse(const struct ovl_config *config, enum ovl_key key, const struct ovl_value *value, ...)
    __attribute__((sentinel));
/* Refuse for lack of memory. Returns -ENOMEM. */
int ovl_refuse_no_memory(const struct ovl_config *config);
/* The name of a key. */
const char *ovl_key_name(enum ovl_key key);
/* The one value of a key, or NULL; for a key with a list, the first. */
static inline const struct ovl_value *ovl_config_value(const struct ovl_section *s, enum ovl_key key)
{
    return s->key[key].first;
}
/* The word that a key has, or has when it is left out. */
const char *ovl_config_word(const struct ovl_section *s, enum ovl_key key);
/* What a key's word stands for: the value of its enumeration, or -EINVAL. */
int ovl_key_choice(enum ovl_key key, const char *text);
/* And back. */
const char *ovl_key_word(enum ovl_key key, unsigned choice);

/* ---- config_walk.c: canonical paths ------------------------------------------------------------- */

struct ovl_plans;
struct ovl_plan;

struct ovl_walk {
    struct ovl_plans *plans; /* NULL: only the real file system counts */
    struct ovl_plan *own;    /* the overlay whose own mount is not looked through */
    bool no_follow;          /* a symbolic link in the last component stays */
    char *path;              /* the answer: OVL_REAL_MAX bytes, "" is the root */
    size_t length;
    unsigned missing;       /* how many of its last components are not there */
    struct stat st;         /* of the object, when none is missing */
    struct ovl_plan *in;    /* the overlay whose place it is, or NULL */
    struct ovl_stack stack; /* that overlay's layers that merge to it, if it is a directory */
    /* inner */
    size_t at;  /* length of the path that `in`, `stack` and `st` are about */
    bool known; /* they are about all of it */
    char *rest, *spare;
    unsigned links;
};

/* Set up a walk's memory, from the arena of the configuration. -ENOMEM. */
int ovl_walk_init(struct ovl_walk *walk, struct ovl_arena *arena);
/* Follow an absolute path.  Missing components at its end are no error: they are normalised as text.
 * Errors are those of path_resolution(7); -EINVAL when a message is set. */
int ovl_walk(struct ovl_walk *walk, const char *path);

/* ---- config_check.c: the plan ------------------------------------------------------------------- */

struct ovl_plan_layer {
    const char *path; /* canonical, "" is the root */
    size_t length;
    struct stat st;
    const struct ovl_plan *upper_of; /* it lies in that overlay's upper, for which it stands in */
    bool borrowed;                   /* it stands for a place in another overlay (CONTRACT 1.9) */
    bool missing;                    /* an upper that is to be made */
};

/* One overlay, resolved. Paths are canonical, "" is the root. */
struct ovl_plan {
    const struct ovl_section *section;
    const char *mount;
    size_t mount_length;
    struct ovl_plan_layer *layer; /* 0 is the upper, if has_upper */
    unsigned layers, roots;
    bool has_upper;
    bool impure;      /* so the mount's directory: see struct ovl_stack */
    const char *work; /* NULL: none */
    size_t work_length;
    bool work_is_default;
    struct ovl_values exclude, static_allow; /* merged paths */
    enum { OVL_LOWERS_UNKNOWN, OVL_LOWERS_WANTED, OVL_LOWERS_KNOWN } lowers;
    const struct ovl_value *wanted; /* the lower layer that is being resolved */
};

struct ovl_plans {
    struct ovl_config *config;
    struct ovl_plan *plan; /* after ovl_plans_resolve(): longest mount first */
    unsigned count;
    struct ovl_ctx ctx; /* for the questions that whiteout.c answers */
};

/* Resolve and check everything; make the upper and work directories. */
int ovl_plans_resolve(struct ovl_plans *plans, struct ovl_config *config);
/* The overlay whose part of the name space a canonical path is, or NULL: a path outside, an exclude, an
 * upper or a work directory. */
struct ovl_plan *ovl_plan_of(const struct ovl_plans *plans, const char *path);

/* ---- config_layers.c: lower layers -------------------------------------------------------------- */

/* Resolve the lower layers of a plan, those of overlays that it borrows from first. */
int ovl_plan_lowers(struct ovl_plans *plans, struct ovl_plan *plan);

/* ---- config_work.c: upper and work directories ------------------------------------------------- */

/* Find out where they are, without making anything. */
int ovl_plan_upper(struct ovl_plans *plans, struct ovl_plan *plan);
int ovl_plan_work(struct ovl_plans *plans, struct ovl_plan *plan);
/* Make the upper if it is missing, and find out whether it can be written. */
int ovl_plan_make_upper(struct ovl_plans *plans, struct ovl_plan *plan);
/* Make the work directory if it is missing, and what is in it. */
int ovl_plan_make_work(struct ovl_plans *plans, struct ovl_plan *plan);
/* Refuse the work directory, whether it was named or follows from the upper. Returns -EINVAL. */
int ovl_refuse_work(const struct ovl_plans *plans, const struct ovl_plan *plan, const char *problem, const char *more);

/* ---- config_run.c: runs that use a work directory ----------------------------------------------- */

/* Enter this process as one that uses the plan's work directory; refused while a living run uses it with
 * other layers or another whiteout form.  -ESTALE: upper or work directory were removed meanwhile. */
int ovl_plan_enter_run(struct ovl_plans *plans, const struct ovl_plan *plan);

/* ---- config_record.c: the record ---------------------------------------------------------------- */

#define OVL_RECORD_MAGIC "ovl2"

/* The record of checked plans, in the arena: the whole text, however long. NULL without memory. */
char *ovl_record_write(struct ovl_arena *arena, const struct ovl_plans *plans, const char *conf);
/* `path` as it stands in a record. NULL without memory. */
char *ovl_record_escape(struct ovl_arena *arena, const char *path);

/* ---- space_read.c: from the record to the space ---------------------------------------------------- */

/* A space from a record, which is not used later. -EINVAL, -ENOMEM. */
int ovl_space_read(const char *record, struct ovl_space **space);

/* ---- space.c -------------------------------------------------------------------------------------- */

/* Sort the regions: longest path first. */
void ovl_regions_sort(struct ovl_region *region, unsigned n);

#endif
