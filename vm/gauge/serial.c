/* SPDX-License-Identifier: Apache-2.0 */
#include "vm/gauge/serial.h"

#include "vm/gauge/machine.h"

#define COM1_IRQ 4
#define COM2_IRQ 3
/* From a line's first port. */
#define DATA 0
#define INTERRUPTS 1
#define INTERRUPT_RECEIVED 0x01u
#define FIFO 2
/* And empty; an interrupt when 14 bytes have come, or when nothing more has for as long as four
 * bytes take: QEMU goes once around its loop for as many as that, one if the first is to
 * interrupt. */
#define FIFO_ON 0xc7u
#define FIFO_B 16u
#define LINE 3
#define LINE_8N1 0x03u
#define LINE_SPEED 0x80u /* the first two ports are the divisor's then */
#define DIVISOR_115200 1u
#define MODEM 4
#define MODEM_ON 0x0bu /* DTR, RTS, and OUT2, which lets interrupts out */
#define STATUS 5
#define STATUS_RECEIVED 0x01u
#define STATUS_SENT 0x20u

static uint16_t port(enum serial at, unsigned which)
{
	return (uint16_t)(at + which);
}

void serial_init(enum serial at)
{
	port_write_8(port(at, LINE), LINE_SPEED);
	port_write_8(port(at, DATA), DIVISOR_115200);
	port_write_8(port(at, DATA + 1), 0);
	port_write_8(port(at, LINE), LINE_8N1);
	port_write_8(port(at, FIFO), FIFO_ON);
	/* QEMU, which may have stopped as the FIFO was full, sees by a read that there is room */
	port_read_8(port(at, DATA));
	port_write_8(port(at, MODEM), MODEM_ON);
	machine_route(at == COM1 ? COM1_IRQ : COM2_IRQ, MACHINE_VECTOR_SERIAL);
	port_write_8(port(at, INTERRUPTS), INTERRUPT_RECEIVED);
}

bool serial_take(enum serial at, uint8_t *ret)
{
	if (!(port_read_8(port(at, STATUS)) & STATUS_RECEIVED))
		return false;
	*ret = port_read_8(port(at, DATA));
	return true;
}

static char read_byte(enum serial at)
{
	for (;;) {
		/* before the look at the status: what comes after it makes the sleep return */
		uint32_t seen = machine_wakeups();
		uint8_t byte;

		if (serial_take(at, &byte))
			return (char)byte;
		machine_sleep(seen, MACHINE_NEVER);
	}
}

bool serial_line(enum serial at, char *ret_line, size_t size)
{
	size_t n = 0;
	bool whole = true;

	for (;;) {
		char c = read_byte(at);

		if (c == '\n')
			break;
		if (c == '\r')
			continue;
		if (n + 1 < size)
			ret_line[n++] = c;
		else
			whole = false;
	}
	ret_line[n] = 0;
	return whole;
}

/* As many at a time as fit into an empty FIFO: each look at the port is an exit. */
void serial_write(enum serial at, const void *data, size_t len_b)
{
	while (len_b) {
		size_t n = min_u64(len_b, FIFO_B);

		len_b -= n;
		while (!(port_read_8(port(at, STATUS)) & STATUS_SENT))
			cpu_relax();
		__asm__ volatile("rep outsb" : "+S"(data), "+c"(n) : "d"(port(at, DATA)) : "memory");
	}
}
