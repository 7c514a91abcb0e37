/* SPDX-License-Identifier: Apache-2.0 */
/* What a medium that ends nothing, or fails, does to guests: on_timeout=error and werror=stop. */
#include "bed.h"

#include "core/guard.h"
#include "function/delay/delay.h"
#include "tests/fake/media.h"

#define START_NS (10 * NS_PER_S) /* the poller's clock when a test begins */
#define PATIENCE_NS (1 * NS_PER_S)
#define LATE_NS (START_NS + PATIENCE_NS + 1000)
#define SIZE_B (4 * MIB)

struct guarded {
	struct bed b;
	struct scripted *s;
};

static uint8_t buf[4][2 * MIB] __attribute__((aligned(4096)));

static void open_with(struct guarded *t, const struct disk_care *care, struct function *const *f,
		      unsigned nf)
{
	memset(buf, 0, sizeof(buf));
	t->s = script_new(SIZE_B);
	bed_open_chain(&t->b, &t->s->m, f, nf, SIZE_B);
	assert_int_equal(disk_set_care(t->b.disk, care), 0);
	t->s->when = SCRIPT_HELD;
	bed_at(&t->b, START_NS);
}

static void open_guarded(struct guarded *t)
{
	open_with(t, &(struct disk_care){ .timeout_ns = PATIENCE_NS, .expires = true }, NULL, 0);
}

static void send(struct guarded *t, struct bed_req *q, enum req_op op, uint64_t off_b,
		 uint64_t len_b, unsigned which)
{
	bed_req(&t->b, q, op, off_b, len_b, op <= REQ_WRITE ? buf[which] : NULL)->since_ticks = 0;
	bed_submit(&t->b, q, 1);
}

/* Lets the medium end what it may, and what that sets going. */
static void reap(struct guarded *t)
{
	do {
		t->b.lane->media->ops->poll(t->b.lane->media);
	} while (chain_continue(&t->b.poller->resumed));
}

/* The medium ends the @i-th request, by arrival. */
static void let_end(struct guarded *t, unsigned i)
{
	script_release(t->s, i, REQ_OK);
	reap(t);
}

static void close_guarded(struct guarded *t)
{
	assert_true(!t->b.lane->guard || t->b.lane->guard->nfree == GUARD_SLOTS);
	bed_close(&t->b);
}

static void writes_no_late_read_into_memory_given_back(void **state)
{
	struct guarded t;
	struct bed_req q;

	open_guarded(&t);
	memset(t.s->store, 0x55, 4096);
	memset(buf[0], 0xaa, 4096);
	send(&t, &q, REQ_READ, 0, 4096, 0);
	bed_at(&t.b, START_NS + PATIENCE_NS - 1000);
	assert_int_equal(q.status, BED_NOT_DONE);
	bed_at(&t.b, LATE_NS);
	assert_int_equal(q.status, REQ_TIMEOUT);
	assert_int_equal(t.b.lane->guard->norphan, 1);
	assert_int_equal(t.b.lane->stats->timed_out, 1);
	let_end(&t, 0);
	for (unsigned i = 0; i < 4096; i++)
		assert_int_equal(buf[0][i], 0xaa);
	assert_int_equal(t.b.lane->guard->norphan, 0);
	/* and goes on */
	send(&t, &q, REQ_READ, 0, 4096, 0);
	let_end(&t, 0);
	assert_int_equal(q.status, REQ_OK);
	assert_int_equal(buf[0][17], 0x55);
	close_guarded(&t);
}

static void writes_what_the_guest_had_asked_for(void **state)
{
	struct guarded t;
	struct bed_req q;

	open_guarded(&t);
	memset(buf[0], 1, 4096);
	send(&t, &q, REQ_WRITE, 8192, 4096, 0);
	bed_at(&t.b, LATE_NS);
	assert_int_equal(q.status, REQ_TIMEOUT);
	memset(buf[0], 2, 4096); /* it is the guest's again */
	let_end(&t, 0);
	assert_int_equal(t.s->store[8192], 1);
	close_guarded(&t);
}

static void lets_no_late_write_overtake_a_newer_one(void **state)
{
	struct bed_req old, newer, reads, apart, flush;
	struct guarded t;

	open_guarded(&t);
	memset(buf[0], 1, 8192);
	memset(buf[1], 2, 8192);
	send(&t, &old, REQ_WRITE, 4096, 8192, 0);
	bed_at(&t.b, LATE_NS);
	assert_int_equal(old.status, REQ_TIMEOUT);
	send(&t, &newer, REQ_WRITE, 8192, 8192, 1);
	send(&t, &reads, REQ_READ, 0, 8192, 2);
	assert_int_equal(t.s->nseen, 1); /* both wait */
	send(&t, &apart, REQ_WRITE, 16384, 4096, 1);
	send(&t, &flush, REQ_FLUSH, 0, 0, 0);
	assert_int_equal(t.s->nseen, 3); /* these need not */
	let_end(&t, 0);
	assert_int_equal(t.s->nseen, 5);
	script_release_all(t.s, REQ_OK);
	reap(&t);
	assert_int_equal(newer.status, REQ_OK);
	assert_int_equal(reads.status, REQ_OK);
	assert_int_equal(apart.status, REQ_OK);
	assert_int_equal(flush.status, REQ_OK);
	assert_int_equal(t.s->store[4096], 1);
	assert_int_equal(t.s->store[8192], 2);
	assert_int_equal(buf[2][4096], 1);
	close_guarded(&t);
}

static void ends_what_waits_for_one_that_is_late(void **state)
{
	struct bed_req old, newer;
	struct guarded t;

	open_guarded(&t);
	send(&t, &old, REQ_DISCARD, 0, 65536, 0);
	bed_at(&t.b, LATE_NS);
	assert_int_equal(old.status, REQ_TIMEOUT);
	memset(buf[0], 7, 4096);
	send(&t, &newer, REQ_WRITE, 61440, 4096, 0);
	bed_at(&t.b, LATE_NS + PATIENCE_NS + 1000);
	assert_int_equal(newer.status, REQ_TIMEOUT);
	let_end(&t, 0);
	bed_at(&t.b, LATE_NS + 2 * PATIENCE_NS);
	assert_int_equal(t.s->nseen, 1); /* the medium never hears of it */
	assert_int_equal(t.s->store[61440], 0);
	close_guarded(&t);
}

/* An orphan of one poller holds up what another one takes. */
static void holds_up_newer_writes_of_other_lanes(void **state)
{
	struct bed_req old, newer;
	struct guarded t, u;

	open_guarded(&t);
	u = (struct guarded){ { .disk = t.b.disk, .owner = t.b.owner }, t.s };
	assert_int_equal(poller_open("other", &u.b.poller), 0);
	assert_int_equal(slab_reserve(&u.b.poller->slab, 64), 0);
	assert_int_equal(disk_lane_get(u.b.disk, u.b.poller, &u.b.lane), 0);
	bed_at(&t.b, START_NS);
	bed_at(&u.b, LATE_NS);
	send(&t, &old, REQ_WRITE, 0, 4096, 0);
	bed_at(&t.b, LATE_NS);
	assert_int_equal(old.status, REQ_TIMEOUT);
	send(&u, &newer, REQ_WRITE, 0, 4096, 1);
	assert_int_equal(t.s->nseen, 1);
	let_end(&t, 0);
	/* nobody tells the other poller: it looks */
	bed_at(&u.b, LATE_NS + 5 * NS_PER_MS);
	assert_int_equal(t.s->nseen, 2);
	let_end(&u, 0);
	assert_int_equal(newer.status, REQ_OK);
	disk_lane_put(u.b.disk, u.b.lane);
	slab_unreserve(&u.b.poller->slab, 64);
	poller_close(u.b.poller);
	close_guarded(&t);
}

static void copies_long_requests_in_pieces(void **state)
{
	const uint64_t len_b = 3 * GUARD_BUF_B + 512;
	struct guarded t;
	struct bed_req q;

	open_guarded(&t);
	for (unsigned i = 0; i < len_b; i++)
		buf[0][i] = (uint8_t)(i / 512);
	send(&t, &q, REQ_WRITE, 512, len_b, 0);
	for (unsigned i = 0; i < 4; i++)
		let_end(&t, 0);
	assert_int_equal(q.status, REQ_OK);
	assert_int_equal(t.s->nseen, 4);
	assert_int_equal(t.s->seen[3].len_b, 512);
	assert_memory_equal(t.s->store + 512, buf[0], len_b);
	send(&t, &q, REQ_READ, 512, len_b, 1);
	for (unsigned i = 0; i < 4; i++)
		let_end(&t, 0);
	assert_int_equal(q.status, REQ_OK);
	assert_memory_equal(buf[1], buf[0], len_b);
	assert_int_equal(t.b.lane->stats->copies, 2);
	assert_int_equal(t.b.lane->stats->copied_b, 2 * len_b);
	close_guarded(&t);
}

static void gives_up_between_two_pieces(void **state)
{
	struct guarded t;
	struct bed_req q;

	open_guarded(&t);
	send(&t, &q, REQ_WRITE, 0, 2 * GUARD_BUF_B, 0);
	script_release(t.s, 0, REQ_OK);
	t.b.lane->media->ops->poll(t.b.lane->media); /* the next piece is on its way */
	t.b.poller->now_ticks = clock_ns_to_ticks(t.b.poller->scale, LATE_NS);
	lane_timer(t.b.lane, LATE_NS);
	assert_int_equal(q.status, REQ_TIMEOUT);
	assert_int_equal(t.b.lane->guard->norphan, 0); /* the medium has nothing */
	assert_int_equal(chain_continue(&t.b.poller->resumed), 0);
	assert_int_equal(t.s->nseen, 1);
	close_guarded(&t);
}

static void serves_who_waits_for_a_buffer_in_order(void **state)
{
	static struct bed_req q[GUARD_SLOTS + 3];
	struct guarded t;

	open_guarded(&t);
	for (unsigned i = 0; i < ARRAY_SIZE(q); i++)
		send(&t, &q[i], REQ_READ, 4096ull * i, 4096, 0);
	assert_int_equal(t.s->nseen, GUARD_SLOTS);
	let_end(&t, 0);
	assert_int_equal(t.s->nseen, GUARD_SLOTS + 1);
	assert_int_equal(t.s->seen[GUARD_SLOTS].off_b, 4096ull * GUARD_SLOTS);
	/* all are late: those in the medium are left there, two waited for a buffer */
	bed_at(&t.b, LATE_NS);
	for (unsigned i = 1; i < ARRAY_SIZE(q); i++)
		assert_int_equal(q[i].status, REQ_TIMEOUT);
	assert_int_equal(t.b.lane->guard->norphan, GUARD_SLOTS);
	script_release_all(t.s, REQ_OK);
	reap(&t);
	assert_int_equal(t.s->nseen, GUARD_SLOTS + 1);
	close_guarded(&t);
}

static void ends_what_a_function_holds(void **state)
{
	struct delay_conf c = { .read_ns = 3600 * NS_PER_S };
	struct function *f;
	struct bed_req q[2];
	struct guarded t;

	assert_int_equal(delay_open(&c, &f), 0);
	open_with(&t, &(struct disk_care){ .timeout_ns = PATIENCE_NS, .expires = true }, &f, 1);
	send(&t, &q[0], REQ_READ, 0, 4096, 0);
	bed_at(&t.b, START_NS + PATIENCE_NS / 2);
	send(&t, &q[1], REQ_READ, 0, 4096, 0);
	bed_at(&t.b, LATE_NS);
	assert_int_equal(q[0].status, REQ_TIMEOUT);
	assert_int_equal(q[1].status, BED_NOT_DONE);
	bed_at(&t.b, LATE_NS + PATIENCE_NS / 2);
	assert_int_equal(q[1].status, REQ_TIMEOUT);
	assert_int_equal(t.s->nseen, 0);
	close_guarded(&t);
}

static void waits_where_it_is_told_to(void **state)
{
	struct bed_req q;
	struct guarded t;

	open_with(&t, &(struct disk_care){ .timeout_ns = PATIENCE_NS }, NULL, 0);
	send(&t, &q, REQ_READ, 0, 4096, 0);
	bed_at(&t.b, LATE_NS);
	assert_int_equal(q.status, BED_NOT_DONE);
	assert_true(t.b.lane->is_overdue);
	assert_null(t.b.lane->guard); /* and nothing is copied */
	let_end(&t, 0);
	assert_int_equal(q.status, REQ_OK);
	bed_at(&t.b, LATE_NS);
	assert_false(t.b.lane->is_overdue);
	close_guarded(&t);
}

/* What the medium got before is not to be had back; what it has got of the guest's is. */
static void changes_while_requests_are_in_flight(void **state)
{
	struct disk_care error = { .timeout_ns = 3600 * NS_PER_S, .expires = true };
	struct disk_care wait = { .timeout_ns = 3600 * NS_PER_S };
	struct bed_req before, between, after;
	struct guarded t;

	open_with(&t, &wait, NULL, 0);
	poller_tick(t.b.poller); /* changes are mail, and turns look at the real clock */
	send(&t, &before, REQ_READ, 0, 4096, 0);
	disk_set_care(t.b.disk, &error);
	send(&t, &between, REQ_READ, 4096, 4096, 1);
	disk_set_care(t.b.disk, &wait);
	send(&t, &after, REQ_READ, 8192, 4096, 2);
	assert_int_equal(t.b.lane->guard->nfree, GUARD_SLOTS - 1);
	memset(t.s->store, 3, 16384);
	script_release_all(t.s, REQ_OK);
	reap(&t);
	assert_int_equal(before.status, REQ_OK);
	assert_int_equal(between.status, REQ_OK);
	assert_int_equal(after.status, REQ_OK);
	assert_int_equal(buf[0][0], 3);
	assert_int_equal(buf[1][0], 3);
	assert_int_equal(buf[2][0], 3);
	close_guarded(&t);
}

/* The medium ends its request some turns from now. */
struct later {
	struct mail mail;
	struct scripted *s;
	unsigned turns;
	struct poller *p;
};

static void come_nearer(struct mail *m)
{
	struct later *l = container_of(m, struct later, mail);

	if (l->turns--)
		poller_post(l->p, m);
	else
		script_release(l->s, 0, REQ_OK);
}

static void closes_when_the_medium_has_let_go(void **state)
{
	struct later later = { .mail.run = come_nearer, .turns = 20 };
	struct guarded t;
	struct bed_req q;

	open_guarded(&t);
	send(&t, &q, REQ_WRITE, 0, 4096, 0);
	bed_at(&t.b, LATE_NS);
	assert_int_equal(q.status, REQ_TIMEOUT);
	later.s = t.s;
	later.p = t.b.poller;
	poller_post(later.p, &later.mail); /* goes on by the turns of who waits */
	bed_close(&t.b);
}

static void looks_stalled_until_the_last_orphan_has_ended(void **state)
{
	struct guarded t;
	struct bed_req q;

	open_guarded(&t);
	send(&t, &q, REQ_READ, 0, 4096, 0);
	bed_at(&t.b, LATE_NS);
	assert_true(t.b.lane->is_overdue);
	bed_at(&t.b, LATE_NS + 2 * PATIENCE_NS);
	assert_true(t.b.lane->is_overdue);
	assert_int_equal(t.b.lane->stats->overdue, 1);
	let_end(&t, 0);
	assert_true(t.b.poller->timer_ticks <= t.b.poller->now_ticks + 1);
	bed_at(&t.b, LATE_NS + 2 * PATIENCE_NS);
	assert_false(t.b.lane->is_overdue);
	close_guarded(&t);
}

static unsigned told;

static void count_news(void *arg)
{
	told++;
}

static void keeps_a_failed_write_until_it_is_told_to_go_on(void **state)
{
	struct disk_stats stats;
	struct bed_req q[3];
	struct guarded t;

	open_with(&t, &(struct disk_care){ .stops = true }, NULL, 0);
	t.b.lane->news = count_news;
	told = 0;
	memset(buf[0], 9, 4096);
	send(&t, &q[0], REQ_WRITE, 0, 4096, 0);
	send(&t, &q[1], REQ_READ, 0, 4096, 1);
	send(&t, &q[2], REQ_FLUSH, 0, 0, 0);
	script_release(t.s, 0, REQ_NOSPC);
	script_release(t.s, 1, REQ_IOERR);
	script_release(t.s, 2, REQ_IOERR);
	reap(&t);
	assert_int_equal(q[0].status, BED_NOT_DONE);
	assert_int_equal(q[1].status, REQ_IOERR); /* reads are reported */
	assert_int_equal(q[2].status, BED_NOT_DONE);
	assert_int_equal(t.b.lane->batch, 0); /* its queues take nothing */
	assert_int_equal(told, 2);
	disk_stats(t.b.disk, &stats);
	assert_true(stats.stopped);
	assert_int_equal(stats.failed, 2);
	assert_int_equal(stats.oldest_ns, 0); /* what is kept does not grow old */
	t.s->when = SCRIPT_POLL;
	disk_go_on(t.b.disk);
	bed_run(&t.b, 3);
	assert_int_equal(q[0].status, REQ_OK);
	assert_int_equal(q[2].status, REQ_OK);
	assert_int_equal(t.s->store[0], 9);
	assert_int_equal(t.b.lane->batch, POLLER_BATCH);
	disk_stats(t.b.disk, &stats);
	assert_false(stats.stopped);
	close_guarded(&t);
}

static void reports_the_guests_own_mistakes(void **state)
{
	struct bed_req q;
	struct guarded t;

	open_with(&t, &(struct disk_care){ .stops = true }, NULL, 0);
	send(&t, &q, REQ_WRITE, SIZE_B, 4096, 0);
	assert_int_equal(q.status, REQ_RANGE);
	send(&t, &q, REQ_DISCARD, 0, 4096, 0);
	script_release(t.s, 0, REQ_UNSUPP);
	reap(&t);
	assert_int_equal(q.status, REQ_UNSUPP);
	assert_int_equal(t.b.lane->batch, POLLER_BATCH);
	close_guarded(&t);
}

/* With nobody left who stops, what was kept is done once more and then reported. */
static void reports_what_it_kept_when_told_to_report(void **state)
{
	struct bed_req q;
	struct guarded t;

	open_with(&t, &(struct disk_care){ .stops = true }, NULL, 0);
	send(&t, &q, REQ_WRITE, 0, 4096, 0);
	script_release(t.s, 0, REQ_IOERR);
	reap(&t);
	assert_int_equal(q.status, BED_NOT_DONE);
	disk_set_care(t.b.disk, &(struct disk_care){ 0 });
	chain_continue(&t.b.poller->resumed);
	script_release(t.s, 0, REQ_IOERR);
	reap(&t);
	assert_int_equal(q.status, REQ_IOERR);
	close_guarded(&t);
}

static unsigned forgotten;

static bool forget(struct req *r)
{
	struct bed_req *q = (struct bed_req *)(uintptr_t)r->front[0];

	forgotten++;
	slab_put(&q->bed->poller->slab, r);
	return true;
}

static void gives_back_what_it_keeps_to_a_queue_that_stops(void **state)
{
	struct bed_req q[2];
	struct guarded t;

	open_with(&t, &(struct disk_care){ .stops = true }, NULL, 0);
	for (unsigned i = 0; i < 2; i++) {
		send(&t, &q[i], REQ_WRITE, 0, 4096, 0);
		script_release(t.s, i, REQ_IOERR);
	}
	reap(&t);
	forgotten = 0;
	t.b.owner.forget = forget;
	lane_forget(t.b.lane, &t.b.owner);
	assert_int_equal(forgotten, 2);
	/* also what fails from then on, until it starts anew */
	send(&t, &q[0], REQ_WRITE, 0, 4096, 0);
	script_release(t.s, 0, REQ_IOERR);
	reap(&t);
	assert_int_equal(forgotten, 3);
	assert_int_equal(t.b.done, 0);
	t.b.owner.ending = false;
	/* who cannot take it back has it reported */
	t.b.owner.forget = NULL;
	send(&t, &q[0], REQ_WRITE, 0, 4096, 0);
	script_release(t.s, 0, REQ_IOERR);
	reap(&t);
	assert_int_equal(q[0].status, BED_NOT_DONE);
	lane_forget(t.b.lane, &t.b.owner);
	assert_int_equal(q[0].status, REQ_IOERR);
	close_guarded(&t);
}

static void lists_where_requests_are(void **state)
{
	struct delay_conf c = { .write_ns = 3600 * NS_PER_S };
	struct disk_care care = { .timeout_ns = 3600 * NS_PER_S, .expires = true, .stops = true };
	static struct bed_req q[GUARD_SLOTS + 4];
	static struct disk_request row[GUARD_SLOTS + 4];
	struct function *f;
	struct guarded t;

	assert_int_equal(delay_open(&c, &f), 0);
	open_with(&t, &care, &f, 1);
	poller_tick(t.b.poller);
	send(&t, &q[0], REQ_WRITE, 8192, 4096, 0);
	send(&t, &q[1], REQ_FLUSH, 0, 0, 0);
	script_release(t.s, 0, REQ_IOERR);
	reap(&t);
	for (unsigned i = 0; i < GUARD_SLOTS + 1; i++)
		send(&t, &q[2 + i], REQ_READ, 512ull * i, 512, 0);
	assert_int_equal(disk_requests(t.b.disk, row, ARRAY_SIZE(row)), GUARD_SLOTS + 3);
	assert_int_equal(row[0].place, DISK_AT_STEP);
	assert_string_equal(row[0].step, "delay");
	assert_int_equal(row[0].op, REQ_WRITE);
	assert_int_equal(row[0].off_b, 8192);
	assert_int_equal(row[0].len_b, 4096);
	assert_string_equal(row[0].poller, "bed");
	for (unsigned i = 0; i < GUARD_SLOTS; i++)
		assert_int_equal(row[1 + i].place, DISK_AT_MEDIUM);
	assert_int_equal(row[GUARD_SLOTS].off_b, 512ull * (GUARD_SLOTS - 1));
	assert_int_equal(row[1 + GUARD_SLOTS].place, DISK_AT_DOOR);
	assert_int_equal(row[2 + GUARD_SLOTS].place, DISK_FAILED);
	assert_int_equal(row[2 + GUARD_SLOTS].op, REQ_FLUSH);
	/* counted also where there is no room */
	assert_int_equal(disk_requests(t.b.disk, row, 1), GUARD_SLOTS + 3);
	/* all are late now; those in the medium stay behind */
	t.b.poller->now_ticks += clock_ns_to_ticks(t.b.poller->scale, 3601 * NS_PER_S);
	lane_timer(t.b.lane, poller_now_ns(t.b.poller));
	poller_tick(t.b.poller);
	assert_int_equal(q[2].status, REQ_TIMEOUT);
	assert_int_equal(disk_requests(t.b.disk, row, ARRAY_SIZE(row)), GUARD_SLOTS + 2);
	assert_int_equal(row[0].place, DISK_FAILED); /* the write, timed out; and the flush */
	assert_int_equal(row[2].place, DISK_GIVEN_UP);
	delay_set(f, &(struct delay_conf){ 0 });
	disk_set_care(t.b.disk, &(struct disk_care){ 0 });
	script_release_all(t.s, REQ_OK);
	t.s->when = SCRIPT_POLL;
	reap(&t);
	bed_run(&t.b, GUARD_SLOTS + 3);
	close_guarded(&t);
}

/* Two disks on one poller; of one the medium ends nothing, and all it has needs copies. */
static void holds_up_no_other_disk_of_the_poller(void **state)
{
	static struct bed_req q[64];
	struct disk_conf conf = { .name = "other", .size_b = SIZE_B };
	struct scripted *s = script_new(SIZE_B);
	struct disk_error e;
	struct bed_req r;
	struct bed b, other;

	s->m.caps.align_b = 4096;
	s->when = SCRIPT_HELD;
	bed_open(&b, &s->m);
	for (unsigned i = 0; i < ARRAY_SIZE(q); i++) {
		bed_req(&b, &q[i], REQ_READ, 4096ull * i, 4096, buf[0] + 512);
		bed_submit(&b, &q[i], 1);
	}
	assert_int_equal(s->nseen, BOUNCE_BUFS);
	struct scripted *fine = script_new(SIZE_B);

	fine->m.caps.align_b = 4096;
	fine->when = SCRIPT_POLL;
	conf.media = &fine->m;
	other = (struct bed){ .poller = b.poller, .owner = b.owner };
	assert_int_equal(disk_open(&conf, &other.disk, &e), 0);
	assert_int_equal(disk_lane_get(other.disk, b.poller, &other.lane), 0);
	bed_req(&other, &r, REQ_READ, 0, 4096, buf[0] + 512);
	bed_submit(&other, &r, 1);
	bed_run(&other, 1);
	assert_int_equal(r.status, REQ_OK);
	disk_lane_put(other.disk, other.lane);
	disk_close(other.disk);
	s->when = SCRIPT_POLL;
	script_release_all(s, REQ_OK);
	bed_run(&b, ARRAY_SIZE(q));
	bed_close(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(writes_no_late_read_into_memory_given_back),
		cmocka_unit_test(writes_what_the_guest_had_asked_for),
		cmocka_unit_test(lets_no_late_write_overtake_a_newer_one),
		cmocka_unit_test(ends_what_waits_for_one_that_is_late),
		cmocka_unit_test(holds_up_newer_writes_of_other_lanes),
		cmocka_unit_test(copies_long_requests_in_pieces),
		cmocka_unit_test(gives_up_between_two_pieces),
		cmocka_unit_test(serves_who_waits_for_a_buffer_in_order),
		cmocka_unit_test(ends_what_a_function_holds),
		cmocka_unit_test(waits_where_it_is_told_to),
		cmocka_unit_test(changes_while_requests_are_in_flight),
		cmocka_unit_test(closes_when_the_medium_has_let_go),
		cmocka_unit_test(looks_stalled_until_the_last_orphan_has_ended),
		cmocka_unit_test(keeps_a_failed_write_until_it_is_told_to_go_on),
		cmocka_unit_test(reports_the_guests_own_mistakes),
		cmocka_unit_test(reports_what_it_kept_when_told_to_report),
		cmocka_unit_test(gives_back_what_it_keeps_to_a_queue_that_stops),
		cmocka_unit_test(lists_where_requests_are),
		cmocka_unit_test(holds_up_no_other_disk_of_the_poller),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
