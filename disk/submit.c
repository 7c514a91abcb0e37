/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a disk asks of each request before it goes down the chain.
 */
#include "disk/disk.h"

static inline enum req_status judge(const struct lane *l, const struct req *r)
{
	if (unlikely(!range_inside(r->off_b, r->len_b, l->size_b) ||
		     ((r->off_b | r->len_b) & l->blk_mask)))
		return REQ_RANGE;
	if (likely(r->op == REQ_READ))
		return REQ_OK;
	if (unlikely(l->readonly && req_changes_data(r)))
		return REQ_RDONLY;
	if (unlikely((r->op == REQ_DISCARD && !l->has_discard) ||
		     (r->op == REQ_ZEROES && !l->has_zeroes)))
		return REQ_UNSUPP;
	return REQ_OK;
}

void disk_submit(struct lane *l, struct req **reqs, unsigned n)
{
	unsigned ended = 0;

	for (unsigned i = 0; !l->synchronous && i < n; i++) {
		reqs[i]->since_ticks = reqs[i]->taken_ticks;
		list_add_tail(&l->inflight, &reqs[i]->link);
	}
	for (unsigned i = 0; i < n; i++) {
		struct req *r = reqs[i];
		enum req_status s = judge(l, r);

		/* refused, or a range of nothing: it ends here */
		if (unlikely(s != REQ_OK || (!r->len_b && r->op != REQ_FLUSH))) {
			r->status = (uint8_t)(s == REQ_OK && r->op <= REQ_WRITE ? REQ_RANGE : s);
			lane_end(r);
			reqs[i] = NULL;
			ended++;
		}
	}
	if (unlikely(ended))
		n = reqs_close_ranks(reqs, n);
	if (l->gate.ops)
		n = l->gate.ops->gate(l->gate.state, reqs, n);
	if (likely(n))
		chain_submit(l, reqs, n);
}
