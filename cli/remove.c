/* SPDX-License-Identifier: MIT
 *
 * Removing a tree that is ours.  What must hold: nothing outside of it is touched, whatever lies in it, or is put there
 * meanwhile.  fts(3) goes down by descriptors of directories that it has compared with what it saw before; but by paths
 * where it can't open the current directory, so that it begins in another one there.
 */
#include "remove.h"

#include "options.h"
#include "output.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Let its owner go into a directory that is to be emptied, and is no mount. */
static void open_up(const FTS *tree, const FTSENT *entry)
{
    char self[40];
    if ((entry->fts_statp->st_mode & S_IRWXU) == S_IRWXU || entry->fts_statp->st_dev != tree->fts_dev)
        return;
    int fd = open(entry->fts_accpath, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return;
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd); /* fchmod(2) takes no O_PATH */
    (void)!chmod(self, S_IRWXU);
    close(fd);
}

static int remove_entry(FTS *tree, FTSENT *entry)
{
    switch (entry->fts_info) {
    case FTS_D:
        open_up(tree, entry);
        return 0;
    case FTS_DNR: /* its mode was seen too late: once more */
        if (entry->fts_number++ == 0 && entry->fts_errno == EACCES) {
            open_up(tree, entry);
            return fts_set(tree, entry, FTS_AGAIN);
        }
        errno = entry->fts_errno;
        return -1;
    case FTS_DP:
        return rmdir(entry->fts_accpath);
    case FTS_ERR:
    case FTS_NS:
        errno = entry->fts_errno;
        return errno == ENOENT ? 0 : -1;
    case FTS_DC:
        errno = ELOOP;
        return -1;
    default:
        return unlink(entry->fts_accpath);
    }
}

static int remove_from_here(const char *path)
{
    char *roots[] = {need(strdup(path)), NULL};
    FTS *tree = need(fts_open(roots, FTS_PHYSICAL | FTS_XDEV, NULL));
    FTSENT *entry;
    int r = 0;
    while (errno = 0, (entry = fts_read(tree)))
        if (remove_entry(tree, entry) < 0 && errno != ENOENT) {
            if (r == 0)
                complain("%s: %s; it is left there", entry->fts_path, strerror(errno));
            r = -1;
        }
    if (errno && r == 0) {
        complain("%s: %s; it is left there", path, strerror(errno));
        r = -1;
    }
    fts_close(tree);
    free(roots[0]);
    return r;
}

int remove_tree(const char *path)
{
    if (faccessat(AT_FDCWD, ".", R_OK, AT_EACCESS) == 0)
        return remove_from_here(path);
    char *absolute = absolute_path(path);
    int here = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC), r = -1;
    if (here < 0 || chdir("/") < 0)
        complain("%s: %s; it is left there", path, strerror(errno));
    else
        r = remove_from_here(absolute);
    if (here >= 0 && fchdir(here) < 0)
        r = -1;
    if (here >= 0)
        close(here);
    free(absolute);
    return r;
}

int remove_all_but(const char *folder, const char *name)
{
    DIR *dir = opendir(folder);
    int r = 0;
    if (!dir)
        return errno == ENOENT ? 0 : -1;
    for (const struct dirent *entry; (entry = readdir(dir));) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 || strcmp(entry->d_name, name) == 0)
            continue;
        char *path = text("%s/%s", folder, entry->d_name);
        if (remove_tree(path) < 0)
            r = -1;
        free(path);
    }
    closedir(dir);
    return r;
}
