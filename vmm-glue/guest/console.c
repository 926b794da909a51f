/* SPDX-License-Identifier: BSD-2-Clause */
/* console.c -- the stress guest's lines on the first serial port */
#include "guest/stress_guest.h"

#include <stdint.h>

#define SERIAL_DATA 0x3f8
#define SERIAL_LINE_STATUS 0x3fd
#define SERIAL_EMPTY 0x20
#define SERIAL_LOOKS 10000

static void print_char(char c)
{
	for (int i = 0; i < SERIAL_LOOKS && !(guest_in(SERIAL_LINE_STATUS) & SERIAL_EMPTY); i++)
		guest_relax();
	guest_out(SERIAL_DATA, (uint8_t)c);
}

void guest_print(const char *text)
{
	for (; *text != '\0'; text++)
		print_char(*text);
}

void guest_print_number(uint32_t number)
{
	char digits[11];
	char *at = digits + sizeof(digits) - 1;

	*at = '\0';
	do {
		*--at = (char)('0' + number % 10);
		number /= 10;
	} while (number != 0);
	guest_print(at);
}

void guest_print_hex(uint32_t number)
{
	guest_print("0x");
	for (int shift = 28; shift >= 0; shift -= 4)
		print_char("0123456789abcdef"[(number >> shift) & 15]);
}

void guest_halt(const char *why)
{
	guest_print("decant stress guest: ");
	guest_print(why);
	guest_print("\n");
	for (;;)
		__asm__ volatile("cli; hlt");
}
