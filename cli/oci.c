/* SPDX-License-Identifier: MIT
 *
 * Images: the OCI image specification (image-layout.md, image-index.md, manifest.md, config.md), and the archives of
 * `docker save`, which have a manifest.json.
 */
#include "oci.h"

#include "output.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>

#define TEXT_MAX ((size_t)4 << 20) /* of an index, a manifest, a configuration */
#define LAYERS_MAX 1000            /* that fit into one overlay */
#define NESTED_MAX 4               /* indexes in indexes */
#define REF_NAME "org.opencontainers.image.ref.name"

/* The directory or archive that an image is in. */
struct container {
    const char *path;
    bool is_dir;
};

/* ---- JSON -------------------------------------------------------------------------------------------------- */

static int malformed(const struct container *c, const char *what)
{
    complain("%s: its %s is not as it should be; the image is damaged, or of a kind that is not known", c->path, what);
    return -1;
}

static struct json_object *member(struct json_object *o, const char *key, enum json_type type)
{
    struct json_object *value = NULL;
    if (!json_object_is_type(o, json_type_object) || !json_object_object_get_ex(o, key, &value))
        return NULL;
    return json_object_is_type(value, type) ? value : NULL;
}

static const char *string(struct json_object *o, const char *key)
{
    struct json_object *value = member(o, key, json_type_string);
    return value ? json_object_get_string(value) : NULL;
}

static size_t length(struct json_object *array)
{
    return array ? json_object_array_length(array) : 0;
}

/* ---- blobs ------------------------------------------------------------------------------------------------- */

static struct blob blob_in(const struct container *c, const char *name)
{
    struct blob blob = {.size = -1};
    blob.file = c->is_dir ? text("%s/%s", c->path, name) : text("%s", c->path);
    blob.member = c->is_dir ? NULL : text("%s", name);
    return blob;
}

/* The digits of a digest, or NULL; as they become part of a path, nothing else may be in there. */
static const char *digits_of(const char *digest)
{
    if (!digest || strncmp(digest, "sha256:", 7) != 0)
        return NULL;
    const char *digits = digest + 7;
    return strlen(digits) == 64 && strspn(digits, "0123456789abcdef") == 64 ? digits : NULL;
}

/* What a descriptor stands for: 0, or -1 after a message. */
static int blob_of(const struct container *c, struct json_object *descriptor, struct blob *blob)
{
    const char *digits = digits_of(string(descriptor, "digest"));
    struct json_object *size = member(descriptor, "size", json_type_int);
    if (!digits)
        return malformed(c, "digest of a blob (only sha256 is known)");
    char *name = text("blobs/sha256/%s", digits);
    *blob = blob_in(c, name);
    blob->digest = text("%s", digits);
    blob->size = size ? json_object_get_int64(size) : -1;
    free(name);
    return 0;
}

static struct json_object *parse(const struct container *c, const struct blob *blob, const char *what, bool must_be)
{
    char *made = blob_text(blob, TEXT_MAX, must_be);
    if (!made)
        return NULL;
    struct json_object *parsed = json_tokener_parse(made);
    free(made);
    if (!parsed)
        malformed(c, what);
    return parsed;
}

static struct json_object *parse_descriptor(const struct container *c, struct json_object *descriptor, const char *what)
{
    struct blob blob;
    if (blob_of(c, descriptor, &blob) < 0)
        return NULL;
    struct json_object *parsed = parse(c, &blob, what, true);
    blob_free(&blob);
    return parsed;
}

static struct json_object *parse_name(const struct container *c, const char *name, bool must_be)
{
    struct blob blob = blob_in(c, name);
    struct json_object *parsed = parse(c, &blob, name, must_be);
    blob_free(&blob);
    return parsed;
}

static void add_layer(struct image *image, struct blob blob)
{
    image->layer = need(realloc(image->layer, (image->count + 1) * sizeof *image->layer));
    image->layer[image->count++] = blob;
}

void image_free(struct image *image)
{
    for (size_t i = 0; i < image->count; i++)
        blob_free(&image->layer[i]);
    free(image->layer);
    *image = (struct image){.layer = NULL};
}

/* ---- configurations ---------------------------------------------------------------------------------------- */

/* Each layer's diff-id, of which there must be as many. */
static int take_diff_ids(const struct container *c, struct image *image, size_t first, struct json_object *config)
{
    struct json_object *ids = member(member(config, "rootfs", json_type_object), "diff_ids", json_type_array);
    if (length(ids) != image->count - first)
        return malformed(c, "list of diff-ids");
    for (size_t i = first; i < image->count; i++) {
        struct json_object *id = json_object_array_get_idx(ids, i - first);
        const char *digits = digits_of(json_object_is_type(id, json_type_string) ? json_object_get_string(id) : NULL);
        if (!digits)
            return malformed(c, "diff-id");
        image->layer[i].diff_id = text("%s", digits);
    }
    return 0;
}

static bool is_config_of_image(struct json_object *descriptor)
{
    const char *type = string(descriptor, "mediaType");
    return type && (strstr(type, "image.config") || strstr(type, "container.image"));
}

/* ---- manifests --------------------------------------------------------------------------------------------- */

static int read_manifest(const struct container *c, struct image *image, struct json_object *manifest)
{
    struct json_object *layers = member(manifest, "layers", json_type_array);
    struct json_object *about = member(manifest, "config", json_type_object);
    size_t first = image->count;
    if (!layers || !about || length(layers) > LAYERS_MAX)
        return malformed(c, "manifest");
    for (size_t i = 0; i < length(layers); i++) {
        struct blob blob;
        if (blob_of(c, json_object_array_get_idx(layers, i), &blob) < 0)
            return -1;
        add_layer(image, blob);
    }
    if (!is_config_of_image(about))
        return 0;
    struct json_object *config = parse_descriptor(c, about, "configuration");
    int r = config ? take_diff_ids(c, image, first, config) : -1;
    json_object_put(config);
    return r;
}

/* ---- indexes ----------------------------------------------------------------------------------------------- */

static bool is_of_this_machine(struct json_object *descriptor)
{
    static const struct {
        const char *machine, *architecture;
    } names[] = {{"x86_64", "amd64"}, {"aarch64", "arm64"}};
    struct json_object *platform = member(descriptor, "platform", json_type_object);
    const char *of = string(platform, "architecture"), *os = string(platform, "os");
    struct utsname u;
    if (os && strcmp(os, "linux") != 0)
        return false;
    if (!of || uname(&u) < 0)
        return true;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i].machine, u.machine) == 0)
            return strcmp(names[i].architecture, of) == 0;
    return strcmp(u.machine, of) == 0;
}

static const char *ref_of(struct json_object *descriptor)
{
    return string(member(descriptor, "annotations", json_type_object), REF_NAME);
}

static bool is_wanted(struct json_object *descriptor, const char *name)
{
    const char *ref = ref_of(descriptor);
    return name ? ref && strcmp(ref, name) == 0 : is_of_this_machine(descriptor);
}

/* The one descriptor that is meant, or NULL after a message. */
static struct json_object *choose(const struct container *c, struct json_object *manifests, const char *name)
{
    struct json_object *chosen = NULL;
    size_t found = 0;
    for (size_t i = 0; i < length(manifests); i++) {
        struct json_object *descriptor = json_object_array_get_idx(manifests, i);
        if (!json_object_is_type(descriptor, json_type_object) || !is_wanted(descriptor, name))
            continue;
        chosen = descriptor;
        found++;
    }
    if (found == 1)
        return chosen;
    if (found == 0 && name)
        complain("%s has no image '%s'", c->path, name);
    else if (found == 0)
        complain("%s has no image for this machine", c->path);
    else
        complain("%s has %zu images; say which with --image TAG", c->path, found);
    for (size_t i = 0; i < length(manifests); i++)
        if (ref_of(json_object_array_get_idx(manifests, i)))
            tell("  there is '%s'", ref_of(json_object_array_get_idx(manifests, i)));
    return NULL;
}

/* An index leads to a manifest, or to another index. */
static int read_index(const struct container *c, struct image *image, struct json_object *index, const char *name,
                      int depth)
{
    struct json_object *manifests = member(index, "manifests", json_type_array);
    if (!manifests)
        return member(index, "layers", json_type_array) ? read_manifest(c, image, index) : malformed(c, "index");
    if (depth == NESTED_MAX)
        return malformed(c, "index");
    struct json_object *descriptor = choose(c, manifests, name);
    struct json_object *next = descriptor ? parse_descriptor(c, descriptor, "manifest") : NULL;
    int r = next ? read_index(c, image, next, NULL, depth + 1) : -1;
    json_object_put(next);
    return r;
}

static int read_layout(const struct container *c, struct image *image, const char *name)
{
    struct json_object *index = parse_name(c, "index.json", true);
    int r = index ? read_index(c, image, index, name, 0) : -1;
    json_object_put(index);
    return r;
}

/* ---- docker save ------------------------------------------------------------------------------------------- */

static bool has_tag(struct json_object *image, const char *name)
{
    struct json_object *tags = member(image, "RepoTags", json_type_array);
    for (size_t i = 0; i < length(tags); i++) {
        struct json_object *tag = json_object_array_get_idx(tags, i);
        if (json_object_is_type(tag, json_type_string) && strcmp(json_object_get_string(tag), name) == 0)
            return true;
    }
    return false;
}

static struct json_object *choose_saved(const struct container *c, struct json_object *images, const char *name)
{
    struct json_object *chosen = NULL;
    size_t found = 0;
    for (size_t i = 0; i < length(images); i++)
        if (!name || has_tag(json_object_array_get_idx(images, i), name)) {
            chosen = json_object_array_get_idx(images, i);
            found++;
        }
    if (found == 1 && chosen)
        return chosen;
    if (found > 1)
        complain("%s has %zu images; say which with --image TAG", c->path, found);
    else if (name)
        complain("%s has no image '%s'", c->path, name);
    else
        malformed(c, "manifest.json");
    return NULL;
}

static int read_saved_layers(const struct container *c, struct image *image, struct json_object *saved)
{
    struct json_object *layers = member(saved, "Layers", json_type_array);
    const char *config_name = string(saved, "Config");
    if (!layers || length(layers) > LAYERS_MAX || !config_name)
        return malformed(c, "manifest.json");
    for (size_t i = 0; i < length(layers); i++) {
        struct json_object *layer = json_object_array_get_idx(layers, i);
        if (!json_object_is_type(layer, json_type_string))
            return malformed(c, "manifest.json");
        add_layer(image, blob_in(c, json_object_get_string(layer)));
    }
    struct json_object *config = parse_name(c, config_name, true);
    int r = config ? take_diff_ids(c, image, 0, config) : -1;
    json_object_put(config);
    return r;
}

static int read_saved(const struct container *c, struct image *image, const char *name)
{
    struct json_object *images = parse_name(c, "manifest.json", true);
    int r = -1;
    if (images && !json_object_is_type(images, json_type_array))
        malformed(c, "manifest.json");
    else if (images) {
        struct json_object *saved = choose_saved(c, images, name);
        r = saved ? read_saved_layers(c, image, saved) : -1;
    }
    json_object_put(images);
    return r;
}

/* ---- what it is -------------------------------------------------------------------------------------------- */

static bool ends_in(const char *name, const char *end)
{
    size_t n = strlen(name), m = strlen(end);
    return n >= m && strcmp(name + n - m, end) == 0;
}

/* Whether an archive of an image has such names, so that it is worth looking further. */
static bool may_be_of_image(const char *name)
{
    if (digits_of(name)) /* a configuration, as crane, ko and kaniko name it */
        return true;
    size_t digits = strspn(name, "0123456789abcdef");
    return strcmp(name, "oci-layout") == 0 || strcmp(name, "repositories") == 0 || strncmp(name, "blobs", 5) == 0 ||
           (digits == 64 && (name[64] == '/' || name[64] == '.')) || (!strchr(name, '/') && ends_in(name, ".json"));
}

enum kind { KIND_PLAIN, KIND_LAYOUT, KIND_SAVED };

/* By its names, as far as they could be an image's. */
static enum kind look_into(struct archive *a)
{
    bool layout = false, index = false, saved = false;
    struct archive_entry *entry;
    for (int r; (r = archive_read_next_header(a, &entry)) == ARCHIVE_OK || r == ARCHIVE_WARN;) {
        const char *name = archive_entry_pathname(entry);
        while (name && name[0] == '.' && name[1] == '/')
            name += 2;
        if (!name || !*name)
            continue;
        if (!may_be_of_image(name))
            return KIND_PLAIN;
        layout |= strcmp(name, "oci-layout") == 0;
        index |= strcmp(name, "index.json") == 0;
        saved |= strcmp(name, "manifest.json") == 0;
    }
    return layout && index ? KIND_LAYOUT : saved ? KIND_SAVED : KIND_PLAIN;
}

static enum kind kind_of_file(const char *path)
{
    struct archive *a = archive_of_layers();
    enum kind kind = archive_read_open_filename(a, path, 64 << 10) == ARCHIVE_OK ? look_into(a) : KIND_PLAIN;
    archive_read_free(a);
    return kind;
}

int image_read(struct image *image, const char *path, const char *name)
{
    struct stat st;
    *image = (struct image){.layer = NULL};
    if (stat(path, &st) < 0) {
        complain("%s: %s", path, strerror(errno));
        return -1;
    }
    if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode) && !S_ISBLK(st.st_mode)) {
        complain("%s is no file, and would have to be read twice; write it to a file first", path);
        return -1;
    }
    const struct container c = {path, S_ISDIR(st.st_mode)};
    enum kind kind = c.is_dir ? KIND_LAYOUT : kind_of_file(path);
    if (kind == KIND_PLAIN && name) {
        complain("%s is no image, so that there is no '%s' in it; leave --image out", path, name);
        return -1;
    }
    if (kind == KIND_PLAIN)
        return 1;
    int r = kind == KIND_LAYOUT ? read_layout(&c, image, name) : read_saved(&c, image, name);
    if (r < 0)
        image_free(image);
    return r;
}
