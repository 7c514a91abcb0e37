/* SPDX-License-Identifier: Apache-2.0 */
/* One load on one path: the part of a session that is repeated. */
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/cpus.h"
#include "compare/bare.h"
#include "compare/session.h"

#define CHECKED_B (16 * MIB) /* of the disk: where the pattern is, which guests check */
#define CHECKS 1000
#define FILL_BS_B (128 * 1024)

/* What the rest of the host was doing meanwhile. */
struct window {
	uint64_t at_ns, busy_ns, ours_ns;
};

static uint64_t ours_ns(const struct session *s)
{
	struct host_pids self = { .pid = { getpid() }, .n = 1 };
	uint64_t sum = host_cpu_ns(&self) + host_cpu_ns(&s->host.daemon) + host_cpu_ns(&s->qsd);

	for (size_t i = 0; i < ARRAY_SIZE(s->machine); i++)
		if (s->machine[i])
			sum += host_cpu_ns(&s->machine[i]->qemu);
	return sum;
}

static struct window window_open(const struct session *s)
{
	return (struct window){ clock_ns(), host_busy_ns(), ours_ns(s) };
}

static void window_close(struct session *s, const struct window *w)
{
	s->span_ns += clock_ns() - w->at_ns;
	s->busy_ns += host_busy_ns() - w->busy_ns;
	s->ours_ns += ours_ns(s) - w->ours_ns;
}

/* The disk of @path is polled as the path says, and no other's poller spins. */
static int set_polling(struct session *s, const struct compare_path *path, char *why)
{
	const char *disk = path->kind == COMPARE_CLIENT ? "client" :
			   path->kind != COMPARE_POSTERN ? NULL : path->placed ? "placed" : "guest";
	bool spin = disk && !strcmp(path->poll, "always");
	struct ctl_error err;
	int rc = 0;

	if (s->polled && (!spin || strcmp(s->polled, disk))) {
		rc = host_poll(&s->host, s->polled, "adaptive", &err);
		s->polled = NULL;
	}
	if (!rc && spin && !s->polled) {
		rc = host_poll(&s->host, disk, "always", &err);
		s->polled = disk;
	}
	if (rc)
		snprintf(why, MACHINE_WHY, "%.200s", err.text);
	return rc;
}

static void marks_of(const struct hist *h, double *mark_ns)
{
	for (unsigned i = 0; i < COMPARE_MARKS; i++)
		mark_ns[i] = (double)hist_quantile(h, compare_marks[i], 1000);
}

static void sample_of(const struct client_bench_result *b, double cpu_ns,
		      struct compare_sample *ret)
{
	double per = b->requests ? (double)b->requests : 1;

	*ret = (struct compare_sample){
		.requests = b->requests, .verified_b = b->verified_b, .iops = b->iops,
		.p50_ns = b->p50_ns, .p99_ns = b->p99_ns, .p999_ns = b->p999_ns,
		.kicks = (double)b->kicks / per, .irqs = (double)b->interrupts / per, .exits = -1,
		.cpu_ns = cpu_ns / per, .mark_ns = { -1 },
	};
}

static int run_bare(struct session *s, const struct client_load *load, struct compare_sample *ret,
		    char *why)
{
	struct bare_ring_conf ring = { .peer = s->server_cpu };
	const char *kind = s->conf->medium;
	struct client_load l = *load;
	struct client_bench_result b;
	static struct hist h;
	cpu_set_t old;
	int cpu = strcmp(kind, "null") ? s->server_cpu : s->client_cpu;
	int rc = cpus_pin((unsigned)cpu, &old);

	if (rc)
		return rc;
	memset(&h, 0, sizeof(h));
	l.hist = &h;
	if (!strcmp(kind, "file")) {
		rc = bare_uring(s->file, &l, &b);
	} else if (!strcmp(kind, "ram")) {
		l.range_b = l.range_b ? l.range_b : s->size_b;
		rc = bare_copy(&l, &b);
	} else if (l.read_pct != 100 || l.bs_b != 4096) {
		b = (struct client_bench_result){ 0 }; /* nothing to hold it against */
		rc = 0;
	} else {
		l.interrupts = false;
		l.warm_ns = 0;
		rc = bare_ring(&ring, &l, &b);
	}
	sched_setaffinity(0, sizeof(old), &old);
	if (rc) {
		snprintf(why, MACHINE_WHY, "%s: %s", b.step, strerror(-rc));
		return rc;
	}
	sample_of(&b, (double)b.cpu_ns, ret);
	ret->kicks = ret->irqs = -1; /* no guest */
	marks_of(&h, ret->mark_ns);
	return 0;
}

static int run_client(struct session *s, const struct client_load *load,
		      struct compare_sample *ret)
{
	struct host_pids pids = s->host.daemon;
	struct client_load warm = *load, l = *load;
	struct client_bench_result b = { 0 };
	static struct hist h;
	cpu_set_t old;
	int rc = cpus_pin((unsigned)s->client_cpu, &old);

	if (rc)
		return rc;
	memset(&h, 0, sizeof(h));
	l.hist = &h;
	warm.run_ns = load->warm_ns;
	l.warm_ns = 0;
	l.interrupts = false;
	pids.pid[pids.n++] = getpid();
	if (warm.run_ns && l.run_ns)
		rc = client_load_run(s->client, &warm, &b);
	uint64_t before_ns = host_cpu_ns(&pids);

	if (!rc)
		rc = client_load_run(s->client, &l, &b);
	sample_of(&b, (double)(host_cpu_ns(&pids) - before_ns), ret);
	marks_of(&h, ret->mark_ns);
	sched_setaffinity(0, sizeof(old), &old);
	return rc ? rc : b.errors || b.mismatches ? -EIO : 0;
}

static int run_guest(struct session *s, const struct compare_path *path,
		     const struct client_load *load, struct compare_sample *ret, char *why)
{
	struct machine *m = s->machine[path->placed];
	struct host_pids none = { .n = 0 };
	const struct host_pids *others = path->kind == COMPARE_POSTERN ? &s->host.daemon :
					 path->kind == COMPARE_QSD ? &s->qsd : &none;

	if (!m || machine_disk(m, path) < 0) {
		snprintf(why, MACHINE_WHY, "the guest does not see this disk");
		return -ENODEV;
	}
	machine_freeze(m, false);
	int rc = machine_run(m, path, load, others, ret, why);

	machine_freeze(m, true);
	return rc;
}

int session_measure(struct session *s, struct compare_row *row, const struct client_load *load,
		    struct compare_sample *ret)
{
	char why[MACHINE_WHY] = "";
	int rc = set_polling(s, row->path, why);
	struct window w = window_open(s);

	if (rc)
		;
	else if (row->path->kind == COMPARE_BARE)
		rc = run_bare(s, load, ret, why);
	else if (row->path->kind == COMPARE_CLIENT)
		rc = run_client(s, load, ret);
	else
		rc = run_guest(s, row->path, load, ret, why);
	window_close(s, &w);
	if (rc)
		snprintf(row->skipped, sizeof(row->skipped), "%s", *why ? why : strerror(-rc));
	return rc;
}

int session_verify(struct session *s, struct compare_row *row, struct compare_sample *ret)
{
	struct client_load load = { .bs_b = FILL_BS_B, .depth = 8, .sequential = true, .seed = 1,
				    .max_requests = CHECKED_B / FILL_BS_B, .range_b = CHECKED_B,
				    .verify = CLIENT_VERIFY_ALL };
	int rc = session_measure(s, row, &load, ret);

	load.read_pct = 100;
	load.bs_b = 4096;
	load.sequential = false;
	load.max_requests = CHECKS;
	return rc ? rc : session_measure(s, row, &load, ret);
}
