/* SPDX-License-Identifier: Apache-2.0 */
#include <emmintrin.h>
#include <string.h>

#include "media/ram/stream.h"

/* SSE2 is part of x86-64; wider stores were no faster, since four of these fill the one
 * write-combining buffer that goes out as a line. */
#define LINE_B ((size_t)CACHE_LINE)

/* Bytes up to the first whole line of @to, at most @len_b. */
static size_t head_b(const void *to, size_t len_b)
{
	size_t n = -(uintptr_t)to & (LINE_B - 1);

	return n < len_b ? n : len_b;
}

void stream_copy(void *to, const void *from, size_t len_b)
{
	size_t head = head_b(to, len_b), lines_b = (len_b - head) & ~(LINE_B - 1);
	char *d = to;
	const char *s = from;

	if (head)
		memcpy(d, s, head);
	d += head;
	s += head;
	for (const char *end = s + lines_b; s != end; s += LINE_B, d += LINE_B) {
		__m128i a = _mm_loadu_si128((const __m128i *)s);
		__m128i b = _mm_loadu_si128((const __m128i *)(s + 16));
		__m128i c = _mm_loadu_si128((const __m128i *)(s + 32));
		__m128i e = _mm_loadu_si128((const __m128i *)(s + 48));

		_mm_stream_si128((__m128i *)d, a);
		_mm_stream_si128((__m128i *)(d + 16), b);
		_mm_stream_si128((__m128i *)(d + 32), c);
		_mm_stream_si128((__m128i *)(d + 48), e);
	}
	if (len_b > head + lines_b)
		memcpy(d, s, len_b - head - lines_b);
}

void stream_zero(void *to, size_t len_b)
{
	size_t head = head_b(to, len_b), lines_b = (len_b - head) & ~(LINE_B - 1);
	const __m128i zero = _mm_setzero_si128();
	char *d = to;

	memset(d, 0, head);
	d += head;
	for (const char *end = d + lines_b; d != end; d += 16)
		_mm_stream_si128((__m128i *)d, zero);
	memset(d, 0, len_b - head - lines_b);
}

void stream_fence(void)
{
	_mm_sfence();
}
