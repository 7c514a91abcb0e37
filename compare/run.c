/* SPDX-License-Identifier: Apache-2.0 */
/* The order of things: paths chosen, rounds over loads and paths, thresholds, the paced load. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "base/parse.h"
#include "compare/figure.h"
#include "compare/session.h"
#include "vm/vm.h"

#define WARM_NS (50 * NS_PER_MS)
#define AROUND_NS (20 * NS_PER_MS) /* to set a disk up for a load, and reset it */
#define START_S 5
#define TCG_REQUESTS 500
#define PROBE_DEPTH 32
#define PROBE_MIN_NS (50 * NS_PER_MS)
#define KEPT_UP 0.95 /* of an offered load, done */
#define PACED_SHARE 0.5 /* of the lowest threshold */

struct run {
	struct session s;
	unsigned done, steps;
	unsigned round;
};

static void step(struct run *run, const char *what)
{
	if (run->s.conf->progress)
		run->s.conf->progress(run->done, run->steps, what);
	run->done++;
}

static const struct compare_path *find_path(const char *id, size_t len)
{
	for (const struct compare_path *p = compare_paths; p->id; p++)
		if (strlen(p->id) == len && !strncmp(p->id, id, len))
			return p;
	return NULL;
}

static int add_path(struct compare_report *r, const struct compare_path *p)
{
	for (unsigned i = 0; i < r->nrow; i++)
		if (r->row[i].path == p)
			return -EEXIST;
	r->row[r->nrow++].path = p;
	return 0;
}

static int unknown_path(const char *id, size_t len, struct ctl_error *err)
{
	char all[300] = "";

	for (const struct compare_path *p = compare_paths; p->id; p++)
		snprintf(all + strlen(all), sizeof(all) - strlen(all), "%s%s", *all ? ", " : "",
			 p->id);
	return ctl_fail(err, -EINVAL, "bad_value", "paths", "there is no path '%.*s'; there are %s",
			(int)min_u64(len, 40), id, all);
}

static int choose_paths(const struct compare_conf *conf, struct compare_report *r,
			struct ctl_error *err)
{
	if (!conf->paths) {
		for (const struct compare_path *p = compare_paths; p->id; p++)
			if (p->standard || p->instead || conf->full)
				add_path(r, p);
		return 0;
	}
	for (const char *at = conf->paths; *at;) {
		size_t len = strcspn(at, ",");
		const struct compare_path *p = find_path(at, len);

		if (!p)
			return unknown_path(at, len, err);
		if (add_path(r, p))
			return ctl_fail(err, -EINVAL, "bad_value", "paths", "'%s' is there twice",
					p->id);
		at += len + (at[len] == ',');
	}
	return r->nrow ? 0 : unknown_path("", 0, err);
}

static void choose_loads(const struct compare_conf *conf, struct compare_report *r)
{
	for (const struct compare_load *l = compare_loads; l->id; l++)
		if (l->standard || conf->full)
			r->load[r->nload++] = l;
}

static uint64_t probe_ns(const struct compare_conf *conf)
{
	return max_u64(conf->run_ns / 5, PROBE_MIN_NS);
}

/* As if all paths were measured. */
unsigned compare_estimate_s(const struct compare_conf *conf)
{
	static struct compare_report r;
	struct ctl_error ignored;

	memset(&r, 0, sizeof(r));
	choose_loads(conf, &r);
	if (choose_paths(conf, &r, &ignored))
		return 0;
	uint64_t around_ns = WARM_NS + AROUND_NS;
	uint64_t one_ns = (r.nload + 1) * (conf->run_ns + around_ns) +
			  (COMPARE_PROBES_MAX - 1) * (probe_ns(conf) + around_ns);

	return (unsigned)(r.nrow * conf->rounds * one_ns / NS_PER_S) + START_S;
}

static struct client_load load_of(const struct run *run, const struct compare_load *l, bool timed)
{
	const struct compare_conf *c = run->s.conf;
	struct client_load load = { .read_pct = l->read_pct, .bs_b = l->bs_b, .depth = l->depth,
				    .sequential = l->sequential, .seed = run->round + 1 };

	if (timed) {
		load.run_ns = c->run_ns;
		load.warm_ns = WARM_NS;
	} else {
		load.max_requests = TCG_REQUESTS;
	}
	return load;
}

/* Every load on every path, once. Under emulation a guest's counts are the same each time. */
static void one_round(struct run *run)
{
	struct compare_report *r = run->s.r;

	for (unsigned l = 0; l < r->nload; l++) {
		for (unsigned i = 0; i < r->nrow; i++) {
			struct compare_row *row = &r->row[i];

			if (*row->skipped || (!row->timed && run->round))
				continue;
			struct client_load load = load_of(run, r->load[l], row->timed);

			step(run, row->path->title);
			session_measure(&run->s, row, &load, &row->cell[l].round[run->round]);
		}
	}
}

/* Offers @iops and says what came of it. Return: whether the path kept up with it. */
static bool probe(struct run *run, struct compare_row *row, double iops,
		  struct compare_probe *ret)
{
	struct client_load load = { .read_pct = 100, .bs_b = 4096, .depth = PROBE_DEPTH,
				    .seed = run->round + 1, .run_ns = probe_ns(run->s.conf),
				    .warm_ns = WARM_NS / 2 };
	struct compare_sample s = { .requests = 0 };

	load.pace_ns = max_u64((uint64_t)(1e9 / iops), 1);
	*ret = (struct compare_probe){ .offered = 1e9 / (double)load.pace_ns };
	if (session_measure(&run->s, row, &load, &s) || !s.requests)
		return false;
	ret->iops = s.iops;
	ret->p99_ns = s.p99_ns;
	return s.iops >= KEPT_UP * ret->offered;
}

/* The highest load that the path keeps up with, by halving a range around what it does when it is
 * offered as much as it takes. */
static void find_threshold(struct run *run, struct compare_row *row, double most)
{
	double low = most / 10, high = most * 1.5;

	for (unsigned i = 0; i + 1 < COMPARE_PROBES_MAX && !*row->skipped; i++) {
		struct compare_probe *p = &row->probe[run->round][i];
		double at = sqrt(low * high);

		if (probe(run, row, at, p)) {
			low = at;
			row->threshold[run->round] = p->offered;
		} else {
			high = at;
		}
	}
}

static void thresholds(struct run *run)
{
	struct compare_report *r = run->s.r;
	int deep = report_load(r, "read-4k-d32");

	for (unsigned i = 0; deep >= 0 && i < r->nrow; i++) {
		struct compare_row *row = &r->row[i];
		struct figure most = figure_of(&row->cell[deep], FIELD(iops));

		if (*row->skipped || !row->timed)
			continue;
		step(run, "threshold");
		if (most.n)
			find_threshold(run, row, most.value);
	}
}

/* Two digits of it. */
static double round_down(double v)
{
	double unit = pow(10, floor(log10(v)) - 1);

	return floor(v / unit) * unit;
}

static double choose_pace(const struct compare_report *r)
{
	double least = 0;

	for (unsigned i = 0; i < r->nrow; i++) {
		struct figure f = report_threshold(&r->row[i]);

		if (f.n && (least <= 0 || f.value < least))
			least = f.value;
	}
	return least >= 100 ? round_down(least * PACED_SHARE) : 0;
}

/* The same load on all, at the same pace: what differs is what it costs. */
static void paced_round(struct run *run)
{
	struct compare_report *r = run->s.r;

	for (unsigned i = 0; i < r->nrow; i++) {
		struct compare_row *row = &r->row[i];
		struct client_load load = { .read_pct = 100, .bs_b = 4096, .depth = PROBE_DEPTH,
					    .seed = run->round + 1, .interrupts = true,
					    .run_ns = run->s.conf->run_ns, .warm_ns = WARM_NS };

		if (*row->skipped || !row->timed)
			continue;
		load.pace_ns = (uint64_t)(1e9 / r->paced_iops);
		step(run, "the same load on all");
		session_measure(&run->s, row, &load, &row->paced.round[run->round]);
	}
}

/* Bytes that each path brought back as they had been written. */
static void verify_all(struct run *run)
{
	struct compare_report *r = run->s.r;

	for (unsigned i = 0; i < r->nrow && session_stores(&run->s); i++) {
		struct compare_row *row = &r->row[i];
		struct compare_sample s = { .requests = 0 };

		if (*row->skipped || row->path->kind == COMPARE_BARE)
			continue;
		step(run, "bytes verified");
		if (!session_verify(&run->s, row, &s))
			row->verified_b = s.verified_b;
	}
}

static void cpu_model(char *buf, size_t size)
{
	char line[256];
	FILE *f = fopen("/proc/cpuinfo", "re");

	snprintf(buf, size, "unknown processor");
	while (f && fgets(line, sizeof(line), f)) {
		char *colon = strchr(line, ':');

		if (strncmp(line, "model name", 10) || !colon)
			continue;
		colon[strcspn(colon, "\n")] = '\0';
		snprintf(buf, size, "%s", colon + 2);
		break;
	}
	if (f)
		fclose(f);
}

/* "QEMU emulator version 7.2.22 (Debian ...)" as "QEMU 7.2.22". */
static void qemu_version(char *buf, size_t size)
{
	char line[160] = "";
	FILE *f = popen("qemu-system-x86_64 --version 2>/dev/null", "re");

	if (f) {
		if (!fgets(line, sizeof(line), f))
			*line = '\0';
		pclose(f);
	}
	char *at = strstr(line, "version ");

	if (at)
		snprintf(buf, size, "QEMU %.*s", (int)strcspn(at + 8, " \n("), at + 8);
	else
		snprintf(buf, size, "no QEMU");
}

static void fill_facts(const struct compare_conf *conf, struct compare_report *r)
{
	char cpu[90], size[16];
	struct utsname u;
	time_t now = time(NULL);
	struct tm tm;

	cpu_model(cpu, sizeof(cpu));
	uname(&u);
	r->cpus = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
	snprintf(r->host, sizeof(r->host), "%s, %u CPUs, Linux %.40s", cpu, r->cpus, u.release);
	snprintf(r->medium, sizeof(r->medium), "%s, %s%s%.80s", conf->medium,
		 format_size(conf->size_b, size), strcmp(conf->medium, "file") ? "" : ", in ",
		 strcmp(conf->medium, "file") ? "" : conf->dir ? conf->dir : "/var/tmp");
	qemu_version(r->programs, sizeof(r->programs));
	strftime(r->date, sizeof(r->date), "%Y-%m-%d %H:%M", localtime_r(&now, &tm));
	r->rounds = conf->rounds;
	r->seconds = (double)conf->run_ns / 1e9;
}

static void count_steps(struct run *run)
{
	const struct compare_report *r = run->s.r;
	bool stores = session_stores(&run->s);

	for (unsigned i = 0; i < r->nrow; i++) {
		const struct compare_row *row = &r->row[i];

		if (*row->skipped)
			continue;
		run->steps += row->timed ? r->rounds * (r->nload + 2) : r->nload;
		run->steps += stores && row->path->kind != COMPARE_BARE;
	}
}

static void measure_all(struct run *run)
{
	struct compare_report *r = run->s.r;

	count_steps(run);
	verify_all(run);
	for (run->round = 0; run->round < r->rounds; run->round++) {
		one_round(run);
		thresholds(run);
	}
	r->paced_iops = choose_pace(r);
	for (run->round = 0; r->paced_iops > 0 && run->round < r->rounds; run->round++)
		paced_round(run);
	const struct session *s = &run->s;
	uint64_t others_ns = s->busy_ns > s->ours_ns ? s->busy_ns - s->ours_ns : 0;

	r->others_share = (double)others_ns / (double)max_u64(s->span_ns * r->cpus, 1);
}

int compare_run(const struct compare_conf *conf, struct compare_report *ret,
		struct ctl_error *err)
{
	struct run run = { .s = { .conf = conf, .r = ret } };

	memset(ret, 0, sizeof(*ret));
	choose_loads(conf, ret);
	int rc = choose_paths(conf, ret, err);

	if (rc)
		return rc;
	fill_facts(conf, ret);
	rc = session_open(&run.s, err);
	if (rc)
		return rc;
	measure_all(&run);
	session_close(&run.s);
	return 0;
}
