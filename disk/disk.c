/* SPDX-License-Identifier: Apache-2.0 */
#include "disk/disk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct disk_lane {
	struct lane lane;
	struct list link; /* in the disk's list */
	unsigned users;	  /* queues on it */
};

struct disk {
	char name[DISK_NAME_MAX + 1];
	char serial[DISK_SERIAL_MAX + 1];
	struct media *media;
	struct function *function[CHAIN_MAX];
	unsigned nfunction;
	struct media_caps caps;
	uint32_t blk_b;
	bool readonly;

	pthread_mutex_t lock;
	uint64_t size_b, timeout_ns; /* written under the lock, read with relaxed order */
	int mode;
	struct list lanes;  /* struct disk_lane */
	struct lane_stats past; /* of lanes that are gone */
	struct list fronts; /* control thread only */
};

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
		return refuse(e, DISK_PARAM_SIZE, "a size is needed: the medium has none of its own");
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
	d->timeout_ns = c->timeout_ns;
	d->mode = (int)c->mode;
	list_init(&d->lanes);
	list_init(&d->fronts);
	pthread_mutex_init(&d->lock, NULL);

	int err = check_conf(d, c, ret_error);
	if (!err && c->nfunction > CHAIN_MAX)
		err = refuse(ret_error, DISK_PARAM_NONE, "at most 8 functions");
	if (err) {
		pthread_mutex_destroy(&d->lock);
		free(d);
		return err;
	}
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
	d->media->ops->close(d->media);
	pthread_mutex_destroy(&d->lock);
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

/* On the lane's poller, between turns. */
struct lane_change {
	struct lane *lane;
	uint64_t size_b, deadline_ticks;
};

static void apply_change(void *arg)
{
	struct lane_change *c = arg;

	c->lane->size_b = c->size_b;
	c->lane->deadline_ticks = c->deadline_ticks;
	if (!list_empty(&c->lane->inflight))
		poller_timer(c->lane->poller, poller_now_ns(c->lane->poller));
}

static struct lane_change change_for(const struct disk *d, struct lane *l)
{
	return (struct lane_change){ l, d->size_b,
				     clock_ns_to_ticks(l->poller->scale, d->timeout_ns) };
}

/* Context: the lock is held. */
static void change_lanes(struct disk *d)
{
	list_for_each(n, tmp, &d->lanes) {
		struct lane *l = &list_entry(n, struct disk_lane, link)->lane;
		struct lane_change c = change_for(d, l);

		poller_call(l->poller, apply_change, &c);
	}
}

int disk_resize(struct disk *d, uint64_t size_b, struct disk_error *ret_error)
{
	d->caps.size_b = d->media->caps.size_b;
	int err = check_size(d, size_b, ret_error);

	if (err)
		return err;
	pthread_mutex_lock(&d->lock);
	__atomic_store_n(&d->size_b, size_b, __ATOMIC_RELAXED);
	change_lanes(d);
	pthread_mutex_unlock(&d->lock);
	tell_fronts(d, FRONT_SIZE);
	return 0;
}

void disk_set_timeout(struct disk *d, uint64_t timeout_ns)
{
	pthread_mutex_lock(&d->lock);
	d->timeout_ns = timeout_ns;
	change_lanes(d);
	pthread_mutex_unlock(&d->lock);
}

void disk_set_mode(struct disk *d, enum poll_mode mode)
{
	__atomic_store_n(&d->mode, (int)mode, __ATOMIC_RELAXED);
	tell_fronts(d, FRONT_MODE);
}

static void lane_close(struct disk_lane *l)
{
	lane_fini(&l->lane);
	l->lane.media->ops->lane_close(l->lane.media);
	free(l);
}

static void lane_attach(void *arg)
{
	struct lane *l = arg;

	list_add_tail(&l->poller->timed, &l->timed);
}

static void lane_detach(void *arg)
{
	struct lane *l = arg;

	list_del_init(&l->timed);
	list_del_init(&l->media->busy); /* quiet since the last turn, perhaps not yet taken off */
	l->media->on_busy = false;
}

static void add_stats(struct lane_stats *to, const struct lane_stats *s)
{
	for (unsigned op = 0; op < REQ_OPS; op++) {
		to->op[op].bytes += stat_get(&s->op[op].bytes);
		to->op[op].errors += stat_get(&s->op[op].errors);
		hist_merge(&to->latency[op], &s->latency[op]);
	}
	to->copies += stat_get(&s->copies);
	to->copied_b += stat_get(&s->copied_b);
	to->overdue += stat_get(&s->overdue);
}

struct lane_look {
	const struct lane *lane;
	struct disk_stats *into;
};

static void look_at_lane(void *arg)
{
	struct lane_look *look = arg;

	look->into->oldest_ns = max_u64(look->into->oldest_ns, lane_oldest_ns(look->lane));
	list_for_each(n, tmp, &look->lane->inflight)
		look->into->inflight++;
}

void disk_stats(struct disk *d, struct disk_stats *ret_stats)
{
	*ret_stats = (struct disk_stats){ 0 };
	pthread_mutex_lock(&d->lock);
	add_stats(&ret_stats->lanes, &d->past);
	list_for_each(n, tmp, &d->lanes) {
		struct lane *l = &list_entry(n, struct disk_lane, link)->lane;
		struct lane_look look = { l, ret_stats };

		poller_call(l->poller, look_at_lane, &look);
		add_stats(&ret_stats->lanes, l->stats);
		ret_stats->nlane++;
	}
	pthread_mutex_unlock(&d->lock);
}

static int lane_open(struct disk *d, struct poller *p, struct disk_lane **ret_lane)
{
	struct media_lane *m;
	struct disk_lane *l = calloc(1, sizeof(*l));

	if (!l)
		return -ENOMEM;
	int err = d->media->ops->lane_open(d->media, p, &m);
	if (err) {
		free(l);
		return err;
	}
	err = lane_init(&l->lane, p, m, d->name);
	if (err) {
		m->ops->lane_close(m);
		free(l);
		return err;
	}
	l->lane.size_b = d->size_b;
	l->lane.deadline_ticks = change_for(d, &l->lane).deadline_ticks;
	l->lane.blk_mask = d->blk_b - 1;
	l->lane.align_mask = d->media->caps.align_b - 1;
	if (d->media->caps.batch)
		l->lane.batch = (uint8_t)min_u32(d->media->caps.batch, POLLER_BATCH);
	l->lane.readonly = d->readonly;
	l->lane.has_discard = d->caps.discard_gran_b;
	l->lane.has_zeroes = d->caps.zeroes;
	for (unsigned i = 0; !err && i < d->nfunction; i++)
		err = lane_add_function(&l->lane, d->function[i]);
	if (err) {
		lane_stop(&l->lane);
		lane_close(l);
		return err;
	}
	poller_call(p, lane_attach, &l->lane);
	*ret_lane = l;
	return 0;
}

int disk_lane_get(struct disk *d, struct poller *p, struct lane **ret_lane)
{
	struct disk_lane *l = NULL;
	int err = 0;

	pthread_mutex_lock(&d->lock);
	list_for_each(n, tmp, &d->lanes) {
		struct disk_lane *have = list_entry(n, struct disk_lane, link);

		if (have->lane.poller == p)
			l = have;
	}
	if (!l) {
		err = lane_open(d, p, &l);
		if (!err)
			list_add_tail(&d->lanes, &l->link);
	}
	if (!err) {
		l->users++;
		*ret_lane = &l->lane;
	}
	pthread_mutex_unlock(&d->lock);
	return err;
}

void disk_lane_put(struct disk *d, struct lane *lane)
{
	struct disk_lane *l = container_of(lane, struct disk_lane, lane);

	pthread_mutex_lock(&d->lock);
	/* the last user's requests have ended, so the lane is quiet */
	if (!--l->users) {
		lane_stop(lane);
		poller_call(lane->poller, lane_detach, lane);
		list_del(&l->link);
		add_stats(&d->past, lane->stats);
		lane_close(l);
	}
	pthread_mutex_unlock(&d->lock);
}
