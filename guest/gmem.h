/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest memory: the only place where a guest address becomes a pointer.
 *
 * A region is a mapped piece of the guest's memory. A table of regions is immutable;
 * a change makes a new table, which the front hands to each of its queues between
 * turns, and the old one is put away when no request uses it. Tables and regions are
 * made on the front's control thread; look-ups run on any thread that holds a table.
 */
#pragma once

#include <sys/types.h>

#include "base/base.h"
#include "core/req.h"

/* A guest-physical address: cannot be dereferenced or added to a length by accident. */
typedef struct {
	uint64_t v;
} gpa_t;

/* As many as VHOST_USER_CONFIGURE_MEM_SLOTS of QEMU will ever use. */
#define GMEM_REGIONS_MAX 509

struct gregion {
	uint64_t base_b; /* guest-physical */
	uint64_t len_b;
	uint64_t starts_of_16; /* offsets from which 16 bytes lie inside: len_b - 15, or none */
	uint64_t to_host; /* a guest address in it, plus this, modulo 2^64, is the host's */
	uint8_t *host;
	uint64_t uaddr_b; /* where the VMM has it; vring addresses are given so */
	/* the mapping behind it */
	void *map;
	size_t map_len_b;
	dev_t dev; /* of the file behind it, to recognise it when it is removed */
	ino_t ino;
	uint64_t file_off_b;
	unsigned refs; /* tables that hold it; the control thread's */
	unsigned slot; /* the owner's: where the file is kept */
};

struct gmem {
	struct gmem *next; /* the owner's */
	unsigned n;
	struct gregion *reg[]; /* by base_b */
};

/* What a region must be, as the front end describes it. */
struct gregion_desc {
	uint64_t base_b, len_b, uaddr_b, file_off_b;
};

/* Whether memory that is not tmpfs or hugetlbfs is taken. Such memory may be truncated under
 * us by whoever owns the file, or need writeback while we hold it. */
enum gmem_policy { GMEM_SHARED_ONLY, GMEM_ANY };

/* Maps a region of @fd. Ownership: @fd stays the caller's; the region starts with one
 * reference. Return: 0; -EINVAL: empty, or the addresses wrap; -ERANGE: beyond the end of the
 * file; -EMEDIUMTYPE: not shareable memory by @policy; -ENOSPC: more mappings than can be guarded
 * (guest/fault.h); -errno of mmap. */
int gregion_open(const struct gregion_desc *d, int fd, enum gmem_policy policy,
		 struct gregion **ret_region);
/* Drops a reference; the last one unmaps. */
void gregion_put(struct gregion *g);
/* Replaces the mapping in place by private zero pages: the guest's memory is let go while
 * requests that a stalled medium holds still point here. Return: 0 or -errno. */
int gregion_detach(struct gregion *g);

/* A new table: @old (may be NULL) plus @add (may be NULL) less @del (may be NULL). It holds a
 * reference to each region. Return: 0; -EEXIST: @add overlaps one in guest-physical or VMM
 * addresses; -ENOSPC: too many; -ENOMEM. */
int gmem_new(const struct gmem *old, struct gregion *add, const struct gregion *del,
	     struct gmem **ret_table);
/* Puts a table with @g besides in the place of *@m, for one that is being built. The reference to
 * @g is taken in any case. Return: 0; as gmem_new(), and *@m is as it was. */
int gmem_grow(struct gmem **m, struct gregion *g);
void gmem_free(struct gmem *m); /* drops its references; NULL is fine */

/* The guest-physical address of @host, which a region of @m has; 0 if none. Context: any thread. */
gpa_t gmem_of_host(const struct gmem *m, const void *host);

/* The region of @m at @at, NULL if none. Context: any thread. */
struct gregion *gmem_region(const struct gmem *m, gpa_t at);
/* The region whose base, VMM address and length are these, NULL if none. */
struct gregion *gmem_find(const struct gmem *m, const struct gregion_desc *d);

/* Host address of the VMM's [@uaddr_b, @uaddr_b + @len_b), which must lie in one region; the
 * guest-physical address goes to *ret_at unless NULL. Return: NULL if it does not. */
void *gmem_of_vmm(const struct gmem *m, uint64_t uaddr_b, uint64_t len_b, gpa_t *ret_at);

/* A user's way into a table: remembers the region of the last hit. One thread at a time. */
struct gview {
	const struct gmem *mem;
	struct gregion *last; /* never NULL: an empty one before the first hit */
};

/* Begins to look into @mem, which outlives the view; NULL: no memory at all. */
void gview_init(struct gview *v, const struct gmem *mem);

/* Cold part of gview_region(). */
struct gregion *gview_search(struct gview *v, gpa_t at);

static inline struct gregion *gview_region(struct gview *v, gpa_t at)
{
	struct gregion *g = v->last;

	if (likely(at.v - g->base_b < g->len_b))
		return g;
	return gview_search(v, at);
}

/* Whether [@at, @at + @len_b) lies in @g. The guest chooses both, so their sum is never formed. */
static inline bool gregion_has(const struct gregion *g, gpa_t at, uint64_t len_b)
{
	uint64_t off_b = at.v - g->base_b;

	return likely(off_b < g->len_b && len_b <= g->len_b - off_b);
}

/* The same for one byte and for sixteen, in one comparison each. */
static inline bool gregion_has_1(const struct gregion *g, gpa_t at)
{
	return likely(at.v - g->base_b < g->len_b);
}

static inline bool gregion_has_16(const struct gregion *g, gpa_t at)
{
	return likely(at.v - g->base_b < g->starts_of_16);
}

/* Host address of @at, which @g has. */
static inline uint8_t *gregion_host(const struct gregion *g, gpa_t at)
{
	return (uint8_t *)(uintptr_t)(at.v + g->to_host);
}

/* Cold part of gview_run(). */
bool gview_run_elsewhere(struct gview *v, gpa_t at, uint64_t len_b, void *ret_host);

/* Host address of [@at, @at + @len_b), which must lie in one region. @ret_host points to a pointer.
 * Return: false if it does not. */
static inline bool gview_run(struct gview *v, gpa_t at, uint64_t len_b, void *ret_host)
{
	const struct gregion *g = v->last;

	if (unlikely(!gregion_has(g, at, len_b)))
		return gview_run_elsewhere(v, at, len_b, ret_host);
	*(uint8_t **)ret_host = gregion_host(g, at);
	return true;
}

/* Host segments of guest range [@at, @at + @len_b), at most @max. A range may cross regions.
 * Return: segments used; -EFAULT outside memory; -E2BIG. */
int gview_map(struct gview *v, gpa_t at, uint64_t len_b, struct seg *ret_seg, unsigned max);
