/* SPDX-License-Identifier: MIT
 *
 * The upper and the work directory of an overlay: found, checked, made.
 *
 * The work directory holds `work` (what is half-made), `state` (what must survive a run) and `cache`.  It is
 * trusted, so nobody else may write to it (CONTRACT 1.5).  Nothing is made before everything that can
 * be checked without it has been.
 */
#include "config.h"

/* Room in the work directory for the names of what is made there. */
#define WORK_ROOM 512

/* ---- the upper ---------------------------------------------------------------------------------------- */

#define UPPER_REMEDY "; name a directory that you may write to"

static int refuse_upper(const struct ovl_plans *plans, const struct ovl_plan *plan, const char *problem,
                        const char *remedy)
{
    return ovl_refuse(plans->config, OVL_KEY_UPPER, ovl_config_value(plan->section, OVL_KEY_UPPER), problem, remedy,
                      NULL);
}

int ovl_plan_upper(struct ovl_plans *plans, struct ovl_plan *plan)
{
    const struct ovl_value *value = ovl_config_value(plan->section, OVL_KEY_UPPER);
    struct ovl_walk walk;
    if (!value)
        return 0;
    if (ovl_walk_init(&walk, plans->config->arena) < 0)
        return ovl_refuse_no_memory(plans->config);
    int r = ovl_walk(&walk, value->text);
    if (r < 0)
        return refuse_upper(plans, plan, ovl_error_text(r), UPPER_REMEDY);
    if (walk.missing > 1)
        return refuse_upper(plans, plan, "the directory above it does not exist", "; make that first");
    if (!walk.missing && !S_ISDIR(walk.st.st_mode))
        return refuse_upper(plans, plan, "not a directory", UPPER_REMEDY);
    plan->layer[0] =
        (struct ovl_plan_layer){.path = walk.path, .length = walk.length, .st = walk.st, .missing = walk.missing > 0};
    plan->has_upper = true;
    plan->layers = 1;
    return 0;
}

static int refuse_upper_for(const struct ovl_plans *plans, const struct ovl_plan *plan, int error, const char *problem)
{
    if (error == -EROFS)
        return refuse_upper(plans, plan, "on a read-only file system",
                            "; name a directory on a writable one, or leave upperdir out for a read-only overlay");
    const struct ovl_value *value = ovl_config_value(plan->section, OVL_KEY_UPPER);
    return ovl_refuse(plans->config, OVL_KEY_UPPER, value, problem, ovl_error_text(error), UPPER_REMEDY, NULL);
}

int ovl_plan_make_upper(struct ovl_plans *plans, struct ovl_plan *plan)
{
    struct ovl_plan_layer *upper = &plan->layer[0];
    if (upper->missing) {
        int r = ovl_sys_mkdir(upper->path, 0755);
        if (r == 0 || r == -EEXIST)
            r = ovl_sys_lstat(upper->path, &upper->st);
        if (r == 0 && !S_ISDIR(upper->st.st_mode))
            r = -ENOTDIR;
        if (r < 0)
            return refuse_upper_for(plans, plan, r, "can't be made: ");
        upper->missing = false;
    }
    const char *path = *upper->path ? upper->path : "/";
    int r = ovl_sys_faccessat2(AT_FDCWD, path, R_OK | W_OK | X_OK, AT_EACCESS);
    if (r == -ENOSYS || r == -EPERM)
        r = ovl_sys_faccessat(AT_FDCWD, path, R_OK | W_OK | X_OK);
    return r < 0 ? refuse_upper_for(plans, plan, r, "can't be written: ") : 0;
}

/* ---- the work directory -------------------------------------------------------------------------------- */

static int refuse_work_with(const struct ovl_plans *plans, const struct ovl_plan *plan, const char *problem,
                            const char *more, const char *before_remedy)
{
    const char *remedy = !plan->has_upper ? "set workdir= to a directory of your own"
                                          : "set workdir= to a directory of your own on the upper's file system";
    const struct ovl_value *value = ovl_config_value(plan->section, OVL_KEY_WORK);
    if (value)
        return ovl_refuse(plans->config, OVL_KEY_WORK, value, problem, more, before_remedy, remedy, NULL);
    return ovl_refuse(plans->config, OVL_KEY_UPPER, ovl_config_value(plan->section, OVL_KEY_UPPER),
                      "its work directory ", plan->work, " ", problem, more, before_remedy, remedy, NULL);
}

int ovl_refuse_work(const struct ovl_plans *plans, const struct ovl_plan *plan, const char *problem, const char *more)
{
    return refuse_work_with(plans, plan, problem, more, "; ");
}

/* A full disk is no fault of the configuration's. */
static int refuse_to_make(const struct ovl_plans *plans, const struct ovl_plan *plan, int error)
{
    bool no_room = error == -ENOSPC || error == -EDQUOT;
    return refuse_work_with(plans, plan, "can't be made: ", ovl_error_text(error),
                            no_room ? "; make room there, or " : "; ");
}

static const char *default_work(struct ovl_plans *plans, const struct ovl_plan *plan)
{
    return ovl_arena_join(plans->config->arena, plan->layer[0].path, plan->layer[0].length ? ".work" : "/.work", NULL);
}

int ovl_plan_work(struct ovl_plans *plans, struct ovl_plan *plan)
{
    const struct ovl_value *value = ovl_config_value(plan->section, OVL_KEY_WORK);
    if (!value && !plan->has_upper)
        return 0;
    struct ovl_walk walk;
    plan->work = value ? value->text : default_work(plans, plan);
    if (!plan->work || ovl_walk_init(&walk, plans->config->arena) < 0)
        return ovl_refuse_no_memory(plans->config);
    walk.no_follow = true;
    int r = ovl_walk(&walk, plan->work);
    if (r < 0)
        return ovl_refuse_work(plans, plan, "can't be used: ", ovl_error_text(r));
    if (walk.missing > 1)
        return ovl_refuse_work(plans, plan, "can't be made: ", ovl_error_text(-ENOENT));
    if (!walk.missing && !S_ISDIR(walk.st.st_mode))
        return ovl_refuse_work(plans, plan, S_ISLNK(walk.st.st_mode) ? "is a symbolic link" : "is not a directory", "");
    if (walk.length + WORK_ROOM >= OVL_REAL_MAX)
        return ovl_refuse_work(plans, plan, "has a path too long for what is made in it", "");
    plan->work = walk.path;
    plan->work_length = walk.length;
    return 0;
}

/* A directory that only its owner, the caller, can change. */
static int check_private(const struct ovl_plans *plans, const struct ovl_plan *plan, const struct stat *st)
{
    if (!S_ISDIR(st->st_mode))
        return ovl_refuse_work(plans, plan, S_ISLNK(st->st_mode) ? "is a symbolic link" : "is not a directory", "");
    if (st->st_uid != ovl_sys_geteuid())
        return ovl_refuse_work(plans, plan, "belongs to another user", "");
    if (st->st_mode & 022)
        return ovl_refuse_work(plans, plan, "can be written by others (chmod go-w)", "");
    if (plan->has_upper && st->st_dev != plan->layer[0].st.st_dev)
        return ovl_refuse_work(plans, plan, "is not on the upper's file system", "");
    return 0;
}

static int make_private(const struct ovl_plans *plans, const struct ovl_plan *plan, const char *path)
{
    struct stat st;
    int r = ovl_sys_mkdir(path, 0700);
    if (r == 0)
        ovl_sys_lremovexattr(path, OVL_ACL_DEFAULT); /* or each copy would have it, by the directory's default */
    if (r == 0 || r == -EEXIST)
        r = ovl_sys_lstat(path, &st);
    if (r != 0)
        return refuse_to_make(plans, plan, r);
    return check_private(plans, plan, &st);
}

/* Why a file that is there already is not what a run of this user's has left, or NULL. */
static const char *distrust(const char *path, bool is_shared)
{
    struct stat st;
    if (ovl_sys_lstat(path, &st) < 0)
        return NULL;
    if (!S_ISREG(st.st_mode))
        return S_ISLNK(st.st_mode) ? "is a symbolic link" : "is not a regular file";
    if (st.st_uid != ovl_sys_geteuid())
        return "belongs to another user";
    if (st.st_mode & 022)
        return "can be written by others (chmod go-w)";
    if (is_shared) /* it is linked into place: two names for a moment are no fault */
        return ovl_shared_is_foreign(path) ? "was not made by this libovl" : NULL;
    return st.st_nlink > 1 ? "has another name" : NULL;
}

static int check_file(const struct ovl_plans *plans, const struct ovl_plan *plan, const char *name, bool is_shared)
{
    const char *path = ovl_arena_join(plans->config->arena, plan->work, "/", name, NULL);
    const char *problem = ovl_arena_join(plans->config->arena, "has a ", name, " that ", NULL);
    if (!path || !problem)
        return ovl_refuse_no_memory(plans->config);
    const char *why = distrust(path, is_shared);
    return why ? ovl_refuse_work(plans, plan, problem, why) : 0;
}

static int check_files(const struct ovl_plans *plans, const struct ovl_plan *plan)
{
    int r = check_file(plans, plan, "state/run", false);
    if (r == 0)
        r = check_file(plans, plan, "state/moves", false);
    return r == 0 ? check_file(plans, plan, "state/shared", true) : r;
}

/* Whether the kernel lets this user make a 0/0 device there. */
static int try_device(struct ovl_plans *plans, const struct ovl_plan *plan)
{
    const struct ovl o = {.work = plan->work, .work_length = plan->work_length};
    char *probe = ovl_arena_alloc(plans->config->arena, OVL_REAL_MAX);
    if (!probe || ovl_work_name(&o, probe) < 0)
        return ovl_refuse_no_memory(plans->config);
    int r = ovl_sys_mknod(probe, S_IFCHR, 0);
    ovl_sys_unlink(probe);
    if (r == 0 || r == -ENOSPC || r == -EDQUOT)
        return 0;
    return ovl_refuse(plans->config, OVL_KEY_WHITEOUT, ovl_config_value(plan->section, OVL_KEY_WHITEOUT),
                      "the system refuses a 0/0 device in ", plan->work, ": ", ovl_error_text(r), "; set whiteout=oci",
                      NULL);
}

int ovl_plan_make_work(struct ovl_plans *plans, struct ovl_plan *plan)
{
    static const char *const inner[] = {"/work", "/state", "/state/origin", "/state/gone", "/state/link", "/cache"};
    if (!plan->work)
        return 0;
    int r = make_private(plans, plan, plan->work);
    for (size_t i = 0; r == 0 && i < sizeof inner / sizeof *inner; i++) {
        char *path = ovl_arena_join(plans->config->arena, plan->work, inner[i], NULL);
        r = path ? make_private(plans, plan, path) : ovl_refuse_no_memory(plans->config);
    }
    if (r == 0)
        r = check_files(plans, plan);
    bool kernel_form = ovl_streq(ovl_config_word(plan->section, OVL_KEY_WHITEOUT), "kernel");
    return r == 0 && kernel_form && plan->has_upper ? try_device(plans, plan) : r;
}
