/* SPDX-License-Identifier: MIT
 *
 * What an overlay was made of, as the keys and values that its configuration would have.
 */
#include "config.h"

static const char *shown(const char *path)
{
    return *path ? path : "/";
}

/* Number i of the settings of one key, which there may be any number of: NULL beyond the last. */
static const char *value_of(const struct ovl *o, enum ovl_key key, unsigned i)
{
    switch (key) {
    case OVL_KEY_LOWER:
        return ovl_layer(o, i + o->has_upper);
    case OVL_KEY_EXCLUDE:
        return i < o->excludes ? o->exclude[i] : NULL;
    case OVL_KEY_STATIC_ALLOW:
        return i < o->static_allows ? shown(o->static_allow[i]) : NULL;
    default:
        break;
    }
    if (i > 0)
        return NULL;
    switch (key) {
    case OVL_KEY_MOUNT:
        return ovl_mount(o);
    case OVL_KEY_UPPER:
        return o->has_upper ? ovl_layer(o, 0) : NULL;
    case OVL_KEY_WORK:
        return ovl_work(o);
    case OVL_KEY_WHITEOUT:
        return ovl_key_word(key, o->whiteout);
    case OVL_KEY_READDIR:
        return ovl_key_word(key, !o->sorted);
    case OVL_KEY_STATIC:
        return ovl_key_word(key, o->static_policy);
    case OVL_KEY_VOLATILE:
        return ovl_key_word(key, o->is_volatile);
    case OVL_KEY_PATCH:
        return ovl_key_word(key, o->patch);
    case OVL_KEY_GUARD:
        return ovl_key_word(key, o->guard);
    default:
        return NULL;
    }
}

bool ovl_setting(const struct ovl *o, unsigned i, const char **key, const char **value)
{
    for (unsigned k = 0; k < OVL_KEYS; k++)
        for (unsigned n = 0; (*value = value_of(o, (enum ovl_key)k, n)); n++)
            if (i-- == 0) {
                *key = ovl_key_name((enum ovl_key)k);
                return true;
            }
    return false;
}
