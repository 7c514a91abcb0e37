/* SPDX-License-Identifier: Apache-2.0 */
#include "function/delay/delay.h"

#include <stdlib.h>

#include "core/lane.h"

enum delay_class { DELAY_READ, DELAY_WRITE, DELAY_FLUSH, DELAY_CLASSES };

struct delay {
	struct function function;
	uint64_t ns[DELAY_CLASSES]; /* relaxed atomics; written by control */
};

struct delay_lane {
	struct delay *delay;
	struct lane *lane;
	/* Waiting, in order of arrival, through req.hold; req.func: when it goes on. That is the
	 * same order, unless the delay was made shorter meanwhile: then later ones wait. */
	struct list held[DELAY_CLASSES];
};

static enum delay_class class_of(const struct req *r)
{
	switch ((enum req_op)r->op) {
	case REQ_READ:
		return DELAY_READ;
	case REQ_FLUSH:
		return DELAY_FLUSH;
	case REQ_WRITE:
	case REQ_DISCARD:
	case REQ_ZEROES:
	case REQ_OPS:
		break;
	}
	return DELAY_WRITE;
}

static enum step delay_down(void *state, struct req *r)
{
	struct delay_lane *l = state;
	enum delay_class c = class_of(r);
	uint64_t ns = __atomic_load_n(&l->delay->ns[c], __ATOMIC_RELAXED);

	if (!ns)
		return STEP_PASS;
	r->func = poller_now_ns(l->lane->poller) + ns;
	list_add_tail(&l->held[c], &r->hold);
	poller_timer(l->lane->poller, r->func);
	return STEP_HELD;
}

static uint64_t delay_timer(void *state, uint64_t now_ns)
{
	struct delay_lane *l = state;
	uint64_t next_ns = NEVER_NS;

	for (unsigned c = 0; c < DELAY_CLASSES; c++) {
		while (!list_empty(&l->held[c])) {
			struct req *r = list_first(&l->held[c], struct req, hold);

			if (r->func > now_ns) {
				next_ns = min_u64(next_ns, r->func);
				break;
			}
			list_del(&r->hold);
			chain_resume(r);
		}
	}
	return next_ns;
}

static int delay_lane_open(struct function *f, struct lane *lane, void **ret_state)
{
	struct delay_lane *l = malloc(sizeof(*l));

	if (!l)
		return -ENOMEM;
	l->delay = container_of(f, struct delay, function);
	l->lane = lane;
	for (unsigned c = 0; c < DELAY_CLASSES; c++)
		list_init(&l->held[c]);
	*ret_state = l;
	return 0;
}

static void delay_lane_close(void *state)
{
	free(state);
}

static void delay_close(struct function *f)
{
	free(container_of(f, struct delay, function));
}

static const struct function_ops delay_ops = {
	.kind = "delay",
	.yields = true,
	.close = delay_close,
	.lane_open = delay_lane_open,
	.lane_close = delay_lane_close,
	.down = delay_down,
	.timer = delay_timer,
};

int delay_open(const struct delay_conf *c, struct function **ret_function)
{
	struct delay *f = calloc(1, sizeof(*f));

	if (!f)
		return -ENOMEM;
	f->function.ops = &delay_ops;
	delay_set(&f->function, c);
	*ret_function = &f->function;
	return 0;
}

void delay_set(struct function *f, const struct delay_conf *c)
{
	struct delay *d = container_of(f, struct delay, function);

	__atomic_store_n(&d->ns[DELAY_READ], c->read_ns, __ATOMIC_RELAXED);
	__atomic_store_n(&d->ns[DELAY_WRITE], c->write_ns, __ATOMIC_RELAXED);
	__atomic_store_n(&d->ns[DELAY_FLUSH], c->flush_ns, __ATOMIC_RELAXED);
}
