/* SPDX-License-Identifier: MIT
 *
 * Asks libc what it reads files for by itself: name services, locale, messages, character sets, time zones.
 * `inside WHAT ARGUMENTS` prints an answer a line, "-" where there is none.
 */
#include <aliases.h>
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <iconv.h>
#include <langinfo.h>
#include <libintl.h>
#include <locale.h>
#include <netdb.h>
#include <nl_types.h>
#include <pthread.h>
#include <pwd.h>
#include <semaphore.h>
#include <setjmp.h>
#include <shadow.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <utmpx.h>

#define ROUNDS 300

static void say(const char *what, const char *answer)
{
    printf("%s %s\n", what, answer ? answer : "-");
}

static int name_services(char **name)
{
    const struct passwd *pw = getpwnam(name[0]);
    say("getpwnam", pw ? pw->pw_gecos : NULL);
    const char *seen = NULL;
    setpwent();
    while ((pw = getpwent()))
        if (strcmp(pw->pw_name, name[0]) == 0)
            seen = pw->pw_dir;
    endpwent();
    say("getpwent", seen);
    struct passwd one, *result = NULL;
    char buffer[4096];
    getpwuid_r(4242, &one, buffer, sizeof buffer, &result);
    say("getpwuid_r", result ? one.pw_name : NULL);
    const struct group *gr = getgrnam(name[1]);
    say("getgrnam", gr && gr->gr_mem[0] ? gr->gr_mem[0] : NULL);
    const struct hostent *host = gethostbyname(name[2]);
    say("gethostbyname", host ? inet_ntoa(*(struct in_addr *)(void *)host->h_addr_list[0]) : NULL);
    struct addrinfo *found = NULL, hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM};
    char text[64] = "-";
    if (getaddrinfo(name[2], name[3], &hints, &found) == 0)
        snprintf(text, sizeof text, "%d", ntohs(((struct sockaddr_in *)(void *)found->ai_addr)->sin_port));
    say("getaddrinfo", text);
    const struct servent *service = getservbyname(name[3], "tcp");
    snprintf(text, sizeof text, "%d", service ? ntohs((uint16_t)service->s_port) : -1);
    say("getservbyname", text);
    const struct protoent *protocol = getprotobyname(name[4]);
    snprintf(text, sizeof text, "%d", protocol ? protocol->p_proto : -1);
    say("getprotobyname", text);
    const struct netent *network = getnetbyname(name[5]);
    snprintf(text, sizeof text, "%x", network ? network->n_net : 0);
    say("getnetbyname", text);
    return 0;
}

static int zone(void)
{
    time_t t = 0;
    char text[80];
    tzset();
    strftime(text, sizeof text, "%H:%M %Z", localtime(&t));
    say("localtime", text);
    return 0;
}

static int locale_of(char **name)
{
    time_t t = 0;
    char text[80];
    say("setlocale", setlocale(LC_ALL, name[0]));
    say("nl_langinfo", nl_langinfo(DAY_5));
    strftime(text, sizeof text, "%A", gmtime(&t));
    say("strftime", text);
    return 0;
}

static int conversion(char **name)
{
    for (; *name; name++) {
        char in[] = "x", out[16] = "";
        char *from = in, *to = out;
        size_t left = 1, room = sizeof out;
        iconv_t c = iconv_open(*name, "UTF-8");
        if (c == (iconv_t)-1) {
            say(*name, NULL);
            continue;
        }
        iconv(c, &from, &left, &to, &room);
        iconv_close(c);
        snprintf(out, sizeof out, "%zu bytes", 16 - room);
        say(*name, out);
    }
    return 0;
}

/* gettext NAME DIRECTORY|- MESSAGE */
static int messages(char **name)
{
    setlocale(LC_ALL, "");
    if (strcmp(name[1], "-") != 0)
        bindtextdomain(name[0], name[1]);
    textdomain(name[0]);
    say("gettext", gettext(name[2]));
    return 0;
}

static int catalogue(char **name)
{
    setlocale(LC_ALL, "");
    nl_catd c = catopen(name[0], NL_CAT_LOCALE);
    say("catgets", c == (nl_catd)-1 ? NULL : catgets(c, 1, 1, "?"));
    return 0;
}

/* What the user data base says now; libc looks at the files' times. */
static int look_again(char **name)
{
    say("before", getpwnam(name[0]) ? "there" : NULL);
    FILE *f = fopen(name[1], "a");
    if (!f || fprintf(f, "%s:x:4343:4343::/:/bin/sh\n", name[0]) < 0 || fclose(f) != 0)
        return 1;
    say("after", getpwnam(name[0]) ? "there" : NULL);
    return 0;
}

static int own_lock(void)
{
    say("lckpwdf", lckpwdf() == 0 ? "locked" : strerror(errno));
    ulckpwdf();
    return 0;
}

static int users(char **name)
{
    struct utmpx entry = {.ut_type = USER_PROCESS, .ut_pid = 77};
    strcpy(entry.ut_user, "zaphod");
    strcpy(entry.ut_line, "pts/7");
    utmpxname(name[0]);
    setutxent();
    say("pututxline", pututxline(&entry) ? "written" : strerror(errno));
    setutxent();
    const struct utmpx *found = getutxline(&entry);
    say("getutxline", found ? found->ut_user : NULL);
    return 0;
}

static int shared(void)
{
    const char *name = "/ovl-inside";
    sem_t *s = sem_open(name, O_CREAT, 0600, 1);
    say("sem_open", s == SEM_FAILED ? strerror(errno) : "made");
    say("sem_unlink", sem_unlink(name) == 0 ? "removed" : strerror(errno));
    int fd = shm_open(name, O_CREAT | O_RDWR, 0600);
    say("shm_open", fd < 0 ? strerror(errno) : "made");
    say("shm_unlink", shm_unlink(name) == 0 ? "removed" : strerror(errno));
    return 0;
}

/* ---- in the middle of calls ---------------------------------------------------------------------- */

static volatile sig_atomic_t rounds, wrong;
static const char *user, *file;
static sigjmp_buf out;

static int read_first(const char *path)
{
    char c = '-';
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, &c, 1) != 1 || close(fd) < 0)
        return -1;
    return c;
}

/* Not async-signal-safe: only while the program itself is in nothing but open and stat. */
static void ask_in_handler(int signal_number)
{
    (void)signal_number;
    const struct passwd *pw = getpwnam(user);
    if (!pw || strcmp(pw->pw_name, user) != 0 || read_first(file) != 'z')
        wrong = 1;
    rounds++;
}

static void jump_out(int signal_number)
{
    (void)signal_number;
    rounds++;
    siglongjmp(out, 1);
}

static void every(long us, void (*handler)(int))
{
    struct sigaction action = {.sa_handler = handler};
    const struct itimerval timer = {{0, us}, {0, us}};
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &timer, NULL);
}

/* signals USER FILE OUTSIDE: handlers that look inside while calls are passed down, and that jump out of them. */
static int signals(char **name)
{
    struct stat st;
    user = name[0];
    file = name[1];
    getpwnam(user);
    every(500, ask_in_handler);
    while (rounds < ROUNDS)
        if (read_first(file) != 'z' || stat(name[2], &st) < 0 || read_first(name[2]) < 0)
            wrong = 1;
    every(0, SIG_DFL);
    say("handlers", wrong ? "wrong" : "right");
    rounds = 0;
    sigsetjmp(out, 1);
    if (rounds == 0)
        every(700, jump_out);
    while (rounds < ROUNDS)
        if (read_first(file) != 'z' || stat(file, &st) < 0)
            wrong = 1;
    every(0, SIG_DFL);
    const struct passwd *pw = getpwnam(user);
    say("after jumps", wrong || !pw ? "wrong" : pw->pw_gecos);
    return 0;
}

static void *ask_often(void *name)
{
    for (int i = 0; i < ROUNDS; i++) {
        struct passwd one, *result = NULL;
        char buffer[4096];
        getpwnam_r(name, &one, buffer, sizeof buffer, &result);
        if (!result || one.pw_uid != 4242)
            return name;
    }
    return NULL;
}

static int threads(char **name)
{
    pthread_t thread[8];
    void *bad = NULL;
    for (int i = 0; i < 8; i++)
        pthread_create(&thread[i], NULL, ask_often, name[0]);
    for (int i = 0; i < 8; i++) {
        void *answer;
        pthread_join(thread[i], &answer);
        bad = bad ? bad : answer;
    }
    say("threads", bad ? "wrong" : "right");
    return 0;
}

static void *open_for_ever(void *path)
{
    int fd = open(path, O_RDONLY);
    close(fd);
    return NULL;
}

static void *fopen_for_ever(void *path)
{
    FILE *f = fopen(path, "r");
    if (f)
        fclose(f);
    return NULL;
}

/* fifo PATH...: a thread that waits in open or fopen can be cancelled. */
static int fifos(char **path)
{
    void *(*const body[])(void *) = {open_for_ever, fopen_for_ever};
    for (; *path; path++)
        for (int i = 0; i < 2; i++) {
            pthread_t thread;
            void *answer = NULL;
            pthread_create(&thread, NULL, body[i], *path);
            usleep(50000);
            pthread_cancel(thread);
            pthread_join(thread, &answer);
            say(i ? "fopen" : "open", answer == PTHREAD_CANCELED ? "cancelled" : "returned");
        }
    return 0;
}

/* crowd FIFO NAMES: so many threads are in the middle of a call that memory for more has to be made. */
static int crowd(char **name)
{
    for (int i = 0; i < 40; i++) {
        pthread_t thread;
        pthread_create(&thread, NULL, open_for_ever, name[0]);
    }
    usleep(200000);
    name_services(name + 1);
    fflush(stdout);
    _exit(0);
}

/* A thread whose cancellation is pending is not cancelled by what libc opens with locks held. */
static void *load_locale(void *name)
{
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    pthread_cancel(pthread_self());
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
    return setlocale(LC_ALL, name) ? name : NULL;
}

static int pending(char **name)
{
    pthread_t thread;
    void *answer = NULL;
    pthread_create(&thread, NULL, load_locale, name[0]);
    pthread_join(thread, &answer);
    say("pending", answer == name[0] ? "loaded" : answer == PTHREAD_CANCELED ? "cancelled" : "missing");
    return 0;
}

static int child_of_vfork(char **name)
{
    static char text[64];
    pid_t pid = vfork();
    if (pid == 0) {
        const struct passwd *pw = getpwnam(name[0]);
        snprintf(text, sizeof text, "%s", pw ? pw->pw_gecos : "-");
        _exit(0);
    }
    waitpid(pid, NULL, 0);
    say("vfork", text);
    const struct passwd *pw = getpwnam(name[0]);
    say("parent", pw ? pw->pw_gecos : NULL);
    return 0;
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    static const struct {
        const char *name;
        int arguments;
        int (*function)(char **);
    } command[] = {
        {"names", 6, name_services}, {"locale", 1, locale_of}, {"iconv", 1, conversion}, {"gettext", 3, messages},
        {"catgets", 1, catalogue},   {"again", 2, look_again}, {"users", 1, users},      {"signals", 3, signals},
        {"threads", 1, threads},     {"crowd", 7, crowd},      {"fifo", 1, fifos},       {"vfork", 1, child_of_vfork},
        {"pending", 1, pending},
    };
    if (strcmp(what, "zone") == 0)
        return zone();
    if (strcmp(what, "shared") == 0)
        return shared();
    if (strcmp(what, "lock") == 0)
        return own_lock();
    for (size_t i = 0; i < sizeof command / sizeof *command; i++)
        if (strcmp(what, command[i].name) == 0 && argc - 2 >= command[i].arguments)
            return command[i].function(argv + 2);
    fprintf(stderr, "inside: what?\n");
    return 2;
}
