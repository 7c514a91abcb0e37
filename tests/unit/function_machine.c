/* SPDX-License-Identifier: Apache-2.0 */
/* A program in a machine of its own: what its stream may bring, the memory that is shared with it,
 * and the door through which it comes. */
#include "remote_bed.h"
#include "remote_talk.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/child.h"
#include "base/fd.h"
#include "function/remote/machine.h"
#include "tests/fake/keep.h"

static void is_understood_in_whatever_pieces_it_comes(void **state)
{
	for (size_t piece_b = 1; piece_b < sizeof(struct fn_msg); piece_b += 7) {
		struct talk t;

		talk_open(&t, true);
		struct fn_msg m[] = { talk_msg(&t, FN_KICK), talk_msg(&t, FN_READY) };

		for (size_t at = 0; at < sizeof(m); at += piece_b) {
			assert_false(t.p->is_ready);
			talk_say(&t, (uint8_t *)m + at, min_u64(piece_b, sizeof(m) - at));
		}
		assert_true(t.p->is_ready);
		assert_null(t.p->fault);
		talk_close(&t);
	}
}

static void may_have_been_cut_off_before_it_is_ready(void **state)
{
	struct talk t;

	talk_open(&t, true);
	struct fn_msg m = talk_msg(&t, FN_READY);

	/* the end of a message whose beginning a worker before us has read, with a bit of the
	 * magic */
	talk_say(&t, "xyzFoNsx", 8);
	talk_say(&t, (uint8_t *)&m + 8, sizeof(m) - 8);
	talk_say(&t, &m, sizeof(m));
	assert_true(t.p->is_ready);
	assert_null(t.p->fault);
	talk_say(&t, "x", 1);
	talk_say(&t, &m, sizeof(m));
	assert_string_equal(t.p->fault, "its message makes no sense");
	talk_close(&t);
}

static void is_greeted_again_when_it_is_born(void **state)
{
	struct talk t;

	talk_open(&t, true);
	uint32_t first = le32toh(t.heard.channel);
	struct fn_msg early = talk_msg(&t, FN_READY), born = talk_msg(&t, FN_BORN);

	talk_say(&t, &born, sizeof(born));
	talk_hear(&t, FN_HELLO);
	assert_int_not_equal(le32toh(t.heard.channel), first);
	talk_say(&t, &early, sizeof(early)); /* of the one that is no more */
	assert_false(t.p->is_ready);
	struct fn_msg m = talk_msg(&t, FN_READY);

	talk_say(&t, &m, sizeof(m));
	assert_true(t.p->is_ready);
	talk_say(&t, &born, sizeof(born));
	assert_string_equal(t.p->fault, "it has been started anew");
	talk_close(&t);
}

static void has_to_see_the_memory_that_we_see(void **state)
{
	struct talk t;

	talk_open(&t, true);
	struct fn_msg m = talk_msg(&t, FN_READY);

	m.size_b = htole64(t.region->id + 1);
	talk_say(&t, &m, sizeof(m));
	assert_non_null(strstr(t.p->fault, "memory of an earlier posternd"));
	assert_false(t.p->is_ready);
	talk_close(&t);
}

static void alone_may_have_its_memory_in_a_bar(void **state)
{
	for (unsigned is_machine = 0; is_machine < 2; is_machine++) {
		struct talk t;

		talk_open(&t, is_machine);
		struct fn_msg m = talk_msg(&t, FN_READY);

		m.flags = htole32(FN_M_BAR);
		talk_say(&t, &m, sizeof(m));
		assert_int_equal(t.p->is_ready, is_machine);
		assert_int_equal(!t.p->fault, is_machine);
		talk_close(&t);
	}
}

static void cannot_hold_us_up_by_talking(void **state)
{
	struct talk t;
	struct fn_msg m[100];

	talk_open(&t, true);
	for (size_t i = 0; i < ARRAY_SIZE(m); i++)
		m[i] = talk_msg(&t, FN_KICK);
	talk_say(&t, m, sizeof(m));
	uint8_t left[sizeof(m)];

	assert_true(recv(t.p->process.sock, left, sizeof(left), MSG_PEEK | MSG_DONTWAIT) > 0);
	assert_null(t.p->fault);
	talk_close(&t);
}

static void memory_has_a_place_of_its_own_for_each_lane(void **state)
{
	struct region *r;
	uint64_t end = 0;

	assert_int_equal(region_open(-1, &r), 0);
	for (unsigned i = 0; i < REGION_AREAS; i++) {
		assert_int_equal(region_take(r), i);
		struct fn_rings *rings = region_rings(r, i), *next = region_rings(r, i);
		uint64_t rings_b = region_page(r, rings) * (uint64_t)FN_PAGE_B;
		uint64_t bufs_b = region_page(r, region_bufs(r, i)) * (uint64_t)FN_PAGE_B;

		assert_true(rings_b >= end + (i ? 0 : sizeof(struct fn_region)));
		assert_true(next >= rings + 1); /* somebody may still look at those before */
		assert_true(bufs_b >= rings_b + 2 * sizeof(*rings));
		end = bufs_b + FN_BUFS_B;
	}
	assert_true(end <= FN_REGION_B - FN_REGION_OWN_B);
	assert_int_equal(region_take(r), -ENOSPC);
	uint8_t *bufs = region_bufs(r, 3);

	*bufs = 1;
	region_give(r, 3);
	assert_int_equal(*bufs, 0); /* the next lane does not see what this one had */
	assert_int_equal(region_take(r), 3);
	region_put(r);
}

static void is_looked_at_though_it_wakes_nobody(void **state)
{
	static uint8_t buf[4096];
	struct bed_req q;
	struct rig g;

	rig_open(&g, FN_TRANSFORM, REMOTE_PAUSE);
	remote_set_stall(g.l, 0);
	assert_int_equal(remote_timer(g.l, 0), NEVER_NS);
	g.c.is_shared = true;
	rig_gain(&g);
	rig_ask(&g, &q, REQ_WRITE, 0, sizeof(buf), buf);
	unsigned slot = rig_take(&g).slot;

	assert_true(remote_timer(g.l, 0) < 2 * NS_PER_MS);
	rig_answer(&g, slot, FN_PASS, FN_OK);
	rig_turn(&g);
	assert_int_equal(q.status, REQ_OK);
	assert_int_equal(remote_timer(g.l, 0), NEVER_NS);
	rig_close(&g);
}

static void has_to_take_the_disk_in_time(void **state)
{
	struct rig g;

	rig_open(&g, FN_TRANSFORM, REMOTE_PAUSE);
	remote_set_stall(g.l, NS_PER_S);
	remote_offered(g.l);
	rig_gain(&g);
	bed_at(&g.b, poller_now_ns(g.b.poller) + 2 * NS_PER_S);
	assert_null(g.l->fault);
	remote_disconnect(g.l);
	poller_tick(g.b.poller);
	remote_offered(g.l);
	rig_wait(&g, NS_PER_S / 2);
	assert_null(g.l->fault);
	/* in which nothing ran */
	bed_at(&g.b, poller_now_ns(g.b.poller) + NS_PER_S);
	assert_null(g.l->fault);
	rig_wait(&g, NS_PER_S / 2);
	assert_string_equal(g.l->fault, "it does not take the disk");
	assert_int_equal(g.told, 1);
	rig_close(&g);
}

static void memory_cannot_be_taken_away(void **state)
{
	struct region *r, *again;

	assert_int_equal(region_open(-1, &r), 0);
	assert_int_not_equal(ftruncate(r->fd, 4096), 0);
	/* a successor goes on with the same one */
	assert_int_equal(region_open(dup(r->fd), &again), 0);
	assert_int_equal(again->id, r->id);
	region_put(again);
	region_put(r);
	int fd = memfd_create("small", MFD_ALLOW_SEALING);

	assert_int_equal(region_open(fd, &r), -EBADMSG);
	fd = memfd_create("not-sealed", MFD_ALLOW_SEALING);
	assert_int_equal(ftruncate(fd, FN_REGION_B), 0);
	assert_int_equal(region_open(fd, &r), -EBADMSG);
}

/* The next program shares other memory: its channel, @next, is offered while a read is below. */
static void offer_other_memory(struct rig *g, struct channel *next, struct region *region)
{
	*next = g->c;
	next->rings = rig_rings();
	assert_int_equal(buffers_find(g->l, region, &next->buffers), 0);
	assert_ptr_equal(next->buffers->at, region_bufs(region, 0));
	g->l->next_channel = next;
}

/* The read that is below ends there: the data is in the old memory, and to be seen in the new. */
static void read_arrives_in(struct rig *g, const struct channel *next, struct bed_req *q)
{
	uint8_t *old = g->l->bufs;

	memset(g->s->store, 0x77, 4096);
	script_release_all(g->s, REQ_OK);
	rig_turn(g);
	assert_ptr_equal(g->l->bufs, next->buffers->at);
	munmap(g->c.rings, sizeof(*g->c.rings));
	g->c = *next;
	g->to_n = g->from_n = 0;
	struct fn_word w = rig_take(g);

	assert_int_equal(w.flags & (FN_F_UP | FN_F_DATA), FN_F_UP | FN_F_DATA);
	assert_int_equal(rig_buf(g, w.slot)[4095], 0x77);
	memset(old, 0, 4096); /* nobody looks there any more */
	rig_answer(g, w.slot, FN_PASS, FN_OK);
	rig_turn(g);
	assert_int_equal(q->status, REQ_OK);
}

static void waits_for_what_is_below_before_its_memory_changes(void **state)
{
	static uint8_t buf[4096], more[4096];
	struct handover h = { .lanes = 1 };
	struct bed_req q[2];
	struct region *region;
	struct channel next;
	struct rig g;

	assert_int_equal(region_open(-1, &region), 0);
	rig_open(&g, FN_TRANSFORM, REMOTE_PAUSE);
	g.s->when = SCRIPT_HELD;
	rig_gain(&g);
	rig_ask(&g, &q[0], REQ_READ, 0, sizeof(buf), buf);
	rig_turn(&g);
	assert_int_equal(script_waiting(g.s), 1);
	offer_other_memory(&g, &next, region);
	remote_hand_over(g.l, &h, &next);
	rig_ask(&g, &q[1], REQ_READ, 4096, sizeof(more), more);
	rig_turn(&g);
	assert_int_equal(h.joined, 0); /* the medium has a buffer of the old memory */
	buffers_sweep(g.l);
	assert_ptr_not_equal(g.l->bufs, next.buffers->at);
	read_arrives_in(&g, &next, &q[0]);
	assert_int_equal(buf[4095], 0x77);
	assert_int_equal(h.joined, 1);
	/* what came meanwhile goes through the new memory, and the old is given back */
	g.l->channel = &g.c;
	g.l->next_channel = NULL;
	buffers_sweep(g.l);
	assert_ptr_equal(list_first(&g.l->buffers, struct buffers, node), next.buffers);
	script_release_all(g.s, REQ_OK);
	rig_turn(&g);
	rig_answer(&g, rig_take(&g).slot, FN_PASS, FN_OK);
	rig_turn(&g);
	assert_int_equal(q[1].status, REQ_OK);
	g.l->channel = NULL;
	rig_close(&g);
	region_put(region);
}

/* The machine is lost while the medium works on its memory, and a process is next. */
static void waits_for_what_is_below_when_it_is_lost(void **state)
{
	static uint8_t buf[4096];
	struct region *region;
	struct channel next;
	struct bed_req q;
	struct rig g;

	assert_int_equal(region_open(-1, &region), 0);
	rig_open(&g, FN_TRANSFORM, REMOTE_PAUSE);
	g.s->when = SCRIPT_HELD;
	rig_gain(&g);
	rig_ask(&g, &q, REQ_READ, 0, sizeof(buf), buf);
	rig_turn(&g);
	offer_other_memory(&g, &next, region);
	remote_lose(g.l, NULL);
	remote_gain(g.l, &next);
	rig_turn(&g);
	assert_null(g.l->ring.shared);
	read_arrives_in(&g, &next, &q);
	assert_int_equal(buf[4095], 0x77);
	g.l->next_channel = NULL;
	rig_close(&g);
	region_put(region);
}

/* A host that waits for its machine. */
struct meeting {
	struct loop loop;
	struct host *host;
	char path[64];
};

static struct machine *the_machine;
static uint64_t boot_ns = 3600 * NS_PER_S;

static int start(const char *name, void *spec, struct host_process *ret, char *why)
{
	return machine_start(the_machine, ret, why);
}

static void kill_it(void *spec, const struct host_process *p)
{
	machine_kill(the_machine);
}

static void free_spec(void *spec)
{
	fd_close(machine_close(the_machine, true));
}

static const struct host_starter starter = { .start = start, .kill = kill_it, .free = free_spec };

static void meet(struct meeting *m, const struct machine_ops *ops)
{
	snprintf(m->path, sizeof(m->path), "/tmp/postern-test-machine-%d", (int)getpid());
	assert_int_equal(loop_init(&m->loop), 0);
	m->host = host_new("fn", &m->loop, &starter, 0);
	struct machine_conf conf = { .host = m->host, .spec = m, .loop = &m->loop,
				     .listen_fd = fd_listen(m->path, 0600), .ops = ops,
				     .boot_ns = boot_ns };

	assert_int_equal(machine_open(&conf, &the_machine), 0);
	host_start_later(m->host, m, false);
}

static void does_not_go_on_with_memory_of_another_size(void **state)
{
	struct loop loop;
	struct fake_keep keeper;
	struct machine *m;

	fake_keep_init(&keeper);
	assert_int_equal(loop_init(&loop), 0);
	struct machine_conf conf = { .loop = &loop, .listen_fd = eventfd(0, EFD_CLOEXEC),
				     .keep = { .keep = &keeper.keep } };

	assert_int_equal(keep_put(&conf.keep, "memory", fd_memory("earlier", FN_REGION_B / 2, 0)),
			 0);
	assert_int_equal(machine_open(&conf, &m), 0);
	struct region *again, *now = region_get(machine_region(m));

	fd_close(machine_close(m, false));
	/* and its successor has what is there now */
	assert_int_equal(region_open(keep_get(&conf.keep, "memory"), &again), 0);
	assert_int_equal(again->id, now->id);
	region_put(again);
	region_put(now);
	loop_fini(&loop);
	fake_keep_fini(&keeper);
}

static void part(struct meeting *m)
{
	host_free(m->host);
	loop_fini(&m->loop);
	unlink(m->path);
}

static void turn(struct meeting *m)
{
	while (loop_turn(&m->loop, 0) > 0)
		;
}

static enum host_state state_of(struct meeting *m)
{
	struct host_info i;

	host_info(m->host, &i);
	return i.state;
}

static void a_machine_comes_when_it_likes_and_again(void **state)
{
	struct meeting m;
	struct fn_msg hello;

	meet(&m, NULL);
	turn(&m);
	assert_int_equal(state_of(&m), HOST_DOWN);
	for (unsigned i = 0; i < 2; i++) {
		int fd = fd_connect(m.path);

		turn(&m);
		assert_int_equal(recv(fd, &hello, sizeof(hello), MSG_DONTWAIT), sizeof(hello));
		assert_int_equal(state_of(&m), HOST_STARTING);
		close(fd);
		turn(&m);
		assert_int_equal(state_of(&m), HOST_DOWN);
	}
	part(&m);
}

static void a_second_machine_is_turned_away(void **state)
{
	struct meeting m;
	uint8_t byte;

	meet(&m, NULL);
	int first = fd_connect(m.path), second = fd_connect(m.path);

	turn(&m);
	assert_int_equal(recv(second, &byte, 1, MSG_DONTWAIT), 0);
	assert_int_equal(state_of(&m), HOST_STARTING);
	close(first);
	close(second);
	part(&m);
}

/* A holder that the test speaks for: a process that only waits. */
struct held {
	pid_t pid;
	int sock; /* its end */
	unsigned started, killed;
};

static struct held held;

static int hold(void *spec, int memory_fd, struct machine_holder *ret, char *why)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	held.pid = child_fork();
	if (!held.pid) {
		pause();
		_exit(0);
	}
	held.sock = pair[1];
	held.started++;
	*ret = (struct machine_holder){ held.pid, pair[0], pidfd_open(held.pid, 0) };
	return 0;
}

static void kill_holder(pid_t pid)
{
	assert_int_equal(kill(pid, SIGKILL), 0);
	held.killed++;
}

static const struct machine_ops holder_ops = { .hold = hold, .kill = kill_holder };

/* It ends, having said @words, which may be NULL. */
static void holder_ends(struct meeting *m, const char *words)
{
	if (words)
		assert_int_equal(send(held.sock, words, strlen(words), 0), strlen(words));
	kill(held.pid, SIGKILL);
	waitpid(held.pid, NULL, 0);
	close(held.sock);
	turn(m);
}

static char wished(void)
{
	char word = 0;

	return recv(held.sock, &word, 1, MSG_DONTWAIT) == 1 ? word : 0;
}

static const char *why_of(struct meeting *m)
{
	struct host_info i;

	host_info(m->host, &i);
	return i.why;
}

/* Waits until the holder has been started @n times: the host does that later and later. */
static void await_started(struct meeting *m, unsigned n)
{
	while (held.started < n)
		assert_true(loop_turn(&m->loop, 20000) >= 0);
}

static void meet_own(struct meeting *m)
{
	memset(&held, 0, sizeof(held));
	meet(m, &holder_ops);
	assert_int_equal(held.started, 1);
}

static void is_started_again_when_it_cannot_be_held(void **state)
{
	struct meeting m;

	meet_own(&m);
	holder_ends(&m, "down image: 'x' does\nnot exist");
	assert_string_equal(why_of(&m), "image: 'x' does not exist");
	await_started(&m, 2);
	holder_ends(&m, NULL);
	assert_string_equal(why_of(&m), "its machine has ended");
	await_started(&m, 3);
	part(&m);
	assert_int_equal(wished(), 'e'); /* gently, in its own time */
	holder_ends(&m, NULL);
}

static void is_told_apart_by_how_it_runs(void **state)
{
	static const char *const words[] = { "up 7 tcg KVM is not there", "up 7", "up", "", "x" };
	struct meeting m;

	meet_own(&m);
	for (unsigned i = 0; i < ARRAY_SIZE(words); i++)
		assert_true(send(held.sock, words[i], strlen(words[i]), 0) >= 0);
	turn(&m);
	assert_string_equal(machine_accel(the_machine), "tcg");
	assert_string_equal(machine_note(the_machine), "KVM is not there");
	part(&m);
	holder_ends(&m, NULL);
}

static void is_ended_when_its_guest_does_not_come(void **state)
{
	struct meeting m;

	boot_ns = NS_PER_MS;
	meet_own(&m);
	boot_ns = 3600 * NS_PER_S;
	int fd = fd_connect(m.path);

	/* of its own accord, when the time is up */
	for (char word = 0; word != 'k'; word = wished())
		assert_true(loop_turn(&m.loop, 20000) >= 0);
	/* one that is to end is not spoken to again */
	int again = fd_connect(m.path);
	uint8_t byte;

	turn(&m);
	while (recv(again, &byte, 1, 0) > 0)
		;
	holder_ends(&m, NULL);
	assert_non_null(strstr(why_of(&m), "has not started the program"));
	await_started(&m, 2);
	part(&m);
	holder_ends(&m, NULL);
	close(again);
	close(fd);
}

/* A host that has lost a program waits before it speaks to the next one. */
static void await_greeting(struct meeting *m)
{
	while (state_of(m) == HOST_DOWN)
		assert_true(loop_turn(&m->loop, 20000) >= 0);
	turn(m);
}

/* Says READY to the newest greeting there is. */
static void say_ready(struct meeting *m, int fd)
{
	struct fn_msg hello = { 0 };

	while (recv(fd, &hello, sizeof(hello), MSG_DONTWAIT) == sizeof(hello))
		;
	assert_int_equal(le16toh(hello.kind), FN_HELLO);
	struct fn_msg ready = { .magic = htole32(FN_MAGIC), .kind = htole16(FN_READY),
				.abi = htole16(FN_ABI_NEWEST), .channel = hello.channel,
				.size_b = htole64(machine_region(the_machine)->id) };

	assert_int_equal(send(fd, &ready, sizeof(ready), 0), sizeof(ready));
	turn(m);
	assert_int_equal(state_of(m), HOST_UP);
}

static void is_not_begun_anew_for_a_program_that_is(void **state)
{
	struct fn_msg born = { .magic = htole32(FN_MAGIC), .kind = htole16(FN_BORN) };
	struct meeting m;

	meet_own(&m);
	int fd = fd_connect(m.path);
	const char *why = NULL;

	turn(&m);
	for (unsigned i = 0; i < 2; i++) {
		say_ready(&m, fd);
		assert_int_equal(send(fd, &born, sizeof(born), 0), sizeof(born));
		turn(&m);
		await_greeting(&m);
		why = why_of(&m);
		assert_string_equal(why, "it has been started anew");
	}
	assert_int_equal(held.started, 1);
	assert_int_equal(wished(), 0);
	part(&m);
	holder_ends(&m, NULL);
	close(fd);
}

static void a_program_s_end_is_noticed_before_the_next_one_begins(void **state)
{
	struct fn_msg born = { .magic = htole32(FN_MAGIC), .kind = htole16(FN_BORN) };
	struct meeting m;

	meet_own(&m);
	int fd = fd_connect(m.path);

	turn(&m);
	assert_int_equal(send(held.sock, "left", 4, 0), 4); /* none has been there */
	turn(&m);
	assert_null(why_of(&m));
	say_ready(&m, fd);
	assert_int_equal(send(held.sock, "left", 4, 0), 4);
	turn(&m);
	assert_int_not_equal(state_of(&m), HOST_UP);
	assert_string_equal(why_of(&m), "the program has ended");
	assert_int_equal(send(fd, &born, sizeof(born), 0), sizeof(born));
	await_greeting(&m);
	say_ready(&m, fd);
	/* one that comes too late, for a program that is there: it is greeted again, no more */
	assert_int_equal(send(held.sock, "left", 4, 0), 4);
	turn(&m);
	await_greeting(&m);
	say_ready(&m, fd);
	assert_int_equal(held.started, 1);
	assert_int_equal(wished(), 0);
	part(&m);
	holder_ends(&m, NULL);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(is_understood_in_whatever_pieces_it_comes),
		cmocka_unit_test(may_have_been_cut_off_before_it_is_ready),
		cmocka_unit_test(is_greeted_again_when_it_is_born),
		cmocka_unit_test(has_to_see_the_memory_that_we_see),
		cmocka_unit_test(alone_may_have_its_memory_in_a_bar),
		cmocka_unit_test(does_not_go_on_with_memory_of_another_size),
		cmocka_unit_test(cannot_hold_us_up_by_talking),
		cmocka_unit_test(is_looked_at_though_it_wakes_nobody),
		cmocka_unit_test(has_to_take_the_disk_in_time),
		cmocka_unit_test(memory_has_a_place_of_its_own_for_each_lane),
		cmocka_unit_test(memory_cannot_be_taken_away),
		cmocka_unit_test(waits_for_what_is_below_before_its_memory_changes),
		cmocka_unit_test(waits_for_what_is_below_when_it_is_lost),
		cmocka_unit_test(a_machine_comes_when_it_likes_and_again),
		cmocka_unit_test(a_second_machine_is_turned_away),
		cmocka_unit_test(is_started_again_when_it_cannot_be_held),
		cmocka_unit_test(is_told_apart_by_how_it_runs),
		cmocka_unit_test(is_ended_when_its_guest_does_not_come),
		cmocka_unit_test(is_not_begun_anew_for_a_program_that_is),
		cmocka_unit_test(a_program_s_end_is_noticed_before_the_next_one_begins),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
