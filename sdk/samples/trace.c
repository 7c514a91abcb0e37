/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trace: records what a guest does with its disk, for replay by fio.
 *
 *	postern function add t1 run=/usr/local/libexec/postern/trace file=web.log
 *	postern disk create web ... function=remote,name=t1,mode=observe
 *	fio --name=again --read_iolog=web.log --replay_redirect=copy.img --ioengine=io_uring
 *
 * The file is fio's iolog, version 3: one request a line, with its time in microseconds since the
 * program began. An observer: the guest never waits for it, and what it cannot keep up with is left
 * out (`function show` counts). One that is killed loses the last second; the next one goes on
 * behind it.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <postern/function.h>

#define LOG_FD 4
#define FLUSH_NS 1000000000ull /* what is written may be read this much later */
#define DISKS_MAX 64

static FILE *log_file;
static char known[DISKS_MAX][65];
static unsigned nknown;
static uint64_t start_ns, flushed_ns;

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static const char *action(const struct pfn_req *r)
{
	switch (r->op) {
	case PFN_READ:
		return "read";
	case PFN_FLUSH:
		return "sync";
	case PFN_DISCARD:
		return "trim";
	default: /* fio has no word for zeroes: they are written */
		return "write";
	}
}

static void requests(struct pfn_disk *d, struct pfn_req **reqs, unsigned n)
{
	uint64_t now = now_ns(), us = (now - start_ns) / 1000;

	for (unsigned i = 0; i < n; i++) {
		const struct pfn_req *r = reqs[i];

		if (!d->test)
			fprintf(log_file, "%" PRIu64 " %s %s %" PRIu64 " %u\n", us, d->name,
				action(r), r->off_b, r->len_b);
		pfn_pass(reqs[i]);
	}
	if (now - flushed_ns > FLUSH_NS) {
		fflush(log_file);
		flushed_ns = now;
	}
}

/* Disks come once for each lane, and again with each guest; the log names each once, and never says
 * that one is closed: fio does not open it again. */
static bool is_new(const char *name)
{
	for (unsigned i = 0; i < nknown; i++)
		if (!strcmp(known[i], name))
			return false;
	if (nknown < DISKS_MAX)
		snprintf(known[nknown++], sizeof(known[0]), "%s", name);
	return true;
}

static int opened(struct pfn_disk *d)
{
	if (!d->test && is_new(d->name)) {
		fprintf(log_file, "%" PRIu64 " %s add\n%" PRIu64 " %s open\n", (uint64_t)0, d->name,
			(uint64_t)0, d->name);
		fflush(log_file);
	}
	return 0;
}

static void gone(struct pfn_disk *d)
{
	fflush(log_file);
}

/* The program before may have been killed when it had written half a line, the last of @size_b. */
static int cut_half_line(off_t size_b)
{
	char tail[256]; /* a line is shorter */
	off_t from = size_b > (off_t)sizeof(tail) ? size_b - (off_t)sizeof(tail) : 0;
	ssize_t n = pread(LOG_FD, tail, sizeof(tail), from);

	while (n > 0 && tail[n - 1] != '\n')
		n--;
	return n < 0 ? -1 : ftruncate(LOG_FD, from + n);
}

int main(void)
{
	struct pfn_conf conf = { .abi = PFN_ABI, .size = sizeof(conf), .name = "trace",
				 .version = "1",
				 .down = PFN_SET_ALL, .requests = requests, .open = opened,
				 .gone = gone };
	struct stat st;

	log_file = fdopen(LOG_FD, "a");
	if (!log_file || fstat(LOG_FD, &st) || (st.st_size && cut_half_line(st.st_size))) {
		fprintf(stderr, "trace: where to? Give it a file: `function add NAME run=... file=LOG`\n");
		return 1;
	}
	start_ns = now_ns();
	if (!st.st_size)
		fprintf(log_file, "fio version 3 iolog\n");
	return pfn_main(&conf);
}
