/* SPDX-License-Identifier: Apache-2.0 */
/* The driver's side of a ring, with the device's part played by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "client/raw.h"

static struct client *open_with(struct client_conf conf)
{
	struct client *c = NULL;

	assert_int_equal(client_raw_open(&conf, -1, &c), 0);
	return c;
}

static void put_read(struct client_queue *q, unsigned slot)
{
	client_prep(q, slot, VIRTIO_BLK_T_IN, slot * 8ull, 4096);
	client_put(q, slot);
}

/* Answers split head @id as entry @at of the used ring. */
static void use_split(struct client_queue *q, uint16_t at, uint32_t id)
{
	q->used->ring[at & (q->size - 1)].id = id;
	q->used->idx = (uint16_t)(at + 1);
}

static void use_packed(struct client_queue *q, unsigned at, uint16_t id, bool wrap)
{
	q->ring[at].id = id;
	q->ring[at].flags = wrap ? VIRTQ_DESC_F_AVAIL | VIRTQ_DESC_F_USED : 0;
}

static void publishes_a_batch_with_one_index(void **state)
{
	struct client *c = open_with((struct client_conf){ .depth = 4, .no_event_idx = true });
	struct client_queue *q = client_queue(c, 0);

	for (unsigned i = 0; i < 3; i++)
		put_read(q, i);
	assert_int_equal(q->avail->idx, 0);
	client_publish(q);
	assert_int_equal(q->avail->idx, 3);
	assert_int_equal(q->in_flight, 3);
	client_close(c);
}

static void writes_descriptors_only_when_the_shape_changes(void **state)
{
	struct client *c = open_with((struct client_conf){ .depth = 4, .no_indirect = true });
	struct client_queue *q = client_queue(c, 0);
	struct virtq_desc *data = &q->desc[q->slot[2].head + 1];

	put_read(q, 2);
	assert_int_equal(data->flags, VIRTQ_DESC_F_NEXT | VIRTQ_DESC_F_WRITE);
	data->len = 77;
	put_read(q, 2);
	assert_int_equal(data->len, 77);
	client_prep(q, 2, VIRTIO_BLK_T_OUT, 0, 4096);
	assert_int_equal(data->len, 4096);
	assert_int_equal(data->flags, VIRTQ_DESC_F_NEXT);
	client_close(c);
}

static void gives_a_flush_a_header_and_a_status_only(void **state)
{
	struct client *c = open_with((struct client_conf){ .depth = 1 });
	struct client_queue *q = client_queue(c, 0);
	struct virtq_desc *table = q->table;

	client_prep(q, 0, VIRTIO_BLK_T_FLUSH, 0, 0);
	assert_int_equal(q->desc[0].len, 32);
	assert_int_equal(q->desc[0].flags, VIRTQ_DESC_F_INDIRECT);
	assert_int_equal(table[0].len, 16);
	assert_int_equal(table[1].len, 1);
	assert_int_equal(table[1].flags, VIRTQ_DESC_F_WRITE);
	client_close(c);
}

static void uses_guest_addresses_that_are_not_its_own(void **state)
{
	struct client *c = open_with((struct client_conf){ .depth = 1 });
	struct client_queue *q = client_queue(c, 0);
	struct virtq_desc *table = q->table;

	assert_int_equal(table[0].addr, client_mem_guest(&c->mem, q->line));
	assert_int_not_equal(table[0].addr, (uintptr_t)q->line);
	client_close(c);
}

static void reaps_in_the_order_of_the_used_ring(void **state)
{
	struct client *c = open_with((struct client_conf){ .depth = 4, .no_indirect = true });
	struct client_queue *q = client_queue(c, 0);
	uint16_t slots[4];

	for (unsigned i = 0; i < 4; i++)
		put_read(q, i);
	client_publish(q);
	use_split(q, 0, q->slot[3].head);
	use_split(q, 1, q->slot[0].head);
	assert_int_equal(client_reap(q, slots, 4), 2);
	assert_int_equal(slots[0], 3);
	assert_int_equal(slots[1], 0);
	assert_int_equal(q->in_flight, 2);
	assert_int_equal(client_reap(q, slots, 4), 0);
	assert_false(q->broken);
	client_close(c);
}

static void notices_a_used_entry_that_is_not_in_flight(void **state)
{
	struct client *c = open_with((struct client_conf){ .depth = 4 });
	struct client_queue *q = client_queue(c, 0);
	uint16_t slots[4];

	put_read(q, 1);
	client_publish(q);
	use_split(q, 0, 1);
	use_split(q, 1, 1);
	assert_int_equal(client_reap(q, slots, 4), 1);
	assert_true(q->broken);
	client_close(c);
}

static void notices_a_used_id_beyond_the_ring(void **state)
{
	struct client *c = open_with((struct client_conf){ .depth = 4 });
	struct client_queue *q = client_queue(c, 0);
	uint16_t slots[4];

	put_read(q, 1);
	client_publish(q);
	use_split(q, 0, 0x10001);
	assert_int_equal(client_reap(q, slots, 4), 0);
	assert_true(q->broken);
	client_close(c);
}

static void kicks_unless_the_flag_says_no(void **state)
{
	struct client *c = open_with((struct client_conf){ .depth = 4, .no_event_idx = true });
	struct client_queue *q = client_queue(c, 0);

	put_read(q, 0);
	assert_true(client_publish(q));
	q->used->flags = VIRTQ_USED_F_NO_NOTIFY;
	put_read(q, 1);
	assert_false(client_publish(q));
	assert_false(client_publish(q));
	assert_int_equal(q->kicks, 1);
	client_close(c);
}

static void kicks_only_when_it_passes_avail_event(void **state)
{
	struct client *c = open_with((struct client_conf){ .depth = 4 });
	struct client_queue *q = client_queue(c, 0);
	le16 *avail_event = (le16 *)&q->used->ring[q->size];

	*avail_event = 2;
	put_read(q, 0);
	put_read(q, 1);
	assert_false(client_publish(q));
	put_read(q, 2);
	assert_true(client_publish(q));
	put_read(q, 3);
	assert_false(client_publish(q));
	client_close(c);
}

static void holds_back_the_first_flags_of_a_packed_batch(void **state)
{
	struct client *c = open_with((struct client_conf){ .depth = 4, .packed = true });
	struct client_queue *q = client_queue(c, 0);

	put_read(q, 3);
	put_read(q, 2);
	assert_int_equal(q->ring[0].flags, 0);
	assert_int_equal(q->ring[0].id, 3);
	assert_int_equal(q->ring[1].flags, VIRTQ_DESC_F_INDIRECT | VIRTQ_DESC_F_AVAIL);
	client_publish(q);
	assert_int_equal(q->ring[0].flags, VIRTQ_DESC_F_INDIRECT | VIRTQ_DESC_F_AVAIL);
	client_close(c);
}

static void wraps_a_packed_ring_of_any_size(void **state)
{
	struct client *c = open_with(
		(struct client_conf){ .depth = 2, .packed = true, .queue_size = 3 });
	struct client_queue *q = client_queue(c, 0);
	uint16_t slots[2];

	for (unsigned i = 0; i < 7; i++) {
		bool wrap = i / 3 % 2 == 0;

		put_read(q, i % 2);
		client_publish(q);
		assert_int_equal(!!(q->ring[i % 3].flags & VIRTQ_DESC_F_AVAIL), wrap);
		assert_int_equal(client_reap(q, slots, 2), 0);
		use_packed(q, i % 3, i % 2, wrap);
		assert_int_equal(client_reap(q, slots, 2), 1);
		assert_int_equal(slots[0], i % 2);
	}
	client_close(c);
}

static void takes_three_packed_entries_without_indirect(void **state)
{
	struct client *c = open_with(
		(struct client_conf){ .depth = 2, .packed = true, .no_indirect = true });
	struct client_queue *q = client_queue(c, 0);
	uint16_t slots[2];

	put_read(q, 0);
	put_read(q, 1);
	client_publish(q);
	assert_int_equal(q->put_idx, 6);
	assert_int_equal(q->ring[0].flags, VIRTQ_DESC_F_NEXT | VIRTQ_DESC_F_AVAIL);
	assert_int_equal(q->ring[2].flags, VIRTQ_DESC_F_WRITE | VIRTQ_DESC_F_AVAIL);
	use_packed(q, 0, 1, true);
	use_packed(q, 3, 0, true);
	assert_int_equal(client_reap(q, slots, 2), 2);
	assert_int_equal(slots[0], 1);
	assert_int_equal(q->used_idx, 6);
	client_close(c);
}

static void kicks_a_packed_device_at_the_descriptor_it_named(void **state)
{
	struct client *c = open_with(
		(struct client_conf){ .depth = 2, .packed = true, .queue_size = 3 });
	struct client_queue *q = client_queue(c, 0);
	uint16_t slots[2];

	/* entry 0 of the next lap */
	q->device_event->flags = VIRTQ_PACKED_EVENT_F_DESC;
	q->device_event->desc = 0;
	for (unsigned i = 0; i < 5; i++) {
		put_read(q, i % 2);
		assert_int_equal(client_publish(q), i == 3);
		use_packed(q, i % 3, i % 2, i < 3);
		assert_int_equal(client_reap(q, slots, 2), 1);
	}
	q->device_event->flags = VIRTQ_PACKED_EVENT_F_DISABLE;
	put_read(q, 0);
	assert_false(client_publish(q));
	client_close(c);
}

static void arms_for_the_next_completion_and_sees_an_earlier_one(void **state)
{
	struct client *c = open_with((struct client_conf){ .depth = 2 });
	struct client_queue *q = client_queue(c, 0);
	uint16_t slots[2];

	put_read(q, 0);
	put_read(q, 1);
	client_publish(q);
	assert_true(client_arm(q));
	assert_int_equal(q->avail->ring[q->size], 0);
	use_split(q, 0, 1);
	assert_false(client_arm(q));
	assert_int_equal(client_reap(q, slots, 2), 1);
	assert_true(client_arm(q));
	assert_int_equal(q->avail->ring[q->size], 1);
	client_disarm(q);
	assert_int_equal(q->avail->ring[q->size], (uint16_t)(1 - 1 - q->size));
	client_close(c);
}

static void asks_for_no_interrupt_while_it_polls(void **state)
{
	struct client *c = open_with((struct client_conf){ .depth = 1, .no_event_idx = true });
	struct client *p = open_with((struct client_conf){ .depth = 1, .packed = true });

	assert_int_equal(client_queue(c, 0)->avail->flags, VIRTQ_AVAIL_F_NO_INTERRUPT);
	assert_int_equal(client_queue(p, 0)->driver_event->flags, VIRTQ_PACKED_EVENT_F_DISABLE);
	client_close(c);
	client_close(p);
}

/* A device that uses one and is slow to look whether it may interrupt, all along the index. */
static void is_not_interrupted_however_late_the_device_looks(void **state)
{
	struct client *c = open_with((struct client_conf){ .depth = 1 });
	struct client_queue *q = client_queue(c, 0);
	uint16_t slot;

	for (unsigned i = 0; i < 140000; i++) {
		put_read(q, 0);
		client_publish(q);
		use_split(q, (uint16_t)i, 0);
		assert_int_equal(client_reap(q, &slot, 1), 1);
		uint16_t event = le16toh(q->avail->ring[q->size]);

		if (client_passes(event, (uint16_t)(i + 1), (uint16_t)i))
			fail_msg("interrupt wanted in round %u", i);
	}
	client_close(c);
}

/* What the device says; nothing; whatever it says. */
static void kicks_as_it_was_told_to(void **state)
{
	const struct {
		enum client_kick_when when;
		unsigned wanted, unwanted, late;
	} cases[] = {
		{ CLIENT_KICK_WANTED, 1, 1, 1 },
		{ CLIENT_KICK_ALWAYS, 1, 2, 2 },
		{ CLIENT_KICK_NEVER, 0, 0, 0 },
		{ CLIENT_KICK_LATE, 0, 0, 1 },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct client_conf conf = { .depth = 2, .no_event_idx = true };
		struct client *c = open_with(conf);
		struct client_queue *q = client_queue(c, 0);

		q->kick_when = cases[i].when;
		put_read(q, 0);
		client_publish(q);
		assert_int_equal(q->kicks, cases[i].wanted);
		q->used->flags = VIRTQ_USED_F_NO_NOTIFY;
		put_read(q, 1);
		client_publish(q);
		assert_int_equal(q->kicks, cases[i].unwanted);
		client_nudge(q);
		assert_int_equal(q->kicks, cases[i].late);
		client_close(c);
	}
}

static void refuses_numbers_that_do_not_fit(void **state)
{
	const struct client_conf bad[] = {
		{ .depth = 64, .queue_size = 32 },
		{ .depth = 64, .queue_size = 128, .no_indirect = true },
		{ .queue_size = 100 },
		{ .mem_regions = 9 },
		{ .queues = 257 },
	};
	struct client *c = NULL;

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(client_raw_open(&bad[i], -1, &c), -EINVAL);
	assert_null(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(publishes_a_batch_with_one_index),
		cmocka_unit_test(writes_descriptors_only_when_the_shape_changes),
		cmocka_unit_test(gives_a_flush_a_header_and_a_status_only),
		cmocka_unit_test(uses_guest_addresses_that_are_not_its_own),
		cmocka_unit_test(reaps_in_the_order_of_the_used_ring),
		cmocka_unit_test(notices_a_used_entry_that_is_not_in_flight),
		cmocka_unit_test(notices_a_used_id_beyond_the_ring),
		cmocka_unit_test(kicks_unless_the_flag_says_no),
		cmocka_unit_test(kicks_only_when_it_passes_avail_event),
		cmocka_unit_test(holds_back_the_first_flags_of_a_packed_batch),
		cmocka_unit_test(wraps_a_packed_ring_of_any_size),
		cmocka_unit_test(takes_three_packed_entries_without_indirect),
		cmocka_unit_test(kicks_a_packed_device_at_the_descriptor_it_named),
		cmocka_unit_test(arms_for_the_next_completion_and_sees_an_earlier_one),
		cmocka_unit_test(asks_for_no_interrupt_while_it_polls),
		cmocka_unit_test(is_not_interrupted_however_late_the_device_looks),
		cmocka_unit_test(kicks_as_it_was_told_to),
		cmocka_unit_test(refuses_numbers_that_do_not_fit),
	};

	return cmocka_run_group_tests_name("client_queue", tests, NULL, NULL);
}
