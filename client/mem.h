/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory that a program on the host shares with a vhost-user back end as if it were a guest's:
 * memfds, sealed as QEMU seals its own, mapped side by side. Guest addresses start at
 * CLIENT_MEM_GUEST_BASE, so that they never equal the addresses this process uses. One thread.
 */
#pragma once

#include "base/base.h"

#define CLIENT_MEM_GUEST_BASE 0x100000000ull
#define CLIENT_MEM_REGIONS_MAX 8u

struct client_mem {
	uint8_t *host; /* all regions, contiguous here and in guest addresses */
	uint64_t len_b;
	uint64_t region_b; /* every region has this size */
	unsigned regions;
	uint64_t used_b; /* client_mem_alloc() has given out this much */
	int fd[CLIENT_MEM_REGIONS_MAX];
};

/* At least @len_b bytes, zeroed and resident, in @regions memfds of equal size. With
 * @hugepages they are of 2 MiB pages. Context: blocks. Return: 0; -EINVAL; -errno (-ENOMEM: no
 * hugepages left). */
int client_mem_init(struct client_mem *m, uint64_t len_b, unsigned regions, bool hugepages);
/* Unmaps and closes; a zeroed @m, or one never initialised but zero, is fine. */
void client_mem_fini(struct client_mem *m);

/* @len_b zeroed bytes aligned to @align_b, a power of two; never given back. Return: NULL when
 * there is no room. */
void *client_mem_alloc(struct client_mem *m, uint64_t len_b, uint64_t align_b);

/* The guest address of @host, which lies in @m. */
static inline uint64_t client_mem_guest(const struct client_mem *m, const void *host)
{
	return CLIENT_MEM_GUEST_BASE + (uint64_t)((const uint8_t *)host - m->host);
}
