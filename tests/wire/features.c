/* SPDX-License-Identifier: Apache-2.0 */
/* GET_ and SET_FEATURES, GET_ and SET_PROTOCOL_FEATURES, SET_ and RESET_OWNER, GET_QUEUE_NUM. */
#include "tests/wire/wire.h"

static uint64_t offered(struct fake *g)
{
	struct vhost_user_msg m;

	assert_int_equal(fake_ask(g, VHOST_USER_GET_FEATURES, NULL, 0, &m), 0);
	assert_int_equal(m.hdr.size, 8);
	return m.payload.u64;
}

static bool has(uint64_t f, unsigned bit)
{
	return f >> bit & 1;
}

static void offers_what_a_disk_can_do(void **state)
{
	struct fake *g = wire_fresh();
	uint64_t f = offered(g);
	static const unsigned yes[] = {
		VIRTIO_F_VERSION_1, VIRTIO_F_RING_PACKED, VIRTIO_F_INDIRECT_DESC,
		VIRTIO_F_EVENT_IDX,
		VHOST_F_LOG_ALL, VHOST_USER_F_PROTOCOL_FEATURES, VIRTIO_BLK_F_MQ,
		VIRTIO_BLK_F_FLUSH,
		VIRTIO_BLK_F_CONFIG_WCE, VIRTIO_BLK_F_SEG_MAX, VIRTIO_BLK_F_BLK_SIZE,
		VIRTIO_BLK_F_TOPOLOGY, VIRTIO_BLK_F_DISCARD, VIRTIO_BLK_F_WRITE_ZEROES,
	};

	for (unsigned i = 0; i < ARRAY_SIZE(yes); i++)
		assert_true(has(f, yes[i]));
	assert_false(has(f, VIRTIO_BLK_F_RO));
	assert_false(has(f, VIRTIO_F_IN_ORDER));
	assert_false(has(f, VIRTIO_BLK_F_SECURE_ERASE));
	fake_close(g);
}

static void offers_nothing_that_changes_a_read_only_disk(void **state)
{
	struct fake *g = fake_open_disk(&(struct fake_conf){ .readonly = true });

	fake_connect(g);
	uint64_t f = offered(g);

	assert_true(has(f, VIRTIO_BLK_F_RO));
	assert_false(has(f, VIRTIO_BLK_F_DISCARD));
	assert_false(has(f, VIRTIO_BLK_F_WRITE_ZEROES));
	assert_false(has(f, VIRTIO_BLK_F_MQ)); /* and one queue is no multiqueue */
	fake_close(g);
}

static void refuses_features_that_it_did_not_offer(void **state)
{
	for (unsigned bit = 0; bit < 64; bit++) {
		struct fake *g = wire_fresh();
		bool ours = has(offered(g), bit);

		assert_int_equal(fake_tell_u64(g, VHOST_USER_SET_FEATURES, 1ull << bit),
				 ours ? 0 : -EPROTO);
		fake_close(g);
	}
}

static void changes_only_the_log_under_running_queues(void **state)
{
	struct fake *g = fake_open(&(struct fake_conf){ .queues = 1 });

	assert_int_equal(fake_tell_u64(g, VHOST_USER_SET_FEATURES,
				       g->features | FAKE_BIT(VHOST_F_LOG_ALL)), 0);
	assert_int_equal(fake_tell_u64(g, VHOST_USER_SET_FEATURES, g->features), 0);
	fake_assert_alive(g, 0);
	assert_int_equal(fake_tell_u64(g, VHOST_USER_SET_FEATURES,
				       g->features ^ FAKE_BIT(VIRTIO_F_EVENT_IDX)), -EPROTO);
	fake_close(g);
}

/* Firmware: one queue, no FLUSH, no EVENT_IDX, no INDIRECT, no protocol features. */
static void serves_firmware_of_few_features(void **state)
{
	struct fake *g = fake_open(&(struct fake_conf){
		.queues = 1, .offered = 64, .no_event_idx = true, .no_indirect = true,
		.without = FAKE_BIT(VIRTIO_BLK_F_FLUSH) | FAKE_BIT(VHOST_USER_F_PROTOCOL_FEATURES) |
			   FAKE_BIT(VIRTIO_BLK_F_MQ) | FAKE_BIT(VIRTIO_BLK_F_CONFIG_WCE) });
	struct fake_req w = fake_req(g, VIRTIO_BLK_T_OUT, 0, 512);

	fake_assert_alive(g, 0);
	assert_int_equal(fake_do(g->q[0], &w), VIRTIO_BLK_S_OK);
	assert_int_equal(g->medium->seen[1].flags, REQ_F_FUA);
	fake_close(g);
}

/* 0.95 drivers know no VERSION_1; their ring is the same where the machine is little-endian. */
static void serves_a_legacy_driver(void **state)
{
	struct fake *g = fake_open(&(struct fake_conf){ .without = FAKE_BIT(VIRTIO_F_VERSION_1) });

	fake_assert_alive(g, 0);
	fake_close(g);
}

static void offers_protocol_features(void **state)
{
	struct fake *g = wire_fresh();
	struct vhost_user_msg m;
	static const unsigned yes[] = {
		VHOST_USER_PROTOCOL_F_MQ, VHOST_USER_PROTOCOL_F_CONFIG,
		VHOST_USER_PROTOCOL_F_REPLY_ACK,
		VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS, VHOST_USER_PROTOCOL_F_BACKEND_REQ,
		VHOST_USER_PROTOCOL_F_LOG_SHMFD, VHOST_USER_PROTOCOL_F_RESET_DEVICE,
		VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD,
	};

	assert_int_equal(fake_ask(g, VHOST_USER_GET_PROTOCOL_FEATURES, NULL, 0, &m), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(yes); i++)
		assert_true(has(m.payload.u64, yes[i]));
	for (unsigned bit = 0; bit < 64; bit++) {
		if (has(m.payload.u64, bit))
			continue;
		struct fake *other = wire_fresh();

		assert_int_equal(fake_tell_u64(other, VHOST_USER_SET_PROTOCOL_FEATURES,
					       1ull << bit),
				 -EPROTO);
		fake_close(other);
	}
	fake_close(g);
}

static void refuses_messages_of_features_not_negotiated(void **state)
{
	static const struct {
		uint32_t request, len;
	} need[] = {
		{ VHOST_USER_GET_QUEUE_NUM, 0 },	{ VHOST_USER_GET_CONFIG, 12 },
		{ VHOST_USER_SET_CONFIG, 13 },		{ VHOST_USER_GET_INFLIGHT_FD, 24 },
		{ VHOST_USER_SET_INFLIGHT_FD, 24 },	{ VHOST_USER_RESET_DEVICE, 0 },
		{ VHOST_USER_GET_MAX_MEM_SLOTS, 0 },	{ VHOST_USER_ADD_MEM_REG, 40 },
		{ VHOST_USER_REM_MEM_REG, 40 },		{ VHOST_USER_SET_BACKEND_REQ_FD, 0 },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(need); i++) {
		struct fake *g = wire_fresh();

		assert_int_equal(wire_send(g, need[i].request, NULL, need[i].len, NULL, 0),
				 -EPROTO);
		assert_non_null(strstr(g->why, "not negotiated"));
		fake_close(g);
	}
}

static void refuses_wrong_sizes(void **state)
{
	wire_refuses_other_sizes(VHOST_USER_GET_FEATURES, 0, 0);
	wire_refuses_other_sizes(VHOST_USER_SET_FEATURES, 8, 8);
	wire_refuses_other_sizes(VHOST_USER_SET_OWNER, 0, 0);
	wire_refuses_other_sizes(VHOST_USER_RESET_OWNER, 0, 0);
	wire_refuses_other_sizes(VHOST_USER_GET_PROTOCOL_FEATURES, 0, 0);
	wire_refuses_other_sizes(VHOST_USER_SET_PROTOCOL_FEATURES, 8, 8);
	wire_refuses_other_sizes(VHOST_USER_GET_QUEUE_NUM, 0, 0);
}

static void refuses_descriptors(void **state)
{
	wire_refuses_more_fds(VHOST_USER_GET_FEATURES, 0, 0);
	wire_refuses_more_fds(VHOST_USER_SET_FEATURES, 8, 0);
	wire_refuses_more_fds(VHOST_USER_SET_OWNER, 0, 0);
	wire_refuses_more_fds(VHOST_USER_GET_PROTOCOL_FEATURES, 0, 0);
	wire_refuses_more_fds(VHOST_USER_SET_PROTOCOL_FEATURES, 8, 0);
	wire_refuses_more_fds(VHOST_USER_GET_QUEUE_NUM, 0, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(offers_what_a_disk_can_do),
		cmocka_unit_test(offers_nothing_that_changes_a_read_only_disk),
		cmocka_unit_test(refuses_features_that_it_did_not_offer),
		cmocka_unit_test(changes_only_the_log_under_running_queues),
		cmocka_unit_test(serves_firmware_of_few_features),
		cmocka_unit_test(serves_a_legacy_driver),
		cmocka_unit_test(offers_protocol_features),
		cmocka_unit_test(refuses_messages_of_features_not_negotiated),
		cmocka_unit_test(refuses_wrong_sizes),
		cmocka_unit_test(refuses_descriptors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
