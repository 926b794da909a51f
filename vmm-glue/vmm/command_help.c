/* SPDX-License-Identifier: BSD-2-Clause */
/* command_help.c -- what --help says; decant(1) says it at length */
#include "vmm/command.h"

#include <stdio.h>
#include <string.h>

static const char help_all[] =
	"decant moves running virtual machines from one host to another\n"
	"\n"
	"  decant run      start a VM in this process\n"
	"  decant receive  wait for a VM from another host, then run it\n"
	"  decant migrate  move a running VM to a decant receive\n"
	"  decant list     the VMs on this host\n"
	"  decant status   all about one VM\n"
	"  decant pause    stop a VM's vCPUs\n"
	"  decant resume   let them go on\n"
	"  decant cancel   end a migration; the VM stays\n"
	"  decant stop     end a VM\n"
	"  decant probe    what this host has, and what is missing\n"
	"  decant proxy    beside an unmodified QEMU: its migration over decant's fabrics\n"
	"\n"
	"decant VERB --help tells more, decant --version the version; the manual is decant(1).\n"
	"Exit status: 0 done, 1 failed, 2 usage, 3 the outcome of a migration is in doubt.\n";

static const char help_run[] =
	"decant run [OPTIONS] --guest stress[:OPTIONS] | --kernel FILE [--initrd FILE] [--append TEXT]\n"
	"\n"
	"Starts a VM and stays with it until it stops or has been migrated away.\n"
	"\n"
	"  --name NAME          its name on this host [vm]\n"
	"  --memory SIZE        512M, 4G, ... [512M]\n"
	"  --vcpus N            [1]\n"
	"  --page-size SIZE     of the memory behind the guest: 4K, 2M or 1G [4K]\n"
	"  --prealloc           allocate all of it before the guest starts\n"
	"  --dirty log|ring     how KVM tracks what the guest writes [log]\n"
	"  --serial stdio|none|FILE  the guest's serial port [stdio; none with --json]\n"
	"  --guest stress[:wss=40M,data=128M,zero=4M,rate=100M,pattern=seq|random,seed=1,scatter=0|1]\n"
	"                       the built-in guest, that writes its memory and judges it\n"
	"  --kernel FILE        a 32-bit Multiboot image, with --initrd FILE and --append TEXT\n"
	"  --cpus LIST          CPUs for decant's own threads: 0-1,8; not for the guest's [those of this process, less isolated ones]\n"
	"  --numa-node N        the host's node for the guest's memory [any]\n"
	"  --confine on|strict|off  give up the privileges that are not needed; strict is for tests [on]\n"
	"  --json               events as JSON lines\n"
	"  --verbose            more about what goes on\n";

static const char help_receive[] =
	"decant receive --listen HOST:PORT [OPTIONS]\n"
	"\n"
	"Waits for one VM, then runs it until it stops or is migrated on. Port 0 takes a free one, and says which.\n"
	"\n"
	"  --name NAME          its name on this host [as at the source]\n"
	"  --max-memory SIZE    refuse a VM with more [--prealloc, or what the host has available]\n"
	"  --prealloc SIZE      allocate memory for a VM of just that size before it comes [none]\n"
	"  --page-size SIZE     of that memory: 4K, 2M or 1G, as the VM has it [4K]\n"
	"  --serial stdio|none|FILE  the guest's serial port [stdio; none with --json]\n"
	"  --key-file FILE      take a VM only from who has the same key; only its owner may read FILE\n"
	"  --insecure           listen beyond the loopback interface without a key: anyone may send a VM\n"
	"  --cpus LIST          CPUs for decant's own threads: 0-1,8; not for the guest's [those of this process, less isolated ones]\n"
	"  --numa-node N        the host's node for the guest's memory [any]\n"
	"  --confine on|strict|off  give up the privileges that are not needed; strict is for tests [on]\n"
	"  --json               events as JSON lines\n"
	"  --verbose            more about what goes on\n";

static const char help_migrate[] =
	"decant migrate NAME HOST:PORT [OPTIONS]\n"
	"decant migrate NAME --fabric loop [OPTIONS]\n"
	"decant migrate --qmp SOCKET HOST:PORT [OPTIONS]\n"
	"\n"
	"Moves a VM while it runs. Interrupting this command cancels the migration; killing it does not.\n"
	"\n"
	"  --fabric auto|rdma|tcp|loop how the memory travels; auto: RDMA hardware that reaches, else TCP; rdma: software too;\n"
	"                              loop: to a second machine in the same process [auto]\n"
	"  --rail LOCAL[=REMOTE]       RDMA: over these, each a device or an address; may be repeated [those that reach]\n"
	"  --channels N                connections for memory [the fabric's choice]\n"
	"  --cpus LIST                 CPUs for decant's own threads [--cpus of the VM's process]\n"
	"  --max-downtime TIME         the longest pause allowed [300ms]\n"
	"  --timeout TIME              for the whole [none]\n"
	"  --switchover-timeout TIME   for the pause, then the guest goes on here [4 x max-downtime, at least 500ms]\n"
	"  --bandwidth RATE            use at most: 10Gbit, 200M, ... [all]\n"
	"  --if-not-converging throttle|abort\n"
	"                              what to do when the guest writes faster than the fabric carries: slow the vCPUs\n"
	"                              that write, or end the migration [abort]\n"
	"  --zero-scan auto|on|off     look for pages of zeros, which need not be sent; auto: as long as some are found [auto]\n"
	"  --zero-copy auto|on|off     tcp: the kernel sends from guest memory without a copy; auto: where a NIC sends [auto]\n"
	"  --verify                    compare every page on both sides before the guest goes on\n"
	"  --key-file FILE             the key of the destination; only its owner may read FILE\n"
	"  --report FILE               write the report, as JSON\n"
	"  --json                      events as JSON lines, the report last\n"
	"\n"
	"With --qmp it is the guest of an unmodified QEMU, whose monitor is SOCKET, and goes to a decant proxy dest. Interrupting\n"
	"or killing this command then ends the migration. --verify, --switchover-timeout, --zero-scan and --zero-copy do not go with it.\n"
	"\n"
	"  --multifd N                 QEMU's own channels to its sidecar, 0: none [as QEMU is set]\n"
	"  --fallback                  where the memory cannot be shared, pass QEMU's stream on unchanged\n"
	"  --confine on|strict|off     give up the privileges that are not needed; strict is for tests [on]\n"
	"\n"
	"Exit status: 0 done, 1 failed and the guest runs here (or it has found its memory damaged), 2 usage, 3 in doubt.\n";

static const char help_list[] = "decant list [--json]\n\nThe VMs on this host.\n";
static const char help_status[] = "decant status NAME [--json]\n\nAll about one VM.\n";
static const char help_pause[] =
	"decant pause NAME [--json]\n\nStops a VM's vCPUs. A VM that is migrated while it is paused arrives paused.\n";
static const char help_resume[] =
	"decant resume NAME [--force] [--json]\n"
	"\n"
	"Lets a paused VM go on. Where it is in doubt whether a VM runs at its destination, the destination is asked again,\n"
	"and the VM goes on here only if it never will run there.\n"
	"\n"
	"  --force   go on here when the destination does not answer: you vouch that it does not run there\n";
static const char help_cancel[] =
	"decant cancel NAME [--json]\n\nEnds the migration of a VM, which stays, and waits until it has ended.\n";
static const char help_stop[] = "decant stop NAME [--json]\n\nEnds a VM, or a decant receive that waits.\n";
static const char help_probe[] =
	"decant probe [--json]\n\nWhat this host has, what decant will use of it, and how to mend what is missing.\n";
static const char help_proxy[] =
	"decant proxy source --peer HOST:PORT --qemu-socket PATH [OPTIONS]\n"
	"decant proxy dest --listen HOST:PORT --qemu-socket PATH [OPTIONS]\n"
	"\n"
	"Beside an unmodified QEMU at each end: moves the memory of its VM by decant's fabrics, and passes the rest of its migration on.\n"
	"One migration each; then both end. At the source, QEMU is told: migrate unix:PATH. At the destination QEMU has been started with\n"
	"-S -incoming unix:PATH. The VM's memory must be shared (memory-backend-memfd or -file, share=on) at both ends.\n"
	"\n"
	"  --peer HOST:PORT         source: the other one\n"
	"  --listen HOST:PORT       dest: for the other one; port 0 takes a free one, and says which\n"
	"  --qemu-socket PATH       source: made for QEMU to migrate to; dest: where QEMU listens\n"
	"  --qmp PATH               QEMU's monitor: more is looked at before, and parameters are set; dest: -incoming defer will do\n"
	"  --disks PATH             source: made for NBD connections to come to; dest: where QEMU's NBD server listens\n"
	"  --fallback               source: where the memory cannot be moved, pass QEMU's migration unchanged\n"
	"  --fabric auto|rdma|tcp   source: how the memory travels [auto]\n"
	"  --rail LOCAL[=REMOTE]    source: RDMA: over these, each a device or an address; may be repeated [those that reach]\n"
	"  --channels N             source: connections for memory [the fabric's choice]\n"
	"  --bandwidth RATE         source: use at most: 10Gbit, 200M, ... [all]\n"
	"  --cpus LIST              CPUs for decant's own threads: 0-1,8 [those of this process, less isolated ones]\n"
	"  --key-file FILE          the same key at both ends; only its owner may read FILE\n"
	"  --insecure               dest: listen beyond the loopback interface without a key\n"
	"  --report FILE            write the report, as JSON\n"
	"  --confine on|strict|off  give up the privileges that are not needed; strict is for tests [on]\n"
	"  --json                   events as JSON lines\n"
	"  --verbose                more about what goes on\n"
	"\n"
	"Exit status: 0 done, 1 failed and the VM runs at the source, 2 usage, 3 in doubt.\n";

static const struct help_page {
	const char *verb;
	const char *text;
} help_pages[] = {
	{ "run", help_run },       { "receive", help_receive }, { "migrate", help_migrate },
	{ "list", help_list },     { "status", help_status },   { "pause", help_pause },
	{ "resume", help_resume }, { "cancel", help_cancel },   { "stop", help_stop },
	{ "probe", help_probe },   { "proxy", help_proxy },
};

void command_help(const char *verb)
{
	const char *text = help_all;

	for (size_t i = 0; verb != NULL && i < sizeof(help_pages) / sizeof(help_pages[0]); i++)
		if (strcmp(verb, help_pages[i].verb) == 0)
			text = help_pages[i].text;
	fputs(text, stdout);
}
