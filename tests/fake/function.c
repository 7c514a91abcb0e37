/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A storage function for tests and measurements, in one program:
 *   fake-function [WORD] [version=TEXT] [key=N] [fail=N] [how=exit|crash|stall|keep]
 * nothing: passes all on; xor: changes data with a key, both ways; watch: metadata alone; memory:
 * serves from its own memory; scribble: goes on writing into a disk's buffers when that has been
 * taken from it; through: makes each request again as I/O of its own; lossy: forgets a byte of what
 * is written; slow: takes 20 ms for each request of its trial; refuse: wants no disk; later: speaks
 * a version of the interface that is not yet; early: ends before it is asked anything; probe PATH:
 * tries what a jail forbids, and says on standard error what came of it. With the request numbered
 * fail= (after the trial) it ends, crashes, or answers no more; keep: it answers all but that one.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <postern/function.h>

#include "wire/function.h"

#define MEMORY_B (64ull << 20)

struct args {
	const char *kind, *path, *version, *how;
	unsigned key;
	unsigned long fail, seen;
	unsigned char *memory;
};

static struct args args = { .kind = NULL, .version = "1", .how = "exit", .key = 0x5a };

/* Return: whether the request is to be answered; if this returns. */
static bool fail_if_told(const struct pfn_disk *d)
{
	if (d->test || !args.fail || ++args.seen < args.fail)
		return true;
	if (!strcmp(args.how, "keep"))
		return args.seen > args.fail;
	if (!strcmp(args.how, "stall"))
		for (;;)
			pause();
	if (!strcmp(args.how, "crash"))
		raise(SIGSEGV);
	_exit(3);
}

static void nothing(struct pfn_disk *d, struct pfn_req **reqs, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if (fail_if_told(d))
			pfn_pass(reqs[i]);
	}
}

static void xor(struct pfn_disk *d, struct pfn_req **reqs, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		unsigned char *data = reqs[i]->data;

		for (unsigned b = 0; data && b < reqs[i]->len_b; b++)
			data[b] ^= (unsigned char)args.key;
		if (fail_if_told(d))
			pfn_pass(reqs[i]);
	}
}

static enum pfn_status serve_one(struct pfn_req *r)
{
	if (r->off_b > MEMORY_B || r->len_b > MEMORY_B - r->off_b)
		return PFN_RANGE;
	if (r->op == PFN_READ)
		memcpy(r->data, args.memory + r->off_b, r->len_b);
	else if (r->op == PFN_WRITE)
		memcpy(args.memory + r->off_b, r->data, r->len_b);
	return PFN_OK;
}

static void memory(struct pfn_disk *d, struct pfn_req **reqs, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		fail_if_told(d);
		pfn_done(reqs[i], serve_one(reqs[i]));
	}
}

/* What a disk's requests had; mapped once more, which the library knows nothing of. */
static struct {
	unsigned char *at[8];
	unsigned n;
	bool is_over;
} stolen;

static void keep_buffer(unsigned char *data)
{
	unsigned char *at = mremap(data, 0, 4096, MREMAP_MAYMOVE); /* 0: a second mapping */

	if (at != MAP_FAILED)
		stolen.at[stolen.n++] = at;
}

static void steal(struct pfn_disk *d, struct pfn_req **reqs, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if (!d->test && reqs[i]->data && stolen.n < sizeof(stolen.at) / sizeof(*stolen.at))
			keep_buffer(reqs[i]->data);
		pfn_pass(reqs[i]);
	}
}

static void stolen_from(struct pfn_disk *d)
{
	if (d->test)
		return;
	fprintf(stderr, "fake: scribbles into %u buffers\n", stolen.n);
	stolen.is_over = true;
}

static int scribble(const struct pfn_conf *conf)
{
	struct pfn *p;

	if (pfn_open(conf, &p))
		return 1;
	while (pfn_turn(p) >= 0)
		for (unsigned i = 0; stolen.is_over && i < stolen.n; i++)
			memset(stolen.at[i], 0xee, 4096);
	pfn_close(p);
	return 0;
}

static void io_done(struct pfn_io *io)
{
	struct pfn_req *r = io->user;

	if (io->status != PFN_GONE)
		pfn_done(r, io->status);
	free(io);
}

static void through(struct pfn_disk *d, struct pfn_req **reqs, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct pfn_req *r = reqs[i];
		struct pfn_io *io = calloc(1, sizeof(*io));

		fail_if_told(d);
		*io = (struct pfn_io){ .disk = d, .off_b = r->off_b, .len_b = r->len_b,
				       .op = r->op, .flags = r->flags & (PFN_FUA | PFN_UNMAP),
				       .data = r->data, .done = io_done, .user = r };
		if (pfn_io_submit(io)) { /* too many at once: without the detour */
			free(io);
			pfn_pass(r);
		}
	}
}

static void lossy(struct pfn_disk *d, struct pfn_req **reqs, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		unsigned char *data = reqs[i]->data;

		if (data && reqs[i]->op == PFN_WRITE)
			data[reqs[i]->len_b - 1] ^= 1;
		pfn_pass(reqs[i]);
	}
}

static void slow(struct pfn_disk *d, struct pfn_req **reqs, unsigned n)
{
	if (d->test)
		usleep(20000);
	nothing(d, reqs, n);
}

static int refuse(struct pfn_disk *d)
{
	return d->test ? 0 : -EACCES;
}

static void resized(struct pfn_disk *d)
{
	fprintf(stderr, "fake: %s has %llu bytes now\n", d->name, (unsigned long long)d->size_b);
}

static int later(void)
{
	struct fn_msg m;

	if (recv(FN_SOCKET, &m, sizeof(m), 0) != sizeof(m))
		return 3;
	m.kind = htole16(FN_READY);
	m.abi = htole16(FN_ABI_NEWEST + 7);
	return send(FN_SOCKET, &m, sizeof(m), 0) != sizeof(m);
}

static void *thread(void *arg)
{
	return arg;
}

static void say(const char *what, int may)
{
	fprintf(stderr, "probe: %s %s\n", may ? "may" : "may not", what);
}

static void probe(const char *path)
{
	char text[32] = "";
	char *argv[] = { (char *)"/bin/true", NULL };
	pthread_t id;
	pid_t child;

	say("read a file", open(path, O_RDONLY) >= 0);
	say("make a file", open("/tmp/postern-probe", O_CREAT | O_WRONLY, 0600) >= 0);
	say("make a socket", socket(AF_INET, SOCK_STREAM, 0) >= 0);
	child = fork();
	if (!child)
		_exit(0);
	say("start a process", child > 0);
	say("start a thread", !pthread_create(&id, NULL, thread, NULL));
	execv(argv[0], argv);
	say("start a program", 0);
	say("signal the keeper", !kill(getppid(), 0));
	say("trace the keeper", !ptrace(PTRACE_SEIZE, getppid(), 0, 0));
	say("make a ring", syscall(SYS_io_uring_setup, 1, NULL) >= 0 || errno != EPERM);
	say("take 300 MiB", mmap(NULL, 300u << 20, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
	/* descriptors: 4 is of file=, 5 of read= */
	if (read(5, text, sizeof(text) - 1) > 0)
		fprintf(stderr, "probe: given to read: %s\n", text);
	if (write(4, "hello", 5) != 5)
		fprintf(stderr, "probe: cannot write what it was given\n");
}

static void parse(const char *arg)
{
	const char *value = strchr(arg, '=');

	if (!value && !args.kind)
		args.kind = arg;
	else if (!value)
		args.path = arg;
	else if (!strncmp(arg, "version=", 8))
		args.version = value + 1;
	else if (!strncmp(arg, "key=", 4))
		args.key = (unsigned)atoi(value + 1);
	else if (!strncmp(arg, "fail=", 5))
		args.fail = strtoul(value + 1, NULL, 10);
	else if (!strncmp(arg, "how=", 4))
		args.how = value + 1;
}

int main(int argc, char **argv)
{
	const unsigned data = PFN_SET(PFN_READ) | PFN_SET(PFN_WRITE);
	struct pfn_conf conf = { .abi = PFN_ABI, .size = sizeof(conf), .name = "fake",
				 .down = PFN_SET(PFN_WRITE), .up = PFN_SET(PFN_READ),
				 .with_data = data, .requests = nothing, .resized = resized };

	for (int i = 1; i < argc; i++)
		parse(argv[i]);
	conf.version = args.version;
	if (!args.kind)
		args.kind = "nothing";
	if (!strcmp(args.kind, "xor"))
		conf.requests = xor;
	if (!strcmp(args.kind, "watch")) {
		conf.down = PFN_SET_ALL;
		conf.up = conf.with_data = 0;
	}
	if (!strcmp(args.kind, "memory")) {
		conf.requests = memory;
		conf.down = PFN_SET_ALL;
		args.memory = calloc(1, MEMORY_B);
	}
	if (!strcmp(args.kind, "through")) {
		conf.requests = through;
		conf.down = PFN_SET_ALL;
		conf.up = 0;
		conf.own_io = 1;
	}
	if (!strcmp(args.kind, "scribble")) {
		conf.requests = steal;
		conf.gone = stolen_from;
		return scribble(&conf);
	}
	if (!strcmp(args.kind, "lossy"))
		conf.requests = lossy;
	if (!strcmp(args.kind, "slow"))
		conf.requests = slow;
	if (!strcmp(args.kind, "refuse"))
		conf.open = refuse;
	if (!strcmp(args.kind, "later"))
		return later();
	if (!strcmp(args.kind, "early"))
		return 3;
	if (!strcmp(args.kind, "probe"))
		probe(args.path);
	return pfn_main(&conf);
}
