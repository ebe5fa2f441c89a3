/* SPDX-License-Identifier: MIT
 *
 * Scenarios of functions that open files by themselves inside libc: wordexp, catopen, the login records, the loader;
 * and functions that only newer libraries have.
 */
#include "families.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <nl_types.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utmp.h>
#include <utmpx.h>
#include <wordexp.h>

/* ---- words ----------------------------------------------------------------------------------------- */

static void print_words(const char *text, int r, const wordexp_t *words)
{
    printf("%s: %d", text, r);
    for (size_t i = 0; r == 0 && i < words->we_wordc; i++)
        printf(" [%s]", words->we_wordv[words->we_offs + i]);
    puts("");
}

void do_words(void)
{
    static const char *const texts[] = {"f*",
                                        "*",
                                        "d*/f*",
                                        "dir/?ile",
                                        "[fl]i*",
                                        "nomatch*",
                                        "go*",
                                        "'f*'",
                                        "\"f*\"",
                                        "f\\*",
                                        "f'*'*",
                                        "\"fi\"*",
                                        "$V",
                                        "\"$V\"",
                                        "$V*",
                                        "${V}",
                                        "${U:-f*}",
                                        "${V%*}*",
                                        "$((2*3))",
                                        "$((2*3))*",
                                        "$(echo f*)",
                                        "`ls d*`",
                                        "$(cat file)*",
                                        "$(echo '*')",
                                        "\"$(echo \"*\")\"",
                                        "f* d*",
                                        "a|b",
                                        "{a,b}",
                                        "(f*)",
                                        "f*\nx",
                                        "\"f*",
                                        "$(",
                                        "${",
                                        "f[",
                                        "f[i",
                                        "*\\",
                                        "",
                                        "~root/*x*",
                                        "$(echo a b)*",
                                        "./f*",
                                        "x=f*",
                                        ".*",
                                        "u*"};
    wordexp_t words = {0};
    setenv("V", "f*", 1);
    if (chdir(root))
        return;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        int r = wordexp(texts[i], &words, 0);
        print_words(texts[i], r, &words);
        if (r == 0)
            wordfree(&words);
    }
    print_words("no command", wordexp("$(ls) f*", &words, WRDE_NOCMD), &words);
    print_words("undefined", wordexp("$NOTHING*", &words, WRDE_UNDEF), &words);
    words.we_offs = 2;
    print_words("offset", wordexp("f* x", &words, WRDE_DOOFFS), &words);
    printf("free %d\n", !words.we_wordv[0] && !words.we_wordv[1] && !words.we_wordv[words.we_offs + words.we_wordc]);
    print_words("append", wordexp("di* 'y*'", &words, WRDE_DOOFFS | WRDE_APPEND), &words);
    print_words("reuse", wordexp("go* mt*", &words, WRDE_REUSE), &words);
    wordfree(&words);
    setenv("OVL_PROBE", "1", 1);
    print_words("environment", wordexp("$(echo $OVL_PROBE)", &words, 0), &words);
    printf("still there %s\n", getenv("OVL_PROBE"));
}

/* ---- message catalogs --------------------------------------------------------------------------------- */

static void use_catalog(const char *what, nl_catd catalog)
{
    printf("%s: %s\n", what, catalog == (nl_catd)-1 ? error_name() : catgets(catalog, 1, 1, "none"));
    if (catalog != (nl_catd)-1)
        catclose(catalog);
    errno = 0;
}

void do_catalog(void)
{
    char path[4200];
    errno = 0;
    use_catalog("by path", catopen(in("cat/messages.cat"), 0));
    use_catalog("gone", catopen(in("cat/gone.cat"), 0));
    use_catalog("missing", catopen(in("cat/missing.cat"), 0));
    if (chdir(in("cat")))
        return;
    use_catalog("relative", catopen("./messages.cat", 0));
    setenv("LANG", "xx_YY.UTF-8", 1);
    static const char *const patterns[] = {"%N.cat",       "%L/%N",        "%l/%N.cat",
                                           "%l_%t/%N.cat", "%l.%c/%N.cat", "none/%N:%%/%N"};
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        snprintf(path, sizeof path, "/nothing/%%N::%s/%s", in("cat"), patterns[i]);
        setenv("NLSPATH", path, 1);
        use_catalog(patterns[i], catopen("messages", 0));
    }
    setenv("NLSPATH", in("cat/%N"), 1);
    use_catalog("name with ending", catopen("messages.cat", 0));
    use_catalog("nowhere", catopen("nosuchcatalog", 0));
}

/* ---- who is logged in ------------------------------------------------------------------------------------ */

static void list_logins(const char *name)
{
    printf("utmpname %d:", utmpname(in(name)));
    setutent();
    for (struct utmp *entry; (entry = getutent()) != NULL;)
        printf(" %s/%s/%d", entry->ut_user, entry->ut_line, entry->ut_type);
    endutent();
    puts("");
}

void do_login(void)
{
    struct utmp entry = {.ut_type = USER_PROCESS, .ut_id = "p1", .ut_line = "pts/1", .ut_user = "first"};
    list_logins("utmp");
    updwtmp(in("utmp"), &entry);
    list_logins("utmp");
    strcpy(entry.ut_user, "second");
    utmpname(in("utmp"));
    setutent();
    printf("put %d\n", pututline(&entry) != NULL);
    strcpy(entry.ut_id, "p2");
    strcpy(entry.ut_line, "pts/2");
    printf("put %d\n", pututxline((struct utmpx *)(void *)&entry) != NULL);
    endutent();
    list_logins("utmp");
    updwtmp(in("missing"), &entry);
    show_file("missing");
    list_logins("gone");
    updwtmpx(in("gone"), (struct utmpx *)(void *)&entry);
    show_file("gone");
}

/* ---- the loader -------------------------------------------------------------------------------------------- */

static void load(const char *path)
{
    void *library = dlopen(path, RTLD_NOW);
    int (*number)(void) = library ? (int (*)(void))dlsym(library, "number") : NULL;
    Dl_info info = {0};
    if (number)
        dladdr((void *)number, &info);
    const char *message = library ? "" : dlerror();
    char name[4096];
    printf("%s: %d %s %s\n", path, number ? number() : -1, info.dli_fname ? realpath(info.dli_fname, name) : "-",
           strstr(message, "cannot open") ? "cannot open" : message);
    if (library)
        dlclose(library);
}

void do_library(void)
{
    load(in("lib/low.so"));
    load(in("lib/top.so"));
    load(in("lib/both.so"));
    load(in("lib/gone.so"));
    load(in("lib/missing.so"));
    load(in("lib/link.so"));
    load(in("lib/../lib/low.so"));
    if (chdir(in("lib")))
        return;
    load("./both.so");
    load("../lib/gone.so");
    void *self = dlopen(NULL, RTLD_NOW);
    printf("self %d\n", self && dlsym(self, "printf"));
    void *other = dlmopen(LM_ID_NEWLM, in("lib/both.so"), RTLD_NOW);
    printf("own name space %d\n", other != NULL);
}

/* ---- newer functions ----------------------------------------------------------------------------------------- */

void do_newer(void)
{
    int (*spawn)(int *, const char *, const void *, const void *, char *const[], char *const[]) =
        (int (*)(int *, const char *, const void *, const void *, char *const[], char *const[]))dlsym(RTLD_DEFAULT,
                                                                                                      "pidfd_spawnp");
    int (*openat2)(int, const char *, const struct open_how *, size_t) =
        (int (*)(int, const char *, const struct open_how *, size_t))dlsym(RTLD_DEFAULT, "openat2");
    if (!spawn || !openat2)
        exit(77);
    char *arguments[] = {"cat", (char *)in("dir/file"), NULL};
    siginfo_t info = {0};
    int fd = -1;
    fflush(stdout);
    printf("spawn %d\n", spawn(&fd, "cat", NULL, NULL, arguments, environ));
    int waited = waitid(P_PIDFD, (id_t)fd, &info, WEXITED);
    printf("wait %d status %d close-on-exec %d\n", waited, info.si_status, fcntl(fd, F_GETFD));
    close(fd);
    printf("missing %d", spawn(&fd, "/nowhere", NULL, NULL, arguments, environ));
    printf(" next %d\n", dup(0));
    const struct open_how how = {.flags = O_WRONLY};
    result("openat2", openat2(AT_FDCWD, in("file"), &how, sizeof how) >= 0);
    show_file("file");
}
