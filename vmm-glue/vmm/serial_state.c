/* SPDX-License-Identifier: BSD-2-Clause */
/* serial_state.c -- the serial port as a record: "vmm.serial", version 1 */
#include "vmm/serial.h"

#include "util/cleanup.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#define SERIAL_RECORD "vmm.serial"
#define SERIAL_RECORD_VERSION 1

/* single bytes only, so that there is no byte order to state */
struct serial_record {
	uint8_t ier, fcr, lcr, mcr, scr, dll, dlm, thr_pending;
	uint8_t line;
	uint8_t fifo_length;
	uint8_t reserved[6]; /* zero */
	uint8_t fifo[SERIAL_FIFO];
};

static_assert(sizeof(struct serial_record) == 80, "the record's layout is part of the format");

int serial_state_save(struct serial *serial, struct decant_state_writer *state, struct decant_error *err)
{
	DECANT_AUTO_UNLOCK(&serial->lock);
	const struct serial_registers *regs = &serial->regs;
	struct serial_record record = {
		.ier = regs->ier,
		.fcr = regs->fcr,
		.lcr = regs->lcr,
		.mcr = regs->mcr,
		.scr = regs->scr,
		.dll = regs->dll,
		.dlm = regs->dlm,
		.thr_pending = regs->thr_pending,
		.line = serial->line,
		.fifo_length = (uint8_t)serial->fifo_length,
	};

	memcpy(record.fifo, serial->fifo, serial->fifo_length);
	return decant_state_put(state, SERIAL_RECORD, 0, SERIAL_RECORD_VERSION, &record, sizeof(record), err);
}

int serial_state_load(struct serial *serial, struct decant_state_reader *state, struct decant_error *err)
{
	struct decant_state_record found;
	struct serial_record record;
	int ret;

	ret = decant_state_get(state, SERIAL_RECORD, 0, SERIAL_RECORD_VERSION, &found, err);
	if (ret < 0)
		return ret;
	if (found.length != sizeof(record))
		return decant_error_set(err, -EPROTO, "%s: %zu bytes instead of %zu", SERIAL_RECORD, found.length,
					sizeof(record));
	memcpy(&record, found.data, sizeof(record));
	if (record.fifo_length > SERIAL_FIFO)
		return decant_error_set(err, -EPROTO, "%s: %u bytes of input, more than %u", SERIAL_RECORD,
					record.fifo_length, SERIAL_FIFO);

	DECANT_AUTO_UNLOCK(&serial->lock);
	serial->regs = (struct serial_registers){
		.ier = record.ier,
		.fcr = record.fcr,
		.lcr = record.lcr,
		.mcr = record.mcr,
		.scr = record.scr,
		.dll = record.dll,
		.dlm = record.dlm,
		.thr_pending = record.thr_pending,
	};
	serial->fifo_length = record.fifo_length;
	memcpy(serial->fifo, record.fifo, SERIAL_FIFO);
	/* the interrupt controllers bring the line's level themselves */
	serial->line = record.line != 0;
	return 0;
}
