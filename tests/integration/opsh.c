/* SPDX-License-Identifier: MIT
 *
 * opsh: reads operations, runs them, prints one answer each (see opsh.h).  Words are separated by
 * blanks; \s \t \n \\ \xHH escape, "" is the empty word and NULL the null pointer.  '#' begins a
 * comment line, which gives no answer; a word that begins with '!' and what follows it is the reader's.
 */
#include "opsh.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

/* Times after this one were made by the run: all times that tests set lie before it. */
static const time_t NOW = 1700000000;

/* Seconds after which an operation that waits (for the other end of a FIFO, say) ends with EINTR, or OPSH_PATIENCE. */
#define PATIENCE 10

int slot[SLOTS];

static const struct {
    const char *name;
    int value;
} constant[] = {
#define C(x)                                                                                                           \
    {                                                                                                                  \
#x, x                                                                                                          \
    }
    C(O_RDONLY),
    C(O_WRONLY),
    C(O_RDWR),
    C(O_CREAT),
    C(O_EXCL),
    C(O_TRUNC),
    C(O_APPEND),
    C(O_DIRECTORY),
    C(O_NOFOLLOW),
    C(O_PATH),
    C(O_TMPFILE),
    C(O_CLOEXEC),
    C(O_NONBLOCK),
    C(O_SYNC),
    C(O_NOATIME),
    C(AT_SYMLINK_NOFOLLOW),
    C(AT_SYMLINK_FOLLOW),
    C(AT_REMOVEDIR),
    C(AT_EMPTY_PATH),
    C(AT_EACCESS),
    C(RENAME_NOREPLACE),
    C(RENAME_EXCHANGE),
    C(RENAME_WHITEOUT),
    C(F_OK),
    C(R_OK),
    C(W_OK),
    C(X_OK),
    C(SEEK_SET),
    C(SEEK_CUR),
    C(SEEK_END),
    C(SEEK_DATA),
    C(SEEK_HOLE),
    C(S_IFREG),
    C(S_IFIFO),
    C(S_IFSOCK),
    C(S_IFCHR),
    C(S_IFBLK),
    C(S_IFDIR),
    C(XATTR_CREATE),
    C(XATTR_REPLACE),
    C(FALLOC_FL_KEEP_SIZE),
    C(FALLOC_FL_PUNCH_HOLE),
    C(FALLOC_FL_ZERO_RANGE),
    C(RESOLVE_BENEATH),
    C(RESOLVE_IN_ROOT),
    C(RESOLVE_NO_SYMLINKS),
    C(RESOLVE_NO_MAGICLINKS),
    C(RESOLVE_NO_XDEV),
#undef C
};

static int constant_value(const char *name, size_t n)
{
    for (size_t i = 0; i < sizeof constant / sizeof *constant; i++)
        if (strlen(constant[i].name) == n && memcmp(constant[i].name, name, n) == 0)
            return constant[i].value;
    char *end;
    long v = strtol(name, &end, 0);
    if (end != name + n) {
        fprintf(stderr, "opsh: no such constant: %.*s\n", (int)n, name);
        exit(2);
    }
    return (int)v;
}

int number(const char *word)
{
    int sum = 0;
    while (word) {
        size_t n = strcspn(word, "|");
        sum |= constant_value(word, n);
        word = word[n] ? word + n + 1 : NULL;
    }
    return sum;
}

int fd_of(const char *word)
{
    if (strcmp(word, "cwd") == 0)
        return AT_FDCWD;
    if (strcmp(word, "bad") == 0)
        return 999;
    return slot[number(word) % SLOTS];
}

void keep(const char *word, int fd)
{
    slot[number(word) % SLOTS] = fd;
    say(fd);
}

struct timespec time_of(const char *word)
{
    struct timespec t = {0, 0};
    if (strcmp(word, "now") == 0)
        t.tv_nsec = UTIME_NOW;
    else if (strcmp(word, "omit") == 0)
        t.tv_nsec = UTIME_OMIT;
    else
        sscanf(word, "%ld.%ld", &t.tv_sec, &t.tv_nsec);
    return t;
}

int identity(dev_t dev, ino_t ino)
{
    static struct {
        dev_t dev;
        ino_t ino;
        int question;
    } seen[1024];
    static int n, questions;
    int i = 0;
    questions++;
    while (i < n && (seen[i].dev != dev || seen[i].ino != ino))
        i++;
    if (i == n && n < (int)(sizeof seen / sizeof *seen)) {
        seen[n].dev = dev;
        seen[n].question = questions;
        seen[n++].ino = ino;
    }
    return i < n ? seen[i].question : questions;
}

void put_escaped(const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)bytes[i];
        if (c <= ' ' || c >= 127 || c == '\\')
            printf("\\x%02x", c);
        else
            putchar(c);
    }
}

void say_errno(void)
{
    const char *name = strerrorname_np(errno);
    printf("%s\n", name ? name : "?");
}

void say(long r)
{
    if (r < 0)
        say_errno();
    else
        puts("ok");
}

void say_number(long r)
{
    if (r < 0)
        say_errno();
    else
        printf("ok %ld\n", r);
}

void say_bytes(const char *bytes, ssize_t n)
{
    if (n < 0) {
        say_errno();
        return;
    }
    fputs("ok ", stdout);
    put_escaped(bytes, (size_t)n);
    putchar('\n');
}

void say_string(const char *s)
{
    say_bytes(s, s ? (ssize_t)strlen(s) : -1);
}

/* FNV-1a: enough to tell two contents apart. */
uint64_t hash_of(const void *bytes, size_t n, uint64_t start)
{
    const unsigned char *b = bytes;
    for (size_t i = 0; i < n; i++)
        start = (start ^ b[i]) * 0x100000001b3u;
    return start;
}

void say_hash(const void *bytes, ssize_t n)
{
    if (n < 0)
        say_errno();
    else
        printf("ok %zd #%016llx\n", n, (unsigned long long)hash_of(bytes, (size_t)n, HASH_START));
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

void say_names(const char *list, ssize_t n)
{
    const char *name[64];
    size_t names = 0;
    if (n < 0) {
        say_errno();
        return;
    }
    for (const char *p = list; p < list + n && names < 64; p += strlen(p) + 1)
        name[names++] = p;
    qsort(name, names, sizeof *name, by_name);
    fputs("ok", stdout);
    for (size_t i = 0; i < names; i++)
        printf(" %s", name[i]);
    putchar('\n');
}

char type_letter(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG:
        return 'f';
    case S_IFDIR:
        return 'd';
    case S_IFLNK:
        return 'l';
    case S_IFIFO:
        return 'p';
    case S_IFSOCK:
        return 's';
    case S_IFCHR:
        return 'c';
    default:
        return 'b';
    }
}

void put_stat(const struct stat *st)
{
    printf("%c %04o", type_letter(st->st_mode), st->st_mode & 07777u);
    if (!S_ISDIR(st->st_mode))
        printf(" nlink=%lu size=%ld", (unsigned long)st->st_nlink, (long)st->st_size);
    printf(" %u:%u ", st->st_uid, st->st_gid);
    if (st->st_mtim.tv_sec > NOW)
        fputs("now", stdout);
    else
        printf("%ld.%09ld", (long)st->st_mtim.tv_sec, st->st_mtim.tv_nsec);
}

static int hex(char c)
{
    const char *digits = "0123456789abcdef", *at = strchr(digits, c);
    return at ? (int)(at - digits) : 0;
}

size_t value_of(char *word)
{
    if (strncmp(word, "0x", 2) != 0)
        return strlen(word);
    size_t n = 0;
    for (const char *in = word + 2; in[0] && in[1]; in += 2)
        word[n++] = (char)(hex(in[0]) * 16 + hex(in[1]));
    return n;
}

/* Undo the escapes of one word in place. */
static char *unescape(char *word)
{
    if (strcmp(word, "NULL") == 0)
        return NULL;
    char *out = word;
    if (strcmp(word, "\"\"") == 0)
        *out = 0;
    else {
        for (char *in = word; *in; in++) {
            char c = *in;
            if (c == '\\' && in[1]) {
                c = *++in;
                c = c == 's' ? ' ' : c == 't' ? '\t' : c == 'n' ? '\n' : c;
                if (c == 'x' && in[1] && in[2]) {
                    c = (char)(hex(in[1]) * 16 + hex(in[2]));
                    in += 2;
                }
            }
            *out++ = c;
        }
        *out = 0;
    }
    return word;
}

static const struct op *find(const struct op *op, const char *name)
{
    while (op->name && strcmp(op->name, name) != 0)
        op++;
    return op->name ? op : NULL;
}

static unsigned patience(void)
{
    const char *text = getenv("OPSH_PATIENCE");
    return text ? (unsigned)atoi(text) : PATIENCE;
}

void run_words(char **argv)
{
    int argc = 0;
    while (argv[argc])
        argc++;
    const struct op *op = find(file_ops, argv[0]);
    if (!op)
        op = find(path_ops, argv[0]);
    if (!op)
        op = find(dir_ops, argv[0]);
    if (!op)
        op = find(hold_ops, argv[0]);
    if (!op)
        op = find(process_ops, argv[0]);
    if (!op || argc - 1 < op->arguments) {
        fprintf(stderr, "opsh: %s: no such operation, or too few arguments\n", argv[0]);
        exit(2);
    }
    for (int i = 1; i < argc && find(process_ops, argv[0]) != op; i++)
        argv[i] = unescape(argv[i]);
    errno = 0;
    /* A program that an operation starts would inherit the clock. */
    bool timed = find(file_ops, argv[0]) == op || find(path_ops, argv[0]) == op;
    if (timed)
        alarm(patience());
    op->run(argv);
    if (timed)
        alarm(0);
    fflush(stdout);
}

static void interrupt(int signal)
{
    (void)signal;
}

static void run_line(char *line)
{
    char *argv[24] = {0};
    int argc = 0;
    for (char *word = strtok(line, " \n"); word && *word != '!' && argc < 15; word = strtok(NULL, " \n"))
        argv[argc++] = word;
    if (argc && argv[0][0] != '#')
        run_words(argv);
}

/* SLOT=FD...: descriptors that were inherited. */
int main(int argc, char **argv)
{
    char *line = NULL;
    size_t size = 0;
    for (int i = 0; i < SLOTS; i++)
        slot[i] = -1;
    for (int i = 1; i < argc; i++) {
        char *fd = strchr(argv[i], '=');
        if (fd)
            slot[number(strtok(argv[i], "=")) % SLOTS] = (int)strtol(fd + 1, NULL, 10);
    }
    const struct sigaction interrupting = {.sa_handler = interrupt};
    sigaction(SIGALRM, &interrupting, NULL);
    while (getline(&line, &size, stdin) > 0)
        run_line(line);
    free(line);
    return 0;
}
