/* SPDX-License-Identifier: Apache-2.0 */
#include "function/remote/region.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"

#define RINGS_B (2 * MIB) /* room for them; buffers of whole 2 MiB follow */
#define RINGS_N 64u
#define AREA_B (RINGS_B + FN_BUFS_B)

static_assert(RINGS_N * sizeof(struct fn_rings) <= RINGS_B, "they have room");
static_assert(FN_REGION_OWN_B + RINGS_B + REGION_AREAS * AREA_B <= FN_REGION_B, "all have room");
static_assert(REGION_AREAS <= 32, "a bit each");

/* What a machine has written there is not believed: the identity is made anew by none but us. */
static int sign(struct region *r, bool is_new)
{
	struct fn_region *head = (struct fn_region *)(r->at + FN_REGION_OWN_B);

	if (!is_new) {
		r->id = le64toh(__atomic_load_n(&head->id, __ATOMIC_RELAXED));
		return 0;
	}
	if (getrandom(&r->id, sizeof(r->id), 0) != sizeof(r->id))
		return -EIO;
	head->id = htole64(r->id);
	head->magic = htole64(FN_REGION_MAGIC);
	return 0;
}

static int map(struct region *r, int kept_fd)
{
	struct stat st;

	r->fd = kept_fd < 0 ? fd_memory("postern-function-machine", FN_REGION_B, 0) : kept_fd;
	if (r->fd < 0)
		return r->fd;
	if (!fd_is_sealed(r->fd) || fstat(r->fd, &st) || st.st_size != FN_REGION_B)
		return -EBADMSG;
	void *at = mmap(NULL, FN_REGION_B, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, 0);

	if (at == MAP_FAILED)
		return -ENOMEM;
	r->at = at;
	return sign(r, kept_fd < 0);
}

int region_open(int fd, struct region **ret)
{
	struct region *r = calloc(1, sizeof(*r));

	if (!r) {
		fd_close(fd);
		return -ENOMEM;
	}
	r->refs = 1;
	int err = map(r, fd);

	if (err)
		region_put(r);
	else
		*ret = r;
	return err;
}

struct region *region_get(struct region *r)
{
	__atomic_add_fetch(&r->refs, 1, __ATOMIC_RELAXED);
	return r;
}

void region_put(struct region *r)
{
	/* release and acquire: what others did with it is before the end of it */
	if (!r || __atomic_sub_fetch(&r->refs, 1, __ATOMIC_ACQ_REL))
		return;
	if (r->at)
		munmap(r->at, FN_REGION_B);
	fd_close(r->fd);
	free(r);
}

static size_t area_off(unsigned area)
{
	return FN_REGION_OWN_B + RINGS_B + area * AREA_B;
}

int region_take(struct region *r)
{
	for (unsigned i = 0; i < REGION_AREAS; i++)
		if (!(__atomic_fetch_or(&r->used, 1u << i, __ATOMIC_RELAXED) & 1u << i))
			return (int)i;
	return -ENOSPC;
}

void region_give(struct region *r, unsigned area)
{
	fallocate(r->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)area_off(area), AREA_B);
	__atomic_fetch_and(&r->used, ~(1u << area), __ATOMIC_RELAXED);
}

struct fn_rings *region_rings(struct region *r, unsigned area)
{
	struct fn_rings *all = (struct fn_rings *)(r->at + area_off(area));
	struct fn_rings *rings = &all[r->rings[area]++ % RINGS_N];

	memset(rings, 0, sizeof(*rings));
	return rings;
}

uint8_t *region_bufs(const struct region *r, unsigned area)
{
	return r->at + area_off(area) + RINGS_B;
}

uint32_t region_page(const struct region *r, const void *at)
{
	size_t off_b = (size_t)((const uint8_t *)at - r->at);

	return (uint32_t)((off_b - FN_REGION_OWN_B) / FN_PAGE_B);
}
