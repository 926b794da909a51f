/* SPDX-License-Identifier: BSD-2-Clause */
/* report_file.c -- the file of --report */
#include "vmm/report_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int report_file_put(int fd, const char *bytes, size_t length)
{
	size_t done = 0;

	while (done < length) {
		ssize_t put = write(fd, bytes + done, length - done);

		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0)
			return put < 0 ? -errno : -EIO;
		done += (size_t)put;
	}
	return 0;
}

static int report_file_fill(int fd)
{
	char blanks[4096];
	int ret = 0;

	memset(blanks, ' ', sizeof(blanks));
	for (size_t done = 0; ret == 0 && done < REPORT_FILE_ROOM; done += sizeof(blanks))
		ret = report_file_put(fd, blanks, sizeof(blanks));
	return ret;
}

/* a pipe or a terminal has no room to be taken, and must not see blanks */
static int report_file_reserve(int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) && !S_ISCHR(st.st_mode))
		return 0;
	if (S_ISCHR(st.st_mode))
		return isatty(fd) ? 0 : report_file_put(fd, "\n", 1);
	return report_file_fill(fd);
}

static int report_file_error(const struct report_file *file, int code, struct decant_error *err)
{
	return decant_error_set(err, code, "--report %s: %s", file->path, strerror(-code));
}

int report_file_open(struct report_file *file, const char *path, struct decant_error *err)
{
	int ret;

	file->path = path;
	file->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (file->fd < 0)
		return report_file_error(file, -errno, err);
	ret = report_file_reserve(file->fd);
	if (ret == 0)
		return 0;
	report_file_drop(file);
	return report_file_error(file, ret, err);
}

int report_file_write(struct report_file *file, struct json_object *report, struct decant_error *err)
{
	const char *text = json_object_to_json_string_ext(report,
							  JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED);
	struct stat st;
	int ret = 0;

	if (fstat(file->fd, &st) == 0 && S_ISREG(st.st_mode))
		ret = lseek(file->fd, 0, SEEK_SET) < 0 ? -errno : 0;
	if (ret == 0)
		ret = report_file_put(file->fd, text, strlen(text));
	if (ret == 0)
		ret = report_file_put(file->fd, "\n", 1);
	if (ret == 0 && S_ISREG(st.st_mode) && ftruncate(file->fd, (off_t)strlen(text) + 1) < 0)
		ret = -errno;
	if (close(file->fd) < 0 && ret == 0)
		ret = -errno;
	file->fd = -1;
	return ret < 0 ? report_file_error(file, ret, err) : 0;
}

void report_file_drop(struct report_file *file)
{
	struct stat st;

	if (file->fd < 0)
		return;
	if (fstat(file->fd, &st) == 0 && S_ISREG(st.st_mode))
		unlink(file->path);
	close(file->fd);
	file->fd = -1;
}
