/* SPDX-License-Identifier: BSD-2-Clause */
/* decant/version.h -- the library's version */
#ifndef DECANT_VERSION_H
#define DECANT_VERSION_H

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

#define DECANT_VERSION_MAJOR 0
#define DECANT_VERSION_MINOR 1
#define DECANT_VERSION_PATCH 0
#define DECANT_VERSION_STRING "0.1.0"

/* decant_version_string() -- the version of the library that is loaded, "0.1.0"; static, any thread */
const char *decant_version_string(void);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
