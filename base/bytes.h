/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Little-endian integers as they lie in shared memory, on sockets and on disk,
 * and unaligned access to them. Pure; any thread.
 */
#pragma once

#include <endian.h>
#include <string.h>

#include "base/base.h"

typedef uint16_t le16;
typedef uint32_t le32;
typedef uint64_t le64;

static inline uint16_t get_le16(const void *p)
{
	le16 v;

	memcpy(&v, p, sizeof(v));
	return le16toh(v);
}

static inline uint32_t get_le32(const void *p)
{
	le32 v;

	memcpy(&v, p, sizeof(v));
	return le32toh(v);
}

static inline uint64_t get_le64(const void *p)
{
	le64 v;

	memcpy(&v, p, sizeof(v));
	return le64toh(v);
}

/*
 * Reading memory that another program writes at will: once, whole, into a local that the
 * compiler cannot fetch again. What is judged is then what is used.
 */
static inline void read_once_16(const void *p, uint64_t ret_w[2])
{
	uint64_t w[2];

	memcpy(w, p, sizeof(w));
	__asm__ volatile("" : "+r"(w[0]), "+r"(w[1]));
	ret_w[0] = le64toh(w[0]);
	ret_w[1] = le64toh(w[1]);
}
