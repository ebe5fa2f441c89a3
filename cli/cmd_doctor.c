/* SPDX-License-Identifier: MIT
 *
 * ovl doctor: what this machine allows, and whether libovl reaches a program.
 */
#include "commands.h"
#include "image.h" /* the library's own judgement of programs */
#include "json.h"
#include "library.h"
#include "output.h"
#include "probe.h"
#include "remove.h"
#include "space.h"
#include "state.h"

#include <errno.h>
#include <fcntl.h>
#include <gnu/libc-version.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

static const char help[] =
    "usage: ovl doctor [OPTION]... [PROGRAM]...\n"
    "\n"
    "Tries out what libovl needs and what it can use on this machine, and tells what else would work here.  For\n"
    "programs: whether libovl reaches them, and why not.\n"
    "\n"
    "  -u, --upper DIRECTORY  try the file system of this directory, which must be there (default: where `ovl run` "
    "keeps\n"
    "                         changes)\n" JSON_HELP RESULT_HELP "\n"
    "For a moment a directory is made beside the uppers, and removed again.\n"
    "\n"
    "Exit status: 0; 1 when one of the programs is not reached; 2 for a wrong option; 3 when libovl does not work "
    "here.\n";

enum mark { MARK_YES, MARK_NO, MARK_BROKEN };

struct doctor {
    bool json, broken, unreached;
    struct json_list list;
};

/* ---- lines ---------------------------------------------------------------------------------------------- */

/* `words` is freed. */
static void report(struct doctor *d, const char *name, enum mark mark, char *words)
{
    static const char *const marks[] = {"yes", "no", "BROKEN"};
    static const enum color colors[] = {COLOR_GOOD, COLOR_CHANGED, COLOR_BAD};
    d->broken |= mark == MARK_BROKEN;
    if (d->json) {
        struct json_object *object = json_new();
        json_add_text(object, "name", name);
        json_add_bool(object, "ok", mark == MARK_YES);
        json_add_bool(object, "needed", mark == MARK_BROKEN);
        json_add_text(object, "says", words);
        json_list_item(&d->list, object);
    } else {
        printf("%-16s %s%-6s%s ", name, color_begin(colors[mark]), marks[mark], color_end());
        print_path(stdout, words);
        putchar('\n');
    }
    free(words);
}

static void report_errno(struct doctor *d, const char *name, int error, const char *good, const char *bad)
{
    report(d, name, error ? MARK_NO : MARK_YES, error ? text("%s: %s", bad, strerror(error)) : text("%s", good));
}

/* ---- the library ------------------------------------------------------------------------------------------ */

static void ask_library(struct doctor *d, const char *library, const char *name, const char *conf, const char *good)
{
    char *line;
    int status = library_start(library, conf, &line);
    if (status == 0)
        report(d, name, MARK_YES, text("%s", good));
    else
        report(d, name, MARK_NO, text("%s", *line ? line : "a program can't be started with it"));
    free(line);
}

static void examine_library(struct doctor *d)
{
    char *library = library_find();
    if (!library) {
        report(d, "library", MARK_BROKEN, text("libovl.so is not found"));
        return;
    }
    if (!library_is_loaded(library)) {
        report(d, "library", MARK_BROKEN, text("%s is not loaded into " LIBRARY_STARTER, library));
    } else {
        report(d, "library", MARK_YES, text("%s", library));
        ask_library(d, library, "libc inside", "mount=/etc,lowerdir=/etc,patch=require",
                    "what libc reads by itself (users, hosts, locales) is the overlay's");
        ask_library(d, library, "guard=landlock", "mount=/etc,lowerdir=/etc,guard=landlock",
                    "the kernel can guard lower layers against static programs too");
    }
    free(library);
}

/* ---- the system --------------------------------------------------------------------------------------------- */

static void examine_system(struct doctor *d)
{
    struct utsname name;
    unsigned major = 0, minor = 0;
    uname(&name);
    char *end;
    major = (unsigned)strtoul(name.release, &end, 10);
    if (*end == '.')
        minor = (unsigned)strtoul(end + 1, NULL, 10);
    bool old = major < 5 || (major == 5 && minor < 6);
    report(d, "system", old ? MARK_BROKEN : MARK_YES,
           text("Linux %s, %s, glibc %s%s", name.release, name.machine, gnu_get_libc_version(),
                old ? "; Linux 5.6 is needed" : ""));
}

/* The nearest directory above that is there; path is cut. */
static void cut_to_existing(char *path)
{
    while (path[1] && access(path, F_OK) < 0) {
        char *slash = strrchr(path, '/');
        slash[slash == path] = '\0';
    }
}

static void try_folder(struct doctor *d, const char *folder)
{
    report_errno(d, "user xattrs", probe_user_xattrs(folder), "names of any length can be removed",
                 "names of more than 251 bytes can't be removed");
    report_errno(d, "reflink", probe_reflink(folder), "files are copied up without copying their data",
                 "data are copied when a file is copied up");
    report_errno(d, "whiteout=kernel", probe_device(folder), "uppers that Linux overlayfs can mount can be made",
                 "no uppers that Linux overlayfs can mount; whiteout=oci works");
    report_errno(d, "user namespace", probe_user_namespace(), "can be made", "can't be made");
    report_errno(d, "overlayfs", probe_overlayfs(folder), "Linux overlayfs would work here, for this user",
                 "Linux overlayfs can't be mounted by this user");
}

static void examine_folder(struct doctor *d, const char *upper)
{
    char *root = upper ? absolute_path(upper) : state_root();
    if (!root) {
        report(d, "upper", MARK_NO, text("there is nowhere to keep changes; -u names a place"));
        return;
    }
    cut_to_existing(root);
    char *folder = text("%s/.ovl-doctor-XXXXXX", root);
    if (mkdtemp(folder)) {
        report(d, "upper", MARK_YES, text("%s can be written", root));
        try_folder(d, folder);
        remove_tree(folder);
    } else {
        report(d, "upper", MARK_NO, text("%s can't be written: %s; -u names another place", root, strerror(errno)));
    }
    free(folder);
    free(root);
}

static void examine_peer(struct doctor *d, const char *name, const char *use, const char *need_more)
{
    char *path = probe_program(name);
    enum mark mark = path && !need_more ? MARK_YES : MARK_NO;
    report(d, name, mark,
           !path       ? text("not installed: %s", use)
           : need_more ? text("%s would not work: %s", path, need_more)
                       : text("%s would work: %s", path, use));
    free(path);
}

static void examine_peers(struct doctor *d)
{
    const int fuse = probe_fuse();
    examine_peer(d, "fuse-overlayfs", "overlayfs by a daemon", fuse ? "/dev/fuse can't be used" : NULL);
    examine_peer(d, "proot", "binds directories for all programs, by ptrace, without layers", NULL);
    examine_peer(d, "fakechroot", "another root directory, by preloading, without layers", NULL);
}

/* ---- programs --------------------------------------------------------------------------------------------------- */

static const char *const verdicts[] = {
    [SHIM_IMAGE_OTHER] = "neither a program nor a script that the kernel knows",
    [SHIM_IMAGE_SCRIPT] = "a script",
    [SHIM_IMAGE_DYNAMIC] = "reached",
    [SHIM_IMAGE_STATIC] = "statically linked: it calls no libc that could be preloaded",
    [SHIM_IMAGE_GO] = "written in Go: it makes its system calls itself",
    [SHIM_IMAGE_LIBC] = "made for another libc",
    [SHIM_IMAGE_MACHINE] = "made for another machine",
    [SHIM_IMAGE_SECURE] = "set-id, or with file capabilities: ld.so ignores LD_PRELOAD for it",
    [SHIM_IMAGE_UNKNOWN] = "it can be run, but not read, so that nobody knows what it is",
};

static void report_program(struct doctor *d, const char *path, bool reached, const char *words)
{
    d->unreached |= !reached;
    if (!d->json) {
        report(d, path, reached ? MARK_YES : MARK_NO, text("%s", words));
        return;
    }
    struct json_object *object = json_new();
    json_add_path(object, "program", path);
    json_add_bool(object, "ok", reached);
    json_add_text(object, "says", words);
    json_list_item(&d->list, object);
}

static void examine_file(struct doctor *d, struct ovl_ctx *ctx, const char *shown, const char *path,
                         bool is_interpreter)
{
    struct shim_script script;
    struct shim_elf elf;
    size_t mark = ctx->used;
    int kind = shim_image(ctx, AT_FDCWD, path, &script, &elf);
    ovl_ctx_reset(ctx, mark);
    if (kind == SHIM_IMAGE_SCRIPT && !is_interpreter && *script.interpreter) {
        examine_file(d, ctx, shown, script.interpreter, true);
        return;
    }
    char *words = kind < 0         ? text("%s: %s", path, strerror(-kind))
                  : is_interpreter ? text("a script for %s, which is %s", path, verdicts[kind])
                                   : text("%s", verdicts[kind]);
    report_program(d, shown, kind == SHIM_IMAGE_DYNAMIC, words);
    free(words);
}

static void examine_programs(struct doctor *d, char *const *programs)
{
    struct ovl_message why;
    struct ovl_space *space; /* of nothing: contexts want one */
    struct ovl_ctx ctx;
    if (!*programs)
        return;
    if (ovl_space_look("mount=/etc,lowerdir=/etc", &space, &why) < 0 || ovl_ctx_begin(&ctx, space, &ovl_ops_kernel) < 0)
        no_memory();
    for (; *programs; programs++) {
        char *found = strchr(*programs, '/') ? need(strdup(*programs)) : probe_program(*programs);
        if (found)
            examine_file(d, &ctx, *programs, found, false);
        else
            report_program(d, *programs, false, "it is not in PATH");
        free(found);
    }
    ovl_ctx_end(&ctx);
    ovl_space_close(space);
}

/* ---- the subcommand ---------------------------------------------------------------------------------------------- */

static int examine(struct doctor *d, const char *upper, char *const *programs)
{
    if (d->json) {
        struct json_object *members = json_new();
        json_add_text(members, "version", OVL_VERSION);
        json_list_begin(&d->list, members, "checks");
    }
    if (*programs) {
        examine_programs(d, programs);
    } else {
        examine_system(d);
        examine_library(d);
        examine_folder(d, upper);
        examine_peers(d);
    }
    if (d->json) {
        json_list_end(&d->list);
        putchar('\n');
    }
    return finish_output(d->broken ? STATUS_FAILED : d->unreached ? STATUS_DIFFERS : STATUS_DONE);
}

int cmd_doctor(int argc, char **argv)
{
    static const struct option table[] = {{"upper", required_argument, NULL, 'u'}, RESULT_LONG, HELP_LONG};
    static struct options options = {.command = "doctor"};
    for (int option; (option = getopt_long(argc, argv, "u:", table, NULL)) != -1;) {
        int taken = options_take(&options, option, help);
        if (ENDS(taken))
            return END_STATUS(taken);
    }
    struct doctor d = {.json = options.json};
    return examine(&d, options.upper, argv + optind);
}
