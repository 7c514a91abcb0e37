/* SPDX-License-Identifier: Apache-2.0 */
/*
 * witness [cpu=N] [nap=US] [silence=MS]: watches disks under load while others kill what serves
 * them. Takes commands from standard input, a line each, and answers each with a line of JSON:
 *
 *   open NAME SOCKET [queues= depth= packed= direct= mem=BYTES blocks= read=PCT flush=PCT
 *                     reconnect=MS inflight=0|1 apart=0|1 seed=]
 *   close NAME       when all that is in flight has come back
 *   touch            the back end writes to all of the extra memory (mem=) of every disk
 *   kill PID         SIGKILL; answers when PID polls no ring any more, and all that was in flight
 *                    then is back. What else is left of it may be stuck in the kernel for long
 *   watch PID        the same for a process that somebody else ends, when it has said that it
 *                    watches
 *   settle           answers when all that is in flight now is back
 *   status           what was seen until now
 *   quit             closes all
 *
 * Without cpu= it is not pinned; with nap= it sleeps so long when nothing has come back, instead of
 * polling. Exit status 1 if anything came back wrong, twice, or not within silence=.
 */
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/parse.h"
#include "tests/bench/args.h"
#include "tests/recovery/disk.h"

#define DISKS_MAX 256
#define POLLERS_MAX 64
#define LOOK_NS (100 * NS_PER_US)  /* between looks at commands, the killed process, connections */
#define QUIET_NS (500 * NS_PER_US) /* a connection is looked at when so long nothing came back */

struct witness {
	struct watched_disk *disk[DISKS_MAX]; /* those that were ever opened, by name */
	unsigned ndisk;
	uint64_t silence_ns, nap_ns, looked_ns;
	bool window; /* until all that was in flight when a process had ended is back */
	pid_t pid;   /* that process */
	int pidfd;   /* of it; -1: it is not awaited */
	int poller[POLLERS_MAX]; /* its threads that poll rings; none: of another kind of process */
	unsigned npoller;
	uint64_t gone_ns;
	uint64_t away_ns; /* the longest time that this program itself did not run, in the window */
	bool touching, quit, failed;
	struct watched_disk *closing;
	char line[1024];
	size_t line_b;
};

static void answer_error(const char *what, int err)
{
	printf("{\"error\": \"%s: %s\"}\n", what, strerror(-err));
	fflush(stdout);
}

static void answer_ok(void)
{
	printf("{}\n");
	fflush(stdout);
}

static struct watched_disk *find(struct witness *w, const char *name)
{
	for (unsigned i = 0; i < w->ndisk; i++)
		if (!strcmp(w->disk[i]->name, name))
			return w->disk[i];
	return NULL;
}

/* The disk of that name, also one that was closed, with what it had acknowledged. */
static struct watched_disk *find_or_make(struct witness *w, const char *name, char **args)
{
	struct watched_disk *d = find(w, name);

	if (d || w->ndisk == DISKS_MAX)
		return d;
	d = calloc(1, sizeof(*d));
	if (!d)
		return NULL;
	snprintf(d->name, sizeof(d->name), "%s", name);
	d->rng = arg_num(args, "seed", 1) * 0x9e3779b97f4a7c15ull | 1;
	if (ledger_init(&d->ledger, (uint32_t)arg_num(args, "blocks", 256), d->rng)) {
		free(d);
		return NULL;
	}
	w->disk[w->ndisk++] = d;
	return d;
}

static void command_open(struct witness *w, char **args)
{
	struct watched_disk *d = args[0] && args[1] ? find_or_make(w, args[0], args + 2) : NULL;
	const char *step;

	if (!d || d->c) {
		answer_error("open", d ? -EEXIST : -ENOMEM);
		return;
	}
	snprintf(d->socket, sizeof(d->socket), "%s", args[1]);
	args += 2;
	d->conf = (struct disk_conf){
		.client = {
			.queues = (uint16_t)arg_num(args, "queues", 1),
			.depth = (uint16_t)arg_num(args, "depth", 16),
			.buf_b = LEDGER_BLOCK_B,
			.packed = arg_num(args, "packed", 0),
			.no_indirect = arg_num(args, "direct", 0),
			.no_inflight = !arg_num(args, "inflight", 1),
			.extra_b = arg_num(args, "mem", 0),
		},
		.read_pct = (unsigned)arg_num(args, "read", 50),
		.flush_pct = (unsigned)arg_num(args, "flush", 1),
		.reconnect_ns = arg_num(args, "reconnect", 1000) * NS_PER_MS,
		.apart = arg_num(args, "apart", 0),
	};
	if (d->ledger.nblock <= (uint32_t)d->conf.client.queues * d->conf.client.depth) {
		answer_error("more requests than blocks", -EINVAL);
		return;
	}
	int rc = disk_open(d, &step);

	if (rc)
		answer_error(step, rc);
	else
		answer_ok();
}

static void command_close(struct witness *w, char **args)
{
	struct watched_disk *d = args[0] ? find(w, args[0]) : NULL;

	if (!d || !d->c) {
		answer_error("close", -ENOENT);
		return;
	}
	d->rest = true;
	w->closing = d;
}

/* @gone_ns: 0: when the process has ended. */
static void open_window(struct witness *w, uint64_t gone_ns)
{
	w->window = true;
	w->gone_ns = gone_ns;
	w->away_ns = 0;
	for (unsigned i = 0; i < w->ndisk; i++)
		w->disk[i]->gap_ns = w->disk[i]->late_ns = 0;
}

struct path {
	char text[64];
};

static struct path name_of_thread(pid_t pid, int tid)
{
	struct path p;

	snprintf(p.text, sizeof(p.text), "/proc/%d/task/%d/comm", (int)pid, tid);
	return p;
}

static bool is_poller(pid_t pid, int tid)
{
	char name[16] = "";
	CLEANUP(fd_cleanup) int fd = open(name_of_thread(pid, tid).text, O_RDONLY | O_CLOEXEC);

	return read(fd, name, sizeof(name) - 1) > 0 && !strncmp(name, "poller", 6);
}

static void find_pollers(struct witness *w)
{
	char path[32];

	w->npoller = 0;
	snprintf(path, sizeof(path), "/proc/%d/task", (int)w->pid);
	DIR *dir = opendir(path);

	for (struct dirent *e; dir && (e = readdir(dir)) && w->npoller < POLLERS_MAX;) {
		int tid = atoi(e->d_name);

		if (tid && is_poller(w->pid, tid))
			w->poller[w->npoller++] = tid;
	}
	if (dir)
		closedir(dir);
}

/* Whether the process touches no ring any more. */
static bool has_gone(const struct witness *w)
{
	struct pollfd p = { .fd = w->pidfd, .events = POLLIN };
	unsigned gone = 0;

	while (gone < w->npoller && access(name_of_thread(w->pid, w->poller[gone]).text, F_OK))
		gone++;
	return w->npoller ? gone == w->npoller : poll(&p, 1, 0) > 0;
}

static void command_watch(struct witness *w, char **args, bool and_kill)
{
	uint64_t pid = 0;

	if (!args[0] || parse_u64(args[0], &pid)) {
		answer_error("kill", -EINVAL);
		return;
	}
	w->pidfd = pidfd_open((pid_t)pid, 0);
	if (w->pidfd < 0) {
		answer_error("kill", -errno);
		return;
	}
	w->pid = (pid_t)pid;
	find_pollers(w);
	open_window(w, 0);
	if (and_kill)
		kill((pid_t)pid, SIGKILL);
	else
		answer_ok();
}

static void command_touch(struct witness *w)
{
	for (unsigned i = 0; i < w->ndisk; i++)
		if (w->disk[i]->c)
			disk_touch(w->disk[i]);
	w->touching = true;
}

/* Sums over all disks, closed ones too, without the braces. */
static void print_sums(const struct witness *w)
{
	uint64_t done = 0, errors = 0, mismatches = 0, repeated = 0, reconnects = 0, lost = 0;

	for (unsigned i = 0; i < w->ndisk; i++) {
		const struct watched_disk *d = w->disk[i];

		done += d->done;
		errors += d->errors;
		mismatches += d->mismatches;
		repeated += d->repeated;
		reconnects += d->reconnects;
		lost += w->failed ? d->in_flight : 0;
	}
	printf("\"done\": %lu, \"errors\": %lu, \"mismatches\": %lu, \"repeated\": %lu, "
	       "\"lost\": %lu, \"reconnects\": %lu", done, errors, mismatches, repeated, lost,
	       reconnects);
}

static void answer_status(const struct witness *w)
{
	printf("{");
	print_sums(w);
	printf("}\n");
	fflush(stdout);
}

/* The window has ended: each disk's longest gap, in ms. */
static void answer_window(const struct witness *w)
{
	uint64_t worst_ns = 0, late_ns = 0;
	const char *comma = "";

	printf("{\"gaps_ms\": {");
	for (unsigned i = 0; i < w->ndisk; i++) {
		const struct watched_disk *d = w->disk[i];

		if (!d->c || d->conf.apart)
			continue;
		worst_ns = max_u64(worst_ns, d->gap_ns);
		late_ns = max_u64(late_ns, d->late_ns);
		printf("%s\"%s\": %.3f", comma, d->name, (double)d->gap_ns / 1e6);
		comma = ", ";
	}
	printf("}, \"gap_ms\": %.3f, \"late_ms\": %.3f, \"away_ms\": %.3f, ",
	       (double)worst_ns / 1e6, (double)late_ns / 1e6, (double)w->away_ns / 1e6);
	print_sums(w);
	printf("}\n");
	fflush(stdout);
}

static void run_command(struct witness *w, char *line)
{
	char *args[32] = { NULL }, *rest = line;
	unsigned n = 0;

	while (n < ARRAY_SIZE(args) - 1 && (args[n] = strsep(&rest, " ")))
		n += *args[n] != '\0';
	args[n] = NULL;
	if (!n)
		return;
	if (!strcmp(args[0], "open"))
		command_open(w, args + 1);
	else if (!strcmp(args[0], "close"))
		command_close(w, args + 1);
	else if (!strcmp(args[0], "touch"))
		command_touch(w);
	else if (!strcmp(args[0], "kill") || !strcmp(args[0], "watch"))
		command_watch(w, args + 1, args[0][0] == 'k');
	else if (!strcmp(args[0], "settle"))
		open_window(w, clock_ns());
	else if (!strcmp(args[0], "status"))
		answer_status(w);
	else if (!strcmp(args[0], "quit"))
		w->quit = true;
	else
		answer_error(args[0], -EINVAL);
}

/* Takes what has come on standard input; its end is `quit`. A command that is not answered at once
 * holds up those behind it. */
static void read_commands(struct witness *w)
{
	struct pollfd p = { .fd = STDIN_FILENO, .events = POLLIN };

	if (poll(&p, 1, 0) <= 0)
		return;
	ssize_t n = read(STDIN_FILENO, w->line + w->line_b, sizeof(w->line) - 1 - w->line_b);

	if (n <= 0 || w->line_b + (size_t)n == sizeof(w->line) - 1) {
		w->quit = true;
		return;
	}
	w->line_b += (size_t)n;
	w->line[w->line_b] = '\0';
	char *end = strchr(w->line, '\n');

	if (!end)
		return;
	*end = '\0';
	w->line_b = 0; /* whoever asks waits for the answer, so there is nothing behind it */
	run_command(w, w->line);
}

static void look_at_window(struct witness *w, uint64_t now_ns)
{
	if (!w->gone_ns && has_gone(w))
		w->gone_ns = now_ns;
	if (!w->gone_ns)
		return;
	for (unsigned i = 0; i < w->ndisk; i++) {
		const struct watched_disk *d = w->disk[i];

		if (d->c && !d->conf.apart && !disk_settled(d, w->gone_ns))
			return;
	}
	w->pidfd = fd_close(w->pidfd);
	w->window = false;
	answer_window(w);
}

static void look_at_touch(struct witness *w)
{
	for (unsigned i = 0; i < w->ndisk; i++)
		if (w->disk[i]->c && !disk_touched(w->disk[i]))
			return;
	w->touching = false;
	answer_ok();
}

static void look_at_close(struct witness *w)
{
	if (w->closing->in_flight || w->closing->down)
		return;
	disk_close(w->closing);
	w->closing = NULL;
	answer_ok();
}

static void look(struct witness *w, uint64_t now_ns)
{
	for (unsigned i = 0; i < w->ndisk; i++) {
		struct watched_disk *d = w->disk[i];

		if (!d->c || now_ns < d->last_ns + QUIET_NS)
			continue;
		disk_look(d, now_ns);
		if (d->in_flight && now_ns > d->last_ns + w->silence_ns) {
			fprintf(stderr, "%s: %u requests have not come back for %llu ms\n", d->name,
				d->in_flight, w->silence_ns / NS_PER_MS);
			w->failed = true;
		}
	}
	if (w->window)
		look_at_window(w, now_ns);
	else if (w->touching)
		look_at_touch(w);
	else if (w->closing)
		look_at_close(w);
	else
		read_commands(w);
}

/* Return: whether anything came back. */
static bool turn(struct witness *w)
{
	bool any = false;

	for (unsigned i = 0; i < w->ndisk; i++) {
		struct watched_disk *d = w->disk[i];
		int n = d->c ? disk_turn(d) : 0;

		if (n < 0)
			w->failed = true;
		any |= n > 0;
	}
	return any;
}

static void run(struct witness *w)
{
	struct timespec nap = { .tv_nsec = (long)w->nap_ns };
	uint64_t last_ns = clock_ns();
	unsigned busy = 0;

	while (!w->quit && !w->failed) {
		if (turn(w) && ++busy % 16)
			continue;
		uint64_t now_ns = clock_ns();

		w->away_ns = max_u64(w->away_ns, now_ns - last_ns);
		last_ns = now_ns;
		if (now_ns >= w->looked_ns + LOOK_NS) {
			look(w, now_ns);
			w->looked_ns = clock_ns();
		} else if (w->nap_ns) {
			nanosleep(&nap, NULL);
		}
	}
}

/* Lets all come back, but for what a back end that has failed keeps. */
static void finish(struct witness *w)
{
	bool again = !w->failed;

	for (unsigned i = 0; i < w->ndisk; i++)
		w->disk[i]->rest = true;
	while (again && !w->failed) {
		again = false;
		turn(w);
		look(w, clock_ns());
		for (unsigned i = 0; i < w->ndisk; i++)
			again |= w->disk[i]->in_flight;
	}
	answer_status(w);
	for (unsigned i = 0; i < w->ndisk; i++) {
		struct watched_disk *d = w->disk[i];

		w->failed |= d->errors || d->mismatches || d->repeated;
		if (d->c)
			disk_close(d);
		ledger_fini(&d->ledger);
		free(d);
	}
}

int main(int argc, char **argv)
{
	struct witness w = { .pidfd = -1,
			     .silence_ns = arg_num(argv + 1, "silence", 30000) * NS_PER_MS,
			     .nap_ns = arg_num(argv + 1, "nap", 0) * NS_PER_US };
	const char *cpu = arg_text(argv + 1, "cpu", NULL);
	cpu_set_t one;

	CPU_ZERO(&one);
	if (cpu) {
		CPU_SET(arg_num(argv + 1, "cpu", 0), &one);
		if (sched_setaffinity(0, sizeof(one), &one))
			return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	run(&w);
	finish(&w);
	return w.failed;
}
