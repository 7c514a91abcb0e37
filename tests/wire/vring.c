/* SPDX-License-Identifier: Apache-2.0 */
/* SET_VRING_NUM, _ADDR, _BASE, _KICK, _CALL, _ERR, _ENABLE, GET_VRING_BASE, RESET_DEVICE. */
#include "tests/wire/wire.h"

static void refuses_queue_that_there_is_not(void **state)
{
	wire_refuses_bad_index(VHOST_USER_SET_VRING_NUM, 16);
	wire_refuses_bad_index(VHOST_USER_SET_VRING_BASE, 0);
	wire_refuses_bad_index(VHOST_USER_GET_VRING_BASE, 0);
	wire_refuses_bad_index(VHOST_USER_SET_VRING_ENABLE, 1);
	static const uint32_t with_fd[] = { VHOST_USER_SET_VRING_KICK, VHOST_USER_SET_VRING_CALL,
					    VHOST_USER_SET_VRING_ERR };
	static const uint64_t bad[] = { 2, 255, 256 + 2, 1ull << 9, 1ull << 32, UINT64_MAX };

	for (unsigned i = 0; i < ARRAY_SIZE(with_fd) * ARRAY_SIZE(bad); i++) {
		struct fake *g = wire_ready();
		uint64_t v = bad[i % ARRAY_SIZE(bad)];
		int fd = v & VHOST_USER_VRING_NOFD ? -1 : eventfd(0, EFD_CLOEXEC);

		assert_int_equal(wire_send(g, with_fd[i / ARRAY_SIZE(bad)], &v, 8, &fd, fd >= 0),
				 -EPROTO);
		fd_close(fd);
		fake_close(g);
	}
	struct fake *g = wire_ready();
	struct vhost_user_vring_addr a = { .index = 2 };

	assert_int_equal(wire_send(g, VHOST_USER_SET_VRING_ADDR, &a, sizeof(a), NULL, 0), -EPROTO);
	fake_close(g);
}

static void refuses_wrong_sizes(void **state)
{
	static const uint32_t state8[] = { VHOST_USER_SET_VRING_NUM, VHOST_USER_SET_VRING_BASE,
					   VHOST_USER_GET_VRING_BASE, VHOST_USER_SET_VRING_KICK,
					   VHOST_USER_SET_VRING_CALL, VHOST_USER_SET_VRING_ERR,
					   VHOST_USER_SET_VRING_ENABLE };

	for (unsigned i = 0; i < ARRAY_SIZE(state8); i++)
		wire_refuses_other_sizes(state8[i], 8, 8);
	wire_refuses_other_sizes(VHOST_USER_SET_VRING_ADDR, 40, 40);
	wire_refuses_other_sizes(VHOST_USER_RESET_DEVICE, 0, 0);
}

static void refuses_too_many_descriptors(void **state)
{
	wire_refuses_more_fds(VHOST_USER_SET_VRING_NUM, 8, 0);
	wire_refuses_more_fds(VHOST_USER_SET_VRING_ADDR, 40, 0);
	wire_refuses_more_fds(VHOST_USER_SET_VRING_BASE, 8, 0);
	wire_refuses_more_fds(VHOST_USER_GET_VRING_BASE, 8, 0);
	wire_refuses_more_fds(VHOST_USER_SET_VRING_KICK, 8, 1);
	wire_refuses_more_fds(VHOST_USER_SET_VRING_CALL, 8, 1);
	wire_refuses_more_fds(VHOST_USER_SET_VRING_ERR, 8, 1);
	wire_refuses_more_fds(VHOST_USER_SET_VRING_ENABLE, 8, 0);
	wire_refuses_more_fds(VHOST_USER_RESET_DEVICE, 0, 0);
}

/* Missing, unexpected, and nothing that can be polled without waiting. */
static void refuses_descriptors_that_are_no_eventfd(void **state)
{
	static const uint32_t with_fd[] = { VHOST_USER_SET_VRING_KICK, VHOST_USER_SET_VRING_CALL,
					    VHOST_USER_SET_VRING_ERR };

	for (unsigned i = 0; i < ARRAY_SIZE(with_fd); i++) {
		for (unsigned k = 0; k < 5; k++) {
			struct fake *g = wire_ready();
			uint64_t v = k == 1 ? VHOST_USER_VRING_NOFD : 0;
			int fd = -1, p[2];

			assert_int_equal(pipe2(p, O_CLOEXEC), 0);
			if (k == 1)
				fd = eventfd(0, EFD_CLOEXEC);
			if (k == 2)
				fd = dup(p[0]);
			if (k == 3)
				fd = dup(g->mem.fd[0]);
			if (k == 4)
				fd = dup(g->sock);
			assert_int_equal(wire_send(g, with_fd[i], &v, 8, &fd, fd >= 0), -EPROTO);
			fd_close(fd);
			fd_close(p[0]);
			fd_close(p[1]);
			fake_close(g);
		}
	}
}

static void refuses_senseless_ring_sizes(void **state)
{
	static const uint32_t bad[] = { 0, 32769, 65536, 65536 + 16, UINT32_MAX };

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		struct fake *g = wire_ready();
		struct vhost_user_vring_state s = { 0, bad[i] };

		assert_int_equal(wire_send(g, VHOST_USER_SET_VRING_NUM, &s, sizeof(s), NULL, 0),
				 -EPROTO);
		fake_close(g);
	}
	/* a split ring's is a power of two; known when it starts */
	struct fake *g = wire_ready();

	fake_queue(g, 0)->size = 15;
	assert_int_equal(fake_start(g, 0, 0), -EREMOTEIO);
	assert_false(fake_vq(g, 0)->running);
	fake_close(g);
}

static void refuses_ring_outside_memory(void **state)
{
	for (unsigned i = 0; i < 9; i++) {
		struct fake *g = wire_ready();
		struct fake_queue *q = fake_queue(g, 0);
		struct vhost_user_vring_addr a = fake_addr(q);
		uint64_t *part[] = { &a.desc, &a.avail, &a.used };
		uint64_t end = (uintptr_t)g->mem.host + g->mem.len_b;
		const uint64_t bad[] = { 0, end - 4, UINT64_MAX - 15 };

		*part[i % 3] = bad[i / 3];
		assert_int_equal(fake_tell_state(g, VHOST_USER_SET_VRING_NUM, 0, 16), 0);
		assert_int_equal(fake_tell(g, VHOST_USER_SET_VRING_ADDR, &a, sizeof(a), NULL, 0),
				 0);
		assert_int_equal(fake_tell_fd(g, VHOST_USER_SET_VRING_KICK, 0, q->kick_fd), 0);
		assert_int_equal(fake_tell_state(g, VHOST_USER_SET_VRING_ENABLE, 0, 1), -EREMOTEIO);
		assert_false(fake_vq(g, 0)->running);
		fake_close(g);
	}
}

static void refuses_misaligned_ring(void **state)
{
	static const uint64_t by[] = { 8, 1, 2 };

	for (unsigned i = 0; i < 3; i++) {
		struct fake *g = wire_ready();
		struct fake_queue *q = fake_queue(g, 0);

		if (i == 0)
			q->desc = (void *)((char *)q->desc + by[i]);
		if (i == 1)
			q->avail = (void *)((char *)q->avail + by[i]);
		if (i == 2)
			q->used = (void *)((char *)q->used + by[i]);
		assert_int_equal(fake_start(g, 0, 0), -EREMOTEIO);
		fake_close(g);
	}
}

static void refuses_addresses_before_memory(void **state)
{
	struct fake *g = wire_fresh();
	struct vhost_user_vring_addr a = { .index = 0 };

	fake_negotiate(g);
	assert_int_equal(wire_send(g, VHOST_USER_SET_VRING_ADDR, &a, sizeof(a), NULL, 0), -EPROTO);
	fake_close(g);
}

static void refuses_to_change_size_or_base_of_a_running_ring(void **state)
{
	static const uint32_t what[] = { VHOST_USER_SET_VRING_NUM, VHOST_USER_SET_VRING_BASE };

	for (unsigned i = 0; i < 2; i++) {
		struct fake *g = fake_open(&(struct fake_conf){ .queues = 1 });

		assert_int_equal(fake_tell_state(g, what[i], 0, 8), -EPROTO);
		fake_close(g);
	}
}

static void enables_and_disables(void **state)
{
	struct fake *g = fake_open(&(struct fake_conf){ .queues = 1 });
	struct fake_req r = fake_req(g, VIRTIO_BLK_T_FLUSH, 0, 0);

	assert_int_equal(fake_tell_state(g, VHOST_USER_SET_VRING_ENABLE, 0, 0), 0);
	fake_put_req(g->q[0], &r);
	fake_publish(g->q[0]);
	fake_kick(g->q[0]);
	fake_settle(g);
	assert_int_equal(*r.status, FAKE_PENDING);
	assert_int_equal(fake_tell_state(g, VHOST_USER_SET_VRING_ENABLE, 0, 1), 0);
	fake_settle(g);
	assert_int_equal(*r.status, VIRTIO_BLK_S_OK);
	assert_int_equal(fake_tell_state(g, VHOST_USER_SET_VRING_ENABLE, 0, 2), -EPROTO);
	fake_close(g);
	g = fake_open_disk(&(struct fake_conf){ .without =
						FAKE_BIT(VHOST_USER_F_PROTOCOL_FEATURES) });
	fake_connect(g);
	fake_negotiate(g);
	assert_int_equal(fake_tell_state(g, VHOST_USER_SET_VRING_ENABLE, 0, 1), -EPROTO);
	fake_close(g);
}

/* GET_VRING_BASE stops the queue when all it took is done, and says where it stands. */
static void waits_for_what_is_in_flight_before_it_tells_the_base(void **state)
{
	struct fake *g = fake_open(&(struct fake_conf){ .queues = 1, .when = SCRIPT_POLL });
	struct fake_req r[3];

	for (unsigned i = 0; i < 3; i++) {
		r[i] = fake_req(g, VIRTIO_BLK_T_FLUSH, 0, 0);
		fake_put_req(g->q[0], &r[i]);
	}
	fake_publish(g->q[0]);
	fake_turn(g);
	assert_int_equal(fake_stop(g, 0), 3);
	assert_int_equal(fake_reap_all(g->q[0]), 3);
	assert_int_equal(fake_stop(g, 0), 3); /* again: the same */
	assert_int_equal(fake_start(g, 0, 3), 0);
	fake_assert_alive(g, 0);
	fake_close(g);
}

static void tells_the_base_of_a_queue_that_never_ran(void **state)
{
	struct fake *g = wire_ready();

	assert_int_equal(fake_tell_state(g, VHOST_USER_SET_VRING_BASE, 1, 77), 0);
	assert_int_equal(fake_stop(g, 1), 77);
	assert_int_equal(fake_stop(g, 0), 0);
	fake_close(g);
}

static void takes_a_new_kick_under_a_running_queue(void **state)
{
	struct fake *g = fake_open(&(struct fake_conf){ .queues = 1 });
	int other = eventfd(0, EFD_CLOEXEC);

	fake_assert_alive(g, 0);
	assert_int_equal(fake_tell_fd(g, VHOST_USER_SET_VRING_KICK, 0, other), 0);
	assert_true(fake_vq(g, 0)->running);
	fake_assert_alive(g, 0);
	assert_int_equal(fake_tell_fd(g, VHOST_USER_SET_VRING_ERR, 0, other), 0);
	fd_close(other);
	fake_close(g);
}

/* Where its log goes is told by its addresses again, while it runs. */
static void takes_its_addresses_again_while_it_runs(void **state)
{
	struct fake *g = fake_open(&(struct fake_conf){ .queues = 1, .packed = true });
	struct vhost_user_vring_addr a = fake_addr(g->q[0]);

	a.flags = VHOST_USER_VRING_F_LOG;
	fake_assert_alive(g, 0);
	assert_int_equal(fake_tell(g, VHOST_USER_SET_VRING_ADDR, &a, sizeof(a), NULL, 0), 0);
	fake_assert_alive(g, 0);
	a.desc = 0;
	assert_int_equal(fake_tell(g, VHOST_USER_SET_VRING_ADDR, &a, sizeof(a), NULL, 0),
			 -EREMOTEIO);
	fake_close(g);
}

static void resets_the_device(void **state)
{
	struct fake *g = fake_open(&(struct fake_conf){ .queues = 2 });

	g->front.writeback = false;
	assert_int_equal(fake_tell(g, VHOST_USER_RESET_DEVICE, NULL, 0, NULL, 0), 0);
	assert_true(g->front.writeback);
	assert_false(fake_vq(g, 0)->running);
	assert_false(fake_vq(g, 1)->running);
	fake_close(g);
}

/* A queue starts when the last of what it needs has come, in whatever order that is. */
static void starts_in_any_order_of_messages(void **state)
{
	for (unsigned first = 0; first < 4; first++) {
		struct fake *g = wire_ready();
		struct fake_queue *q = fake_queue(g, 0);
		struct vhost_user_vring_addr a = fake_addr(q);

		for (unsigned i = 0; i < 4; i++) {
			assert_false(g->s->queue[0] && fake_vq(g, 0)->running);
			switch ((first + i) % 4) {
			case 0:
				assert_int_equal(fake_tell_state(g, VHOST_USER_SET_VRING_NUM, 0,
								 16), 0);
				break;
			case 1:
				assert_int_equal(fake_tell(g, VHOST_USER_SET_VRING_ADDR, &a,
							   sizeof(a), NULL, 0), 0);
				break;
			case 2:
				assert_int_equal(fake_tell_fd(g, VHOST_USER_SET_VRING_KICK, 0,
							      q->kick_fd), 0);
				break;
			default:
				assert_int_equal(fake_tell_state(g, VHOST_USER_SET_VRING_ENABLE, 0,
								 1),
						 0);
			}
		}
		fake_assert_alive(g, 0);
		fake_close(g);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refuses_queue_that_there_is_not),
		cmocka_unit_test(refuses_wrong_sizes),
		cmocka_unit_test(refuses_too_many_descriptors),
		cmocka_unit_test(refuses_descriptors_that_are_no_eventfd),
		cmocka_unit_test(refuses_senseless_ring_sizes),
		cmocka_unit_test(refuses_ring_outside_memory),
		cmocka_unit_test(refuses_misaligned_ring),
		cmocka_unit_test(refuses_addresses_before_memory),
		cmocka_unit_test(refuses_to_change_size_or_base_of_a_running_ring),
		cmocka_unit_test(enables_and_disables),
		cmocka_unit_test(waits_for_what_is_in_flight_before_it_tells_the_base),
		cmocka_unit_test(tells_the_base_of_a_queue_that_never_ran),
		cmocka_unit_test(takes_a_new_kick_under_a_running_queue),
		cmocka_unit_test(takes_its_addresses_again_while_it_runs),
		cmocka_unit_test(resets_the_device),
		cmocka_unit_test(starts_in_any_order_of_messages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
