/* SPDX-License-Identifier: Apache-2.0 */
/*
 * In-flight tracking at every point where a kill could come: before each single store to the ring
 * and the in-flight region, both are copied; each copy is then given to a successor, as a VMM
 * that connects again would, or as what the process had kept. Whatever the guest had made available
 * and not seen completed must come back exactly once, and nothing else may.
 */
#include "tests/fake/guest.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"
#include "front/vhost_blk/adopt.h"
#include "front/vhost_blk/track.h"
#include "tests/fake/keep.h"
#include "tests/fake/step.h"

#define REQS 10
#define STATES_MAX 2048

/* Memory as a killed process left it. */
struct state {
	uint8_t *ring, *track;
};

static struct fake_keep keeper;

struct run {
	struct fake *g;
	bool kept; /* the front tracks for itself, and its successor adopts */
	void *region;
	size_t ring_b, track_b; /* whole pages */
	struct fake_req req[REQS];
	struct state state[STATES_MAX];
	unsigned n;
	unsigned (*script)(struct run *r, unsigned round); /* rounds there are */
	uint16_t used_before;
	bool used_wrap_before;
};

static size_t pages(size_t len_b)
{
	return align_up(len_b, 4096);
}

static void look(void *arg)
{
	struct run *r = arg;
	struct state *s = &r->state[r->n];

	/* in a signal handler: memory was set aside before */
	if (r->n == STATES_MAX)
		return;
	memcpy(s->ring, r->g->q[0]->desc, r->ring_b);
	memcpy(s->track, r->region, r->track_b);
	r->n++;
}

/* Requests of two shapes, completed out of order, so that no list is in its first order. */
static void warm_up(struct fake *g)
{
	struct fake_queue *q = g->q[0];

	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < 9; i++) {
			struct fake_req r =
			fake_req(g, i & 1 ? VIRTIO_BLK_T_IN : VIRTIO_BLK_T_FLUSH,
						     0, i & 1 ? 512 : 0);

			fake_put_req(q, &r);
		}
		fake_publish(q);
		fake_settle(g);
		for (unsigned i = 0; i < 9; i++) {
			script_release(g->medium, (i * 4 + round) % 9, REQ_OK);
			fake_settle(g);
		}
		assert_int_equal(fake_reap_all(q), 9);
	}
}

static struct run *run_open(bool packed, bool kept)
{
	struct run *r = calloc(1, sizeof(*r));

	assert_non_null(r);
	r->kept = kept;
	fake_keep_init(&keeper);
	r->g = fake_open(&(struct fake_conf){ .packed = packed, .track = !kept, .size = 32,
					      .pollers = 2, .when = SCRIPT_HELD,
					      .keep = kept ? &keeper.keep : NULL });
	r->region = kept ? r->g->s->queue[0]->own : r->g->s->track.at;
	warm_up(r->g);
	/* desc, avail and used follow each other in pages of their own */
	r->ring_b = (size_t)((uint8_t *)r->g->q[0]->used - (uint8_t *)r->g->q[0]->desc) + 4096;
	r->track_b = pages(track_region_len_b(packed, 32));
	for (unsigned i = 0; i < STATES_MAX; i++) {
		r->state[i].ring = malloc(r->ring_b + r->track_b);
		assert_non_null(r->state[i].ring);
		r->state[i].track = r->state[i].ring + r->ring_b;
	}
	return r;
}

static void run_close(struct run *r)
{
	for (unsigned i = 0; i < STATES_MAX; i++)
		free(r->state[i].ring);
	fake_close(r->g);
	fake_keep_fini(&keeper);
	free(r);
}

/* A sealed copy of a region or page, as the VMM or the keeper has kept it. */
static int memfd_of(const void *p, size_t len_b)
{
	int fd = memfd_create("copy", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_true(fd >= 0);
	assert_int_equal(fd_write_all(fd, p, len_b), 0);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL), 0);
	return fd;
}

/* How often each request has been given back to the guest, as seen in the successor's ring from
 * where the guest had got to. */
static void count_back(struct fake_queue *q, const struct fake_req *req, unsigned *back)
{
	uint16_t id;
	uint32_t len;

	while (fake_reap(q, &id, &len)) {
		unsigned i = 0;

		while (i < REQS && req[i].id != id)
			i++;
		assert_true(i < REQS);
		back[i]++;
	}
}

/* The guest goes on in @g with its memory, the ring being as in @s, and its own place there. */
static void move_guest(struct run *r, const struct state *s, struct fake *g)
{
	const struct fake_queue *was = r->g->q[0];
	struct fake_queue *q = fake_queue(g, 0), fresh = *q;
	size_t rest = (size_t)(r->g->mem.host +
			       r->g->mem.used_b - (uint8_t *)was->desc) - r->ring_b;

	memcpy(q->desc, s->ring, r->ring_b);
	memcpy((uint8_t *)q->desc + r->ring_b, (uint8_t *)was->desc + r->ring_b, rest);
	*q = *was;
	q->g = g;
	q->desc = fresh.desc;
	q->avail = fresh.avail;
	q->used = fresh.used;
	q->call_fd = fresh.call_fd;
	q->kick_fd = fresh.kick_fd;
	q->err_fd = fresh.err_fd;
	q->used_idx = r->used_before;
	q->used_wrap = r->used_wrap_before;
}

/* The VMM connects again, with the in-flight region as in @s. */
static void connect_again(struct run *r, const struct state *s, struct fake *g)
{
	fake_connect(g);
	fake_negotiate(g);
	move_guest(r, s, g);
	assert_int_equal(fake_share_mem(g), 0);
	g->track = r->g->track;
	g->track_fd = memfd_of(s->track, r->track_b);
	assert_int_equal(fake_set_track(g), 0);
	assert_int_equal(fake_start(g, 0, g->conf.packed ? 0x80008000u : 0), 0);
}

static void put_copy(const struct keep_scope *scope, const char *name, int fd)
{
	assert_int_equal(keep_put(scope, name, fd), 0);
	fd_close(fd);
}

/* The successor finds what was kept, with ring and region as in @s. */
static void adopt(struct run *r, const struct state *s, struct fake *g)
{
	const struct keep_scope *scope = &g->front.conf.keep;
	const struct kept_page *p = r->g->s->memo->page;
	const struct kept_state *k = &p->copy[p->current];
	char name[8];

	fake_connect(g); /* for its memory and its socket */
	move_guest(r, s, g);
	g->s->memo->is_kept = false;
	int sock = dup(g->s->sock);
	session_close(g->s);
	for (unsigned i = 0; i < keeper.n; i++)
		assert_int_equal(scope->keep->ops->put(scope->keep, keeper.kept[i].key,
						       keeper.kept[i].fd), 0);
	put_copy(scope, "sock", sock);
	put_copy(scope, "page", memfd_of(p, sizeof(*p)));
	snprintf(name, sizeof(name), "%u", k->region[0].slot);
	put_copy(scope, name, dup(g->mem.fd[0]));
	snprintf(name, sizeof(name), "%u", k->queue[0].own);
	put_copy(scope, name, memfd_of(s->track, track_region_len_b(g->conf.packed, 32)));
	int err = adopt_session(&g->front, keep_get(scope, "sock"), &g->s, g->why, sizeof(g->why));
	if (err)
		fail_msg("%s", g->why);
	g->front.session = g->s;
	assert_int_equal(fake_go_on(g), 0);
}

/* What the medium of the successor holds, one after the other; the guest looks after each. */
static void release_singly(struct fake *g, const struct fake_req *req, unsigned *back)
{
	count_back(g->q[0], req, back);
	for (unsigned i = 0; script_waiting(g->medium); i++) {
		script_release(g->medium, i, REQ_OK);
		fake_settle(g);
		count_back(g->q[0], req, back);
	}
}

/* Whether a predecessor in state @s might have told the guest of more than the guest has seen, is
 * for the ring to say; the successor starts from the ring and the region alone. @singly: it
 * completes one request after the other, not all in one batch. */
static void check_successor(struct run *r, unsigned at, bool singly)
{
	struct fake_conf conf = r->g->conf;
	unsigned back[REQS] = { 0 };
	struct fake_keep mine;

	fake_keep_init(&mine);
	conf.keep = r->kept ? &mine.keep : NULL;
	struct fake *g = fake_open_disk(&conf);
	g->medium->when = singly ? SCRIPT_HELD : SCRIPT_POLL;
	if (r->kept)
		adopt(r, &r->state[at], g);
	else
		connect_again(r, &r->state[at], g);
	fake_settle(g);
	if (fake_broken(g, 0))
		fail_msg("state %u: broken: %s", at, fake_broken(g, 0));
	release_singly(g, r->req, back);
	for (unsigned i = 0; i < REQS; i++) {
		if (back[i] != 1)
			fail_msg("state %u of %u: request %u came back %u times", at, r->n, i,
				 back[i]);
	}
	assert_int_equal(fake_vq(g, 0)->inflight, 0);
	assert_int_equal(g->s->memo->page->replay[0], KEPT_REPLAY_NONE);
	fake_close(g);
	fake_keep_fini(&mine);
}

static void watched_rounds(void *arg)
{
	struct run *r = arg;

	for (unsigned i = 0; i < r->script(r, UINT32_MAX); i++) {
		r->script(r, i);
		poller_turn(r->g->poller[0]);
	}
}

static void check_every_state(struct run *r)
{
	struct step_range range[2] = { { 0 } };
	gpa_t at = { fake_gpa(r->g, r->g->q[0]->desc) };
	struct gregion *reg = gmem_region(r->g->s->mem, at);

	if (!step_works()) {
		run_close(r);
		skip();
	}
	for (unsigned i = 0; i < REQS; i++) {
		r->req[i] = fake_req(r->g, i % 3 ? VIRTIO_BLK_T_IN : VIRTIO_BLK_T_FLUSH, i,
				     i % 3 ? 512 : 0);
		fake_put_req(r->g->q[0], &r->req[i]);
	}
	fake_publish(r->g->q[0]);
	range[0] = (struct step_range){ reg->host + (at.v - reg->base_b), r->ring_b };
	range[1] = (struct step_range){ r->region, r->track_b };
	r->used_before = r->g->q[0]->used_idx;
	r->used_wrap_before = r->g->q[0]->used_wrap;
	step_stores(range, 2, watched_rounds, look, r);
	look(r);
	assert_true(r->n > 20 && r->n < STATES_MAX);
	for (unsigned i = 0; i < 2 * r->n; i++)
		check_successor(r, i / 2, i % 2);
	run_close(r);
}

/* All at once: taken in one batch, completed in one batch. */
static unsigned one_batch(struct run *r, unsigned round)
{
	if (round == 1)
		script_release_all(r->g->medium, REQ_OK);
	return 4;
}

/* Whoever the region belongs to. @batch: the most that is taken in one turn; 0: as usual. */
static void check(bool packed, unsigned (*script)(struct run *r, unsigned round), uint8_t batch)
{
	for (unsigned kept = 0; kept < 2; kept++) {
		struct run *r = run_open(packed, kept);

		if (batch)
			fake_vq(r->g, 0)->lane->batch = batch;
		r->script = script;
		check_every_state(r);
	}
}

static void replays_all_of_one_batch(void **state)
{
	check(fake_is_packed(state), one_batch, 0);
}

/* The newest first, a few at a time. */
static unsigned backwards(struct run *r, unsigned round)
{
	if (round != UINT32_MAX && round >= 1 && round <= 4) {
		unsigned last = 0;

		for (unsigned i = 0; i < r->g->medium->nheld; i++)
			if (r->g->medium->held[i])
				last = i;
		for (unsigned k = 0; k < 3 && r->g->medium->held[last]; k++) {
			script_release(r->g->medium, last, REQ_OK);
			if (!last--)
				break;
		}
	}
	return 7;
}

static void replays_what_completed_out_of_order(void **state)
{
	check(fake_is_packed(state), backwards, 0);
}

/* Every other one. */
static unsigned gaps(struct run *r, unsigned round)
{
	if (round == 1)
		for (unsigned i = 0; i < r->g->medium->nheld; i += 2)
			script_release(r->g->medium, i, REQ_OK);
	if (round == 3)
		script_release_all(r->g->medium, REQ_IOERR);
	return 5;
}

static void replays_the_gaps(void **state)
{
	check(fake_is_packed(state), gaps, 0);
}

/* Four taken and completed by one poller, the rest by another. */
static unsigned moved(struct run *r, unsigned round)
{
	struct fake *g = r->g;

	if (round == 1) {
		script_release_all(g->medium, REQ_OK);
		g->front.poller[0] = g->poller[1];
		assert_int_equal(session_move(g->s, g->why, sizeof(g->why)), 0);
	}
	if (round == 2 || round == 3) {
		poller_turn(g->poller[1]);
		script_release_all(g->medium, REQ_OK);
	}
	return 4;
}

static void replays_what_was_under_way_around_a_move(void **state)
{
	check(fake_is_packed(state), moved, 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FAKE_BOTH(replays_all_of_one_batch),
		FAKE_BOTH(replays_what_completed_out_of_order),
		FAKE_BOTH(replays_the_gaps),
		FAKE_BOTH(replays_what_was_under_way_around_a_move),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
