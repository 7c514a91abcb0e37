/* SPDX-License-Identifier: Apache-2.0 */
/* The in-flight region as it comes back from the VMM: whole, or damaged in any way. */
#include "tests/fake/guest.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"
#include "front/vhost_blk/track.h"

#define SIZE 16

union region {
	struct vhost_user_region_split split;
	struct vhost_user_region_packed packed;
};

/* A connected guest whose queue 0 has not been started, with its region mapped. */
static struct fake *open_idle(bool packed, enum script_when when, union region **ret_region)
{
	struct fake *g = fake_open_disk(&(struct fake_conf){ .packed = packed, .size = SIZE,
							     .when = when });

	fake_connect(g);
	fake_negotiate(g);
	assert_int_equal(fake_share_mem(g), 0);
	fake_get_track(g);
	fake_queue(g, 0);
	*ret_region = mmap(NULL, g->track.mmap_size_b, PROT_READ | PROT_WRITE, MAP_SHARED,
			   g->track_fd, 0);
	assert_ptr_not_equal(*ret_region, MAP_FAILED);
	return g;
}

static int start(struct fake *g)
{
	assert_int_equal(fake_set_track(g), 0);
	return fake_start(g, 0, g->conf.packed ? 0x80008000u : 0);
}

static void close_idle(struct fake *g, union region *r)
{
	munmap(r, g->track.mmap_size_b);
	fake_close(g);
}

/* A region in which requests @head, taken in the order of @counter, are in flight. */
static void fill_split(struct vhost_user_region_split *t, const uint16_t *head,
		       const uint64_t *counter, unsigned n)
{
	t->version = VHOST_USER_INFLIGHT_VERSION;
	t->desc_num = SIZE;
	for (unsigned i = 0; i < n; i++) {
		t->desc[head[i]].inflight = 1;
		t->desc[head[i]].counter = counter[i];
	}
}

/* Three chains of one descriptor each; entry i of the region holds chain i. */
static void fill_packed(struct fake *g, struct vhost_user_region_packed *t,
			const struct fake_req *r, const uint64_t *counter, unsigned n)
{
	t->version = VHOST_USER_INFLIGHT_VERSION;
	t->desc_num = SIZE;
	t->used_wrap_counter = t->old_used_wrap_counter = 1;
	for (uint16_t i = 0; i < SIZE; i++)
		t->desc[i].next = (uint16_t)(i + 1);
	t->free_head = t->old_free_head = (uint16_t)(2 * n);
	for (uint16_t i = 0; i < n; i++) {
		struct vhost_user_desc_packed *d = &t->desc[2 * i];

		d[0] = (struct vhost_user_desc_packed){
			.inflight = 1, .next = (uint16_t)(2 * i + 1), .last = (uint16_t)(2 * i + 1),
			.num = 2, .counter = counter[i], .id = r[i].id, .flags = VIRTQ_DESC_F_NEXT,
			.len = 16, .addr = fake_gpa(g, r[i].hdr) };
		d[1] = (struct vhost_user_desc_packed){
			.next = (uint16_t)(2 * i + 2), .id = r[i].id, .flags = VIRTQ_DESC_F_WRITE,
			.len = 1, .addr = fake_gpa(g, r[i].status) };
	}
}

static void replays_in_the_order_in_which_they_were_taken(void **state)
{
	static const uint64_t counter[] = { 30, 10, 20 };
	bool packed = fake_is_packed(state);
	union region *t;
	struct fake *g = open_idle(packed, SCRIPT_POLL, &t);
	struct fake_req r[3];
	uint16_t head[3], id;
	uint32_t len;

	for (unsigned i = 0; i < 3; i++) {
		r[i] = fake_req(g, VIRTIO_BLK_T_FLUSH, 0, 0);
		fake_put_req(g->q[0], &r[i]);
		head[i] = r[i].id;
	}
	fake_publish(g->q[0]);
	assert_int_equal(head[0], 0); /* descriptor 0 is one of them */
	if (packed)
		fill_packed(g, &t->packed, r, counter, 3);
	else
		fill_split(&t->split, head, counter, 3);
	assert_int_equal(start(g), 0);
	fake_settle(g);
	static const unsigned want[] = { 1, 2, 0 };

	for (unsigned i = 0; i < 3; i++) {
		assert_true(fake_reap(g->q[0], &id, &len));
		assert_int_equal(id, r[want[i]].id);
	}
	assert_false(fake_reap(g->q[0], &id, &len));
	fake_assert_alive(g, 0);
	close_idle(g, t);
}

/* Killed when the second of a batch was marked used, but not yet the first, by which a guest comes
 * to see both. */
static void takes_back_a_batch_that_was_half_marked_used(void **state)
{
	static const uint64_t counter[] = { 0, 1 };
	union region *t;
	struct fake *g = open_idle(true, SCRIPT_HELD, &t);
	struct fake_req r[2];
	uint16_t id;
	uint32_t len;

	for (unsigned i = 0; i < 2; i++) {
		r[i] = fake_req(g, VIRTIO_BLK_T_FLUSH, 0, 0);
		fake_put_req(g->q[0], &r[i]);
	}
	fake_publish(g->q[0]);
	fill_packed(g, &t->packed, r, counter, 2);
	t->packed.desc[1].next = t->packed.old_free_head;
	t->packed.desc[3].next = 0;
	t->packed.free_head = 2;
	t->packed.used_idx = 4;
	g->q[0]->pdesc[2].id = htole16(r[1].id);
	g->q[0]->pdesc[2].flags =
		htole16(VIRTQ_DESC_F_AVAIL | VIRTQ_DESC_F_USED | VIRTQ_DESC_F_WRITE);
	assert_int_equal(start(g), 0);
	fake_settle(g);
	assert_false(fake_reap(g->q[0], &id, &len));
	for (unsigned i = 0; i < 2; i++) {
		script_release(g->medium, i, REQ_OK);
		fake_settle(g);
		assert_true(fake_reap(g->q[0], &id, &len));
		assert_int_equal(id, r[i].id);
		assert_false(fake_reap(g->q[0], &id, &len));
	}
	close_idle(g, t);
}

/* A VMM of its own making may say anything; the region is as hostile as the ring. */
static void refuses_region_of_another_ring(void **state)
{
	for (unsigned i = 0; i < 4; i++) {
		union region *t;
		bool packed = fake_is_packed(state);
		struct fake *g = open_idle(packed, SCRIPT_POLL, &t);

		if (packed) {
			t->packed.version = i == 0 ? 2 : 1;
			t->packed.desc_num = i == 1 ? SIZE + 1 : SIZE;
			t->packed.used_idx = i == 2 ? SIZE : 0;
			t->packed.old_used_idx = i == 3 ? UINT16_MAX : 0;
		} else {
			t->split.version = i == 0 ? 2 : 1;
			t->split.desc_num = i == 1 ? 8 : SIZE;
			t->split.used_idx = i == 2 ? (uint16_t)-(SIZE + 1) : i == 3 ? UINT16_MAX :
					    0;
			t->split.last_batch_head = i == 3 ? SIZE : 0;
		}
		assert_int_equal(start(g), -EREMOTEIO);
		assert_false(fake_vq(g, 0)->running);
		close_idle(g, t);
	}
}

static void refuses_packed_region_with_more_than_the_ring_holds(void **state)
{
	union region *t;
	struct fake *g = open_idle(true, SCRIPT_POLL, &t);

	t->packed.version = 1;
	t->packed.desc_num = SIZE;
	t->packed.free_head = t->packed.old_free_head = UINT16_MAX; /* an empty list */
	for (unsigned i = 0; i < 2; i++) {
		t->packed.desc[i].inflight = 1;
		t->packed.desc[i].num = SIZE / 2 + 1;
	}
	assert_int_equal(start(g), -EREMOTEIO);
	close_idle(g, t);
}

static void breaks_on_damaged_packed_chain(void **state)
{
	for (unsigned i = 0; i < 3; i++) {
		union region *t;
		struct fake *g = open_idle(true, SCRIPT_POLL, &t);
		struct vhost_user_desc_packed *d = &t->packed.desc[3];

		t->packed.version = 1;
		t->packed.desc_num = SIZE;
		t->packed.free_head = t->packed.old_free_head = UINT16_MAX;
		d->inflight = 1;
		d->num = i ? 2 : 0;
		d->next = i == 1 ? UINT16_MAX : 3; /* beyond the region; a loop */
		d->addr = i == 2 ? 0 : fake_gpa(g, g->mem.host);
		d->len = 16;
		d->flags = i == 2 ? VIRTQ_DESC_F_INDIRECT : 0;
		assert_int_equal(start(g), 0);
		fake_settle(g);
		/* a loop within bounds is a request without a status, and comes back */
		if (i != 1)
			assert_non_null(fake_broken(g, 0));
		assert_int_equal(fake_vq(g, 0)->inflight, 0);
		close_idle(g, t);
	}
}

/* Indices in the region that the VMM changes under us must never lead out of it. */
static void survives_a_region_full_of_nonsense(void **state)
{
	static const uint8_t fill[] = { 0xff, 0x01, 0x10, 0x80 };
	bool packed = fake_is_packed(state);

	for (unsigned i = 0; i < ARRAY_SIZE(fill); i++) {
		union region *t;
		struct fake *g = open_idle(packed, SCRIPT_POLL, &t);

		assert_int_equal(start(g), 0);
		fake_assert_alive(g, 0);
		memset((char *)t, fill[i], g->track.mmap_size_b);
		for (unsigned k = 0; k < 40; k++) {
			struct fake_req r = fake_req(g, VIRTIO_BLK_T_IN, 0, 512);

			assert_int_equal(fake_do(g->q[0], &r), VIRTIO_BLK_S_OK);
		}
		close_idle(g, t);
	}
}

/* Between reading the used index and using it: the place in the ring stays inside. */
static void keeps_its_place_whatever_the_region_says_later(void **state)
{
	union region *t;
	struct fake *g = open_idle(true, SCRIPT_HELD, &t);
	struct fake_req r = fake_req(g, VIRTIO_BLK_T_IN, 0, 512);

	assert_int_equal(start(g), 0);
	fake_put_req(g->q[0], &r);
	fake_publish(g->q[0]);
	fake_settle(g);
	t->packed.used_idx = t->packed.old_used_idx = UINT16_MAX;
	script_release(g->medium, 0, REQ_OK);
	fake_settle(g);
	assert_int_equal(fake_reap_all(g->q[0]), 1);
	assert_true(fake_vq(g, 0)->used_idx < SIZE);
	close_idle(g, t);
}

/* Laid out for split rings, half as long as packed ones need. */
static void refuses_region_laid_out_for_the_other_format(void **state)
{
	bool packed = fake_is_packed(state);
	struct fake *g = fake_open_disk(&(struct fake_conf){ .packed = packed, .size = 1024 });
	uint64_t other = FAKE_BIT(VIRTIO_F_RING_PACKED);

	fake_connect(g);
	fake_negotiate(g);
	assert_int_equal(fake_share_mem(g), 0);
	assert_int_equal(fake_tell_u64(g, VHOST_USER_SET_FEATURES, g->features ^ other), 0);
	fake_get_track(g);
	assert_int_equal(g->track.mmap_size_b, track_region_len_b(!packed, 1024));
	assert_int_equal(fake_set_track(g), 0);
	assert_int_equal(fake_tell_u64(g, VHOST_USER_SET_FEATURES, g->features), 0);
	fake_queue(g, 0);
	assert_int_equal(fake_start(g, 0, packed ? 0x80008000u : 0), -EREMOTEIO);
	fake_close(g);
}

static void refuses_ring_larger_than_its_region(void **state)
{
	union region *t;
	struct fake *g = open_idle(fake_is_packed(state), SCRIPT_POLL, &t);

	fake_set_track(g);
	g->q[0]->size = 2 * SIZE;
	assert_int_equal(fake_start(g, 0, g->conf.packed ? 0x80008000u : 0), -EREMOTEIO);
	close_idle(g, t);
}

/* More to replay than one turn takes, and the VMM asks at once where the queue stands. */
/* A guest that has put @n flushes into its ring of 256, all left in flight by a predecessor, in
 * order. */
static struct fake *open_left_over(bool packed, struct fake_req *r, unsigned n,
				   union region **ret_region)
{
	struct fake *g = fake_open_disk(&(struct fake_conf){ .packed = packed, .size = 256 });
	uint64_t counter[100];
	uint16_t head[100];

	fake_connect(g);
	fake_negotiate(g);
	assert_int_equal(fake_share_mem(g), 0);
	fake_get_track(g);
	fake_queue(g, 0);
	union region *t = mmap(NULL, g->track.mmap_size_b, PROT_READ | PROT_WRITE, MAP_SHARED,
			       g->track_fd, 0);
	for (unsigned i = 0; i < n; i++) {
		r[i] = fake_req(g, VIRTIO_BLK_T_FLUSH, 0, 0);
		fake_put_req(g->q[0], &r[i]);
		head[i] = r[i].id;
		counter[i] = i;
	}
	fake_publish(g->q[0]);
	if (packed) {
		fill_packed(g, &t->packed, r, counter, n);
		for (uint16_t i = (uint16_t)(2 * n); i < 256; i++)
			t->packed.desc[i].next = (uint16_t)(i + 1);
		t->packed.desc_num = 256;
	} else {
		fill_split(&t->split, head, counter, n);
		t->split.desc_num = 256;
	}
	*ret_region = t;
	return g;
}

static void finishes_replay_before_it_tells_its_base(void **state)
{
	bool packed = fake_is_packed(state);
	struct fake_req r[100];
	union region *t;
	struct fake *g = open_left_over(packed, r, 100, &t);

	assert_int_equal(start(g), 0);
	g->medium->when = SCRIPT_POLL;
	uint32_t base = fake_stop(g, 0);

	assert_int_equal(fake_reap_all(g->q[0]), 100);
	assert_int_equal(base, packed ? 200u | 0x8000u | (200u | 0x8000u) << 16 : 100);
	close_idle(g, t);
}

/* The first batch has ended when the second turns out to be damaged at its beginning: nothing is in
 * flight then whose end could tell whoever waits. */
static void stops_though_a_replay_breaks_between_two_batches(void **state)
{
	bool packed = fake_is_packed(state);
	struct fake_req r[100];
	union region *t;
	struct fake *g = open_left_over(packed, r, 100, &t);

	if (packed)
		t->packed.desc[2 * POLLER_BATCH].addr = 0;
	else
		g->q[0]->desc[r[POLLER_BATCH].id].addr = 0;
	assert_int_equal(start(g), 0);
	fake_stop(g, 0);
	assert_int_equal(fake_reap_all(g->q[0]), POLLER_BATCH);
	close_idle(g, t);
}

/* Without a region there is nothing to replay: a queue begins where the VMM says. */
static void begins_at_the_base_without_a_region(void **state)
{
	bool packed = fake_is_packed(state);
	struct fake *g = fake_open(&(struct fake_conf){ .packed = packed });
	struct fake_queue *q = g->q[0];

	for (unsigned i = 0; i < 7; i++)
		fake_assert_alive(g, 0);
	uint32_t base = fake_stop(g, 0);

	assert_int_equal(base, packed ? (5u | 0u) | (5u | 0u) << 16 : 7);
	assert_int_equal(fake_start(g, 0, base), 0);
	fake_assert_alive(g, 0);
	assert_int_equal(q->used_idx, packed ? 8 : 8);
	fake_close(g);
}

static void refuses_base_beyond_a_packed_ring(void **state)
{
	static const uint32_t bad[] = { SIZE, SIZE << 16, UINT32_MAX, 0x7fff };

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		union region *t;
		struct fake *g = open_idle(true, SCRIPT_POLL, &t);

		assert_int_equal(fake_start(g, 0, bad[i]), -EREMOTEIO);
		close_idle(g, t);
	}
}

/* werror=stop keeps a failed write; the VMM may stop the queue all the same, and its guest finds
 * the write done once the queue runs again. */
static void does_again_what_a_stopped_disk_has_kept(void **state)
{
	struct fake *g = fake_open(&(struct fake_conf){ .packed = fake_is_packed(state),
							.track = true, .when = SCRIPT_HELD });
	struct fake_req r = fake_stop_disk(g, 4096, REQ_NOSPC);
	uint32_t base = fake_stop(g, 0); /* does not wait for somebody to mend the medium */
	assert_int_equal(*r.status, FAKE_PENDING);
	assert_int_equal(fake_reap_all(g->q[0]), 0);
	assert_int_equal(fake_requests_out(g->poller[0]), 0);
	g->medium->when = SCRIPT_POLL;
	disk_go_on(g->disk);
	assert_int_equal(fake_start(g, 0, base), 0);
	fake_settle(g);
	assert_int_equal(fake_reap_all(g->q[0]), 1);
	assert_int_equal(*r.status, VIRTIO_BLK_S_OK);
	assert_int_equal(g->medium->store[4096], 0x77);
	fake_assert_alive(g, 0);
	fake_close(g);
}

static void reports_what_a_stopped_disk_has_kept_where_nothing_is_tracked(void **state)
{
	struct fake *g = fake_open(&(struct fake_conf){ .packed = fake_is_packed(state),
							.when = SCRIPT_HELD });
	struct fake_req r = fake_stop_disk(g, 4096, REQ_NOSPC);

	fake_stop(g, 0);
	assert_int_equal(*r.status, VIRTIO_BLK_S_IOERR);
	fake_close(g);
}

/* It takes nothing while it is stopped, and all that came meanwhile afterwards. */
static void takes_nothing_while_the_disk_is_stopped(void **state)
{
	struct fake *g = fake_open(&(struct fake_conf){ .packed = fake_is_packed(state),
							.track = true, .when = SCRIPT_HELD });
	struct fake_req r = fake_stop_disk(g, 512, REQ_IOERR);
	struct fake_req later = fake_req(g, VIRTIO_BLK_T_IN, 8, 512);

	fake_put_req(g->q[0], &later);
	fake_publish(g->q[0]);
	fake_kick(g->q[0]);
	fake_settle(g);
	assert_int_equal(g->medium->nseen, 1);
	assert_int_equal(fake_vq(g, 0)->pe.state, POLLEE_BLOCKED);
	g->medium->when = SCRIPT_POLL;
	disk_go_on(g->disk);
	fake_settle(g);
	assert_int_equal(fake_reap_all(g->q[0]), 2);
	assert_int_equal(*r.status, VIRTIO_BLK_S_OK);
	assert_int_equal(*later.status, VIRTIO_BLK_S_OK);
	fake_close(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FAKE_BOTH(does_again_what_a_stopped_disk_has_kept),
		FAKE_BOTH(reports_what_a_stopped_disk_has_kept_where_nothing_is_tracked),
		FAKE_BOTH(takes_nothing_while_the_disk_is_stopped),
		FAKE_BOTH(replays_in_the_order_in_which_they_were_taken),
		FAKE_BOTH(refuses_region_of_another_ring),
		FAKE_PACKED(takes_back_a_batch_that_was_half_marked_used),
		FAKE_PACKED(refuses_packed_region_with_more_than_the_ring_holds),
		FAKE_PACKED(breaks_on_damaged_packed_chain),
		FAKE_BOTH(survives_a_region_full_of_nonsense),
		FAKE_PACKED(keeps_its_place_whatever_the_region_says_later),
		FAKE_BOTH(refuses_region_laid_out_for_the_other_format),
		FAKE_BOTH(refuses_ring_larger_than_its_region),
		FAKE_BOTH(finishes_replay_before_it_tells_its_base),
		FAKE_BOTH(stops_though_a_replay_breaks_between_two_batches),
		FAKE_BOTH(begins_at_the_base_without_a_region),
		FAKE_PACKED(refuses_base_beyond_a_packed_ring),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
