/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What both ring formats share: how a poller sees a queue, indirect tables, placing
 * the ring in memory, breaking.
 */
#include "front/vhost_blk/vq.h"

#include <unistd.h>

#include "base/bytes.h"
#include "base/log.h"
#include "front/vhost_blk/blk.h"
#include "front/vhost_blk/control.h"
#include "wire/kept.h"

int vq_place(struct vq *q, const struct gmem *mem, const struct vq_ring *at)
{
	uint64_t n = q->size;
	uint64_t avail_b = q->packed ? sizeof(struct virtq_packed_event) : VIRTQ_AVAIL_BYTES(n);
	uint64_t used_b = q->packed ? sizeof(struct virtq_packed_event) : VIRTQ_USED_BYTES(n);
	uint64_t avail_align = q->packed ? VIRTQ_PACKED_EVENT_ALIGN : VIRTQ_AVAIL_ALIGN;
	gpa_t desc_gpa, used_gpa;

	/* the same number of bytes in both formats */
	void *desc = gmem_of_vmm(mem, at->desc, VIRTQ_DESC_BYTES(n), &desc_gpa);
	void *avail = gmem_of_vmm(mem, at->avail, avail_b, NULL);
	void *used = gmem_of_vmm(mem, at->used, used_b, &used_gpa);
	if (!desc || !avail || !used)
		return -EFAULT;
	if ((uintptr_t)desc % VIRTQ_DESC_ALIGN || (uintptr_t)avail % avail_align ||
	    (uintptr_t)used % VIRTQ_USED_ALIGN)
		return -EINVAL;
	q->desc = desc;
	q->avail = avail;
	q->used = used;
	/* a packed ring's used entries are its descriptors, whatever address the log is given */
	q->used_gpa = q->packed ? desc_gpa.v : at->log ? at->log_gpa : used_gpa.v;
	return 0;
}

void vq_break(struct vq *q, const char *reason)
{
	static const uint64_t one = 1;

	if (q->broken)
		return;
	__atomic_store_n(&q->broken, reason, __ATOMIC_RELAXED);
	log_error(q->name, "queue %u is stopped, its ring is broken: %s", q->index, reason);
	if (q->err_fd >= 0)
		(void)!write(q->err_fd, &one, sizeof(one));
	/* who waits for a replay to end waits no longer; with nothing in flight nobody else says
	 * so */
	poller_dirty(q->pe.poller, &q->pe);
}

void vq_replay_taken(struct vq *q)
{
	if (q->next_replay < q->nreplay)
		return;
	/* what is in flight now, and nothing that comes, counts as of an older table: the end of it
	 * is noticed without a look at each request */
	q->gen += VQ_GEN_STEP;
	q->old_inflight = q->inflight;
	q->replaying = true;
	if (!q->old_inflight)
		vq_replay_ended(q);
}

void vq_replay_ended(struct vq *q)
{
	static const uint64_t one = 1;

	q->replaying = false;
	/* relaxed: a word by itself; the front's thread may change it at the same time */
	if (__atomic_exchange_n(q->replay_mark, KEPT_REPLAY_NONE, __ATOMIC_RELAXED) ==
	    KEPT_REPLAY_ALONE)
		(void)!write(q->replay_fd, &one, sizeof(one));
}

void vq_call(struct vq *q)
{
	static const uint64_t one = 1;

	if (q->call_fd < 0)
		return;
	stat_add(&q->calls, 1);
	(void)!write(q->call_fd, &one, sizeof(one));
}

int vq_fetch_indirect(struct vq *q, gpa_t at, uint32_t len_b, bool chained, struct vchain *c,
		      const char **ret_reason)
{
	unsigned n = len_b / (unsigned)sizeof(struct virtq_desc), i = 0;
	/* 2.7.5.3.1 allows a ring's worth; drivers of small rings send more. Without a bound, a
	 * table of gigabytes would keep the poller from all other queues. */
	unsigned most = q->size > VCHAIN_MAX ? q->size : VCHAIN_MAX;
	const uint8_t *table;

	*ret_reason = "indirect table that is no table, or outside memory";
	if (!len_b || len_b % sizeof(struct virtq_desc) || !gview_run(&q->view, at, len_b, &table))
		return -EINVAL;
	for (unsigned steps = 1;; steps++) {
		uint64_t w[2];

		read_once_16(table + i * sizeof(struct virtq_desc), w);
		/* flags and next (split), id and flags (packed) */
		uint16_t flags = (uint16_t)(w[1] >> (chained ? 32 : 48));
		if (unlikely(flags & VIRTQ_DESC_F_INDIRECT)) {
			*ret_reason = "indirect descriptor inside an indirect table";
			return -EINVAL;
		}
		vchain_add(c, w[0], (uint32_t)w[1], flags);
		/* 2.8.8: a packed table is used whole, NEXT or not */
		if (chained ? !(flags & VIRTQ_DESC_F_NEXT) : steps == n)
			return 0;
		i = chained ? (unsigned)(w[1] >> 48) : i + 1;
		if (unlikely(i >= n || steps >= n || steps > most)) {
			*ret_reason = i >= n ? "next descriptor beyond the indirect table" :
				      steps >= n ? "indirect table is a loop" :
						   "indirect chain longer than the ring";
			return -EINVAL;
		}
	}
}

static struct vq *of(struct pollee *pe)
{
	return container_of(pe, struct vq, pe);
}

static int turn(struct pollee *pe)
{
	struct vq *q = of(pe);

	/* what a predecessor had taken counts as taken: a drain carries it to its end */
	if (unlikely((q->draining && q->next_replay == q->nreplay) || q->broken))
		return 0;
	return q->packed ? packed_turn(q) : split_turn(q);
}

static void publish(struct pollee *pe)
{
	struct vq *q = of(pe);

	if (q->npushed) {
		if (q->packed)
			packed_publish(q);
		else
			split_publish(q);
		q->npushed = 0;
	}
	if (unlikely(q->drain))
		vq_drain_check(q);
}

static void notify(struct vq *q, enum vq_notify on)
{
	if (q->packed)
		packed_notify(q, on);
	else
		split_notify(q, on);
}

static void disarm(struct pollee *pe)
{
	struct vq *q = of(pe);

	if (!q->draining)
		notify(q, VQ_NOTIFY_OFF);
}

static bool arm(struct pollee *pe)
{
	struct vq *q = of(pe);

	if (q->draining || q->broken)
		return false;
	notify(q, VQ_NOTIFY_ON);
	/* seq_cst: the request to be notified before our last look; pairs with the driver's barrier
	 * between making available and looking whether to notify (2.7.13.4.1, 2.8.21.3.1) */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!(q->packed ? packed_has_work(q) : split_has_work(q)))
		return false;
	notify(q, VQ_NOTIFY_OFF);
	return true;
}

const struct pollee_ops vq_pollee_ops = {
	.turn = turn,
	.publish = publish,
	.arm = arm,
	.disarm = disarm,
};

bool vq_forget(struct req *r)
{
	struct vq *q = blk_queue(r);
	struct blk_tag tag = blk_priv(r)->tag;

	/* A region of our own goes with the queue; a migration takes the disk elsewhere, and the
	 * region stays here. */
	if (!q->track_returns || q->log)
		return false;
	blk_end_old(q, &r, 1);
	q->slots_inflight -= blk_tag_slots(tag);
	q->inflight--;
	slab_put(&q->pe.poller->slab, r);
	/* somebody waits for it to be the last */
	poller_dirty(q->pe.poller, &q->pe);
	return true;
}

void vq_log_used(struct vq *q)
{
	uint64_t split_b = (uint64_t)((uint8_t *)&q->used->ring[q->size] - (uint8_t *)q->used);

	dirty_mark(q->log, q->used_gpa, q->packed ? q->size * sizeof(struct virtq_packed_desc) :
						    split_b);
}
