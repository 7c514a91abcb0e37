/* SPDX-License-Identifier: Apache-2.0 */
#include "function/remote/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DISK_B MIB
#define REQ_B (64 * KIB)

struct trial {
	struct poller *poller;
	struct media media;
	struct media_lane media_lane;
	struct function *function;
	struct lane lane;
	struct remote_lane *remote;
	struct channel *channel;
	struct req_owner owner;
	unsigned status;
	bool done, has_lane;
	uint8_t *store, *buf;
};

static struct trial *trial_of(struct media_lane *m)
{
	return container_of(m, struct trial, media_lane);
}

static void store_submit(struct media_lane *m, struct req **reqs, unsigned n)
{
	struct trial *t = trial_of(m);

	for (unsigned i = 0; i < n; i++) {
		struct req *r = reqs[i];
		uint8_t *at = t->store + r->off_b;

		for (unsigned s = 0; r->op <= REQ_WRITE && s < r->nseg; s++) {
			memcpy(r->op == REQ_READ ? r->seg[s].host : at,
			       r->op == REQ_READ ? at : r->seg[s].host, r->seg[s].len_b);
			at += r->seg[s].len_b;
		}
		req_done(r, REQ_OK);
	}
}

static const struct media_ops store_ops = { .kind = "trial", .submit = store_submit };

static void complete(struct req *const *reqs, unsigned n)
{
	struct trial *t = (struct trial *)(uintptr_t)reqs[0]->front[0];

	t->status = reqs[0]->status;
	t->done = true;
	slab_put_many(&t->poller->slab, reqs, n);
}

static int fail(char *why, int code, const char *text)
{
	snprintf(why, HOST_WHY_MAX, "in its trial: %s", text);
	return code;
}

/* Turns until the request has ended. */
static int turn(struct trial *t, struct program *p, uint64_t until_ns, char *why)
{
	while (!t->done) {
		if (!poller_turn(t->poller))
			poller_sleep(t->poller, NS_PER_MS);
		if (t->remote->fault)
			return fail(why, -EPROTO, t->remote->fault);
		program_read(p);
		if (p->fault || p->has_ended)
			return fail(why, -EPROTO, p->fault ? p->fault : "it has ended");
		if (clock_ns() > until_ns)
			return fail(why, -ETIMEDOUT, "it does not answer");
	}
	return t->status == REQ_OK ? 0 : fail(why, -EIO, "it fails a request");
}

static int ask(struct trial *t, struct program *p, enum req_op op, uint64_t off_b, uint64_t len_b,
	       uint64_t until_ns, char *why)
{
	struct req *r = slab_get(&t->poller->slab);

	req_init(r, op <= REQ_WRITE, 0);
	r->lane = &t->lane;
	r->op = (uint8_t)op;
	r->off_b = off_b;
	r->len_b = len_b;
	r->seg[0] = (struct seg){ t->buf, (uint32_t)len_b, NULL };
	r->taken_ticks = poller_tick(t->poller);
	r->owner = &t->owner;
	r->front[0] = (uintptr_t)t;
	list_add_tail(&t->lane.inflight, &r->link);
	t->done = false;
	chain_submit(&t->lane, &r, 1);
	return turn(t, p, until_ns, why);
}

static void fill(uint8_t *buf, size_t len_b, unsigned seed)
{
	for (size_t i = 0; i < len_b; i++)
		buf[i] = (uint8_t)(seed + i * 7 + (i >> 9));
}

static bool is_filled(const uint8_t *buf, size_t len_b, unsigned seed)
{
	for (size_t i = 0; i < len_b; i++)
		if (buf[i] != (uint8_t)(seed + i * 7 + (i >> 9)))
			return false;
	return true;
}

static int run(struct trial *t, struct program *p, uint64_t until_ns, char *why)
{
	static const struct {
		uint32_t off_b, len_b;
	} part[] = { { 0, 4096 }, { 128 * KIB, REQ_B } };
	int err = 0;

	for (unsigned i = 0; !err && i < ARRAY_SIZE(part); i++) {
		fill(t->buf, part[i].len_b, i);
		err = ask(t, p, REQ_WRITE, part[i].off_b, part[i].len_b, until_ns, why);
	}
	if (!err)
		err = ask(t, p, REQ_FLUSH, 0, 0, until_ns, why);
	for (unsigned i = 0; !err && i < ARRAY_SIZE(part); i++) {
		memset(t->buf, 0, part[i].len_b);
		err = ask(t, p, REQ_READ, part[i].off_b, part[i].len_b, until_ns, why);
		if (!err && !is_filled(t->buf, part[i].len_b, i))
			err = fail(why, -EIO, "what is read is not what was written");
	}
	return err;
}

static int set_up(struct trial *t)
{
	struct remote_conf conf = { .mode = FN_TRANSFORM, .on_fail = REMOTE_ERROR };
	int err = poller_open("trial", &t->poller);

	t->store = calloc(1, DISK_B);
	t->buf = malloc(REQ_B);
	if (!err && (!t->store || !t->buf))
		err = -ENOMEM;
	if (!err)
		err = slab_reserve(&t->poller->slab, 4);
	if (!err)
		err = remote_open(&conf, &t->function);
	if (err)
		return err;
	t->owner.complete = complete;
	t->media = (struct media){ .ops = &store_ops,
				   .caps = { .size_b = DISK_B, .align_b = 1, .blk_b = 512 } };
	media_lane_init(&t->media_lane, &t->media, t->poller);
	err = lane_init(&t->lane, t->poller, &t->media_lane, "trial");
	if (err)
		return err;
	t->lane.size_b = DISK_B;
	t->lane.blk_mask = 511;
	t->has_lane = true;
	err = lane_add_function(&t->lane, t->function);
	if (!err) {
		lane_start(&t->lane);
		t->remote = t->lane.step[0].state;
	}
	return err;
}

/* Ends what a program that has failed still holds. */
static void tear_down(struct trial *t, struct program *p)
{
	if (t->remote) {
		remote_disconnect(t->remote); /* on_fail=error: its requests end */
		while (!list_empty(&t->lane.inflight))
			poller_turn(t->poller);
	}
	program_withdraw(p, t->channel);
	if (t->has_lane) {
		lane_stop(&t->lane);
		lane_fini(&t->lane);
	}
	if (t->function)
		t->function->ops->close(t->function);
	if (t->poller && t->poller->slab.reserved)
		slab_unreserve(&t->poller->slab, 4);
	poller_close(t->poller);
	free(t->store);
	free(t->buf);
	free(t);
}

int check_program(struct program *p, uint64_t until_ns, char *why)
{
	struct trial *t = calloc(1, sizeof(*t));
	int err = t ? set_up(t) : -ENOMEM;

	if (!err)
		err = program_offer(p, t->remote, FN_M_TEST, false, &t->channel);
	if (err)
		snprintf(why, HOST_WHY_MAX, "no trial is possible: %s", strerror(-err));
	else
		err = program_await_channels(p, until_ns, why);
	if (!err && !p->refused) {
		remote_gain(t->remote, t->channel);
		err = run(t, p, until_ns, why);
	}
	p->refused = 0;
	if (t)
		tear_down(t, p);
	return err;
}
