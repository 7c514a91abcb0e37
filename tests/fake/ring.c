/* SPDX-License-Identifier: Apache-2.0 */
/* The fake guest's driver: both ring formats, by hand. */
#include <sys/eventfd.h>
#include <unistd.h>

#include "tests/fake/guest.h"

struct fake_queue *fake_queue(struct fake *g, unsigned i)
{
	struct fake_queue *q = calloc(1, sizeof(*q));

	assert_non_null(q);
	q->g = g;
	q->index = i;
	q->size = g->conf.size;
	q->packed = g->conf.packed;
	q->event_idx = !g->conf.no_event_idx;
	q->desc = fake_alloc(g, VIRTQ_DESC_BYTES(q->size), 4096);
	q->avail = fake_alloc(g, VIRTQ_AVAIL_BYTES(q->size), 4096);
	q->used = fake_alloc(g, VIRTQ_USED_BYTES(q->size), 4096);
	q->put_wrap = q->used_wrap = true;
	q->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	q->call_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	q->err_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	g->q[i] = q;
	return q;
}

void fake_write(struct fake_queue *q, uint16_t i, struct fake_desc d, uint16_t next)
{
	if (!q->packed) {
		q->desc[i] = (struct virtq_desc){ htole64(d.at), htole32(d.len_b),
						  htole16(d.flags), htole16(next) };
		return;
	}
	uint16_t flags = d.flags | (uint16_t)(q->put_wrap ? VIRTQ_DESC_F_AVAIL : VIRTQ_DESC_F_USED);
	struct virtq_packed_desc *p = &q->pdesc[q->put_idx];

	p->addr = htole64(d.at);
	p->len = htole32(d.len_b);
	p->id = htole16(next);
	if (q->unpublished++)
		p->flags = htole16(flags);
	else
		q->first_flags = flags;
	if (++q->put_idx == q->size) {
		q->put_idx = 0;
		q->put_wrap = !q->put_wrap;
	}
}

void fake_put_head(struct fake_queue *q, uint16_t head)
{
	q->avail->ring[q->put_idx++ & (q->size - 1)] = htole16(head);
}

static uint16_t put_split(struct fake_queue *q, const struct fake_desc *d, unsigned n)
{
	uint16_t head = q->next_desc, at = head;

	for (unsigned i = 0; i < n; i++) {
		uint16_t next = (uint16_t)((at + 1) % q->size);
		struct fake_desc one = d[i];

		if (i + 1 < n)
			one.flags |= VIRTQ_DESC_F_NEXT;
		fake_write(q, at, one, next);
		at = next;
	}
	q->next_desc = at;
	fake_put_head(q, head);
	return head;
}

static uint16_t put_packed(struct fake_queue *q, const struct fake_desc *d, unsigned n)
{
	uint16_t id = q->next_id++ % ARRAY_SIZE(q->slots_of);

	for (unsigned i = 0; i < n; i++) {
		struct fake_desc one = d[i];

		if (i + 1 < n)
			one.flags |= VIRTQ_DESC_F_NEXT;
		/* 2.8.13: the id counts in the last one alone */
		fake_write(q, 0, one, i + 1 < n ? (uint16_t)(id ^ 0x5555) : id);
	}
	q->slots_of[id] = (uint16_t)n;
	return id;
}

uint16_t fake_put(struct fake_queue *q, const struct fake_desc *d, unsigned n)
{
	return q->packed ? put_packed(q, d, n) : put_split(q, d, n);
}

uint16_t fake_put_indirect(struct fake_queue *q, const struct fake_desc *d, unsigned n)
{
	uint32_t len_b = (uint32_t)(n * sizeof(struct virtq_desc));
	struct virtq_desc *t = fake_alloc(q->g, len_b, 16);

	for (unsigned i = 0; i < n; i++) {
		if (q->packed)
			((struct virtq_packed_desc *)t)[i] = (struct virtq_packed_desc){
				htole64(d[i].at), htole32(d[i].len_b), 0, htole16(d[i].flags) };
		else
			t[i] = (struct virtq_desc){
				htole64(d[i].at), htole32(d[i].len_b),
				htole16(d[i].flags | (uint16_t)(i + 1 < n ? VIRTQ_DESC_F_NEXT : 0)),
				htole16((uint16_t)(i + 1)) };
	}
	struct fake_desc one = { fake_gpa(q->g, t), len_b, VIRTQ_DESC_F_INDIRECT };

	return fake_put(q, &one, 1);
}

void fake_publish(struct fake_queue *q)
{
	if (!q->packed)
		__atomic_store_n(&q->avail->idx, htole16(q->put_idx), __ATOMIC_RELEASE);
	else if (q->unpublished)
		__atomic_store_n(&q->pdesc[q->published_idx].flags, htole16(q->first_flags),
				 __ATOMIC_RELEASE);
	q->published_idx = q->put_idx;
	q->unpublished = 0;
}

static bool reap_split(struct fake_queue *q, uint16_t *ret_id, uint32_t *ret_len)
{
	if (le16toh(__atomic_load_n(&q->used->idx, __ATOMIC_ACQUIRE)) == q->used_idx)
		return false;
	const struct virtq_used_elem *e = &q->used->ring[q->used_idx++ & (q->size - 1)];

	*ret_id = (uint16_t)le32toh(e->id);
	*ret_len = le32toh(e->len);
	return true;
}

static bool reap_packed(struct fake_queue *q, uint16_t *ret_id, uint32_t *ret_len)
{
	const struct virtq_packed_desc *d = &q->pdesc[q->used_idx];
	uint16_t flags = le16toh(__atomic_load_n(&d->flags, __ATOMIC_ACQUIRE));

	if (!!(flags & VIRTQ_DESC_F_AVAIL) != q->used_wrap ||
	    !!(flags & VIRTQ_DESC_F_USED) != q->used_wrap)
		return false;
	*ret_id = le16toh(d->id);
	*ret_len = le32toh(d->len);
	assert_true(*ret_id < ARRAY_SIZE(q->slots_of) && q->slots_of[*ret_id]);
	q->used_idx = (uint16_t)(q->used_idx + q->slots_of[*ret_id]);
	if (q->used_idx >= q->size) {
		q->used_idx = (uint16_t)(q->used_idx - q->size);
		q->used_wrap = !q->used_wrap;
	}
	return true;
}

bool fake_reap(struct fake_queue *q, uint16_t *ret_id, uint32_t *ret_len)
{
	return q->packed ? reap_packed(q, ret_id, ret_len) : reap_split(q, ret_id, ret_len);
}

unsigned fake_reap_all(struct fake_queue *q)
{
	unsigned n = 0;
	uint16_t id;
	uint32_t len;

	while (fake_reap(q, &id, &len))
		n++;
	return n;
}

void fake_kick(struct fake_queue *q)
{
	static const uint64_t one = 1;

	assert_int_equal(write(q->kick_fd, &one, sizeof(one)), sizeof(one));
}

bool fake_must_kick(const struct fake_queue *q, uint16_t n)
{
	if (!q->packed && !q->event_idx)
		return !(le16toh(q->used->flags) & VIRTQ_USED_F_NO_NOTIFY);
	if (!q->packed) {
		uint16_t event;

		memcpy(&event, &q->used->ring[q->size], sizeof(event));
		return vq_need_event(le16toh(event), q->put_idx, (uint16_t)(q->put_idx - n));
	}
	uint16_t flags = le16toh(q->device_event->flags);

	if (flags != VIRTQ_PACKED_EVENT_F_DESC)
		return flags == VIRTQ_PACKED_EVENT_F_ENABLE;
	/* 2.8.10.1 */
	uint16_t word = le16toh(q->device_event->desc), event = word & (VIRTQ_PACKED_WRAP - 1);

	if (!!(word & VIRTQ_PACKED_WRAP) != q->put_wrap)
		event = (uint16_t)(event - q->size);
	return vq_need_event(event, q->put_idx, (uint16_t)(q->put_idx - n));
}

unsigned fake_calls(struct fake_queue *q)
{
	uint64_t n = 0;

	return read(q->call_fd, &n, sizeof(n)) == sizeof(n) ? (unsigned)n : 0;
}

void fake_want_call(struct fake_queue *q)
{
	uint16_t here = htole16((uint16_t)(q->used_idx | (q->used_wrap ? VIRTQ_PACKED_WRAP : 0)));

	if (!q->packed) {
		q->avail->flags = 0;
		if (q->event_idx)
			q->avail->ring[q->size] = htole16(q->used_idx);
		return;
	}
	q->driver_event->desc = here;
	q->driver_event->flags = htole16(q->event_idx ? VIRTQ_PACKED_EVENT_F_DESC :
							VIRTQ_PACKED_EVENT_F_ENABLE);
}

void fake_want_no_call(struct fake_queue *q)
{
	if (q->packed) {
		q->driver_event->flags = htole16(VIRTQ_PACKED_EVENT_F_DISABLE);
		return;
	}
	q->avail->flags = htole16(VIRTQ_AVAIL_F_NO_INTERRUPT);
	if (q->event_idx)
		q->avail->ring[q->size] = htole16((uint16_t)(q->used_idx - 1));
}

static bool is_in(uint32_t type)
{
	return type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_GET_ID;
}

struct fake_req fake_req(struct fake *g, uint32_t type, uint64_t sector, uint32_t len_b)
{
	struct fake_req r = { .hdr = fake_alloc(g, sizeof(*r.hdr) + 16, 64), .len_b = len_b,
			      .in = is_in(type) };

	*r.hdr = (struct virtio_blk_hdr){ htole32(type), 0, htole64(sector) };
	r.status = (uint8_t *)(r.hdr + 1);
	*r.status = FAKE_PENDING;
	if (len_b)
		r.data = fake_alloc(g, len_b, 512);
	return r;
}

void fake_put_req(struct fake_queue *q, struct fake_req *r)
{
	struct fake_desc d[3];
	unsigned n = 0;

	d[n++] = fake_out(q->g, r->hdr, sizeof(*r->hdr));
	if (r->len_b)
		d[n++] = r->in ? fake_in(q->g, r->data, r->len_b) :
				 fake_out(q->g, r->data, r->len_b);
	d[n++] = fake_in(q->g, r->status, 1);
	*r->status = FAKE_PENDING;
	r->id = fake_put(q, d, n);
}

unsigned fake_do(struct fake_queue *q, struct fake_req *r)
{
	uint16_t id = 0;
	uint32_t len;

	fake_put_req(q, r);
	fake_publish(q);
	fake_settle(q->g);
	assert_true(fake_reap(q, &id, &len));
	assert_int_equal(id, r->id);
	return *r->status;
}

struct fake_req fake_stop_disk(struct fake *g, uint32_t len_b, enum req_status status)
{
	struct fake_req r = fake_req(g, VIRTIO_BLK_T_OUT, 8, len_b);

	disk_set_care(g->disk, &(struct disk_care){ .stops = true });
	memset(r.data, 0x77, len_b);
	fake_put_req(g->q[0], &r);
	fake_publish(g->q[0]);
	fake_settle(g);
	script_release(g->medium, 0, status);
	fake_settle(g);
	assert_int_equal(*r.status, FAKE_PENDING);
	return r;
}

bool fake_run(struct fake_queue *q, const struct fake_desc *d, unsigned n)
{
	uint16_t want = fake_put(q, d, n), id;
	uint32_t len;

	fake_publish(q);
	fake_settle(q->g);
	if (!fake_reap(q, &id, &len))
		return false;
	assert_int_equal(id, want);
	return true;
}

void fake_assert_alive(struct fake *g, unsigned i)
{
	struct fake_req r = fake_req(g, VIRTIO_BLK_T_IN, 0, 512);

	if (fake_broken(g, i))
		fail_msg("queue %u is broken: %s", i, fake_broken(g, i));
	assert_int_equal(fake_do(g->q[i], &r), VIRTIO_BLK_S_OK);
}
