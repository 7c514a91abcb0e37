/* SPDX-License-Identifier: Apache-2.0 */
#include "function/limit/limit.h"

#include <stdlib.h>

#include "core/lane.h"

/* Waiting requests are looked at no more often than this, several at a time, ... */
#define LOOK_MIN_NS (50 * NS_PER_US)
/* ... and no less often than this, so that a changed limit needs to wake nobody. */
#define LOOK_MAX_NS (10 * NS_PER_MS)

/* What one unit costs in ns, as fixed point with 32 bits of fraction; 0: nothing. */
struct bucket {
	uint64_t cost_32; /* relaxed atomic; written by control */
	uint64_t clock_ns; /* relaxed atomic, of all lanes: it orders nothing but itself */
};

struct limit {
	struct function function;
	struct bucket requests cacheline_aligned;
	struct bucket bytes;
	uint64_t burst_ns; /* relaxed atomic; written by control */
	uint64_t delayed;  /* relaxed atomic, of all lanes */
};

struct limit_lane {
	struct limit *limit;
	struct lane *lane;
	struct list held; /* in order of arrival; through req.hold */
};

/* When @b lets the next request go. */
static inline uint64_t free_at(const struct bucket *b)
{
	if (!__atomic_load_n(&b->cost_32, __ATOMIC_RELAXED))
		return 0;
	return __atomic_load_n(&b->clock_ns, __ATOMIC_RELAXED);
}

static inline void charge(struct bucket *b, uint64_t units, uint64_t now_ns, uint64_t burst_ns)
{
	uint64_t cost_32 = __atomic_load_n(&b->cost_32, __ATOMIC_RELAXED);
	uint64_t cost_ns = (uint64_t)((unsigned __int128)units * cost_32 >> 32);
	uint64_t was_ns = __atomic_load_n(&b->clock_ns, __ATOMIC_RELAXED), next_ns;
	uint64_t least_ns = now_ns > burst_ns ? now_ns - burst_ns : 0;

	if (!cost_32)
		return;
	do
		next_ns = max_u64(was_ns, least_ns) + cost_ns;
	while (!__atomic_compare_exchange_n(&b->clock_ns, &was_ns, next_ns, true, __ATOMIC_RELAXED,
					    __ATOMIC_RELAXED));
}

static inline bool moves_data(const struct req *r)
{
	return r->op == REQ_READ || r->op == REQ_WRITE;
}

/* Lanes that look at the same moment may each let one go; the clocks then run that much further
 * ahead, so the sum is right. Return: 0: @r may go, and is charged; otherwise when to try again. */
static inline uint64_t admit(struct limit *f, const struct req *r, uint64_t now_ns)
{
	uint64_t at_ns = free_at(&f->requests);
	uint64_t burst_ns = __atomic_load_n(&f->burst_ns, __ATOMIC_RELAXED);

	if (moves_data(r))
		at_ns = max_u64(at_ns, free_at(&f->bytes));
	if (at_ns > now_ns)
		return at_ns;
	charge(&f->requests, 1, now_ns, burst_ns);
	if (moves_data(r))
		charge(&f->bytes, r->len_b, now_ns, burst_ns);
	return 0;
}

/* When the poller is to look again for requests that may go at @at_ns. */
static inline uint64_t look_at(uint64_t at_ns, uint64_t now_ns)
{
	return min_u64(max_u64(at_ns, now_ns + LOOK_MIN_NS), now_ns + LOOK_MAX_NS);
}

static enum step limit_down(void *state, struct req *r)
{
	struct limit_lane *l = state;
	uint64_t now_ns = poller_now_ns(l->lane->poller), at_ns = 0;

	if (r->op == REQ_FLUSH)
		return STEP_PASS;
	if (list_empty(&l->held)) {
		at_ns = admit(l->limit, r, now_ns);
		if (!at_ns)
			return STEP_PASS;
		poller_timer(l->lane->poller, look_at(at_ns, now_ns));
	}
	list_add_tail(&l->held, &r->hold);
	__atomic_fetch_add(&l->limit->delayed, 1, __ATOMIC_RELAXED);
	return STEP_HELD;
}

static uint64_t limit_timer(void *state, uint64_t now_ns)
{
	struct limit_lane *l = state;

	while (!list_empty(&l->held)) {
		struct req *r = list_first(&l->held, struct req, hold);
		uint64_t at_ns = admit(l->limit, r, now_ns);

		if (at_ns)
			return look_at(at_ns, now_ns);
		list_del(&r->hold);
		chain_resume(r);
	}
	return NEVER_NS;
}

static int limit_lane_open(struct function *f, struct lane *lane, void **ret_state)
{
	struct limit_lane *l = malloc(sizeof(*l));

	if (!l)
		return -ENOMEM;
	l->limit = container_of(f, struct limit, function);
	l->lane = lane;
	list_init(&l->held);
	*ret_state = l;
	return 0;
}

static void limit_lane_close(void *state)
{
	free(state);
}

static void limit_close(struct function *f)
{
	free(container_of(f, struct limit, function));
}

static const struct function_ops limit_ops = {
	.kind = "limit",
	.close = limit_close,
	.lane_open = limit_lane_open,
	.lane_close = limit_lane_close,
	.down = limit_down,
	.timer = limit_timer,
};

static void set_rate(struct bucket *b, uint64_t per_s)
{
	uint64_t cost_32 = per_s ? (NS_PER_S << 32) / per_s : 0;

	/* faster than can be counted is not limited; what was paid at the old rate is forgotten */
	__atomic_store_n(&b->cost_32, cost_32, __ATOMIC_RELAXED);
	__atomic_store_n(&b->clock_ns, 0, __ATOMIC_RELAXED);
}

int limit_open(const struct limit_conf *c, struct function **ret_function)
{
	struct limit *f = aligned_alloc(CACHE_LINE, align_up(sizeof(*f), CACHE_LINE));

	if (!f)
		return -ENOMEM;
	*f = (struct limit){ .function.ops = &limit_ops };
	limit_set(&f->function, c);
	*ret_function = &f->function;
	return 0;
}

void limit_set(struct function *f, const struct limit_conf *c)
{
	struct limit *l = container_of(f, struct limit, function);
	uint64_t burst_ns = min_u64(max_u64(c->burst_ns, LIMIT_BURST_MIN_NS), LIMIT_BURST_MAX_NS);

	__atomic_store_n(&l->burst_ns, burst_ns, __ATOMIC_RELAXED);
	set_rate(&l->requests, c->iops);
	set_rate(&l->bytes, c->bytes);
}

uint64_t limit_delayed(const struct function *f)
{
	return __atomic_load_n(&container_of(f, const struct limit, function)->delayed,
			       __ATOMIC_RELAXED);
}
