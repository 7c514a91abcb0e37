/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `function`: what a storage function that does nothing costs, without a front. This thread is
 * client and poller in one: it submits to a disk's lane and turns the poller by hand. The medium is
 * null or, with ram=BYTES, ram of so many, so that a read has data that the program has not seen.
 *   cpu= depth= ms= bs= write=0|1 touch=0|1 mode=none|transform|observe peer=CPU ram=BYTES
 *   replace=N machine=SOCKET
 * mode=none: no function, for comparison. With touch=1 it does something after all: it reads and
 * changes every byte of the data. With peer= the program is a process on that CPU; without, it
 * is turned by hand as well, so that each side's own time can be told, without the other's; and
 * with batches=N its instructions, counted by stepping through N turns that each find work. With
 * replace=N two programs on CPU peer= take over from each other N times, both started before: the
 * longest time in which nothing comes back around each change, and in as long a time before it.
 * With machine= the program is in a machine that connects there: a first line of JSON says with
 * which memory it is to be started, a second one that it is there, a third one is the answer.
 */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <postern/function.h>

#include "base/child.h"
#include "base/fd.h"
#include "base/hist.h"
#include "core/lane.h"
#include "function/remote/program.h"
#include "function/remote/region.h"
#include "media/null/null.h"
#include "media/ram/ram.h"
#include "tests/bench/tool.h"

#define DEPTH_MAX 128u
#define NULL_B GIB
#define WARM_NS (100 * NS_PER_MS)
/* A program is asleep after so long, and a change over after so much. */
#define CALM_NS (10 * NS_PER_MS)
#define CHANGE_NS (5 * NS_PER_MS)
#define REPLACE_MAX 1000u
#define ANSWER_NS (20 * NS_PER_S)
#define BOOT_NS (60 * NS_PER_S)
#define SILENCE_NS (30 * NS_PER_S)

struct rig {
	struct poller *poller;
	struct lane lane;
	struct media *media;
	struct media_lane *media_lane;
	struct function *function;
	struct program *program[2]; /* the second: to replace the first */
	struct channel *channel[2];
	struct pfn *pfn; /* turned by hand; NULL: elsewhere, or none */
	pid_t child[2];
	struct req_owner owner;
	struct req *back[DEPTH_MAX];
	unsigned nback, bs_b;
	bool touch;
	enum req_op op;
	uint64_t done, done_ever, disk_b, next_b;
	uint8_t *data;
	struct hist latency;
	uint64_t back_ticks, gap_ticks; /* the last ones back; the longest without any */
	uint64_t poller_ticks, program_ticks;
	volatile unsigned *side; /* shared with who counts: whose turn it is */
};

enum side { SIDE_NONE, SIDE_POLLER, SIDE_PROGRAM, SIDES };

static struct rig rig;

static void complete(struct req *const *reqs, unsigned n)
{
	uint64_t now = clock_ticks();

	for (unsigned i = 0; i < n; i++) {
		hist_add(&rig.latency, now - reqs[i]->taken_ticks, 1);
		rig.back[rig.nback++] = reqs[i];
	}
	rig.gap_ticks = max_u64(rig.gap_ticks, now - rig.back_ticks);
	rig.back_ticks = now;
	rig.done += n;
	rig.done_ever += n;
}

static void requests(struct pfn_disk *d, struct pfn_req **reqs, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if (rig.touch && reqs[i]->data)
			touch_data(reqs[i]->data, reqs[i]->len_b);
		pfn_pass(reqs[i]);
	}
}

static struct pfn_conf conf_of(bool observes)
{
	const uint32_t rw = PFN_SET(PFN_READ) | PFN_SET(PFN_WRITE);

	return (struct pfn_conf){ .abi = PFN_ABI, .size = sizeof(struct pfn_conf),
				  .name = "nothing",
				  .version = "1", .requests = requests,
				  .down = observes ? rw : PFN_SET(PFN_WRITE),
				  .up = observes ? 0 : PFN_SET(PFN_READ),
				  .with_data = observes ? 0 : rw };
}

static pid_t start_child(int sock, bool observes, unsigned cpu)
{
	pid_t pid = child_fork();
	struct pfn_conf conf = conf_of(observes);

	if (pid)
		return pid;
	dup2(sock, FN_SOCKET);
	pin_thread(cpu);
	_exit(pfn_main(&conf));
}

static void start_here(int sock, bool observes)
{
	static struct pfn_conf conf;

	conf = conf_of(observes);
	dup2(sock, FN_SOCKET);
	if (pfn_open(&conf, &rig.pfn))
		die("open the library", EINVAL);
}

/* Lets a program that is turned by hand read and answer what it is told. */
static void talk(void)
{
	for (unsigned i = 0; rig.pfn && i < 5000; i++)
		pfn_turn(rig.pfn);
}

static void greet(unsigned which, const struct host_process *process, uint64_t patience_ns)
{
	char why[HOST_WHY_MAX];

	rig.program[which] = program_new(process, NULL);
	talk();
	if (program_await_ready(rig.program[which], clock_ns() + patience_ns, why))
		die(why, EPROTO);
}

static void start_program(unsigned which, bool observes, int peer)
{
	struct host_process process = { .pidfd = -1 };
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair))
		die("make a socket", errno);
	process.sock = dup(pair[0]);
	if (peer >= 0)
		rig.child[which] = start_child(pair[1], observes, (unsigned)peer);
	else
		start_here(pair[1], observes);
	greet(which, &process, ANSWER_NS);
}

/* It connects as a guest's QEMU does, with the program in it. */
static void await_machine(const char *path)
{
	struct host_process process = { .pidfd = -1 };
	int listen_fd = fd_listen(path, 0600);
	struct pollfd w = { .fd = listen_fd, .events = POLLIN };

	if (listen_fd < 0 || region_open(-1, &process.region))
		die("make a socket and memory", EINVAL);
	printf("{\"memory_path\": \"/proc/%d/fd/%d\", \"memory_b\": %llu}\n", (int)getpid(),
	       process.region->fd, FN_REGION_B);
	fflush(stdout);
	if (poll(&w, 1, (int)(BOOT_NS / NS_PER_MS)) != 1)
		die("be connected to", ETIMEDOUT);
	process.sock = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	greet(0, &process, BOOT_NS);
}

static void open_lane(uint64_t ram_b)
{
	struct ram_conf ram = { .size_b = ram_b };
	int err = poller_open("bench", &rig.poller);

	rig.disk_b = ram_b ? ram_b : NULL_B;
	if (!err)
		err = ram_b ? ram_open(&ram, &rig.media) : null_open(false, &rig.media);
	if (!err)
		err = rig.media->ops->lane_open(rig.media, rig.poller, &rig.media_lane);
	if (!err)
		err = lane_init(&rig.lane, rig.poller, rig.media_lane, "bench");
	if (!err)
		err = slab_reserve(&rig.poller->slab, DEPTH_MAX);
	if (err)
		die("open a disk", err);
	rig.lane.size_b = rig.disk_b;
	rig.lane.blk_mask = 511;
}

/* Tells a program of the disk; @takes_over: of one that another has. */
static void offer(unsigned which, bool takes_over)
{
	char why[HOST_WHY_MAX];

	if (program_offer(rig.program[which], rig.lane.step[0].state, 0, takes_over,
			  &rig.channel[which]))
		die("offer the disk", ENOMEM);
	talk();
	if (program_await_channels(rig.program[which], clock_ns() + ANSWER_NS, why))
		die(why, EPROTO);
}

static void add_function(bool observes)
{
	struct remote_conf conf = { .mode = observes ? FN_OBSERVE : FN_TRANSFORM };

	if (remote_open(&conf, &rig.function) || lane_add_function(&rig.lane, rig.function))
		die("open the function", ENOMEM);
	lane_start(&rig.lane);
	offer(0, false);
	remote_gain(rig.lane.step[0].state, rig.channel[0]);
}

static void submit(struct req **reqs, unsigned n)
{
	uint64_t now = poller_tick(rig.poller);

	for (unsigned i = 0; i < n; i++) {
		struct req *r = reqs[i];

		req_init(r, 1, 0);
		r->lane = &rig.lane;
		r->op = (uint8_t)rig.op;
		r->off_b = rig.next_b;
		r->len_b = rig.bs_b;
		r->seg = r->inl;
		r->seg[0] = (struct seg){ rig.data + r->front[0] * rig.bs_b, rig.bs_b, NULL };
		r->taken_ticks = now;
		r->owner = &rig.owner;
		list_add_tail(&rig.lane.inflight, &r->link);
		rig.next_b = (rig.next_b + rig.bs_b) % rig.disk_b;
	}
	chain_submit(&rig.lane, reqs, n);
}

/* What has come back goes again, as a front's batch; then both sides have a turn. */
static void turn(void)
{
	struct req *now[POLLER_BATCH];
	uint64_t t0 = clock_ticks(), t1;
	unsigned n = min_u32(rig.nback, POLLER_BATCH);

	rig.nback -= n;
	memcpy(now, rig.back + rig.nback, n * sizeof(*now));
	*rig.side = SIDE_POLLER;
	if (n)
		submit(now, n);
	poller_turn(rig.poller);
	*rig.side = SIDE_PROGRAM;
	t1 = clock_ticks();
	rig.poller_ticks += t1 - t0;
	if (!rig.pfn)
		return;
	pfn_turn(rig.pfn);
	*rig.side = SIDE_NONE;
	rig.program_ticks += clock_ticks() - t1;
}

static void run(unsigned depth, uint64_t run_ns)
{
	uint64_t end = clock_ticks() + clock_ns_to_ticks(clock_scale(), run_ns);
	uint64_t patience = end + clock_ns_to_ticks(clock_scale(), SILENCE_NS);

	rig.done = rig.poller_ticks = rig.program_ticks = rig.gap_ticks = 0;
	rig.back_ticks = clock_ticks();
	memset(&rig.latency, 0, sizeof(rig.latency));
	/* at least one, however long this thread had to wait for its processor */
	do
		turn();
	while (clock_ticks() < end);
	while (rig.nback < depth && clock_ticks() < patience)
		turn();
	if (rig.nback < depth)
		die("have all back", ETIMEDOUT);
}

/* The child is stepped from one stop to the next. */
static void count_child(pid_t pid, uint64_t ret_n[SIDES])
{
	int status;

	for (;;) {
		if (ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) ||
		    waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
			die("step the child", errno);
		if (WSTOPSIG(status) != SIGTRAP)
			return;
		ret_n[*rig.side < SIDES ? *rig.side : 0]++;
	}
}

/* Instructions a request of both sides, over @turns turns of a child that each find @depth of
 * them. */
static void count(unsigned turns, double ret[SIDES])
{
	uint64_t n[SIDES] = { 0 };
	int status;
	pid_t pid = fork();

	if (!pid) {
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		rig.done = 0;
		for (unsigned i = 0; i < turns; i++)
			turn();
		rig.side[1] = (unsigned)rig.done;
		raise(SIGSTOP);
		_exit(0);
	}
	if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
		die("start the child", ECHILD);
	count_child(pid, n);
	kill(pid, SIGKILL);
	for (unsigned i = 0; i < SIDES; i++)
		ret[i] = rig.side[1] ? (double)n[i] / rig.side[1] : 0;
}

static double ns_of(uint64_t ticks)
{
	return (double)clock_ticks_to_ns(clock_scale(), ticks);
}

static void report(uint64_t run_ns, unsigned batches)
{
	const struct hist *h = &rig.latency;
	double done = (double)max_u64(rig.done, 1), n[SIDES] = { 0 };

	if (batches)
		count(batches, n);
	printf("{\"iops\": %.0f, \"requests\": %lu, \"p50\": %.0f, \"p99\": %.0f, "
	       "\"poller_ns\": %.1f, \"program_ns\": %.1f, \"poller_instructions\": %.1f, "
	       "\"program_instructions\": %.1f}\n",
	       (double)rig.done * 1e9 / (double)run_ns, rig.done_ever,
	       ns_of(hist_quantile(h, 50, 100)), ns_of(hist_quantile(h, 99, 100)),
	       ns_of(rig.poller_ticks) / done, ns_of(rig.program_ticks) / done, n[SIDE_POLLER],
	       n[SIDE_PROGRAM]);
	fflush(stdout);
}

/* The one that serves, then the other, and so on. */
static void replace(unsigned depth, unsigned times)
{
	double pause[REPLACE_MAX], before[REPLACE_MAX];

	for (unsigned i = 0; i < times; i++) {
		unsigned now = i & 1, next = !now;
		struct handover h = { .lanes = 1 };

		offer(next, true);
		run(depth, CALM_NS); /* and the next one sleeps */
		run(depth, CHANGE_NS);
		before[i] = ns_of(rig.gap_ticks);
		remote_hand_over(rig.lane.step[0].state, &h, rig.channel[next]);
		run(depth, CHANGE_NS);
		pause[i] = ns_of(rig.gap_ticks);
		if (!h.joined)
			die("the next program does not take over", ETIMEDOUT);
		program_withdraw(rig.program[now], rig.channel[now]);
		buffers_sweep(rig.lane.step[0].state);
	}
	double mid = median(pause, times), calm = median(before, times); /* which sort */

	printf("{\"pause_ns\": %.0f, \"pause_max_ns\": %.0f, \"before_ns\": %.0f, "
	       "\"before_max_ns\": %.0f}\n", mid, pause[times - 1], calm, before[times - 1]);
	fflush(stdout);
}

int tool_function(char **args)
{
	const char *mode = arg_text(args, "mode", "transform");
	bool with = strcmp(mode, "none"), observes = !strcmp(mode, "observe");
	unsigned depth = (unsigned)min_u64(max_u64(arg_num(args, "depth", 1), 1), DEPTH_MAX);
	uint64_t run_ns = arg_num(args, "ms", 500) * NS_PER_MS;
	const char *peer = arg_text(args, "peer", NULL);
	const char *machine = arg_text(args, "machine", NULL);
	unsigned times = (unsigned)min_u64(arg_num(args, "replace", 0), REPLACE_MAX);

	pin_thread((unsigned)arg_num(args, "cpu", 0));
	rig.bs_b = (unsigned)min_u64(arg_num(args, "bs", 4096), 64 * KIB);
	rig.op = arg_num(args, "write", 0) ? REQ_WRITE : REQ_READ;
	rig.touch = arg_num(args, "touch", 0);
	rig.owner.complete = complete;
	rig.side = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (machine)
		await_machine(machine);
	else if (with)
		start_program(0, observes, peer ? atoi(peer) : -1);
	if (times)
		start_program(1, observes, atoi(peer));
	open_lane(align_down(arg_num(args, "ram", 0), rig.bs_b));
	if (with)
		add_function(observes);
	rig.data = mmap(NULL, DEPTH_MAX * rig.bs_b, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (rig.data == MAP_FAILED || rig.side == MAP_FAILED)
		die("have memory", ENOMEM);
	rig.nback = slab_get_many(&rig.poller->slab, rig.back, depth);
	for (unsigned i = 0; i < depth; i++)
		rig.back[i]->front[0] = i;
	if (machine) /* what it has taken to come here is not the requests' */
		puts("{\"ready\": true}");
	fflush(stdout);
	run(depth, WARM_NS);
	if (times) {
		replace(depth, times);
	} else {
		run(depth, run_ns);
		report(run_ns, peer ? 0 : (unsigned)arg_num(args, "batches", 0));
	}
	for (unsigned i = 0; i < 2; i++)
		if (rig.child[i])
			kill(rig.child[i], SIGKILL);
	return 0;
}
