/* SPDX-License-Identifier: Apache-2.0 */
/* A function's program under load from pollers with threads, started, killed and replaced by
 * control, while lanes come and go, and another function joins and leaves the chain. For the race
 * detector as much as for itself. */
#include "bed.h"

#include <libgen.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "function/remote/host.h"
#include "media/null/null.h"

#define POLLERS 2
#define DEPTH 8

static char fake[PATH_MAX];

/* Programs: the spec is the word after the program's name. */
static int start(const char *name, void *spec, struct host_process *ret, char *why)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -errno;
	pid_t pid = fork();

	if (!pid) {
		dup2(pair[1], FN_SOCKET);
		execl(fake, fake, "xor", (const char *)spec, (char *)NULL);
		_exit(127);
	}
	close(pair[1]);
	*ret = (struct host_process){ .pid = pid, .sock = pair[0], .pidfd = pidfd_open(pid, 0) };
	return 0;
}

static void end(void *spec, const struct host_process *p)
{
	kill(p->pid, SIGKILL);
}

static void forget(void *spec)
{
}

static const struct host_starter starter = { .start = start, .kill = end, .free = forget };

/* A queue of its own on each poller: what comes back goes again, until it is told to stop. */
struct load {
	struct mail mail;
	struct lane *lane;
	struct req_owner owner;
	struct req *back[DEPTH];
	unsigned nback;
	uint64_t done, failed; /* relaxed atomics */
	uint64_t rounds;       /* how often all go */
	bool stop;	       /* relaxed atomic */
	sem_t stopped;
	uint8_t data[DEPTH][4096];
};

static struct load load[POLLERS + 1]; /* the last one's lane comes and goes */

static void go_again(struct mail *m)
{
	struct load *l = container_of(m, struct load, mail);
	struct req *now[DEPTH];
	unsigned n = l->nback;

	if (!l->rounds || __atomic_load_n(&l->stop, __ATOMIC_RELAXED)) {
		if (n == DEPTH)
			sem_post(&l->stopped);
		return;
	}
	if (!l->lane->batch) { /* as a queue of a lane that takes nothing */
		poller_post(l->lane->poller, m);
		return;
	}
	memcpy(now, l->back, n * sizeof(*now));
	l->nback = 0;
	l->rounds--;
	poller_tick(l->lane->poller);
	for (unsigned i = 0; i < n; i++) {
		struct req *r = now[i];

		req_init(r, 1, 0);
		r->op = i & 1 ? REQ_READ : REQ_WRITE;
		r->lane = l->lane;
		r->off_b = i * 4096;
		r->len_b = 4096;
		r->seg = r->inl;
		r->seg[0] = (struct seg){ l->data[r->front[1]], 4096, NULL };
		r->taken_ticks = l->lane->poller->now_ticks;
		r->owner = &l->owner;
	}
	disk_submit(l->lane, now, n);
}

static void complete(struct req *const *reqs, unsigned n)
{
	struct load *l = (struct load *)(uintptr_t)reqs[0]->front[0];

	for (unsigned i = 0; i < n; i++) {
		stat_add(&l->failed, reqs[i]->status != REQ_OK);
		l->back[l->nback++] = reqs[i];
	}
	stat_add(&l->done, n);
	/* the mail is out at most once: only what all has come back posts it */
	if (l->nback == DEPTH)
		poller_post(l->lane->poller, &l->mail);
}

static void begin(void *arg)
{
	struct load *l = arg;

	assert_int_equal(slab_reserve(&l->lane->poller->slab, DEPTH), 0);
	l->nback = slab_get_many(&l->lane->poller->slab, l->back, DEPTH);
	for (unsigned i = 0; i < DEPTH; i++) {
		l->back[i]->front[0] = (uintptr_t)l;
		l->back[i]->front[1] = i;
	}
	go_again(&l->mail);
}

static void finish(void *arg)
{
	struct load *l = arg;

	slab_put_many(&l->lane->poller->slab, l->back, DEPTH);
	slab_unreserve(&l->lane->poller->slab, DEPTH);
}

struct scene {
	struct loop loop;
	struct host *host;
	struct poller *poller[POLLERS + 1];
	struct disk *disk;
	struct function *chain[2]; /* the second comes and goes */
	bool over, left; /* relaxed atomics */
};

static uint64_t done_in_all(void)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < POLLERS; i++)
		n += stat_get(&load[i].done);
	return n;
}

/* Lets control look after its programs until @n more requests are done. */
static void go_on(struct scene *s, uint64_t n)
{
	uint64_t until = done_in_all() + n, end_ns = clock_ns() + BED_LIMIT_NS;

	while (done_in_all() < until) {
		loop_turn(&s->loop, 1);
		assert_true(clock_ns() < end_ns);
	}
}

/* Until the program is there, and is not @killed: a chain changes when what is in flight has
 * ended. */
static void await_program(struct scene *s, pid_t killed)
{
	struct host_info info;

	do {
		loop_turn(&s->loop, 1);
		host_info(s->host, &info);
	} while (info.state != HOST_UP || info.process.pid == killed);
}

static void start_load(struct scene *s, unsigned i, uint64_t rounds)
{
	struct load *l = &load[i];

	*l = (struct load){ .mail.run = go_again, .owner.complete = complete, .rounds = rounds };
	sem_init(&l->stopped, 0, 0);
	assert_int_equal(disk_lane_get(s->disk, s->poller[i], &l->lane), 0);
	poller_call(s->poller[i], begin, l);
}

static void end_load(struct scene *s, unsigned i)
{
	struct load *l = &load[i];

	poller_wait(s->poller[i], &l->stopped, NEVER_NS);
	assert_int_equal(l->failed, 0);
	poller_call(s->poller[i], finish, l);
	disk_lane_put(s->disk, l->lane);
	sem_destroy(&l->stopped);
}

/* As a front's thread does: a lane on the third poller comes, is used, and goes. */
static void *come_and_go(void *arg)
{
	struct scene *s = arg;

	while (!__atomic_load_n(&s->over, __ATOMIC_RELAXED)) {
		start_load(s, POLLERS, 1);
		end_load(s, POLLERS);
	}
	__atomic_store_n(&s->left, true, __ATOMIC_RELAXED);
	return NULL;
}

static struct function *open_function(struct scene *s)
{
	struct remote_conf conf = { .host = s->host };
	struct function *f;

	assert_int_equal(remote_open(&conf, &f), 0);
	return f;
}

/* What is in flight has a second to end, too. */
static void set_chain(struct scene *s)
{
	struct disk_error e;
	int err;

	while ((err = disk_set_chain(s->disk, s->chain, s->chain[1] ? 2 : 1, &e)) == -EBUSY)
		loop_turn(&s->loop, 1);
	assert_int_equal(err, 0);
}

static void open_disk(struct scene *s)
{
	struct media *m;
	struct disk_error e;

	s->chain[0] = open_function(s);
	assert_int_equal(null_open(false, &m), 0);
	struct disk_conf c = { .name = "disk", .media = m, .function = s->chain, .nfunction = 1,
			       .size_b = MIB };

	assert_int_equal(disk_open(&c, &s->disk, &e), 0);
}

/* A program has two seconds to come up, which are too few on a busy machine. */
static void start_program(struct scene *s, const char *version)
{
	char why[HOST_WHY_MAX];
	int err;

	do
		err = host_start(s->host, (void *)(uintptr_t)version, why);
	while (err == -ETIMEDOUT);
	if (err)
		fail_msg("%s", why);
}

static void replace_program(struct scene *s, const char *version)
{
	char why[HOST_WHY_MAX];
	int err;

	do
		err = host_replace(s->host, (void *)(uintptr_t)version, NS_PER_MS, why);
	while (err == -ETIMEDOUT);
	if (err)
		fail_msg("%s", why);
}

static void open_scene(struct scene *s, const char *version)
{
	assert_int_equal(loop_init(&s->loop), 0);
	s->host = host_new("f", &s->loop, &starter, 0);
	start_program(s, version);
	open_disk(s);
	for (unsigned i = 0; i <= POLLERS; i++) {
		assert_int_equal(poller_open("p", &s->poller[i]), 0);
		assert_int_equal(poller_start(s->poller[i], NULL), 0);
	}
}

static void close_scene(struct scene *s)
{
	disk_close(s->disk);
	host_free(s->host);
	for (unsigned i = 0; i <= POLLERS; i++)
		poller_close(s->poller[i]);
	loop_fini(&s->loop);
	while (waitpid(-1, NULL, 0) > 0)
		;
}

static void serves_while_its_program_is_killed_and_replaced(void **state)
{
	static const char *const version[] = { "version=1", "version=2", "version=3" };
	struct scene s = { 0 };
	struct host_info info;
	pthread_t other;
	pid_t killed = 0;

	open_scene(&s, version[0]);
	for (unsigned i = 0; i < POLLERS; i++)
		start_load(&s, i, UINT64_MAX);
	assert_int_equal(pthread_create(&other, NULL, come_and_go, &s), 0);
	for (unsigned i = 0; i < 6; i++) {
		go_on(&s, 200);
		await_program(&s, killed);
		s.chain[1] = i & 1 ? NULL : open_function(&s);
		set_chain(&s);
		go_on(&s, 200);
		host_info(s.host, &info);
		if (i & 1)
			kill(killed = info.process.pid, SIGKILL);
		else
			replace_program(&s, version[i / 2]);
	}
	go_on(&s, 200);
	await_program(&s, killed);
	__atomic_store_n(&s.over, true, __ATOMIC_RELAXED);
	while (!__atomic_load_n(&s.left, __ATOMIC_RELAXED))
		loop_turn(&s.loop, 1);
	pthread_join(other, NULL);
	for (unsigned i = 0; i < POLLERS; i++) {
		__atomic_store_n(&load[i].stop, true, __ATOMIC_RELAXED);
		end_load(&s, i);
	}
	host_info(s.host, &info);
	assert_true(info.restarts >= 2);
	close_scene(&s);
}

/* The old program ends nothing any more: what one lane has out goes to the new one, and another,
 * which had nothing, has it as well. */
static void replaces_a_program_that_is_late_on_one_lane(void **state)
{
	struct scene s = { 0 };
	struct host_info info;
	struct lane *idle;

	open_scene(&s, "version=1");
	assert_int_equal(disk_lane_get(s.disk, s.poller[0], &idle), 0);
	start_load(&s, 1, UINT64_MAX);
	go_on(&s, 200);
	host_info(s.host, &info);
	pid_t old = info.process.pid;
	kill(old, SIGSTOP);
	replace_program(&s, "version=2");
	await_program(&s, old);
	go_on(&s, 200);
	start_load(&s, 0, 50);
	end_load(&s, 0);
	assert_int_equal(stat_get(&load[0].done), 50 * DEPTH);
	__atomic_store_n(&load[1].stop, true, __ATOMIC_RELAXED);
	end_load(&s, 1);
	host_info(s.host, &info);
	assert_int_equal(info.state, HOST_UP);
	disk_lane_put(s.disk, idle);
	close_scene(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(serves_while_its_program_is_killed_and_replaced),
		cmocka_unit_test(replaces_a_program_that_is_late_on_one_lane),
	};
	char self[PATH_MAX] = "";

	log_set_level(LOG_ERROR);
	if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
		return 1;
	snprintf(fake, sizeof(fake), "%.4000s/../fake/fake-function", dirname(self));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
