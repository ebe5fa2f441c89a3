/* SPDX-License-Identifier: MIT
 *
 * Reading what OVL_CWD says (cwd_text.h).  It is also part of the audit object, so that libc is not called.
 */
#include "cwd_text.h"

#include "text.h"

#include <errno.h>

int shim_cwd_read(struct ovl_ctx *ctx, const char *text, char *buf)
{
    const char *path = text;
    uint64_t mark = ovl_parse_decimal(&path);
    bool removed = *path == '!';
    if (path == text || (*path != ':' && !removed) || ovl_append(buf, OVL_PATH_MAX, 0, path + 1) < 0)
        return -EINVAL;
    return ovl_moved_since(ctx->space, mark) ? ovl_follow(ctx, buf, removed, &mark) : removed;
}
