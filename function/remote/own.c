/* SPDX-License-Identifier: Apache-2.0 */
/*
 * I/O of the program's own, to what is below it in the chain. Each is a request of
 * the poller's store, of which the lane has FN_IO_MAX reserved; it goes on at the
 * poller's next look at what was resumed, and turns round when it is back at our step.
 */
#include "function/remote/private.h"

#define NONE FN_IO_MAX

static bool makes_sense(const struct remote_lane *l, struct fn_word w, const struct fn_entry *e)
{
	if (w.op >= FN_OPS || w.slot >= FN_ALL_SLOTS || l->io_free == NONE)
		return false;
	if (w.slot < FN_SLOTS && l->slot[w.slot].place != SLOT_SENT)
		return false;
	return w.op > FN_WRITE || range_inside(e->buf_off_b, e->len_b, FN_BUF_B);
}

/* As a disk judges what a guest asks. */
static enum req_status judge(const struct remote_lane *l, const struct req *r)
{
	const struct lane *at = l->lane;

	if (!range_inside(r->off_b, r->len_b, l->below_b) ||
	    (r->off_b | r->len_b) & at->blk_mask || (!r->len_b && r->op != REQ_FLUSH))
		return REQ_RANGE;
	if (at->readonly && req_changes_data(r))
		return REQ_RDONLY;
	if ((r->op == REQ_DISCARD && !at->has_discard) || (r->op == REQ_ZEROES && !at->has_zeroes))
		return REQ_UNSUPP;
	return REQ_OK;
}

static void tell_program(struct remote_lane *l, const struct own_io *io, enum req_status status)
{
	struct fn_word w = { .slot = io->slot, .status = (uint8_t)status, .kind = FN_IO_DONE };

	ring_put(&l->ring, w, 0, 0, io->arg);
	remote_look(l);
}

static struct req *make_req(struct remote_lane *l, struct fn_word w, const struct fn_entry *e,
			    unsigned index)
{
	struct req *r = slab_get(&l->lane->poller->slab);

	if (!r)
		return NULL;
	req_init(r, w.op <= FN_WRITE, 0);
	r->lane = l->lane;
	r->op = w.op;
	r->flags = (uint8_t)(REQ_F_STEPS | (w.flags & (REQ_F_FUA | REQ_F_UNMAP)));
	r->off_b = e->off_b;
	r->len_b = e->len_b;
	r->seg[0] = (struct seg){ .host = l->bufs + (size_t)w.slot * FN_BUF_B + e->buf_off_b,
				  .len_b = e->len_b };
	r->taken_ticks = r->since_ticks = l->lane->poller->now_ticks;
	r->owner = &l->io_owner;
	r->step = l->step;
	r->front[0] = index;
	return r;
}

const char *own_io_take(struct remote_lane *l, struct fn_word w, const struct fn_entry *e)
{
	if (l->mode == FN_OBSERVE || !l->own_io_token || !makes_sense(l, w, e))
		return "it asks for I/O of its own that makes no sense";
	unsigned index = l->io_free;
	struct own_io *io = &l->io[index];
	struct req *r = make_req(l, w, e, index);

	if (!r)
		return "there is no request for its own I/O";
	*io = (struct own_io){ .arg = e->arg, .slot = w.slot, .next_free = io->next_free };
	enum req_status status = judge(l, r);

	if (status != REQ_OK) {
		slab_put(&l->lane->poller->slab, r);
		tell_program(l, io, status);
		return NULL;
	}
	io->in_flight = true;
	l->io_free = io->next_free;
	l->nio++;
	if (w.slot < FN_SLOTS)
		l->slot[w.slot].nio++;
	stat_add(&l->stats.own_io, 1);
	chain_resume(r);
	return NULL;
}

void own_io_await(struct remote_lane *l)
{
	for (unsigned i = 0; i < FN_IO_MAX; i++) {
		if (!l->io[i].in_flight || l->io[i].awaited)
			continue;
		l->io[i].awaited = true;
		l->nawaited++;
	}
}

void own_io_done(struct remote_lane *l, struct req *r)
{
	unsigned index = (unsigned)r->front[0];
	struct own_io *io = &l->io[index];

	if (io->slot < FN_SLOTS)
		l->slot[io->slot].nio--;
	if (!io->orphan)
		tell_program(l, io, (enum req_status)r->status);
	if (unlikely(io->awaited) && !--l->nawaited)
		l->front_ticks = l->lane->poller->now_ticks;
	io->in_flight = io->awaited = false;
	slab_put(&l->lane->poller->slab, r);
	io->next_free = l->io_free;
	l->io_free = (uint16_t)index;
	l->nio--;
}
