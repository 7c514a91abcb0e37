/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bare machine under the gauge: ports, device memory, interrupts and sleep, memory, power. One
 * processor, one thread, user mode; handlers (boot.S) do nothing but count.
 */
#pragma once

#include "base/base.h"

static inline void port_write_8(uint16_t port, uint8_t v)
{
	__asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port));
}

static inline void port_write_16(uint16_t port, uint16_t v)
{
	__asm__ volatile("outw %0, %1" : : "a"(v), "Nd"(port));
}

static inline void port_write_32(uint16_t port, uint32_t v)
{
	__asm__ volatile("outl %0, %1" : : "a"(v), "Nd"(port));
}

static inline uint8_t port_read_8(uint16_t port)
{
	uint8_t v;

	__asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}

static inline uint32_t port_read_32(uint16_t port)
{
	uint32_t v;

	__asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}

/* Registers of devices. A write is ordered after what stands before it in the program. */
static inline void mmio_write_8(void *at, uint8_t v)
{
	__asm__ volatile("movb %b0, %1" : : "qi"(v), "m"(*(volatile uint8_t *)at) : "memory");
}

static inline void mmio_write_16(void *at, uint16_t v)
{
	__asm__ volatile("movw %w0, %1" : : "ri"(v), "m"(*(volatile uint16_t *)at) : "memory");
}

static inline void mmio_write_32(void *at, uint32_t v)
{
	__asm__ volatile("movl %0, %1" : : "ri"(v), "m"(*(volatile uint32_t *)at) : "memory");
}

static inline uint8_t mmio_read_8(const void *at)
{
	return *(const volatile uint8_t *)at;
}

static inline uint16_t mmio_read_16(const void *at)
{
	return *(const volatile uint16_t *)at;
}

static inline uint32_t mmio_read_32(const void *at)
{
	return *(const volatile uint32_t *)at;
}

/* Called by boot.S: the program, and when the processor met an exception, which says so and powers
 * off. */
void gauge_main(void) __attribute__((noreturn));
void gauge_fault(uint64_t vector, uint64_t code, uint64_t at, uint64_t address)
	__attribute__((noreturn));

/* Vectors of what may interrupt. */
#define MACHINE_VECTOR_DEVICE 0x40u
#define MACHINE_VECTOR_TIMER 0x41u
#define MACHINE_VECTOR_SERIAL 0x42u

/* Takes the machine over from the firmware; interrupts are on from then. Return: NULL; or why this
 * machine is of no use. */
const char *machine_init(void);

/* What the loader was given with -append; "" if nothing. */
const char *machine_words(void);

/* An ISA interrupt comes as @vector from now on. */
void machine_route(unsigned irq, unsigned vector);
/* What a device writes, and where, for MACHINE_VECTOR_DEVICE. */
uint32_t machine_msi_address(void);

/* Wake-ups so far, modulo 2^32, and device interrupts. */
uint32_t machine_wakeups(void);
uint32_t machine_device_interrupts(void);
/* Halts until there were more wake-ups than @seen, perhaps some too early, and until @until (ticks)
 * at the longest. A wake-up between reading @seen and this call counts: it returns at once. */
#define MACHINE_NEVER UINT64_MAX
void machine_sleep(uint32_t seen, uint64_t until);

/* A place where the device memory at @at, at most 2 MiB, can be reached. Return: NULL when there is
 * no room left. */
void *machine_map(uint64_t at, uint64_t len_b);

/* The same for memory that the host shares with this machine, cached as all memory is; at most
 * 1 GiB, with what devices have. */
void *machine_map_memory(uint64_t at, uint64_t len_b);

/* Zeroed memory, aligned to @align_b, a power of two; machine_release() takes all of it back. Its
 * address is the one that devices use. Return: NULL when there is no room. */
void *machine_alloc(uint64_t len_b, uint64_t align_b);
void machine_release(void);

/* Powers off. */
void machine_off(void) __attribute__((noreturn));
