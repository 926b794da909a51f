/* SPDX-License-Identifier: BSD-2-Clause */
/* stress_image.S -- the stress guest's image as part of the program; the assembler finds it by -I */
	.section .rodata
	.globl stress_image, stress_image_end
	.balign 16
stress_image:
	.incbin "guest/stress.elf"
stress_image_end:
	.byte 0

	.section .note.GNU-stack, "", @progbits
