/* SPDX-License-Identifier: MIT
 *
 * A temporary directory, layers in it, an overlay over them: see fixture.h.
 */
#define _GNU_SOURCE
#include "fixture.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/xattr.h>
#include <unistd.h>

/* ---- paths ------------------------------------------------------------------------------------------ */

static char *buffer(void)
{
    static char buffers[16][OVL_PATH_MAX];
    static unsigned next;
    return buffers[next++ % 16];
}

const char *real(const struct fixture *f, const char *path)
{
    char *out = buffer();
    assert_in_range(snprintf(out, OVL_PATH_MAX, "%s/%s", f->root, path), 1, OVL_PATH_MAX - 1);
    return out;
}

const char *merged(const struct fixture *f, const char *path)
{
    char *out = buffer();
    assert_in_range(snprintf(out, OVL_PATH_MAX, "%s%s", f->mount, path), 1, OVL_PATH_MAX - 1);
    return out;
}

/* ---- the fixture -------------------------------------------------------------------------------------- */

static char *lowers(const struct fixture *f)
{
    char *one = tree(f, "lower1");
    char *two = tree(f, "lower2");
    char *both;
    assert_true(asprintf(&both, "%s%s", one, two) > 0);
    free(one);
    free(two);
    return both;
}

bool has_openat2(void)
{
    const struct ovl_open_how how = {.flags = O_PATH | O_CLOEXEC};
    int fd = ovl_sys_openat2(AT_FDCWD, "/", &how);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

int fixture_setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    const char *tmp = getenv("TMPDIR");
    char template[96];
    char canonical[PATH_MAX];
    umask(022);
    f->owner = getpid();
    snprintf(template, sizeof template, "%s/ovl-unit-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(template));
    assert_non_null(realpath(template, canonical));
    assert_in_range(snprintf(f->root, sizeof f->root, "%s", canonical), 1, sizeof f->root - 1);
    snprintf(f->mount, sizeof f->mount, "%s/mount", f->root);
    make_dir(f, "lower1", 0755);
    make_dir(f, "lower2", 0755);
    make_dir(f, "upper", 0755);
    *state = f;
    return 0;
}

static void remove_tree(const char *path)
{
    struct stat st;
    if (lstat(path, &st) != 0)
        return;
    if (!S_ISDIR(st.st_mode)) {
        unlink(path);
        return;
    }
    chmod(path, 0700);
    DIR *dir = opendir(path);
    for (struct dirent *d; dir && (d = readdir(dir));) {
        char *below;
        if (strcmp(d->d_name, ".") && strcmp(d->d_name, "..") && asprintf(&below, "%s/%s", path, d->d_name) > 0) {
            remove_tree(below);
            free(below);
        }
    }
    if (dir)
        closedir(dir);
    rmdir(path);
}

int fixture_teardown(void **state)
{
    struct fixture *f = *state;
    if (getpid() != f->owner)
        _exit(99);
    char *now = f->lowers ? lowers(f) : NULL;
    fixture_close(f);
    remove_tree(f->root);
    if (now)
        assert_string_equal(now, f->lowers);
    free(now);
    free(f->lowers);
    free(f);
    return 0;
}

void fixture_remember(struct fixture *f)
{
    if (!f->lowers)
        f->lowers = lowers(f);
}

void fixture_open_conf(struct fixture *f, const char *conf)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    for (; *conf; conf++) {
        if (*conf == '@')
            fputs(f->root, out);
        else
            fputc(*conf, out);
    }
    fclose(out);
    struct ovl_message why = {""};
    if (ovl_space_open(text, &f->space, &why) < 0)
        fail_msg("%s: %s", text, why.text);
    free(text);
    f->ovl = ovl_space_at(f->space, 0);
    fixture_remember(f);
    assert_int_equal(ovl_ctx_begin(&f->ctx, f->space, &ovl_ops_kernel), 0);
}

void fixture_open(struct fixture *f, const char *more)
{
    char conf[256];
    snprintf(conf, sizeof conf, "mount=@/mount,lowerdir=@/lower1:@/lower2,upperdir=@/upper%s", more);
    fixture_open_conf(f, conf);
}

void fixture_open_read_only(struct fixture *f)
{
    fixture_open_conf(f, "mount=@/mount,lowerdir=@/lower1:@/lower2");
}

void fixture_close(struct fixture *f)
{
    if (!f->space)
        return;
    ovl_ctx_end(&f->ctx);
    ovl_space_close(f->space);
    f->space = NULL;
}

/* ---- in a layer ----------------------------------------------------------------------------------------- */

static const char *with_parents(const struct fixture *f, const char *path)
{
    char *whole = (char *)(uintptr_t)real(f, path);
    for (char *slash = whole + strlen(f->root) + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = '\0';
        if (mkdir(whole, 0755) != 0)
            assert_int_equal(errno, EEXIST);
        *slash = '/';
    }
    return whole;
}

void make_file(const struct fixture *f, const char *path, mode_t mode, const char *text)
{
    const char *whole = with_parents(f, path);
    int fd = open(whole, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

void make_dir(const struct fixture *f, const char *path, mode_t mode)
{
    const char *whole = with_parents(f, path);
    if (mkdir(whole, 0755) != 0)
        assert_int_equal(errno, EEXIST);
    assert_int_equal(chmod(whole, mode), 0);
}

void make_link(const struct fixture *f, const char *path, const char *target)
{
    assert_int_equal(symlink(target, with_parents(f, path)), 0);
}

void make_hard_link(const struct fixture *f, const char *path, const char *of)
{
    assert_int_equal(link(real(f, of), with_parents(f, path)), 0);
}

void make_node(const struct fixture *f, const char *path, mode_t mode, dev_t dev)
{
    assert_int_equal(mknod(with_parents(f, path), mode, dev), 0);
}

void set_xattr(const struct fixture *f, const char *path, const char *name, const char *value)
{
    assert_int_equal(lsetxattr(real(f, path), name, value, strlen(value), 0), 0);
}

void set_times(const struct fixture *f, const char *path, time_t sec, long nsec)
{
    const struct timespec ts[2] = {{sec, nsec}, {sec, nsec}};
    assert_int_equal(utimensat(AT_FDCWD, real(f, path), ts, AT_SYMLINK_NOFOLLOW), 0);
}

bool is_there(const struct fixture *f, const char *path)
{
    struct stat st;
    return lstat(real(f, path), &st) == 0;
}

struct stat stat_of(const struct fixture *f, const char *path)
{
    struct stat st;
    assert_int_equal(lstat(real(f, path), &st), 0);
    return st;
}

static const char *text_at(int dirfd, const char *path)
{
    char *out = buffer();
    int fd = openat(dirfd, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, out, OVL_PATH_MAX - 1);
    if (fd >= 0)
        close(fd);
    assert_true(n >= 0);
    out[n] = '\0';
    return out;
}

const char *text_of(const struct fixture *f, const char *path)
{
    return text_at(AT_FDCWD, real(f, path));
}

bool can_be_trusted(const struct fixture *f)
{
    const char *path = real(f, "upper");
    bool can = lsetxattr(path, "trusted.ovl-unit", "", 0, 0) == 0;
    if (can)
        lremovexattr(path, "trusted.ovl-unit");
    return can;
}

unsigned open_fds(void)
{
    unsigned n = 0;
    DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

unsigned leftovers(const struct fixture *f)
{
    unsigned n = 0;
    DIR *dir = opendir(real(f, "upper.work/work"));
    assert_non_null(dir);
    for (struct dirent *d; (d = readdir(dir));)
        n += d->d_name[0] != '.';
    closedir(dir);
    return n;
}
