/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * serial.c -- a 16550A serial port
 *
 * The transmitter is always empty: a byte is written to the sink at once. A sink that takes no byte now loses it, as a
 * cable would: a vCPU that waited in write(2) could not be paused.
 */
#include "vmm/serial.h"

#include "util/cleanup.h"

#include <poll.h>
#include <string.h>
#include <unistd.h>

enum serial_register {
	SERIAL_DATA = 0, /* RBR, THR, DLL */
	SERIAL_IER = 1,  /* DLM */
	SERIAL_IIR = 2,  /* FCR */
	SERIAL_LCR = 3,
	SERIAL_MCR = 4,
	SERIAL_LSR = 5,
	SERIAL_MSR = 6,
	SERIAL_SCR = 7,
};

#define IER_RX 0x01
#define IER_THR 0x02
#define IER_MASK 0x0f
#define IIR_NONE 0x01
#define IIR_THR 0x02
#define IIR_RX 0x04
#define IIR_FIFOS 0xc0
#define FCR_ENABLE 0x01
#define FCR_CLEAR_RX 0x02
#define LCR_DLAB 0x80
#define MCR_OUT2 0x08
#define MCR_LOOP 0x10
#define LSR_DATA 0x01
#define LSR_THR_EMPTY 0x20
#define LSR_EMPTY 0x40
#define MSR_CTS_DSR_DCD 0xb0

static void serial_emit(const struct serial *serial, uint8_t byte)
{
	struct pollfd sink = { .fd = serial->sink, .events = POLLOUT };
	ssize_t written;

	if (serial->sink < 0 || poll(&sink, 1, 0) != 1 || !(sink.revents & POLLOUT))
		return;
	written = write(serial->sink, &byte, 1);
	(void)written;
}

static uint8_t serial_iir(const struct serial *serial)
{
	uint8_t fifos = serial->regs.fcr & FCR_ENABLE ? IIR_FIFOS : 0;

	if ((serial->regs.ier & IER_RX) && serial->fifo_length > 0)
		return IIR_RX | fifos;
	if ((serial->regs.ier & IER_THR) && serial->regs.thr_pending)
		return IIR_THR | fifos;
	return IIR_NONE | fifos;
}

void serial_irq_update(struct serial *serial)
{
	bool level = !(serial_iir(serial) & IIR_NONE) && (serial->regs.mcr & MCR_OUT2);

	if (level == serial->line)
		return;
	serial->line = level;
	serial->irq(serial->irq_opaque, level);
}

static uint8_t serial_pop(struct serial *serial)
{
	uint8_t byte;

	if (serial->fifo_length == 0)
		return 0;
	byte = serial->fifo[0];
	memmove(serial->fifo, serial->fifo + 1, --serial->fifo_length);
	return byte;
}

static void serial_push(struct serial *serial, uint8_t byte)
{
	if (serial->fifo_length < SERIAL_FIFO)
		serial->fifo[serial->fifo_length++] = byte;
}

static uint8_t serial_iir_take(struct serial *serial)
{
	uint8_t iir = serial_iir(serial);

	if ((iir & ~IIR_FIFOS) == IIR_THR)
		serial->regs.thr_pending = 0;
	return iir;
}

static uint8_t serial_register_read(struct serial *serial, uint64_t reg)
{
	const struct serial_registers *regs = &serial->regs;
	bool divisor = regs->lcr & LCR_DLAB;

	switch (reg) {
	case SERIAL_DATA:
		return divisor ? regs->dll : serial_pop(serial);
	case SERIAL_IER:
		return divisor ? regs->dlm : regs->ier;
	case SERIAL_IIR:
		return serial_iir_take(serial);
	case SERIAL_LCR:
		return regs->lcr;
	case SERIAL_MCR:
		return regs->mcr;
	case SERIAL_LSR:
		return LSR_THR_EMPTY | LSR_EMPTY | (serial->fifo_length > 0 ? LSR_DATA : 0);
	case SERIAL_MSR:
		return MSR_CTS_DSR_DCD;
	default:
		return regs->scr;
	}
}

static void serial_transmit(struct serial *serial, uint8_t byte)
{
	if (serial->regs.mcr & MCR_LOOP)
		serial_push(serial, byte);
	else
		serial_emit(serial, byte);
	serial->regs.thr_pending = 1;
}

static void serial_ier_write(struct serial *serial, uint8_t value)
{
	if ((value & IER_THR) && !(serial->regs.ier & IER_THR))
		serial->regs.thr_pending = 1;
	serial->regs.ier = value & IER_MASK;
}

static void serial_register_write(struct serial *serial, uint64_t reg, uint8_t value)
{
	struct serial_registers *regs = &serial->regs;
	bool divisor = regs->lcr & LCR_DLAB;

	switch (reg) {
	case SERIAL_DATA:
		if (divisor)
			regs->dll = value;
		else
			serial_transmit(serial, value);
		break;
	case SERIAL_IER:
		if (divisor)
			regs->dlm = value;
		else
			serial_ier_write(serial, value);
		break;
	case SERIAL_IIR:
		if (value & FCR_CLEAR_RX)
			serial->fifo_length = 0;
		regs->fcr = value & FCR_ENABLE;
		break;
	case SERIAL_LCR:
		regs->lcr = value;
		break;
	case SERIAL_MCR:
		regs->mcr = value & 0x1f;
		break;
	case SERIAL_SCR:
		regs->scr = value;
		break;
	default:
		break;
	}
}

void serial_read(void *opaque, uint64_t offset, void *data, uint32_t length)
{
	struct serial *serial = opaque;
	DECANT_AUTO_UNLOCK(&serial->lock);

	memset(data, 0xff, length);
	*(uint8_t *)data = serial_register_read(serial, offset);
	serial_irq_update(serial);
}

void serial_write(void *opaque, uint64_t offset, const void *data, uint32_t length)
{
	struct serial *serial = opaque;
	DECANT_AUTO_UNLOCK(&serial->lock);

	(void)length;
	serial_register_write(serial, offset, *(const uint8_t *)data);
	serial_irq_update(serial);
}

size_t serial_input(struct serial *serial, const void *bytes, size_t length)
{
	DECANT_AUTO_UNLOCK(&serial->lock);
	size_t taken = SERIAL_FIFO - serial->fifo_length;

	if (taken > length)
		taken = length;
	memcpy(serial->fifo + serial->fifo_length, bytes, taken);
	serial->fifo_length += (uint32_t)taken;
	serial_irq_update(serial);
	return taken;
}

void serial_init(struct serial *serial, int sink, serial_irq_fn *irq, void *irq_opaque)
{
	memset(serial, 0, sizeof(*serial));
	serial->sink = sink;
	serial->irq = irq;
	serial->irq_opaque = irq_opaque;
	serial->regs.dll = 12; /* 9600 baud, as after power-on */
	pthread_mutex_init(&serial->lock, NULL);
}

void serial_destroy(struct serial *serial)
{
	pthread_mutex_destroy(&serial->lock);
}
