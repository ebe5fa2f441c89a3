/* SPDX-License-Identifier: MIT
 *
 * What `ovl run` keeps between calls.  What must hold: an upper is never used with other layers than those that it was
 * made over, and no directory is taken for one of ours that is not.
 */
#include "state.h"

#include "output.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC "# Kept by `ovl run`: do not edit. `ovl discard` removes it and the changes beside it.\n"
#define TEMP ".temp-"
#define NAME_LENGTH_MAX 200

/* ---- names --------------------------------------------------------------------------------------- */

static bool is_name_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (c && strchr("._+-", c));
}

bool state_is_name(const char *name)
{
    for (const char *p = name; *p; p++)
        if (!is_name_byte(*p))
            return false;
    return *name && *name != '.' && strlen(name) <= NAME_LENGTH_MAX;
}

char *state_name_of(const char *mount)
{
    while (*mount == '/')
        mount++;
    char *name = text("%.*s", NAME_LENGTH_MAX, *mount ? mount : "root");
    for (char *p = name; *p; p++)
        if (*p == '/')
            *p = '-';
        else if (!is_name_byte(*p) || (*p == '.' && p == name))
            *p = '_';
    return name;
}

char *state_folder(const char *root, const char *name)
{
    return text("%s/%s", root, name);
}

char *state_conf(const char *root, const char *name)
{
    return text("%s/%s/conf", root, name);
}

/* ---- the directories ------------------------------------------------------------------------------- */

char *state_root(void)
{
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    if (state && *state == '/')
        return text("%s/ovl", state);
    if (home && *home == '/')
        return text("%s/.local/state/ovl", home);
    complain(
        "neither XDG_STATE_HOME nor HOME is an absolute path, so there is nowhere to keep changes; set one of them, "
        "or name a directory with -u");
    return NULL;
}

static int make_folder(const char *path)
{
    return mkdir(path, 0700) < 0 && errno != EEXIST ? -1 : 0;
}

/* Make the directory and those above it. */
static int make_folders(const char *path)
{
    char *copy = need(strdup(path));
    int r = 0;
    for (char *slash = strchr(copy + 1, '/'); r == 0 && slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        r = make_folder(copy);
        *slash = '/';
    }
    free(copy);
    return r == 0 ? make_folder(path) : r;
}

/* The beginning of a file that is our own, as a string; NULL: no such file. */
static char *read_own(const char *path)
{
    struct stat st;
    char *content = NULL;
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return NULL;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid() && st.st_size < INT_MAX) {
        content = need(calloc(1, (size_t)st.st_size + 1));
        ssize_t n = read(fd, content, (size_t)st.st_size);
        content[n < 0 ? 0 : n] = '\0';
    }
    close(fd);
    return content;
}

static bool is_own_folder(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == geteuid();
}

bool state_is_ours(const char *folder)
{
    if (!is_own_folder(folder))
        return false;
    char *path = text("%s/conf", folder), *content = read_own(path);
    bool ours = content && strncmp(content, MAGIC, strlen(MAGIC)) == 0;
    free(content);
    free(path);
    return ours;
}

/* Write a file as a whole: aside, on disk, and linked to its place: an empty one would be none of ours. */
static int write_file(const char *path, const char *conf)
{
    char *aside = text("%s.new-%ld", path, (long)getpid());
    FILE *file = fopen(aside, "wxe");
    int r = file ? 0 : -1;
    if (file) {
        fputs(MAGIC, file);
        fputs(conf, file);
        r = fflush(file) == 0 && !ferror(file) && fsync(fileno(file)) == 0 ? 0 : -1;
        if (fclose(file) != 0)
            r = -1;
        if (r == 0)
            r = link(aside, path) < 0 && errno != EEXIST ? -1 : 0;
        int error = errno;
        unlink(aside);
        errno = error;
    }
    free(aside);
    return r;
}

/* The configuration that the directory was kept with, the caller's to free; NULL with a message. */
static char *kept_conf(const char *folder)
{
    char *path = text("%s/conf", folder), *content = read_own(path), *conf = NULL;
    if (content && strncmp(content, MAGIC, strlen(MAGIC)) == 0)
        conf = need(strdup(content + strlen(MAGIC)));
    else
        complain("%s was not made by `ovl run`; choose another name with -n", folder);
    free(content);
    free(path);
    return conf;
}

int state_compare(const char *folder, const char *name, const char *conf)
{
    char *kept = kept_conf(folder);
    int r = kept && strcmp(kept, conf) == 0 ? 0 : -1;
    if (kept && r < 0)
        complain("the changes kept as '%s' were made to other layers, or with other options (%s/conf); use those, "
                 "choose another name with -n, or drop them with `ovl discard -n %s`",
                 name, folder, name);
    free(kept);
    return r;
}

int state_compare_mount(const char *folder, const char *name, const char *conf)
{
    const char *section = strchr(conf, '\n'), *end = section ? strchr(section + 1, '\n') : NULL;
    char *kept = kept_conf(folder);
    int r = kept && end && strncmp(kept, conf, (size_t)(end + 1 - conf)) == 0 ? 0 : -1;
    if (kept && r < 0)
        complain("the changes kept as '%s' are those of another mount (%s/conf); name that with -m, or others with -n",
                 name, folder);
    free(kept);
    return r;
}

int state_make(const char *root, const char *name, const char *conf, bool *is_new)
{
    char *folder = state_folder(root, name), *path = state_conf(root, name);
    *is_new = false;
    int r = make_folders(folder);
    if (r == 0 && access(path, F_OK) < 0 && errno == ENOENT) {
        *is_new = true;
        r = write_file(path, conf);
    }
    if (r < 0)
        complain("%s: %s; set XDG_STATE_HOME to a directory that you may write to, or give -u", folder,
                 strerror(errno));
    else
        r = state_compare(folder, name, conf);
    free(folder);
    free(path);
    return r;
}

char *state_make_temp(const char *root, const char *conf)
{
    char *folder = text("%s/" TEMP "XXXXXX", root);
    int r = make_folders(root);
    if (r == 0)
        r = mkdtemp(folder) ? 0 : -1;
    if (r == 0) {
        char *path = text("%s/conf", folder);
        r = write_file(path, conf);
        free(path);
    }
    if (r < 0) {
        complain("%s: %s; set XDG_STATE_HOME to a directory that you may write to", folder, strerror(errno));
        free(folder);
        return NULL;
    }
    char *name = need(strdup(folder + strlen(root) + 1));
    free(folder);
    return name;
}

struct list state_temps(const char *root)
{
    struct list names = {NULL, 0};
    DIR *dir = opendir(root);
    for (const struct dirent *entry; dir && (entry = readdir(dir));) {
        char *folder = state_folder(root, entry->d_name);
        if (strncmp(entry->d_name, TEMP, strlen(TEMP)) == 0 && state_is_ours(folder))
            list_add(&names, entry->d_name);
        free(folder);
    }
    if (dir)
        closedir(dir);
    return names;
}

void state_remove(const char *folder)
{
    char *path = text("%s/conf", folder);
    if (state_is_ours(folder) && unlink(path) == 0)
        rmdir(folder);
    free(path);
}

/* ---- the last one ---------------------------------------------------------------------------------- */

char *state_last(const char *root)
{
    char name[NAME_LENGTH_MAX + 1];
    char *path = text("%s/.last", root);
    ssize_t n = readlink(path, name, sizeof name - 1);
    free(path);
    name[n < 0 ? 0 : n] = '\0';
    if (!state_is_name(name))
        return NULL;
    char *folder = state_folder(root, name);
    bool ours = state_is_ours(folder);
    free(folder);
    return ours ? need(strdup(name)) : NULL;
}

/* Without it a name must be given: no reason not to run. */
void state_set_last(const char *root, const char *name)
{
    char *path = text("%s/.last", root), *aside = text("%s/.last-%ld", root, (long)getpid());
    if (symlink(name, aside) == 0 && rename(aside, path) < 0)
        unlink(aside);
    free(path);
    free(aside);
}
