/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ram medium: a disk in memory, gone with the process unless its descriptor is kept. Requests
 * are copies between the guest's memory and a memfd, all done when submit() returns; discards
 * and write-zeroes are done piece by piece from poll(), so that a long one delays
 * other disks on the poller no more than a short one.
 *
 * Lanes share the mapping and nothing else. Two requests in flight at once on the
 * same bytes end in any order, as on any disk.
 */
#pragma once

#include "core/media.h"

struct ram_conf {
	uint64_t size_b; /* a multiple of 512; with hugepages, of 2 MiB after rounding up */
	bool hugepages;
	bool readonly;
};

/* A new, empty one. Context: control thread. Ownership: closed by its own close operation.
 * Return: 0; -EINVAL for a size that is 0 or not a multiple of 512; -ENOMEM: not that much address
 * space, or fewer hugepages are free; -ENOSYS: no hugepages on this kernel; -errno. */
int ram_open(const struct ram_conf *c, struct media **ret_media);
/* As ram_open(), with what a predecessor's ram_fd() holds. Ownership: @fd is the medium's, also on
 * failure. */
int ram_reopen(const struct ram_conf *c, int fd, struct media **ret_media);

/* Grows. Context: control thread, at any time: addresses do not change.
 * Return: 0; -EINVAL if smaller or not a multiple of 512; -E2BIG beyond ram_max_b(); -ENOMEM. */
int ram_resize(struct media *m, uint64_t size_b);

uint64_t ram_max_b(const struct media *m); /* how far it can grow */
uint64_t ram_used_b(const struct media *m); /* memory in use, 0 if it cannot be told */
bool ram_hugepages(const struct media *m);
int ram_fd(const struct media *m); /* holds the data; the medium's. Kept, it outlives the process */
