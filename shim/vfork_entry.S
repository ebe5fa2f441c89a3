/* SPDX-License-Identifier: MIT
 *
 * pid_t vfork(void), in assembly because it returns twice on one stack.
 *
 * The child returns first and goes on where the caller was; its calls overwrite the stack below
 * the caller's frame, the return address among it.  So what the parent needs after the system
 * call stands in registers, which the kernel keeps for each process: on x86-64 the return address
 * (rdi) and the two words of struct shim_vfork (rsi, rdx); on aarch64 those two (x9, x10), the
 * return address being in x30 anyway.
 *
 * Shadow stacks (CET): the child's return would pop the entry that the parent still needs, as the
 * shadow stack is memory and shared too.  This object carries no SHSTK property, so that ld.so
 * does not turn shadow stacks on for a process that has it loaded; do not add one.
 */
#include <sys/syscall.h>

    .text
    .p2align 4
    .globl vfork, __vfork
    .type vfork, %function
    .type __vfork, %function
    .hidden shim_vfork_begin, shim_vfork_end

#if defined(__x86_64__)

vfork:
__vfork:
    .cfi_startproc
    endbr64
    subq $8, %rsp
    .cfi_adjust_cfa_offset 8
    call shim_vfork_begin
    addq $8, %rsp
    .cfi_adjust_cfa_offset -8
    movq %rax, %rsi
    popq %rdi
    .cfi_adjust_cfa_offset -8
    .cfi_register %rip, %rdi
    movl $SYS_vfork, %eax
    syscall
    pushq %rdi
    .cfi_adjust_cfa_offset 8
    .cfi_offset %rip, -8
    testq %rax, %rax
    jz 1f
    movq %rax, %rdi
    jmp shim_vfork_end
1:  ret
    .cfi_endproc

#elif defined(__aarch64__)

#define CLONE_VM_VFORK_SIGCHLD 0x4111

vfork:
__vfork:
    .cfi_startproc
    hint #34 /* bti c */
    stp x29, x30, [sp, #-16]!
    .cfi_adjust_cfa_offset 16
    .cfi_rel_offset x29, 0
    .cfi_rel_offset x30, 8
    mov x29, sp
    bl shim_vfork_begin
    ldp x29, x30, [sp], #16
    .cfi_adjust_cfa_offset -16
    .cfi_restore x29
    .cfi_restore x30
    mov x9, x0
    mov x10, x1
    mov x0, #CLONE_VM_VFORK_SIGCHLD
    mov x1, xzr
    mov x2, xzr
    mov x3, xzr
    mov x4, xzr
    mov x8, #SYS_clone
    svc #0
    cbz x0, 1f
    mov x1, x9
    mov x2, x10
    b shim_vfork_end
1:  ret
    .cfi_endproc

#else
#error "libovl knows vfork of x86-64 and aarch64 only"
#endif

    .size vfork, . - vfork
    .size __vfork, . - __vfork
    .section .note.GNU-stack, "", %progbits
