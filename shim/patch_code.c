/* SPDX-License-Identifier: MIT
 *
 * Machine code at a function's beginning (patch_code.h), for x86-64 and aarch64.
 *
 * Only the few instructions are known that compilers begin such functions with.  A conditional jump among
 * them must lead behind what is overwritten; what jumps always, calls or returns is somebody else's patch, a
 * stub, or a function with another one in its middle (glibc before 2.27), and stays as it is.
 */
#include "patch_code.h"

#include <stdbool.h>

#if defined __x86_64__

/* What follows an opcode. */
enum form {
    UNKNOWN,
    PLAIN,   /* nothing */
    MODRM,   /* an operand, in a register or in memory */
    MODRM8,  /* and a byte */
    MODRM32, /* and 4 bytes */
    BYTE,
    WORD,   /* 4 bytes; 8 for MOV with REX.W */
    JUMP8,  /* a conditional jump's distance: a byte */
    JUMP32, /* 4 bytes */
};

static enum form form_of(uint8_t op)
{
    if ((op & 0xf0) == 0x50 && op < 0x58)
        return PLAIN; /* push */
    if ((op & 0xf8) == 0xb8)
        return WORD; /* mov $imm,%reg */
    if ((op & 0xf0) == 0x70)
        return JUMP8;
    if (op < 0x40 && (op & 7) < 4)
        return MODRM; /* add, or, and, sub, xor, cmp */
    if (op < 0x40 && (op & 7) == 4)
        return BYTE;
    if (op < 0x40 && (op & 7) == 5)
        return WORD; /* the same with %eax */
    switch (op) {
    case 0x68: /* push $imm */
        return WORD;
    case 0x6a:
        return BYTE;
    case 0x63: /* movslq */
    case 0x84: /* test */
    case 0x85:
    case 0x88: /* mov */
    case 0x89:
    case 0x8a:
    case 0x8b:
    case 0x8d: /* lea */
        return MODRM;
    case 0x80: /* add … cmp with a constant */
    case 0x83:
    case 0xc6: /* mov of one */
        return MODRM8;
    case 0x81:
    case 0xc7:
        return MODRM32;
    case 0xa8: /* test with %al, %eax */
        return BYTE;
    case 0xa9:
        return WORD;
    default:
        return UNKNOWN;
    }
}

static enum form form_of_two(uint8_t op)
{
    if (op == 0x05)
        return PLAIN; /* syscall */
    if ((op & 0xf0) == 0x80)
        return JUMP32;
    if ((op & 0xf0) == 0x40 || op == 0xb6 || op == 0xb7 || op == 0xbe || op == 0xbf)
        return MODRM; /* cmov, movz, movs */
    return UNKNOWN;
}

/* Bytes of an operand: the ModRM byte with what it asks for. */
static size_t operand(const uint8_t *at)
{
    unsigned mode = at[0] >> 6, base = at[0] & 7;
    size_t n = 1;
    if (mode != 3 && base == 4) {
        n = 2;
        if (mode == 0 && (at[1] & 7) == 5)
            return n + 4;
    }
    if (mode == 1)
        return n + 1;
    return mode == 2 || (mode == 0 && base == 5) ? n + 4 : n;
}

static int32_t signed32(const uint8_t *at)
{
    return (int32_t)(at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24);
}

/* The length of the instruction at `at`, 0 if it is none that is known; *jump: where it may lead, from its own end. */
static size_t length_of(const uint8_t *at, int32_t *jump)
{
    size_t n = 0;
    *jump = INT32_MAX;
    if (at[n] == 0x64)
        n++; /* %fs: */
    bool wide = (at[n] & 0xf8) == 0x48;
    if ((at[n] & 0xf0) == 0x40)
        n++; /* REX */
    uint8_t op = at[n++];
    enum form form = op == 0x0f ? form_of_two(at[n++]) : form_of(op);
    /* TEST alone has a constant in this group, and its /0 form only. */
    if (op == 0xf6 || op == 0xf7)
        form = at[n] & 0x38 ? UNKNOWN : op == 0xf6 ? MODRM8 : MODRM32;
    switch (form) {
    case PLAIN:
        return n;
    case MODRM:
        return n + operand(at + n);
    case MODRM8:
        return n + operand(at + n) + 1;
    case MODRM32:
        return n + operand(at + n) + 4;
    case BYTE:
        return n + 1;
    case WORD:
        return n + (wide && (op & 0xf8) == 0xb8 ? 8 : 4);
    case JUMP8:
        *jump = at[n] < 0x80 ? at[n] : at[n] - 0x100;
        return n + 1;
    case JUMP32:
        *jump = signed32(at + n);
        return n + 4;
    default:
        return 0;
    }
}

int shim_patch_check(const uint8_t *code, size_t size)
{
    enum { LONGEST = 15 };
    static const uint8_t landing_pad[SHIM_PATCH_PAD] = {0xf3, 0x0f, 0x1e, 0xfa}; /* endbr64 */
    size_t at = 0;
    while (at < SHIM_PATCH_PAD && at < size && code[at] == landing_pad[at])
        at++;
    const size_t keep = at == SHIM_PATCH_PAD ? SHIM_PATCH_PAD : 0;
    const size_t end = keep + SHIM_PATCH_BYTES;
    if (size < end + LONGEST)
        return -1; /* so that no look at an instruction goes beyond the function */
    for (at = keep; at < end;) {
        int32_t jump;
        size_t n = length_of(code + at, &jump);
        if (n == 0)
            return -1;
        at += n;
        if (jump != INT32_MAX && (int64_t)at + jump < (int64_t)end)
            return -1;
    }
    return (int)keep;
}

void shim_patch_write(uint8_t *code, const void *target)
{
    static const uint8_t jump[6] = {0xff, 0x25, 0, 0, 0, 0}; /* jmp *0(%rip); the address follows */
    uint64_t address = (uint64_t)(uintptr_t)target;
    for (unsigned i = 0; i < sizeof jump; i++)
        code[i] = jump[i];
    for (unsigned i = 0; i < sizeof address; i++)
        code[sizeof jump + i] = (uint8_t)(address >> 8 * i);
}

#elif defined __aarch64__

/* Whether an instruction goes on with the next one and is none that only somebody else's patch would have. */
static bool is_plain(uint32_t i)
{
    if ((i & 0xfffff01fu) == 0xd503201fu)
        return true; /* hints: nop, bti, paciasp */
    if (i == 0xd4000001u || (i & 0xffffffe0u) == 0xd53bd040u)
        return true; /* svc #0; mrs of tpidr_el0 */
    switch (i >> 25 & 15) {
    case 8: /* data processing with a constant: adrp, add, mov, and */
    case 9:
    case 5: /* data processing with registers */
    case 13:
    case 4: /* loads and stores, but for those from near the code: a patch's address */
    case 6:
    case 12:
    case 14:
        return (i & 0x3b000000u) != 0x18000000u;
    default:
        return false;
    }
}

/* Where a conditional branch leads, in instructions from itself; 0 for anything else. */
static int32_t branch(uint32_t i)
{
    if ((i & 0xff000010u) == 0x54000000u || (i & 0x7e000000u) == 0x34000000u)
        return (int32_t)(i << 8) >> 13; /* b.cond, cbz, cbnz */
    if ((i & 0x7e000000u) == 0x36000000u)
        return (int32_t)(i << 13) >> 18; /* tbz, tbnz */
    return 0;
}

int shim_patch_check(const uint8_t *code, size_t size)
{
    const uint32_t *instruction = (const uint32_t *)(const void *)code;
    const int32_t count = SHIM_PATCH_BYTES / 4;
    if (size < SHIM_PATCH_BYTES)
        return -1;
    for (int32_t i = 0; i < count; i++) {
        int32_t to = branch(instruction[i]);
        if (to ? i + to < count : !is_plain(instruction[i]))
            return -1;
    }
    return 0;
}

void shim_patch_write(uint8_t *code, const void *target)
{
    uint32_t *to = (uint32_t *)(void *)code;
    uint64_t address = (uint64_t)(uintptr_t)target;
    to[0] = 0xd503245fu; /* bti c: where the entry had a landing pad, it has one still */
    to[1] = 0x58000050u; /* ldr x16, 8 bytes on */
    to[2] = 0xd61f0200u; /* br x16 */
    to[3] = (uint32_t)address;
    to[4] = (uint32_t)(address >> 32);
    __builtin___clear_cache((char *)code, (char *)code + SHIM_PATCH_BYTES);
}

#endif
