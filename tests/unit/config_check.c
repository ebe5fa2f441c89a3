/* SPDX-License-Identifier: MIT
 *
 * Words for tests of the configuration: see config_check.h.
 */
#include "config_check.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>

#define TEXT_MAX ((size_t)128 << 10)

const char *expanded(const struct fixture *f, const char *text)
{
    static char buffers[8][TEXT_MAX];
    static unsigned next;
    char *out = buffers[next++ % 8];
    size_t n = 0;
    for (; *text; text++) {
        assert_true(n + sizeof f->root < TEXT_MAX);
        if (*text == '@')
            n += (size_t)snprintf(out + n, TEXT_MAX - n, "%s", f->root);
        else
            out[n++] = *text;
    }
    out[n] = '\0';
    return out;
}

static void refused(const struct fixture *f, const char *conf, const char *message)
{
    struct ovl_space *space = NULL;
    struct ovl_message why = {"nothing was said"};
    unsigned fds = open_fds();
    int r = ovl_space_open(conf, &space, &why);
    if (r == 0)
        fail_msg("accepted: %s", conf);
    assert_string_equal(why.text, expanded(f, message));
    assert_int_equal(r, -EINVAL);
    assert_int_equal(open_fds(), fds);
}

static struct ovl_space *open_or_fail(const char *conf)
{
    struct ovl_space *space = NULL;
    struct ovl_message why = {""};
    if (ovl_space_open(conf, &space, &why) < 0)
        fail_msg("%s: %s", conf, why.text);
    return space;
}

void assert_refused(const struct fixture *f, const char *conf, const char *message)
{
    refused(f, expanded(f, conf), message);
}

void assert_file_refused(const struct fixture *f, const char *text, const char *message)
{
    make_file(f, "ovl.ini", 0644, expanded(f, text));
    refused(f, real(f, "ovl.ini"), message);
}

struct ovl_space *opened(const struct fixture *f, const char *conf)
{
    return open_or_fail(expanded(f, conf));
}

struct ovl_space *opened_file(const struct fixture *f, const char *text)
{
    make_file(f, "ovl.ini", 0644, expanded(f, text));
    return open_or_fail(real(f, "ovl.ini"));
}

void assert_layers(const struct fixture *f, const struct ovl *o, const char *layers)
{
    static char text[TEXT_MAX];
    size_t n = 0;
    text[0] = '\0';
    for (unsigned i = 0; i < ovl_layers(o) && n < TEXT_MAX; i++)
        n += (size_t)snprintf(text + n, TEXT_MAX - n, "%s\n", ovl_layer(o, i));
    assert_string_equal(text, expanded(f, layers));
}

const char *names_in(const struct fixture *f, const char *path)
{
    static char text[4096];
    size_t n = 0;
    DIR *dir = opendir(real(f, path));
    assert_non_null(dir);
    text[0] = '\0';
    for (struct dirent *d; (d = readdir(dir));)
        if (strcmp(d->d_name, ".") && strcmp(d->d_name, ".."))
            n += (size_t)snprintf(text + n, sizeof text - n, "%s ", d->d_name);
    closedir(dir);
    return text;
}
