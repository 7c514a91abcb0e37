/* SPDX-License-Identifier: Apache-2.0 */
#include "front/vhost_blk/control.h"

/* On the poller, between turns; one struct for all, each function reads its part. */
struct change {
	struct vq *q;
	struct poller *p;
	const struct gmem *mem;
	const struct vq_ring *at;
	struct dirty_log *log;
	struct vq_drain *drain;
	int fd;
	bool on;
	enum poll_mode mode;
	int err;
};

static void attach(void *arg)
{
	struct change *c = arg;

	c->err = poller_attach(c->p, &c->q->pe);
	/* a predecessor may have died between publishing and saying so */
	if (c->q->log)
		vq_log_used(c->q);
}

int vq_start(struct vq *q, struct poller *p)
{
	struct change c = { .q = q, .p = p };

	q->draining = q->lost = false;
	q->drain = NULL;
	poller_call(p, attach, &c);
	q->running = !c.err;
	return c.err;
}

static bool is_drained(const struct vq *q, enum vq_drain_what what)
{
	if (what == VQ_DRAIN_OLD_MEMORY)
		return !q->old_inflight;
	return !q->inflight && (q->broken || q->next_replay == q->nreplay);
}

void vq_drain_check(struct vq *q)
{
	struct vq_drain *d = q->drain;

	if (d && is_drained(q, d->what)) {
		q->drain = NULL;
		sem_post(&d->done);
	}
}

static void drain(void *arg)
{
	struct change *c = arg;

	c->q->draining |= c->drain->what == VQ_DRAIN_ALL;
	c->q->drain = c->drain;
	vq_drain_check(c->q);
}

static void forget_drain(void *arg)
{
	((struct vq *)arg)->drain = NULL;
}

/* Return: whether what the drain waits for has come within @timeout_ns. */
static bool wait_drained(struct vq *q, enum vq_drain_what what, uint64_t timeout_ns)
{
	struct poller *p = q->pe.poller;
	struct vq_drain d = { .what = what };
	struct change c = { .q = q, .drain = &d };

	sem_init(&d.done, 0, 0);
	poller_call(p, drain, &c);
	bool came = poller_wait(p, &d.done, timeout_ns);
	if (!came) {
		poller_call(p, forget_drain, q);
		/* it may have come between the two */
		came = !sem_trywait(&d.done);
	}
	sem_destroy(&d.done);
	return came;
}

static void forget_kept(void *arg)
{
	struct vq *q = arg;

	lane_forget(q->lane, &q->owner);
}

void vq_quiesce(struct vq *q)
{
	/* what a stopped disk keeps would never end */
	poller_call(q->pe.poller, forget_kept, q);
	wait_drained(q, VQ_DRAIN_ALL, NEVER_NS);
}

static void detach(void *arg)
{
	struct vq *q = arg;

	poller_detach(q->pe.poller, &q->pe);
}

void vq_detach(struct vq *q)
{
	poller_call(q->pe.poller, detach, q);
	q->running = false;
}

static void go_on(void *arg)
{
	struct vq *q = arg;

	q->draining = q->lost;
	/* cooled meanwhile, it was not armed: it is hot, and cools anew */
	poller_heat(&q->pe);
}

void vq_go_on(struct vq *q)
{
	poller_call(q->pe.poller, go_on, q);
}

static void hurry(void *arg)
{
	struct vq *q = arg;

	q->draining = true;
	lane_hurry(q->lane);
}

bool vq_pause(struct vq *q, uint64_t timeout_ns)
{
	poller_call(q->pe.poller, hurry, q);
	bool quiet = wait_drained(q, VQ_DRAIN_ALL, timeout_ns);

	if (!quiet)
		vq_go_on(q);
	return quiet;
}

/* Attaching lets the guest's notifications be off, and looks at the ring: a request whose kick the
 * former poller has read, or nobody, is found. */
static void attach_again(void *arg)
{
	struct change *c = arg;

	c->q->draining = c->q->lost;
	c->err = poller_attach(c->p, &c->q->pe);
}

int vq_move(struct vq *q, struct poller *p, struct lane *lane)
{
	struct change to = { .q = q, .p = p }, back = { .q = q, .p = q->pe.poller };
	struct lane *was = q->lane;

	poller_call(q->pe.poller, detach, q);
	q->lane = lane;
	poller_call(p, attach_again, &to);
	if (!to.err)
		return 0;
	q->lane = was;
	poller_call(back.p, attach_again, &back);
	q->running = !back.err;
	return back.err ? -ENOTRECOVERABLE : to.err;
}

uint32_t vq_base(const struct vq *q)
{
	if (!q->packed)
		return q->avail_idx;
	return (uint32_t)(q->avail_idx | (q->avail_wrap ? VIRTQ_PACKED_WRAP : 0)) |
	       (uint32_t)(q->used_idx | (q->used_wrap ? VIRTQ_PACKED_WRAP : 0)) << 16;
}

static void set_memory(void *arg)
{
	struct change *c = arg;
	struct vq *q = c->q;
	uint64_t gen = q->gen + VQ_GEN_STEP;

	/* the numbers of tables come round: by then none of the last round may be in flight */
	if (!gen && q->old_inflight) {
		c->err = -EBUSY;
		return;
	}
	c->err = vq_place(q, c->mem, c->at);
	/* without a ring nothing is taken, and nothing is written to where it was */
	q->draining = q->lost = c->err;
	gview_init(&q->view, c->mem);
	q->gen = gen;
	q->old_inflight = q->inflight;
}

int vq_set_memory(struct vq *q, const struct gmem *mem, const struct vq_ring *at)
{
	struct change c = { .q = q, .mem = mem, .at = at };

	poller_call(q->pe.poller, set_memory, &c);
	if (c.err == -EBUSY) {
		/* a medium has held requests through this many changes: it is waited for */
		vq_memory_idle(q, NEVER_NS);
		poller_call(q->pe.poller, set_memory, &c);
	}
	return c.err;
}

bool vq_memory_idle(struct vq *q, uint64_t timeout_ns)
{
	return wait_drained(q, VQ_DRAIN_OLD_MEMORY, timeout_ns);
}

static void set_log(void *arg)
{
	struct change *c = arg;

	c->q->log = c->log;
}

void vq_set_log(struct vq *q, struct dirty_log *log)
{
	struct change c = { .q = q, .log = log };

	poller_call(q->pe.poller, set_log, &c);
}

static void set_call(void *arg)
{
	struct change *c = arg;

	c->q->call_fd = c->fd;
	/* what was published while there was no way to tell */
	if (c->fd >= 0)
		vq_call(c->q);
}

void vq_set_call(struct vq *q, int call_fd)
{
	struct change c = { .q = q, .fd = call_fd };

	poller_call(q->pe.poller, set_call, &c);
}

static void set_err(void *arg)
{
	struct change *c = arg;

	c->q->err_fd = c->fd;
}

void vq_set_err(struct vq *q, int err_fd)
{
	struct change c = { .q = q, .fd = err_fd };

	poller_call(q->pe.poller, set_err, &c);
}

static void set_write_through(void *arg)
{
	struct change *c = arg;

	c->q->write_through = c->on;
}

void vq_set_write_through(struct vq *q, bool on)
{
	struct change c = { .q = q, .on = on };

	poller_call(q->pe.poller, set_write_through, &c);
}

static void set_mode(void *arg)
{
	struct change *c = arg;

	poller_set_mode(&c->q->pe, c->mode);
}

void vq_set_mode(struct vq *q, enum poll_mode mode)
{
	struct change c = { .q = q, .mode = mode };

	poller_call(q->pe.poller, set_mode, &c);
}

struct look {
	struct vq *q;
	struct front_queue_info *into;
};

static void look(void *arg)
{
	struct look *l = arg;

	poller_drain_kick(&l->q->pe);
	l->into->inflight = l->q->inflight;
	l->into->poller = l->q->pe.poller->name;
}

void vq_info(struct vq *q, struct front_queue_info *ret_info)
{
	const char *broken = __atomic_load_n(&q->broken, __ATOMIC_RELAXED);

	*ret_info = (struct front_queue_info){ .index = q->index, .size = q->size,
					       .packed = q->packed, .reason = broken };
	if (q->running)
		poller_call(q->pe.poller, look, &(struct look){ q, ret_info });
	ret_info->state = broken ? FRONT_QUEUE_BROKEN :
			  q->running ? FRONT_QUEUE_RUNNING : FRONT_QUEUE_STOPPED;
	ret_info->taken = stat_get(&q->taken);
	ret_info->refused = stat_get(&q->refused);
	ret_info->kicks = stat_get(&q->pe.kicks);
	ret_info->calls = stat_get(&q->calls);
}
