/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `step`: instructions per request of a thread of the target, counted by stepping it one by one,
 * for machines whose counters are not to be had. This thread is tracer and client in one: it
 * looks at the ring after every instruction and refills it at once, so that every turn of the
 * target finds @depth requests, and a batch is counted from publish to publish. User mode only;
 * system calls are counted beside it.
 *   socket= tid= depth= batches= packed=0|1 event_idx=0|1 inflight=0|1 log=0|1 profile=FILE
 * With profile= the address of each instruction counted goes into a file, for tests/bench/where.
 */
#include <signal.h>
#include <stdio.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/client.h"
#include "tests/bench/tool.h"

#define LIMIT_S 120
#define SYSCALL_INSTRUCTION 0x050fu /* x86-64: 0f 05 */
#define RIP_OFFSET (16 * 8) /* of rip in struct user_regs_struct */

struct stepper {
	pid_t tid;
	struct client_queue *q;
	unsigned depth;
	uint64_t instructions, syscalls;
	FILE *profile; /* NULL: not now */
};

static void await_stop(struct stepper *s)
{
	int status;

	if (waitpid(s->tid, &status, __WALL) != s->tid || !WIFSTOPPED(status))
		die("the target's thread went away", ECHILD);
}

static void step(struct stepper *s)
{
	errno = 0;
	long rip = ptrace(PTRACE_PEEKUSER, s->tid, RIP_OFFSET, NULL);
	long code = ptrace(PTRACE_PEEKTEXT, s->tid, rip, NULL);

	if (errno)
		die("read the target's thread", errno);
	if (s->profile)
		fprintf(s->profile, "%lx\n", (unsigned long)rip);
	s->syscalls += ((unsigned long)code & 0xffff) == SYSCALL_INSTRUCTION;
	if (ptrace(PTRACE_SINGLESTEP, s->tid, NULL, NULL))
		die("step the target's thread", errno);
	await_stop(s);
	s->instructions++;
}

static void submit(struct stepper *s, unsigned slot)
{
	client_prep(s->q, slot, VIRTIO_BLK_T_IN, slot * 8ull, 4096);
	client_put(s->q, slot);
}

/* Steps until all @depth requests came back, and sends them off again. */
static void run_batch(struct stepper *s)
{
	uint16_t slots[256];
	unsigned n = 0;

	while (n < s->depth) {
		step(s);
		unsigned got = client_reap(s->q, slots + n, s->depth - n);

		n += got;
		if (s->q->broken)
			die("the ring", EPROTO);
	}
	for (unsigned i = 0; i < n; i++)
		submit(s, slots[i]);
	client_publish(s->q);
}

static void attach(struct stepper *s)
{
	if (ptrace(PTRACE_SEIZE, s->tid, NULL, NULL) ||
	    ptrace(PTRACE_INTERRUPT, s->tid, NULL, NULL))
		die("trace the target's thread", errno);
	await_stop(s);
}

static FILE *open_profile(char **args)
{
	const char *path = arg_text(args, "profile", NULL);
	FILE *f = path ? fopen(path, "w") : NULL;

	if (path && !f)
		die(path, errno);
	return f;
}

int tool_step(char **args)
{
	struct stepper s = { .tid = (pid_t)arg_num(args, "tid", 0),
			     .depth = (unsigned)min_u64(arg_num(args, "depth", 32), 256) };
	struct client_conf conf = { .socket = arg_text(args, "socket", ""),
				    .depth = (uint16_t)s.depth,
				    .packed = arg_num(args, "packed", 0),
				    .no_event_idx = !arg_num(args, "event_idx", 1),
				    .no_inflight = !arg_num(args, "inflight", 1),
				    .log = arg_num(args, "log", 0) };
	unsigned batches = (unsigned)arg_num(args, "batches", 20);
	const char *at;
	struct client *c;
	int rc = client_open(&conf, &c, &at);

	if (rc)
		die(at, rc);
	alarm(LIMIT_S); /* the target goes on by itself when its tracer ends */
	s.q = client_queue(c, 0);
	attach(&s);
	for (unsigned i = 0; i < s.depth; i++)
		submit(&s, i);
	client_publish(s.q);
	for (unsigned i = 0; i < 3; i++) /* wake up, first touches */
		run_batch(&s);
	s.instructions = s.syscalls = 0;
	s.profile = open_profile(args);
	for (unsigned i = 0; i < batches; i++)
		run_batch(&s);
	ptrace(PTRACE_DETACH, s.tid, NULL, NULL);
	if (s.profile)
		fclose(s.profile);
	printf("{\"instructions\": %.1f, \"syscalls\": %.4f}\n",
	       (double)s.instructions / batches / s.depth, (double)s.syscalls / batches / s.depth);
	fflush(stdout);
	client_close(c);
	return 0;
}
