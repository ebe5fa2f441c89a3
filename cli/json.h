/* SPDX-License-Identifier: MIT
 *
 * Results as JSON: objects of json-c, and lists of them that are written one by one, so that none is held whole.
 */
#ifndef CLI_JSON_H
#define CLI_JSON_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json_object *json_new(void);
void json_add_text(struct json_object *object, const char *key, const char *value);
void json_add_number(struct json_object *object, const char *key, int64_t number);
void json_add_bool(struct json_object *object, const char *key, bool value);
/* A path.  JSON is UTF-8, names are bytes: of one that is no UTF-8 the wrong bytes are U+FFFD, and KEY_hex has all of
 * its bytes. */
void json_add_path(struct json_object *object, const char *key, const char *path);
/* A word of a list. */
void json_append_text(struct json_object *array, const char *value);
/* Several paths as a list; KEY_hex has the bytes of all of them when one is no UTF-8. */
void json_add_paths(struct json_object *object, const char *key, const char *const *paths, size_t count);
/* Write the object to stdout, and free it. */
void json_print(struct json_object *object);

/* "{ members of the object, "KEY": [" is written first, the items, and "]}" at the end. */
struct json_list {
    bool begun;
};
void json_list_begin(struct json_list *list, struct json_object *members, const char *key);
void json_list_item(struct json_list *list, struct json_object *item);
void json_list_end(const struct json_list *list);

#endif
