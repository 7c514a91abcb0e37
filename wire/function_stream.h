/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages of wire/function.h out of a stream, in whatever pieces they come. Never more than one is
 * held. One thread.
 */
#pragma once

#include <string.h>

#include "wire/function.h"

struct fn_stream {
	uint8_t at[sizeof(struct fn_msg)];
	size_t n_b; /* that are there */
};

/* Where the next bytes go, fn_stream_want() of them at most; the caller adds them to n_b. */
static inline uint8_t *fn_stream_end(struct fn_stream *s)
{
	return s->at + s->n_b;
}

static inline size_t fn_stream_want(const struct fn_stream *s)
{
	return sizeof(s->at) - s->n_b;
}

/* Drops what can be no message's beginning: what is left of one whose reader or writer ended in its
 * middle. */
static inline void fn_stream_align(struct fn_stream *s)
{
	const le32 magic = htole32(FN_MAGIC);
	size_t from = 0;

	while (from < s->n_b && memcmp(s->at + from, &magic, min_u64(sizeof(magic), s->n_b - from)))
		from++;
	memmove(s->at, s->at + from, s->n_b - from);
	s->n_b -= from;
}

/* Return: whether a message is whole; it is in *ret then, unjudged. */
static inline bool fn_stream_take(struct fn_stream *s, struct fn_msg *ret)
{
	if (s->n_b < sizeof(s->at))
		return false;
	memcpy(ret, s->at, sizeof(*ret));
	s->n_b = 0;
	return true;
}
