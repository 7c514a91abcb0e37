/* SPDX-License-Identifier: Apache-2.0 */
#include "core/bounce.h"

#include <sys/mman.h>

int bounce_pool_init(struct bounce_pool *p)
{
	*p = (struct bounce_pool){ 0 };
	list_init(&p->waiting);
	p->mem = mmap(NULL, BOUNCE_BUF_B * BOUNCE_BUFS, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p->mem == MAP_FAILED) {
		p->mem = NULL;
		return -ENOMEM;
	}
	for (unsigned i = BOUNCE_BUFS; i-- > 0;) {
		p->all[i].buf = (char *)p->mem + (size_t)i * BOUNCE_BUF_B;
		p->all[i].next_free = p->free;
		p->free = &p->all[i];
	}
	return 0;
}

void bounce_pool_fini(struct bounce_pool *p)
{
	if (p->mem)
		munmap(p->mem, BOUNCE_BUF_B * BOUNCE_BUFS);
	p->mem = NULL;
}

/* Copies between the buffer and the piece of the request that it stands for. */
static void copy_piece(const struct bounce *b, uint64_t len_b, enum segs_way way)
{
	segs_copy(b->was_seg, b->was_nseg, b->done_b, b->buf, len_b, way);
}

static void set_piece(struct bounce *b, struct req *r)
{
	uint64_t len_b = min_u64(b->was_len_b - b->done_b, BOUNCE_BUF_B);

	r->off_b = b->was_off_b + b->done_b;
	r->len_b = len_b;
	b->seg.len_b = (uint32_t)len_b;
	if (r->op == REQ_WRITE)
		copy_piece(b, len_b, SEGS_TO_BUF);
}

bool bounce_begin(struct bounce_pool *p, struct req *r)
{
	struct bounce *b = p->free;

	if (!b) {
		r->flags |= REQ_F_AGAIN;
		list_add_tail(&p->waiting, &r->hold);
		return false;
	}
	p->free = b->next_free;
	b->was_seg = r->seg;
	b->was_nseg = r->nseg;
	b->was_off_b = r->off_b;
	b->was_len_b = r->len_b;
	b->done_b = 0;
	b->step = r->step;
	b->seg = (struct seg){ .host = b->buf };
	r->bounce = b;
	r->flags |= REQ_F_BOUNCED;
	r->seg = &b->seg;
	r->nseg = 1;
	set_piece(b, r);
	return true;
}

bool bounce_advance(struct bounce_pool *p, struct req *r)
{
	struct bounce *b = r->bounce;

	if (r->status == REQ_OK) {
		if (r->op == REQ_READ)
			copy_piece(b, r->len_b, SEGS_FROM_BUF);
		b->done_b += r->len_b;
		if (b->done_b < b->was_len_b) {
			set_piece(b, r);
			return false;
		}
	}
	r->seg = b->was_seg;
	r->nseg = b->was_nseg;
	r->off_b = b->was_off_b;
	r->len_b = b->was_len_b;
	r->flags &= (uint8_t)~REQ_F_BOUNCED;
	b->next_free = p->free;
	p->free = b;
	return true;
}
