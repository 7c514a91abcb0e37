/* SPDX-License-Identifier: Apache-2.0 */
/* Kicks and interrupts: who suppresses what, when, and that no wake-up is lost. */
#include "tests/fake/guest.h"

#include <unistd.h>

/* Turns until queue 0 is cold, and sleeps for at most @max_ns. Return: whether it slept. */
static bool go_to_sleep(struct fake *g, uint64_t max_ns)
{
	struct poller *p = g->poller[0];

	for (unsigned i = 0; i < 100000000u && p->set[POLLEE_HOT].n; i++)
		assert_int_equal(fake_turn(g), 0);
	for (unsigned i = 0; i < 100000000u; i++) {
		if (poller_sleep(p, max_ns))
			return true;
		fake_turn(g);
		if (p->set[POLLEE_HOT].n)
			return false;
	}
	return false;
}

static struct fake *open_mode(void **state, bool no_event_idx, enum poll_mode mode)
{
	return fake_open(&(struct fake_conf){ .packed = fake_is_packed(state), .mode = mode,
					      .no_event_idx = no_event_idx });
}

/* A polled queue wants no kicks, at any place of the ring. */
static void keeps_kicks_off_while_it_polls(void **state)
{
	for (unsigned event_idx = 0; event_idx < 2; event_idx++) {
		struct fake *g = open_mode(state, !event_idx, POLL_ADAPTIVE);

		for (unsigned i = 0; i < 200; i++) {
			struct fake_req r = fake_req(g, VIRTIO_BLK_T_FLUSH, 0, 0);

			fake_put_req(g->q[0], &r);
			assert_false(fake_must_kick(g->q[0], g->conf.packed ? 2 : 1));
			fake_publish(g->q[0]);
			fake_turn(g);
			fake_reap_all(g->q[0]);
		}
		fake_close(g);
	}
}

/* The driver's 16-bit index must not come round to where notifications stand parked. */
static void parks_again_before_the_index_comes_round(void **state)
{
	struct fake *g = open_mode(state, false, POLL_ADAPTIVE);
	struct fake_req r = fake_req(g, VIRTIO_BLK_T_FLUSH, 0, 0);

	for (unsigned i = 0; i < 140000; i++) {
		fake_put_req(g->q[0], &r);
		if (fake_must_kick(g->q[0], 1))
			fail_msg("kick wanted in round %u", i);
		fake_publish(g->q[0]);
		fake_turn(g);
		/* a driver that looks only now */
		if (fake_must_kick(g->q[0], 1))
			fail_msg("kick wanted after round %u", i);
		fake_reap_all(g->q[0]);
	}
	fake_close(g);
}

static void wants_a_kick_before_it_sleeps(void **state)
{
	for (unsigned event_idx = 0; event_idx < 2; event_idx++) {
		struct fake *g = open_mode(state, !event_idx, POLL_NEVER);

		fake_assert_alive(g, 0);
		assert_true(go_to_sleep(g, 1));
		struct fake_req r = fake_req(g, VIRTIO_BLK_T_FLUSH, 0, 0);

		fake_put_req(g->q[0], &r);
		assert_true(fake_must_kick(g->q[0], g->conf.packed ? 2 : 1));
		fake_publish(g->q[0]);
		fake_kick(g->q[0]);
		assert_true(go_to_sleep(g, NEVER_NS)); /* the kick ends it */
		assert_int_equal(g->poller[0]->set[POLLEE_HOT].n, 1);
		assert_int_equal(fake_turn(g), 1);
		assert_int_equal(*r.status, VIRTIO_BLK_S_OK);
		assert_int_equal(fake_vq(g, 0)->pe.kicks, 1);
		/* and off they are again */
		assert_false(fake_must_kick(g->q[0], 0));
		fake_close(g);
	}
}

/* Made available between the last look and the arming, without a kick. */
static void looks_once_more_after_it_asked_for_kicks(void **state)
{
	for (unsigned event_idx = 0; event_idx < 2; event_idx++) {
		struct fake *g = open_mode(state, !event_idx, POLL_NEVER);
		struct fake_req r = fake_req(g, VIRTIO_BLK_T_FLUSH, 0, 0);
		struct vq *q = fake_vq(g, 0);

		fake_put_req(g->q[0], &r);
		fake_publish(g->q[0]);
		assert_true(vq_pollee_ops.arm(&q->pe));
		assert_false(fake_must_kick(g->q[0], 0));
		fake_settle(g);
		assert_int_equal(*r.status, VIRTIO_BLK_S_OK);
		fake_close(g);
	}
}

/* An idle queue that nobody kicks is still looked at in its turn. */
static void finds_work_of_a_cold_queue_without_a_kick(void **state)
{
	struct fake *g = open_mode(state, false, POLL_NEVER);
	struct fake_req r = fake_req(g, VIRTIO_BLK_T_FLUSH, 0, 0);

	assert_true(go_to_sleep(g, 1));
	fake_put_req(g->q[0], &r);
	fake_publish(g->q[0]);
	assert_int_equal(fake_turn(g), 1);
	assert_int_equal(*r.status, VIRTIO_BLK_S_OK);
	assert_int_equal(g->poller[0]->set[POLLEE_HOT].n, 1);
	fake_close(g);
}

static void shrugs_off_a_stale_kick(void **state)
{
	struct fake *g = open_mode(state, false, POLL_NEVER);

	for (unsigned i = 0; i < 3; i++) {
		fake_kick(g->q[0]);
		assert_true(go_to_sleep(g, NEVER_NS));
	}
	assert_true(go_to_sleep(g, 1)); /* nothing is left of them */
	assert_int_equal(fake_vq(g, 0)->pe.kicks, 3);
	fake_assert_alive(g, 0);
	fake_close(g);
}

/* The kick comes, and the driver's requests with it, before SET_VRING_ENABLE. */
static void takes_what_was_there_before_it_was_enabled(void **state)
{
	struct fake *g = fake_open_disk(&(struct fake_conf){ .packed = fake_is_packed(state),
							     .no_ack = true });
	struct fake_req r;
	uint32_t base = g->conf.packed ? 0x80008000u : 0;

	fake_connect(g);
	fake_negotiate(g);
	assert_int_equal(fake_share_mem(g), 0);
	fake_queue(g, 0);
	struct vhost_user_vring_addr a = fake_addr(g->q[0]);

	r = fake_req(g, VIRTIO_BLK_T_FLUSH, 0, 0);
	assert_int_equal(fake_tell_state(g, VHOST_USER_SET_VRING_NUM, 0, 16), 0);
	assert_int_equal(fake_tell_state(g, VHOST_USER_SET_VRING_BASE, 0, base), 0);
	assert_int_equal(fake_tell(g, VHOST_USER_SET_VRING_ADDR, &a, sizeof(a), NULL, 0), 0);
	assert_int_equal(fake_tell_fd(g, VHOST_USER_SET_VRING_KICK, 0, g->q[0]->kick_fd), 0);
	fake_put_req(g->q[0], &r);
	fake_publish(g->q[0]);
	fake_kick(g->q[0]);
	fake_settle(g);
	assert_int_equal(*r.status, FAKE_PENDING);
	/* somebody reads the kick away */
	uint64_t v;

	assert_int_equal(read(g->q[0]->kick_fd, &v, sizeof(v)), sizeof(v));
	assert_int_equal(fake_tell_state(g, VHOST_USER_SET_VRING_ENABLE, 0, 1), 0);
	fake_settle(g);
	assert_int_equal(*r.status, VIRTIO_BLK_S_OK);
	fake_close(g);
}

static void interrupts_once_for_a_batch(void **state)
{
	for (unsigned event_idx = 0; event_idx < 2; event_idx++) {
		struct fake *g = open_mode(state, !event_idx, POLL_ADAPTIVE);
		struct fake_req r[4];

		fake_want_call(g->q[0]);
		for (unsigned i = 0; i < 4; i++) {
			r[i] = fake_req(g, VIRTIO_BLK_T_FLUSH, 0, 0);
			fake_put_req(g->q[0], &r[i]);
		}
		fake_publish(g->q[0]);
		assert_int_equal(fake_turn(g), 4);
		assert_int_equal(fake_calls(g->q[0]), 1);
		assert_int_equal(fake_vq(g, 0)->calls, 1);
		fake_close(g);
	}
}

static void interrupts_nobody_who_polls(void **state)
{
	for (unsigned event_idx = 0; event_idx < 2; event_idx++) {
		struct fake *g = open_mode(state, !event_idx, POLL_ADAPTIVE);

		for (unsigned i = 0; i < 100; i++) {
			fake_want_no_call(g->q[0]);
			fake_assert_alive(g, 0);
		}
		assert_int_equal(fake_calls(g->q[0]), 0);
		fake_close(g);
	}
}

/* An event word anywhere in the ring: the interrupt comes when it is passed, and not before. */
static void interrupts_when_the_event_is_passed(void **state)
{
	struct fake *g = open_mode(state, false, POLL_ADAPTIVE);
	struct fake_queue *q = g->q[0];

	for (unsigned round = 0; round < 40; round++) {
		for (unsigned ahead = 0; ahead < 3; ahead++) {
			unsigned at = q->used_idx + ahead * (g->conf.packed ? 2 : 1);

			if (g->conf.packed) {
				bool over = at >= q->size;
				bool wrap = q->used_wrap ^ over;

				q->driver_event->desc = htole16((uint16_t)(
					(over ? at - q->size : at) |
					(wrap ? VIRTQ_PACKED_WRAP : 0)));
				q->driver_event->flags = htole16(VIRTQ_PACKED_EVENT_F_DESC);
			} else {
				q->avail->ring[q->size] = htole16((uint16_t)at);
			}
			for (unsigned i = 0; i <= ahead; i++) {
				struct fake_req r = fake_req(g, VIRTIO_BLK_T_FLUSH, 0, 0);

				assert_int_equal(fake_do(q, &r), VIRTIO_BLK_S_OK);
				assert_int_equal(fake_calls(q), i == ahead);
			}
		}
	}
	fake_close(g);
}

/* What was published while there was no way to tell the guest is told when there is one. */
static void interrupts_when_a_way_to_do_so_comes(void **state)
{
	struct fake *g = open_mode(state, false, POLL_ADAPTIVE);

	fake_want_call(g->q[0]);
	assert_int_equal(fake_tell_fd(g, VHOST_USER_SET_VRING_CALL, VHOST_USER_VRING_NOFD, -1), 0);
	fake_assert_alive(g, 0);
	assert_int_equal(fake_calls(g->q[0]), 0);
	assert_int_equal(fake_tell_fd(g, VHOST_USER_SET_VRING_CALL, 0, g->q[0]->call_fd), 0);
	assert_int_equal(fake_calls(g->q[0]), 1);
	fake_close(g);
}

static void never_arms_a_queue_that_is_always_polled(void **state)
{
	struct fake *g = open_mode(state, false, POLL_ALWAYS);

	fake_assert_alive(g, 0);
	for (unsigned i = 0; i < 2000000u && g->poller[0]->set[POLLEE_HOT].n; i++)
		fake_turn(g);
	assert_int_equal(g->poller[0]->set[POLLEE_COLD].n, 1);
	assert_false(fake_vq(g, 0)->pe.armed);
	assert_false(poller_sleep(g->poller[0], 1));
	/* live: interrupt-driven from now on */
	vq_set_mode(fake_vq(g, 0), POLL_NEVER);
	assert_true(go_to_sleep(g, 1));
	assert_true(fake_vq(g, 0)->pe.armed);
	vq_set_mode(fake_vq(g, 0), POLL_ALWAYS);
	assert_false(fake_vq(g, 0)->pe.armed);
	assert_false(poller_sleep(g->poller[0], 1));
	fake_close(g);
}

/* Its CPU is the host's only one: it must let the host run. */
static void sleeps_on_the_only_cpu_even_if_always_polled(void **state)
{
	struct fake *g = open_mode(state, false, POLL_ALWAYS);

	g->poller[0]->may_spin = false;
	assert_int_equal(poller_mode(g->poller[0]), POLL_ADAPTIVE);
	fake_assert_alive(g, 0);
	assert_true(go_to_sleep(g, 1));
	assert_true(fake_vq(g, 0)->pe.armed);
	fake_close(g);
}

/* No kick descriptor: nothing could wake us for it. */
static void polls_a_queue_that_cannot_be_kicked(void **state)
{
	struct fake *g = open_mode(state, false, POLL_NEVER);

	assert_int_equal(fake_tell_fd(g, VHOST_USER_SET_VRING_KICK, VHOST_USER_VRING_NOFD, -1), 0);
	fake_assert_alive(g, 0);
	for (unsigned i = 0; i < 2000000u && g->poller[0]->set[POLLEE_HOT].n; i++)
		fake_turn(g);
	assert_false(fake_vq(g, 0)->pe.armed);
	assert_false(poller_sleep(g->poller[0], 1));
	fake_assert_alive(g, 0);
	fake_close(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FAKE_BOTH(keeps_kicks_off_while_it_polls),
		FAKE_SPLIT(parks_again_before_the_index_comes_round),
		FAKE_BOTH(wants_a_kick_before_it_sleeps),
		FAKE_BOTH(looks_once_more_after_it_asked_for_kicks),
		FAKE_BOTH(finds_work_of_a_cold_queue_without_a_kick),
		FAKE_BOTH(shrugs_off_a_stale_kick),
		FAKE_BOTH(takes_what_was_there_before_it_was_enabled),
		FAKE_BOTH(interrupts_once_for_a_batch),
		FAKE_BOTH(interrupts_nobody_who_polls),
		FAKE_BOTH(interrupts_when_the_event_is_passed),
		FAKE_BOTH(interrupts_when_a_way_to_do_so_comes),
		FAKE_BOTH(never_arms_a_queue_that_is_always_polled),
		FAKE_BOTH(sleeps_on_the_only_cpu_even_if_always_polled),
		FAKE_BOTH(polls_a_queue_that_cannot_be_kicked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
