/* SPDX-License-Identifier: Apache-2.0 */
#include "disk/private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *disk_name(const struct disk *d)
{
	return d->name;
}

const char *disk_serial(const struct disk *d)
{
	return d->serial;
}

uint32_t disk_blk_b(const struct disk *d)
{
	return d->blk_b;
}

bool disk_readonly(const struct disk *d)
{
	return d->readonly;
}

struct media *disk_media(const struct disk *d)
{
	return d->media;
}

const struct media_caps *disk_caps(const struct disk *d)
{
	return &d->caps;
}

uint64_t disk_size_b(const struct disk *d)
{
	return __atomic_load_n(&d->size_b, __ATOMIC_RELAXED);
}

enum poll_mode disk_mode(const struct disk *d)
{
	return (enum poll_mode)__atomic_load_n(&d->mode, __ATOMIC_RELAXED);
}

static int refuse(struct disk_error *e, enum disk_param param, const char *why)
{
	*e = (struct disk_error){ param, why };
	return -EINVAL;
}

static int check_size(const struct disk *d, uint64_t size_b, struct disk_error *e)
{
	if (!size_b)
		return refuse(e, DISK_PARAM_SIZE,
			      "a size is needed: the medium has none of its own");
	if (size_b & (d->blk_b - 1))
		return refuse(e, DISK_PARAM_SIZE, "a multiple of the block size is needed");
	if (size_b > INT64_MAX)
		return refuse(e, DISK_PARAM_SIZE, "at most 2^63 - 1 bytes");
	if (d->caps.size_b && size_b > d->caps.size_b)
		return refuse(e, DISK_PARAM_SIZE, "larger than the medium");
	return 0;
}

static int check_conf(const struct disk *d, const struct disk_conf *c, struct disk_error *e)
{
	if (!is_pow2(d->blk_b) || d->blk_b < DISK_BLK_MIN_B || d->blk_b > DISK_BLK_MAX_B)
		return refuse(e, DISK_PARAM_BLK_SIZE, "512, 1024, 2048 or 4096 is needed");
	if (d->blk_b < d->caps.blk_b)
		return refuse(e, DISK_PARAM_BLK_SIZE, "smaller than the medium's own block");
	if (c->serial && strlen(c->serial) > DISK_SERIAL_MAX)
		return refuse(e, DISK_PARAM_SERIAL, "at most 20 characters");
	return check_size(d, disk_size_b(d), e);
}

int disk_open(const struct disk_conf *c, struct disk **ret_disk, struct disk_error *ret_error)
{
	*ret_error = (struct disk_error){ DISK_PARAM_NONE, "out of memory" };
	struct disk *d = calloc(1, sizeof(*d));

	if (!d)
		return -ENOMEM;
	snprintf(d->name, sizeof(d->name), "%s", c->name);
	strncpy(d->serial, c->serial ? c->serial : c->name, DISK_SERIAL_MAX);
	d->media = c->media;
	d->caps = c->media->caps;
	for (unsigned i = c->nfunction; i-- > 0;)
		if (c->function[i]->ops->adjust)
			c->function[i]->ops->adjust(c->function[i], &d->caps);
	d->blk_b = c->blk_b ? c->blk_b : (uint32_t)max_u64(d->caps.blk_b, DISK_BLK_MIN_B);
	d->size_b = c->size_b ? c->size_b : align_down(d->caps.size_b, d->blk_b);
	d->readonly = c->readonly || d->caps.readonly;
	d->care = c->care;
	d->news = c->news;
	d->news_arg = c->news_arg;
	d->fence = calloc(1, sizeof(*d->fence));
	d->mode = (int)c->mode;
	list_init(&d->lanes);
	list_init(&d->fronts);
	pthread_mutex_init(&d->lock, NULL);

	int err = d->fence ? check_conf(d, c, ret_error) : -ENOMEM;
	if (!err && c->nfunction > CHAIN_MAX)
		err = refuse(ret_error, DISK_PARAM_NONE, "at most 8 functions");
	if (err) {
		pthread_mutex_destroy(&d->lock);
		free(d->fence);
		free(d);
		return err;
	}
	d->gate = c->gate;
	for (; d->nfunction < c->nfunction; d->nfunction++)
		d->function[d->nfunction] = c->function[d->nfunction];
	*ret_disk = d;
	return 0;
}

void disk_close(struct disk *d)
{
	if (!d)
		return;
	assert(list_empty(&d->fronts) && list_empty(&d->lanes));
	for (unsigned i = 0; i < d->nfunction; i++)
		d->function[i]->ops->close(d->function[i]);
	if (d->gate)
		d->gate->ops->close(d->gate);
	d->media->ops->close(d->media);
	pthread_mutex_destroy(&d->lock);
	free(d->fence);
	free(d);
}

void disk_add_front(struct disk *d, struct front *f)
{
	list_add_tail(&d->fronts, &f->link);
}

void disk_del_front(struct disk *d, struct front *f)
{
	list_del(&f->link);
}

void disk_each_front(struct disk *d, void (*fn)(struct front *f, void *arg), void *arg)
{
	list_for_each(n, tmp, &d->fronts)
		fn(list_entry(n, struct front, link), arg);
}

static void tell_fronts(struct disk *d, unsigned changes)
{
	list_for_each(n, tmp, &d->fronts) {
		struct front *f = list_entry(n, struct front, link);

		f->ops->changed(f, changes);
	}
}

int disk_resize(struct disk *d, uint64_t size_b, struct disk_error *ret_error)
{
	d->caps.size_b = d->media->caps.size_b;
	int err = check_size(d, size_b, ret_error);

	if (err)
		return err;
	lanes_resize(d, size_b);
	for (unsigned i = 0; i < d->nfunction; i++)
		if (d->function[i]->ops->resized)
			d->function[i]->ops->resized(d->function[i]);
	tell_fronts(d, FRONT_SIZE);
	return 0;
}

void disk_give_up(struct disk *d)
{
	for (unsigned i = 0; i < d->nfunction; i++)
		if (d->function[i]->ops->give_up)
			d->function[i]->ops->give_up(d->function[i]);
}

void disk_set_mode(struct disk *d, enum poll_mode mode)
{
	__atomic_store_n(&d->mode, (int)mode, __ATOMIC_RELAXED);
	tell_fronts(d, FRONT_MODE);
}
