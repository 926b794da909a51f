/* SPDX-License-Identifier: BSD-2-Clause */
/* fake_verbs_device.c -- the fake's network interfaces, devices, protection domains and memory regions */
#include "support/fake_verbs_private.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#undef ibv_query_port
#undef ibv_reg_mr
#undef ibv_reg_mr_iova

#define PAGE 4096u
#define KEY_INDEX_SHIFT 8

/* ---- network interfaces ---- */

struct fake_interface {
	struct ifaddrs base;
	char name[32];
	struct sockaddr_in address, mask;
};

struct sockaddr_in fake_address(unsigned device, uint16_t port)
{
	return (struct sockaddr_in){
		.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(0x0a4d0001u + (device << 8)),
	};
}

static void fill_interface(struct fake_interface *interface, const char *name, uint32_t address, uint32_t mask)
{
	snprintf(interface->name, sizeof(interface->name), "%s", name);
	interface->address = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(address) };
	interface->mask = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(mask) };
	interface->base = (struct ifaddrs){
		.ifa_name = interface->name,
		.ifa_flags = IFF_UP | IFF_RUNNING,
		.ifa_addr = (struct sockaddr *)&interface->address,
		.ifa_netmask = (struct sockaddr *)&interface->mask,
	};
}

static struct fake_interface *make_interfaces(unsigned count)
{
	struct fake_interface *list = calloc(count, sizeof(*list));
	char name[32];

	if (list == NULL)
		return NULL;
	fill_interface(&list[0], "lo", INADDR_LOOPBACK, 0xff000000u);
	list[0].base.ifa_flags |= IFF_LOOPBACK;
	for (unsigned i = 1; i < count; i++) {
		const bool bare = i > fake.config.devices;
		const unsigned n = bare ? i - 1 - fake.config.devices : i - 1;

		snprintf(name, sizeof(name), "%s%u", bare ? "bare" : "fakenet", n);
		fill_interface(&list[i], name, (bare ? 0x0a4e0001u : 0x0a4d0001u) + (n << 8), 0xffffff00u);
	}
	for (unsigned i = 0; i + 1 < count; i++)
		list[i].base.ifa_next = &list[i + 1].base;
	return list;
}

int getifaddrs(struct ifaddrs **list)
{
	struct fake_interface *made = NULL;
	int error = fake_enter(FAKE_GETIFADDRS);

	if (error == 0) {
		made = make_interfaces(1 + fake.config.devices + fake.config.bare_interfaces);
		error = made == NULL ? ENOMEM : 0;
	}
	if (error == 0)
		fake.counts.lists++;
	fake_unlock();
	if (error != 0) {
		errno = error;
		return -1;
	}
	*list = &made->base;
	return 0;
}

void freeifaddrs(struct ifaddrs *list)
{
	if (list == NULL)
		return;
	fake_lock();
	fake.counts.lists--;
	fake_unlock();
	free((struct fake_interface *)list);
}

/* ---- devices and contexts ---- */

struct fake_context *fake_context_of(const struct ibv_context *context)
{
	return (struct fake_context *)((uintptr_t)context - offsetof(struct fake_context, verbs.context));
}

struct fake_device *fake_device_of(const struct ibv_context *context)
{
	return fake_context_of(context)->device;
}

static int query_more(struct ibv_context *context, const struct ibv_query_device_ex_input *input,
		      struct ibv_device_attr_ex *attr, size_t size)
{
	const uint32_t caps = IBV_ODP_SUPPORT_SEND | IBV_ODP_SUPPORT_RECV | IBV_ODP_SUPPORT_WRITE;

	(void)input;
	memset(attr, 0, size);
	if (fake.config.on_demand) {
		attr->odp_caps.general_caps = IBV_ODP_SUPPORT;
		attr->odp_caps.per_transport_caps.rc_odp_caps = caps;
	}
	return ibv_query_device(context, &attr->orig_attr);
}

/* Pages of a region that is not pinned are looked for now, not when the first packet comes for them. */
static int advise(struct ibv_pd *pd, enum ibv_advise_mr_advice advice, uint32_t flags, struct ibv_sge *list,
		  uint32_t count)
{
	int error = fake_enter(FAKE_ADVISE_MR);

	(void)pd;
	(void)advice;
	(void)flags;
	for (uint32_t i = 0; error == 0 && i < count; i++)
		fake.counts.prefetched += list[i].length;
	fake_unlock();
	return error;
}

struct fake_context *fake_context_new(struct fake_device *device)
{
	struct fake_context *context = calloc(1, sizeof(*context));

	if (context == NULL)
		fake_refuse("out of memory");
	context->device = device;
	context->verbs.context.device = &device->base;
	context->verbs.context.ops.poll_cq = fake_cq_poll;
	context->verbs.context.ops.req_notify_cq = fake_cq_arm;
	context->verbs.context.ops.post_send = fake_qp_send;
	context->verbs.context.ops.post_recv = fake_qp_receive;
	context->verbs.context.cmd_fd = -1;
	context->verbs.context.async_fd = fake_bell_new();
	context->verbs.context.num_comp_vectors = 1;
	context->verbs.context.abi_compat = __VERBS_ABI_IS_EXTENDED;
	context->verbs.sz = sizeof(context->verbs);
	context->verbs.query_device_ex = query_more;
	context->verbs.advise_mr = advise;
	TAILQ_INIT(&context->events);
	return context;
}

void fake_context_free(struct fake_context *context)
{
	struct fake_async *event;

	while ((event = TAILQ_FIRST(&context->events)) != NULL) {
		TAILQ_REMOVE(&context->events, event, link);
		free(event);
	}
	close(context->verbs.context.async_fd);
	free(context);
}

void fake_device_init(struct fake_device *device, unsigned index)
{
	memset(device, 0, sizeof(*device));
	device->index = index;
	device->up = true;
	device->base.node_type = IBV_NODE_CA;
	device->base.transport_type = IBV_TRANSPORT_IB;
	snprintf(device->base.name, sizeof(device->base.name), "fake%u", index);
	snprintf(device->base.dev_name, sizeof(device->base.dev_name), "uverbs%u", index);
	TAILQ_INIT(&device->qps);
	TAILQ_INIT(&device->mrs);
	pthread_cond_init(&device->work, NULL);
	device->manager = fake_context_new(device);
	if (pthread_create(&device->nic, NULL, fake_nic_run, device) != 0)
		fake_refuse("no thread for the NIC");
	device->running = true;
}

void fake_device_destroy(struct fake_device *device)
{
	fake_context_free(device->manager);
	pthread_cond_destroy(&device->work);
}

void fake_device_gone(struct fake_device *device)
{
	struct fake_qp *qp;

	device->removed = true;
	TAILQ_FOREACH(qp, &device->qps, link)
	fake_qp_fail(qp);
	fake_async_push(device, IBV_EVENT_DEVICE_FATAL, NULL, NULL);
	fake_cm_device_gone(device);
}

struct ibv_device **ibv_get_device_list(int *count)
{
	struct ibv_device **list = NULL;
	int error = fake_enter(FAKE_DEVICE_LIST);

	if (error == 0) {
		list = calloc(fake.config.devices + 1, sizeof(struct ibv_device *));
		error = list == NULL ? ENOMEM : 0;
	}
	for (unsigned i = 0; error == 0 && i < fake.config.devices; i++)
		list[i] = &fake.device[i].base;
	if (error == 0)
		fake.counts.lists++;
	if (error == 0 && count != NULL)
		*count = (int)fake.config.devices;
	fake_unlock();
	errno = error;
	return list;
}

void ibv_free_device_list(struct ibv_device **list)
{
	fake_lock();
	fake.counts.lists--;
	fake_unlock();
	free(list);
}

const char *ibv_get_device_name(struct ibv_device *device)
{
	return device->name;
}

struct ibv_context *ibv_open_device(struct ibv_device *base)
{
	struct fake_device *device = (struct fake_device *)base;
	struct fake_context *context = NULL;
	int error = fake_enter(FAKE_OPEN_DEVICE);

	if (error == 0 && device->removed)
		error = ENODEV;
	if (error == 0) {
		context = fake_context_new(device);
		fake.counts.contexts++;
	}
	fake_unlock();
	errno = error;
	return context == NULL ? NULL : &context->verbs.context;
}

int ibv_close_device(struct ibv_context *base)
{
	fake_lock();
	fake.counts.contexts--;
	fake_context_free(fake_context_of(base));
	fake_unlock();
	return 0;
}

int ibv_query_device(struct ibv_context *context, struct ibv_device_attr *attr)
{
	const struct fake_limits *limits = &fake.config.limits;
	int error = fake_enter(FAKE_QUERY_DEVICE);

	if (error == 0 && fake_device_of(context)->removed)
		error = EIO;
	if (error == 0)
		*attr = (struct ibv_device_attr){
			.fw_ver = "1",
			.max_mr_size = limits->max_mr_size,
			.page_size_cap = PAGE,
			.vendor_id = fake.config.vendor,
			.max_qp = 1 << 16,
			.max_qp_wr = limits->max_qp_wr,
			.max_sge = limits->max_sge,
			.max_sge_rd = limits->max_sge,
			.max_cq = 1 << 16,
			.max_cqe = limits->max_cqe,
			.max_mr = limits->max_mr,
			.max_pd = 1 << 16,
			.max_qp_rd_atom = 16,
			.max_qp_init_rd_atom = 16,
			.max_pkeys = 1,
			.phys_port_cnt = 1,
		};
	fake_unlock();
	return error;
}

int ibv_query_port(struct ibv_context *context, uint8_t port, struct _compat_ibv_port_attr *attr)
{
	const struct fake_device *device = fake_device_of(context);
	int error = fake_enter(FAKE_QUERY_PORT);

	if (error == 0)
		error = device->removed ? EIO : port != 1 ? EINVAL : 0;
	if (error == 0)
		*(struct ibv_port_attr *)attr = (struct ibv_port_attr){
			.state = device->up ? IBV_PORT_ACTIVE : IBV_PORT_DOWN,
			.max_mtu = IBV_MTU_4096,
			.active_mtu = IBV_MTU_4096,
			.gid_tbl_len = 1,
			.max_msg_sz = fake.config.limits.max_msg_sz,
			.pkey_tbl_len = 1,
			.active_width = 2,  /* four lanes */
			.active_speed = 32, /* of 25 Gb/s */
			.phys_state = device->up ? 5 : 3,
			.link_layer = IBV_LINK_LAYER_ETHERNET,
		};
	fake_unlock();
	return error;
}

int ibv_fork_init(void)
{
	return 0;
}

/* ---- protection domains ---- */

struct ibv_pd *ibv_alloc_pd(struct ibv_context *context)
{
	int error = fake_enter(FAKE_ALLOC_PD);
	struct fake_pd *pd = NULL;

	if (error == 0 && fake_device_of(context)->removed)
		error = EIO;
	if (error == 0) {
		pd = calloc(1, sizeof(*pd));
		error = pd == NULL ? ENOMEM : 0;
	}
	if (error == 0) {
		pd->base.context = context;
		fake.counts.pds++;
	}
	fake_unlock();
	errno = error;
	return (struct ibv_pd *)pd;
}

int ibv_dealloc_pd(struct ibv_pd *base)
{
	struct fake_pd *pd = (struct fake_pd *)base;

	fake_lock();
	if (pd->users > 0) {
		fake_unlock();
		return EBUSY;
	}
	fake.counts.pds--;
	fake_unlock();
	free(pd);
	return 0;
}

/* ---- memory regions ---- */

/* What a device pins is there: like pinning, this allocates, and refuses what is not mapped for it. */
static int pin(void *memory, size_t length)
{
	const uintptr_t first = (uintptr_t)memory & ~(uintptr_t)(PAGE - 1);
	const uintptr_t last = ((uintptr_t)memory + length + PAGE - 1) & ~(uintptr_t)(PAGE - 1);

	return madvise((void *)first, last - first, MADV_POPULATE_WRITE) == 0 ? 0 : errno;
}

static int check_region(const struct fake_device *device, size_t length, int access)
{
	const struct fake_limits *limits = &fake.config.limits;

	if (device->removed)
		return EIO;
	if (length == 0 || length > limits->max_mr_size)
		return EINVAL;
	if ((access & (IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_ATOMIC)) != 0 &&
	    (access & IBV_ACCESS_LOCAL_WRITE) == 0)
		return EINVAL;
	if (device->mr_count >= (unsigned)limits->max_mr)
		return ENOMEM;
	if ((access & IBV_ACCESS_ON_DEMAND) != 0)
		return fake.config.on_demand ? 0 : EINVAL;
	if (limits->max_pinned != 0 && device->pinned + length > limits->max_pinned)
		return ENOMEM;
	return 0;
}

/* The last eight bits are there to be guessed wrong, as in real keys. */
static uint32_t new_key(void)
{
	return fake.next_key++ << KEY_INDEX_SHIFT | (uint32_t)(random() & 0xff);
}

/* Room is taken before the memory is pinned, without the lock, so that registering in parallel does not go over a limit. */
static void charge(struct fake_device *device, size_t length, int access)
{
	device->mr_count++;
	device->pinned += (access & IBV_ACCESS_ON_DEMAND) != 0 ? 0 : length;
}

static void uncharge(struct fake_device *device, size_t length, int access)
{
	device->mr_count--;
	device->pinned -= (access & IBV_ACCESS_ON_DEMAND) != 0 ? 0 : length;
}

static void enter_region(struct fake_device *device, struct fake_mr *mr)
{
	mr->base.lkey = mr->base.rkey = new_key();
	TAILQ_INSERT_HEAD(&device->mrs, mr, link);
	fake.counts.mrs++;
	fake.counts.relaxed += (mr->access & IBV_ACCESS_RELAXED_ORDERING) != 0;
	fake.counts.on_demand += (mr->access & IBV_ACCESS_ON_DEMAND) != 0;
	fake.counts.registered += mr->base.length;
	if (fake.counts.registered > fake.counts.registered_most)
		fake.counts.registered_most = fake.counts.registered;
	((struct fake_pd *)mr->base.pd)->users++;
}

static struct fake_landing *new_landings(size_t length)
{
	struct fake_landing *landings = calloc(length / PAGE + 2, sizeof(*landings));

	if (landings == NULL)
		fake_refuse("out of memory");
	return landings;
}

static struct ibv_mr *register_region(struct ibv_pd *pd, void *memory, size_t length, uint64_t iova, int access)
{
	struct fake_device *device = fake_device_of(pd->context);
	struct fake_mr *mr = calloc(1, sizeof(*mr));
	int error = fake_enter(FAKE_REG_MR);

	if (error == 0)
		error = mr == NULL ? ENOMEM : check_region(device, length, access);
	if (error == 0) {
		charge(device, length, access);
		fake_unlock();
		error = (access & IBV_ACCESS_ON_DEMAND) != 0 ? 0 : pin(memory, length);
		fake_lock();
		if (error != 0)
			uncharge(device, length, access);
	}
	if (error == 0) {
		mr->base = (struct ibv_mr){ .context = pd->context, .pd = pd, .addr = memory, .length = length };
		mr->iova = iova;
		mr->access = access;
		if ((access & IBV_ACCESS_RELAXED_ORDERING) != 0)
			mr->landing = new_landings(length);
		enter_region(device, mr);
	}
	fake_unlock();
	if (error == 0)
		return &mr->base;
	free(mr);
	errno = error;
	return NULL;
}

struct ibv_mr *ibv_reg_mr(struct ibv_pd *pd, void *memory, size_t length, int access)
{
	return register_region(pd, memory, length, (uintptr_t)memory, access);
}

struct ibv_mr *ibv_reg_mr_iova(struct ibv_pd *pd, void *memory, size_t length, uint64_t iova, int access)
{
	return register_region(pd, memory, length, iova, access);
}

struct ibv_mr *ibv_reg_mr_iova2(struct ibv_pd *pd, void *memory, size_t length, uint64_t iova, unsigned access)
{
	return register_region(pd, memory, length, iova, (int)access);
}

int ibv_dereg_mr(struct ibv_mr *base)
{
	struct fake_device *device = fake_device_of(base->context);
	struct fake_mr *mr = (struct fake_mr *)base;
	const int error = fake_enter(FAKE_DEREG_MR);

	if (error != 0) {
		fake_unlock();
		return error;
	}
	/* out of the table first, so that no further work finds it */
	TAILQ_REMOVE(&device->mrs, mr, link);
	fake_await_zero(&mr->users, "a memory region in use");
	uncharge(device, base->length, mr->access);
	fake.counts.mrs--;
	fake.counts.registered -= base->length;
	((struct fake_pd *)base->pd)->users--;
	fake_unlock();
	free(mr->landing);
	free(mr);
	return 0;
}

struct fake_mr *fake_translate(const struct ibv_pd *pd, uint32_t key, bool remote, uint64_t address,
			       uint64_t length, int access, uint8_t **memory)
{
	struct fake_mr *mr;

	TAILQ_FOREACH(mr, &fake_device_of(pd->context)->mrs, link)
	{
		if ((remote ? mr->base.rkey : mr->base.lkey) == key)
			break;
	}
	if (mr == NULL || mr->base.pd != pd || (mr->access & access) != access || address < mr->iova ||
	    length > mr->base.length || address - mr->iova > mr->base.length - length)
		return NULL;
	*memory = (uint8_t *)mr->base.addr + (address - mr->iova);
	return mr;
}
