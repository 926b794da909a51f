/* SPDX-License-Identifier: BSD-2-Clause */
/* false_root.c -- a folder that stands for "/" */
#include "support/false_root.h"

#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void must(int failed, const char *what)
{
	if (!failed)
		return;
	perror(what);
	abort();
}

static const char *full(const struct false_root *root, const char *path, char text[PATH_MAX])
{
	must(snprintf(text, PATH_MAX, "%s%s", root->path, path) >= PATH_MAX, path);
	return text;
}

static void make_parents(const char *path)
{
	char part[PATH_MAX];

	for (const char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
		snprintf(part, sizeof(part), "%.*s", (int)(slash - path), path);
		mkdir(part, 0755); /* most are there */
	}
}

void false_root_new(struct false_root *root)
{
	const char *folder = getenv("TMPDIR");

	snprintf(root->path, sizeof(root->path), "%s/root-XXXXXX", folder != NULL ? folder : "/tmp");
	must(mkdtemp(root->path) == NULL, root->path);
	must(chmod(root->path, 0755) < 0, root->path);
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *where)
{
	(void)status;
	(void)type;
	(void)where;
	return remove(path);
}

void false_root_free(struct false_root *root)
{
	must(nftw(root->path, remove_one, 16, FTW_DEPTH | FTW_PHYS) != 0, root->path);
}

void false_root_file(const struct false_root *root, const char *path, const char *text)
{
	char name[PATH_MAX];
	FILE *file;

	make_parents(full(root, path, name));
	file = fopen(name, "we");
	must(file == NULL, name);
	fputs(text, file);
	must(fclose(file) != 0, name);
}

void false_root_device(const struct false_root *root, const char *device, const char *bus, const char *state)
{
	char path[256], target[256], name[PATH_MAX];

	snprintf(path, sizeof(path), "/sys/devices/%s/infiniband/%s/ports/1/state", bus, device);
	false_root_file(root, path, state);
	snprintf(target, sizeof(target), "../../devices/%s/infiniband/%s", bus, device);
	snprintf(path, sizeof(path), "/sys/class/infiniband/%s", device);
	make_parents(full(root, path, name));
	must(symlink(target, name) < 0, name);
}
