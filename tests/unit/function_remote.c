/* SPDX-License-Identifier: Apache-2.0 */
/* The remote function with a program that does as it should: transform, observe, serve, I/O of its
 * own; and what happens when it is lost. */
#include "remote_bed.h"

#include <sys/socket.h>
#include <unistd.h>

static uint8_t buf[2 * FN_BUF_B], other[2 * FN_BUF_B];

static void fill(uint8_t *p, size_t len_b, unsigned seed)
{
	for (size_t i = 0; i < len_b; i++)
		p[i] = (uint8_t)(seed + i + (i >> 12));
}

static void changes_a_write_before_the_medium(void **state)
{
	struct rig g;
	struct bed_req q;

	rig_start(&g, FN_TRANSFORM, REMOTE_PAUSE);
	fill(buf, 4096, 1);
	rig_ask(&g, &q, REQ_WRITE, 8192, 4096, buf);
	struct fn_word w = rig_take(&g);

	assert_int_equal(w.kind, FN_REQUEST);
	assert_int_equal(w.op, FN_WRITE);
	assert_int_equal(w.flags, FN_F_DATA);
	assert_int_equal(g.s->nseen, 0);
	assert_memory_equal(rig_buf(&g, w.slot), buf, 4096);
	memset(buf, 0, 4096); /* as a guest may */
	memset(rig_buf(&g, w.slot), 0xee, 4096);
	rig_answer(&g, w.slot, FN_PASS, FN_OK);
	rig_turn(&g);
	assert_int_equal(q.status, REQ_OK);
	assert_int_equal(g.s->store[8192], 0xee);
	assert_int_equal(g.s->store[8192 + 4095], 0xee);
	assert_int_equal(g.b.lane->stats->copies, 1);
	rig_close(&g);
}

static void changes_a_read_before_the_guest(void **state)
{
	struct rig g;
	struct bed_req q;

	rig_start(&g, FN_TRANSFORM, REMOTE_PAUSE);
	memset(g.s->store, 0x11, 4096);
	rig_ask(&g, &q, REQ_READ, 0, 4096, buf);
	struct fn_word w = rig_take(&g);

	assert_int_equal(w.op, FN_READ);
	assert_int_equal(w.flags, FN_F_DATA | FN_F_UP);
	assert_int_equal(rig_buf(&g, w.slot)[0], 0x11);
	rig_buf(&g, w.slot)[4095] = 0x22;
	rig_answer(&g, w.slot, FN_PASS, FN_OK);
	rig_turn(&g);
	assert_int_equal(q.status, REQ_OK);
	assert_int_equal(buf[0], 0x11);
	assert_int_equal(buf[4095], 0x22);
	assert_int_equal(g.b.lane->stats->copies, 1);
	rig_close(&g);
}

static void lets_pass_unseen_what_it_did_not_ask_for(void **state)
{
	struct rig g;
	struct bed_req q;
	struct fn_word w;

	rig_start(&g, FN_TRANSFORM, REMOTE_PAUSE);
	rig_ask(&g, &q, REQ_FLUSH, 0, 0, NULL);
	rig_turn(&g);
	assert_int_equal(q.status, REQ_OK);
	assert_false(rig_next(&g, &w, NULL));
	rig_close(&g);
}

static void ends_a_request_with_the_status_given(void **state)
{
	struct rig g;
	struct bed_req q;

	rig_start(&g, FN_TRANSFORM, REMOTE_PAUSE);
	rig_ask(&g, &q, REQ_WRITE, 0, 4096, buf);
	rig_answer(&g, rig_take(&g).slot, FN_DONE, FN_NOSPC);
	rig_turn(&g);
	assert_int_equal(q.status, REQ_NOSPC);
	assert_int_equal(g.s->nseen, 0);
	/* a read that the medium could do, and the function does not like */
	rig_ask(&g, &q, REQ_READ, 0, 4096, buf);
	rig_answer(&g, rig_take(&g).slot, FN_DONE, FN_IOERR);
	rig_turn(&g);
	assert_int_equal(q.status, REQ_IOERR);
	rig_close(&g);
}

static void takes_a_long_request_in_pieces(void **state)
{
	struct rig g;
	struct bed_req q;
	const size_t len_b = FN_BUF_B + 4096;

	rig_start(&g, FN_TRANSFORM, REMOTE_PAUSE);
	fill(buf, len_b, 3);
	rig_ask(&g, &q, REQ_WRITE, 4096, len_b, buf);
	for (unsigned i = 0; i < 2; i++) {
		struct fn_entry e;
		struct fn_word w;

		assert_true(rig_next(&g, &w, &e));
		assert_int_equal(le64toh(e.off_b), 4096 + i * FN_BUF_B);
		assert_int_equal(le32toh(e.len_b), i ? 4096 : FN_BUF_B);
		rig_answer(&g, w.slot, FN_PASS, FN_OK);
		rig_turn(&g);
	}
	assert_int_equal(q.status, REQ_OK);
	assert_memory_equal(g.s->store + 4096, buf, len_b);
	rig_ask(&g, &q, REQ_READ, 4096, len_b, other);
	for (unsigned i = 0; i < 2; i++) {
		rig_answer(&g, rig_take(&g).slot, FN_PASS, FN_OK);
		rig_turn(&g);
	}
	assert_int_equal(q.status, REQ_OK);
	assert_memory_equal(other, buf, len_b);
	rig_close(&g);
}

static void waits_for_a_slot_in_order(void **state)
{
	static struct bed_req q[FN_SLOTS + 2];
	struct rig g;
	struct fn_word w;

	rig_start(&g, FN_TRANSFORM, REMOTE_PAUSE);
	for (unsigned i = 0; i < FN_SLOTS + 2; i++)
		rig_ask(&g, &q[i], REQ_WRITE, i * 512ull, 512, buf);
	for (unsigned i = 0; i < FN_SLOTS; i++)
		assert_true(rig_next(&g, &w, NULL));
	assert_false(rig_next(&g, &w, NULL));
	rig_answer(&g, 7, FN_DONE, FN_OK);
	rig_answer(&g, 9, FN_DONE, FN_OK);
	rig_turn(&g);
	for (unsigned i = 0; i < 2; i++) {
		struct fn_entry e;

		assert_true(rig_next(&g, &w, &e));
		assert_int_equal(le64toh(e.off_b), (FN_SLOTS + i) * 512);
	}
	for (unsigned i = 0; i < FN_SLOTS; i++)
		rig_answer(&g, i, FN_DONE, FN_OK);
	rig_turn(&g);
	bed_run(&g.b, FN_SLOTS + 2);
	rig_close(&g);
}

/* Its buffer is being fetched for that. */
static void gives_the_next_write_the_slot_that_was_to_be_next(void **state)
{
	struct bed_req q[4];
	struct rig g;

	rig_start(&g, FN_TRANSFORM, REMOTE_PAUSE);
	for (unsigned i = 0; i < 3; i++) {
		rig_ask(&g, &q[i], REQ_WRITE, i * 4096ull, 4096, buf);
		assert_int_equal(rig_take(&g).slot, i);
	}
	rig_answer(&g, 1, FN_DONE, FN_OK);
	rig_answer(&g, 0, FN_DONE, FN_OK);
	rig_turn(&g);
	rig_ask(&g, &q[3], REQ_WRITE, 0, 4096, buf);
	assert_int_equal(rig_take(&g).slot, 3);
	rig_ask(&g, &q[0], REQ_WRITE, 0, 4096, buf);
	assert_int_equal(rig_take(&g).slot, 0); /* the one that was free last */
	for (unsigned i = 0; i < 4; i++)
		if (i != 1)
			rig_answer(&g, i, FN_DONE, FN_OK);
	rig_turn(&g);
	assert_int_equal(g.b.done, 5);
	rig_close(&g);
}

/* What was answered is not given again; what was not is, in order, with the guest's data. */
static void gives_a_new_program_what_the_old_one_had(void **state)
{
	struct rig g;
	struct bed_req q[4];
	struct fn_word w;

	rig_start(&g, FN_TRANSFORM, REMOTE_PAUSE);
	memset(g.s->store, 0x33, 4096);
	for (unsigned i = 0; i < 3; i++) {
		fill(buf + i * 4096, 4096, 10 * i);
		rig_ask(&g, &q[i], REQ_WRITE, 4096 * (i + 1), 4096, buf + i * 4096);
		memset(rig_buf(&g, rig_take(&g).slot), 0xff, 2048); /* half done */
	}
	rig_ask(&g, &q[3], REQ_READ, 0, 4096, other);
	memset(rig_buf(&g, rig_take(&g).slot), 0xff, 2048);
	rig_answer(&g, g.l->slot[0].r == q[0].r ? 0 : 1, FN_PASS, FN_OK);
	rig_turn(&g);
	assert_int_equal(g.b.done, 1);

	remote_lose(g.l, NULL);
	rig_turn(&g);
	assert_int_equal(g.b.done, 1);
	rig_gain_anew(&g);
	rig_turn(&g);
	uint64_t expect[] = { 8192, 12288, 0 };

	for (unsigned i = 0; i < 3; i++) {
		struct fn_entry e;

		assert_true(rig_next(&g, &w, &e));
		assert_int_equal(le64toh(e.off_b), expect[i]);
		assert_true(w.flags & FN_F_REPLAY);
		if (w.op == FN_WRITE)
			assert_memory_equal(rig_buf(&g, w.slot), buf + (i + 1) * 4096, 4096);
		else
			assert_int_equal(rig_buf(&g, w.slot)[0], 0x33);
		rig_answer(&g, w.slot, FN_PASS, FN_OK);
	}
	assert_false(rig_next(&g, &w, NULL));
	rig_turn(&g);
	assert_int_equal(g.b.done, 4);
	assert_int_equal(other[0], 0x33);
	assert_memory_equal(g.s->store + 8192, buf + 4096, 4096);
	assert_int_equal(g.l->stats.replayed, 3);
	rig_close(&g);
}

/* One that is to change what is read must not be shown less than all of it. */
static void shows_its_successor_the_data_that_it_did_not_ask_for(void **state)
{
	struct rig g;
	struct bed_req q;

	rig_open(&g, FN_TRANSFORM, REMOTE_PAUSE);
	g.c.with_data = 0;
	rig_gain(&g);
	memset(g.s->store, 0x44, 4096);
	rig_ask(&g, &q, REQ_READ, 0, 4096, buf);
	assert_int_equal(rig_take(&g).flags, FN_F_UP);
	remote_lose(g.l, NULL);
	g.c.with_data = RW;
	rig_gain_anew(&g);
	rig_turn(&g);
	struct fn_word w = rig_take(&g);

	assert_int_equal(w.flags, FN_F_UP | FN_F_DATA | FN_F_REPLAY);
	assert_int_equal(rig_buf(&g, w.slot)[4095], 0x44);
	memset(rig_buf(&g, w.slot), 0x55, 4096);
	rig_answer(&g, w.slot, FN_PASS, FN_OK);
	rig_turn(&g);
	assert_int_equal(q.status, REQ_OK);
	assert_int_equal(buf[0], 0x55);
	assert_int_equal(buf[4095], 0x55);
	assert_int_equal(g.l->nfree, FN_SLOTS);
	rig_close(&g);
}

static void bypasses_a_lost_program(void **state)
{
	struct rig g;
	struct bed_req q[3];

	rig_start(&g, FN_TRANSFORM, REMOTE_BYPASS);
	memset(g.s->store, 0x44, 4096);
	fill(buf, 4096, 9);
	rig_ask(&g, &q[0], REQ_WRITE, 4096, 4096, buf);
	memset(rig_buf(&g, rig_take(&g).slot), 0xff, 4096);
	rig_ask(&g, &q[1], REQ_READ, 0, 4096, other);
	memset(rig_buf(&g, rig_take(&g).slot), 0xff, 4096);
	remote_lose(g.l, NULL);
	rig_turn(&g);
	assert_int_equal(g.b.done, 2);
	assert_memory_equal(g.s->store + 4096, buf, 4096);
	assert_int_equal(other[0], 0x44);
	rig_ask(&g, &q[2], REQ_READ, 4096, 4096, other);
	rig_turn(&g);
	assert_int_equal(q[2].status, REQ_OK);
	assert_memory_equal(other, buf, 4096);
	rig_close(&g);
}

/* A lost program that only hangs, in a machine for instance, may go on writing into the buffers. */
static void goes_around_the_buffers_of_a_program_that_hangs(void **state)
{
	struct fn_entry e = { .len_b = htole32(4096) };
	const size_t len_b = FN_BUF_B + 4096;
	struct rig g;
	struct bed_req q[3];

	rig_open(&g, FN_TRANSFORM, REMOTE_BYPASS);
	g.c.own_io = true;
	rig_gain(&g);
	memset(g.s->store, 0x44, 4096);
	fill(buf, len_b, 9);
	rig_ask(&g, &q[0], REQ_WRITE, 8192, len_b, buf);
	rig_answer(&g, rig_take(&g).slot, FN_PASS, FN_OK);
	g.s->when = SCRIPT_HELD; /* of the long write the first piece is below, and was changed */
	memset(rig_buf(&g, 0), 0xff, FN_BUF_B);
	poller_turn(g.b.poller);
	g.s->when = SCRIPT_NOW;
	rig_ask(&g, &q[1], REQ_READ, 0, 4096, other);
	rig_take(&g);
	rig_ask(&g, &q[2], REQ_WRITE, 4096, 4096, buf);
	unsigned slot = rig_take(&g).slot;

	/* it reads the medium into the buffer of a write that it has */
	g.s->when = SCRIPT_HELD;
	rig_put(&g, rig_io(FN_READ, slot), &e);
	rig_turn(&g);
	remote_lose(g.l, NULL);
	rig_turn(&g);
	memset(g.l->bufs, 0xee, 3 * FN_BUF_B);
	for (unsigned i = 0; i < 3; i++) {
		script_release_all(g.s, REQ_OK);
		rig_turn(&g);
		memset(g.l->bufs, 0xee, 3 * FN_BUF_B);
	}
	assert_int_equal(g.b.done, 3);
	assert_memory_equal(g.s->store + 8192, buf, len_b);
	assert_memory_equal(g.s->store + 4096, buf, 4096);
	assert_int_equal(other[0], 0x44);
	assert_int_equal(other[4095], 0x44);
	assert_int_equal(g.l->nfree, FN_SLOTS);
	rig_close(&g);
}

static void fails_without_a_program_if_told_to(void **state)
{
	struct rig g;
	struct bed_req q[4];

	rig_start(&g, FN_TRANSFORM, REMOTE_ERROR);
	rig_ask(&g, &q[0], REQ_WRITE, 4096, 4096, buf);
	rig_ask(&g, &q[1], REQ_READ, 0, 4096, other);
	remote_lose(g.l, NULL);
	rig_turn(&g);
	rig_ask(&g, &q[2], REQ_WRITE, 4096, 4096, buf);
	rig_ask(&g, &q[3], REQ_READ, 4096, 4096, buf);
	rig_turn(&g);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(q[i].status, REQ_IOERR);
	assert_int_equal(g.s->nseen, 1); /* the first read */
	rig_close(&g);
}

static void holds_back_until_there_is_a_program(void **state)
{
	struct rig g;
	struct bed_req q[2];

	rig_open(&g, FN_TRANSFORM, REMOTE_PAUSE);
	rig_ask(&g, &q[0], REQ_WRITE, 0, 4096, buf);
	rig_ask(&g, &q[1], REQ_FLUSH, 0, 0, NULL); /* perhaps it wants to see that */
	rig_turn(&g);
	assert_int_equal(g.b.done, 0);
	rig_gain(&g);
	rig_answer(&g, rig_take(&g).slot, FN_PASS, FN_OK);
	rig_turn(&g);
	assert_int_equal(g.b.done, 2);
	assert_int_equal(g.l->nfree, FN_SLOTS);
	/* the policy changes while there is none */
	remote_lose(g.l, NULL);
	rig_ask(&g, &q[0], REQ_WRITE, 0, 4096, buf);
	rig_turn(&g);
	assert_int_equal(g.b.done, 2);
	remote_set(g.f, REMOTE_BYPASS);
	remote_judge_door(g.l);
	rig_turn(&g);
	assert_int_equal(g.b.done, 3);
	rig_close(&g);
}

static void shows_copies_to_an_observer(void **state)
{
	struct rig g;
	struct bed_req q;
	struct fn_word w;

	rig_start(&g, FN_OBSERVE, REMOTE_PAUSE);
	fill(buf, 4096, 5);
	rig_ask(&g, &q, REQ_WRITE, 0, 4096, buf);
	rig_turn(&g);
	assert_int_equal(q.status, REQ_OK); /* nobody has answered */
	w = rig_take(&g);
	assert_memory_equal(rig_buf(&g, w.slot), buf, 4096);
	memset(rig_buf(&g, w.slot), 0, 4096); /* changes nothing */
	assert_memory_equal(g.s->store, buf, 4096);
	rig_answer(&g, w.slot, FN_DONE, FN_IOERR);
	rig_turn(&g);
	assert_int_equal(g.l->nfree, FN_SLOTS);
	rig_close(&g);
}

static void counts_what_an_observer_that_is_not_there_does_not_see(void **state)
{
	struct rig g;

	rig_open(&g, FN_OBSERVE, REMOTE_PAUSE);
	/* nobody knows what it would ask for */
	bed_do(&g.b, REQ_WRITE, 0, 0, 4096, buf);
	bed_do(&g.b, REQ_READ, 0, 0, 4096, buf);
	bed_do(&g.b, REQ_FLUSH, 0, 0, 0, NULL);
	assert_int_equal(g.l->stats.dropped, 3);
	rig_gain(&g); /* writes down, reads up */
	remote_lose(g.l, "gone");
	bed_do(&g.b, REQ_WRITE, 0, 0, 4096, buf);
	bed_do(&g.b, REQ_READ, 0, 0, 4096, buf);
	bed_do(&g.b, REQ_FLUSH, 0, 0, 0, NULL);
	assert_int_equal(g.l->stats.dropped, 5);
	assert_int_equal(g.l->stats.requests, 0);
	rig_close(&g);
}

static void drops_what_an_observer_has_no_room_for(void **state)
{
	struct rig g;
	struct bed_req q;

	rig_start_observer(&g);
	for (unsigned i = 0; i < FN_ENTRIES + 5; i++) {
		rig_ask(&g, &q, REQ_WRITE, 0, 512, buf);
		rig_turn(&g);
		assert_int_equal(q.status, REQ_OK);
	}
	assert_int_equal(g.l->stats.dropped, 5);
	g.c.rings->program.taken = htole32(FN_ENTRIES);
	rig_ask(&g, &q, REQ_WRITE, 0, 512, buf);
	assert_int_equal(g.l->stats.dropped, 5);
	assert_int_equal(g.l->stats.requests, FN_ENTRIES + 1);
	rig_turn(&g);
	rig_close(&g);
}

/* Nobody else would wake it: for what comes next there is no room. */
static void wakes_an_observer_that_has_no_room_for_all_of_a_request(void **state)
{
	const size_t len_b = (FN_SLOTS + 1) * (size_t)FN_BUF_B;
	uint8_t *host = calloc(1, len_b);
	int pair[2];
	char text[256];
	struct rig g;
	struct bed_req q;

	assert_non_null(host);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	rig_open(&g, FN_OBSERVE, REMOTE_PAUSE);
	g.c.kick_fd = pair[0];
	g.c.rings->program.sleeps = htole32(1);
	rig_gain(&g);
	g.b.lane->size_b = g.s->store_b = len_b;
	g.s->when = SCRIPT_HELD;
	rig_ask(&g, &q, REQ_WRITE, 0, len_b, host);
	rig_turn(&g);
	assert_int_equal(g.l->stats.requests, FN_SLOTS);
	assert_int_equal(g.l->stats.dropped, 1);
	assert_true(recv(pair[1], text, sizeof(text), MSG_DONTWAIT) > 0);
	script_release_all(g.s, REQ_IOERR);
	rig_turn(&g);
	assert_int_equal(q.status, REQ_IOERR);
	rig_close(&g);
	close(pair[0]);
	close(pair[1]);
	free(host);
}

static void serves_without_a_medium(void **state)
{
	struct rig g;
	struct bed_req q;

	rig_start_server(&g, REMOTE_PAUSE);
	rig_ask(&g, &q, REQ_READ, 0, 4096, buf);
	struct fn_word w = rig_take(&g);

	memset(rig_buf(&g, w.slot), 0x77, 4096);
	rig_answer(&g, w.slot, FN_DONE, FN_OK);
	rig_turn(&g);
	assert_int_equal(q.status, REQ_OK);
	assert_int_equal(buf[4095], 0x77);
	/* what it does not take */
	rig_ask(&g, &q, REQ_DISCARD, 0, 4096, NULL);
	assert_int_equal(q.status, REQ_UNSUPP);
	rig_ask(&g, &q, REQ_FLUSH, 0, 0, NULL);
	assert_int_equal(q.status, REQ_OK);
	assert_int_equal(g.s->nseen, 0);
	rig_close(&g);
}

static void makes_requests_of_its_own(void **state)
{
	struct rig g;
	struct fn_entry e = { .off_b = htole64(4096), .len_b = htole32(512),
			      .buf_off_b = htole32(1024), .arg = htole64(99) }, got;
	struct fn_word w;

	rig_open(&g, FN_TRANSFORM, REMOTE_PAUSE);
	g.c.own_io = true;
	rig_gain(&g);
	memset(rig_buf(&g, FN_SLOTS + 3) + 1024, 0x55, 512);
	rig_put(&g, rig_io(FN_WRITE, FN_SLOTS + 3), &e);
	rig_turn(&g);
	assert_int_equal(g.s->store[4096], 0x55);
	assert_true(rig_next(&g, &w, &got));
	assert_int_equal(w.kind, FN_IO_DONE);
	assert_int_equal(w.status, FN_OK);
	assert_int_equal(le64toh(got.arg), 99);
	/* beyond the disk */
	e.off_b = htole64(DISK_B);
	rig_put(&g, rig_io(FN_READ, FN_SLOTS), &e);
	rig_turn(&g);
	assert_int_equal(rig_take(&g).status, FN_RANGE);
	assert_int_equal(g.l->nio, 0);
	rig_close(&g);
}

/* A program with a read of its own that the medium keeps. */
static void start_with_own_io(struct rig *g)
{
	struct fn_entry e = { .len_b = htole32(512) };

	rig_open(g, FN_TRANSFORM, REMOTE_PAUSE);
	g->c.own_io = true;
	g->s->when = SCRIPT_HELD;
	rig_gain(g);
	rig_put(g, rig_io(FN_READ, FN_SLOTS), &e);
	rig_turn(g);
	assert_int_equal(script_waiting(g->s), 1);
}

/* What the program that died had asked for is waited for, and told to nobody. */
static void waits_for_own_io_of_the_program_before(void **state)
{
	struct rig g;
	struct fn_word w;

	start_with_own_io(&g);
	remote_lose(g.l, NULL);
	rig_gain_anew(&g);
	rig_turn(&g);
	assert_null(g.l->ring.shared);
	script_release_all(g.s, REQ_OK);
	rig_turn(&g);
	assert_non_null(g.l->ring.shared);
	assert_false(rig_next(&g, &w, NULL));
	rig_close(&g);
}

/* It ended while the lane still waited for the one before. */
static void forgets_a_program_that_never_came(void **state)
{
	struct rig g;

	start_with_own_io(&g);
	remote_lose(g.l, NULL);
	rig_gain(&g);
	remote_disconnect(g.l);
	script_release_all(g.s, REQ_OK);
	rig_turn(&g);
	assert_null(g.l->ring.shared);
	assert_null(g.l->pending);
	assert_int_equal(g.l->source.inflight, 0);
	rig_close(&g);
}

/* A lane between two programs: the first has the write q[0], q[1] waits for the second. */
struct change {
	struct rig g;
	struct bed_req q[2];
	unsigned slot; /* of q[0] */
	struct channel next;
	struct handover h;
};

static void change_open(struct change *c, unsigned lanes)
{
	memset(c, 0, sizeof(*c));
	rig_start(&c->g, FN_TRANSFORM, REMOTE_BYPASS);
	rig_ask(&c->g, &c->q[0], REQ_WRITE, 0, 4096, buf);
	c->slot = rig_take(&c->g).slot;
	c->next = c->g.c;
	c->next.rings = rig_rings();
	c->h.lanes = lanes;
	remote_hand_over(c->g.l, &c->h, &c->next);
	rig_ask(&c->g, &c->q[1], REQ_WRITE, 4096, 4096, buf);
	rig_turn(&c->g);
	assert_int_equal(c->h.joined, 0); /* the old one still has a request */
}

/* The second program, for which the test speaks now, has @n requests; the first one comes
 * @again. */
static void change_over(struct change *c, unsigned n, bool again)
{
	struct fn_word w;

	assert_true(c->g.l->pausing);
	assert_int_equal(c->g.l->stats.pause_ticks, 0);
	munmap(c->g.c.rings, sizeof(*c->g.c.rings));
	c->g.c = c->next;
	c->g.to_n = c->g.from_n = 0;
	for (unsigned i = 0; i < n; i++) {
		w = rig_take(&c->g);
		assert_int_equal(w.flags & FN_F_REPLAY, again && !i ? FN_F_REPLAY : 0);
		rig_answer(&c->g, w.slot, FN_PASS, FN_OK);
	}
	assert_false(rig_next(&c->g, &w, NULL));
	rig_turn(&c->g);
	assert_int_equal(c->g.b.done, 2);
	/* the pause lasted until the next one's first answer */
	assert_false(c->g.l->pausing);
	assert_int_not_equal(c->g.l->stats.pause_ticks, 0);
	assert_int_equal(c->g.l->stats.bypassed, 0);
	rig_close(&c->g);
}

static void hands_over_between_two_requests(void **state)
{
	struct change c;

	change_open(&c, 1);
	rig_answer(&c.g, c.slot, FN_PASS, FN_OK);
	rig_turn(&c.g);
	assert_int_equal(c.h.joined, 1);
	assert_int_equal(c.g.b.done, 1);
	assert_null(c.h.fault);
	change_over(&c, 1, false);
}

static void blames_nobody_for_the_program_before(void **state)
{
	struct change c;
	struct bed_req q;
	struct rig g;

	change_open(&c, 1);
	rig_answer(&c.g, FN_SLOTS, FN_PASS, FN_OK);
	rig_turn(&c.g);
	assert_int_equal(c.h.joined, 1);
	assert_null(c.g.l->fault);
	assert_string_equal(c.h.fault, "it answers a slot that there is not");
	change_over(&c, 2, true);
	/* nor one that is started after it was lost */
	rig_start(&g, FN_TRANSFORM, REMOTE_BYPASS);
	rig_ask(&g, &q, REQ_WRITE, 0, 4096, buf);
	rig_answer(&g, FN_SLOTS, FN_PASS, FN_OK);
	rig_turn(&g);
	assert_non_null(g.l->fault);
	remote_disconnect(g.l);
	assert_null(g.l->fault);
	rig_close(&g);
}

/* Its program, or another lane's, does not end what it has. */
static void goes_over_alone_when_told_to(void **state)
{
	struct change c;

	change_open(&c, 2);
	remote_lose(c.g.l, NULL);
	rig_turn(&c.g);
	assert_null(c.g.l->ring.shared);
	assert_int_equal(c.g.b.done, 0);
	remote_gain(c.g.l, &c.next);
	rig_turn(&c.g);
	assert_int_equal(c.h.joined, 0);
	change_over(&c, 2, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(changes_a_write_before_the_medium),
		cmocka_unit_test(changes_a_read_before_the_guest),
		cmocka_unit_test(lets_pass_unseen_what_it_did_not_ask_for),
		cmocka_unit_test(ends_a_request_with_the_status_given),
		cmocka_unit_test(takes_a_long_request_in_pieces),
		cmocka_unit_test(waits_for_a_slot_in_order),
		cmocka_unit_test(gives_the_next_write_the_slot_that_was_to_be_next),
		cmocka_unit_test(gives_a_new_program_what_the_old_one_had),
		cmocka_unit_test(shows_its_successor_the_data_that_it_did_not_ask_for),
		cmocka_unit_test(bypasses_a_lost_program),
		cmocka_unit_test(goes_around_the_buffers_of_a_program_that_hangs),
		cmocka_unit_test(fails_without_a_program_if_told_to),
		cmocka_unit_test(holds_back_until_there_is_a_program),
		cmocka_unit_test(shows_copies_to_an_observer),
		cmocka_unit_test(counts_what_an_observer_that_is_not_there_does_not_see),
		cmocka_unit_test(drops_what_an_observer_has_no_room_for),
		cmocka_unit_test(wakes_an_observer_that_has_no_room_for_all_of_a_request),
		cmocka_unit_test(serves_without_a_medium),
		cmocka_unit_test(makes_requests_of_its_own),
		cmocka_unit_test(waits_for_own_io_of_the_program_before),
		cmocka_unit_test(forgets_a_program_that_never_came),
		cmocka_unit_test(hands_over_between_two_requests),
		cmocka_unit_test(blames_nobody_for_the_program_before),
		cmocka_unit_test(goes_over_alone_when_told_to),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
