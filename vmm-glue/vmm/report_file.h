/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * report_file.h -- the file of --report, which must not fail when the migration is over
 *
 * So its room on the disk is taken before anything is begun: what cannot be written is refused while there is nothing to lose.
 */
#ifndef VMM_REPORT_FILE_H
#define VMM_REPORT_FILE_H

#include <decant/error.h>
#include <json-c/json.h>

#define REPORT_FILE_ROOM (64u << 10)

struct report_file {
	const char *path;
	int fd;
};

/* report_file_open() -- make or overwrite @path, and fill its room; what open(2) or write(2) say */
int report_file_open(struct report_file *file, const char *path, struct decant_error *err);

/* report_file_write() -- the report and nothing else; closes the file */
int report_file_write(struct report_file *file, struct json_object *report, struct decant_error *err);

/* report_file_drop() -- there will be no report: an empty file goes; fine on one that is closed */
void report_file_drop(struct report_file *file);

#endif
