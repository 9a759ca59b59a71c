/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * micro_guest_start.S - the first and last instructions of a micro-guest: Xen notes, entry, trap stubs, hypercall page.
 *
 * Every stub turns the hypervisor's frame (rcx, r11, [error], rip, cs, rflags, rsp, ss) into struct trap_regs of
 * micro_guest.h, calls C, and goes back with the iret hypercall.
 */
#include <xen/elfnote.h>

#define VIRT_BASE 0xffffffff80000000

	.macro note_begin type
	.pushsection .note.Xen, "a", @note
	.balign 4
	.long 4, 9f - 8f, \type
	.asciz "Xen"
8:
	.endm

	.macro note_end
9:	.balign 4
	.popsection
	.endm

	.macro note_text type, text
	note_begin \type
	.asciz "\text"
	note_end
	.endm

	.macro note_number type, value
	note_begin \type
	.quad \value
	note_end
	.endm

	note_text XEN_ELFNOTE_GUEST_OS, "haven-test"
	note_text XEN_ELFNOTE_XEN_VERSION, "xen-3.0"
	note_text XEN_ELFNOTE_LOADER, "generic"
	note_text XEN_ELFNOTE_PAE_MODE, "yes"
	note_number XEN_ELFNOTE_VIRT_BASE, VIRT_BASE
	note_number XEN_ELFNOTE_PADDR_OFFSET, VIRT_BASE
	note_number XEN_ELFNOTE_ENTRY, _start
	note_number XEN_ELFNOTE_HYPERCALL_PAGE, hypercall_page

	.section .text.start, "ax"
	.globl _start
_start:
	cld
	mov	%rsp, boot_stack_top(%rip)
	mov	%rsi, %rdi
	xor	%ebp, %ebp
	call	guest_start
	ud2

	.balign 4096
	.globl hypercall_page
hypercall_page:
	.skip	4096, 0xcc

	.text
	.globl vcpu1_start
vcpu1_start:
	movb	$1, vcpu1_runs(%rip)
	cld
	xor	%ebp, %ebp
	call	*%rbx
	ud2

	.macro stub vector, has_error
	.balign 16
trap_\vector:
	pop	%rcx
	pop	%r11
	.if \has_error == 0
	push	$0
	.endif
	push	$\vector
	jmp	trap_common
	.endm

	.altmacro
	.set	n, 0
	.rept	32
	.if (n == 8) | ((n >= 10) & (n <= 14)) | (n == 17) | (n == 21)
	stub	%n, 1
	.else
	stub	%n, 0
	.endif
	.set	n, n + 1
	.endr
	stub	128, 0
	stub	256, 0          /* event upcall */
	stub	257, 0          /* syscall from user mode */
	stub	258, 0          /* failsafe */
	stub	259, 0          /* syscall from 32-bit user mode */

trap_common:
	push	%r15
	push	%r14
	push	%r13
	push	%r12
	push	%rbp
	push	%rbx
	push	%r11
	push	%r10
	push	%r9
	push	%r8
	push	%rax
	push	%rcx
	push	%rdx
	push	%rsi
	push	%rdi
	mov	%rsp, %rdi
	mov	%rsp, %rbp
	and	$-16, %rsp
	cld
	call	guest_trap
	mov	%rbp, %rsp
	.globl trap_return
trap_return:
	pop	%rdi
	pop	%rsi
	pop	%rdx
	pop	%rcx
	pop	%rax
	pop	%r8
	pop	%r9
	pop	%r10
	pop	%r11
	pop	%rbx
	pop	%rbp
	pop	%r12
	pop	%r13
	pop	%r14
	pop	%r15
	add	$16, %rsp
	push	$0              /* flags: not in_syscall */
	push	%rcx
	push	%r11
	push	%rax
	mov	$23, %eax       /* iret */
	syscall
	ud2

/* void enter_user(struct trap_regs *): loads them all. */
	.globl enter_user
enter_user:
	mov	%rdi, %rsp
	jmp	trap_return

	.section .rodata
	.balign 8
	.globl trap_stubs
trap_stubs:
	.set	n, 0
	.macro	entry v
	.quad	trap_\v
	.endm
	.rept	32
	entry	%n
	.set	n, n + 1
	.endr
	.globl trap_stub_80, trap_stub_event, trap_stub_syscall, trap_stub_failsafe, trap_stub_syscall32
trap_stub_80:		.quad	trap_128
trap_stub_event:	.quad	trap_256
trap_stub_syscall:	.quad	trap_257
trap_stub_failsafe:	.quad	trap_258
trap_stub_syscall32:	.quad	trap_259

	.section .note.GNU-stack, "", @progbits
