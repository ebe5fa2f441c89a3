/* SPDX-License-Identifier: MIT
 *
 * wordexp: the expansions are libc's own, but for the last one, of file names.
 *
 * libc's glob inside can't be reached, so it gets the text with other characters in place of the wildcards that
 * stand outside of quotes and substitutions, and the words that come out with such characters in them are given to
 * our glob.  A command is run by libc too, by the real /bin/sh, which stays inside by its environment.
 */
#define _GNU_SOURCE
#include "boundary.h"
#include "env.h"
#include "real.h"
#include "scratch.h"
#include "wrap.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wordexp.h>

static const char wildcards[] = "*?[";
#define MARK_FIRST '\001' /* stands for '*', the next two for '?' and '[' */
#define IS_MARK(c) ((c) >= MARK_FIRST && (c) < MARK_FIRST + (char)(sizeof wildcards - 1))

/* ---- marking ------------------------------------------------------------------------------------------ */

/* Where a quoted part or a substitution that begins at p ends: at its last character, or at the end of the text. */
static const char *skip(const char *p);

static const char *skip_until(const char *p, char open, char close)
{
    for (int depth = 1; *p; p++) {
        if (*p == close && --depth == 0)
            return p;
        if (*p == open)
            depth++;
        else
            p = skip(p);
        if (!*p)
            break;
    }
    return p;
}

static const char *skip(const char *p)
{
    if (*p == '\\')
        return p[1] ? p + 1 : p;
    if (*p == '$' && p[1] == '(')
        return skip_until(p + 2, '(', ')');
    if (*p == '$' && p[1] == '{')
        return skip_until(p + 2, '{', '}');
    if (*p != '\'' && *p != '"' && *p != '`')
        return p;
    for (char quote = *p++; *p && *p != quote; p++) {
        if (quote != '\'' && (*p == '\\' || (*p == '$' && quote == '"') || (*p == '`' && quote == '"')))
            p = skip(p);
        if (!*p)
            break;
    }
    return p;
}

/* Put marks in place of wildcards; whether there was any. */
static bool mark_wildcards(char *text)
{
    bool any = false;
    for (char *p = text; *p; p++) {
        const char *wildcard = strchr(wildcards, *p);
        if (wildcard) {
            *p = (char)(MARK_FIRST + (wildcard - wildcards));
            any = true;
            continue;
        }
        p = text + (skip(p) - text);
        if (!*p)
            break;
    }
    return any;
}

static bool has_mark(const char *word)
{
    while (*word && !IS_MARK(*word))
        word++;
    return *word != '\0';
}

static void restore_wildcards(char *word)
{
    for (; *word; word++)
        if (IS_MARK(*word))
            *word = wildcards[*word - MARK_FIRST];
}

/* ---- words that are patterns ---------------------------------------------------------------------------- */

/* Words that wordfree can free: there is always room for those of the old list that are still to come. */
struct words {
    char **list;
    size_t count, room;
};

/* Put the names that a word with marks matches in its place; if there are none, the word as it is.  It is taken.  As in
 * libc, one wildcard outside of quotes makes all others in the word wildcards too. */
static int add_matches(struct words *words, char *word)
{
    glob_t found = {.gl_pathc = 0};
    restore_wildcards(word);
    int r = wrap_glob(word, 0, NULL, &found);
    if (r == GLOB_NOMATCH || r == GLOB_ABORTED) {
        words->list[words->count++] = word;
        return 0;
    }
    free(word);
    char **list = r == 0 ? reallocarray(words->list, words->room + found.gl_pathc, sizeof *list) : NULL;
    if (list) {
        words->list = list;
        words->room += found.gl_pathc;
    }
    r = list ? 0 : WRDE_NOSPACE;
    for (size_t i = 0; i < found.gl_pathc && r == 0; i++) {
        char *name = strdup(found.gl_pathv[i]);
        if (name)
            words->list[words->count++] = name;
        else
            r = WRDE_NOSPACE;
    }
    globfree(&found);
    return r;
}

/* Expand the words from index `from` on. After an error the list has those that were done. */
static int expand_words(wordexp_t *result, size_t from)
{
    size_t end = result->we_offs + result->we_wordc;
    struct words words = {.list = reallocarray(NULL, end + 1, sizeof(char *)), .room = end + 1};
    int r = words.list ? 0 : WRDE_NOSPACE;
    for (size_t i = 0; i < end && words.list; i++) {
        char *word = result->we_wordv[i];
        if (i < from || (r == 0 && !has_mark(word)))
            words.list[words.count++] = word; /* those in front may be NULL */
        else if (r == 0)
            r = add_matches(&words, word);
        else
            free(word);
    }
    if (!words.list)
        return r;
    words.list[words.count] = NULL;
    free(result->we_wordv);
    result->we_wordv = words.list;
    result->we_wordc = words.count - result->we_offs;
    return r;
}

/* ---- commands ------------------------------------------------------------------------------------------------ */

/* Whether libc will run a command, without "${X=word}" too, which makes a copy of the environment. */
static bool runs_command(const char *text, int flags)
{
    return !(flags & WRDE_NOCMD) && (strchr(text, '`') || strstr(text, "$(")) && !strstr(text, "${");
}

/* libc's own call, with an environment that keeps the shell of a command inside. */
static int expand_inside(const char *text, wordexp_t *result, int flags)
{
    struct shim_call call;
    if (!runs_command(text, flags) || shim_env_lets_out(environ) || !shim_begin(&call, "wordexp"))
        return REAL(wordexp)(text, result, flags);
    void *mark = shim_scratch_mark();
    const struct shim_loader none = {.audit = NULL}; /* the shell that libc runs */
    char **own = environ, **inside = shim_env_inside(&call, own, &none, NULL);
    int r = WRDE_NOSPACE;
    if (inside) {
        environ = inside;
        r = REAL(wordexp)(text, result, flags);
        environ = own;
    }
    shim_scratch_release(mark);
    shim_leave(&call, 0);
    return r;
}

int wrap_wordexp(const char *text, wordexp_t *result, int flags)
{
    if (!shim_is_active())
        return REAL(wordexp)(text, result, flags);
    char *marked = strdup(text);
    if (!marked)
        return WRDE_NOSPACE;
    bool any = mark_wildcards(marked);
    size_t before = (flags & WRDE_APPEND) ? result->we_wordc : 0;
    int r = expand_inside(marked, result, flags);
    if (any && r == 0)
        r = expand_words(result, result->we_offs + before);
    free(marked);
    return r;
}

#define SHIM_FILE_words
#include "export.h"
