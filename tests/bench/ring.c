/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `ring`: the bare ring loop. What a device does that judges every address, answers every read
 * with OK and does nothing else: no requests, no statistics, no in-flight region, no deadlines,
 * no second queue. The same client drives it, so the difference to a real target is the target.
 *   cpu= peer= packed=0|1 direct=0|1 depth= ms= warm=
 */
#include <pthread.h>
#include <stdio.h>

#include "client/bench.h"
#include "client/raw.h"
#include "tests/bench/tool.h"

#define BATCH 32u
#define DISK_SECTORS (1ull << 21)

struct device {
	struct client_queue *q;
	uint64_t base, len_b; /* guest memory, one region */
	uint8_t *host;
	unsigned cpu;
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
	if (!ret->hdr || !ret->status || !host_of(d, b->addr, b->len) ||
	    a->len < sizeof(struct virtio_blk_hdr) || !(b->flags & c->flags & VIRTQ_DESC_F_WRITE))
		die("bare ring: a descriptor", EINVAL);
	__builtin_prefetch(ret->hdr, 1);
}

static inline void answer(const struct bare *r)
{
	if (r->hdr->type > VIRTIO_BLK_T_OUT || r->hdr->sector > DISK_SECTORS - 8)
		die("bare ring: a header", EINVAL);
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
			if (!a)
				die("bare ring: a table", EINVAL);
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
		if (!table[n])
			die("bare ring: a table", EINVAL);
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

	pin_thread(d->cpu);
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

static struct client *open_queue(char **args)
{
	struct client_conf conf = {
		.depth = (uint16_t)arg_num(args, "depth", 1),
		.packed = arg_num(args, "packed", 0),
		.no_indirect = arg_num(args, "direct", 0) && !arg_num(args, "packed", 0),
		.no_event_idx = true,
	};
	struct client *c;
	int rc = client_raw_open(&conf, -1, &c);

	if (rc)
		die("bare ring: memory", rc);
	c->config.capacity = DISK_SECTORS;
	if (conf.packed)
		c->queue[0].device_event->flags = VIRTQ_PACKED_EVENT_F_DISABLE;
	else
		c->queue[0].used->flags = VIRTQ_USED_F_NO_NOTIFY;
	return c;
}

int tool_ring(char **args)
{
	struct client *c = open_queue(args);
	struct device d = { .q = &c->queue[0], .base = CLIENT_MEM_GUEST_BASE,
			    .len_b = c->mem.len_b, .host = c->mem.host, .take_wrap = true,
			    .use_wrap = true, .cpu = (unsigned)arg_num(args, "peer", 0) };
	struct client_load load = { .read_pct = 100, .bs_b = 4096,
				    .warm_ns = arg_num(args, "warm", 100) * NS_PER_MS,
				    .run_ns = arg_num(args, "ms", 1000) * NS_PER_MS };
	struct client_bench_result r = { 0 };
	pthread_t t;

	pin_thread((unsigned)arg_num(args, "cpu", 1));
	if (pthread_create(&t, NULL, device_run, &d))
		die("start a thread", 0);
	int rc = client_load_run(c, &load, &r);

	__atomic_store_n(&d.stop, true, __ATOMIC_RELAXED);
	pthread_join(t, NULL);
	client_close(c);
	if (rc)
		die("bare ring", rc);
	printf("{\"iops\": %.0f, \"p50\": %.1f, \"p99\": %.1f}\n", r.iops, r.p50_ns, r.p99_ns);
	return 0;
}
