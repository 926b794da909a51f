/* SPDX-License-Identifier: BSD-2-Clause */
/* serial.h -- a 16550A serial port: enough of it for consoles, with its interrupt */
#ifndef VMM_SERIAL_H
#define VMM_SERIAL_H

#include <decant/error.h>
#include <decant/state.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SERIAL_COM1 0x3f8u
#define SERIAL_COM1_IRQ 4u
#define SERIAL_PORTS 8u
#define SERIAL_FIFO 64u

/* The registers as a driver of this chip knows them. */
struct serial_registers {
	uint8_t ier, fcr, lcr, mcr, scr, dll, dlm;
	uint8_t thr_pending; /* "transmitter empty" is to be reported as an interrupt */
};

/* Drives the port's interrupt line; called with the port's lock held. */
typedef void serial_irq_fn(void *opaque, bool level);

struct serial {
	/* set at creation, read-only after */
	int sink;
	serial_irq_fn *irq;
	void *irq_opaque;

	pthread_mutex_t lock; /* protects all below */
	struct serial_registers regs;
	uint8_t fifo[SERIAL_FIFO];
	uint32_t fifo_length;
	bool line;
};

/* serial_init() -- power-on state; output goes to @sink (-1: nowhere), which stays the caller's */
void serial_init(struct serial *serial, int sink, serial_irq_fn *irq, void *irq_opaque);

/* bus callbacks */
void serial_read(void *opaque, uint64_t offset, void *data, uint32_t length);
void serial_write(void *opaque, uint64_t offset, const void *data, uint32_t length);

/* serial_input() -- bytes typed at the port; returns how many had room. Any thread. */
size_t serial_input(struct serial *serial, const void *bytes, size_t length);

/* serial_irq_update() -- drive the line as the registers ask; with the lock held */
void serial_irq_update(struct serial *serial);

/* serial_state_save(), serial_state_load() -- the record "vmm.serial"; the VM is paused */
int serial_state_save(struct serial *serial, struct decant_state_writer *state, struct decant_error *err);
int serial_state_load(struct serial *serial, struct decant_state_reader *state, struct decant_error *err);

void serial_destroy(struct serial *serial);

#endif
