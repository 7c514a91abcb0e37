/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages that a process dies of: a child handles one and is killed at the first, second, ... of
 * all points where what others can see may change, until one survives. What it kept is here, in
 * its parent, where a successor then goes on each time: the message has its effect and its
 * answer exactly once.
 */
#include "tests/fake/guest.h"

#include <linux/sockios.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "front/vhost_blk/adopt.h"
#include "front/vhost_blk/exchange.h"
#include "front/vhost_blk/message.h"
#include "tests/fake/keep.h"

/* ---- dying ---- */

static unsigned die_at, points; /* in the child; 0: nowhere */

static void point(void)
{
	if (die_at && ++points == die_at) {
		kill(getpid(), SIGKILL);
		pause();
	}
}

/* What others can see changes, or is seen, in these: between them nothing does. */
#define POINTS_AROUND(type, name, params, args)      \
	type __real_##name params;                   \
	type __wrap_##name params;                   \
	type __wrap_##name params                    \
	{                                            \
		point();                             \
		type ret = __real_##name args;       \
		point();                             \
		return ret;                          \
	}
#define POINTS_AROUND_VOID(name, params, args)       \
	void __real_##name params;                   \
	void __wrap_##name params;                   \
	void __wrap_##name params                    \
	{                                            \
		point();                             \
		__real_##name args;                  \
		point();                             \
	}

POINTS_AROUND(ssize_t, fd_peek, (int s, void *b, size_t l, int *f, unsigned m, unsigned *n),
	      (s, b, l, f, m, n))
POINTS_AROUND(ssize_t, fd_recv, (int s, void *b, size_t l, int *f, unsigned m, unsigned *n),
	      (s, b, l, f, m, n))
POINTS_AROUND(int, fd_send, (int s, const void *b, size_t l, const int *f, unsigned n),
	      (s, b, l, f, n))
POINTS_AROUND(int, setsockopt, (int s, int l, int o, const void *v, socklen_t n), (s, l, o, v, n))
POINTS_AROUND(ssize_t, splice, (int a, off64_t *x, int b, off64_t *y, size_t l, unsigned f),
	      (a, x, b, y, l, f))
POINTS_AROUND(ssize_t, write, (int fd, const void *b, size_t l), (fd, b, l))
POINTS_AROUND(int, message_run, (struct session *s, struct message *m, char *w, size_t r),
	      (s, m, w, r))
POINTS_AROUND_VOID(memo_take, (struct memo *m, const struct vhost_user_msg *i,
			       const struct kept_fd *f, unsigned n), (m, i, f, n))
POINTS_AROUND_VOID(memo_answer, (struct memo *m, const struct vhost_user_msg *o), (m, o))
POINTS_AROUND_VOID(memo_commit, (struct memo *m), (m))
POINTS_AROUND_VOID(memo_step, (struct memo *m, enum kept_step s), (m, s))

/* ---- the keeper, a process away ---- */

struct call {
	char op;
	char key[KEEP_KEY_MAX];
};

static struct fake_keep keeper;
static int keeper_end, child_end; /* of a SEQPACKET pair */
static pthread_t keeper_thread;

static int ask(char op, const char *key, int fd)
{
	struct call c = { .op = op };
	unsigned nfd = 0;
	int err;

	point();
	snprintf(c.key, sizeof(c.key), "%s", key);
	assert_int_equal(__real_fd_send(child_end, &c, sizeof(c), &fd, fd >= 0), 0);
	assert_int_equal(__real_fd_recv(child_end, &err, sizeof(err), NULL, 0, &nfd), sizeof(err));
	point();
	return err;
}

static int far_put(struct keep *k, const char *key, int fd)
{
	return ask('p', key, fd);
}

static int far_drop(struct keep *k, const char *key)
{
	return ask('d', key, -1);
}

static int far_get(struct keep *k, const char *key)
{
	return -ENOENT; /* a child is nobody's successor */
}

static const struct keep_ops far_ops = { .put = far_put, .drop = far_drop, .get = far_get };

static void *serve_keep(void *arg)
{
	const struct keep_ops *ops = keeper.keep.ops;
	struct call c;
	unsigned nfd = 0;
	int fd = -1;

	while (__real_fd_recv(keeper_end, &c, sizeof(c), &fd, 1, &nfd) > 0) {
		int err = c.op == 'p' ? ops->put(&keeper.keep, c.key, fd) :
					ops->drop(&keeper.keep, c.key);

		if (nfd)
			fd_close(fd);
		fd = -1;
		nfd = 0;
		if (__real_fd_send(keeper_end, &err, sizeof(err), NULL, 0))
			break;
	}
	return NULL;
}

/* Runs @fn(@g) in a child that dies at point @at. Return: whether it survived. */
static bool run_child(struct fake *g, void (*fn)(struct fake *g), unsigned at)
{
	int pair[2], status;

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	keeper_end = pair[0];
	child_end = pair[1];
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		fd_close(keeper_end);
		keeper.keep.ops = &far_ops;
		die_at = at;
		fn(g);
		_exit(0);
	}
	fd_close(child_end);
	assert_int_equal(pthread_create(&keeper_thread, NULL, serve_keep, NULL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	pthread_join(keeper_thread, NULL);
	fd_close(keeper_end);
	if (WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL)
		fail_msg("point %u: the child got signal %d", at, WTERMSIG(status));
	return WIFEXITED(status);
}

/* ---- messages ---- */

enum answer { ANSWER_NONE, ANSWER_OWN, ANSWER_ACK, ANSWER_FD };

struct kind {
	struct fake_conf conf;
	enum answer answer;
	bool stopped;			   /* queue 0 does not run before */
	bool barred;			   /* nor with what it has in flight */
	void (*before)(struct fake *g);	   /* NULL: nothing */
	void (*send)(struct fake *g);
	void (*after)(struct fake *g, const struct vhost_user_msg *answer);
};

static void send_it(struct fake *g, uint32_t request, bool ack, const void *payload, uint32_t len,
		    const int *fds, unsigned nfd)
{
	assert_int_equal(vu_send(g->sock, request, ack ? VHOST_USER_NEED_REPLY : 0, payload, len,
				 fds, nfd), 0);
}

static void handle_one(struct fake *g)
{
	char why[128];

	exchange_message(g->s, why, sizeof(why));
}

/* Queue 0 has a request in flight that has ended the process, alone. */
static struct fake *bar(struct fake *g)
{
	struct fake_req r = fake_req(g, VIRTIO_BLK_T_OUT, 1, 512);

	g->medium->when = SCRIPT_HELD;
	fake_put_req(g->q[0], &r);
	fake_publish(g->q[0]);
	fake_settle(g);
	assert_int_equal(script_waiting(g->medium), 1);
	g->s->memo->page->replay[0] = KEPT_REPLAY_ALONE;
	g->s->memo->page->crashed = 1;
	g = fake_succeed(g);
	assert_int_equal(fake_go_on(g), 0);
	assert_int_equal(g->s->memo->page->replay[0], KEPT_REPLAY_BARRED);
	return g;
}

static struct fake *prepare(const struct kind *k)
{
	struct fake_conf conf = k->conf;

	conf.keep = &keeper.keep;
	conf.size = 32;
	conf.regions = 2;
	struct fake *g = fake_open(&conf);
	fake_assert_alive(g, 0);
	if (k->stopped)
		fake_stop(g, 0);
	if (k->barred)
		g = bar(g);
	if (k->before)
		k->before(g);
	return g;
}

static void take_answer(struct fake *g, const struct kind *k, struct vhost_user_msg *ret)
{
	unsigned nfd = 1;
	int fd = -1;

	if (k->answer != ANSWER_NONE) {
		assert_int_equal(vu_recv(g->sock, ret, &fd, &nfd), 0);
		assert_int_equal(nfd, k->answer == ANSWER_FD);
		fd_close(fd);
		if (k->answer == ANSWER_ACK)
			assert_int_equal(ret->payload.u64, 0);
	}
	char more;
	assert_int_equal(recv(g->sock, &more, 1, MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
}

/* Return: how many bytes that have come to @sock nobody has taken yet. */
static int unread_of(int sock)
{
	int n;

	assert_int_equal(ioctl(sock, SIOCINQ, &n), 0);
	return n;
}

static bool survives(const struct kind *k, unsigned at)
{
	struct fake *g;
	struct vhost_user_msg answer = { 0 };

	fake_keep_init(&keeper);
	g = prepare(k);
	k->send(g);
	bool survived = run_child(g, handle_one, at);
	g = fake_succeed(g);
	if (!g->s)
		fail_msg("point %u: %s", at, g->why);
	int err = fake_go_on(g);
	/* the one thing that nobody can know: the connection ends, and is made again */
	bool unknown = err == -EPROTO && k->answer == ANSWER_FD && !unread_of(g->sock) &&
		       strstr(g->why, "may be lost");
	if (err && !unknown)
		fail_msg("point %u: %s", at, g->why);
	if (!err) {
		if (unread_of(g->s->sock))
			assert_int_equal(fake_handle(g), 0);
		take_answer(g, k, &answer);
		if (k->after)
			k->after(g, &answer);
		/* nothing is left over of it */
		send_it(g, VHOST_USER_SET_OWNER, false, NULL, 0, NULL, 0);
		assert_int_equal(fake_handle(g), 0);
		for (unsigned i = 0; i < KEPT_SLOTS; i++) {
			int fd = memo_get(g->s->memo, (uint16_t)i);
			bool marked = g->s->memo->page->slots[i / 64] >> i % 64 & 1;

			assert_int_equal(fd >= 0, marked);
			fd_close(fd);
		}
	}
	fake_close(g);
	assert_int_equal(fake_keep_count(&keeper, ""), 0);
	return survived;
}

static void dies_everywhere(const struct kind *k)
{
	unsigned at = 1;

	while (!survives(k, at))
		at++;
	assert_true(at > 10);
}

static void all_work(struct fake *g, const struct vhost_user_msg *answer)
{
	fake_settle(g);
	fake_reap_all(g->q[0]);
	fake_assert_alive(g, 0);
}

static void send_get_features(struct fake *g)
{
	send_it(g, VHOST_USER_GET_FEATURES, false, NULL, 0, NULL, 0);
}

static void has_features(struct fake *g, const struct vhost_user_msg *answer)
{
	assert_true(answer->payload.u64 & FAKE_BIT(VIRTIO_F_VERSION_1));
	all_work(g, answer);
}

static void a_question(void **state)
{
	dies_everywhere(&(struct kind){ .answer = ANSWER_OWN, .send = send_get_features,
					.after = has_features });
}

static void send_set_features(struct fake *g)
{
	uint64_t f = g->features | FAKE_BIT(VHOST_F_LOG_ALL);

	send_it(g, VHOST_USER_SET_FEATURES, false, &f, sizeof(f), NULL, 0);
}

static void send_set_features_ack(struct fake *g)
{
	uint64_t f = g->features | FAKE_BIT(VHOST_F_LOG_ALL);

	send_it(g, VHOST_USER_SET_FEATURES, true, &f, sizeof(f), NULL, 0);
}

static void logs(struct fake *g, const struct vhost_user_msg *answer)
{
	assert_int_equal(g->s->features, g->features | FAKE_BIT(VHOST_F_LOG_ALL));
	all_work(g, answer);
}

static void an_order(void **state)
{
	dies_everywhere(&(struct kind){ .send = send_set_features, .after = logs });
}

static void an_order_that_is_acknowledged(void **state)
{
	dies_everywhere(&(struct kind){ .answer = ANSWER_ACK, .send = send_set_features_ack,
					.after = logs });
}

static void send_mem_table(struct fake *g)
{
	struct vhost_user_mem_table t = { .num_regions = g->mem.regions };

	for (unsigned i = 0; i < g->mem.regions; i++)
		t.region[i] = fake_region(g, i);
	send_it(g, VHOST_USER_SET_MEM_TABLE, true, &t, VHOST_USER_MEM_TABLE_BYTES(g->mem.regions),
		g->mem.fd, g->mem.regions);
}

static void memory_under_running_queues(void **state)
{
	dies_everywhere(&(struct kind){ .answer = ANSWER_ACK, .send = send_mem_table,
					.after = all_work });
}

/* A region that no ring is in. */
static struct vhost_user_mem_single further_region(struct fake *g)
{
	struct vhost_user_mem_single s = { .region = fake_region(g, 0) };

	s.region.guest_addr = 1ull << 40;
	s.region.user_addr = 1ull << 40;
	return s;
}

static void send_add_mem(struct fake *g)
{
	struct vhost_user_mem_single s = further_region(g);

	send_it(g, VHOST_USER_ADD_MEM_REG, true, &s, sizeof(s), g->mem.fd, 1);
}

static void has_three_regions(struct fake *g, const struct vhost_user_msg *answer)
{
	assert_int_equal(g->s->mem->n, 3);
	all_work(g, answer);
}

static void memory_that_is_added(void **state)
{
	dies_everywhere(&(struct kind){ .answer = ANSWER_ACK, .send = send_add_mem,
					.after = has_three_regions });
}

static void add_mem(struct fake *g)
{
	struct vhost_user_mem_single s = further_region(g);

	assert_int_equal(fake_tell(g, VHOST_USER_ADD_MEM_REG, &s, sizeof(s), g->mem.fd, 1), 0);
}

static void send_rem_mem(struct fake *g)
{
	struct vhost_user_mem_single s = further_region(g);

	send_it(g, VHOST_USER_REM_MEM_REG, true, &s, sizeof(s), NULL, 0);
}

static void has_two_regions(struct fake *g, const struct vhost_user_msg *answer)
{
	assert_int_equal(g->s->mem->n, 2);
	all_work(g, answer);
}

static void memory_that_is_removed(void **state)
{
	dies_everywhere(&(struct kind){ .answer = ANSWER_ACK, .before = add_mem,
					.send = send_rem_mem,
					.after = has_two_regions });
}

static struct fake_req put_request(struct fake *g)
{
	struct fake_req r = fake_req(g, VIRTIO_BLK_T_OUT, 1, 512);

	fake_put_req(g->q[0], &r);
	fake_publish(g->q[0]);
	return r;
}

static void start_but_kick(struct fake *g)
{
	uint32_t base = fake_stop(g, 0);

	assert_int_equal(fake_tell_state(g, VHOST_USER_SET_VRING_BASE, 0, base), 0);
	put_request(g);
}

static void send_kick(struct fake *g)
{
	uint64_t index = 0;

	send_it(g, VHOST_USER_SET_VRING_KICK, true, &index, sizeof(index), &g->q[0]->kick_fd, 1);
}

/* The request that was in the ring comes back once, whoever took it. */
static void did_it_once(struct fake *g, const struct vhost_user_msg *answer)
{
	fake_settle(g);
	assert_int_equal(fake_reap_all(g->q[0]), 1);
	fake_assert_alive(g, 0);
}

static void the_one_that_starts_a_queue(void **state)
{
	bool packed = fake_is_packed(state);

	dies_everywhere(&(struct kind){ .conf.packed = packed, .answer = ANSWER_ACK,
					.before = start_but_kick, .send = send_kick,
					.after = did_it_once });
	dies_everywhere(&(struct kind){ .conf = { .packed = packed, .track = true },
					.answer = ANSWER_ACK, .before = start_but_kick,
					.send = send_kick, .after = did_it_once });
}

/* Its size is the last thing that the queue waits for. */
static void start_but_size(struct fake *g)
{
	fake_disconnect(g);
	fake_connect(g);
	fake_negotiate(g);
	assert_int_equal(fake_share_mem(g), 0);
	uint16_t size = g->q[0]->size;
	uint64_t base = g->q[0]->put_idx;
	struct vhost_user_vring_addr a = fake_addr(g->q[0]);

	assert_int_equal(fake_tell_state(g, VHOST_USER_SET_VRING_BASE, 0, (uint32_t)base), 0);
	assert_int_equal(fake_tell(g, VHOST_USER_SET_VRING_ADDR, &a, sizeof(a), NULL, 0), 0);
	assert_int_equal(fake_tell_fd(g, VHOST_USER_SET_VRING_KICK, 0, g->q[0]->kick_fd), 0);
	assert_int_equal(fake_tell_fd(g, VHOST_USER_SET_VRING_CALL, 0, g->q[0]->call_fd), 0);
	assert_int_equal(fake_tell_state(g, VHOST_USER_SET_VRING_ENABLE, 0, 1), 0);
	assert_int_equal(size, g->conf.size);
	put_request(g);
}

static void send_num(struct fake *g)
{
	struct vhost_user_vring_state s = { 0, g->conf.size };

	send_it(g, VHOST_USER_SET_VRING_NUM, true, &s, sizeof(s), NULL, 0);
}

static void a_size_that_starts_a_queue(void **state)
{
	dies_everywhere(&(struct kind){ .answer = ANSWER_ACK, .before = start_but_size,
					.send = send_num, .after = did_it_once });
}

static uint32_t base_before;

static void send_get_base(struct fake *g)
{
	struct vhost_user_vring_state s = { 0, 0 };

	base_before = vq_base(fake_vq(g, 0));
	put_request(g);
	send_it(g, VHOST_USER_GET_VRING_BASE, false, &s, sizeof(s), NULL, 0);
}

/* Either it was taken before the stop, and is done, or it stays in the ring. */
static void stands_behind_what_was_done(struct fake *g, const struct vhost_user_msg *answer)
{
	unsigned done = fake_reap_all(g->q[0]);
	uint32_t base = answer->payload.state.num;

	assert_false(fake_vq(g, 0)->running);
	if (g->conf.packed)
		assert_int_equal(base & 0x7fff, (base_before & 0x7fff) + 3 * done);
	else
		assert_int_equal(base, base_before + done);
	assert_int_equal(fake_start(g, 0, base), 0);
	fake_settle(g);
	assert_int_equal(done + fake_reap_all(g->q[0]), 1);
	fake_assert_alive(g, 0);
}

static void the_one_that_stops_a_queue(void **state)
{
	bool packed = fake_is_packed(state);

	dies_everywhere(&(struct kind){ .conf.packed = packed, .answer = ANSWER_OWN,
					.send = send_get_base,
					.after = stands_behind_what_was_done });
	dies_everywhere(&(struct kind){ .conf = { .packed = packed, .track = true },
					.answer = ANSWER_OWN, .send = send_get_base,
					.after = stands_behind_what_was_done });
}

static void send_stop(struct fake *g)
{
	struct vhost_user_vring_state s = { 0, 0 };

	send_it(g, VHOST_USER_GET_VRING_BASE, false, &s, sizeof(s), NULL, 0);
}

/* Started where it stood, as after a pause of the machine, it stays stopped; it goes on with
 * another ring, as after a reset of the device. */
static void leaves_the_poison_behind(struct fake *g, const struct vhost_user_msg *answer)
{
	uint32_t base = answer->payload.state.num;

	assert_false(fake_vq(g, 0)->running);
	if (g->conf.track)
		assert_int_equal(fake_set_track(g), 0);
	assert_int_equal(fake_start(g, 0, base), 0);
	fake_settle(g);
	assert_false(fake_vq(g, 0)->running);
	assert_int_equal(fake_stop(g, 0), base);
	fake_reset(g, 0);
	fake_settle(g);
	assert_int_equal(g->medium->nseen, 0);
	assert_null(fake_broken(g, 0));
	fake_assert_alive(g, 0);
}

static void the_one_that_stops_a_barred_queue(void **state)
{
	bool packed = fake_is_packed(state);

	dies_everywhere(&(struct kind){ .conf.packed = packed, .barred = true, .answer = ANSWER_OWN,
					.send = send_stop, .after = leaves_the_poison_behind });
	dies_everywhere(&(struct kind){ .conf = { .packed = packed, .track = true }, .barred = true,
					.answer = ANSWER_OWN, .send = send_stop,
					.after = leaves_the_poison_behind });
}

static void send_reset(struct fake *g)
{
	send_it(g, VHOST_USER_RESET_DEVICE, true, NULL, 0, NULL, 0);
}

static void is_reset(struct fake *g, const struct vhost_user_msg *answer)
{
	assert_false(fake_vq(g, 0)->running);
	assert_true(g->front.writeback);
}

static void a_reset(void **state)
{
	dies_everywhere(&(struct kind){ .answer = ANSWER_ACK, .send = send_reset,
					.after = is_reset });
}

static void send_get_inflight(struct fake *g)
{
	struct vhost_user_inflight want = { .num_queues = 1, .queue_size = g->conf.size };

	send_it(g, VHOST_USER_GET_INFLIGHT_FD, false, &want, sizeof(want), NULL, 0);
}

static void an_answer_that_carries_a_descriptor(void **state)
{
	dies_everywhere(&(struct kind){ .answer = ANSWER_FD, .send = send_get_inflight,
					.after = all_work });
}

/* Its sender ended before it could note that it was sent. */
static void an_answer_that_the_next_message_follows(void **state)
{
	struct kind k = { .answer = ANSWER_FD };
	struct vhost_user_msg answer;

	fake_keep_init(&keeper);
	struct fake *g = prepare(&k);
	send_get_inflight(g);
	assert_int_equal(fake_handle(g), 0);
	take_answer(g, &k, &answer);
	g->s->memo->page->msg.step = KEPT_SENDING;
	send_get_features(g);
	g = fake_succeed(g);
	assert_int_equal(fake_go_on(g), 0);
	assert_int_equal(fake_handle(g), 0);
	take_answer(g, &(struct kind){ .answer = ANSWER_OWN }, &answer);
	has_features(g, &answer);
	fake_close(g);
}

static void send_set_inflight(struct fake *g)
{
	send_it(g, VHOST_USER_SET_INFLIGHT_FD, true, &g->track, sizeof(g->track), &g->track_fd, 1);
}

static void tracks(struct fake *g, const struct vhost_user_msg *answer)
{
	assert_non_null(g->s->track.at);
	assert_int_equal(fake_start(g, 0, g->q[0]->put_idx), 0);
	all_work(g, answer);
}

static void an_inflight_region(void **state)
{
	dies_everywhere(&(struct kind){ .answer = ANSWER_ACK, .stopped = true,
					.before = fake_get_track, .send = send_set_inflight,
					.after = tracks });
}

static int channel[2];

static void send_backend(struct fake *g)
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, channel), 0);
	send_it(g, VHOST_USER_SET_BACKEND_REQ_FD, true, NULL, 0, &channel[1], 1);
}

static void talks(struct fake *g, const struct vhost_user_msg *answer)
{
	struct vhost_user_hdr h;

	message_config_changed(g->s);
	assert_int_equal(recv(channel[0], &h, sizeof(h), MSG_DONTWAIT), sizeof(h));
	fd_close(channel[0]);
	fd_close(channel[1]);
}

static void a_channel(void **state)
{
	dies_everywhere(&(struct kind){ .answer = ANSWER_ACK, .send = send_backend,
					.after = talks });
}

static void send_log(struct fake *g)
{
	struct vhost_user_log at = { .size_b = MIB };
	int fd = memfd_create("log", MFD_CLOEXEC);

	assert_int_equal(ftruncate(fd, MIB), 0);
	send_it(g, VHOST_USER_SET_LOG_BASE, false, &at, sizeof(at), &fd, 1);
	fd_close(fd);
}

static void has_log(struct fake *g, const struct vhost_user_msg *answer)
{
	assert_non_null(g->s->log);
	all_work(g, answer);
}

static void a_dirty_log(void **state)
{
	dies_everywhere(&(struct kind){ .answer = ANSWER_OWN, .send = send_log, .after = has_log });
}

/* ---- connecting ---- */

static void connect_and_ask(struct fake *g)
{
	if (session_open(&g->front, g->track_fd, &g->s)) /* the front's end of the socket */
		_exit(1);
	g->front.session = g->s;
	handle_one(g);
}

/* The socket itself may be lost, before it is kept: then the front end sees its end. */
static void a_connection(void **state)
{
	bool survived = false;
	unsigned lost = 0;

	for (unsigned at = 1; !survived; at++) {
		struct vhost_user_msg m;
		unsigned none = 0;
		int pair[2];

		fake_keep_init(&keeper);
		struct fake *g = fake_open_disk(&(struct fake_conf){ .keep = &keeper.keep });
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
		g->sock = pair[0];
		g->track_fd = pair[1];
		send_get_features(g);
		survived = run_child(g, connect_and_ask, at);
		g->track_fd = fd_close(g->track_fd);
		int sock = keep_get(&g->front.conf.keep, "sock");
		int err = sock < 0 ? sock : adopt_session(&g->front, sock, &g->s, g->why,
							  sizeof(g->why));
		if (sock >= 0 && err == -ENOENT)
			err = session_open(&g->front, sock, &g->s);
		if (sock < 0) {
			assert_int_not_equal(vu_recv(g->sock, &m, NULL, &none), 0);
			lost++;
		} else {
			assert_int_equal(err, 0);
			g->front.session = g->s;
			assert_int_equal(fake_go_on(g), 0);
			if (unread_of(g->s->sock))
				assert_int_equal(fake_handle(g), 0);
			take_answer(g, &(struct kind){ .answer = ANSWER_OWN }, &m);
			assert_true(m.payload.u64);
		}
		fake_close(g);
		assert_int_equal(fake_keep_count(&keeper, ""), 0);
	}
	assert_int_equal(lost, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_question),
		cmocka_unit_test(an_order),
		cmocka_unit_test(an_order_that_is_acknowledged),
		cmocka_unit_test(memory_under_running_queues),
		cmocka_unit_test(memory_that_is_added),
		cmocka_unit_test(memory_that_is_removed),
		FAKE_BOTH(the_one_that_starts_a_queue),
		cmocka_unit_test(a_size_that_starts_a_queue),
		FAKE_BOTH(the_one_that_stops_a_queue),
		FAKE_BOTH(the_one_that_stops_a_barred_queue),
		cmocka_unit_test(a_reset),
		cmocka_unit_test(an_answer_that_carries_a_descriptor),
		cmocka_unit_test(an_answer_that_the_next_message_follows),
		cmocka_unit_test(an_inflight_region),
		cmocka_unit_test(a_channel),
		cmocka_unit_test(a_dirty_log),
		cmocka_unit_test(a_connection),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
