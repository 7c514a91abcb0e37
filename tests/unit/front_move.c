/* SPDX-License-Identifier: Apache-2.0 */
/* A queue changes its poller while it runs: what it carries with it, and when it stays. The pollers
 * are turned by hand; a move turns the one that it waits for. */
#include "tests/fake/guest.h"

#include <sys/epoll.h>

/* Calls of epoll_ctl() to add a descriptor that fail from now on. */
static unsigned adds_refused;
/* What happens once, before the next call of @hook_op. */
static void (*hook)(void);
static int hook_op;

int __real_epoll_ctl(int epfd, int op, int fd, struct epoll_event *ev);
int __wrap_epoll_ctl(int epfd, int op, int fd, struct epoll_event *ev);

int __wrap_epoll_ctl(int epfd, int op, int fd, struct epoll_event *ev)
{
	void (*run)(void) = op == hook_op ? hook : NULL;

	if (run) {
		hook = NULL;
		run();
	}
	if (op == EPOLL_CTL_ADD && adds_refused) {
		adds_refused--;
		errno = ENOSPC;
		return -1;
	}
	return __real_epoll_ctl(epfd, op, fd, ev);
}

static struct fake *open_two(void **state, enum script_when when, enum poll_mode mode,
			     bool event_idx)
{
	struct fake *g = fake_open(&(struct fake_conf){ .packed = fake_is_packed(state),
							.pollers = 2, .track = true, .when = when,
							.mode = mode,
							.no_event_idx = !event_idx });

	assert_ptr_equal(fake_vq(g, 0)->pe.poller, g->poller[0]);
	return g;
}

static int move_to(struct fake *g, unsigned poller)
{
	for (unsigned i = 0; i < FRONT_QUEUES_MAX; i++)
		g->front.poller[i] = g->poller[poller];
	return session_move(g->s, g->why, sizeof(g->why));
}

static unsigned attached(const struct poller *p)
{
	unsigned n = 0;

	for (unsigned i = 0; i < POLLEE_STATES; i++)
		n += p->set[i].n;
	return n;
}

/* Puts @n requests of which the medium sees the sector, and shows them to the device. */
static void send(struct fake_queue *q, struct fake_req *r, unsigned n, uint64_t sector)
{
	for (unsigned i = 0; i < n; i++) {
		r[i] = fake_req(q->g, VIRTIO_BLK_T_OUT, sector + i, 512);
		fake_put_req(q, &r[i]);
	}
	fake_publish(q);
}

static void assert_statuses(const struct fake_req *r, unsigned n, uint8_t want)
{
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(*r[i].status, want);
}

/* Many times, so that the indices come round on either poller. */
static void goes_on_where_it_is_moved_to(void **state)
{
	struct fake *g = open_two(state, SCRIPT_NOW, POLL_ADAPTIVE, true);

	for (unsigned i = 1; i < 60; i++) {
		struct fake_req r[3];

		assert_int_equal(move_to(g, i % 2), 0);
		assert_int_equal(attached(g->poller[i % 2]), 1);
		assert_int_equal(attached(g->poller[(i + 1) % 2]), 0);
		send(g->q[0], r, 3, i);
		assert_int_equal(poller_turn(g->poller[(i + 1) % 2]), 0);
		fake_turn(g);
		assert_statuses(r, 3, VIRTIO_BLK_S_OK);
		assert_int_equal(fake_reap_all(g->q[0]), 3);
		assert_int_equal(g->medium->lanes, 1); /* a lane nobody uses goes */
	}
	assert_int_equal(fake_vq(g, 0)->taken, 59 * 3);
	assert_null(fake_broken(g, 0));
	fake_close(g);
}

/* What is in flight ends on the poller that took it; what comes meanwhile waits for the other. */
static void lets_what_is_in_flight_end_where_it_is(void **state)
{
	struct fake *g = open_two(state, SCRIPT_POLL, POLL_ADAPTIVE, true);
	struct fake_req first[3], later[2];

	send(g->q[0], first, 3, 0);
	assert_int_equal(g->poller[0]->set[POLLEE_HOT].n, 1);
	vq_pollee_ops.turn(&fake_vq(g, 0)->pe);
	assert_int_equal(fake_vq(g, 0)->inflight, 3);
	send(g->q[0], later, 2, 8);
	assert_int_equal(move_to(g, 1), 0);
	assert_statuses(first, 3, VIRTIO_BLK_S_OK);
	assert_int_equal(fake_requests_out(g->poller[0]), 0);
	fake_settle(g);
	assert_int_equal(g->poller[1]->stats.taken, 2);
	assert_statuses(later, 2, VIRTIO_BLK_S_OK);
	assert_int_equal(fake_reap_all(g->q[0]), 5);
	fake_close(g);
}

static void stays_while_its_medium_does_not_end_a_request(void **state)
{
	struct fake *g = open_two(state, SCRIPT_HELD, POLL_ADAPTIVE, true);
	struct fake_req first[2], later[2];

	send(g->q[0], first, 2, 0);
	fake_settle(g);
	assert_int_equal(script_waiting(g->medium), 2);
	assert_int_equal(move_to(g, 1), -EBUSY);
	assert_string_equal(g->why,
			    "queue 0 has requests in flight that its medium, or a function, "
				    "does not end");
	assert_int_equal(attached(g->poller[0]), 1);
	assert_int_equal(attached(g->poller[1]), 0);
	assert_int_equal(g->medium->lanes, 1);
	/* and takes as before */
	send(g->q[0], later, 2, 8);
	fake_settle(g);
	assert_int_equal(script_waiting(g->medium), 4);
	script_release_all(g->medium, REQ_OK);
	fake_settle(g);
	assert_statuses(first, 2, VIRTIO_BLK_S_OK);
	assert_statuses(later, 2, VIRTIO_BLK_S_OK);
	assert_int_equal(move_to(g, 1), 0);
	g->medium->when = SCRIPT_NOW;
	fake_reap_all(g->q[0]);
	fake_assert_alive(g, 0);
	fake_close(g);
}

/* Its requests have timed out: it is quiet, but a lane must stay for what the medium still has. */
static void stays_while_its_medium_has_what_was_given_up(void **state)
{
	struct fake *g = open_two(state, SCRIPT_HELD, POLL_ADAPTIVE, true);
	struct disk_care care = { .timeout_ns = NS_PER_MS, .expires = true };
	struct fake_req r;

	assert_int_equal(disk_set_care(g->disk, &care), 0);
	send(g->q[0], &r, 1, 0);
	while (*r.status == FAKE_PENDING)
		fake_turn(g);
	assert_int_equal(*r.status, VIRTIO_BLK_S_IOERR);
	assert_int_equal(fake_vq(g, 0)->inflight, 0);
	assert_int_equal(move_to(g, 1), -EBUSY);
	assert_string_equal(g->why, "the medium has not ended what queue 0 has given up");
	assert_int_equal(attached(g->poller[0]), 1);
	script_release_all(g->medium, REQ_OK);
	g->medium->when = SCRIPT_NOW;
	fake_settle(g);
	fake_reap_all(g->q[0]);
	assert_int_equal(move_to(g, 1), 0);
	fake_assert_alive(g, 0);
	fake_close(g);
}

/* Turns until queue 0 is cold on @p. */
static void cool(struct fake *g, struct poller *p)
{
	for (unsigned i = 0; i < 100000000u && p->set[POLLEE_HOT].n; i++)
		fake_turn(g);
	assert_int_equal(p->set[POLLEE_COLD].n, 1);
}

static struct fake *sender;
static struct fake_req sent;
static bool had_to_kick;

static void send_and_kick(void)
{
	sent = fake_req(sender, VIRTIO_BLK_T_FLUSH, 0, 0);
	fake_put_req(sender->q[0], &sent);
	had_to_kick = fake_must_kick(sender->q[0], sender->conf.packed ? 2 : 1);
	fake_publish(sender->q[0]);
	if (had_to_kick)
		fake_kick(sender->q[0]);
}

/* The guest makes a request available when the old poller has read its last kick, or just before
 * the new one waits for kicks. */
static void finds_what_comes_while_it_is_moved(void **state)
{
	for (unsigned i = 0; i < 8; i++) {
		bool armed = i & 2;
		struct fake *g = open_two(state, SCRIPT_NOW, armed ? POLL_NEVER : POLL_ALWAYS,
					  i & 4);

		if (armed)
			cool(g, g->poller[0]);
		sender = g;
		hook_op = i & 1 ? EPOLL_CTL_DEL : EPOLL_CTL_ADD;
		hook = send_and_kick;
		assert_int_equal(move_to(g, 1), 0);
		assert_null(hook);
		assert_int_equal(had_to_kick, armed);
		poller_turn(g->poller[1]);
		assert_int_equal(*sent.status, VIRTIO_BLK_S_OK);
		/* counted once, on whichever side it is read */
		poller_drain_kick(&fake_vq(g, 0)->pe);
		assert_int_equal(fake_vq(g, 0)->pe.kicks, armed);
		fake_close(g);
	}
}

/* Where there are no kicks before, there are none after; where they were wanted, they are again. */
static void carries_its_notifications_over(void **state)
{
	for (unsigned event_idx = 0; event_idx < 2; event_idx++) {
		struct fake *g = open_two(state, SCRIPT_NOW, POLL_NEVER, event_idx);
		struct fake_req r = fake_req(g, VIRTIO_BLK_T_FLUSH, 0, 0);

		fake_assert_alive(g, 0);
		cool(g, g->poller[0]);
		assert_int_equal(move_to(g, 1), 0);
		/* hot, so off: also at an index at which it has never been parked */
		assert_false(fake_vq(g, 0)->pe.armed);
		assert_false(fake_must_kick(g->q[0], 0));
		cool(g, g->poller[1]);
		assert_true(fake_vq(g, 0)->pe.armed);
		fake_put_req(g->q[0], &r);
		assert_true(fake_must_kick(g->q[0], g->conf.packed ? 2 : 1));
		fake_publish(g->q[0]);
		fake_kick(g->q[0]);
		/* the kick reaches the new poller, and the old one hears nothing */
		assert_true(poller_sleep(g->poller[1], NEVER_NS));
		assert_int_equal(poller_turn(g->poller[1]), 1);
		assert_int_equal(*r.status, VIRTIO_BLK_S_OK);
		assert_int_equal(g->poller[0]->stats.taken, 1);
		fake_close(g);
	}
}

/* An interrupt asked for two completions ahead comes after the second, though the first was
 * published by another poller. */
static void carries_the_wish_for_an_interrupt_over(void **state)
{
	struct fake *g = open_two(state, SCRIPT_NOW, POLL_ADAPTIVE, true);
	struct fake_queue *q = g->q[0];
	struct fake_req r[2];

	fake_want_call(q);
	if (q->packed) /* a request takes three entries: the second ends at the sixth */
		q->driver_event->desc = htole16(3 | VIRTQ_PACKED_WRAP);
	else
		q->avail->ring[q->size] = htole16(1);
	send(q, r, 1, 0);
	fake_turn(g);
	assert_int_equal(fake_calls(q), 0);
	assert_int_equal(move_to(g, 1), 0);
	assert_int_equal(fake_calls(q), 0);
	send(q, r + 1, 1, 1);
	fake_turn(g);
	assert_int_equal(fake_calls(q), 1);
	assert_statuses(r, 2, VIRTIO_BLK_S_OK);
	fake_close(g);
}

/* A poller may have queues in all modes; each takes its own along. */
static void takes_its_mode_along(void **state)
{
	struct fake *g = open_two(state, SCRIPT_NOW, POLL_ALWAYS, true);

	assert_int_equal(g->poller[0]->always, 1);
	assert_int_equal(move_to(g, 1), 0);
	assert_int_equal(g->poller[0]->always, 0);
	assert_int_equal(g->poller[1]->always, 1);
	assert_int_equal(poller_mode(g->poller[1]), POLL_ALWAYS);
	fake_close(g);
}

static void goes_back_if_the_other_poller_cannot_take_it(void **state)
{
	struct fake *g = open_two(state, SCRIPT_NOW, POLL_ADAPTIVE, true);

	adds_refused = 1;
	assert_int_equal(move_to(g, 1), -ENOSPC);
	assert_string_equal(g->why, "queue 0 cannot go to fake: No space left on device");
	assert_int_equal(attached(g->poller[0]), 1);
	assert_int_equal(attached(g->poller[1]), 0);
	assert_int_equal(g->medium->lanes, 1);
	fake_assert_alive(g, 0);
	assert_int_equal(move_to(g, 1), 0);
	fake_assert_alive(g, 0);
	fake_close(g);
}

/* Neither takes it: the guest has to connect again, and nothing is left behind. */
static void says_so_when_no_poller_takes_it(void **state)
{
	struct fake *g = open_two(state, SCRIPT_NOW, POLL_ADAPTIVE, true);

	adds_refused = 2;
	assert_int_equal(move_to(g, 1), -ENOTRECOVERABLE);
	assert_int_equal(attached(g->poller[0]) + attached(g->poller[1]), 0);
	fake_disconnect(g);
	assert_int_equal(g->medium->lanes, 0);
	fake_close(g);
}

/* A ring that is no longer in memory takes nothing, on whichever poller. */
static void moves_a_queue_that_has_lost_its_ring(void **state)
{
	struct fake *g = open_two(state, SCRIPT_NOW, POLL_ADAPTIVE, true);
	struct vhost_user_mem_table none = { 0 };
	struct fake_req r;

	assert_int_equal(fake_tell(g, VHOST_USER_SET_MEM_TABLE, &none,
				   VHOST_USER_MEM_TABLE_BYTES(0), NULL, 0), -EREMOTEIO);
	assert_int_equal(move_to(g, 1), 0);
	send(g->q[0], &r, 1, 0);
	fake_settle(g);
	assert_int_equal(*r.status, FAKE_PENDING);
	/* it comes back, and so does the queue */
	assert_int_equal(fake_share_mem(g), 0);
	fake_settle(g);
	assert_int_equal(*r.status, VIRTIO_BLK_S_OK);
	fake_close(g);
}

/* Several queues of one disk: only what has another place moves, and one that cannot keeps none. */
static void moves_each_queue_to_its_own_poller(void **state)
{
	struct fake *g = fake_open(&(struct fake_conf){ .packed = fake_is_packed(state),
							.pollers = 2, .queues = 4,
							.when = SCRIPT_HELD });
	struct fake_req held;

	assert_int_equal(attached(g->poller[0]), 2);
	send(g->q[0], &held, 1, 0);
	fake_settle(g);
	assert_int_equal(move_to(g, 1), -EBUSY);
	assert_int_equal(attached(g->poller[0]), 1);
	assert_int_equal(attached(g->poller[1]), 3);
	assert_ptr_equal(fake_vq(g, 0)->pe.poller, g->poller[0]);
	assert_int_equal(g->medium->lanes, 2);
	script_release_all(g->medium, REQ_OK);
	assert_int_equal(move_to(g, 1), 0);
	assert_int_equal(attached(g->poller[1]), 4);
	assert_int_equal(g->medium->lanes, 1);
	g->medium->when = SCRIPT_NOW;
	fake_reap_all(g->q[0]);
	for (unsigned i = 0; i < 4; i++)
		fake_assert_alive(g, i);
	fake_close(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FAKE_BOTH(goes_on_where_it_is_moved_to),
		FAKE_BOTH(lets_what_is_in_flight_end_where_it_is),
		FAKE_BOTH(stays_while_its_medium_does_not_end_a_request),
		FAKE_BOTH(stays_while_its_medium_has_what_was_given_up),
		FAKE_BOTH(finds_what_comes_while_it_is_moved),
		FAKE_BOTH(carries_its_notifications_over),
		FAKE_BOTH(carries_the_wish_for_an_interrupt_over),
		FAKE_BOTH(takes_its_mode_along),
		FAKE_BOTH(goes_back_if_the_other_poller_cannot_take_it),
		FAKE_BOTH(says_so_when_no_poller_takes_it),
		FAKE_BOTH(moves_a_queue_that_has_lost_its_ring),
		FAKE_BOTH(moves_each_queue_to_its_own_poller),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
