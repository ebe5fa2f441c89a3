/* SPDX-License-Identifier: MIT
 *
 * Results as JSON.
 */
#include "json.h"

#include "output.h"

#include <ovl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FORM (JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE)
#define REPLACEMENT "\xef\xbf\xbd"

/* ---- UTF-8 ----------------------------------------------------------------------------------------- */

/* A copy that is UTF-8, the caller's to free; *whole: nothing had to be replaced. */
static char *to_utf8(const char *from, bool *whole)
{
    char *made = need(malloc(strlen(from) * strlen(REPLACEMENT) + 1)), *to = made;
    *whole = true;
    for (const char *p = from; *p;) {
        size_t n = ovl_utf8(p);
        if (n) {
            memcpy(to, p, n);
        } else {
            *whole = false;
            memcpy(to, REPLACEMENT, strlen(REPLACEMENT));
        }
        to += n ? n : strlen(REPLACEMENT);
        p += n ? n : 1;
    }
    *to = '\0';
    return made;
}

/* ---- members --------------------------------------------------------------------------------------- */

struct json_object *json_new(void)
{
    return need(json_object_new_object());
}

static void add(struct json_object *object, const char *key, struct json_object *value)
{
    if (json_object_object_add(object, key, need(value)) < 0)
        no_memory();
}

void json_add_text(struct json_object *object, const char *key, const char *value)
{
    bool whole;
    char *made = to_utf8(value, &whole);
    add(object, key, json_object_new_string(made));
    free(made);
}

void json_add_number(struct json_object *object, const char *key, int64_t number)
{
    add(object, key, json_object_new_int64(number));
}

void json_add_bool(struct json_object *object, const char *key, bool value)
{
    add(object, key, json_object_new_boolean(value));
}

/* The caller's to free. */
static char *to_hex(const char *path)
{
    char *hex = need(malloc(strlen(path) * 2 + 1)), *to = hex;
    *to = '\0';
    for (const char *p = path; *p; p++, to += 2)
        snprintf(to, 3, "%02x", (unsigned char)*p);
    return hex;
}

static void add_hex(struct json_object *object, const char *key, const char *path)
{
    char *name = text("%s_hex", key), *hex = to_hex(path);
    json_add_text(object, name, hex);
    free(name);
    free(hex);
}

void json_add_path(struct json_object *object, const char *key, const char *path)
{
    bool whole;
    char *made = to_utf8(path, &whole);
    add(object, key, json_object_new_string(made));
    if (!whole)
        add_hex(object, key, path);
    free(made);
}

void json_append_text(struct json_object *array, const char *value)
{
    bool whole;
    char *made = to_utf8(value, &whole);
    if (json_object_array_add(array, need(json_object_new_string(made))) < 0)
        no_memory();
    free(made);
}

void json_add_paths(struct json_object *object, const char *key, const char *const *paths, size_t count)
{
    struct json_object *list = need(json_object_new_array()), *bytes = need(json_object_new_array());
    bool all = true;
    for (size_t i = 0; i < count; i++) {
        bool whole;
        char *made = to_utf8(paths[i], &whole), *hex = to_hex(paths[i]);
        json_append_text(list, made);
        json_append_text(bytes, hex);
        all &= whole;
        free(made);
        free(hex);
    }
    add(object, key, list);
    char *name = text("%s_hex", key);
    if (all)
        json_object_put(bytes);
    else
        add(object, name, bytes);
    free(name);
}

/* ---- writing --------------------------------------------------------------------------------------- */

static const char *string_of(struct json_object *object)
{
    return need((void *)(uintptr_t)json_object_to_json_string_ext(object, FORM));
}

void json_print(struct json_object *object)
{
    puts(string_of(object));
    json_object_put(object);
}

void json_list_begin(struct json_list *list, struct json_object *members, const char *key)
{
    const char *string = string_of(members);
    size_t n = strlen(string) - 1; /* without its '}' */
    printf("%.*s%s\"%s\":[", (int)n, string, n > 1 ? "," : "", key);
    json_object_put(members);
    list->begun = false;
}

void json_list_item(struct json_list *list, struct json_object *item)
{
    fputs(list->begun ? ",\n" : "\n", stdout);
    fputs(string_of(item), stdout);
    json_object_put(item);
    list->begun = true;
}

void json_list_end(const struct json_list *list)
{
    fputs(list->begun ? "\n]}" : "]}", stdout);
}
