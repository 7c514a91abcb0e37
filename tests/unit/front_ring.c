/* SPDX-License-Identifier: Apache-2.0 */
/* Broken rings: the queue stops, says why once, and everything else goes on. */
#include "tests/fake/guest.h"

#include <fcntl.h>
#include <unistd.h>

/* Two queues: the second one is the bystander. */
static struct fake *open_fake(void **state)
{
	return fake_open(&(struct fake_conf){ .packed = fake_is_packed(state), .queues = 2 });
}

/* That queue 0 is broken for a reason with @word in it, and queue 1 is none the worse. */
static void assert_broken(struct fake *g, const char *word)
{
	uint64_t n = 0;

	fake_settle(g);
	assert_non_null(fake_broken(g, 0));
	if (!strstr(fake_broken(g, 0), word))
		fail_msg("broken for another reason: %s", fake_broken(g, 0));
	assert_int_equal(read(g->q[0]->err_fd, &n, sizeof(n)), sizeof(n));
	assert_int_equal(n, 1);
	assert_null(fake_broken(g, 1));
	fake_assert_alive(g, 1);
	/* it takes nothing more */
	struct fake_req r = fake_req(g, VIRTIO_BLK_T_IN, 0, 512);

	fake_put_req(g->q[0], &r);
	fake_publish(g->q[0]);
	fake_kick(g->q[0]);
	fake_settle(g);
	assert_int_equal(*r.status, FAKE_PENDING);
	fake_close(g);
}

static void breaks_on_address_outside_memory(void **state)
{
	static const uint64_t bad[] = { 0, CLIENT_MEM_GUEST_BASE - 1, UINT64_MAX,
					UINT64_MAX - 510 };

	for (unsigned i = 0; i < ARRAY_SIZE(bad) * 3; i++) {
		struct fake *g = open_fake(state);
		struct fake_req r = fake_req(g, VIRTIO_BLK_T_IN, 0, 512);
		struct fake_desc d[] = { fake_out(g, r.hdr, 16), fake_in(g, r.data, 512),
					 fake_in(g, r.status, 1) };

		d[i % 3].at = bad[i / 3];
		fake_put(g->q[0], d, 3);
		fake_publish(g->q[0]);
		assert_broken(g, "address outside memory");
	}
}

static void breaks_on_buffer_that_runs_out_of_memory(void **state)
{
	static const uint32_t over[] = { 1, 4096, UINT32_MAX - 511 };

	for (unsigned i = 0; i < ARRAY_SIZE(over); i++) {
		struct fake *g = open_fake(state);
		struct fake_req r = fake_req(g, VIRTIO_BLK_T_IN, 0, 512);
		uint64_t end = CLIENT_MEM_GUEST_BASE + g->mem.len_b;
		struct fake_desc d[] = { fake_out(g, r.hdr, 16),
					 { end - 511, 511 + over[i], VIRTQ_DESC_F_WRITE },
					 fake_in(g, r.status, 1) };

		fake_put(g->q[0], d, 3);
		fake_publish(g->q[0]);
		assert_broken(g, "address outside memory");
	}
}

/* Also where nothing would be read or written there. */
static void breaks_on_bad_address_of_a_refused_request(void **state)
{
	struct fake *g = open_fake(state);
	struct fake_req r = fake_req(g, VIRTIO_BLK_T_IN, 0, 512);
	struct fake_desc d[] = { fake_out(g, r.hdr, 8), { 0, 512, VIRTQ_DESC_F_WRITE },
				 fake_in(g, r.status, 1) };

	fake_put(g->q[0], d, 3);
	fake_publish(g->q[0]);
	assert_broken(g, "address outside memory");
}

static void breaks_on_indirect_inside_indirect(void **state)
{
	struct fake *g = open_fake(state);
	struct fake_req r = fake_req(g, VIRTIO_BLK_T_IN, 0, 512);
	struct fake_desc d[] = { fake_out(g, r.hdr, 16), fake_in(g, r.data, 512),
				 fake_in(g, r.status, 1) };

	d[1].flags |= VIRTQ_DESC_F_INDIRECT;
	fake_put_indirect(g->q[0], d, 3);
	fake_publish(g->q[0]);
	assert_broken(g, "indirect descriptor inside");
}

static void breaks_on_indirect_behind_others(void **state)
{
	struct fake *g = open_fake(state);
	struct fake_req r = fake_req(g, VIRTIO_BLK_T_IN, 0, 512);
	struct fake_desc d[] = { fake_out(g, r.hdr, 16), fake_in(g, r.data, 512) };

	d[1].flags = VIRTQ_DESC_F_INDIRECT;
	fake_put(g->q[0], d, 2);
	fake_publish(g->q[0]);
	assert_broken(g, "indirect descriptor where none");
}

static void breaks_on_indirect_with_next(void **state)
{
	struct fake *g = open_fake(state);
	struct fake_req r = fake_req(g, VIRTIO_BLK_T_IN, 0, 512);
	struct fake_desc d[] = { fake_out(g, r.hdr, 16), fake_in(g, r.data, 512) };

	d[0].flags = VIRTQ_DESC_F_INDIRECT; /* put() adds NEXT */
	fake_put(g->q[0], d, 2);
	fake_publish(g->q[0]);
	assert_broken(g, "indirect descriptor where none");
}

static void breaks_on_indirect_that_was_not_negotiated(void **state)
{
	struct fake *g = fake_open(&(struct fake_conf){ .packed = fake_is_packed(state),
							.queues = 2, .no_indirect = true });
	struct fake_req r = fake_req(g, VIRTIO_BLK_T_IN, 0, 512);
	struct fake_desc d[] = { fake_out(g, r.hdr, 16), fake_in(g, r.data, 512),
				 fake_in(g, r.status, 1) };

	fake_put_indirect(g->q[0], d, 3);
	fake_publish(g->q[0]);
	assert_broken(g, "indirect descriptor where none");
}

static void breaks_on_indirect_table_that_is_none(void **state)
{
	for (unsigned i = 0; i < 5; i++) {
		struct fake *g = open_fake(state);
		void *t = fake_alloc(g, 4096, 4096);
		uint64_t end = CLIENT_MEM_GUEST_BASE + g->mem.len_b;
		struct fake_desc bad[] = {
			{ fake_gpa(g, t), 0, 0 },  { fake_gpa(g, t), 17, 0 },
			{ fake_gpa(g, t), 15, 0 }, { end - 16, 32, 0 },
			{ UINT64_MAX - 15, 16, 0 },
		};

		bad[i].flags = VIRTQ_DESC_F_INDIRECT;
		fake_put(g->q[0], &bad[i], 1);
		fake_publish(g->q[0]);
		assert_broken(g, "indirect table that is no table");
	}
}

/* Nobody's chain may keep the poller busy for as long as a table of gigabytes is. */
static void breaks_on_indirect_chain_longer_than_the_ring(void **state)
{
	struct fake *g = open_fake(state);
	struct fake_req r = fake_req(g, VIRTIO_BLK_T_OUT, 0, 512);
	static struct fake_desc d[20000];

	for (unsigned i = 0; i < ARRAY_SIZE(d); i++)
		d[i] = fake_out(g, r.hdr, 1);
	fake_put_indirect(g->q[0], d, ARRAY_SIZE(d));
	fake_publish(g->q[0]);
	assert_broken(g, "longer than the ring");
}

static void breaks_on_head_beyond_ring(void **state)
{
	static const uint16_t bad[] = { 16, 17, 0x8000, UINT16_MAX };

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		struct fake *g = open_fake(state);

		fake_put_head(g->q[0], bad[i]);
		fake_publish(g->q[0]);
		assert_broken(g, "head beyond the ring");
	}
}

static void breaks_on_next_beyond_ring(void **state)
{
	struct fake *g = open_fake(state);
	struct fake_req r = fake_req(g, VIRTIO_BLK_T_IN, 0, 512);
	struct fake_desc d = fake_out(g, r.hdr, 16);

	d.flags = VIRTQ_DESC_F_NEXT;
	fake_write(g->q[0], 0, d, 16);
	fake_put_head(g->q[0], 0);
	fake_publish(g->q[0]);
	assert_broken(g, "next descriptor beyond the ring");
}

static void breaks_on_loop(void **state)
{
	struct fake *g = open_fake(state);
	struct fake_req r = fake_req(g, VIRTIO_BLK_T_IN, 0, 512);
	struct fake_desc d = fake_out(g, r.hdr, 16);

	d.flags = VIRTQ_DESC_F_NEXT;
	fake_write(g->q[0], 0, d, 1);
	fake_write(g->q[0], 1, d, 0);
	fake_put_head(g->q[0], 0);
	fake_publish(g->q[0]);
	assert_broken(g, "loop");
}

static void breaks_on_loop_in_indirect_table(void **state)
{
	static const struct {
		uint16_t next;
		const char *word;
	} bad[] = { { 0, "loop" }, { 1, "loop" }, { 2, "beyond the indirect" },
		    { UINT16_MAX, "beyond the indirect" } };

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		struct fake *g = open_fake(state);
		struct virtq_desc *t = fake_alloc(g, 32, 16);
		struct fake_desc one = { fake_gpa(g, t), 32, VIRTQ_DESC_F_INDIRECT };

		for (unsigned k = 0; k < 2; k++)
			t[k] = (struct virtq_desc){ htole64(fake_gpa(g, t)), htole32(1),
						    htole16(VIRTQ_DESC_F_NEXT),
						    htole16(k ? bad[i].next : 1) };
		fake_put(g->q[0], &one, 1);
		fake_publish(g->q[0]);
		assert_broken(g, bad[i].word);
	}
}

static void breaks_on_next_beyond_an_indirect_table(void **state)
{
	struct fake *g = open_fake(state);
	struct virtq_desc *t = fake_alloc(g, 5 * sizeof(*t), 16);
	struct fake_desc one = { fake_gpa(g, t), 4 * sizeof(*t), VIRTQ_DESC_F_INDIRECT };

	/* what follows the table would do */
	t[0] = (struct virtq_desc){ htole64(fake_gpa(g, t)), htole32(16),
				    htole16(VIRTQ_DESC_F_NEXT), htole16(4) };
	t[4] = (struct virtq_desc){ htole64(fake_gpa(g, t)), htole32(1),
				    htole16(VIRTQ_DESC_F_WRITE), 0 };
	fake_put(g->q[0], &one, 1);
	fake_publish(g->q[0]);
	assert_broken(g, "beyond the indirect");
}

static void breaks_on_index_too_far_ahead(void **state)
{
	static const uint16_t ahead[] = { 17, 0x7fff, 0x8000, UINT16_MAX };

	for (unsigned i = 0; i < ARRAY_SIZE(ahead); i++) {
		struct fake *g = open_fake(state);

		g->q[0]->put_idx = ahead[i];
		fake_publish(g->q[0]);
		assert_broken(g, "available index too far ahead");
	}
}

/* What is in flight counts: a ring of 16 cannot hold 16 more. */
static void breaks_on_more_than_the_ring_holds(void **state)
{
	struct fake *g = fake_open(&(struct fake_conf){ .queues = 2, .when = SCRIPT_HELD });
	struct fake_req r = fake_req(g, VIRTIO_BLK_T_IN, 0, 512);

	fake_put_req(g->q[0], &r);
	fake_publish(g->q[0]);
	fake_settle(g);
	g->medium->when = SCRIPT_NOW;
	g->q[0]->put_idx = 17;
	fake_publish(g->q[0]);
	fake_settle(g);
	script_release_all(g->medium, REQ_OK);
	fake_settle(g);
	assert_int_equal(*r.status, VIRTIO_BLK_S_OK); /* what was in flight still ends */
	assert_int_equal(fake_reap_all(g->q[0]), 1);
	g->q[0]->put_idx = 17;
	assert_broken(g, "available index too far ahead");
}

/* Every descriptor says that another follows. */
static void breaks_on_chain_longer_than_ring(void **state)
{
	struct fake *g = open_fake(state);
	struct fake_req r = fake_req(g, VIRTIO_BLK_T_IN, 0, 512);
	struct fake_desc d = fake_out(g, r.hdr, 1);

	d.flags = VIRTQ_DESC_F_NEXT;
	for (unsigned i = 0; i < 16; i++)
		fake_write(g->q[0], 0, d, 0);
	fake_publish(g->q[0]);
	assert_broken(g, "longer than the ring");
}

static void breaks_on_more_descriptors_than_the_ring_has(void **state)
{
	struct fake *g = fake_open(&(struct fake_conf){ .packed = true, .queues = 2,
							.when = SCRIPT_HELD });
	struct fake_req r = fake_req(g, VIRTIO_BLK_T_IN, 0, 512);
	struct fake_desc d = fake_out(g, r.hdr, 16);

	fake_put_req(g->q[0], &r); /* three of 16 entries */
	fake_publish(g->q[0]);
	fake_settle(g);
	g->medium->when = SCRIPT_NOW;
	d.flags = VIRTQ_DESC_F_NEXT;
	for (unsigned i = 0; i < 14; i++)
		fake_write(g->q[0], 0, d, 0);
	fake_publish(g->q[0]);
	fake_settle(g);
	script_release_all(g->medium, REQ_OK);
	assert_broken(g, "more descriptors available");
}

/* 2.8.13: ids are the driver's; nothing of ours may be found by one. */
static void gives_back_any_id(void **state)
{
	static const uint16_t id[] = { 0, 15, 16, 0x7fff, 0x8000, UINT16_MAX };
	struct fake *g = open_fake(state);
	struct fake_queue *q = g->q[0];

	for (unsigned i = 0; i < ARRAY_SIZE(id); i++) {
		struct fake_req r = fake_req(g, VIRTIO_BLK_T_FLUSH, 0, 0);
		struct fake_desc d[] = { fake_out(g, r.hdr, 16), fake_in(g, r.status, 1) };
		uint16_t at = q->put_idx;

		d[0].flags = VIRTQ_DESC_F_NEXT;
		fake_write(q, 0, d[0], (uint16_t)~id[i]);
		fake_write(q, 0, d[1], id[i]);
		fake_publish(q);
		fake_settle(g);
		assert_int_equal(*r.status, VIRTIO_BLK_S_OK);
		assert_int_equal(le16toh(q->pdesc[at].id), id[i]);
	}
	fake_close(g);
}

static void gives_the_same_id_back_twice(void **state)
{
	struct fake *g = fake_open(&(struct fake_conf){ .packed = true, .when = SCRIPT_HELD });
	struct fake_queue *q = g->q[0];
	struct fake_req r[2];

	for (unsigned i = 0; i < 2; i++) {
		r[i] = fake_req(g, VIRTIO_BLK_T_IN, i, 512);
		q->next_id = 7;
		fake_put_req(q, &r[i]);
	}
	fake_publish(q);
	fake_settle(g);
	script_release_all(g->medium, REQ_OK);
	fake_settle(g);
	assert_int_equal(fake_reap_all(q), 2);
	g->medium->when = SCRIPT_NOW;
	fake_assert_alive(g, 0);
	fake_close(g);
}

static void goes_round_the_ring_many_times(void **state)
{
	struct fake *g = open_fake(state);
	struct fake_req r = fake_req(g, VIRTIO_BLK_T_IN, 0, 512);

	/* past the wrap of a 16-bit index: an index of the driver's is never compared by size */
	for (unsigned i = 0; i < 70000; i++) {
		uint16_t id;
		uint32_t len;

		fake_put_req(g->q[0], &r);
		fake_publish(g->q[0]);
		while (!fake_reap(g->q[0], &id, &len))
			fake_turn(g);
		if (id != r.id)
			fail_msg("round %u: %u came back for %u", i, id, r.id);
	}
	assert_null(fake_broken(g, 0));
	fake_close(g);
}

static void takes_a_ring_of_five_entries(void **state)
{
	struct fake *g = fake_open(&(struct fake_conf){ .packed = true, .size = 5 });

	for (unsigned i = 0; i < 40; i++)
		fake_assert_alive(g, 0);
	fake_close(g);
}

static void fills_the_ring_to_the_last_entry(void **state)
{
	struct fake *g = fake_open(&(struct fake_conf){ .packed = fake_is_packed(state),
							.when = SCRIPT_HELD });
	struct fake_desc d[3];

	for (unsigned round = 0; round < 5; round++) {
		struct fake_req r = fake_req(g, VIRTIO_BLK_T_IN, 0, 512);

		d[0] = fake_out(g, r.hdr, 16);
		d[1] = fake_in(g, r.data, 512);
		d[2] = fake_in(g, r.status, 1);
		for (unsigned i = 0; i < 16; i++)
			fake_put_indirect(g->q[0], d, 3);
		fake_publish(g->q[0]);
		fake_settle(g);
		assert_int_equal(script_waiting(g->medium), 16);
		script_release_all(g->medium, REQ_OK);
		fake_settle(g);
		assert_int_equal(fake_reap_all(g->q[0]), 16);
	}
	fake_close(g);
}

/* What is done becomes visible between two batches, so their size is the medium's affair. */
static void takes_as_many_in_a_turn_as_suit_the_medium(void **state)
{
	struct scripted *s = script_new(1 * MIB);
	struct fake *g;

	s->m.caps.batch = 4;
	g = fake_open(&(struct fake_conf){ .packed = fake_is_packed(state), .media = &s->m });
	struct fake_req r = fake_req(g, VIRTIO_BLK_T_IN, 0, 512);
	struct fake_desc d[] = { fake_out(g, r.hdr, 16), fake_in(g, r.data, 512),
				 fake_in(g, r.status, 1) };
	for (unsigned i = 0; i < 15; i++)
		fake_put_indirect(g->q[0], d, 3);
	fake_publish(g->q[0]);
	fake_settle(g);
	assert_int_equal(s->nseen, 15);
	assert_int_equal(s->largest_batch, 4);
	assert_int_equal(fake_reap_all(g->q[0]), 15);
	fake_close(g);
}

/* One line on standard error, with disk, queue and reason. */
static void says_once_which_queue_and_why(void **state)
{
	struct fake *g = open_fake(state);
	struct fake_desc d = { 0, 16, 0 };
	char text[512] = "";
	int was = dup(STDERR_FILENO), pipe_fd[2];

	assert_int_equal(pipe2(pipe_fd, O_CLOEXEC | O_NONBLOCK), 0);
	dup2(pipe_fd[1], STDERR_FILENO);
	for (unsigned i = 0; i < 3; i++) {
		fake_put(g->q[1], &d, 1);
		fake_publish(g->q[1]);
		fake_kick(g->q[1]);
		fake_settle(g);
	}
	dup2(was, STDERR_FILENO);
	assert_true(read(pipe_fd[0], text, sizeof(text) - 1) > 0);
	assert_non_null(strstr(text, "[fake]"));
	assert_non_null(strstr(text, "queue 1"));
	assert_non_null(strstr(text, "address outside memory"));
	assert_ptr_equal(strchr(text, '\n'), strrchr(text, '\n'));
	close(was);
	close(pipe_fd[0]);
	close(pipe_fd[1]);
	fake_close(g);
}

static void shows_the_reason_to_control(void **state)
{
	struct fake *g = open_fake(state);
	struct fake_desc d = { 0, 16, 0 };
	struct front_queue_info info;

	vq_info(fake_vq(g, 0), &info);
	assert_int_equal(info.state, FRONT_QUEUE_RUNNING);
	assert_null(info.reason);
	fake_put(g->q[0], &d, 1);
	fake_publish(g->q[0]);
	fake_settle(g);
	vq_info(fake_vq(g, 0), &info);
	assert_int_equal(info.state, FRONT_QUEUE_BROKEN);
	assert_string_equal(info.reason, "address outside memory");
	assert_int_equal(info.packed, g->conf.packed);
	assert_int_equal(info.size, 16);
	fake_close(g);
}

/* What was good before the broken one, in the same batch, is done. */
static void does_what_came_before_the_broken_chain(void **state)
{
	struct fake *g = open_fake(state);
	struct fake_req r = fake_req(g, VIRTIO_BLK_T_IN, 0, 512);
	struct fake_desc d = { 0, 16, 0 };

	fake_put_req(g->q[0], &r);
	fake_put(g->q[0], &d, 1);
	fake_publish(g->q[0]);
	fake_settle(g);
	assert_int_equal(*r.status, VIRTIO_BLK_S_OK);
	assert_int_equal(fake_reap_all(g->q[0]), 1);
	assert_broken(g, "address outside memory");
}

/* A VMM that resets the device gets a working queue again. */
static void works_again_after_it_was_stopped_and_started(void **state)
{
	struct fake *g = open_fake(state);
	struct fake_desc d = { 0, 16, 0 };

	fake_put(g->q[0], &d, 1);
	fake_publish(g->q[0]);
	fake_settle(g);
	assert_non_null(fake_broken(g, 0));
	fake_stop(g, 0);
	memset(g->q[0]->desc, 0, VIRTQ_DESC_BYTES(16));
	memset(g->q[0]->used, 0, VIRTQ_USED_BYTES(16));
	g->q[0]->avail->idx = 0;
	g->q[0]->put_idx = g->q[0]->published_idx = g->q[0]->used_idx = 0;
	g->q[0]->put_wrap = g->q[0]->used_wrap = true;
	assert_int_equal(fake_start(g, 0, g->conf.packed ? 0x80008000u : 0), 0);
	fake_assert_alive(g, 0);
	fake_close(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FAKE_BOTH(breaks_on_address_outside_memory),
		FAKE_BOTH(breaks_on_buffer_that_runs_out_of_memory),
		FAKE_BOTH(breaks_on_bad_address_of_a_refused_request),
		FAKE_BOTH(breaks_on_indirect_inside_indirect),
		FAKE_BOTH(breaks_on_indirect_behind_others),
		FAKE_BOTH(breaks_on_indirect_with_next),
		FAKE_BOTH(breaks_on_indirect_that_was_not_negotiated),
		FAKE_BOTH(breaks_on_indirect_table_that_is_none),
		FAKE_BOTH(breaks_on_indirect_chain_longer_than_the_ring),
		FAKE_SPLIT(breaks_on_head_beyond_ring),
		FAKE_SPLIT(breaks_on_next_beyond_ring),
		FAKE_SPLIT(breaks_on_loop),
		FAKE_SPLIT(breaks_on_loop_in_indirect_table),
		FAKE_SPLIT(breaks_on_next_beyond_an_indirect_table),
		FAKE_SPLIT(breaks_on_index_too_far_ahead),
		FAKE_SPLIT(breaks_on_more_than_the_ring_holds),
		FAKE_PACKED(breaks_on_chain_longer_than_ring),
		FAKE_PACKED(breaks_on_more_descriptors_than_the_ring_has),
		FAKE_PACKED(gives_back_any_id),
		FAKE_PACKED(gives_the_same_id_back_twice),
		FAKE_BOTH(goes_round_the_ring_many_times),
		FAKE_PACKED(takes_a_ring_of_five_entries),
		FAKE_BOTH(fills_the_ring_to_the_last_entry),
		FAKE_BOTH(takes_as_many_in_a_turn_as_suit_the_medium),
		FAKE_BOTH(says_once_which_queue_and_why),
		FAKE_BOTH(shows_the_reason_to_control),
		FAKE_BOTH(does_what_came_before_the_broken_chain),
		FAKE_BOTH(works_again_after_it_was_stopped_and_started),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
