/* SPDX-License-Identifier: Apache-2.0 */
/* The death of a process, and its successor, within one. */
#include <sys/mman.h>

#include "base/fd.h"
#include "front/vhost_blk/adopt.h"
#include "tests/fake/guest.h"

/* The same bytes from here on, and nobody else's. */
static void make_private(void *at, size_t len_b)
{
	void *copy = malloc(len_b);

	assert_non_null(copy);
	memcpy(copy, at, len_b);
	assert_ptr_equal(mmap(at, len_b, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), at);
	memcpy(at, copy, len_b);
	free(copy);
}

static void cut_off_queue(struct session_queue *q)
{
	q->vq.broken = "died";
	q->vq.call_fd = q->vq.err_fd = -1;
	if (q->own)
		make_private(q->own, q->own_len_b);
}

static void cut_off(struct session *s)
{
	for (unsigned i = 0; s->mem && i < s->mem->n; i++)
		assert_int_equal(gregion_detach(s->mem->reg[i]), 0);
	if (s->track.at)
		make_private(s->track.at, s->track.len_b);
	make_private(s->memo->page, KEPT_PAGE_B);
	s->memo->is_kept = false;
	for (unsigned i = 0; i < FRONT_QUEUES_MAX; i++)
		if (s->queue[i])
			cut_off_queue(s->queue[i]);
}

/* The guest's half of @from becomes @to's. */
static void hand_over(struct fake *from, struct fake *to)
{
	to->sock = from->sock;
	to->mem = from->mem;
	to->features = from->features;
	to->protocol = from->protocol;
	to->track_fd = from->track_fd;
	to->track = from->track;
	memcpy(to->q, from->q, sizeof(to->q));
	for (unsigned i = 0; i < FRONT_QUEUES_MAX; i++)
		if (to->q[i])
			to->q[i]->g = to;
	from->sock = from->track_fd = -1;
	memset(from->q, 0, sizeof(from->q));
	from->mem = (struct client_mem){ 0 };
}

struct fake *fake_succeed(struct fake *g)
{
	struct fake_conf conf = g->conf;

	conf.when = SCRIPT_POLL;
	struct fake *next = fake_open_disk(&conf);
	memcpy(next->medium->store, g->medium->store, g->medium->store_b);
	if (g->s)
		cut_off(g->s);
	hand_over(g, next);
	fake_close(g);
	int sock = keep_get(&next->front.conf.keep, "sock");
	if (sock < 0) {
		snprintf(next->why, sizeof(next->why), "no connection was kept");
		return next;
	}
	int err = adopt_session(&next->front, sock, &next->s, next->why, sizeof(next->why));
	if (err) {
		fd_close(sock);
		next->s = NULL;
	}
	next->front.session = next->s;
	return next;
}

int fake_go_on(struct fake *g)
{
	uint64_t at_ns;
	int err;

	do {
		err = adopt_go_on(g->s, &at_ns, g->why, sizeof(g->why));
		fake_turn(g);
	} while (!err && (g->s->is_adopted || g->s->alone));
	return err;
}
