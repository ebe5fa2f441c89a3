/* SPDX-License-Identifier: MIT
 *
 * What people are told.  What must hold: stdout has results only, and a name never reaches a terminal as a command.
 */
#include "output.h"

#include <errno.h>
#include <ovl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* How many bytes are a character that does nothing but show; 0: a control character, those of ISO 6429 (C1) too, which
 * a terminal can take as bytes or as UTF-8. */
static size_t plain(const char *p)
{
    const unsigned char *byte = (const unsigned char *)p;
    size_t n = ovl_utf8(p);
    if (n > 1)
        return byte[0] == 0xc2 && byte[1] < 0xa0 ? 0 : n;
    return byte[0] < ' ' || (byte[0] >= 0x7f && byte[0] < 0xa0) ? 0 : 1;
}

static void put(FILE *to, const char *string, bool backslashes)
{
    for (const char *p = string; *p;) {
        size_t n = backslashes && *p == '\\' ? 0 : plain(p);
        if (n)
            fwrite(p, 1, n, to);
        else
            fprintf(to, "\\%03o", (unsigned char)*p);
        p += n ? n : 1;
    }
}

/* One line, whatever is in the names that it is about. */
static void line(const char *format, va_list list)
{
    char *made;
    fflush(stdout); /* in the order in which it was said, where both are one terminal */
    if (vasprintf(&made, format, list) < 0)
        return;
    fputs("ovl: ", stderr);
    put(stderr, made, false);
    fputc('\n', stderr);
    free(made);
}

void complain(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    line(format, list);
    va_end(list);
}

void tell(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    line(format, list);
    va_end(list);
}

int usage_error(const char *command, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    line(format, list);
    va_end(list);
    fprintf(stderr, "Try: ovl %s%s--help\n", command, *command ? " " : "");
    return STATUS_USAGE;
}

void no_memory(void)
{
    complain("out of memory");
    exit(STATUS_FAILED);
}

void *need(void *memory)
{
    if (!memory)
        no_memory();
    return memory;
}

char *text(const char *format, ...)
{
    char *made = NULL;
    va_list list;
    va_start(list, format);
    if (vasprintf(&made, format, list) < 0)
        made = NULL;
    va_end(list);
    return need(made);
}

/* ---- colours ------------------------------------------------------------------------------------- */

static int colored = -1;

bool color_choose(const char *when)
{
    if (strcmp(when, "auto") == 0)
        colored = -1;
    else if (strcmp(when, "always") == 0 || strcmp(when, "never") == 0)
        colored = *when == 'a';
    else
        return false;
    return true;
}

static bool is_colored(void)
{
    if (colored < 0) {
        const char *terminal = getenv("TERM"), *no_color = getenv("NO_COLOR");
        colored = isatty(STDOUT_FILENO) && terminal && strcmp(terminal, "dumb") != 0 && !(no_color && *no_color);
    }
    return colored;
}

const char *color_begin(enum color color)
{
    static const char *const begin[] = {"", "\033[32m", "\033[31m", "\033[33m", "\033[1m"};
    return is_colored() ? begin[color] : "";
}

const char *color_end(void)
{
    return is_colored() ? "\033[m" : "";
}

/* ---- results ------------------------------------------------------------------------------------- */

void print_path(FILE *to, const char *path)
{
    put(to, path, true);
}

const char *kind_name(mode_t mode)
{
    return S_ISDIR(mode)    ? "directory"
           : S_ISREG(mode)  ? "file"
           : S_ISLNK(mode)  ? "symbolic link"
           : S_ISFIFO(mode) ? "fifo"
           : S_ISSOCK(mode) ? "socket"
                            : "device";
}

int finish_output(int status)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return status;
    complain("stdout: %s", strerror(errno));
    return STATUS_FAILED;
}
