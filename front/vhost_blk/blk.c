/* SPDX-License-Identifier: Apache-2.0 */
#include "front/vhost_blk/blk.h"

#include "front/vhost_blk/config.h"

/* Marks what @r had written, whatever it is. */
static void log_data(struct vq *q, const struct req *r)
{
	for (unsigned i = 0; i < r->nseg; i++) {
		const struct gregion *g = r->seg[i].reg;

		dirty_mark(q->log, g->base_b + (uint64_t)((uint8_t *)r->seg[i].host - g->host),
			   r->seg[i].len_b);
	}
}

/* What of a region a log has bits for, if each of its pages is one of the log's. */
struct log_view {
	const uint8_t *bits;
	uintptr_t host;
	uint64_t len_b, page; /* of the region's beginning */
};

static struct log_view log_view_of(const struct dirty_log *log, const struct gregion *g)
{
	struct log_view v = { log->map + log->off_b, (uintptr_t)g->host, 0,
			      g->base_b / VHOST_USER_LOG_PAGE_B };
	uint64_t npage = log->size_b * 8;

	if (!(g->base_b % VHOST_USER_LOG_PAGE_B) && v.page < npage)
		v.len_b = min_u64(g->len_b, (npage - v.page) * VHOST_USER_LOG_PAGE_B);
	return v;
}

/* Whether [@at, @at + @len_b) is a part of one page, in @v, that is marked already. */
static inline bool is_logged(const struct log_view *v, const void *at, uint32_t len_b)
{
	uint64_t off_b = (uintptr_t)at - v->host;

	return off_b < v->len_b &&
	       off_b % VHOST_USER_LOG_PAGE_B + len_b <= VHOST_USER_LOG_PAGE_B &&
	       dirty_is_set(v->bits, v->page + off_b / VHOST_USER_LOG_PAGE_B);
}

/* Whether there is nothing to do: most often a guest reads into pages that it has read into before.
 * Apart from what is to be done otherwise, for the sake of the registers. */
static inline bool are_logged(const struct log_view *v, struct req *const *reqs, unsigned n)
{
	uintptr_t last = 0;

	for (unsigned i = 0; i < n; i++) {
		const struct req *r = reqs[i];
		const struct blk_priv *b = blk_priv(reqs[i]);
		uintptr_t at = (uintptr_t)b->status;

		/* one segment is always in the request itself */
		if (b->data == BLK_IN &&
		    unlikely(r->nseg != 1 || !is_logged(v, r->inl[0].host, r->inl[0].len_b)))
			return false;
		/* often in the page of the one before */
		if ((at ^ last) / VHOST_USER_LOG_PAGE_B && unlikely(!is_logged(v, b->status, 1)))
			return false;
		last = at;
	}
	return true;
}

void blk_log(struct vq *q, struct req *const *reqs, unsigned n)
{
	const struct log_view v = log_view_of(q->log, q->view.last);

	dirty_begin();
	if (likely(are_logged(&v, reqs, n)))
		return;
	for (unsigned i = 0; i < n; i++) {
		const struct blk_priv *b = blk_priv(reqs[i]);

		if (b->data == BLK_IN)
			log_data(q, reqs[i]);
		if (b->status != &q->no_status)
			dirty_mark(q->log, gmem_of_host(q->view.mem, b->status).v, 1);
	}
}

void blk_end_old(struct vq *q, struct req *const *reqs, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if (blk_tag_gen(blk_priv(reqs[i])->tag) != q->gen)
			q->old_inflight--;
	}
	if (q->replaying && !q->old_inflight)
		vq_replay_ended(q);
}

static void refuse(struct vq *q, struct req *r, enum req_status s)
{
	stat_add(&q->refused, 1);
	r->status = (uint8_t)s;
	q->owner.complete(&r, 1);
}

/* The header's first word and its sector, kept where the medium has nothing yet. */
static void keep_header(struct req *r, const uint64_t w[2])
{
	r->medium[0] = w[0];
	r->medium[1] = w[1];
}

/* Copies @len_b bytes at offset @skip of the device-readable part of @c. Return: false: it is
 * shorter, or outside memory (*ret_fault). */
static bool gather(struct vq *q, const struct vchain *c, void *to, size_t len_b, bool *ret_fault)
{
	struct seg s[BLK_HDR_B];
	uint8_t *p = to;

	for (unsigned i = 0; i < c->n && !c->d[i].in && len_b; i++) {
		uint32_t take_b = (uint32_t)min_u64(c->d[i].len_b, len_b);
		int n = gview_map(&q->view, c->d[i].at, take_b, s, ARRAY_SIZE(s));

		if (n < 0) {
			*ret_fault = true;
			return false;
		}
		for (int k = 0; k < n; k++) {
			memcpy(p, s[k].host, s[k].len_b);
			p += s[k].len_b;
		}
		len_b -= take_b;
	}
	return !len_b;
}

/* Maps the data: of the device-readable part what follows the header, of the writable part all
 * but the last byte. Return: 0; -EFAULT; -E2BIG. */
static int map_data(struct vq *q, const struct vchain *c, struct req *r, uint64_t data_b, bool in)
{
	uint64_t skip_b = in ? 0 : BLK_HDR_B, left_b = data_b;
	unsigned room = REQ_INLINE_SEGS, n = 0;

	for (unsigned i = 0; i < c->n && left_b; i++) {
		const struct vdesc *d = &c->d[i];

		if (d->in != in)
			continue;
		if (d->len_b <= skip_b) {
			skip_b -= d->len_b;
			continue;
		}
		gpa_t at = { d->at.v + skip_b };
		uint64_t run_b = min_u64(d->len_b - skip_b, left_b);
		int k = gview_map(&q->view, at, run_b, r->seg + n, room - n);

		if (k == -E2BIG && room == REQ_INLINE_SEGS) {
			slab_long_get(&q->pe.poller->slab, r);
			memcpy(r->seg, r->inl, n * sizeof(struct seg));
			room = REQ_MAX_SEGS;
			k = gview_map(&q->view, at, run_b, r->seg + n, room - n);
		}
		if (k < 0)
			return k;
		n += (unsigned)k;
		skip_b = 0;
		left_b -= run_b;
	}
	r->nseg = (uint16_t)n;
	return 0;
}

/* Device-readable and device-writable bytes of @c; 2.7.4.2 wants the writable ones last.
 * Return: false: they are not. */
static bool measure(const struct vchain *c, uint64_t *ret_out_b, uint64_t *ret_in_b)
{
	uint64_t out_b = 0, in_b = 0;
	bool ordered = true;

	for (unsigned i = 0; i < c->n; i++) {
		ordered &= c->d[i].in || !in_b;
		*(c->d[i].in ? &in_b : &out_b) += c->d[i].len_b;
	}
	*ret_out_b = out_b;
	*ret_in_b = in_b;
	return ordered;
}

/* The status is the last writable byte (5.2.6). Return: 0; -EFAULT. */
static int find_status(struct vq *q, const struct vchain *c, struct blk_priv *b)
{
	for (unsigned i = c->n; i-- > 0;) {
		const struct vdesc *d = &c->d[i];

		if (!d->in || !d->len_b)
			continue;
		if (d->len_b - 1 > UINT64_MAX - d->at.v)
			return -EFAULT;
		gpa_t at = { d->at.v + d->len_b - 1 };

		return gview_run(&q->view, at, 1, &b->status) ? 0 : -EFAULT;
	}
	return 0;
}

/* Every descriptor must lie in memory, also those that the request does not use. */
static int check_addresses(struct vq *q, const struct vchain *c)
{
	for (unsigned i = 0; i < c->n; i++) {
		gpa_t at = c->d[i].at;
		uint64_t left_b = c->d[i].len_b;

		if (left_b && left_b - 1 > UINT64_MAX - at.v)
			return -EFAULT;
		while (left_b) {
			struct gregion *g = gview_region(&q->view, at);

			if (!g)
				return -EFAULT;
			uint64_t run_b = min_u64(left_b, g->len_b - (at.v - g->base_b));
			at.v += run_b;
			left_b -= run_b;
		}
	}
	return 0;
}

/* Header, data and status, in any layout. Return: as blk_begin_any(). */
static int take_apart(struct vq *q, const struct vchain *c, struct req *r)
{
	struct blk_priv *b = blk_priv(r);
	uint64_t out_b, in_b, hdr[2] = { 0 };
	bool fault = false;
	bool ordered = measure(c, &out_b, &in_b);

	b->data = BLK_BOTH; /* until known better: refused */
	if (check_addresses(q, c) || find_status(q, c, b))
		return -EFAULT;
	b->in_b = (uint32_t)min_u64(in_b, UINT32_MAX);
	if (!ordered || c->too_long || !in_b || !gather(q, c, hdr, BLK_HDR_B, &fault))
		return fault ? -EFAULT : 0;
	hdr[0] = le64toh(hdr[0]);
	hdr[1] = le64toh(hdr[1]);
	keep_header(r, hdr);
	uint64_t data_out_b = out_b - BLK_HDR_B, data_in_b = in_b - 1;
	if (data_out_b && data_in_b)
		return 0;
	r->len_b = data_out_b + data_in_b;
	if (r->len_b > UINT32_MAX)
		return 0;
	int err = map_data(q, c, r, r->len_b, data_in_b);
	if (err == -E2BIG)
		return 0;
	b->data = data_in_b ? BLK_IN : data_out_b ? BLK_OUT : BLK_NONE;
	return err;
}

int blk_begin_any(struct vq *q, struct req *r, const struct vchain *c, struct blk_tag tag)
{
	blk_priv(r)->status = &q->no_status;
	req_init(r, 0, 0);
	r->len_b = 0;
	int err = take_apart(q, c, r);

	if (!err)
		blk_begin(q, r, tag, q->pe.poller->now_ticks);
	return err;
}

/* The byte offset of @sector. Where it does not fit 64 bits the surplus turns up in the lower nine,
 * and no disk takes an offset that is not a multiple of 512. */
static inline uint64_t offset_of(uint64_t sector)
{
	return sector << 9 | sector >> 55;
}

/* GET_ID: 20 bytes, zero-padded (5.2.6). */
static void answer_id(struct vq *q, struct req *r)
{
	const char *id = disk_serial(q->disk);
	size_t left_b = VIRTIO_BLK_ID_BYTES;

	for (unsigned i = 0; i < r->nseg && left_b; i++) {
		size_t n = min_u64(left_b, r->seg[i].len_b);

		memcpy(r->seg[i].host, id, n);
		id += n;
		left_b -= n;
	}
	r->status = REQ_OK;
	q->owner.complete(&r, 1);
}

/* The one range of a discard or write-zeroes: more than max_discard_seg = 1 are not offered. */
static enum req_status read_range(struct req *r)
{
	struct virtio_blk_range range;
	uint64_t w[2];
	uint8_t *p = (uint8_t *)w;
	size_t left_b = sizeof(range);

	if (r->len_b != sizeof(range))
		return REQ_UNSUPP;
	for (unsigned i = 0; i < r->nseg && left_b; i++) {
		memcpy(p, r->seg[i].host, r->seg[i].len_b);
		p += r->seg[i].len_b;
		left_b -= r->seg[i].len_b;
	}
	uint32_t flags = (uint32_t)(le64toh(w[1]) >> 32);
	uint64_t sector = le64toh(w[0]);
	if (flags & ~(uint32_t)VIRTIO_BLK_RANGE_F_UNMAP ||
	    (flags && r->op == REQ_DISCARD)) /* 5.2.6.2 */
		return REQ_UNSUPP;
	if (flags)
		r->flags |= REQ_F_UNMAP;
	r->off_b = offset_of(sector);
	r->len_b = (le64toh(w[1]) & UINT32_MAX) * VIRTIO_BLK_SECTOR_B;
	r->nseg = 0;
	return r->len_b <= RANGE_MAX_B ? REQ_OK : REQ_RANGE; /* 5.2.6.1 */
}

/* Requests other than read and write. Return: whether @r is to be submitted. */
static bool judge_other(struct vq *q, struct req *r, uint32_t type)
{
	struct blk_priv *b = blk_priv(r);
	enum req_status s = REQ_UNSUPP;

	if (b->data == BLK_BOTH) {
		refuse(q, r, REQ_RANGE);
		return false;
	}
	switch (type) {
	case VIRTIO_BLK_T_FLUSH:
		r->op = REQ_FLUSH;
		r->off_b = r->len_b = 0;
		r->nseg = 0;
		return true;
	case VIRTIO_BLK_T_GET_ID:
		if (b->data != BLK_IN) {
			s = REQ_RANGE;
			break;
		}
		answer_id(q, r);
		return false;
	case VIRTIO_BLK_T_DISCARD:
	case VIRTIO_BLK_T_WRITE_ZEROES:
		r->op = type == VIRTIO_BLK_T_DISCARD ? REQ_DISCARD : REQ_ZEROES;
		s = b->data == BLK_OUT ? read_range(r) : REQ_RANGE;
		if (s == REQ_OK && q->write_through)
			r->flags |= REQ_F_FUA;
		break;
	default:
		break;
	}
	if (s == REQ_OK)
		return true;
	refuse(q, r, s);
	return false;
}

/* Return: whether @r is to be submitted; otherwise it has completed. */
static inline bool judge(struct vq *q, struct req *r)
{
	struct blk_priv *b = blk_priv(r);
	uint64_t hdr[2];

	if (likely(r->front_bits & BLK_HEADER_AHEAD))
		read_once_16((void *)(uintptr_t)r->medium[0], hdr);
	else
		memcpy(hdr, r->medium, sizeof(hdr));
	uint32_t type = (uint32_t)hdr[0];
	uint64_t sector = hdr[1];
	if (unlikely(type > VIRTIO_BLK_T_OUT))
		return judge_other(q, r, type);
	/* wrong direction, or no data */
	if (unlikely(b->data != type + 1)) {
		refuse(q, r, REQ_RANGE);
		return false;
	}
	r->op = (uint8_t)type;
	r->off_b = offset_of(sector);
	if (unlikely(q->write_through && type == VIRTIO_BLK_T_OUT))
		r->flags |= REQ_F_FUA;
	return true;
}

void blk_submit(struct vq *q, struct req **reqs, unsigned n)
{
	unsigned ended = 0;

	q->inflight += n;
	for (unsigned i = 0; i < n; i++) {
		if (unlikely(!judge(q, reqs[i]))) {
			reqs[i] = NULL;
			ended++;
		}
	}
	if (unlikely(ended))
		n = reqs_close_ranks(reqs, n);
	if (likely(n))
		disk_submit(q->lane, reqs, n);
}
