/* SPDX-License-Identifier: Apache-2.0 */
#include "core/guard.h"

#include <stdlib.h>
#include <sys/mman.h>

/* An orphan of another lane may end at any time; nobody tells. */
#define FENCE_LOOK_NS (5 * NS_PER_MS)

bool fence_overlaps(const struct fence *f, uint64_t off_b, uint64_t len_b)
{
	for (unsigned i = 0; i < FENCE_MAX; i++) {
		if (!__atomic_load_n(&f->range[i].taken, __ATOMIC_RELAXED))
			continue;
		uint64_t at_b = __atomic_load_n(&f->range[i].off_b, __ATOMIC_RELAXED);
		uint64_t n_b = __atomic_load_n(&f->range[i].len_b, __ATOMIC_RELAXED);

		/* both lie within the disk, so that the differences are theirs */
		if (at_b < off_b ? off_b - at_b < n_b : at_b - off_b < len_b)
			return true;
	}
	return false;
}

/* Return: the range's index; -1: there is no room. */
static int fence_add(struct fence *f, uint64_t off_b, uint64_t len_b)
{
	for (int i = 0; i < FENCE_MAX; i++) {
		unsigned none = 0;

		if (!__atomic_compare_exchange_n(&f->range[i].taken, &none, 1, false,
						 __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
			continue;
		__atomic_store_n(&f->range[i].off_b, off_b, __ATOMIC_RELAXED);
		__atomic_store_n(&f->range[i].len_b, len_b, __ATOMIC_RELAXED);
		__atomic_fetch_add(&f->n, 1, __ATOMIC_RELAXED);
		return i;
	}
	return -1;
}

static void fence_del(struct fence *f, int i)
{
	/* release: pairs with the acquire in fence_add(), so that ours were the earlier stores */
	__atomic_store_n(&f->range[i].taken, 0, __ATOMIC_RELEASE);
	__atomic_fetch_sub(&f->n, 1, __ATOMIC_RELAXED);
}

static struct guard *guard_of(const struct req *sub)
{
	return container_of(sub->lane, struct guard, inner);
}

/* Sets @s to the next piece of its request. */
static void set_piece(struct guard_slot *s)
{
	const struct req *r = s->orig;
	struct req *sub = &s->sub;

	sub->off_b = r->off_b + s->done_b;
	sub->len_b = r->len_b - s->done_b;
	sub->nseg = 0;
	if (r->op > REQ_WRITE)
		return;
	sub->len_b = min_u64(sub->len_b, GUARD_BUF_B);
	sub->nseg = 1;
	s->seg.len_b = (uint32_t)sub->len_b;
	if (r->op == REQ_WRITE)
		segs_copy(r->seg, r->nseg, s->done_b, s->buf, sub->len_b, SEGS_TO_BUF);
}

/* Return: what the medium is to get for @r. A slot is free. */
static struct req *fill(struct guard *g, struct req *r)
{
	struct guard_slot *s = &g->slot[g->free[--g->nfree]];
	struct req *sub = &s->sub;

	s->orig = r;
	s->busy = true;
	s->done_b = 0;
	s->since_ticks = r->since_ticks;
	req_init(sub, 0, 0);
	sub->op = r->op;
	sub->flags = r->flags & (REQ_F_FUA | REQ_F_UNMAP);
	sub->taken_ticks = g->outer->poller->now_ticks;
	set_piece(s);
	if (r->op <= REQ_WRITE) {
		stat_add(&g->outer->stats->copies, 1);
		stat_add(&g->outer->stats->copied_b, r->len_b);
	}
	return sub;
}

static void make_wait(struct req *r, struct list *where)
{
	r->flags |= REQ_F_AGAIN;
	list_add_tail(where, &r->hold);
}

/* Return: whether @r has to wait for an orphan; it does. */
static bool is_fenced(struct guard *g, struct req *r)
{
	if (likely(fence_empty(g->fence)) || !fence_overlaps(g->fence, r->off_b, r->len_b))
		return false;
	if (list_empty(&g->fenced))
		poller_timer(g->outer->poller, poller_now_ns(g->outer->poller) + FENCE_LOOK_NS);
	make_wait(r, &g->fenced);
	return true;
}

unsigned guard_pass(struct guard *g, struct req **reqs, unsigned n)
{
	unsigned k = 0;

	for (unsigned i = 0; i < n; i++) {
		struct req *r = reqs[i];

		if (is_fenced(g, r))
			continue;
		if (!g->armed)
			reqs[k++] = r;
		else if (g->nfree)
			reqs[k++] = fill(g, r);
		else
			make_wait(r, &g->waiting);
	}
	return k;
}

/* Nobody submits from inside a completion: on the next turn. */
static void resume(struct req *sub)
{
	sub->flags |= REQ_F_AGAIN;
	chain_resume(sub);
}

/* Gives the slot back, or to who waits for one. */
static void put_slot(struct guard *g, struct guard_slot *s)
{
	s->busy = false;
	s->orig = NULL;
	g->free[g->nfree++] = (uint8_t)(s - g->slot);
	for (struct list *n; g->nfree && (n = list_pop(&g->waiting));) {
		struct req *r = list_entry(n, struct req, hold);

		r->flags &= (uint8_t)~REQ_F_AGAIN;
		if (is_fenced(g, r))
			continue;
		resume(fill(g, r));
	}
}

/* What an orphan held up goes on. */
static void orphan_ended(struct guard *g, struct guard_slot *s)
{
	if (s->range >= 0) {
		fence_del(g->fence, s->range);
		guard_timer(g, poller_now_ns(g->outer->poller));
	}
	s->range = -1;
	g->norphan--;
	put_slot(g, s);
	if (g->norphan)
		return;
	/* the lane's state has changed */
	poller_timer(g->outer->poller, poller_now_ns(g->outer->poller));
	if (g->settled)
		sem_post(g->settled);
	g->settled = NULL;
}

static void piece_ended(struct guard *g, struct guard_slot *s)
{
	struct req *r = s->orig, *sub = &s->sub;
	bool ok = sub->status == REQ_OK;

	if (ok && r->op == REQ_READ)
		segs_copy(r->seg, r->nseg, s->done_b, s->buf, sub->len_b, SEGS_FROM_BUF);
	s->done_b += sub->len_b;
	if (ok && s->done_b < r->len_b) {
		set_piece(s);
		resume(sub);
		return;
	}
	r->status = sub->status;
	put_slot(g, s);
	chain_retreat(r);
}

/* The medium has ended requests of slots. */
static void complete(struct req *const *subs, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct guard_slot *s = container_of(subs[i], struct guard_slot, sub);
		struct guard *g = guard_of(subs[i]);

		if (likely(s->orig))
			piece_ended(g, s);
		else
			orphan_ended(g, s);
	}
}

/* Return: false: it has to wait, the fence has no room for it. */
static bool make_orphan(struct guard *g, struct guard_slot *s)
{
	if (s->sub.flags & REQ_F_AGAIN) {
		/* before its first piece, or between two: the medium has nothing of it */
		list_del(&s->sub.hold);
		put_slot(g, s);
		return true;
	}
	s->range = -1;
	if (req_changes_data(&s->sub)) {
		s->range = fence_add(g->fence, s->sub.off_b, s->sub.len_b);
		if (s->range < 0)
			return false;
	}
	s->orig = NULL;
	g->norphan++;
	return true;
}

void guard_expire(struct guard *g, uint64_t since_ticks)
{
	for (unsigned i = 0; i < GUARD_SLOTS; i++) {
		struct guard_slot *s = &g->slot[i];
		struct req *r = s->orig;

		if (!r || s->since_ticks > since_ticks || !make_orphan(g, s))
			continue;
		r->status = REQ_TIMEOUT;
		stat_add(&g->outer->stats->timed_out, 1);
		chain_retreat(r);
	}
}

uint64_t guard_timer(struct guard *g, uint64_t now_ns)
{
	list_for_each(n, tmp, &g->fenced) {
		struct req *r = list_entry(n, struct req, hold);

		if (fence_overlaps(g->fence, r->off_b, r->len_b))
			continue;
		list_del(n);
		chain_resume(r);
	}
	return list_empty(&g->fenced) ? NEVER_NS : now_ns + FENCE_LOOK_NS;
}

uint64_t guard_oldest(const struct guard *g)
{
	uint64_t oldest = UINT64_MAX;

	for (unsigned i = 0; g->norphan && i < GUARD_SLOTS; i++)
		if (g->slot[i].busy && !g->slot[i].orig)
			oldest = min_u64(oldest, g->slot[i].since_ticks);
	return oldest;
}

static void init_slots(struct guard *g)
{
	for (unsigned i = 0; i < GUARD_SLOTS; i++) {
		struct guard_slot *s = &g->slot[i];

		s->buf = (char *)g->mem + (size_t)i * GUARD_BUF_B;
		s->seg = (struct seg){ .host = s->buf };
		s->range = -1;
		s->sub.lane = &g->inner;
		s->sub.owner = &g->owner;
		s->sub.seg = &s->seg;
		g->free[GUARD_SLOTS - 1 - i] = (uint8_t)i;
	}
	g->nfree = GUARD_SLOTS;
}

struct guard *guard_new(struct lane *l, struct fence *fence)
{
	size_t len_b = (size_t)GUARD_SLOTS * GUARD_BUF_B;
	struct guard *g = aligned_alloc(CACHE_LINE, align_up(sizeof(*g), CACHE_LINE));
	struct lane_stats *stats = calloc(1, sizeof(*stats));
	void *mem = mmap(NULL, len_b, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (!g || !stats || mem == MAP_FAILED) {
		if (mem != MAP_FAILED)
			munmap(mem, len_b);
		free(stats);
		free(g);
		return NULL;
	}
	*g = (struct guard){ .outer = l, .fence = fence, .mem = mem, .owner.complete = complete };
	/* what ends is the slot's business alone: no list, no steps */
	g->inner = (struct lane){ .poller = l->poller, .media = l->media, .name = l->name,
				  .stats = stats, .synchronous = true, .plain = true };
	list_init(&g->inner.inflight);
	list_init(&g->waiting);
	list_init(&g->fenced);
	init_slots(g);
	return g;
}

void guard_free(struct guard *g)
{
	if (!g)
		return;
	assert(!g->norphan && g->nfree == GUARD_SLOTS);
	munmap(g->mem, (size_t)GUARD_SLOTS * GUARD_BUF_B);
	free(g->inner.stats);
	free(g);
}
