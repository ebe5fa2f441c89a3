/* SPDX-License-Identifier: MIT
 *
 * The one overlay that a command is about.
 */
#include "choose.h"

#include "output.h"

#include <string.h>

static struct ovl *refuse(int *status)
{
    *status = STATUS_FAILED;
    return NULL;
}

static struct ovl *choose_only(struct space *s, int *status)
{
    struct ovl *only = NULL;
    for (unsigned i = 0; i < ovl_space_count(s->space); i++) {
        struct ovl *o = ovl_space_at(s->space, i);
        if (ovl_is_read_only(o))
            continue;
        if (only) {
            complain("%s and %s both have an upper directory; name one of them", ovl_mount(only), ovl_mount(o));
            return refuse(status);
        }
        only = o;
    }
    if (only)
        return only;
    complain("the overlay has no upper directory: it is read-only, and nothing can be changed");
    return refuse(status);
}

struct ovl *choose_overlay(struct space *s, const char *command, char *const *arguments, int *status)
{
    if (!*arguments)
        return choose_only(s, status);
    if (arguments[1]) {
        *status = usage_error(command, "%s: one mount at a time", arguments[1]);
        return NULL;
    }
    char **paths = space_paths(s, arguments, status);
    struct ovl *o = paths ? space_overlay_of(s, *paths) : NULL;
    bool is_mount = o && strcmp(*paths, ovl_mount(o)) == 0;
    space_free_paths(paths);
    if (!o)
        return NULL;
    if (!is_mount) {
        complain("%s is no mount, and a part of an overlay can't be named here; all of it is %s", *arguments,
                 ovl_mount(o));
        return refuse(status);
    }
    if (!ovl_is_read_only(o))
        return o;
    complain("%s has no upper directory: it is read-only, and nothing can be changed", ovl_mount(o));
    return refuse(status);
}
