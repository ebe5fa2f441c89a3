/* SPDX-License-Identifier: MIT
 *
 * The log: one line a message, appended to a file that is opened for each line.
 *
 * What must hold: nothing stays open, nothing is allocated, a line is one write() so that lines of
 * several processes never mix, and logging never disturbs the program: no signal for a full disk or a
 * pipe without a reader reaches it, and a FIFO that nobody reads doesn't block it.
 */
#include "types.h"

#include <stdarg.h>

#define LINE_MAX_BYTES 512
#define SIGNAL_BIT(sig) ((uint64_t)1 << ((sig)-1))

static enum ovl_log log_level;
static const char *log_file;

void ovl_log_set(enum ovl_log level, const char *file)
{
    log_level = level;
    log_file = file && *file ? file : NULL;
}

bool ovl_log_wants(enum ovl_log level)
{
    return log_file && level <= log_level;
}

/* Add a part with control characters made visible, so that one message is one line. False if it was cut. */
static bool add(char *line, size_t *length, const char *part)
{
    for (; *part; part++) {
        if (*length == LINE_MAX_BYTES - 1)
            return false;
        line[(*length)++] = (char)((unsigned char)*part < ' ' || *part == 0x7f ? '?' : *part);
    }
    return true;
}

/* write(2) may raise SIGXFSZ (file size limit) and SIGPIPE in a program that expects neither. */
static void write_quietly(int fd, const char *line, size_t n)
{
    uint64_t quiet = SIGNAL_BIT(SIGXFSZ) | SIGNAL_BIT(SIGPIPE), old = 0;
    const struct timespec now = {0, 0};
    if (ovl_sys_sigprocmask(SIG_BLOCK, &quiet, &old) < 0)
        return;
    ssize_t r = ovl_sys_write(fd, line, n);
    uint64_t raised = (r == -EFBIG ? SIGNAL_BIT(SIGXFSZ) : r == -EPIPE ? SIGNAL_BIT(SIGPIPE) : 0) & ~old;
    if (raised)
        ovl_sys_raw(SYS_rt_sigtimedwait, OVL_SYS_PTR(&raised), 0, OVL_SYS_PTR(&now), OVL_SIGSET_BYTES, 0, 0);
    ovl_sys_sigprocmask(SIG_SETMASK, &old, NULL);
}

void ovl_append_line(const char *file, const char *line, size_t n)
{
    int fd = ovl_sys_open(AT_FDCWD, file, OVL_LOG_FLAGS, 0600);
    if (fd < 0)
        return;
    write_quietly(fd, line, n);
    ovl_sys_close(fd);
}

void ovl_log_line(enum ovl_log level, const char *first, ...)
{
    if (!ovl_log_wants(level))
        return;
    char line[LINE_MAX_BYTES];
    size_t length = 0;
    bool whole = add(line, &length, "libovl: ");
    va_list parts;
    va_start(parts, first);
    for (const char *part = first; part && whole; part = va_arg(parts, const char *))
        whole = add(line, &length, part);
    va_end(parts);
    for (size_t cut = 1; !whole && cut <= 3; cut++)
        line[length - cut] = '.';
    line[length++] = '\n';
    ovl_append_line(log_file, line, length);
}
