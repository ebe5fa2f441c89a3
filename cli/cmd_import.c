/* SPDX-License-Identifier: MIT
 *
 * ovl import: images and archives become layers, a directory each, and a configuration.
 *
 * It is made aside and takes its name when it is whole and its sums were found right.
 */
#include "commands.h"
#include "extract.h"
#include "json.h"
#include "oci.h"
#include "options.h"
#include "output.h"
#include "progress.h"
#include "reader.h"
#include "remove.h"
#include "space.h"

#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char help[] =
    "usage: ovl import [OPTION]... --to DIR FILE|OCI-LAYOUT...\n"
    "\n"
    "Makes layers of archives and images: a directory each, DIR/layer-001 the lowest, and DIR/conf, a configuration\n"
    "with all of them, for `ovl run --conf DIR/conf -- COMMAND`.  DIR must not be there, or be empty.\n"
    "\n"
    "      --to DIR           where the layers go\n"
    "  -m, --mount MOUNT      the mount of the configuration (default: DIR/merged; / for a root file system)\n"
    "      --image TAG        which image, where there are several\n"
    "      --json             the result as JSON (names that are no UTF-8: see `ovl --help`)\n"
    "      --help             this text\n"
    "\n"
    "Read are tar, cpio and zip archives, each one layer, the first the lowest; OCI image layouts, as directories or\n"
    "in a tar; and what `docker save` writes.  Compressed with gzip, bzip2, xz, lzma, zstd or lz4.  Of images the "
    "sums\n"
    "of all parts are checked, of other files those that their compression has; the image for this machine is taken.\n"
    "\n"
    "Nothing outside of DIR is reached: an archive is refused if a name has '..' in it, goes through a symbolic link,\n"
    "or is a hard link to what is not in the layer; absolute names are taken as below the layer.  Whiteouts are kept\n"
    "in the form of OCI.  For an ordinary user all is the user's own: set-id bits are kept where the archive's owner\n"
    "is, too, and device nodes are left out.  Attributes that can't be set are left out, and so are access lists that\n"
    "`tar --acls` has written (those of `tar --xattrs` are not).  DIR is closed to others.\n"
    "\n"
    "Exit status: 0; 2 for a wrong option; 3 when something can't be read or written, or was refused: then there is "
    "no\n"
    "DIR.\n";

struct imported {
    char *source, *diff_id; /* NULL: not of an image */
    uint64_t objects, whiteouts;
};

struct importing {
    struct options options; /* mount, and the layers that were made */
    const char *to, *image;
    char *folder, *aside; /* absolute */
    struct imported *layer;
    size_t count;
    struct progress progress;
    uint64_t devices_left, xattrs_left;
};

/* ---- one layer --------------------------------------------------------------------------------------------- */

static char *layer_name(size_t number)
{
    return text("layer-%03zu", number);
}

static int make_layer_dir(struct importing *im)
{
    char *name = layer_name(im->count + 1), *path = text("%s/%s", im->aside, name);
    int fd = mkdir(path, 0755) < 0 ? -1 : open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || chmod(path, 0755) < 0) /* whatever the umask is */
        complain("%s: %s", path, strerror(errno));
    free(name);
    free(path);
    return fd;
}

/* Extract what the reader, which is closed, has. */
static int import_layer(struct importing *im, struct reader *reader, const char *source)
{
    struct extraction x = {.source = source, .from = reader->entries, .progress = &im->progress};
    int root = make_layer_dir(im);
    int r = root < 0 ? -1 : extract(&x, root);
    if (r == 0)
        r = reader_finish(reader);
    if (r == 0) {
        im->layer = need(realloc(im->layer, (im->count + 1) * sizeof *im->layer));
        im->layer[im->count++] = (struct imported){.source = need(strdup(source)),
                                                   .diff_id = reader->blob ? need(strdup(reader->diff_id)) : NULL,
                                                   .objects = x.objects,
                                                   .whiteouts = x.whiteouts};
    }
    im->devices_left += x.devices_left;
    im->xattrs_left += x.xattrs_left;
    reader_close(reader);
    return r;
}

static int import_blob(struct importing *im, const struct blob *blob)
{
    struct reader reader;
    char *source = text("%s%s%s", blob->file, blob->member ? ": " : "", blob->member ? blob->member : "");
    int r = reader_open_blob(&reader, blob);
    if (r == 0)
        r = import_layer(im, &reader, source);
    else
        reader_close(&reader);
    free(source);
    return r;
}

static int import_file(struct importing *im, const char *path)
{
    struct reader reader;
    int r = reader_open_file(&reader, path);
    if (r == 0)
        return import_layer(im, &reader, path);
    reader_close(&reader);
    return r;
}

static int import_argument(struct importing *im, const char *path)
{
    struct image image;
    int r = image_read(&image, path, im->image);
    if (r > 0)
        return import_file(im, path);
    for (size_t i = 0; r == 0 && i < image.count; i++)
        r = import_blob(im, &image.layer[i]);
    image_free(&image);
    return r;
}

/* ---- the configuration ------------------------------------------------------------------------------------- */

static int write_text(const char *path, const char *content)
{
    FILE *file = fopen(path, "wxe");
    if (!file)
        return -1;
    fputs(content, file);
    int bad = ferror(file);
    return fclose(file) != 0 || bad ? -1 : 0;
}

static int write_conf(struct importing *im)
{
    struct options conf = {.mount = im->options.mount};
    char *merged = text("%s/merged", im->folder);
    if (!conf.mount)
        conf.mount = merged;
    for (size_t i = im->count; i > 0; i--) {
        char *name = layer_name(i), *path = text("%s/%s", im->folder, name);
        list_add(&conf.lower, path);
        free(name);
        free(path);
    }
    char *content = options_conf(&conf, FORM_FILE, "upper"), *path = text("%s/conf", im->aside);
    int r = content ? write_text(path, content) : -1;
    if (content && r < 0)
        complain("%s: %s", path, strerror(errno));
    for (size_t i = 0; i < conf.lower.count; i++)
        free(conf.lower.at[i]);
    free(conf.lower.at);
    free(content);
    free(path);
    free(merged);
    return r;
}

/* ---- the directory ----------------------------------------------------------------------------------------- */

static int begin(struct importing *im)
{
    struct stat st;
    im->folder = absolute_path(im->to);
    im->aside = text("%s.import-XXXXXX", im->folder);
    if (lstat(im->folder, &st) == 0 && (!S_ISDIR(st.st_mode) || rmdir(im->folder) < 0)) {
        complain("%s is there already, and is no empty directory; name another one", im->to);
        return -1;
    }
    if (mkdtemp(im->aside))
        return 0;
    complain("%s: %s", im->to, strerror(errno));
    *im->aside = '\0';
    return -1;
}

/* What is seen under its name is on disk. */
static int finish(const struct importing *im)
{
    int fd = open(im->aside, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int r = fd < 0 || syncfs(fd) < 0 || rename(im->aside, im->folder) < 0 ? -1 : 0;
    if (r < 0)
        complain("%s: %s", im->to, strerror(errno));
    if (fd >= 0)
        close(fd);
    return r;
}

static uint64_t size_of_all(char *const *paths)
{
    struct stat st;
    uint64_t all = 0;
    for (; *paths; paths++) {
        if (stat(*paths, &st) < 0 || !S_ISREG(st.st_mode))
            return 0;
        all += (uint64_t)st.st_size;
    }
    return all;
}

static int import_all(struct importing *im, char *const *paths)
{
    int r = begin(im);
    progress_begin(&im->progress, "importing", 0, size_of_all(paths));
    for (; r == 0 && *paths; paths++)
        r = import_argument(im, *paths);
    progress_end(&im->progress);
    if (r == 0 && im->count == 0) {
        complain("the image has no layers; there is nothing to import");
        r = -1;
    }
    if (r == 0)
        r = write_conf(im);
    if (r == 0)
        r = finish(im);
    if (r < 0 && *im->aside)
        remove_tree(im->aside);
    return r;
}

/* ---- the result -------------------------------------------------------------------------------------------- */

static void print_json(const struct importing *im)
{
    struct json_object *result = json_new(), *layers = need(json_object_new_array());
    char *conf = text("%s/conf", im->folder);
    json_add_path(result, "conf", conf);
    for (size_t i = 0; i < im->count; i++) {
        const struct imported *layer = &im->layer[i];
        struct json_object *item = json_new();
        char *name = layer_name(i + 1), *path = text("%s/%s", im->folder, name);
        json_add_path(item, "directory", path);
        json_add_path(item, "source", layer->source);
        if (layer->diff_id) {
            char *diff_id = text("sha256:%s", layer->diff_id);
            json_add_text(item, "diff_id", diff_id);
            free(diff_id);
        }
        json_add_number(item, "objects", (int64_t)layer->objects);
        json_add_number(item, "whiteouts", (int64_t)layer->whiteouts);
        json_object_array_add(layers, item);
        free(name);
        free(path);
    }
    json_object_object_add(result, "layers", layers);
    json_add_number(result, "devices_left_out", (int64_t)im->devices_left);
    json_add_number(result, "objects_without_attributes", (int64_t)im->xattrs_left);
    json_print(result);
    free(conf);
}

static void print_lines(const struct importing *im)
{
    for (size_t i = 0; i < im->count; i++) {
        char *name = layer_name(i + 1);
        fputs(name, stdout);
        fputs("  ", stdout);
        print_path(stdout, im->layer[i].source);
        putchar('\n');
        free(name);
    }
    fputs("ovl run --conf ", stdout);
    print_path(stdout, im->folder);
    puts("/conf -- COMMAND");
}

static void print_result(const struct importing *im)
{
    if (im->devices_left)
        tell("%llu device nodes were left out: only root, with CAP_MKNOD, can make them",
             (unsigned long long)im->devices_left);
    if (im->xattrs_left)
        tell("%llu objects are without attributes or access lists that could not be set",
             (unsigned long long)im->xattrs_left);
    if (im->options.json)
        print_json(im);
    else
        print_lines(im);
}

/* ---- the subcommand ------------------------------------------------------------------------------------------ */

enum { OPTION_TO = OPTION_OWN, OPTION_IMAGE };

static int take_options(int argc, char **argv, struct importing *im)
{
    static const struct option table[] = {
        {"to", required_argument, NULL, OPTION_TO},
        {"mount", required_argument, NULL, 'm'},
        {"image", required_argument, NULL, OPTION_IMAGE},
        {"json", no_argument, NULL, OPTION_JSON},
        HELP_LONG,
    };
    for (int option; (option = getopt_long(argc, argv, "m:", table, NULL)) != -1;) {
        int taken = options_take(&im->options, option, help);
        if (ENDS(taken))
            return taken;
        if (option == OPTION_TO)
            im->to = optarg;
        if (option == OPTION_IMAGE)
            im->image = optarg;
    }
    return 0;
}

static int check_options(const struct importing *im, char *const *paths)
{
    if (!im->to || !*im->to)
        return usage_error("import", "--to is missing: the directory for the layers");
    if (!*paths)
        return usage_error("import", "nothing to import: name an archive, or the directory of an OCI layout");
    if (im->options.mount && *im->options.mount != '/')
        return usage_error("import", "-m %s: a mount is an absolute path", im->options.mount);
    return refuse_inside("import");
}

static void free_all(struct importing *im)
{
    for (size_t i = 0; i < im->count; i++) {
        free(im->layer[i].source);
        free(im->layer[i].diff_id);
    }
    free(im->layer);
    free(im->folder);
    free(im->aside);
}

int cmd_import(int argc, char **argv)
{
    struct importing im = {.options = {.command = "import"}};
    int taken = take_options(argc, argv, &im);
    if (ENDS(taken))
        return END_STATUS(taken);
    int status = check_options(&im, argv + optind);
    if (status != STATUS_DONE)
        return status;
    setlocale(LC_CTYPE, "C.UTF-8"); /* names are bytes to libarchive then */
    status = import_all(&im, argv + optind) < 0 ? STATUS_FAILED : STATUS_DONE;
    if (status == STATUS_DONE)
        print_result(&im);
    free_all(&im);
    return finish_output(status);
}
