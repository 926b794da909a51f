/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * entry.S -- where the stress guest begins: Multiboot header, the boot processor's entry and the other processors' trampoline
 *
 * The boot processor arrives in 32-bit protected mode with eax = magic and ebx = info. The others arrive in real mode at
 * the page that their SIPI names, where smp.c has copied the trampoline, and find their way here. No interrupt is
 * ever enabled and there is no IDT: an exception is a triple fault, which a VMM reports. C is called with -mregparm=3.
 */
#include "guest/multiboot.h"
#include "guest/stress.h"

#define STACK_SIZE 4096
#define LOCAL_APIC_ID 0xfee00020
#define CODE_SELECTOR 8
#define DATA_SELECTOR 16

	.section .multiboot, "a"
	.balign 4
	.long MULTIBOOT_HEADER_MAGIC
	.long MULTIBOOT_MEMORY_INFO
	.long -(MULTIBOOT_HEADER_MAGIC + MULTIBOOT_MEMORY_INFO)

	.text
	.code32
	.globl guest_entry
guest_entry:
	cli
	cld
	movl	%eax, %esi
	lgdtl	gdt_pointer
	ljmpl	$CODE_SELECTOR, $1f
1:	movl	$DATA_SELECTOR, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	movl	$stacks + STACK_SIZE, %esp
	movl	%esi, %eax
	movl	%ebx, %edx
	call	guest_main
	jmp	stop

ap_entry:
	movl	$DATA_SELECTOR, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	movl	LOCAL_APIC_ID, %eax
	shrl	$24, %eax
	cmpl	$STRESS_VCPUS_MAX, %eax
	jae	stop
	movl	%eax, %ecx
	incl	%ecx
	shll	$12, %ecx
	leal	stacks(%ecx), %esp
	call	guest_ap_main
stop:	cli
	hlt
	jmp	stop

	/* position-independent: cs is the page it was copied to */
	.code16
	.globl guest_trampoline, guest_trampoline_end
guest_trampoline:
	cli
	cld
	lgdtl	%cs:(2f - guest_trampoline)
	movl	%cr0, %eax
	orl	$1, %eax
	movl	%eax, %cr0
	ljmpl	$CODE_SELECTOR, $ap_entry
	.balign 4
2:	.word	gdt_end - gdt - 1
	.long	gdt
guest_trampoline_end:
	.code32

	.section .rodata
	.balign 8
gdt:	.quad	0
	.quad	0x00cf9b000000ffff /* flat code, 4 GiB */
	.quad	0x00cf93000000ffff /* flat data, 4 GiB */
gdt_end:
gdt_pointer:
	.word	gdt_end - gdt - 1
	.long	gdt

	.bss
	.balign STACK_SIZE
stacks:	.skip	STACK_SIZE * STRESS_VCPUS_MAX

	.section .note.GNU-stack, "", @progbits
