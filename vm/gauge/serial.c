/* SPDX-License-Identifier: Apache-2.0 */
#include "vm/gauge/serial.h"

#include "vm/gauge/machine.h"

#define COM1 0x3f8
#define COM1_IRQ 4
#define DATA (COM1 + 0)
#define INTERRUPTS (COM1 + 1)
#define INTERRUPT_RECEIVED 0x01u
#define FIFO (COM1 + 2)
#define FIFO_ON 0x07u /* and empty; an interrupt at the first byte */
#define FIFO_B 16u
#define LINE (COM1 + 3)
#define LINE_8N1 0x03u
#define MODEM (COM1 + 4)
#define MODEM_ON 0x0bu /* DTR, RTS, and OUT2, which lets interrupts out */
#define STATUS (COM1 + 5)
#define STATUS_RECEIVED 0x01u
#define STATUS_SENT 0x20u

void serial_init(void)
{
	port_write_8(LINE, LINE_8N1);
	port_write_8(FIFO, FIFO_ON);
	port_write_8(MODEM, MODEM_ON);
	machine_route(COM1_IRQ, MACHINE_VECTOR_SERIAL);
	port_write_8(INTERRUPTS, INTERRUPT_RECEIVED);
}

static char read_byte(void)
{
	for (;;) {
		/* before the look at the status: what comes after it makes the sleep return */
		uint32_t seen = machine_wakeups();

		if (port_read_8(STATUS) & STATUS_RECEIVED)
			return (char)port_read_8(DATA);
		machine_sleep(seen, MACHINE_NEVER);
	}
}

bool serial_line(char *ret_line, size_t size)
{
	size_t n = 0;
	bool whole = true;

	for (;;) {
		char c = read_byte();

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
void serial_write(const char *data, size_t len_b)
{
	while (len_b) {
		size_t n = min_u64(len_b, FIFO_B);

		len_b -= n;
		while (!(port_read_8(STATUS) & STATUS_SENT))
			cpu_relax();
		__asm__ volatile("rep outsb" : "+S"(data), "+c"(n) : "d"(DATA) : "memory");
	}
}
