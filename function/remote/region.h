/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory that posternd shares with a function's machine (wire/function.h): a memfd that cannot
 * shrink, with an area for each lane. Any thread.
 */
#pragma once

#include "wire/function.h"

#define REGION_AREAS 24u

struct region {
	unsigned refs; /* relaxed; the last one gone, acquire and release */
	int fd;
	uint8_t *at;
	uint64_t id;
	uint32_t used; /* areas, a bit each; relaxed */
	uint8_t rings[REGION_AREAS]; /* of each, the next; under the host's lock */
};

/* @fd: one of a predecessor's, which becomes the region's, also on failure; -1: a new one.
 * Ownership: *ret is put. Return: 0; -EBADMSG: @fd is none; -errno. */
int region_open(int fd, struct region **ret);
/* One more that has it. */
struct region *region_get(struct region *r);
/* Unmapped with the last one, when no area is taken. NULL is fine. */
void region_put(struct region *r);

/* Return: an area; -ENOSPC. */
int region_take(struct region *r);
/* Its memory is the host's again. */
void region_give(struct region *r, unsigned area);

uint8_t *region_bufs(const struct region *r, unsigned area);
/* Empty ones, of those that the area has room for the ones used longest ago: a program may still
 * look at the ones before, until it has read that they are over. */
struct fn_rings *region_rings(struct region *r, unsigned area);
/* Where @at is, as a message says it. */
uint32_t region_page(const struct region *r, const void *at);
