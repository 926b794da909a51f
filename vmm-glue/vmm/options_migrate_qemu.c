/* SPDX-License-Identifier: BSD-2-Clause */
/* options_migrate_qemu.c -- `decant migrate --qmp`: of migrate's options those that QEMU, or a sidecar, can follow */
#include "vmm/options_common.h"

#include <errno.h>
#include <string.h>
#include <sys/un.h>

/* What is QEMU's to do, and it does not; NULL: nothing was asked for that it does not. */
static const char *migrate_qemu_cannot(const struct options_migrate *options)
{
	const struct departure_opts *departure = &options->departure;

	if (strcmp(departure->fabric, "loop") == 0)
		return "--fabric loop: the guest is QEMU's, and goes to another QEMU; use auto, rdma or tcp";
	if (departure->verify)
		return "--verify: QEMU cannot be asked to wait while memory is compared; leave it out";
	if (departure->switchover_timeout_ns > 0)
		return "--switchover-timeout: QEMU has none for its pause; --max-downtime is its limit";
	if (departure->zero_scan != DECANT_ZERO_SCAN_AUTO)
		return "--zero-scan: QEMU looks at every page itself; leave it out";
	if (departure->zero_copy != DECANT_ZERO_COPY_AUTO)
		return "--zero-copy: not with --qmp; leave it out";
	if (options->policy && departure->if_not_converging == DECANT_NOT_CONVERGING_ABORT)
		return "--if-not-converging abort: QEMU goes on and on; use --timeout, or --if-not-converging throttle";
	return NULL;
}

int options_migrate_qemu(struct options_migrate *options, const char *const *words, int count,
			 struct decant_error *err)
{
	const char *cannot = migrate_qemu_cannot(options);
	const struct sockaddr_un *address = NULL;

	if (cannot != NULL)
		return decant_error_set(err, -EINVAL, "%s", cannot);
	if (options->qmp[0] == '\0' || strlen(options->qmp) >= sizeof(address->sun_path))
		return decant_error_set(err, -EINVAL,
					"--qmp: must be the path of a UNIX socket, of less than %zu bytes",
					sizeof(address->sun_path));
	if (count == 0)
		return decant_error_set(err, -EINVAL, "where to? give HOST:PORT of a decant proxy dest");
	if (count > 1)
		return decant_error_set(err, -EINVAL,
					"\"%s\": one word too many; with --qmp there is only HOST:PORT", words[1]);
	return options_take_peer(words[0], options->departure.peer, err);
}
