/* SPDX-License-Identifier: Apache-2.0 */
/* Programs that misbehave: each thing that they can write into shared memory or say on their
 * socket. A fault costs them the lane, and nobody else anything. */
#include "remote_bed.h"
#include "remote_talk.h"

#include <poll.h>

#include "base/fd.h"

static uint8_t buf[64 * 1024];

/* The lane has found @text wrong, told control once, and let its request go past the program. */
static void assert_lost(struct rig *g, const char *text)
{
	rig_turn(g);
	assert_non_null(g->l->fault);
	assert_string_equal(g->l->fault, text);
	assert_int_equal(g->told, 1);
	assert_null(g->l->ring.shared);
	assert_int_equal(g->l->nsent, 0);
	rig_close(g);
}

/* A lane whose program has one write, and its slot. */
static unsigned open_with_write(struct rig *g, struct bed_req *q)
{
	rig_open(g, FN_TRANSFORM, REMOTE_BYPASS);
	g->c.own_io = true;
	rig_gain(g);
	rig_ask(g, q, REQ_WRITE, 0, 4096, buf);
	return rig_take(g).slot;
}

static void answers_a_slot_that_there_is_not(void **state)
{
	struct rig g;
	struct bed_req q;

	open_with_write(&g, &q);
	rig_answer(&g, FN_SLOTS, FN_PASS, FN_OK);
	assert_lost(&g, "it answers a slot that there is not");
	assert_int_equal(q.status, REQ_OK);
}

static void answers_what_nobody_asked(void **state)
{
	struct rig g;
	struct bed_req q;
	unsigned slot = open_with_write(&g, &q);

	rig_answer(&g, slot + 1, FN_PASS, FN_OK);
	assert_lost(&g, "it answers what it does not have");
}

static void answers_twice(void **state)
{
	struct rig g;
	struct bed_req q;
	unsigned slot = open_with_write(&g, &q);

	g.s->when = SCRIPT_HELD; /* it is still below when the second one comes */
	rig_answer(&g, slot, FN_PASS, FN_OK);
	rig_answer(&g, slot, FN_DONE, FN_IOERR);
	rig_turn(&g);
	script_release_all(g.s, REQ_OK);
	assert_lost(&g, "it answers what it does not have");
	assert_int_equal(q.status, REQ_OK);
}

static void answers_with_no_kind(void **state)
{
	static const uint8_t kinds[] = { 0, FN_IO + 1, 255 };

	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
		struct rig g;
		struct bed_req q;
		unsigned slot = open_with_write(&g, &q);

		rig_answer(&g, slot, kinds[i], FN_OK);
		assert_lost(&g, "its answer makes no sense");
	}
}

static void answers_with_a_status_that_there_is_not(void **state)
{
	struct rig g;
	struct bed_req q;
	unsigned slot = open_with_write(&g, &q);

	rig_answer(&g, slot, FN_DONE, FN_STATUSES);
	assert_lost(&g, "its answer makes no sense");
}

static void passes_on_what_it_serves(void **state)
{
	struct rig g;
	struct bed_req q;

	rig_start_server(&g, REMOTE_ERROR);
	rig_ask(&g, &q, REQ_READ, 0, 4096, buf);
	rig_answer(&g, rig_take(&g).slot, FN_PASS, FN_OK);
	rig_turn(&g);
	assert_int_equal(q.status, REQ_IOERR);
	assert_int_equal(g.s->nseen, 0);
	assert_lost(&g, "it passes on what it serves");
}

static void says_that_it_has_taken_what_never_was(void **state)
{
	struct rig g;
	struct bed_req q;

	rig_start_observer(&g);
	for (unsigned i = 0; i <= FN_ENTRIES; i++) {
		g.c.rings->program.taken = htole32(FN_ENTRIES + 1);
		rig_ask(&g, &q, REQ_WRITE, 0, 512, buf);
		rig_turn(&g);
		assert_int_equal(q.status, REQ_OK);
	}
	assert_lost(&g, "it says that it has taken what was never there");
}

struct own_case {
	const char *what;
	struct fn_word w;
	uint32_t len_b, buf_off_b;
};

#define OWN(op_, slot_) { .kind = FN_IO, .op = (op_), .slot = (slot_) }

static void asks_for_io_that_makes_no_sense(void **state)
{
	static const struct own_case cases[] = {
		{ "an operation that there is not", OWN(FN_OPS, FN_SLOTS), 512, 0 },
		{ "a slot beyond all", OWN(FN_READ, FN_ALL_SLOTS), 512, 0 },
		{ "the slot that is no slot", OWN(FN_READ, FN_NO_SLOT), 512, 0 },
		{ "a slot that it does not have", OWN(FN_READ, 5), 512, 0 },
		{ "more than the buffer", OWN(FN_READ, FN_SLOTS), FN_BUF_B + 512, 0 },
		{ "beyond its end", OWN(FN_WRITE, FN_SLOTS), 4096, FN_BUF_B - 512 },
		{ "round the end of numbers", OWN(FN_WRITE, FN_SLOTS), 4096, 0xfffffe00u },
		{ "a length round the end", OWN(FN_WRITE, FN_SLOTS), 0xfffffe00u, 1024 },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct rig g;
		struct bed_req q;
		struct fn_entry e = { .len_b = htole32(cases[i].len_b),
				      .buf_off_b = htole32(cases[i].buf_off_b) };

		open_with_write(&g, &q);
		rig_put(&g, cases[i].w, &e);
		assert_lost(&g, "it asks for I/O of its own that makes no sense");
		assert_int_equal(q.status, REQ_OK);
	}
}

static void asks_for_io_that_it_did_not_announce(void **state)
{
	struct fn_entry e = { .len_b = htole32(512) };
	struct rig g;

	rig_start(&g, FN_TRANSFORM, REMOTE_BYPASS);
	struct bed_req q;

	rig_ask(&g, &q, REQ_WRITE, 0, 4096, buf);
	rig_put(&g, (struct fn_word)OWN(FN_READ, FN_SLOTS), &e);
	assert_lost(&g, "it asks for I/O of its own that makes no sense");
}

static void asks_for_more_io_than_it_may(void **state)
{
	struct fn_entry e = { .len_b = htole32(512) };
	struct rig g;
	struct bed_req q;

	open_with_write(&g, &q);
	g.s->when = SCRIPT_HELD;
	for (unsigned i = 0; i < FN_IO_MAX; i++)
		rig_put(&g, (struct fn_word)OWN(FN_READ, FN_SLOTS), &e);
	rig_turn(&g);
	assert_int_equal(g.l->nio, FN_IO_MAX);
	assert_null(g.l->fault);
	rig_put(&g, (struct fn_word)OWN(FN_READ, FN_SLOTS), &e);
	rig_turn(&g);
	assert_non_null(g.l->fault);
	g.s->when = SCRIPT_NOW;
	script_release_all(g.s, REQ_OK);
	assert_lost(&g, "it asks for I/O of its own that makes no sense");
}

static void answers_while_its_own_io_uses_the_buffer(void **state)
{
	struct fn_entry e = { .len_b = htole32(512) };
	struct rig g;
	struct bed_req q;
	unsigned slot = open_with_write(&g, &q);

	g.s->when = SCRIPT_HELD;
	rig_put(&g, (struct fn_word)OWN(FN_READ, (uint16_t)slot), &e);
	rig_answer(&g, slot, FN_PASS, FN_OK);
	rig_turn(&g);
	assert_int_equal(q.status, BED_NOT_DONE);
	g.s->when = SCRIPT_NOW;
	script_release_all(g.s, REQ_OK);
	rig_turn(&g);
	assert_lost(&g, "it answers while I/O of its own uses the buffer");
}

/* Judged as a guest's request would be, and told: that is no fault. */
static void asks_for_io_that_the_disk_refuses(void **state)
{
	static const struct {
		unsigned op;
		uint64_t off_b;
		uint32_t len_b;
		enum fn_status status;
	} cases[] = {
		{ FN_READ, DISK_B, 512, FN_RANGE },
		{ FN_READ, UINT64_MAX - 511, 1024, FN_RANGE },
		{ FN_READ, 0, 0, FN_RANGE },
		{ FN_READ, 1, 512, FN_RANGE },
		{ FN_WRITE, 0, 511, FN_RANGE },
		{ FN_WRITE, 0, 512, FN_RDONLY },
		{ FN_DISCARD, 0, 512, FN_RDONLY },
		{ FN_ZEROES, 0, 512, FN_RDONLY },
		{ FN_FLUSH, 0, 0, FN_OK },
	};
	struct rig g;

	rig_open(&g, FN_TRANSFORM, REMOTE_PAUSE);
	g.c.own_io = true;
	rig_gain(&g);
	g.b.lane->readonly = true;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct fn_entry e = { .off_b = htole64(cases[i].off_b),
				      .len_b = htole32(cases[i].len_b) };

		rig_put(&g, (struct fn_word)OWN((uint8_t)cases[i].op, FN_SLOTS), &e);
		rig_turn(&g);
		assert_int_equal(rig_take(&g).status, cases[i].status);
	}
	g.b.lane->readonly = g.b.lane->has_zeroes = false;
	struct fn_entry e = { .len_b = htole32(512) };

	rig_put(&g, (struct fn_word)OWN(FN_ZEROES, FN_SLOTS), &e);
	rig_turn(&g);
	assert_int_equal(rig_take(&g).status, FN_UNSUPP);
	assert_null(g.l->fault);
	rig_close(&g);
}

static void close_nothing(struct function *f)
{
}

static int open_nothing(struct function *f, struct lane *lane, void **ret_state)
{
	return 0;
}

static void close_no_lane(void *state)
{
}

/* Nobody below who needs data that stays as it is sees it change; if somebody above has had the
 * same need that does not help. */
static void changes_what_it_has_passed_on(void **state)
{
	static const struct function_ops ops = { .kind = "reader", .needs_stable = true,
						 .close = close_nothing, .lane_open = open_nothing,
						 .lane_close = close_no_lane };
	struct function above = { &ops }, below = { &ops };

	for (unsigned i = 0; i < 2; i++) {
		struct fn_entry e = { .off_b = htole64(8192), .len_b = htole32(512) };
		struct rig g;
		struct bed_req q;

		rig_open_between(&g, i ? &above : NULL, &below, FN_TRANSFORM, REMOTE_PAUSE);
		g.c.own_io = true;
		rig_gain(&g);
		g.s->when = SCRIPT_HELD;
		memset(buf, 'a', 4096);
		rig_ask(&g, &q, REQ_WRITE, 0, 4096, buf);
		unsigned slot = rig_take(&g).slot;

		memset(rig_buf(&g, slot), 'b', 4096);
		rig_answer(&g, slot, FN_PASS, FN_OK);
		memset(rig_buf(&g, FN_SLOTS), 'c', 512);
		rig_put(&g, (struct fn_word)OWN(FN_WRITE, FN_SLOTS), &e);
		rig_turn(&g);
		assert_int_equal(script_waiting(g.s), 2);
		memset(rig_buf(&g, slot), 'x', 4096);
		memset(rig_buf(&g, FN_SLOTS), 'x', 512);
		script_release_all(g.s, REQ_OK);
		rig_turn(&g);
		assert_int_equal(q.status, REQ_OK);
		assert_memory_equal(g.s->store, "bbbb", 4);
		assert_memory_equal(g.s->store + 8192, "cccc", 4);
		unsigned nfree = 0;

		for (const struct bounce *b = g.b.lane->bounce.free; b; b = b->next_free)
			nfree++;
		assert_int_equal(nfree, BOUNCE_BUFS);
		rig_close(&g);
	}
}

/* What was passed on before is the old one's; of what comes then it has nothing. */
static void writes_in_vain_when_another_has_taken_over(void **state)
{
	struct handover h = { .lanes = 1 };
	struct channel *next;
	struct bed_req q[2];
	struct talk t;
	struct rig g;

	rig_start(&g, FN_TRANSFORM, REMOTE_PAUSE);
	talk_open(&t, false);
	g.s->when = SCRIPT_HELD;
	memset(buf, 'a', 4096);
	rig_ask(&g, &q[0], REQ_WRITE, 0, 4096, buf);
	rig_answer(&g, rig_take(&g).slot, FN_PASS, FN_OK);
	rig_turn(&g);
	t.p->said.down = t.p->said.with_data = htole32(1u << FN_WRITE);
	assert_int_equal(program_offer(t.p, g.l, 0, true, &next), 0);
	g.l->next_channel = next;
	remote_hand_over(g.l, &h, next);
	rig_ask(&g, &q[1], REQ_WRITE, 8192, 4096, buf);
	rig_turn(&g);
	assert_int_equal(h.joined, 0); /* the medium works on the old one's memory */
	uint8_t *old = g.l->bufs;

	script_release_all(g.s, REQ_OK);
	rig_turn(&g);
	assert_int_equal(h.joined, 1);
	munmap(g.c.rings, sizeof(*g.c.rings));
	g.c = *next;
	g.to_n = g.from_n = 0;
	memset(old, 'x', FN_BUFS_B);
	rig_answer(&g, rig_take(&g).slot, FN_PASS, FN_OK);
	rig_turn(&g);
	memset(old, 'x', FN_BUFS_B);
	script_release_all(g.s, REQ_OK);
	rig_turn(&g);
	assert_int_equal(q[1].status, REQ_OK);
	assert_memory_equal(g.s->store + 8192, buf, 4096);
	/* nor can it keep the lane asleep by taking its wake-ups */
	assert_int_not_equal(g.l->look_ticks, 0);
	remote_settle(g.l);
	assert_int_equal(g.l->look_ticks, 0);
	buffers_sweep(g.l);
	assert_ptr_equal(list_first(&g.l->buffers, struct buffers, node), next->buffers);
	g.c.rings = NULL; /* the channel's */
	g.l->next_channel = NULL;
	rig_close(&g);
	program_withdraw(t.p, next);
	talk_close(&t);
}

/* Old laps, and what stands in entries that were not written, say nothing. */
static void leaves_rubbish_in_its_ring(void **state)
{
	struct rig g;
	struct bed_req q;
	unsigned slot = open_with_write(&g, &q);

	memset(&g.c.rings->from[1], 0xff, sizeof(g.c.rings->from) - sizeof(g.c.rings->from[0]));
	for (unsigned lap = 0; lap < 4; lap++) {
		g.c.rings->from[0].word = htole64(fn_pack((struct fn_word){
			.lap = (uint16_t)(lap == 1 ? 77 : lap), .slot = (uint16_t)slot,
			.kind = FN_DONE, .status = FN_IOERR }));
		rig_turn(&g);
		assert_int_equal(q.status, BED_NOT_DONE);
	}
	rig_answer(&g, slot, FN_PASS, FN_OK);
	rig_turn(&g);
	assert_int_equal(q.status, REQ_OK);
	assert_null(g.l->fault);
	rig_close(&g);
}

/* It is woken once for each time that it says it sleeps, whatever it says. */
static void says_that_it_sleeps_all_the_time(void **state)
{
	struct rig g;
	struct bed_req q[8];
	int pair[2];
	char text[64];
	unsigned kicks = 0;

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	rig_open(&g, FN_TRANSFORM, REMOTE_BYPASS);
	g.c.kick_fd = pair[0];
	g.c.rings->program.sleeps = htole32(0xffffffffu);
	rig_gain(&g);
	for (unsigned i = 0; i < 8; i++) {
		rig_ask(&g, &q[i], REQ_WRITE, 0, 4096, buf);
		rig_turn(&g);
	}
	while (recv(pair[1], text, sizeof(text), MSG_DONTWAIT) > 0)
		kicks++;
	assert_int_equal(kicks, 1);
	/* nobody reads: the poller waits for nobody */
	for (unsigned i = 0; i < 100000; i++) {
		g.c.rings->program.sleeps = htole32(2 * i + 1);
		remote_kick(g.l);
	}
	remote_lose(g.l, NULL);
	bed_run(&g.b, 8);
	rig_close(&g);
	close(pair[0]);
	close(pair[1]);
}

static struct fn_msg ready(const struct talk *t)
{
	struct fn_msg m = talk_msg(t, FN_READY);

	m.down = htole32(3);
	return m;
}

static void is_ready_when_it_says_so(void **state)
{
	struct talk t;

	talk_open(&t, false);
	assert_int_equal(le16toh(t.heard.kind), FN_HELLO);
	assert_int_equal(le16toh(t.heard.abi), FN_ABI_NEWEST);
	assert_int_equal(le16toh(t.heard.abi_oldest), FN_ABI_OLDEST);
	struct fn_msg m = ready(&t);

	/* what was said to somebody before us is not for us */
	m.channel = htole32(le32toh(m.channel) + 1);
	m.down = htole32(0);
	talk_say(&t, &m, sizeof(m));
	assert_false(t.p->is_ready);
	m = ready(&t);
	talk_say(&t, &m, sizeof(m));
	assert_true(t.p->is_ready);
	assert_null(t.p->fault);
	assert_int_equal(le32toh(t.p->said.down), 3);
	talk_close(&t);
}

static void speaks_a_version_that_there_is_not(void **state)
{
	static const uint16_t versions[] = { 0, FN_ABI_OLDEST - 1, FN_ABI_NEWEST + 1, 0xffff };

	for (unsigned i = 0; i < ARRAY_SIZE(versions); i++) {
		struct talk t;

		talk_open(&t, false);
		struct fn_msg m = ready(&t);

		m.abi = htole16(versions[i]);
		talk_say(&t, &m, sizeof(m));
		assert_non_null(strstr(t.p->fault, "of the interface, and this posternd 1 to 1"));
		talk_close(&t);
	}
}

static void wants_to_see_what_there_is_not(void **state)
{
	for (unsigned i = 0; i < 4; i++) {
		struct talk t;

		talk_open(&t, false);
		struct fn_msg m = ready(&t);
		le32 *field[] = { &m.down, &m.up, &m.with_data, &m.flags };

		*field[i] = htole32(1u << 5);
		talk_say(&t, &m, sizeof(m));
		assert_string_equal(t.p->fault, "it asks for what this version does not have");
		talk_close(&t);
	}
}

static void has_a_name_that_is_no_text(void **state)
{
	for (unsigned i = 0; i < 4; i++) {
		struct talk t;

		talk_open(&t, false);
		struct fn_msg m = ready(&t);

		if (i == 0)
			memset(m.name, 'a', sizeof(m.name));
		if (i == 1)
			memset(m.version, 'a', sizeof(m.version));
		if (i == 2)
			m.name[0] = '\n';
		if (i == 3)
			m.version[0] = (char)0x80;
		talk_say(&t, &m, sizeof(m));
		assert_string_equal(t.p->fault, "its name or version is no text");
		talk_close(&t);
	}
}

static void says_what_makes_no_sense(void **state)
{
	static const char *const fault[] = {
		"its message makes no sense", "its message makes no sense",
		"its message makes no sense", "it says twice that it is ready",
		"its message is of no kind", "it answers for a disk that it was not given",
	};

	for (unsigned i = 0; i < ARRAY_SIZE(fault); i++) {
		struct talk t;
		struct {
			struct fn_msg m;
			char more;
		} long_one;

		talk_open(&t, false);
		struct fn_msg m = ready(&t);

		talk_say(&t, &m, sizeof(m));
		memcpy(&long_one.m, &m, sizeof(m));
		if (i == 2)
			m.magic = 0;
		if (i == 4)
			m.kind = htole16(FN_STOP + 1);
		if (i == 5)
			m.kind = htole16(FN_DISK_READY);
		talk_say(&t, i == 1 ? &long_one.m : &m,
		    i == 0 ? sizeof(m) - 1 : sizeof(m) + (i == 1));
		assert_string_equal(t.p->fault, fault[i]);
		talk_close(&t);
	}
}

/* What was said to a posternd before is skipped, but not for ever: others need control, too. */
static void talks_without_end(void **state)
{
	struct talk t;

	talk_open(&t, false);
	struct fn_msg m = ready(&t);

	m.channel ^= 1;
	while (send(t.sock, &m, sizeof(m), MSG_DONTWAIT) > 0)
		;
	assert_true(program_read(t.p));
	assert_null(t.p->fault);
	/* there is more */
	assert_int_equal(recv(t.p->process.sock, &m, sizeof(m), MSG_DONTWAIT), sizeof(m));
	talk_close(&t);
}

/* The next message, with its descriptors, which are closed. Return: false: there is none. */
static bool hear(struct talk *t, struct fn_msg *ret, unsigned *ret_nfd)
{
	int fds[OUTBOX_FDS];
	struct pollfd w = { .fd = t->sock, .events = POLLIN };

	if (poll(&w, 1, 0) <= 0)
		return false;
	assert_int_equal(fd_recv(t->sock, ret, sizeof(*ret), fds, OUTBOX_FDS, ret_nfd),
			 sizeof(*ret));
	for (unsigned i = 0; i < *ret_nfd; i++)
		close(fds[i]);
	return true;
}

/* More lanes come than its socket has room for while it is busy: it hears of each, in order. */
static void does_not_read_for_a_while(void **state)
{
	static struct channel *c[400];
	struct fn_msg m = { 0 };
	unsigned nfd, n = 0;
	struct talk t;
	struct rig g;

	rig_open(&g, FN_TRANSFORM, REMOTE_PAUSE);
	talk_open(&t, false);
	for (unsigned i = 0; i < ARRAY_SIZE(c); i++)
		assert_int_equal(program_offer(t.p, g.l, 0, false, &c[i]), 0);
	assert_true(t.p->out.n);
	for (unsigned i = 0; i < ARRAY_SIZE(c); i++)
		program_withdraw(t.p, c[i]);
	for (; hear(&t, &m, &nfd); n++, outbox_flush(&t.p->out)) {
		bool offered = n < ARRAY_SIZE(c);

		assert_int_equal(le16toh(m.kind), offered ? FN_DISK : FN_DISK_GONE);
		assert_int_equal(le32toh(m.channel), n % ARRAY_SIZE(c));
		assert_int_equal(nfd, offered ? OUTBOX_FDS : 0);
	}
	assert_int_equal(n, 2 * ARRAY_SIZE(c));
	/* one that never reads has to go without */
	for (n = 0; n < 100000 && !program_offer(t.p, g.l, 0, false, &c[0]); n++)
		program_withdraw(t.p, c[0]);
	assert_in_range(n, 100, 10000);
	talk_close(&t);
	rig_close(&g);
}

static void closes_its_socket(void **state)
{
	struct talk t;
	char why[HOST_WHY_MAX];

	talk_open(&t, false);
	shutdown(t.sock, SHUT_RDWR);
	assert_int_equal(program_await_ready(t.p, clock_ns() + 10 * NS_PER_S, why), -ECHILD);
	assert_true(t.p->has_ended);
	talk_close(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_a_slot_that_there_is_not),
		cmocka_unit_test(answers_what_nobody_asked),
		cmocka_unit_test(answers_twice),
		cmocka_unit_test(answers_with_no_kind),
		cmocka_unit_test(answers_with_a_status_that_there_is_not),
		cmocka_unit_test(passes_on_what_it_serves),
		cmocka_unit_test(says_that_it_has_taken_what_never_was),
		cmocka_unit_test(asks_for_io_that_makes_no_sense),
		cmocka_unit_test(asks_for_io_that_it_did_not_announce),
		cmocka_unit_test(asks_for_more_io_than_it_may),
		cmocka_unit_test(answers_while_its_own_io_uses_the_buffer),
		cmocka_unit_test(asks_for_io_that_the_disk_refuses),
		cmocka_unit_test(changes_what_it_has_passed_on),
		cmocka_unit_test(writes_in_vain_when_another_has_taken_over),
		cmocka_unit_test(leaves_rubbish_in_its_ring),
		cmocka_unit_test(says_that_it_sleeps_all_the_time),
		cmocka_unit_test(is_ready_when_it_says_so),
		cmocka_unit_test(speaks_a_version_that_there_is_not),
		cmocka_unit_test(wants_to_see_what_there_is_not),
		cmocka_unit_test(has_a_name_that_is_no_text),
		cmocka_unit_test(says_what_makes_no_sense),
		cmocka_unit_test(talks_without_end),
		cmocka_unit_test(does_not_read_for_a_while),
		cmocka_unit_test(closes_its_socket),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
