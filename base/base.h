/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Words that every room uses: branch hints, bounds, index maths, scope-owned
 * things. No state, no allocation; any thread may use any of it.
 */
#pragma once

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#define KIB (1ull << 10)
#define MIB (1ull << 20)
#define GIB (1ull << 30)
#define NS_PER_S 1000000000ull
#define NS_PER_MS 1000000ull
#define NS_PER_US 1000ull

#define CACHE_LINE 64
#define cacheline_aligned __attribute__((aligned(CACHE_LINE)))
#define nonnull __attribute__((nonnull))
#define printf_like(fmt, args) __attribute__((format(printf, fmt, args)))

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define container_of(ptr, type, member) ((type *)((char *)(ptr) - offsetof(type, member)))

/* Runs @fn(&variable) when the variable leaves its scope. */
#define CLEANUP(fn) __attribute__((cleanup(fn)))
void base_free(void *p); /* for CLEANUP on anything from malloc */

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static inline uint64_t max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static inline uint32_t min_u32(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

static inline bool is_pow2(uint64_t x)
{
	return x && !(x & (x - 1));
}

/* @to is a power of two. */
static inline uint64_t align_down(uint64_t x, uint64_t to)
{
	return x & ~(to - 1);
}

/* @to is a power of two; the caller has made sure that @x + @to does not wrap. */
static inline uint64_t align_up(uint64_t x, uint64_t to)
{
	return (x + to - 1) & ~(to - 1);
}

/* Whether [@at, @at + @len) lies inside [0, @size). No sum is formed. */
static inline bool range_inside(uint64_t at, uint64_t len, uint64_t size)
{
	return at <= size && len <= size - at;
}

/* Tells the core that this is a spin loop. */
#if defined(__x86_64__)
static inline void cpu_relax(void)
{
	__builtin_ia32_pause();
}
#else
static inline void cpu_relax(void)
{
	__asm__ volatile("yield");
}
#endif
