/* SPDX-License-Identifier: Apache-2.0 */
/* What the compiler and what is linked here want of a C library. */
#include <stdlib.h>
#include <string.h>

#include "vm/gauge/machine.h"

void *memcpy(void *restrict to, const void *restrict from, size_t n)
{
	void *at = to;

	__asm__ volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(n) : : "memory");
	return to;
}

void *memmove(void *to, const void *from, size_t n)
{
	uint8_t *last = (uint8_t *)to + n - 1;
	const uint8_t *from_last = (const uint8_t *)from + n - 1;

	if ((uintptr_t)to - (uintptr_t)from >= n)
		return memcpy(to, from, n);
	__asm__ volatile("std; rep movsb; cld" : "+D"(last), "+S"(from_last), "+c"(n) : : "memory");
	return to;
}

void *memset(void *to, int c, size_t n)
{
	void *at = to;

	__asm__ volatile("rep stosb" : "+D"(at), "+c"(n) : "a"(c) : "memory");
	return to;
}

int memcmp(const void *a, const void *b, size_t n)
{
	const uint8_t *x = a, *y = b;

	for (size_t i = 0; i < n; i++)
		if (x[i] != y[i])
			return x[i] - y[i];
	return 0;
}

size_t strlen(const char *s)
{
	size_t n = 0;

	while (s[n]) {
		n++;
		__asm__ volatile("" : "+r"(n)); /* or the compiler makes a call to strlen() of it */
	}
	return n;
}

int strcmp(const char *a, const char *b)
{
	size_t n = strlen(a);

	return memcmp(a, b, n + 1); /* @b ends before it differs beyond its end */
}

void *calloc(size_t n, size_t size)
{
	size_t len_b;

	return __builtin_mul_overflow(n, size, &len_b) ? NULL : machine_alloc(len_b, CACHE_LINE);
}

/* All goes at once, with machine_release(). */
void free(void *p)
{
}
