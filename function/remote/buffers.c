/* SPDX-License-Identifier: Apache-2.0 */
#include "function/remote/buffers.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "base/fd.h"
#include "function/remote/private.h"

static int open_area(struct buffers *b, struct region *region)
{
	int area = region_take(region);

	if (area < 0)
		return area;
	b->region = region_get(region);
	b->area = (unsigned)area;
	b->at = region_bufs(region, b->area);
	return 0;
}

static int open_own(struct buffers *b)
{
	b->fd = fd_memory("postern-function-buffers", FN_BUFS_B, 0);
	if (b->fd < 0)
		return b->fd;
	void *at = mmap(NULL, FN_BUFS_B, PROT_READ | PROT_WRITE, MAP_SHARED, b->fd, 0);

	if (at == MAP_FAILED) {
		fd_close(b->fd);
		return -ENOMEM;
	}
	b->at = at;
	return 0;
}

int buffers_find(struct remote_lane *l, struct region *region, struct buffers **ret)
{
	list_for_each(it, tmp, &l->buffers) {
		*ret = list_entry(it, struct buffers, node);
		if ((*ret)->region == region)
			return 0;
	}
	return buffers_new(l, region, ret);
}

int buffers_new(struct remote_lane *l, struct region *region, struct buffers **ret)
{
	struct buffers *b = calloc(1, sizeof(*b));

	if (!b)
		return -ENOMEM;
	b->fd = -1;
	int err = region ? open_area(b, region) : open_own(b);

	if (err) {
		free(b);
		return err;
	}
	list_add_tail(&l->buffers, &b->node);
	*ret = b;
	return 0;
}

static void close_one(struct buffers *b)
{
	list_del(&b->node);
	if (b->region) {
		region_give(b->region, b->area);
		region_put(b->region);
	} else {
		munmap(b->at, FN_BUFS_B);
		fd_close(b->fd);
	}
	free(b);
}

void buffers_sweep(struct remote_lane *l)
{
	/* acquire: pairs with the release in join(); from then on nothing of the lane's is
	 * elsewhere */
	const uint8_t *now = __atomic_load_n(&l->bufs, __ATOMIC_ACQUIRE);

	list_for_each(it, tmp, &l->buffers) {
		struct buffers *b = list_entry(it, struct buffers, node);

		if (b->at != now && !(l->channel && l->channel->buffers == b) &&
		    !(l->next_channel && l->next_channel->buffers == b))
			close_one(b);
	}
}

void buffers_free(struct remote_lane *l)
{
	list_for_each(it, tmp, &l->buffers)
		close_one(list_entry(it, struct buffers, node));
}
