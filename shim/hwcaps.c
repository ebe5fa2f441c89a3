/* SPDX-License-Identifier: MIT
 *
 * glibc-hwcaps (hwcaps.h): the levels of the x86-64 psABI.  aarch64 has none.
 */
#include "hwcaps.h"

#include <stddef.h>

static const char *const levels[] = {"x86-64-v4", "x86-64-v3", "x86-64-v2", NULL};

#if defined(__x86_64__)
#include <cpuid.h>
#include <stdbool.h>

#define BIT(n) (1u << (n))
#define HAS(word, bits) (((word) & (bits)) == (bits))

struct cpu {
    unsigned c1, b7, c81; /* ecx of leaf 1, ebx of leaf 7, ecx of leaf 0x80000001 */
    unsigned state;       /* what the kernel saves: xcr0 */
};

static void read_cpu(struct cpu *cpu)
{
    unsigned a, b, c, d;
    if (__get_cpuid(1, &a, &b, &c, &d))
        cpu->c1 = c;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d))
        cpu->b7 = b;
    if (__get_cpuid(0x80000001, &a, &b, &c, &d))
        cpu->c81 = c;
    if (cpu->c1 & BIT(27)) { /* OSXSAVE */
        unsigned high;
        __asm__ volatile("xgetbv" : "=a"(cpu->state), "=d"(high) : "c"(0));
    }
}

static int count_levels(void)
{
    struct cpu cpu = {0};
    read_cpu(&cpu);
    /* SSE3 SSSE3 CMPXCHG16B SSE4.1 SSE4.2 POPCNT; LAHF */
    if (!HAS(cpu.c1, BIT(0) | BIT(9) | BIT(13) | BIT(19) | BIT(20) | BIT(23)) || !HAS(cpu.c81, BIT(0)))
        return 0;
    /* FMA MOVBE AVX F16C; BMI1 AVX2 BMI2; LZCNT */
    if (!HAS(cpu.c1, BIT(12) | BIT(22) | BIT(28) | BIT(29)) || !HAS(cpu.b7, BIT(3) | BIT(5) | BIT(8)) ||
        !HAS(cpu.c81, BIT(5)) || !HAS(cpu.state, 0x6))
        return 1;
    /* AVX512 F DQ CD BW VL */
    return HAS(cpu.b7, BIT(16) | BIT(17) | BIT(28) | BIT(30) | BIT(31)) && HAS(cpu.state, 0xe6) ? 3 : 2;
}
#else
static int count_levels(void)
{
    return 0;
}
#endif

const char *const *shim_hwcaps(void)
{
    return levels + (sizeof levels / sizeof *levels - 1) - count_levels();
}
