/* SPDX-License-Identifier: MIT
 *
 * What kind of program a file is (image.h).
 *
 * Everything is read through the floor, into the context's memory: this runs in signal handlers and
 * vfork children.  A file is hostile until shown otherwise: every offset is checked by the read
 * itself, every count has a limit, and what can't be read is not taken for harmless.
 */
#define _GNU_SOURCE
#include "image.h"

#include "sys.h"

#include <elf.h>
#include <errno.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/vfs.h>

#if defined(__x86_64__)
#define MACHINE EM_X86_64
#define LOADER "ld-linux-x86-64.so.2"
#elif defined(__aarch64__)
#define MACHINE EM_AARCH64
#define LOADER "ld-linux-aarch64.so.1"
#endif

#define HEAD SHIM_ELF_WINDOW /* what is read at once: with most programs, all that is asked for */
#define MOUNTED_NOSUID 2     /* ST_NOSUID of statfs(2) */
/* As many as the kernel takes (64 KiB of program headers); no linker makes as many sections. */
#define SEGMENTS_MAX (65536 / sizeof(Elf64_Phdr))
#define SECTIONS_MAX 4096

/* A file and its beginning. */
struct file {
    int fd;
    size_t n;
    char *head;
    struct stat st;
};

/* n bytes from `at`; false when they are not all there. */
static bool take(const struct file *file, uint64_t at, void *to, size_t n)
{
    if (at <= file->n && n <= file->n - at) {
        memcpy(to, file->head + at, n);
        return true;
    }
    return at <= INT64_MAX && ovl_sys_pread(file->fd, to, n, (off_t)at) == (ssize_t)n;
}

/* ---- scripts ---------------------------------------------------------------------------------- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

int shim_script_parse(struct shim_script *script)
{
    char *name = script->line + 2, *last = script->line + sizeof script->line - 1;
    char *end = memchr(script->line, '\n', sizeof script->line);
    bool cut = !end;
    if (cut)
        end = last;
    while (name < end && is_blank(*name))
        name++;
    char *stop = name;
    while (stop < end && *stop && !is_blank(*stop))
        stop++;
    /* A line longer than what the kernel reads is fine as long as the name was seen to end. */
    if (name == end || (cut && stop == last && *last && !is_blank(*last)))
        return -ENOEXEC;
    while (end > stop && is_blank(end[-1]))
        end--;
    char *argument = stop;
    while (argument < end && is_blank(*argument))
        argument++;
    script->interpreter = name;
    script->argument = *stop && argument < end ? argument : NULL;
    *stop = *end = '\0';
    return 0;
}

static int look_script(const struct file *file, struct shim_script *script)
{
    memset(script->line, 0, sizeof script->line);
    memcpy(script->line, file->head, file->n < sizeof script->line ? file->n : sizeof script->line);
    int r = shim_script_parse(script);
    return r < 0 ? r : SHIM_IMAGE_SCRIPT;
}

/* ---- programs that start in secure mode ----------------------------------------------------------- */

/* Whether the file's set-id bits or capabilities count where it lies. Without a descriptor, as the caller may not read
 * the file: assume so. */
static bool honours_privileges(const struct file *file)
{
    struct statfs fs;
    return file->fd < 0 || ovl_sys_raw(SYS_fstatfs, file->fd, OVL_SYS_PTR(&fs), 0, 0, 0, 0) < 0 ||
           !((unsigned long)fs.f_flags & MOUNTED_NOSUID);
}

static bool no_new_privileges(void)
{
    return ovl_sys_raw(SYS_prctl, PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0, 0) == 1;
}

static bool has_capabilities(const struct file *file)
{
    return file->fd >= 0 && ovl_sys_raw(SYS_fgetxattr, file->fd, OVL_SYS_PTR("security.capability"), 0, 0, 0, 0) > 0;
}

/* The kernel tells ld.so so (AT_SECURE) when the ids that the program will act with are not the
 * caller's real ones, whatever made them differ. */
static bool starts_secure(const struct file *file)
{
    uid_t real_uid = ovl_sys_getuid(), uid = ovl_sys_geteuid();
    gid_t real_gid = (gid_t)ovl_sys_raw(SYS_getgid, 0, 0, 0, 0, 0, 0), gid = ovl_sys_getegid();
    mode_t mode = file->st.st_mode;
    bool sets_gid = (mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP);
    if ((mode & S_ISUID || sets_gid) && honours_privileges(file) && !no_new_privileges()) {
        uid = mode & S_ISUID ? file->st.st_uid : uid;
        gid = sets_gid ? file->st.st_gid : gid;
    }
    if (uid != real_uid || gid != real_gid)
        return true;
    return real_uid != 0 && has_capabilities(file) && honours_privileges(file);
}

/* ---- ELF -------------------------------------------------------------------------------------------- */

/* Whether a PT_NOTE segment has a note of Go's linker. Only its first HEAD bytes are looked at. */
static bool has_go_note(const struct file *file, const Elf64_Phdr *segment)
{
    uint64_t align = segment->p_align == 8 ? 8 : 4;
    uint64_t size = segment->p_filesz < HEAD ? segment->p_filesz : HEAD;
    for (uint64_t at = 0; at + sizeof(Elf64_Nhdr) < size;) {
        Elf64_Nhdr note;
        char name[4];
        if (!take(file, segment->p_offset + at, &note, sizeof note))
            return false;
        if (note.n_namesz == sizeof name && take(file, segment->p_offset + at + sizeof note, name, sizeof name) &&
            memcmp(name, "Go\0", sizeof name) == 0)
            return true;
        at += sizeof note + (note.n_namesz + align - 1) / align * align + (note.n_descsz + align - 1) / align * align;
    }
    return false;
}

/* Whether one of the sections in a table of n has the name, which stands in the string table at `names`. */
static bool names_section(const struct file *file, const Elf64_Shdr *section, size_t n, const Elf64_Shdr *names,
                          const char *text, size_t text_size, const char *name)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t at = section[i].sh_name;
        char found[16];
        size_t size = strlen(name) + 1;
        if (at < text_size && size <= text_size - at) {
            if (memcmp(text + at, name, size) == 0)
                return true;
        } else if (take(file, names->sh_offset + at, found, size) && memcmp(found, name, size) == 0) {
            return true;
        }
    }
    return false;
}

/* Whether there is a section of Go's build info, for programs whose note was left out (-buildid=). */
static bool has_go_section(struct ovl_ctx *ctx, const struct file *file, const Elf64_Ehdr *elf)
{
    Elf64_Shdr names;
    if (elf->e_shentsize != sizeof names || elf->e_shnum > SECTIONS_MAX || elf->e_shstrndx >= elf->e_shnum ||
        !take(file, elf->e_shoff + elf->e_shstrndx * sizeof names, &names, sizeof names))
        return false;
    Elf64_Shdr *section = ovl_ctx_alloc(ctx, HEAD);
    char *text = ovl_ctx_alloc(ctx, HEAD);
    if (!section || !text)
        return false;
    size_t text_size = names.sh_size < HEAD ? names.sh_size : HEAD;
    if (!take(file, names.sh_offset, text, text_size))
        return false;
    for (size_t done = 0; done < elf->e_shnum;) {
        size_t n = elf->e_shnum - done < HEAD / sizeof names ? elf->e_shnum - done : HEAD / sizeof names;
        if (!take(file, elf->e_shoff + done * sizeof names, section, n * sizeof names))
            return false;
        if (names_section(file, section, n, &names, text, text_size, ".go.buildinfo"))
            return true;
        done += n;
    }
    return false;
}

/* Whether PT_INTERP names a loader of this libc. */
static bool is_our_loader(const struct file *file, const Elf64_Phdr *segment)
{
    char tail[sizeof LOADER + 1]; /* "/" + LOADER + NUL */
    size_t n = sizeof tail;
    if (segment->p_filesz < n)
        return false;
    return take(file, segment->p_offset + segment->p_filesz - n, tail, n) && memcmp(tail, "/" LOADER, n) == 0;
}

static bool is_loader_itself(const char *path)
{
    const char *slash = strrchr(path, '/');
    return strcmp(slash ? slash + 1 : path, LOADER) == 0;
}

static int look_segments(struct ovl_ctx *ctx, const struct file *file, const Elf64_Ehdr *elf, const char *path)
{
    bool is_go = false, has_interpreter = false, is_ours = false;
    if (elf->e_phentsize != sizeof(Elf64_Phdr) || elf->e_phnum > SEGMENTS_MAX)
        return SHIM_IMAGE_OTHER;
    for (unsigned i = 0; i < elf->e_phnum; i++) {
        Elf64_Phdr segment;
        if (!take(file, elf->e_phoff + i * sizeof segment, &segment, sizeof segment))
            return SHIM_IMAGE_OTHER;
        if (segment.p_type == PT_INTERP && !has_interpreter) {
            has_interpreter = true;
            is_ours = is_our_loader(file, &segment);
        }
        if (segment.p_type == PT_NOTE && !is_go)
            is_go = has_go_note(file, &segment);
    }
    if (!has_interpreter)
        return is_loader_itself(path) ? SHIM_IMAGE_DYNAMIC : SHIM_IMAGE_STATIC;
    if (!is_ours)
        return SHIM_IMAGE_LIBC;
    return is_go || has_go_section(ctx, file, elf) ? SHIM_IMAGE_GO : SHIM_IMAGE_DYNAMIC;
}

static int look_elf(struct ovl_ctx *ctx, const struct file *file, const char *path)
{
    Elf64_Ehdr elf;
    if (!take(file, 0, &elf, sizeof elf))
        return SHIM_IMAGE_OTHER;
    if (elf.e_ident[EI_CLASS] != ELFCLASS64 || elf.e_ident[EI_DATA] != ELFDATA2LSB || elf.e_machine != MACHINE)
        return SHIM_IMAGE_MACHINE;
    if (elf.e_type != ET_EXEC && elf.e_type != ET_DYN)
        return SHIM_IMAGE_OTHER;
    return look_segments(ctx, file, &elf, path);
}

/* ---- the whole -------------------------------------------------------------------------------------- */

int shim_image_open(int dirfd, const char *path)
{
    const int flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
    if (*path)
        return ovl_sys_open(dirfd, path, flags, 0);
    char self[32] = "/proc/self/fd/", digits[12];
    size_t at = strlen(self), n = 0;
    for (unsigned v = (unsigned)dirfd; v || !n; v /= 10)
        digits[n++] = (char)('0' + v % 10);
    while (n)
        self[at++] = digits[--n];
    return ovl_sys_open(AT_FDCWD, self, flags, 0);
}

static int look(struct ovl_ctx *ctx, struct file *file, const char *path, struct shim_script *script)
{
    ssize_t n = file->fd < 0 ? file->fd : ovl_sys_pread(file->fd, file->head, HEAD, 0);
    if (n < 0)
        return starts_secure(file) ? SHIM_IMAGE_SECURE : SHIM_IMAGE_UNKNOWN;
    file->n = (size_t)n;
    if (n >= 2 && memcmp(file->head, "#!", 2) == 0)
        return look_script(file, script);
    int kind = n >= SELFMAG && memcmp(file->head, ELFMAG, SELFMAG) == 0 ? look_elf(ctx, file, path) : SHIM_IMAGE_OTHER;
    return kind == SHIM_IMAGE_DYNAMIC && starts_secure(file) ? SHIM_IMAGE_SECURE : kind;
}

struct question {
    struct ovl_ctx *ctx;
    int dirfd;
    const char *path;
    struct shim_script *script;
    struct shim_elf *elf;
};

static int answer(void *argument)
{
    const struct question *q = argument;
    struct shim_elf_window *window = ovl_ctx_alloc(q->ctx, sizeof *window);
    if (!window)
        return -ENOMEM;
    struct file file = {.fd = -1, .head = window->bytes};
    size_t mark = q->ctx->used;
    int r = ovl_sys_fstatat(q->dirfd, q->path, &file.st, *q->path ? 0 : AT_EMPTY_PATH);
    if (r == 0 && !S_ISREG(file.st.st_mode))
        r = -EACCES;
    if (r < 0)
        return r;
    file.fd = shim_image_open(q->dirfd, q->path);
    bool told = file.fd >= 0 || file.fd == -EACCES || file.fd == -EPERM;
    r = told ? look(q->ctx, &file, q->path, q->script) : file.fd;
    ovl_ctx_reset(q->ctx, mark);
    window->at = 0;
    window->n = file.n;
    if (r == SHIM_IMAGE_DYNAMIC && shim_elf_read(q->ctx, file.fd, window, q->elf) == -ENOMEM)
        r = -ENOMEM;
    if (file.fd >= 0)
        ovl_sys_close(file.fd);
    return r;
}

int shim_image(struct ovl_ctx *ctx, int dirfd, const char *path, struct shim_script *script, struct shim_elf *elf)
{
    struct question q = {.ctx = ctx, .dirfd = dirfd, .path = path, .script = script, .elf = elf};
    size_t mark = ctx->used;
    memset(elf, 0, sizeof *elf);
    int r = ovl_with_descriptors(ctx, dirfd, answer, &q);
    if (r != SHIM_IMAGE_DYNAMIC)
        ovl_ctx_reset(ctx, mark);
    return r;
}
