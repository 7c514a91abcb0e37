/* SPDX-License-Identifier: Apache-2.0 */
/* A program in a machine of its own: what its stream may bring, the memory that is shared with it, and
 * the door through which it comes. */
#include "remote_bed.h"
#include "remote_talk.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/fd.h"
#include "function/remote/machine.h"

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

	/* the end of a message whose beginning a worker before us has read, with a bit of the magic */
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

	m.size_b = htole64(t.region.id + 1);
	talk_say(&t, &m, sizeof(m));
	assert_non_null(strstr(t.p->fault, "memory of an earlier posternd"));
	assert_false(t.p->is_ready);
	talk_close(&t);
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
	struct region r;
	uint64_t end = 0;

	assert_int_equal(region_open(&r, -1), 0);
	for (unsigned i = 0; i < REGION_AREAS; i++) {
		assert_int_equal(region_take(&r), i);
		struct fn_rings *rings = region_rings(&r, i), *next = region_rings(&r, i);
		uint64_t rings_b = region_page(&r, rings) * (uint64_t)FN_PAGE_B;
		uint64_t bufs_b = region_page(&r, region_bufs(&r, i)) * (uint64_t)FN_PAGE_B;

		assert_true(rings_b >= end + (i ? 0 : sizeof(struct fn_region)));
		assert_true(next >= rings + 1); /* somebody may still look at those before */
		assert_true(bufs_b >= rings_b + 2 * sizeof(*rings));
		end = bufs_b + FN_BUFS_B;
	}
	assert_true(end <= FN_REGION_B - FN_REGION_OWN_B);
	assert_int_equal(region_take(&r), -ENOSPC);
	uint8_t *bufs = region_bufs(&r, 3);

	*bufs = 1;
	region_give(&r, 3);
	assert_int_equal(*bufs, 0); /* the next lane does not see what this one had */
	assert_int_equal(region_take(&r), 3);
	region_close(&r);
}

static void is_looked_at_though_it_wakes_nobody(void **state)
{
	static uint8_t buf[4096];
	struct bed_req q;
	struct region r;
	struct rig g;

	assert_int_equal(region_open(&r, -1), 0);
	rig_open(&g, FN_TRANSFORM, REMOTE_PAUSE);
	g.l->region = &r;
	remote_set_stall(g.l, 0);
	g.l->region = NULL; /* its buffers are its own */
	assert_int_equal(remote_timer(g.l, 0), NEVER_NS);
	rig_gain(&g);
	rig_ask(&g, &q, REQ_WRITE, 0, sizeof(buf), buf);
	unsigned slot = rig_take(&g).slot;

	assert_true(remote_timer(g.l, 0) < 2 * NS_PER_MS);
	rig_answer(&g, slot, FN_PASS, FN_OK);
	rig_turn(&g);
	assert_int_equal(q.status, REQ_OK);
	assert_int_equal(remote_timer(g.l, 0), NEVER_NS);
	rig_close(&g);
	region_close(&r);
}

static void memory_cannot_be_taken_away(void **state)
{
	struct region r, again;

	assert_int_equal(region_open(&r, -1), 0);
	assert_int_not_equal(ftruncate(r.fd, 4096), 0);
	/* a successor goes on with the same one */
	assert_int_equal(region_open(&again, dup(r.fd)), 0);
	assert_int_equal(again.id, r.id);
	region_close(&again);
	region_close(&r);
	int fd = memfd_create("small", MFD_ALLOW_SEALING);

	assert_int_equal(region_open(&r, fd), -EBADMSG);
	fd = memfd_create("not-sealed", MFD_ALLOW_SEALING);
	assert_int_equal(ftruncate(fd, FN_REGION_B), 0);
	assert_int_equal(region_open(&r, fd), -EBADMSG);
}

/* A host that waits for its machine. */
struct meeting {
	struct loop loop;
	struct host *host;
	struct machine *machine;
	char path[64];
};

static struct machine *the_machine;

static int start(const char *name, void *spec, struct host_process *ret, char *why)
{
	return machine_start(the_machine, ret);
}

static void leave(const struct host_process *p)
{
}

static void free_spec(void *spec)
{
}

static const struct host_starter starter = { .start = start, .kill = leave, .free = free_spec };

static void meet(struct meeting *m)
{
	const struct keep_scope keep = { 0 };

	snprintf(m->path, sizeof(m->path), "/tmp/postern-test-machine-%d", (int)getpid());
	assert_int_equal(loop_init(&m->loop), 0);
	m->host = host_new("fn", &m->loop, &starter, 0);
	int fd = fd_listen(m->path, 0600);

	assert_int_equal(machine_open(m->host, &m->loop, fd, &keep, &m->machine), 0);
	the_machine = m->machine;
	host_start_later(m->host, m);
}

static void part(struct meeting *m)
{
	host_free(m->host);
	machine_close(m->machine, true);
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

	meet(&m);
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

	meet(&m);
	int first = fd_connect(m.path), second = fd_connect(m.path);

	turn(&m);
	assert_int_equal(recv(second, &byte, 1, MSG_DONTWAIT), 0);
	assert_int_equal(state_of(&m), HOST_STARTING);
	close(first);
	close(second);
	part(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(is_understood_in_whatever_pieces_it_comes),
		cmocka_unit_test(may_have_been_cut_off_before_it_is_ready),
		cmocka_unit_test(is_greeted_again_when_it_is_born),
		cmocka_unit_test(has_to_see_the_memory_that_we_see),
		cmocka_unit_test(cannot_hold_us_up_by_talking),
		cmocka_unit_test(is_looked_at_though_it_wakes_nobody),
		cmocka_unit_test(memory_has_a_place_of_its_own_for_each_lane),
		cmocka_unit_test(memory_cannot_be_taken_away),
		cmocka_unit_test(a_machine_comes_when_it_likes_and_again),
		cmocka_unit_test(a_second_machine_is_turned_away),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
