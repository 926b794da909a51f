/* SPDX-License-Identifier: BSD-2-Clause */
/* false_root.h -- a folder that stands for "/", for what reads /sys, /proc and /dev below a root that it is given */
#ifndef SUPPORT_FALSE_ROOT_H
#define SUPPORT_FALSE_ROOT_H

struct false_root {
	char path[512];
};

/* All end the test program where they fail. */
void false_root_new(struct false_root *root);
void false_root_free(struct false_root *root); /* and all that is in it */

/* false_root_file() -- a file with @text, and the folders above it */
void false_root_file(const struct false_root *root, const char *path, const char *text);

/* false_root_device() -- what the kernel shows of an RDMA device with one port: software or on a PCI bus, @state as "4: ACTIVE" */
void false_root_device(const struct false_root *root, const char *device, const char *bus, const char *state);

#endif
