/* SPDX-License-Identifier: MIT
 *
 * Functions that tell libc where to read by itself later: the paths go to it as they are, and libc's inside
 * must see the overlay from then on (patch.h).
 */
#define _GNU_SOURCE
#include "boundary.h"
#include "hooks.h"
#include "patch.h"
#include "real.h"
#include "wrap.h"

static void look_inside(const char *function, const char *path)
{
    struct shim_call call;
    if (shim_hooks_active || !shim_begin(&call, function))
        return;
    struct ovl_node *node;
    int dirfd = AT_FDCWD;
    if (shim_find(&call, &dirfd, &path, OVL_FOLLOW, &node) == SHIM_INSIDE)
        shim_patch_for(node->ovl);
    shim_leave(&call, 0);
}

char *wrap_bindtextdomain(const char *domain, const char *directory)
{
    if (directory)
        look_inside("bindtextdomain", directory);
    return REAL(bindtextdomain)(domain, directory);
}

#define SHIM_FILE_inside
#include "export.h"
