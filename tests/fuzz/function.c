/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a storage function's program writes into shared memory, and when: the input is a script of
 * entries, words and answers, mixed with requests, losses and successors. Each request must end
 * exactly once, and nothing be left behind.
 */
#include "tests/fuzz/fuzz.h"
#include "tests/unit/remote_bed.h"

#define REQS 24

enum act { ACT_ASK, ACT_ANSWER, ACT_ENTRY, ACT_OWN, ACT_TURN, ACT_SIDE, ACT_LOSE, ACT_GAIN,
	   ACT_RELEASE, ACT_HAND_OVER, ACT_POLICY, ACT_ALONE, ACT_LATE, ACTS };

struct play {
	struct rig g;
	struct bed_req q[REQS];
	unsigned nreq;
	struct channel next;
	struct handover h;
	bool has_next, alone;
};

static uint8_t data_of[REQS][FN_BUF_B + 4096];

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	log_set_level(LOG_ERROR - 1u);
	return 0;
}

static void ask(struct play *p, struct food *f)
{
	static const uint32_t len_b[] = { 512, 4096, 65536, FN_BUF_B, FN_BUF_B + 4096 };
	uint8_t what = food_byte(f);
	enum req_op op = what % REQ_OPS;

	if (p->nreq == REQS)
		return;
	rig_ask(&p->g, &p->q[p->nreq], op, op == REQ_FLUSH ? 0 : food_byte(f) * 512ull,
		op == REQ_FLUSH ? 0 : len_b[what / 8 % ARRAY_SIZE(len_b)],
		op <= REQ_WRITE ? data_of[p->nreq] : NULL);
	p->nreq++;
}

/* Answers what it was given last, as it may. */
static void answer(struct play *p, struct food *f)
{
	struct fn_word w;
	uint8_t how = food_byte(f);

	if (rig_next(&p->g, &w, NULL) && w.kind == FN_REQUEST && w.slot < FN_SLOTS)
		rig_answer(&p->g, w.slot, how & 1 ? FN_PASS : FN_DONE, how / 2 % FN_STATUSES);
}

static void entry(struct play *p, struct food *f, bool own)
{
	struct fn_entry e;
	struct fn_word w;

	food_eat(f, &w, sizeof(w));
	food_eat(f, &e, sizeof(e));
	if (own)
		w.kind = FN_IO;
	rig_put(&p->g, w, &e);
}

static void side(struct play *p, struct food *f)
{
	food_eat(f, &p->g.c.rings->program, 8);
}

static void hand_over(struct play *p)
{
	if (p->has_next || p->g.l->pending)
		return;
	p->next = p->g.c;
	p->next.rings = rig_rings();
	p->h = (struct handover){ .lanes = 1 };
	p->has_next = true;
	p->alone = false;
	remote_hand_over(p->g.l, &p->h, &p->next);
}

/* The program does not end what it has: the lane goes over without. */
static void go_over_alone(struct play *p)
{
	if (!p->has_next || !p->g.l->pending)
		return;
	p->alone = true;
	remote_lose(p->g.l, NULL);
	remote_gain(p->g.l, &p->next);
}

/* The new program is the one that speaks from now on. */
static void settle(struct play *p)
{
	if (!p->has_next || (!p->h.joined && !(p->alone && !p->g.l->pending)))
		return;
	munmap(p->g.c.rings, sizeof(*p->g.c.rings));
	p->g.c = p->next;
	p->g.to_n = p->g.from_n = 0;
	p->has_next = false;
}

static void act(struct play *p, struct food *f)
{
	switch ((enum act)(food_byte(f) % ACTS)) {
	case ACT_ASK:
		ask(p, f);
		break;
	case ACT_ANSWER:
		answer(p, f);
		break;
	case ACT_ENTRY:
		entry(p, f, false);
		break;
	case ACT_OWN:
		entry(p, f, true);
		break;
	case ACT_TURN:
		rig_turn(&p->g);
		break;
	case ACT_SIDE:
		side(p, f);
		break;
	case ACT_LOSE:
		remote_lose(p->g.l, NULL);
		break;
	case ACT_GAIN:
		if (p->g.l->ring.shared || p->g.l->pending)
			break;
		rig_empty_rings(&p->g);
		remote_gain(p->g.l, &p->g.c);
		break;
	case ACT_RELEASE:
		p->g.s->when = food_byte(f) & 1 ? SCRIPT_HELD : SCRIPT_NOW;
		script_release_all(p->g.s, REQ_OK);
		break;
	case ACT_HAND_OVER:
		hand_over(p);
		break;
	case ACT_POLICY:
		remote_set(p->g.f, food_byte(f) % 3);
		remote_judge_door(p->g.l);
		break;
	case ACT_ALONE:
		go_over_alone(p);
		break;
	case ACT_LATE:
		bed_at(&p->g.b, poller_now_ns(p->g.b.poller) + 2 * NS_PER_S);
		poller_tick(p->g.b.poller);
		break;
	case ACTS:
		break;
	}
	settle(p);
}

/* Without a program, and on_fail=error, all must end. */
static void finish(struct play *p)
{
	remote_set(p->g.f, REMOTE_ERROR);
	p->g.s->when = SCRIPT_NOW;
	for (unsigned i = 0; i < 8; i++) {
		remote_lose(p->g.l, NULL);
		script_release_all(p->g.s, REQ_OK);
		rig_turn(&p->g);
		settle(p);
	}
	remote_lose(p->g.l, NULL);
	remote_judge_door(p->g.l);
	for (unsigned i = 0; i < 8; i++)
		rig_turn(&p->g);
	if (p->g.b.done != p->nreq || p->g.l->nfree != FN_SLOTS || p->g.l->nio || p->g.l->nsent ||
	    !list_empty(&p->g.l->waiting) || p->g.l->source.inflight)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct food f = { data, len };
	uint8_t how = food_byte(&f);
	struct play *p = calloc(1, sizeof(*p));

	rig_open(&p->g, how % 3, how / 4 % 3);
	p->g.c.down = food_byte(&f) & 31;
	p->g.c.up = food_byte(&f) & 31;
	p->g.c.with_data = food_byte(&f) & 31;
	p->g.c.own_io = how & 128;
	remote_set_stall(p->g.l, NS_PER_S);
	rig_gain(&p->g);
	for (unsigned i = 0; f.left && i < 400; i++)
		act(p, &f);
	finish(p);
	rig_close(&p->g);
	free(p);
	return 0;
}
