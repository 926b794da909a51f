/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cpuid.c -- the processor that a guest has been promised, and whether this host can keep the promise
 *
 * A guest looks at CPUID once, at its boot, and relies on it ever after. So the destination must offer every
 * feature bit that the source's vCPUs show; more is no harm, since the guest keeps the source's table. Compared
 * are the registers that hold feature bits, the layout of the XSAVE area, and the width of physical addresses.
 *
 * KVM takes any table, so what the host can really do must be asked for. KVM_GET_SUPPORTED_CPUID is the answer,
 * but a KVM that cannot intercept CPUID gives its guests more than it lists: so its own answer is set on a vCPU
 * and read back, and what was added counts as offered.
 */
#include "kvm/cpuid.h"

#include "util/cleanup.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LEAF_FEATURES 0x1u
#define LEAF_XSAVE 0xdu
#define LEAF_HYPERVISOR 0x40000000u
#define LEAF_KVM_FEATURES 0x40000001u
#define LEAF_EXTENDED_FEATURES 0x80000001u
#define LEAF_ADDRESS_SIZES 0x80000008u

#define FEATURES_ECX_TSC_DEADLINE (1u << 24)

enum cpuid_register {
	CPUID_EAX,
	CPUID_EBX,
	CPUID_ECX,
	CPUID_EDX
};

struct cpuid_feature_register {
	uint32_t function;
	uint32_t index;
	enum cpuid_register reg;
	uint32_t ignored;
	const char *names; /* "bit:name" for those that people know, ends with a blank */
};

static const struct cpuid_feature_register cpuid_feature_registers[] = {
	/* MONITOR depends on an option of the VMM, OSXSAVE on CR4; TSC deadline and HYPERVISOR KVM has without listing them */
	{ 0x1, 0, CPUID_ECX, 1u << 3 | 1u << 24 | 1u << 27 | 1u << 31,
	  "0:sse3 1:pclmulqdq 5:vmx 9:ssse3 12:fma 13:cx16 17:pcid 19:sse4.1 20:sse4.2 21:x2apic 22:movbe 23:popcnt "
	  "25:aes 26:xsave 28:avx 29:f16c 30:rdrand " },
	/* HTT only says that the topology leaves mean something */
	{ 0x1, 0, CPUID_EDX, 1u << 28,
	  "0:fpu 4:tsc 5:msr 6:pae 8:cx8 9:apic 11:sep 12:mtrr 13:pge 15:cmov 16:pat 19:clflush 23:mmx 24:fxsr 25:sse "
	  "26:sse2 27:ss " },
	{ 0x6, 0, CPUID_EAX, ~(1u << 2), "2:arat " },
	{ 0x7, 0, CPUID_EBX, 0,
	  "0:fsgsbase 1:tsc_adjust 3:bmi1 4:hle 5:avx2 7:smep 8:bmi2 9:erms 10:invpcid 11:rtm 14:mpx 16:avx512f "
	  "17:avx512dq 18:rdseed 19:adx 20:smap 21:avx512ifma 23:clflushopt 24:clwb 28:avx512cd 29:sha_ni 30:avx512bw "
	  "31:avx512vl " },
	/* OSPKE follows CR4 */
	{ 0x7, 0, CPUID_ECX, 1u << 4,
	  "1:avx512vbmi 2:umip 3:pku 6:avx512_vbmi2 7:shstk 8:gfni 9:vaes 10:vpclmulqdq 11:avx512_vnni "
	  "12:avx512_bitalg 14:avx512_vpopcntdq 16:la57 22:rdpid 24:bus_lock_detect " },
	{ 0x7, 0, CPUID_EDX, 0,
	  "4:fsrm 8:avx512_vp2intersect 10:md_clear 14:serialize 16:tsxldtrk 20:ibt 22:amx_bf16 23:avx512_fp16 "
	  "24:amx_tile 25:amx_int8 26:ibrs 27:stibp 28:flush_l1d 29:arch_capabilities 31:ssbd " },
	{ 0x7, 1, CPUID_EAX, 0,
	  "4:avx_vnni 5:avx512_bf16 10:fzrm 11:fsrs 12:fsrc 21:amx_fp16 23:avx_ifma 26:lam " },
	{ 0x7, 1, CPUID_EBX, 0, "" },
	{ 0x7, 1, CPUID_ECX, 0, "" },
	{ 0x7, 1, CPUID_EDX, 0, "4:avx_vnni_int8 5:avx_ne_convert 14:prefetchiti " },
	{ 0x7, 2, CPUID_EDX, 0, "" },
	{ LEAF_XSAVE, 0, CPUID_EAX, 0, "0:x87 1:sse 2:avx 5:avx512 9:pkru 17:amx_cfg 18:amx_data " },
	{ LEAF_XSAVE, 0, CPUID_EDX, 0, "" },
	{ LEAF_XSAVE, 1, CPUID_EAX, 0, "0:xsaveopt 1:xsavec 2:xgetbv1 3:xsaves 4:xfd " },
	{ LEAF_XSAVE, 1, CPUID_ECX, 0, "" },
	{ LEAF_XSAVE, 1, CPUID_EDX, 0, "" },
	{ LEAF_EXTENDED_FEATURES, 0, CPUID_ECX, 0,
	  "0:lahf_lm 2:svm 5:abm 6:sse4a 7:misalignsse 8:3dnowprefetch 11:xop 16:fma4 21:tbm 22:topoext 23:perfctr_core " },
	{ LEAF_EXTENDED_FEATURES, 0, CPUID_EDX, 0,
	  "11:syscall 20:nx 22:mmxext 25:fxsr_opt 26:pdpe1gb 27:rdtscp 29:lm " },
	{ 0x80000007, 0, CPUID_EDX, 0, "8:constant_tsc " },
	{ LEAF_ADDRESS_SIZES, 0, CPUID_EBX, 0,
	  "0:clzero 2:xsaveerptr 9:wbnoinvd 12:ibpb 14:ibrs 15:stibp 24:ssbd " },
	{ 0x8000000a, 0, CPUID_EDX, 0, "0:npt 1:lbrv 3:nrip_save 4:tsc_scale " },
	{ 0x80000021, 0, CPUID_EAX, 0, "" },
};

#define CPUID_FEATURE_REGISTERS (sizeof(cpuid_feature_registers) / sizeof(cpuid_feature_registers[0]))

static const char *const cpuid_register_names[] = { "EAX", "EBX", "ECX", "EDX" };

struct kvm_cpuid2 *kvm_cpuid_new(uint32_t entries)
{
	struct kvm_cpuid2 *cpuid = calloc(1, sizeof(*cpuid) + entries * sizeof(cpuid->entries[0]));

	if (cpuid != NULL)
		cpuid->nent = entries;
	return cpuid;
}

/* The entry's number, or cpuid->nent */
static uint32_t cpuid_find(const struct kvm_cpuid2 *cpuid, uint32_t function, uint32_t index)
{
	uint32_t i;

	for (i = 0; i < cpuid->nent; i++) {
		bool indexed = cpuid->entries[i].flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX;

		if (cpuid->entries[i].function == function &&
		    (indexed ? cpuid->entries[i].index == index : index == 0))
			break;
	}
	return i;
}

static uint32_t cpuid_register(const struct kvm_cpuid2 *cpuid, uint32_t function, uint32_t index,
			       enum cpuid_register reg)
{
	uint32_t at = cpuid_find(cpuid, function, index);
	const struct kvm_cpuid_entry2 *entry = &cpuid->entries[at];

	if (at == cpuid->nent)
		return 0;
	switch (reg) {
	case CPUID_EAX:
		return entry->eax;
	case CPUID_EBX:
		return entry->ebx;
	case CPUID_ECX:
		return entry->ecx;
	default:
		return entry->edx;
	}
}

int kvm_cpuid_host(int kvm_fd, struct kvm_cpuid2 **cpuid, struct decant_error *err)
{
	struct kvm_cpuid2 *host = kvm_cpuid_new(KVM_CPUID_ENTRIES_MAX);
	int r = host == NULL ? -ENOMEM : kvm_ioctl(kvm_fd, KVM_GET_SUPPORTED_CPUID, host);

	if (r < 0) {
		free(host);
		return decant_error_set(err, r, "KVM_GET_SUPPORTED_CPUID: %s", strerror(-r));
	}
	*cpuid = host;
	return 0;
}

int kvm_cpuid_read(struct kvm_vcpu *vcpu, struct decant_error *err)
{
	struct kvm_cpuid2 *cpuid = kvm_cpuid_new(KVM_CPUID_ENTRIES_MAX);
	int r = cpuid == NULL ? -ENOMEM : kvm_ioctl(vcpu->fd, KVM_GET_CPUID2, cpuid);

	if (r < 0) {
		free(cpuid);
		return decant_error_set(err, r, "vCPU %u: KVM_GET_CPUID2: %s", vcpu->index, strerror(-r));
	}
	free(vcpu->cpuid);
	vcpu->cpuid = cpuid;
	return 0;
}

static void cpuid_add_register(struct kvm_cpuid_entry2 *entry, enum cpuid_register reg, uint32_t bits)
{
	switch (reg) {
	case CPUID_EAX:
		entry->eax |= bits;
		break;
	case CPUID_EBX:
		entry->ebx |= bits;
		break;
	case CPUID_ECX:
		entry->ecx |= bits;
		break;
	case CPUID_EDX:
		entry->edx |= bits;
		break;
	}
}

int kvm_cpuid_offer(int kvm_fd, struct kvm_vcpu *vcpu, struct kvm_cpuid2 **cpuid, struct decant_error *err)
{
	struct kvm_cpuid2 *offer;
	int r = kvm_cpuid_host(kvm_fd, &offer, err);

	if (r < 0)
		return r;
	r = kvm_ioctl(vcpu->fd, KVM_SET_CPUID2, offer);
	if (r < 0)
		decant_error_set(err, r, "vCPU %u: KVM_SET_CPUID2: %s", vcpu->index, strerror(-r));
	else
		r = kvm_cpuid_read(vcpu, err);
	for (size_t i = 0; r == 0 && i < CPUID_FEATURE_REGISTERS; i++) {
		const struct cpuid_feature_register *where = &cpuid_feature_registers[i];
		uint32_t at = cpuid_find(offer, where->function, where->index);

		if (at < offer->nent)
			cpuid_add_register(&offer->entries[at], where->reg,
					   cpuid_register(vcpu->cpuid, where->function, where->index, where->reg));
	}
	if (r < 0) {
		free(offer);
		return r;
	}
	*cpuid = offer;
	return 0;
}

/* The name of @bit in a list "bit:name bit:name ", or nothing. */
static void cpuid_bit_name(const char *names, unsigned int bit, char *name, size_t size)
{
	name[0] = '\0';
	while (*names != '\0') {
		char *rest;
		unsigned long at = strtoul(names, &rest, 10);
		size_t length = strcspn(++rest, " ");

		if (at == bit && length < size) {
			memcpy(name, rest, length);
			name[length] = '\0';
			return;
		}
		names = rest + length + 1;
	}
}

static int cpuid_refuse(const struct cpuid_feature_register *where, uint32_t lacking, struct decant_error *err)
{
	char text[200] = "";
	size_t used = 0;

	for (unsigned int bit = 0; bit < 32; bit++) {
		char name[24];
		int n;

		if (!(lacking >> bit & 1))
			continue;
		cpuid_bit_name(where->names, bit, name, sizeof(name));
		n = snprintf(text + used, sizeof(text) - used, "%s%u%s%s%s", used > 0 ? ", " : "", bit,
			     name[0] != '\0' ? " (" : "", name, name[0] != '\0' ? ")" : "");
		if ((size_t)n >= sizeof(text) - used)
			break;
		used += (size_t)n;
	}
	return decant_error_set(
		err, -EOPNOTSUPP,
		"CPUID leaf 0x%x.%u %s: the guest has bits 0x%x that this host lacks: bit %s; start the guest "
		"with a CPU model that both hosts have",
		where->function, where->index, cpuid_register_names[where->reg], lacking, text);
}

static bool cpuid_is_kvm(const struct kvm_cpuid2 *cpuid)
{
	uint32_t signature = cpuid_register(cpuid, LEAF_HYPERVISOR, 0, CPUID_EBX);

	return memcmp(&signature, "KVMK", sizeof(signature)) == 0;
}

bool kvm_cpuid_is_hyperv(const struct kvm_cpuid2 *cpuid)
{
	uint32_t interface = cpuid_register(cpuid, LEAF_KVM_FEATURES, 0, CPUID_EAX);

	return memcmp(&interface, "Hv#1", sizeof(interface)) == 0;
}

static int cpuid_check_features(const struct kvm_cpuid2 *guest, const struct kvm_cpuid2 *host,
				struct decant_error *err)
{
	for (size_t i = 0; i < CPUID_FEATURE_REGISTERS; i++) {
		const struct cpuid_feature_register *where = &cpuid_feature_registers[i];
		uint32_t have = cpuid_register(guest, where->function, where->index, where->reg);
		uint32_t offered = cpuid_register(host, where->function, where->index, where->reg);
		uint32_t lacking = have & ~offered & ~where->ignored;

		if (lacking != 0)
			return cpuid_refuse(where, lacking, err);
	}
	return 0;
}

/* Each XSAVE component the guest may use must lie where the guest was told. */
static int cpuid_check_xsave(const struct kvm_cpuid2 *guest, const struct kvm_cpuid2 *host,
			     struct decant_error *err)
{
	uint32_t features = cpuid_register(guest, LEAF_XSAVE, 0, CPUID_EAX);

	for (uint32_t i = 2; i < 32; i++) {
		uint32_t size = cpuid_register(guest, LEAF_XSAVE, i, CPUID_EAX);
		uint32_t offset = cpuid_register(guest, LEAF_XSAVE, i, CPUID_EBX);

		if (!(features >> i & 1))
			continue;
		if (size != cpuid_register(host, LEAF_XSAVE, i, CPUID_EAX) ||
		    offset != cpuid_register(host, LEAF_XSAVE, i, CPUID_EBX))
			return decant_error_set(err, -EOPNOTSUPP,
						"CPUID leaf 0xd.%u: the guest's XSAVE component of %u bytes at %u "
						"lies elsewhere on this host",
						i, size, offset);
	}
	return 0;
}

static int cpuid_check_addresses(const struct kvm_cpuid2 *guest, const struct kvm_cpuid2 *host,
				 struct decant_error *err)
{
	uint32_t want = cpuid_register(guest, LEAF_ADDRESS_SIZES, 0, CPUID_EAX) & 0xff;
	uint32_t have = cpuid_register(host, LEAF_ADDRESS_SIZES, 0, CPUID_EAX) & 0xff;

	if (want > have)
		return decant_error_set(
			err, -EOPNOTSUPP,
			"CPUID leaf 0x%x.0 EAX: the guest has physical addresses of %u bits, this host of %u",
			LEAF_ADDRESS_SIZES, want, have);
	return 0;
}

int kvm_cpuid_check(const struct kvm_cpuid2 *guest, const struct kvm_cpuid2 *host, bool tsc_deadline,
		    struct decant_error *err)
{
	static const struct cpuid_feature_register deadline = { LEAF_FEATURES, 0, CPUID_ECX, 0,
								"24:tsc_deadline_timer " };
	static const struct cpuid_feature_register kvm_features = {
		LEAF_KVM_FEATURES, 0, CPUID_EAX, 0,
		"0:kvmclock 3:kvmclock2 4:async_pf 5:steal_time 6:pv_eoi 7:pv_unhalt 9:pv_tlb_flush 11:pv_send_ipi "
		"14:async_pf_int 17:migration_control 24:clocksource_stable "
	};
	uint32_t lacking;
	int r = cpuid_check_features(guest, host, err);

	if (r < 0)
		return r;
	lacking = cpuid_register(guest, LEAF_FEATURES, 0, CPUID_ECX) & FEATURES_ECX_TSC_DEADLINE;
	if (lacking != 0 && !tsc_deadline)
		return cpuid_refuse(&deadline, lacking, err);
	if (cpuid_is_kvm(guest)) {
		lacking = cpuid_register(guest, LEAF_KVM_FEATURES, 0, CPUID_EAX) &
			  ~cpuid_register(host, LEAF_KVM_FEATURES, 0, CPUID_EAX);
		if (lacking != 0)
			return cpuid_refuse(&kvm_features, lacking, err);
	}
	r = cpuid_check_xsave(guest, host, err);
	return r < 0 ? r : cpuid_check_addresses(guest, host, err);
}
