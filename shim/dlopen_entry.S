/* SPDX-License-Identifier: MIT
 *
 * dlopen and dlmopen, in assembly because libc takes from their return address who calls them: that
 * object's RUNPATH and $ORIGIN count.  Where ld.so finds a library by itself, it must be as if nobody
 * stood between: the arguments are put back and the next library's function is jumped to.
 */
    .text
    .p2align 4
    .globl dlopen, dlmopen
    .type dlopen, %function
    .type dlmopen, %function
    .hidden shim_dlopen, shim_dlmopen

#if defined(__x86_64__)

dlopen:
    .cfi_startproc
    endbr64
    pushq %rdi
    .cfi_adjust_cfa_offset 8
    pushq %rsi
    .cfi_adjust_cfa_offset 8
    subq $24, %rsp
    .cfi_adjust_cfa_offset 24
    movq 40(%rsp), %rdx
    movq %rsp, %rcx
    call shim_dlopen
    testl %eax, %eax
    movq (%rsp), %rax
    movq 8(%rsp), %r11
    leaq 24(%rsp), %rsp
    .cfi_adjust_cfa_offset -24
    popq %rsi
    .cfi_adjust_cfa_offset -8
    popq %rdi
    .cfi_adjust_cfa_offset -8
    jz 1f
    ret
1:  jmp *%r11
    .cfi_endproc
    .size dlopen, . - dlopen

    .p2align 4
dlmopen:
    .cfi_startproc
    endbr64
    pushq %rdi
    .cfi_adjust_cfa_offset 8
    pushq %rsi
    .cfi_adjust_cfa_offset 8
    pushq %rdx
    .cfi_adjust_cfa_offset 8
    subq $16, %rsp
    .cfi_adjust_cfa_offset 16
    movq 40(%rsp), %rcx
    movq %rsp, %r8
    call shim_dlmopen
    testl %eax, %eax
    movq (%rsp), %rax
    movq 8(%rsp), %r11
    leaq 16(%rsp), %rsp
    .cfi_adjust_cfa_offset -16
    popq %rdx
    .cfi_adjust_cfa_offset -8
    popq %rsi
    .cfi_adjust_cfa_offset -8
    popq %rdi
    .cfi_adjust_cfa_offset -8
    jz 1f
    ret
1:  jmp *%r11
    .cfi_endproc
    .size dlmopen, . - dlmopen

#elif defined(__aarch64__)

dlopen:
    .cfi_startproc
    hint #34 /* bti c */
    stp x29, x30, [sp, #-48]!
    .cfi_adjust_cfa_offset 48
    .cfi_rel_offset x29, 0
    .cfi_rel_offset x30, 8
    mov x29, sp
    stp x0, x1, [sp, #16]
    mov x2, x30
    add x3, sp, #32
    bl shim_dlopen
    ldp x9, x16, [sp, #32]
    cbz w0, 1f
    mov x0, x9
    ldp x29, x30, [sp], #48
    .cfi_remember_state
    .cfi_adjust_cfa_offset -48
    .cfi_restore x29
    .cfi_restore x30
    ret
1:  .cfi_restore_state
    ldp x0, x1, [sp, #16]
    ldp x29, x30, [sp], #48
    .cfi_adjust_cfa_offset -48
    .cfi_restore x29
    .cfi_restore x30
    br x16
    .cfi_endproc
    .size dlopen, . - dlopen

    .p2align 4
dlmopen:
    .cfi_startproc
    hint #34
    stp x29, x30, [sp, #-64]!
    .cfi_adjust_cfa_offset 64
    .cfi_rel_offset x29, 0
    .cfi_rel_offset x30, 8
    mov x29, sp
    stp x0, x1, [sp, #16]
    str x2, [sp, #32]
    mov x3, x30
    add x4, sp, #48
    bl shim_dlmopen
    ldp x9, x16, [sp, #48]
    cbz w0, 1f
    mov x0, x9
    ldp x29, x30, [sp], #64
    .cfi_remember_state
    .cfi_adjust_cfa_offset -64
    .cfi_restore x29
    .cfi_restore x30
    ret
1:  .cfi_restore_state
    ldp x0, x1, [sp, #16]
    ldr x2, [sp, #32]
    ldp x29, x30, [sp], #64
    .cfi_adjust_cfa_offset -64
    .cfi_restore x29
    .cfi_restore x30
    br x16
    .cfi_endproc
    .size dlmopen, . - dlmopen

#else
#error "libovl knows dlopen of x86-64 and aarch64 only"
#endif

    .section .note.GNU-stack, "", %progbits
