/* SPDX-License-Identifier: Apache-2.0 */
/* GET_CONFIG and SET_CONFIG, and the news of a change on the back-end channel. */
#include "tests/wire/wire.h"

#include "front/vhost_blk/config.h"
#include "front/vhost_blk/message.h"

static int get(struct fake *g, uint32_t off_b, uint32_t len_b, struct vhost_user_msg *m)
{
	struct vhost_user_config ask = { .offset = off_b, .size = len_b, .flags = 1 };

	memset(ask.data, 0xcc, sizeof(ask.data));
	return fake_ask(g, VHOST_USER_GET_CONFIG, &ask, VHOST_USER_CONFIG_HDR_B + len_b, m);
}

static int set(struct fake *g, uint32_t off_b, uint32_t len_b, uint8_t v)
{
	struct vhost_user_config c = { .offset = off_b, .size = len_b };

	memset(c.data, v, sizeof(c.data));
	return fake_tell(g, VHOST_USER_SET_CONFIG, &c, VHOST_USER_CONFIG_HDR_B + len_b, NULL, 0);
}

/* QEMU 7.2 asks for 57 bytes, firmware for 8; an answer of any other size breaks the boot. */
static void gives_exactly_the_prefix_asked_for(void **state)
{
	static const uint32_t len[] = { 1, 8, 24, 36, 56, 57, 60, 61, 100, 256 };
	struct fake *g = wire_ready();
	struct virtio_blk_config c;
	struct vhost_user_msg m;

	config_fill(g->disk, 2, true, &c);
	for (unsigned i = 0; i < ARRAY_SIZE(len); i++) {
		assert_int_equal(get(g, 0, len[i], &m), 0);
		assert_int_equal(m.hdr.size, VHOST_USER_CONFIG_HDR_B + len[i]);
		assert_int_equal(m.payload.config.size, len[i]);
		assert_memory_equal(m.payload.config.data, &c, min_u64(len[i], sizeof(c)));
		for (uint32_t k = sizeof(c); k < len[i]; k++)
			assert_int_equal(m.payload.config.data[k], 0);
	}
	assert_int_equal(get(g, 8, 12, &m), 0);
	assert_memory_equal(m.payload.config.data, (char *)&c + 8, 12);
	fake_close(g);
}

static void describes_the_disk(void **state)
{
	struct fake *g = fake_open(&(struct fake_conf){ .queues = 2, .blk_b = 4096 });
	struct vhost_user_msg m;
	struct virtio_blk_config c;

	assert_int_equal(get(g, 0, sizeof(c), &m), 0);
	memcpy(&c, m.payload.config.data, sizeof(c));
	assert_int_equal(le64toh(c.capacity), MIB / 512);
	assert_int_equal(le32toh(c.blk_size), 4096);
	assert_int_equal(le16toh(c.num_queues), 2);
	assert_int_equal(c.writeback, 1);
	assert_true(le32toh(c.seg_max) >= 126);
	assert_int_equal(le32toh(c.max_discard_seg), 1);
	assert_int_equal(le32toh(c.discard_sector_alignment), 8);
	assert_true(le32toh(c.max_discard_sectors) > 0);
	assert_true(le32toh(c.max_write_zeroes_sectors) > 0);
	assert_int_equal(c.write_zeroes_may_unmap, 1);
	fake_close(g);
}

static void describes_nothing_that_changes_a_read_only_disk(void **state)
{
	struct fake *g = fake_open_disk(&(struct fake_conf){ .readonly = true });
	struct vhost_user_msg m;
	struct virtio_blk_config c;

	fake_connect(g);
	fake_negotiate(g);
	assert_int_equal(get(g, 0, sizeof(c), &m), 0);
	memcpy(&c, m.payload.config.data, sizeof(c));
	assert_int_equal(le64toh(c.capacity), MIB / 512);
	assert_int_equal(c.max_discard_sectors, 0);
	assert_int_equal(c.max_write_zeroes_sectors, 0);
	fake_close(g);
}

static void refuses_to_read_beyond_the_space(void **state)
{
	static const uint32_t bad[][2] = { { 1, 256 }, { 256, 1 }, { 257, 0 }, { UINT32_MAX, 1 },
					   { 200, 100 } };

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		struct fake *g = wire_ready();
		struct vhost_user_msg m;

		assert_int_equal(get(g, bad[i][0], bad[i][1], &m), -EPROTO);
		fake_close(g);
	}
	/* a size in the payload that is not the message's */
	struct fake *g = wire_ready();
	struct vhost_user_config lie = { .size = 60 };

	assert_int_equal(wire_send(g, VHOST_USER_GET_CONFIG, &lie, 12 + 8, NULL, 0), -EPROTO);
	fake_close(g);
}

/* 5.2.5: the driver turns the cache off, and writes are durable when they complete. */
static void lets_the_guest_choose_its_cache(void **state)
{
	struct fake *g = fake_open(&(struct fake_conf){ .queues = 1 });
	struct fake_req w = fake_req(g, VIRTIO_BLK_T_OUT, 0, 512);
	uint32_t at = offsetof(struct virtio_blk_config, writeback);
	struct vhost_user_msg m;

	assert_int_equal(fake_do(g->q[0], &w), VIRTIO_BLK_S_OK);
	assert_int_equal(set(g, at, 1, 0), 0);
	assert_int_equal(fake_do(g->q[0], &w), VIRTIO_BLK_S_OK);
	assert_int_equal(get(g, at, 1, &m), 0);
	assert_int_equal(m.payload.config.data[0], 0);
	/* the choice is the guest's, and outlives a connection */
	fake_disconnect(g);
	fake_connect(g);
	fake_negotiate(g);
	assert_int_equal(get(g, at, 1, &m), 0);
	assert_int_equal(m.payload.config.data[0], 0);
	assert_int_equal(set(g, at, 1, 1), 0);
	assert_int_equal(fake_share_mem(g), 0);
	assert_int_equal(fake_start(g, 0, 2), 0);
	assert_int_equal(fake_do(g->q[0], &w), VIRTIO_BLK_S_OK);
	assert_int_equal(g->medium->seen[0].flags, 0);
	assert_int_equal(g->medium->seen[1].flags, REQ_F_FUA);
	assert_int_equal(g->medium->seen[2].flags, 0);
	fake_close(g);
}

/* A successor of a killed worker knows it from the in-flight region alone. */
static void finds_a_guests_cache_choice_in_its_inflight_region(void **state)
{
	struct fake *g = fake_open(&(struct fake_conf){ .queues = 1, .track = true });
	struct fake_req w = fake_req(g, VIRTIO_BLK_T_OUT, 0, 512);
	uint32_t at = offsetof(struct virtio_blk_config, writeback);
	struct vhost_user_msg m;

	assert_int_equal(set(g, at, 1, 0), 0);
	fake_disconnect(g);
	g->front.writeback = true; /* as a front begins */
	fake_connect(g);
	fake_negotiate(g);
	assert_int_equal(fake_set_track(g), 0);
	assert_int_equal(get(g, at, 1, &m), 0);
	assert_int_equal(m.payload.config.data[0], 0);
	assert_int_equal(fake_share_mem(g), 0);
	assert_int_equal(fake_start(g, 0, 0), 0);
	assert_int_equal(fake_do(g->q[0], &w), VIRTIO_BLK_S_OK);
	assert_int_equal(g->medium->seen[0].flags, REQ_F_FUA);
	fake_close(g);
}

static void lets_the_guest_write_nothing_else(void **state)
{
	struct fake *g = wire_ready();
	uint32_t at = offsetof(struct virtio_blk_config, writeback);

	assert_int_equal(set(g, 0, 8, 0xff), -EREMOTEIO);
	assert_int_equal(set(g, at, 2, 0), -EREMOTEIO);
	assert_int_equal(set(g, at + 1, 1, 0), -EREMOTEIO);
	assert_int_equal(set(g, UINT32_MAX, 1, 0), -EREMOTEIO);
	assert_true(g->front.writeback);
	/* the sizes must agree */
	struct vhost_user_config lie = { .offset = at, .size = 1 };

	assert_int_equal(wire_send(g, VHOST_USER_SET_CONFIG, &lie, 12 + 4, NULL, 0), -EPROTO);
	fake_close(g);
	g = fake_open_disk(&(struct fake_conf){ .without = FAKE_BIT(VIRTIO_BLK_F_CONFIG_WCE) });
	fake_connect(g);
	fake_negotiate(g);
	assert_int_equal(set(g, at, 1, 0), -EREMOTEIO);
	fake_close(g);
}

static int backend_channel(struct fake *g)
{
	int sock[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sock), 0);
	assert_int_equal(fake_tell(g, VHOST_USER_SET_BACKEND_REQ_FD, NULL, 0, &sock[1], 1), 0);
	fd_close(sock[1]);
	return sock[0];
}

static void tells_the_guest_of_a_new_size(void **state)
{
	struct fake *g = wire_ready();
	int sock = backend_channel(g);
	struct vhost_user_hdr h;
	struct disk_error e;
	struct vhost_user_msg m;

	assert_int_equal(disk_resize(g->disk, MIB / 2, &e), 0);
	message_config_changed(g->s);
	assert_true(g->s->resize_pending);
	assert_int_equal(recv(sock, &h, sizeof(h), MSG_DONTWAIT), sizeof(h));
	assert_int_equal(h.request, VHOST_USER_BACKEND_CONFIG_CHANGE_MSG);
	assert_int_equal(h.flags, VHOST_USER_VERSION | VHOST_USER_NEED_REPLY);
	assert_int_equal(h.size, 0);
	assert_int_equal(get(g, 0, 8, &m), 0);
	assert_int_equal(get_le64(m.payload.config.data), MIB / 2 / 512);
	/* the front end says that the guest knows */
	assert_int_equal(vu_send(sock, VHOST_USER_BACKEND_CONFIG_CHANGE_MSG, VHOST_USER_REPLY,
				 &(uint64_t){ 0 }, 8, NULL, 0), 0);
	message_backend_reply(g->s);
	assert_false(g->s->resize_pending);
	fd_close(sock);
	fake_close(g);
}

static void keeps_a_resize_pending_until_it_is_confirmed(void **state)
{
	struct fake *g = wire_ready();

	message_config_changed(g->s); /* no channel */
	assert_true(g->s->resize_pending);
	int sock = backend_channel(g);

	message_config_changed(g->s);
	message_backend_reply(g->s); /* nothing there */
	assert_true(g->s->backend.fd >= 0);
	assert_int_equal(vu_send(sock, VHOST_USER_BACKEND_CONFIG_CHANGE_MSG, VHOST_USER_REPLY,
				 &(uint64_t){ 1 }, 8, NULL, 0), 0);
	message_backend_reply(g->s);
	assert_true(g->s->resize_pending);
	/* nonsense closes the channel, and nothing else */
	assert_int_equal(send(sock, "nonsense", 8, 0), 8);
	message_backend_reply(g->s);
	assert_int_equal(g->s->backend.fd, -1);
	message_config_changed(g->s);
	assert_int_equal(fake_tell(g, VHOST_USER_SET_OWNER, NULL, 0, NULL, 0), 0);
	fd_close(sock);
	fake_close(g);
}

/* Two changes, one answer: the second size may not be known yet. */
static void keeps_a_resize_pending_until_the_last_is_confirmed(void **state)
{
	struct fake *g = wire_ready();
	int sock = backend_channel(g);

	message_config_changed(g->s);
	message_config_changed(g->s);
	for (unsigned i = 0; i < 2; i++) {
		assert_true(g->s->resize_pending);
		assert_int_equal(vu_send(sock, VHOST_USER_BACKEND_CONFIG_CHANGE_MSG,
					 VHOST_USER_REPLY, &(uint64_t){ 0 }, 8, NULL, 0), 0);
		message_backend_reply(g->s);
	}
	assert_false(g->s->resize_pending);
	/* one that is announced and not yet sent */
	message_config_changed(g->s);
	g->front.todo = FRONT_SIZE;
	assert_int_equal(vu_send(sock, VHOST_USER_BACKEND_CONFIG_CHANGE_MSG, VHOST_USER_REPLY,
				 &(uint64_t){ 0 }, 8, NULL, 0), 0);
	message_backend_reply(g->s);
	assert_true(g->s->resize_pending);
	fd_close(sock);
	fake_close(g);
}

/* A front end that reads nothing must not stop us. */
static void does_not_wait_for_a_full_channel(void **state)
{
	struct fake *g = wire_ready();
	int sock = backend_channel(g);

	for (unsigned i = 0; i < 100000; i++)
		message_config_changed(g->s);
	assert_true(g->s->resize_pending);
	fd_close(sock);
	message_config_changed(g->s); /* and none that is gone */
	fake_close(g);
}

static void refuses_a_channel_without_descriptor(void **state)
{
	struct fake *g = wire_ready();

	assert_int_equal(wire_send(g, VHOST_USER_SET_BACKEND_REQ_FD, NULL, 0, NULL, 0), -EPROTO);
	fake_close(g);
	wire_refuses_more_fds(VHOST_USER_SET_BACKEND_REQ_FD, 0, 1);
	wire_refuses_other_sizes(VHOST_USER_SET_BACKEND_REQ_FD, 0, 0);
	wire_refuses_other_sizes(VHOST_USER_GET_CONFIG, 12, 268);
	wire_refuses_other_sizes(VHOST_USER_SET_CONFIG, 12, 268);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gives_exactly_the_prefix_asked_for),
		cmocka_unit_test(describes_the_disk),
		cmocka_unit_test(describes_nothing_that_changes_a_read_only_disk),
		cmocka_unit_test(refuses_to_read_beyond_the_space),
		cmocka_unit_test(lets_the_guest_choose_its_cache),
		cmocka_unit_test(finds_a_guests_cache_choice_in_its_inflight_region),
		cmocka_unit_test(lets_the_guest_write_nothing_else),
		cmocka_unit_test(tells_the_guest_of_a_new_size),
		cmocka_unit_test(keeps_a_resize_pending_until_it_is_confirmed),
		cmocka_unit_test(keeps_a_resize_pending_until_the_last_is_confirmed),
		cmocka_unit_test(does_not_wait_for_a_full_channel),
		cmocka_unit_test(refuses_a_channel_without_descriptor),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
