/* SPDX-License-Identifier: MIT
 *
 * Where does it lie?  A program that uses the overlays as a library, without any preloading.
 *
 *   where CONFIGURATION PATH...
 *
 * prints for each merged path the layer path of what is there.
 */
#include <ovl.h>
#include <stdio.h>
#include <string.h>

static int where(struct ovl_space *space, const char *path)
{
    struct ovl_ctx ctx;
    int r = ovl_ctx_begin(&ctx, space, &ovl_ops_kernel);
    if (r < 0)
        return r;
    struct ovl_node *node = ovl_node_new(&ctx);
    r = node ? ovl_resolve(&ctx, "/", path, 0, node) : -1;
    if (r < 0)
        printf("%s: %s\n", path, strerror(-r));
    else if (!node->ovl)
        printf("%s: outside of every overlay\n", path);
    else if (!node->exists)
        printf("%s: not there\n", path);
    else
        printf("%s: %s\n", path, node->real);
    ovl_ctx_end(&ctx);
    return r;
}

int main(int argc, char **argv)
{
    struct ovl_space *space;
    struct ovl_message why;
    int failures = 0;

    if (argc < 3) {
        fprintf(stderr, "usage: where CONFIGURATION PATH...\n");
        return 2;
    }
    if (ovl_space_open(argv[1], &space, &why) < 0) {
        fprintf(stderr, "where: %s\n", why.text);
        return 2;
    }
    for (int i = 2; i < argc; i++)
        failures += where(space, argv[i]) < 0;
    ovl_space_close(space);
    return failures > 0;
}
