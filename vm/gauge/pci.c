/* SPDX-License-Identifier: Apache-2.0 */
#include "vm/gauge/pci.h"

#include "vm/gauge/machine.h"

#define PORT_ADDRESS 0xcf8
#define PORT_DATA 0xcfc

#define VENDOR 0x00
#define DEVICE 0x02
#define COMMAND 0x04
#define COMMAND_ON 0x6u /* memory, and mastering the bus */
#define STATUS 0x06
#define STATUS_CAPS 0x10u
#define HEADER 0x0e
#define HEADER_MANY 0x80u
#define HEADER_BRIDGE 0x01u
#define BAR(n) (0x10u + 4u * (n))
#define BAR_IO 0x1u
#define BAR_64 0x4u
#define BAR_FLAGS 0xfu
#define BARS 6u
#define SECONDARY_BUS 0x19
#define CAPS 0x34
#define CAPS_MAX 48u /* as many as fit; a longer list is a ring */

#define MSIX_CONTROL 2
#define MSIX_ON 0x8000u
#define MSIX_MASKED 0x4000u
#define MSIX_TABLE 4
#define MSIX_TABLE_BAR 0x7u
#define MSIX_ENTRY_B 16u

static void select(struct pci_fn f, unsigned at)
{
	port_write_32(PORT_ADDRESS, 0x80000000u | (uint32_t)f.bus << 16 | (uint32_t)f.slot << 11 |
				    (uint32_t)f.fn << 8 | (at & ~3u));
}

uint32_t pci_read_32(struct pci_fn f, unsigned at)
{
	select(f, at);
	return port_read_32(PORT_DATA);
}

uint16_t pci_read_16(struct pci_fn f, unsigned at)
{
	return (uint16_t)(pci_read_32(f, at) >> (at & 2) * 8);
}

uint8_t pci_read_8(struct pci_fn f, unsigned at)
{
	return (uint8_t)(pci_read_32(f, at) >> (at & 3) * 8);
}

void pci_write_16(struct pci_fn f, unsigned at, uint16_t v)
{
	select(f, at);
	port_write_16((uint16_t)(PORT_DATA + (at & 2)), v);
}

static void scan_bus(uint8_t bus, void (*see)(struct pci_fn f));

static bool scan_fn(struct pci_fn f, void (*see)(struct pci_fn f))
{
	uint32_t id = pci_read_32(f, VENDOR);

	f.vendor = (uint16_t)id;
	f.device = (uint16_t)(id >> 16);
	if (f.vendor == 0xffff)
		return false;
	see(f);
	uint8_t header = pci_read_8(f, HEADER);

	/* a bridge leads to a higher bus, or its firmware is mad */
	if ((header & ~HEADER_MANY) == HEADER_BRIDGE && pci_read_8(f, SECONDARY_BUS) > f.bus)
		scan_bus(pci_read_8(f, SECONDARY_BUS), see);
	return header & HEADER_MANY;
}

static void scan_bus(uint8_t bus, void (*see)(struct pci_fn f))
{
	for (uint8_t slot = 0; slot < 32; slot++) {
		bool many = scan_fn((struct pci_fn){ .bus = bus, .slot = slot }, see);

		for (uint8_t fn = 1; many && fn < 8; fn++)
			scan_fn((struct pci_fn){ .bus = bus, .slot = slot, .fn = fn }, see);
	}
}

void pci_scan(void (*see)(struct pci_fn f))
{
	scan_bus(0, see);
}

unsigned pci_find_cap(struct pci_fn f, unsigned after, uint8_t id)
{
	if (!after && !(pci_read_16(f, STATUS) & STATUS_CAPS))
		return 0;
	unsigned at = pci_read_8(f, after ? after + 1 : CAPS) & ~3u;

	for (unsigned i = 0; at && i < CAPS_MAX; i++) {
		uint16_t head = pci_read_16(f, at); /* id, next */

		if ((uint8_t)head == id)
			return at;
		at = head >> 8 & ~3u;
	}
	return 0;
}

void *pci_map(struct pci_fn f, unsigned bar, uint32_t off_b, uint32_t len_b)
{
	if (bar >= BARS)
		return NULL;
	uint64_t at = pci_read_32(f, BAR(bar));

	if (at & BAR_IO)
		return NULL;
	if (at & BAR_64 && bar + 1 < BARS)
		at |= (uint64_t)pci_read_32(f, BAR(bar + 1)) << 32;
	at &= ~(uint64_t)BAR_FLAGS;
	return at ? machine_map(at + off_b, len_b) : NULL;
}

void pci_enable(struct pci_fn f)
{
	pci_write_16(f, COMMAND, pci_read_16(f, COMMAND) | COMMAND_ON);
}

bool pci_enable_msix(struct pci_fn f)
{
	unsigned cap = pci_find_cap(f, 0, PCI_CAP_MSIX);

	if (!cap)
		return false;
	uint32_t table = pci_read_32(f, cap + MSIX_TABLE);
	uint8_t *entry = pci_map(f, table & MSIX_TABLE_BAR, table & ~MSIX_TABLE_BAR, MSIX_ENTRY_B);
	uint16_t control = pci_read_16(f, cap + MSIX_CONTROL);

	if (!entry)
		return false;
	pci_write_16(f, cap + MSIX_CONTROL, (uint16_t)((control | MSIX_ON) & ~MSIX_MASKED));
	mmio_write_32(entry, machine_msi_address());
	mmio_write_32(entry + 4, 0);
	mmio_write_32(entry + 8, MACHINE_VECTOR_DEVICE);
	mmio_write_32(entry + 12, 0);
	return true;
}
