/* SPDX-License-Identifier: Apache-2.0 */
#include "vm/gauge/machine.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

#define CODE0 0x08
#define FAULTS 32u
#define FAULT_ENTRY_B 16u
#define FAULT_PROTECTION 13u
#define VECTOR_SPURIOUS 0xffu

/* An interrupt gate (handlers run with interrupts off). */
struct idt_gate {
	uint16_t offset_0, selector;
	uint8_t stack, type;
	uint16_t offset_16;
	uint32_t offset_32, zero;
};

/* boot.S */
extern struct idt_gate idt[256];
extern uint32_t boot_info, wakeups, device_interrupts;
extern uint32_t timer_set; /* the handler clears it */
extern uint64_t device_window[512];
extern char arena[];
extern char fault_entry[], protection_entry[], spurious_entry[];
extern char device_entry[], timer_entry[], wake_entry[];
void gate(uint32_t seen);

/* The local APIC at the address that handlers can name, see boot.S; and the I/O APIC. */
#define APIC ((uint8_t *)0x7fe00000)
#define APIC_ID 0x20
#define APIC_SPURIOUS 0xf0
#define APIC_ENABLE 0x100u
#define APIC_TIMER 0x320
#define APIC_LINT0 0x350
#define APIC_LINT1 0x360
#define APIC_MASKED 0x10000u
#define APIC_TIMER_START 0x380
#define APIC_TIMER_NOW 0x390
#define APIC_TIMER_DIVIDE 0x3e0
#define APIC_DIVIDE_1 0xbu
#define IOAPIC ((uint8_t *)0xfec00000)
#define IOAPIC_SELECT 0x00
#define IOAPIC_WINDOW 0x10
#define IOAPIC_ROUTE(irq) (0x10u + 2u * (irq))
#define MSI_BASE 0xfee00000u

#define PIC_MASK_1 0x21
#define PIC_MASK_2 0xa1
#define ACPI_PM1_CONTROL 0x604 /* where SeaBIOS puts it */
#define ACPI_SLEEP 0x2000u
#define KEYBOARD_COMMAND 0x64
#define KEYBOARD_RESET 0xfeu

/* The PVH start-info, version 1 */
struct start_info {
	uint32_t magic, version, flags, modules;
	uint64_t module_list, words, rsdp, map;
	uint32_t map_entries, reserved;
};
#define START_MAGIC 0x336ec578u
struct map_entry {
	uint64_t at, len_b;
	uint32_t type, reserved;
};
#define MAP_RAM 1u
#define ARENA_MIN_B (8 * MIB)
#define ARENA_END 0x7fe00000ull /* from there on addresses are not what they are called */

#define PAGE_B (2 * MIB)
#define RAM_PTE 0x87ull /* as in boot.S */
#define DEVICE_PTE 0x9full
#define DEVICES_AT (3 * GIB) /* mapped from the start, up to 4 GiB */
#define WINDOW_AT (4 * GIB)
static unsigned window_used;

static uint64_t arena_end, arena_used;
static uint64_t timer_at; /* ticks; when the timer fires, if it is set */
static uint64_t timer_per_tick_32; /* its own ticks in one of ours, 32 bits of fraction */

static void set_gate(unsigned vector, const char *entry)
{
	uintptr_t at = (uintptr_t)entry;

	idt[vector] = (struct idt_gate){ .offset_0 = (uint16_t)at, .selector = CODE0, .type = 0x8e,
					 .offset_16 = (uint16_t)(at >> 16) };
}

static void apic_write(unsigned reg, uint32_t v)
{
	mmio_write_32(APIC + reg, v);
}

static void init_interrupts(void)
{
	for (unsigned i = 0; i < FAULTS; i++)
		set_gate(i, fault_entry + i * FAULT_ENTRY_B);
	set_gate(FAULT_PROTECTION, protection_entry);
	set_gate(MACHINE_VECTOR_DEVICE, device_entry);
	set_gate(MACHINE_VECTOR_TIMER, timer_entry);
	set_gate(MACHINE_VECTOR_SERIAL, wake_entry);
	set_gate(VECTOR_SPURIOUS, spurious_entry);
	port_write_8(PIC_MASK_1, 0xff);
	port_write_8(PIC_MASK_2, 0xff);
	apic_write(APIC_LINT0, APIC_MASKED);
	apic_write(APIC_LINT1, APIC_MASKED);
	apic_write(APIC_TIMER, MACHINE_VECTOR_TIMER); /* one shot */
	apic_write(APIC_TIMER_DIVIDE, APIC_DIVIDE_1);
	apic_write(APIC_SPURIOUS, APIC_ENABLE | VECTOR_SPURIOUS);
	gate(wakeups - 1); /* does not halt; turns interrupts on */
}

/* How fast the timer runs: it is read before and after a millisecond or so of ours. */
static void measure_timer(void)
{
	const uint64_t span = 1ull << 22;

	apic_write(APIC_TIMER, APIC_MASKED);
	apic_write(APIC_TIMER_START, UINT32_MAX);
	uint32_t from = mmio_read_32(APIC + APIC_TIMER_NOW);
	uint64_t begin = clock_ticks();

	while (clock_ticks() - begin < span)
		cpu_relax();
	uint32_t to = mmio_read_32(APIC + APIC_TIMER_NOW);

	timer_per_tick_32 = ((uint64_t)(from - to) << 32) / (clock_ticks() - begin);
	apic_write(APIC_TIMER_START, 0);
	apic_write(APIC_TIMER, MACHINE_VECTOR_TIMER);
}

/* The memory behind the program. */
static const char *find_arena(const struct start_info *info)
{
	uint64_t from = (uintptr_t)arena;
	const struct map_entry *e = (const struct map_entry *)info->map;

	for (unsigned i = 0; i < info->map_entries; i++)
		if (e[i].type == MAP_RAM && e[i].at <= from && from - e[i].at < e[i].len_b)
			arena_end = min_u64(e[i].at + e[i].len_b, ARENA_END);
	return arena_end > from && arena_end - from >= ARENA_MIN_B ? NULL : "too little memory";
}

static const struct start_info *start_info(void)
{
	return (const struct start_info *)(uintptr_t)boot_info;
}

const char *machine_init(void)
{
	const struct start_info *info = start_info();

	if (info->magic != START_MAGIC || !info->version)
		return "not started by PVH, version 1";
	init_interrupts();
	measure_timer();
	return find_arena(info);
}

const char *machine_words(void)
{
	uint64_t at = start_info()->words;

	return at ? (const char *)at : "";
}

void machine_route(unsigned irq, unsigned vector)
{
	uint32_t id = mmio_read_32(APIC + APIC_ID);

	mmio_write_32(IOAPIC + IOAPIC_SELECT, IOAPIC_ROUTE(irq) + 1);
	mmio_write_32(IOAPIC + IOAPIC_WINDOW, id);
	mmio_write_32(IOAPIC + IOAPIC_SELECT, IOAPIC_ROUTE(irq));
	mmio_write_32(IOAPIC + IOAPIC_WINDOW, vector); /* on an edge, unmasked */
}

uint32_t machine_msi_address(void)
{
	return MSI_BASE | mmio_read_32(APIC + APIC_ID) >> 24 << 12;
}

/* relaxed: written by handlers on this processor */
uint32_t machine_wakeups(void)
{
	return __atomic_load_n(&wakeups, __ATOMIC_RELAXED);
}

uint32_t machine_device_interrupts(void)
{
	return __atomic_load_n(&device_interrupts, __ATOMIC_RELAXED);
}

void machine_sleep(uint32_t seen, uint64_t until)
{
	uint64_t now = clock_ticks();

	if (until <= now)
		return;
	/* One that fires before is left as it is: setting it costs as much as an exit, and all
	 * that an early one does is to wake us up. */
	bool set = __atomic_load_n(&timer_set, __ATOMIC_RELAXED) && timer_at <= until;

	if (until != MACHINE_NEVER && !set) {
		unsigned __int128 left = until - now;
		uint64_t count = (uint64_t)(left * timer_per_tick_32 >> 32);

		timer_at = until;
		/* before the timer can fire */
		__atomic_store_n(&timer_set, 1, __ATOMIC_RELAXED);
		apic_write(APIC_TIMER_START, (uint32_t)min_u64(max_u64(count, 1), UINT32_MAX));
	}
	gate(seen);
}

static void *map(uint64_t at, uint64_t len_b, uint64_t pte)
{
	uint64_t page = align_down(at, PAGE_B), end = at + len_b;
	uint64_t off_b = at - page;
	unsigned first = window_used;

	for (; page < end; page += PAGE_B) {
		if (window_used == ARRAY_SIZE(device_window))
			return NULL;
		device_window[window_used++] = page | pte;
	}
	return (void *)(WINDOW_AT + first * PAGE_B + off_b);
}

void *machine_map(uint64_t at, uint64_t len_b)
{
	if (at >= DEVICES_AT && at + len_b <= WINDOW_AT)
		return (void *)at;
	return map(at, len_b, DEVICE_PTE);
}

void *machine_map_memory(uint64_t at, uint64_t len_b)
{
	return map(at, len_b, RAM_PTE);
}

void *machine_alloc(uint64_t len_b, uint64_t align_b)
{
	uint64_t at = align_up((uintptr_t)arena + arena_used, align_b);

	if (at > arena_end || len_b > arena_end - at)
		return NULL;
	arena_used = at + len_b - (uintptr_t)arena;
	return memset((void *)at, 0, len_b);
}

void machine_release(void)
{
	arena_used = 0;
}

void machine_off(void)
{
	port_write_16(ACPI_PM1_CONTROL, ACPI_SLEEP);
	port_write_8(KEYBOARD_COMMAND, KEYBOARD_RESET);
	for (;;)
		gate(machine_wakeups());
}
