/* SPDX-License-Identifier: MIT
 *
 * Patching libc (patch.h): whether, what, and the writing.
 *
 * What must hold: it is done whole or not at all for each function, before there are other threads; a step that
 * the system refuses leaves libc as it was; nothing is patched that is not understood (patch_code.h).
 * libc's code stays executable all the time: where memory may not be writable and executable at once, the
 * first step fails, and not the last, which would leave libc without code.
 */
#define _GNU_SOURCE
#include "patch.h"

#include "hooks.h"
#include "patch_code.h"
#include "sys.h"
#include "text.h"

#include <errno.h>
#include <gnu/libc-version.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/single_threaded.h>

#define HOOKS_MAX 16
#pragma weak __libc_single_threaded

/* What is to be written where. */
struct plan {
    uint8_t *at[HOOKS_MAX];
    const void *body[HOOKS_MAX];
    unsigned count;
    char missing[320]; /* what can't be patched and why, for the log */
};

static bool tried;

/* ---- whether ------------------------------------------------------------------------------------- */

static bool is_below(const char *path, const char *top)
{
    size_t n = strlen(top);
    if (n == 1)
        n = 0; /* the root */
    return strncmp(path, top, n) == 0 && (path[n] == '/' || !path[n]);
}

static bool covers(const struct ovl *o, const char *place)
{
    return is_below(place, ovl_mount(o)) || is_below(ovl_mount(o), place);
}

/* Whether one of the paths in a variable is the overlay's, or may be. */
static bool covers_variable(const struct ovl *o, const char *name)
{
    const char *value = getenv(name);
    for (; value && *value; value += strcspn(value, ":"), value += *value == ':') {
        char path[512];
        size_t n = strcspn(value, ":");
        if (*value != '/')
            continue;
        if (n >= sizeof path)
            return true;
        memcpy(path, value, n);
        path[n] = '\0';
        if (covers(o, path))
            return true;
    }
    return false;
}

static bool is_read_inside(const struct ovl *o)
{
#define PLACE(path) path,
    static const char *const places[] = {
#include "patch_table.def"
    };
#undef PLACE
#define VARIABLE(name) name,
    static const char *const variables[] = {
#include "patch_table.def"
    };
#undef VARIABLE
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        if (covers(o, places[i]))
            return true;
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++)
        if (covers_variable(o, variables[i]))
            return true;
    return false;
}

/* ---- what ---------------------------------------------------------------------------------------- */

static void miss(struct plan *plan, const char *symbol, const char *reason)
{
    size_t n = strlen(plan->missing);
    const char *const parts[] = {n ? ", " : "", symbol, " (", reason, ")"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        ssize_t more = ovl_append(plan->missing, sizeof plan->missing, n, parts[i]);
        n = more < 0 ? n : (size_t)more;
    }
}

static void make_plan(const struct shim_object *libc, struct plan *plan)
{
    for (unsigned i = 0; i < shim_hooks_count && plan->count < HOOKS_MAX; i++) {
        size_t size = 0;
        uint8_t *code = shim_object_function(libc, shim_hooks[i].symbol, &size);
        int keep = code ? shim_patch_check(code, size) : -1;
        if (keep < 0) {
            miss(plan, shim_hooks[i].symbol, code ? "unknown code" : "not there");
            continue;
        }
        plan->at[plan->count] = code + keep;
        plan->body[plan->count++] = shim_hooks[i].body;
    }
}

/* ---- the writing --------------------------------------------------------------------------------- */

static int protect(uintptr_t from, uintptr_t to, int protection)
{
    return (int)ovl_sys_raw(SYS_mprotect, (long)from, (long)(to - from), protection, 0, 0, 0);
}

/* All functions at once: they lie near each other, and a call for each would cost more. */
static int write_plan(const struct plan *plan)
{
    uintptr_t from = UINTPTR_MAX, to = 0;
    for (unsigned i = 0; i < plan->count; i++) {
        uintptr_t at = (uintptr_t)plan->at[i];
        from = at < from ? at : from;
        to = at + SHIM_PATCH_BYTES > to ? at + SHIM_PATCH_BYTES : to;
    }
    const uintptr_t page = (uintptr_t)getauxval(AT_PAGESZ);
    from &= ~(page - 1);
    to = (to + page - 1) & ~(page - 1);
    int r = protect(from, to, PROT_READ | PROT_WRITE | PROT_EXEC);
    if (r < 0)
        return r;
    const uint64_t all = ~UINT64_C(0);
    uint64_t signals = 0;
    ovl_sys_sigprocmask(SIG_SETMASK, &all, &signals); /* no handler finds half a jump */
    for (unsigned i = 0; i < plan->count; i++)
        shim_patch_write(plan->at[i], plan->body[i]);
    ovl_sys_sigprocmask(SIG_SETMASK, &signals, NULL);
    if (protect(from, to, PROT_READ | PROT_EXEC) < 0)
        ovl_log_line(OVL_LOG_WARN, "libc's inside: its code could not be made read-only again", NULL);
    return 0;
}

/* ---- all of it ----------------------------------------------------------------------------------- */

static bool is_single_threaded(void)
{
    return &__libc_single_threaded && __libc_single_threaded;
}

/* Patch what can be patched; what can't is in plan->missing. */
static void patch(struct plan *plan)
{
    struct shim_object libc = {0};
    plan->count = 0;
    plan->missing[0] = '\0';
    if (!shim_object_of((const void *)gnu_get_libc_version, &libc) || !shim_hooks_prepare(&libc)) {
        miss(plan, "everything", "no libc that is known");
        return;
    }
    make_plan(&libc, plan);
    if (!is_single_threaded()) {
        miss(plan, "everything", "other threads run already");
        return;
    }
    int r = plan->count ? write_plan(plan) : 0;
    if (r < 0)
        miss(plan, "everything", r == -EACCES || r == -EPERM ? "the system forbids it" : "no memory");
    else
        shim_hooks_done(&libc);
}

/* One line for the log: what is not patched, and what of it. */
static void report(const struct plan *plan)
{
    if (plan->missing[0])
        ovl_log_line(OVL_LOG_WARN, "libc's inside: not patched: ", plan->missing,
                     "; what libc opens there by itself is the real file system's", NULL);
}

static bool is_off(void)
{
    const char *wish = getenv("OVL_PATCH");
    return wish && strcmp(wish, "off") == 0;
}

static int refuse(struct ovl_message *why, const char *first, const char *second, const char *third)
{
    why->text[0] = '\0';
    ssize_t n = ovl_append(why->text, sizeof why->text, 0, first);
    n = ovl_append(why->text, sizeof why->text, (size_t)n, second);
    ovl_append(why->text, sizeof why->text, (size_t)n, third);
    return -1;
}

int shim_patch_start(const struct ovl_space *space, struct ovl_message *why)
{
    bool wanted = false, required = false;
    for (unsigned i = 0; i < ovl_space_count(space); i++) {
        const struct ovl *o = ovl_space_at(space, i);
        required = required || ovl_patch_of(o) == OVL_PATCH_REQUIRE;
        wanted = wanted || (ovl_patch_of(o) == OVL_PATCH_AUTO && is_read_inside(o));
    }
    if (!wanted && !required)
        return 0;
    tried = true;
    if (is_off())
        return required ? refuse(why, "OVL_PATCH: is 'off', but the configuration has patch=require; ",
                                 "unset it, or make that patch=auto", "")
                        : 0;
    struct plan plan;
    patch(&plan);
    if (required && plan.missing[0])
        return refuse(why, "patch=require: libc can't be patched: ", plan.missing,
                      "; patch=auto runs without, and libc's own look-ups see the real file system then");
    report(&plan);
    return 0;
}

void shim_patch_for(const struct ovl *o)
{
    if (ovl_patch_of(o) == OVL_PATCH_OFF || __atomic_exchange_n(&tried, true, __ATOMIC_ACQ_REL) || is_off())
        return;
    struct plan plan;
    patch(&plan);
    report(&plan);
}
