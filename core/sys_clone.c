/* SPDX-License-Identifier: MIT
 *
 * A child that shares our memory: in assembly, because the system call returns twice, the second time on another stack.
 * Apart from sys_linux.c, which tests replace.
 */
#include "sys.h"

long ovl_sys_clone(long flags, void *stack, void (*entry)(void *arg), void *arg)
{
#if defined(__x86_64__)
    long result;
    register long r10 __asm__("r10") = 0;
    register long r8 __asm__("r8") = 0;
    __asm__ volatile("syscall\n\t"
                     "test %%rax, %%rax\n\t"
                     "jnz 1f\n\t"
                     "xor %%ebp, %%ebp\n\t"
                     "mov %[arg], %%rdi\n\t"
                     "call *%[entry]\n"
                     "1:"
                     : "=a"(result)
                     : "a"(SYS_clone), "D"(flags), "S"(stack), "d"(0L), "r"(r10),
                       "r"(r8), [entry] "r"(entry), [arg] "r"(arg)
                     : "rcx", "r11", "memory");
    return result;
#elif defined(__aarch64__)
    register long x8 __asm__("x8") = SYS_clone;
    register long x0 __asm__("x0") = flags;
    register long x1 __asm__("x1") = OVL_SYS_PTR(stack);
    register long x2 __asm__("x2") = 0;
    register long x3 __asm__("x3") = 0;
    register long x4 __asm__("x4") = 0;
    __asm__ volatile("svc #0\n\t"
                     "cbnz x0, 1f\n\t"
                     "mov x29, xzr\n\t"
                     "mov x0, %[arg]\n\t"
                     "blr %[entry]\n"
                     "1:"
                     : "+r"(x0)
                     : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), [entry] "r"(entry), [arg] "r"(arg)
                     : "memory");
    return x0;
#endif
}
