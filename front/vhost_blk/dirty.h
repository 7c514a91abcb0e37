/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The dirty log of a migration (vhost-user, "Migration"): a bitmap shared with the
 * VMM, a bit for each 4 KiB page of guest memory that we wrote. Bits are set by the
 * pollers and cleared by the VMM at the same time, so they are set atomically.
 */
#pragma once

#include "core/req.h"
#include "wire/vhost_user.h"

struct dirty_log {
	uint8_t *map;
	uint64_t off_b, size_b; /* of the bitmap in the mapping */
	size_t map_len_b;
};

/* Maps the log described by @d. Context: connection thread. Ownership: @fd stays the caller's.
 * Return: 0; -EINVAL; -ERANGE beyond the file; -errno. */
int dirty_open(const struct vhost_user_log *d, int fd, struct dirty_log **ret_log);
void dirty_close(struct dirty_log *l); /* NULL is fine; no queue uses it */

/* Comes between what was written to guest memory and the marks for it, once for any number of them:
 * a page that is marked already is only looked at. seq_cst: what was written before the look; pairs
 * with the VMM's exchange, which takes a bit away before it copies the page. */
static inline void dirty_begin(void)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static inline bool dirty_is_set(const uint8_t *bits, uint64_t page)
{
	return __atomic_load_n(&bits[page / 8], __ATOMIC_RELAXED) >> (page % 8) & 1;
}

/* Marks guest range [@gpa, @gpa + @len_b); what lies beyond the log is not guest memory that
 * migrates. Context: any thread, after dirty_begin(). */
void dirty_mark(struct dirty_log *l, uint64_t gpa, uint64_t len_b);
