/* SPDX-License-Identifier: BSD-2-Clause */
/* decant.c -- the public entry points that belong to no layer */
#include <decant/version.h>

#define TO_STRING(x) #x
#define VERSION_STRING(major, minor, patch) TO_STRING(major) "." TO_STRING(minor) "." TO_STRING(patch)

_Static_assert(__builtin_strcmp(VERSION_STRING(DECANT_VERSION_MAJOR, DECANT_VERSION_MINOR, DECANT_VERSION_PATCH),
				DECANT_VERSION_STRING) == 0,
	       "version.h disagrees with itself");

const char *decant_version_string(void)
{
	return DECANT_VERSION_STRING;
}
