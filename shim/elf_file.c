/* SPDX-License-Identifier: MIT
 *
 * Reading ELF files (elf_file.h).
 *
 * A file is hostile until shown otherwise: every offset is checked by the read itself, every count has a limit, a
 * string that does not end is an error.  Nothing but core is called: the audit object runs this before there is a
 * libc.
 */
#include "elf_file.h"

#include "sys.h"
#include "text.h"

#include <elf.h>
#include <errno.h>
#include <string.h>

#if defined(__x86_64__)
#define MACHINE EM_X86_64
#elif defined(__aarch64__)
#define MACHINE EM_AARCH64
#endif

#define SEGMENTS_MAX 256
#define LOADS_MAX 32
#define DYNAMIC_MAX 4096 /* entries */

struct file {
    int fd;
    struct shim_elf_window *window;
};

/* A loaded segment: where in the file an address lies. */
struct load {
    uint64_t address, offset, size;
};

struct parts {
    struct load load[LOADS_MAX];
    unsigned loads;
    uint64_t interpreter, interpreter_size;
    uint64_t dynamic, dynamic_size;
    uint64_t tls_size, tls_align;
};

/* The dynamic section's entries that are of interest. */
struct dynamic {
    uint64_t strings, strings_size; /* address, then offset; size */
    uint64_t soname, rpath, runpath;
    bool has_soname, has_rpath, has_runpath, has_strings;
    uint32_t *needed;
};

/* n bytes from `at`, at most a window; NULL when they are not all there. */
static const char *look(struct file *file, uint64_t at, size_t n)
{
    struct shim_elf_window *w = file->window;
    if (at >= w->at && at - w->at <= w->n && n <= w->n - (at - w->at))
        return w->bytes + (at - w->at);
    if (n > sizeof w->bytes || at > INT64_MAX)
        return NULL;
    ssize_t r = ovl_sys_pread(file->fd, w->bytes, sizeof w->bytes, (off_t)at);
    w->at = at;
    w->n = r < 0 ? 0 : (size_t)r;
    return n <= w->n ? w->bytes : NULL;
}

static bool take(struct file *file, uint64_t at, void *to, size_t n)
{
    const char *from = look(file, at, n);
    if (from)
        memcpy(to, from, n);
    return from;
}

/* The string at `at`, at most `max` bytes with its NUL, copied into the context; -ENOEXEC, -ENOMEM. */
static int copy_string(struct ovl_ctx *ctx, struct file *file, uint64_t at, uint64_t max, const char **string)
{
    struct shim_elf_window *w = file->window;
    for (int tries = 0; tries < 2; tries++) {
        const char *from = look(file, at, 1);
        if (!from)
            return -ENOEXEC;
        uint64_t have = w->n - (at - w->at);
        size_t n = 0, end = have < max ? (size_t)have : (size_t)max;
        while (n < end && from[n])
            n++;
        if (n < end) {
            char *copy = ovl_ctx_alloc(ctx, n + 1);
            if (!copy)
                return -ENOMEM;
            memcpy(copy, from, n + 1);
            *string = copy;
            return 0;
        }
        w->n = 0; /* it may go on behind the window: look again with one that begins where it does */
    }
    return -ENOEXEC;
}

/* ---- the header ------------------------------------------------------------------------------------------- */

static int check_header(const Elf64_Ehdr *elf)
{
    if (memcmp(elf->e_ident, ELFMAG, SELFMAG) != 0)
        return -ENOEXEC;
    if (elf->e_ident[EI_CLASS] != ELFCLASS64 || elf->e_ident[EI_DATA] != ELFDATA2LSB || elf->e_machine != MACHINE)
        return 0;
    return elf->e_type == ET_DYN || elf->e_type == ET_EXEC ? 1 : -ENOEXEC;
}

int shim_elf_fits(int fd, struct shim_elf_window *window)
{
    Elf64_Ehdr elf;
    struct file file = {fd, window};
    window->n = 0;
    return take(&file, 0, &elf, sizeof elf) ? check_header(&elf) : -ENOEXEC;
}

static int read_segments(struct file *file, struct parts *parts)
{
    Elf64_Ehdr elf;
    if (!take(file, 0, &elf, sizeof elf) || check_header(&elf) != 1 || elf.e_phentsize != sizeof(Elf64_Phdr) ||
        elf.e_phnum > SEGMENTS_MAX)
        return -ENOEXEC;
    for (unsigned i = 0; i < elf.e_phnum; i++) {
        Elf64_Phdr segment;
        if (elf.e_phoff > INT64_MAX || !take(file, elf.e_phoff + i * sizeof segment, &segment, sizeof segment))
            return -ENOEXEC;
        if (segment.p_type == PT_LOAD && parts->loads < LOADS_MAX) {
            parts->load[parts->loads++] = (struct load){segment.p_vaddr, segment.p_offset, segment.p_filesz};
        } else if (segment.p_type == PT_INTERP) {
            parts->interpreter = segment.p_offset;
            parts->interpreter_size = segment.p_filesz;
        } else if (segment.p_type == PT_DYNAMIC) {
            parts->dynamic = segment.p_offset;
            parts->dynamic_size = segment.p_filesz;
        } else if (segment.p_type == PT_TLS) {
            parts->tls_size = segment.p_memsz;
            parts->tls_align = segment.p_align;
        }
    }
    return 0;
}

/* ---- the dynamic section ---------------------------------------------------------------------------------- */

static bool find_offset(const struct parts *parts, uint64_t address, uint64_t *offset)
{
    for (unsigned i = 0; i < parts->loads; i++) {
        const struct load *load = &parts->load[i];
        if (address >= load->address && address - load->address < load->size &&
            address - load->address <= INT64_MAX - (load->offset & INT64_MAX)) {
            *offset = load->offset + (address - load->address);
            return true;
        }
    }
    return false;
}

static int take_entry(const Elf64_Dyn *entry, struct dynamic *d, struct shim_elf *elf)
{
    uint64_t value = entry->d_un.d_val;
    switch (entry->d_tag) {
    case DT_NEEDED:
        if (elf->needs == SHIM_NEEDED_MAX || value > UINT32_MAX)
            return -ENOEXEC;
        d->needed[elf->needs++] = (uint32_t)value;
        break;
    case DT_STRTAB:
        d->strings = value;
        d->has_strings = true;
        break;
    case DT_STRSZ:
        d->strings_size = value;
        break;
    case DT_SONAME:
        d->soname = value;
        d->has_soname = true;
        break;
    case DT_RPATH:
        d->rpath = value;
        d->has_rpath = true;
        break;
    case DT_RUNPATH:
        d->runpath = value;
        d->has_runpath = true;
        break;
    case DT_FLAGS:
        elf->static_tls = value & DF_STATIC_TLS;
        break;
    case DT_FLAGS_1:
        elf->no_default = value & DF_1_NODEFLIB;
        break;
    default:
        break;
    }
    return 0;
}

static int read_dynamic(struct file *file, const struct parts *parts, struct dynamic *d, struct shim_elf *elf)
{
    uint64_t n = parts->dynamic_size / sizeof(Elf64_Dyn);
    for (uint64_t i = 0; i < n; i++) {
        Elf64_Dyn entry;
        if (i == DYNAMIC_MAX || parts->dynamic > INT64_MAX ||
            !take(file, parts->dynamic + i * sizeof entry, &entry, sizeof entry))
            return -ENOEXEC;
        if (entry.d_tag == DT_NULL)
            break;
        int r = take_entry(&entry, d, elf);
        if (r < 0)
            return r;
    }
    return 0;
}

static int take_string(struct ovl_ctx *ctx, struct file *file, const struct dynamic *d, uint64_t at,
                       const char **string)
{
    if (at >= d->strings_size || d->strings_size > INT64_MAX)
        return -ENOEXEC;
    return copy_string(ctx, file, d->strings + at, d->strings_size - at, string);
}

static int take_strings(struct ovl_ctx *ctx, struct file *file, struct dynamic *d, struct shim_elf *elf)
{
    elf->needed = ovl_ctx_alloc(ctx, (elf->needs + 1) * sizeof *elf->needed);
    int r = elf->needed ? 0 : -ENOMEM;
    for (unsigned i = 0; r == 0 && i < elf->needs; i++)
        r = take_string(ctx, file, d, d->needed[i], &elf->needed[i]);
    if (r == 0 && d->has_soname)
        r = take_string(ctx, file, d, d->soname, &elf->soname);
    if (r == 0 && d->has_runpath)
        r = take_string(ctx, file, d, d->runpath, &elf->runpath);
    else if (r == 0 && d->has_rpath)
        r = take_string(ctx, file, d, d->rpath, &elf->rpath);
    return r;
}

/* ---- the whole -------------------------------------------------------------------------------------------- */

/* What is needed for the length of the reading only. */
struct work {
    struct parts parts;
    struct dynamic dynamic;
    uint32_t needed[SHIM_NEEDED_MAX];
};

static int read_all(struct ovl_ctx *ctx, struct file *file, struct work *work, struct shim_elf *elf)
{
    struct parts *parts = &work->parts;
    struct dynamic *d = &work->dynamic;
    d->needed = work->needed;
    int r = read_segments(file, parts);
    if (r == 0 && parts->interpreter_size)
        r = copy_string(ctx, file, parts->interpreter, parts->interpreter_size, &elf->interpreter);
    if (r == 0)
        r = read_dynamic(file, parts, d, elf);
    if (r < 0)
        return r;
    if (elf->static_tls) {
        uint64_t size = parts->tls_size < UINT32_MAX ? parts->tls_size : UINT32_MAX;
        elf->static_tls = size + (parts->tls_align < 4096 ? parts->tls_align : 4096);
    }
    if (!elf->needs && !d->has_soname && !d->has_rpath && !d->has_runpath)
        return 0;
    if (!d->has_strings || !find_offset(parts, d->strings, &d->strings))
        return -ENOEXEC;
    return take_strings(ctx, file, d, elf);
}

int shim_elf_read(struct ovl_ctx *ctx, int fd, struct shim_elf_window *window, struct shim_elf *elf)
{
    memset(elf, 0, sizeof *elf);
    /* The work space is taken from the end of the context's memory, so that the strings stay when it goes. */
    size_t size = ctx->size;
    if (size - ctx->used < sizeof(struct work) + 64)
        return -ENOMEM;
    ctx->size = (size - sizeof(struct work)) & ~(size_t)15;
    struct work *work = (struct work *)(void *)(ctx->memory + ctx->size);
    memset(work, 0, offsetof(struct work, needed));
    struct file file = {fd, window};
    int r = read_all(ctx, &file, work, elf);
    ctx->size = size;
    return r;
}
