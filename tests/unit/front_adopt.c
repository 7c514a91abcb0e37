/* SPDX-License-Identifier: Apache-2.0 */
/* A connection outlives the process: what a successor makes of what was kept. */
#include "tests/fake/guest.h"

#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/crash.h"
#include "base/fd.h"
#include "front/vhost_blk/adopt.h"
#include "front/vhost_blk/message.h"
#include "tests/fake/keep.h"

static struct fake *open_kept(struct fake_conf c)
{
	c.keep = &fake_keeper.keep;
	return fake_open(&c);
}

/* A successor that serves. */
static struct fake *succeed(struct fake *g)
{
	g = fake_succeed(g);
	if (!g->s || fake_go_on(g))
		fail_msg("%s", g->why);
	return g;
}

static bool asks_and_answers(struct fake *g)
{
	struct vhost_user_msg m;

	return !fake_ask(g, VHOST_USER_GET_FEATURES, NULL, 0, &m) && m.payload.u64;
}

static void goes_on_with_everything(void **state)
{
	struct fake *g = open_kept((struct fake_conf){ .packed = fake_is_packed(state), .queues = 3,
						       .regions = 2 });

	for (unsigned life = 0; life < 5; life++) {
		for (unsigned i = 0; i < 40; i++)
			fake_assert_alive(g, i % 3);
		g = succeed(g);
		assert_true(asks_and_answers(g));
		for (unsigned i = 0; i < 3; i++)
			fake_assert_alive(g, i);
	}
	fake_close(g);
	assert_int_equal(fake_keep_count(&fake_keeper, ""), 0);
}

static void put_write(struct fake *g, unsigned i)
{
	struct fake_req r = fake_req(g, VIRTIO_BLK_T_OUT, i, 512);

	memset(r.data, 'a' + (int)i, 512);
	fake_put_req(g->q[0], &r);
}

/* Four are taken, one of them completes, two more come while nobody serves. */
static void replay(bool packed, bool track)
{
	struct fake *g = open_kept((struct fake_conf){ .packed = packed, .track = track, .size = 32,
						       .when = SCRIPT_HELD });

	for (unsigned i = 0; i < 4; i++)
		put_write(g, i);
	fake_publish(g->q[0]);
	fake_settle(g);
	script_release(g->medium, 1, REQ_OK);
	fake_settle(g);
	assert_int_equal(fake_reap_all(g->q[0]), 1);
	for (unsigned i = 4; i < 6; i++)
		put_write(g, i);
	fake_publish(g->q[0]);
	g = succeed(g);
	fake_settle(g);
	/* in the order in which they were taken */
	static const unsigned want[] = { 0, 2, 3, 4, 5 };
	assert_int_equal(g->medium->nseen, ARRAY_SIZE(want));
	for (unsigned i = 0; i < ARRAY_SIZE(want); i++) {
		assert_int_equal(g->medium->seen[i].off_b, 512 * want[i]);
		assert_int_equal(g->medium->store[512 * want[i]], 'a' + want[i]);
	}
	assert_int_equal(fake_reap_all(g->q[0]), ARRAY_SIZE(want));
	fake_assert_alive(g, 0);
	fake_close(g);
}

static void replays_what_was_in_flight(void **state)
{
	replay(fake_is_packed(state), false);
}

static void replays_from_the_region_of_the_front_end(void **state)
{
	replay(fake_is_packed(state), true);
}

static void interrupts_once_in_case_the_last_one_was_not_sent(void **state)
{
	struct fake *g = open_kept((struct fake_conf){ .packed = fake_is_packed(state),
						       .queues = 2 });

	fake_assert_alive(g, 0);
	for (unsigned i = 0; i < 2; i++)
		fake_calls(g->q[i]);
	g = succeed(g);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(fake_calls(g->q[i]), 1);
	fake_close(g);
}

/* Interrupt-driven: the guest kicks when it must, whatever was left in the ring. */
static void is_kicked_when_it_sleeps(void **state)
{
	struct fake *g = open_kept((struct fake_conf){ .packed = fake_is_packed(state),
						       .mode = POLL_NEVER });

	for (unsigned i = 0; i < 10; i++) {
		g = succeed(g);
		fake_settle(g);
		poller_sleep(g->poller[0], 0);
		struct fake_req r = fake_req(g, VIRTIO_BLK_T_IN, 0, 512);

		fake_put_req(g->q[0], &r);
		fake_publish(g->q[0]);
		assert_true(fake_must_kick(g->q[0], g->conf.packed ? 3 : 1));
		fake_kick(g->q[0]);
		fake_settle(g);
		assert_int_equal(fake_reap_all(g->q[0]), 1);
	}
	fake_close(g);
}

static void a_stopped_queue_stays_where_it_stopped(void **state)
{
	struct fake *g = open_kept((struct fake_conf){ .packed = fake_is_packed(state) });

	for (unsigned i = 0; i < 5; i++)
		fake_assert_alive(g, 0);
	uint32_t base = fake_stop(g, 0);

	g = succeed(g);
	assert_false(fake_vq(g, 0)->running);
	assert_int_equal(fake_stop(g, 0), base);
	assert_int_equal(fake_start(g, 0, base), 0);
	fake_assert_alive(g, 0);
	fake_close(g);
}

static void keeps_what_was_negotiated(void **state)
{
	struct fake *g = open_kept((struct fake_conf){ 0 });
	struct {
		struct vhost_user_config c;
	} w = { .c = { .offset = offsetof(struct virtio_blk_config, writeback), .size = 1 } };

	assert_int_equal(fake_tell(g, VHOST_USER_SET_CONFIG, &w, VHOST_USER_CONFIG_HDR_B + 1, NULL,
				   0),
			 0);
	uint64_t features = g->s->features, protocol = g->s->protocol, since_ns = g->s->since_ns;

	assert_false(g->front.writeback);
	g = succeed(g);
	assert_int_equal(g->s->features, features);
	assert_int_equal(g->s->protocol, protocol);
	assert_int_equal(g->s->since_ns, since_ns);
	assert_int_equal(g->s->peer_pid, getpid());
	assert_false(g->front.writeback);
	assert_true(fake_vq(g, 0)->write_through);
	fake_close(g);
}

static void goes_on_with_the_dirty_log(void **state)
{
	struct fake *g = open_kept((struct fake_conf){ .packed = fake_is_packed(state) });
	struct vhost_user_log at = { .size_b = MIB };
	int fd = memfd_create("log", MFD_CLOEXEC);
	struct fake_req r = fake_req(g, VIRTIO_BLK_T_IN, 0, 512);
	uint64_t page = fake_gpa(g, r.data) / VHOST_USER_LOG_PAGE_B;

	assert_int_equal(ftruncate(fd, MIB), 0);
	uint8_t *log = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_int_equal(fake_tell_u64(g, VHOST_USER_SET_FEATURES,
				       g->features | FAKE_BIT(VHOST_F_LOG_ALL)), 0);
	assert_int_equal(vu_send(g->sock, VHOST_USER_SET_LOG_BASE, 0, &at, sizeof(at), &fd, 1), 0);
	g = succeed(g);
	/* the message came while nobody served; log and answer are the successor's */
	assert_int_equal(fake_handle(g), 0);
	g = succeed(g);
	assert_int_equal(fake_do(g->q[0], &r), VIRTIO_BLK_S_OK);
	assert_true(log[page / 8] >> page % 8 & 1);
	munmap(log, MIB);
	fd_close(fd);
	fake_close(g);
}

static void tells_of_a_resize_that_was_not_told(void **state)
{
	struct fake *g = open_kept((struct fake_conf){ 0 });
	struct vhost_user_hdr h;
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(fake_tell(g, VHOST_USER_SET_BACKEND_REQ_FD, NULL, 0, &pair[1], 1), 0);
	g = succeed(g);
	assert_int_equal(recv(pair[0], &h, sizeof(h), MSG_DONTWAIT), -1);
	/* the disk has another size by now than the front end was told */
	g->s->told_b /= 2;
	session_commit(g->s);
	g = succeed(g);
	assert_int_equal(recv(pair[0], &h, sizeof(h), MSG_DONTWAIT), sizeof(h));
	assert_int_equal(h.request, VHOST_USER_BACKEND_CONFIG_CHANGE_MSG);
	assert_true(g->s->resize_pending);
	/* nor is one forgotten that nobody has confirmed; the answer to the first is none to the
	 * last */
	g = succeed(g);
	assert_true(g->s->resize_pending);
	assert_int_equal(recv(pair[0], &h, sizeof(h), MSG_DONTWAIT), sizeof(h));
	for (unsigned i = 0; i < 2; i++) {
		assert_true(g->s->resize_pending);
		assert_int_equal(vu_send(pair[0], VHOST_USER_BACKEND_CONFIG_CHANGE_MSG,
					 VHOST_USER_REPLY, &(uint64_t){ 0 }, 8, NULL, 0), 0);
		message_backend_reply(g->s);
	}
	assert_false(g->s->resize_pending);
	fd_close(pair[0]);
	fd_close(pair[1]);
	fake_close(g);
}

static void notices_who_left_while_nobody_served(void **state)
{
	struct fake *g = open_kept((struct fake_conf){ 0 });

	g->sock = fd_close(g->sock);
	g = succeed(g);
	assert_int_equal(fake_handle(g), -EPIPE);
	fake_close(g);
	assert_int_equal(fake_keep_count(&fake_keeper, ""), 0);
}

static void begins_anew_where_nothing_was_said_yet(void **state)
{
	struct fake *g = fake_open_disk(&(struct fake_conf){ .keep = &fake_keeper.keep });

	fake_connect(g);
	keep_drop(&g->front.conf.keep, "page"); /* not put yet when it died */
	g = fake_succeed(g);
	assert_null(g->s);
	int sock = keep_get(&g->front.conf.keep, "sock");
	char why[128];

	assert_int_equal(adopt_session(&g->front, sock, &g->s, why, sizeof(why)), -ENOENT);
	assert_int_equal(session_open(&g->front, sock, &g->s), 0);
	g->front.session = g->s;
	assert_true(asks_and_answers(g));
	fake_close(g);
}

/* Sockets, pipes and page; memory; three descriptors and a region for each queue. */
static void keeps_no_more_than_it_needs(void **state)
{
	struct fake *g = open_kept((struct fake_conf){ .queues = 2 });
	unsigned n = 4 + 1 + 2 * 4;

	assert_int_equal(fake_keep_count(&fake_keeper, ""), n);
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(fake_share_mem(g), 0);
		assert_int_equal(fake_tell_fd(g, VHOST_USER_SET_VRING_CALL, 0, g->q[0]->call_fd),
				 0);
	}
	assert_int_equal(fake_keep_count(&fake_keeper, ""), n);
	fake_stop(g, 0); /* kick and region go */
	assert_int_equal(fake_keep_count(&fake_keeper, ""), n - 2);
	/* what a predecessor left between two steps goes with the next message */
	uint16_t slot = memo_put(g->s->memo, 0);
	assert_true(slot);
	assert_int_equal(fake_keep_count(&fake_keeper, ""), n - 1);
	g = succeed(g);
	assert_int_equal(fake_tell(g, VHOST_USER_SET_OWNER, NULL, 0, NULL, 0), 0);
	assert_int_equal(fake_keep_count(&fake_keeper, ""), n - 2);
	fake_close(g);
}

static int refuse_put(struct keep *k, const char *key, int fd)
{
	return -EMFILE;
}

static void goes_on_without_a_keeper_that_is_full(void **state)
{
	struct fake *g = open_kept((struct fake_conf){ 0 });
	struct keep_ops full = *fake_keeper.keep.ops;
	const struct keep_ops *was = fake_keeper.keep.ops;

	full.put = refuse_put;
	fake_keeper.keep.ops = &full;
	assert_int_equal(fake_tell_fd(g, VHOST_USER_SET_VRING_CALL, 0, g->q[0]->call_fd), 0);
	fake_assert_alive(g, 0);
	assert_true(asks_and_answers(g));
	assert_int_equal(fake_keep_count(&fake_keeper, ""), 0);
	fake_keeper.keep.ops = was;
	/* and is not taken up again halfway */
	assert_int_equal(fake_tell_fd(g, VHOST_USER_SET_VRING_CALL, 0, g->q[0]->call_fd), 0);
	assert_int_equal(fake_keep_count(&fake_keeper, ""), 0);
	fake_close(g);
}

/* A request more is in flight in queue @i. */
static void put_one_in_flight(struct fake *g, unsigned i, struct fake_req *ret)
{
	*ret = fake_req(g, VIRTIO_BLK_T_IN, i, 512);
	fake_put_req(g->q[i], ret);
	fake_publish(g->q[i]);
	fake_settle(g);
}

static uint32_t mark(const struct fake *g, unsigned i)
{
	return g->s->memo->page->replay[i];
}

static void suspects_a_queue_until_all_of_its_replay_is_done(void **state)
{
	struct fake *g = open_kept((struct fake_conf){ .packed = fake_is_packed(state),
						       .when = SCRIPT_HELD });
	struct fake_req r[2];
	uint64_t at_ns;

	for (unsigned i = 0; i < 2; i++)
		put_one_in_flight(g, 0, &r[i]);
	g = fake_succeed(g);
	g->medium->when = SCRIPT_HELD;
	assert_int_equal(adopt_go_on(g->s, &at_ns, g->why, sizeof(g->why)), 0);
	fake_settle(g);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(mark(g, 0), KEPT_REPLAY_AMONG);
		script_release(g->medium, i, REQ_OK);
		fake_settle(g);
	}
	assert_int_equal(mark(g, 0), KEPT_REPLAY_NONE);
	assert_int_equal(fake_reap_all(g->q[0]), 2);
	fake_close(g);
}

/* The process dies by a fault of its own. */
static struct fake *crash(struct fake *g)
{
	g->s->memo->page->crashed = 1;
	return fake_succeed(g);
}

/* Dies again and again, with queues 0 and 1 of three in the middle of their replay. */
static void bars_the_queue_that_ends_the_process_alone(void **state)
{
	struct fake *g = open_kept((struct fake_conf){ .packed = fake_is_packed(state), .queues = 3,
						       .when = SCRIPT_HELD });
	struct fake_req r[2];
	uint64_t at_ns;

	for (unsigned i = 0; i < 2; i++)
		put_one_in_flight(g, i, &r[i]);
	/* first death: both are replayed, at once */
	g = crash(g);
	g->medium->when = SCRIPT_HELD;
	assert_int_equal(adopt_go_on(g->s, &at_ns, g->why, sizeof(g->why)), 0);
	assert_int_equal(at_ns, NEVER_NS);
	fake_settle(g);
	assert_int_equal(script_waiting(g->medium), 2);
	assert_int_equal(mark(g, 0), KEPT_REPLAY_AMONG);
	assert_int_equal(mark(g, 1), KEPT_REPLAY_AMONG);
	assert_int_equal(mark(g, 2), KEPT_REPLAY_NONE);
	/* second: one after the other; queue 2 has nothing to do with it */
	g = crash(g);
	g->medium->when = SCRIPT_HELD;
	assert_int_equal(adopt_go_on(g->s, &at_ns, g->why, sizeof(g->why)), 0);
	assert_true(at_ns != NEVER_NS);
	fake_settle(g);
	assert_int_equal(script_waiting(g->medium), 1);
	assert_int_equal(mark(g, 0), KEPT_REPLAY_ALONE);
	assert_false(fake_vq(g, 1)->running);
	assert_true(fake_vq(g, 2)->running);
	assert_true(g->s->is_adopted);
	/* third: it was queue 0 */
	g = crash(g);
	assert_int_equal(fake_go_on(g), 0);
	fake_settle(g);
	assert_int_equal(mark(g, 0), KEPT_REPLAY_BARRED);
	assert_false(fake_vq(g, 0)->running);
	assert_non_null(fake_broken(g, 0));
	uint64_t errors;
	assert_int_equal(read(g->q[0]->err_fd, &errors, 8), 8);
	assert_int_equal(mark(g, 1), KEPT_REPLAY_NONE);
	assert_int_equal(fake_reap_all(g->q[1]), 1);
	fake_assert_alive(g, 1);
	fake_assert_alive(g, 2);
	/* it stays so */
	g = succeed(g);
	assert_int_equal(mark(g, 0), KEPT_REPLAY_BARRED);
	fake_assert_alive(g, 1);
	fake_close(g);
}

/* Return: a successor that has barred queue 0 for the request that it has in flight. */
static struct fake *bar(struct fake *g)
{
	struct fake_req r;

	g->medium->when = SCRIPT_HELD;
	put_one_in_flight(g, 0, &r);
	g->s->memo->page->replay[0] = KEPT_REPLAY_ALONE;
	g = crash(g);
	assert_int_equal(fake_go_on(g), 0);
	assert_int_equal(mark(g, 0), KEPT_REPLAY_BARRED);
	return g;
}

/* A pause of the machine, or a migration that fails, stops it and starts it where it stood. */
static void is_barred_until_the_guest_begins_anew(void **state)
{
	for (unsigned track = 0; track < 2; track++) {
		struct fake *g = open_kept((struct fake_conf){ .packed = fake_is_packed(state),
							       .track = track });

		fake_assert_alive(g, 0);
		g = bar(g);
		for (unsigned i = 0; i < 3; i++) {
			uint32_t base = fake_stop(g, 0);

			if (track)
				assert_int_equal(fake_set_track(g), 0);
			assert_int_equal(fake_start(g, 0, base), 0);
			assert_int_equal(mark(g, 0), KEPT_REPLAY_BARRED);
			assert_non_null(fake_broken(g, 0));
			fake_settle(g);
			if (i == 1) /* also for the next process */
				g = succeed(g);
		}
		assert_int_equal(g->medium->nseen, 0);
		fake_stop(g, 0);
		fake_reset(g, 0);
		assert_null(fake_broken(g, 0));
		fake_settle(g);
		assert_int_equal(g->medium->nseen, 0);
		fake_assert_alive(g, 0);
		/* and a successor begins where it stands */
		g = succeed(g);
		fake_assert_alive(g, 0);
		fake_close(g);
	}
}

/* A stopped queue's region was made for its format; the front end may agree on another one before
 * it starts the queue, whose entries are twice as long. */
static void a_stopped_queues_region_is_not_read_in_another_format(void **state)
{
	struct fake *g = bar(open_kept((struct fake_conf){ 0 }));

	fake_stop(g, 0);
	assert_int_equal(fake_tell_u64(g, VHOST_USER_SET_FEATURES,
				       g->features | FAKE_BIT(VIRTIO_F_RING_PACKED)), 0);
	g = succeed(g);
	assert_int_equal(mark(g, 0), KEPT_REPLAY_BARRED);
	/* nothing is made of it: the queue begins where it is told to */
	assert_int_equal(fake_start(g, 0, 0x80008000u), 0);
	assert_int_equal(mark(g, 0), KEPT_REPLAY_NONE);
	assert_true(fake_vq(g, 0)->running);
	assert_true(asks_and_answers(g));
	fake_close(g);
}

/* The same in the process that has stopped the queue. */
static void a_stopped_queues_region_is_not_read_beyond_its_end(void **state)
{
	struct fake *g = bar(open_kept((struct fake_conf){ .size = 256 }));
	struct session_queue *q = g->s->queue[0];
	size_t len_b = align_up(q->own_len_b, 4096);
	/* nothing lies behind it there */
	uint8_t *room = mmap(NULL, MIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	fake_stop(g, 0);
	assert_non_null(q->own);
	assert_true(mremap(q->own, len_b, len_b, MREMAP_MAYMOVE | MREMAP_FIXED, room) == room);
	q->own = room;
	assert_int_equal(fake_tell_u64(g, VHOST_USER_SET_FEATURES,
				       g->features | FAKE_BIT(VIRTIO_F_RING_PACKED)), 0);
	assert_int_equal(fake_start(g, 0, 0x80008000u), 0);
	assert_true(fake_vq(g, 0)->running);
	assert_true(q->own_len_b > len_b);
	fake_close(g);
	munmap(room + len_b, MIB - len_b);
}

/* The page of a predecessor that went mad, or its front end's table: there is no ring to go on
 * with. */
static void a_stopped_queue_stays_so_without_its_memory(void **state)
{
	struct fake *g = open_kept((struct fake_conf){ .packed = fake_is_packed(state) });
	struct kept_page *p = g->s->memo->page;
	struct vhost_user_mem_table none = { 0 };

	p->replay[0] = KEPT_REPLAY_BARRED;
	p->copy[p->current].nregion = 0;
	g = fake_succeed(g);
	assert_int_equal(fake_go_on(g), 0);
	for (unsigned i = 0; i < 2; i++) {
		uint32_t base = fake_stop(g, 0);

		assert_int_equal(fake_tell(g, VHOST_USER_SET_MEM_TABLE, &none,
					   VHOST_USER_MEM_TABLE_BYTES(0), NULL, 0), 0);
		assert_int_equal(fake_start(g, 0, base), 0);
		assert_int_equal(mark(g, 0), KEPT_REPLAY_BARRED);
		assert_non_null(fake_broken(g, 0));
	}
	fake_close(g);
}

static void a_replay_that_takes_long_makes_way(void **state)
{
	struct fake *g = open_kept((struct fake_conf){ .queues = 2, .when = SCRIPT_HELD });
	struct fake_req r[2];
	uint64_t at_ns;

	for (unsigned i = 0; i < 2; i++) {
		put_one_in_flight(g, i, &r[i]);
		g->s->memo->page->replay[i] = KEPT_REPLAY_AMONG;
	}
	g = crash(g);
	g->medium->when = SCRIPT_HELD;
	assert_int_equal(adopt_go_on(g->s, &at_ns, g->why, sizeof(g->why)), 0);
	fake_settle(g);
	assert_int_equal(script_waiting(g->medium), 1);
	g->s->alone_until_ns = 0; /* the time has passed */
	assert_int_equal(adopt_go_on(g->s, &at_ns, g->why, sizeof(g->why)), 0);
	fake_settle(g);
	assert_int_equal(script_waiting(g->medium), 2);
	assert_int_equal(mark(g, 0), KEPT_REPLAY_AMONG);
	assert_int_equal(mark(g, 1), KEPT_REPLAY_ALONE);
	script_release_all(g->medium, REQ_OK);
	assert_int_equal(fake_go_on(g), 0);
	fake_settle(g);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(mark(g, i), KEPT_REPLAY_NONE);
		assert_int_equal(fake_reap_all(g->q[i]), 1);
	}
	fake_close(g);
}

/* werror=stop keeps a failed write. The VMM stops the queue, and a region of our own goes with it,
 * so the guest is told: nobody would do the write again. */
static void reports_what_only_it_tracks_when_a_queue_stops(void **state)
{
	struct fake *g = open_kept((struct fake_conf){ .packed = fake_is_packed(state),
						       .when = SCRIPT_HELD });
	struct fake_req r = fake_stop_disk(g, 512, REQ_NOSPC);

	fake_stop(g, 0);
	assert_int_equal(*r.status, VIRTIO_BLK_S_IOERR);
	assert_int_equal(fake_reap_all(g->q[0]), 1);
	fake_close(g);
}

/* Two disks of one process, whose suspects are not replayed at the same time. */
/* The disk keeps what has failed, and the queue is stopped. */
static void a_replay_that_is_given_up_has_ended(void **state)
{
	struct fake *g = open_kept((struct fake_conf){ .packed = fake_is_packed(state),
						       .track = true,
						       .when = SCRIPT_HELD });
	struct fake_req r = fake_req(g, VIRTIO_BLK_T_OUT, 0, 512);
	uint64_t at_ns;

	fake_put_req(g->q[0], &r);
	fake_publish(g->q[0]);
	fake_settle(g);
	g->s->memo->page->replay[0] = KEPT_REPLAY_AMONG;
	g = crash(g);
	disk_set_care(g->disk, &(struct disk_care){ .stops = true });
	g->medium->when = SCRIPT_HELD;
	assert_int_equal(adopt_go_on(g->s, &at_ns, g->why, sizeof(g->why)), 0);
	fake_settle(g);
	assert_int_equal(mark(g, 0), KEPT_REPLAY_ALONE);
	script_release_all(g->medium, REQ_IOERR);
	fake_settle(g);
	assert_int_equal(mark(g, 0), KEPT_REPLAY_ALONE);
	assert_true(fake_vq(g, 0)->replaying);
	fake_stop(g, 0);
	assert_false(fake_vq(g, 0)->replaying);
	assert_int_equal(mark(g, 0), KEPT_REPLAY_NONE);
	fake_close(g);
}

static void fronts_take_turns(void **state)
{
	struct fake_keep other;
	struct fake *g[2];
	struct fake_req r;
	uint64_t at_ns, woken;

	fake_keep_init(&other);
	for (unsigned i = 0; i < 2; i++) {
		g[i] = fake_open(&(struct fake_conf){ .when = SCRIPT_HELD,
						      .keep = i ? &other.keep :
						      &fake_keeper.keep });
		put_one_in_flight(g[i], 0, &r);
		g[i]->s->memo->page->replay[0] = KEPT_REPLAY_AMONG;
		g[i] = crash(g[i]);
		g[i]->medium->when = SCRIPT_HELD;
		assert_int_equal(adopt_go_on(g[i]->s, &at_ns, g[i]->why, sizeof(g[i]->why)), 0);
		fake_settle(g[i]);
	}
	assert_int_equal(script_waiting(g[0]->medium), 1);
	assert_int_equal(script_waiting(g[1]->medium), 0);
	assert_true(g[1]->s->is_adopted);
	assert_int_equal(at_ns, NEVER_NS);
	assert_int_equal(read(g[1]->front.wake_fd, &woken, 8), -1);
	/* the first one's poller wakes its front, which wakes the other */
	script_release_all(g[0]->medium, REQ_OK);
	fake_settle(g[0]);
	assert_int_equal(read(g[0]->front.wake_fd, &woken, 8), 8);
	assert_int_equal(fake_go_on(g[0]), 0);
	assert_int_equal(read(g[1]->front.wake_fd, &woken, 8), 8);
	g[1]->medium->when = SCRIPT_POLL;
	assert_int_equal(fake_go_on(g[1]), 0);
	for (unsigned i = 0; i < 2; i++) {
		g[i]->medium->when = SCRIPT_POLL;
		fake_settle(g[i]);
		assert_int_equal(fake_reap_all(g[i]->q[0]), 1);
		fake_assert_alive(g[i], 0);
		fake_close(g[i]);
	}
	fake_keep_fini(&other);
}

/* Again and again, while it replays. */
static void a_process_that_was_killed_casts_no_suspicion(void **state)
{
	struct fake *g = open_kept((struct fake_conf){ .when = SCRIPT_HELD });
	struct fake_req r;
	uint64_t at_ns;

	put_one_in_flight(g, 0, &r);
	for (unsigned life = 0; life < 5; life++) {
		g->s->memo->page->replay[0] = life % 3;
		g = fake_succeed(g);
		g->medium->when = SCRIPT_HELD;
		assert_int_equal(adopt_go_on(g->s, &at_ns, g->why, sizeof(g->why)), 0);
		assert_int_equal(at_ns, NEVER_NS);
		fake_settle(g);
		assert_int_equal(script_waiting(g->medium), 1);
		assert_int_equal(mark(g, 0), KEPT_REPLAY_AMONG);
	}
	script_release_all(g->medium, REQ_OK);
	fake_settle(g);
	assert_int_equal(mark(g, 0), KEPT_REPLAY_NONE);
	assert_int_equal(fake_reap_all(g->q[0]), 1);
	/* all pages that are kept hear of a fault */
	crash_note();
	assert_int_equal(g->s->memo->page->crashed, 1);
	fake_close(g);
}

#define BOTH(f) { "split_" #f, f, fake_keeper_set_up, fake_keeper_tear_down, &fake_split_case }, \
		{ "packed_" #f, f, fake_keeper_set_up, fake_keeper_tear_down, &fake_packed_case }
#define ONE(f) { #f, f, fake_keeper_set_up, fake_keeper_tear_down, &fake_split_case }

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(goes_on_with_everything),
		BOTH(replays_what_was_in_flight),
		BOTH(replays_from_the_region_of_the_front_end),
		BOTH(interrupts_once_in_case_the_last_one_was_not_sent),
		BOTH(is_kicked_when_it_sleeps),
		BOTH(a_stopped_queue_stays_where_it_stopped),
		ONE(keeps_what_was_negotiated),
		BOTH(goes_on_with_the_dirty_log),
		ONE(tells_of_a_resize_that_was_not_told),
		ONE(notices_who_left_while_nobody_served),
		ONE(begins_anew_where_nothing_was_said_yet),
		ONE(keeps_no_more_than_it_needs),
		ONE(goes_on_without_a_keeper_that_is_full),
		BOTH(suspects_a_queue_until_all_of_its_replay_is_done),
		BOTH(bars_the_queue_that_ends_the_process_alone),
		BOTH(a_stopped_queue_stays_so_without_its_memory),
		BOTH(is_barred_until_the_guest_begins_anew),
		ONE(a_stopped_queues_region_is_not_read_in_another_format),
		ONE(a_stopped_queues_region_is_not_read_beyond_its_end),
		ONE(a_replay_that_takes_long_makes_way),
		BOTH(reports_what_only_it_tracks_when_a_queue_stops),
		BOTH(a_replay_that_is_given_up_has_ended),
		ONE(fronts_take_turns),
		ONE(a_process_that_was_killed_casts_no_suspicion),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
