/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bare ring loop: what a device does that judges every address, answers every read with OK
 * and does nothing else. The same client drives it as drives a real target, so the difference
 * between the two is the target.
 */
#include "compare/bare.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/cpus.h"
#include "client/raw.h"

#define BATCH 32u
#define DISK_SECTORS (1ull << 21)

struct device {
	struct client_queue *q;
	uint64_t base, len_b; /* guest memory, one region */
	uint8_t *host;
	int cpu; /* -1: anywhere */
	uint16_t seen; /* split: avail index, and used index */
	uint16_t take, use; /* packed positions and their wrap counters */
	bool take_wrap, use_wrap;
	bool stop;
};

/* A request in the middle of its turn. */
struct bare {
	const struct virtio_blk_hdr *hdr;
	uint8_t *status;
	uint16_t id;
};

/* What the client puts into the ring is this process's own: anything else is a mistake here. */
static inline void must(bool holds)
{
	if (unlikely(!holds))
		abort();
}

static inline void *host_of(const struct device *d, uint64_t at, uint64_t len_b)
{
	uint64_t off_b = at - d->base;

	return range_inside(off_b, len_b, d->len_b) ? d->host + off_b : NULL;
}

/* The three buffers of a request, each judged. Addresses and lengths have the same place in a
 * split and a packed descriptor. */
static inline void judge(const struct device *d, const struct virtq_desc *a,
			 const struct virtq_desc *b, const struct virtq_desc *c, struct bare *ret)
{
	ret->hdr = host_of(d, a->addr, a->len);
	ret->status = host_of(d, c->addr, c->len);
	must(ret->hdr && ret->status && host_of(d, b->addr, b->len) &&
	     a->len >= sizeof(struct virtio_blk_hdr) && b->flags & c->flags & VIRTQ_DESC_F_WRITE);
	__builtin_prefetch(ret->hdr, 1);
}

static inline void answer(const struct bare *r)
{
	must(r->hdr->type <= VIRTIO_BLK_T_OUT && r->hdr->sector <= DISK_SECTORS - 8);
	*r->status = VIRTIO_BLK_S_OK;
}

static inline unsigned take_split(struct device *d, struct bare *r)
{
	struct client_queue *q = d->q;
	uint16_t mask = (uint16_t)(q->size - 1);
	/* acquire: pairs with the client's publish */
	uint16_t idx = __atomic_load_n(&q->avail->idx, __ATOMIC_ACQUIRE);
	unsigned n = (uint16_t)(idx - d->seen);

	n = n > BATCH ? BATCH : n;
	for (unsigned i = 0; i < n; i++) {
		r[i].id = q->avail->ring[(d->seen + i) & mask] & mask;
		__builtin_prefetch(&q->desc[r[i].id]);
	}
	for (unsigned i = 0; q->indirect && i < n; i++)
		__builtin_prefetch(host_of(d, q->desc[r[i].id].addr, 64));
	for (unsigned i = 0; i < n; i++) {
		const struct virtq_desc *a = &q->desc[r[i].id];

		if (q->indirect) {
			a = host_of(d, a->addr, 3 * sizeof(*a));
			must(a);
			judge(d, a, a + 1, a + 2, &r[i]);
		} else {
			const struct virtq_desc *b = &q->desc[a->next & mask];

			judge(d, a, b, &q->desc[b->next & mask], &r[i]);
		}
	}
	return n;
}

static inline void publish_split(struct device *d, const struct bare *r, unsigned n)
{
	struct virtq_used *used = d->q->used;

	for (unsigned i = 0; i < n; i++)
		used->ring[(d->seen + i) & (d->q->size - 1u)] =
			(struct virtq_used_elem){ .id = r[i].id, .len = 4097 };
	d->seen = (uint16_t)(d->seen + n);
	/* release: entries and status bytes first */
	__atomic_store_n(&used->idx, d->seen, __ATOMIC_RELEASE);
}

static inline bool packed_available(const struct device *d)
{
	/* acquire: the rest of the descriptor, and of the batch, after the flags */
	uint16_t flags = __atomic_load_n(&d->q->ring[d->take].flags, __ATOMIC_ACQUIRE);

	return !!(flags & VIRTQ_DESC_F_AVAIL) == d->take_wrap &&
	       !!(flags & VIRTQ_DESC_F_USED) != d->take_wrap;
}

/* Packed rings are measured with indirect descriptors only, one ring entry a request. */
static inline unsigned take_packed(struct device *d, struct bare *r)
{
	const struct virtq_desc *table[BATCH];
	unsigned n = 0;

	while (n < BATCH && packed_available(d)) {
		const struct virtq_packed_desc *p = &d->q->ring[d->take];

		table[n] = host_of(d, p->addr, 3 * sizeof(*p));
		must(table[n]);
		__builtin_prefetch(table[n]);
		r[n++].id = p->id;
		if (++d->take == d->q->size) {
			d->take = 0;
			d->take_wrap = !d->take_wrap;
		}
	}
	for (unsigned i = 0; i < n; i++) {
		/* the flags of a packed entry lie where a split one has its next */
		struct virtq_desc part[3] = { table[i][0], table[i][1], table[i][2] };

		part[1].flags = part[1].next;
		part[2].flags = part[2].next;
		judge(d, &part[0], &part[1], &part[2], &r[i]);
	}
	return n;
}

static inline void publish_packed(struct device *d, const struct bare *r, unsigned n)
{
	struct virtq_packed_desc *first = &d->q->ring[d->use];
	uint16_t first_flags = 0;

	for (unsigned i = 0; i < n; i++) {
		struct virtq_packed_desc *p = &d->q->ring[d->use];
		uint16_t flags = d->use_wrap ? VIRTQ_DESC_F_AVAIL | VIRTQ_DESC_F_USED : 0;

		p->id = r[i].id;
		p->len = 4097;
		if (i)
			__atomic_store_n(&p->flags, flags, __ATOMIC_RELEASE);
		else
			first_flags = flags;
		if (++d->use == d->q->size) {
			d->use = 0;
			d->use_wrap = !d->use_wrap;
		}
	}
	/* release: the whole batch before its first entry */
	__atomic_store_n(&first->flags, first_flags, __ATOMIC_RELEASE);
}

static void *device_run(void *arg)
{
	struct device *d = arg;
	struct bare r[BATCH];

	if (d->cpu >= 0)
		cpus_pin((unsigned)d->cpu, NULL);
	while (!__atomic_load_n(&d->stop, __ATOMIC_RELAXED)) {
		unsigned n = d->q->packed ? take_packed(d, r) : take_split(d, r);

		if (!n)
			continue;
		for (unsigned i = 0; i < n; i++)
			answer(&r[i]);
		if (d->q->packed)
			publish_packed(d, r, n);
		else
			publish_split(d, r, n);
	}
	return NULL;
}

static int open_queue(const struct bare_ring_conf *conf, uint16_t depth, struct client **ret)
{
	struct client_conf cc = { .depth = depth, .packed = conf->packed, .no_event_idx = true,
				  .no_indirect = conf->direct && !conf->packed };
	int rc = client_raw_open(&cc, -1, ret);

	if (rc)
		return rc;
	(*ret)->config.capacity = DISK_SECTORS;
	if (conf->packed)
		(*ret)->queue[0].device_event->flags = VIRTQ_PACKED_EVENT_F_DISABLE;
	else
		(*ret)->queue[0].used->flags = VIRTQ_USED_F_NO_NOTIFY;
	return 0;
}

int bare_ring(const struct bare_ring_conf *conf, const struct client_load *load,
	      struct client_bench_result *ret)
{
	struct client *c = NULL;
	pthread_t t;

	*ret = (struct client_bench_result){ .step = "run a bare ring" };
	if (load->read_pct != 100 || load->bs_b != 4096)
		return -EINVAL;
	int rc = open_queue(conf, load->depth, &c);

	if (rc)
		return rc;
	struct device d = { .q = &c->queue[0], .base = CLIENT_MEM_GUEST_BASE,
			    .len_b = c->mem.len_b, .host = c->mem.host, .take_wrap = true,
			    .use_wrap = true, .cpu = conf->peer };
	uint64_t cpu_ns = bare_cpu_ns();

	rc = -pthread_create(&t, NULL, device_run, &d);
	if (!rc) {
		rc = client_load_run(c, load, ret);
		__atomic_store_n(&d.stop, true, __ATOMIC_RELAXED);
		pthread_join(t, NULL);
		ret->cpu_ns = bare_cpu_ns() - cpu_ns;
	}
	client_close(c);
	return rc;
}
