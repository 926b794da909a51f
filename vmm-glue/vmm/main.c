/* SPDX-License-Identifier: BSD-2-Clause */
/* main.c -- the program decant */
#include "vmm/command.h"

int main(int argc, char **argv)
{
	return command_main(argc, argv);
}
