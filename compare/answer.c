/* SPDX-License-Identifier: Apache-2.0 */
/* What the figures say, in sentences. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compare/figure.h"

#define BUSY_SHARE 0.1
#define WIDE 0.25

/* Text that grows; NULL when memory ran out. */
struct text {
	char *buf;
	size_t len;
	FILE *f;
};

static FILE *text_open(struct text *t)
{
	*t = (struct text){ 0 };
	t->f = open_memstream(&t->buf, &t->len);
	return t->f;
}

static char *text_close(struct text *t)
{
	if (t->f && fclose(t->f)) {
		free(t->buf);
		return NULL;
	}
	return t->f ? t->buf : NULL;
}

/* "4,900": a number with its thousands apart. @buf holds 32 bytes. */
static char *thousands(double v, char *buf)
{
	char plain[24];
	size_t n = (size_t)snprintf(plain, sizeof(plain), "%.0f", v), at = 0;

	for (size_t i = 0; i < n; i++) {
		if (i && (n - i) % 3 == 0 && plain[i - 1] != '-')
			buf[at++] = ',';
		buf[at++] = plain[i];
	}
	buf[at] = '\0';
	return buf;
}

/* "49 times the IOPS", "12 % more IOPS", "8 % fewer IOPS" */
static void more_or_fewer(double ratio, FILE *f)
{
	if (ratio >= 3)
		fprintf(f, "%.*f times the IOPS", ratio < 10, ratio);
	else if (ratio >= 1)
		fprintf(f, "%.0f %% more IOPS", 100 * (ratio - 1));
	else
		fprintf(f, "%.0f %% fewer IOPS", 100 * (1 - ratio));
}

/* Bypass against QEMU's default at one load. Return: whether there was anything to say. */
static bool say_gain(const struct compare_report *r, const char *load, const char *lead,
		     const char *words, FILE *f)
{
	const struct compare_row *own = report_row(r, "postern"), *qemu = report_row(r, "qemu");
	int l = report_load(r, load);
	char a[16], b[16];

	if (!own || !qemu || l < 0 || !own->timed)
		return false;
	struct figure gain = figure_ratio(&own->cell[l], &qemu->cell[l], FIELD(iops));
	struct figure p50 = figure_of(&own->cell[l], FIELD(p50_ns));
	struct figure theirs = figure_of(&qemu->cell[l], FIELD(p50_ns));

	if (!gain.n)
		return false;
	fputs(lead, f);
	more_or_fewer(gain.value, f);
	fprintf(f, " at %s (a median of %s us against %s us)", words, format_us(p50.value, a),
		format_us(theirs.value, b));
	return true;
}

/* What bypassing costs in processor time at the paced load. */
static void say_cost(const struct compare_report *r, FILE *f)
{
	const struct compare_row *own = report_row(r, "postern"), *qemu = report_row(r, "qemu");
	char iops[32];

	if (!own || !qemu || !own->timed || r->paced_iops <= 0)
		return;
	struct figure cost = figure_ratio(&own->paced, &qemu->paced, FIELD(cpu_ns));
	struct figure cpus = report_paced_cpus(r, own), theirs = report_paced_cpus(r, qemu);

	if (!cost.n || !cpus.n || !theirs.n)
		return;
	fprintf(f, "It costs %.0f %% %s host CPU at the same %s IOPS (%.2f CPUs against %.2f)",
		100 * fabs(cost.value - 1), cost.value >= 1 ? "more" : "less",
		thousands(r->paced_iops, iops), cpus.value, theirs.value);
	const struct compare_row *adaptive = report_row(r, "postern-adaptive");
	struct figure mild = adaptive ? report_paced_cpus(r, adaptive) : (struct figure){ .n = 0 };

	if (mild.n)
		fprintf(f, "; Postern's adaptive mode takes %.2f", mild.value);
	fputs(".\n", f);
}

/* "62 % of bare at depth 1" for every load that both have. */
static void say_reach(const struct compare_report *r, const struct compare_row *row, FILE *f)
{
	static const char *const load[][2] = { { "read-4k-d1", "depth 1" },
					       { "read-4k-d32", "depth 32" } };
	const struct compare_row *bare = report_row(r, "bare");
	unsigned said = 0;

	for (size_t i = 0; bare && row && i < ARRAY_SIZE(load); i++) {
		int l = report_load(r, load[i][0]);
		struct figure f1 = { .n = 0 };

		if (l >= 0)
			f1 = figure_ratio(&row->cell[l], &bare->cell[l], FIELD(iops));
		if (!f1.n)
			continue;
		fprintf(f, said++ ? " and %.0f %% at %s" :
			"reaches %.0f %% of the bare host's IOPS "
			"at %s", 100 * f1.value, load[i][1]);
	}
	if (!said)
		fputs("was not held against the bare host", f);
}

static void say_keeps(const char *keeps, FILE *f)
{
	for (const char *at = keeps; *at;) {
		size_t len = strcspn(at, " ");
		bool last = !at[len], first = at == keeps;

		fprintf(f, "%s%.*s", first ? "" : last ? " and " : ", ", (int)len, at);
		at += len + !last;
	}
}

static void say_untimed(const struct compare_report *r, FILE *f)
{
	const struct compare_row *own = report_row(r, "postern"), *qemu = report_row(r, "qemu");
	int l = report_load(r, "read-4k-d1");

	fputs("Guests run under emulation here, so nothing is said of their speed", f);
	if (l >= 0 && own && qemu) {
		struct figure kicks = figure_of(&own->cell[l], FIELD(kicks));
		struct figure irqs = figure_of(&own->cell[l], FIELD(irqs));
		struct figure k = figure_of(&qemu->cell[l], FIELD(kicks));
		struct figure i = figure_of(&qemu->cell[l], FIELD(irqs));

		if (kicks.n && k.n)
			fprintf(f, "; what can be counted: exit-free, a request costs %.2f kicks "
				"and %.2f interrupts, QEMU's default %.2f and %.2f", kicks.value,
				irqs.value, k.value, i.value);
	}
	fputs(".\n", f);
}

char *report_answer(const struct compare_report *r)
{
	const struct compare_row *own = report_row(r, "postern");
	struct text t;
	FILE *f = text_open(&t);

	if (!f)
		return NULL;
	if (report_has_untimed(r)) {
		say_untimed(r, f);
	} else if (r->rounds < 2) {
		fputs("One round was measured: no ratios, and no answer from them.\n", f);
	} else if (own) {
		bool said = say_gain(r, "read-4k-d1", "Bypassing the hypervisor gives, against "
				     "QEMU's default virtio-blk, ", "depth 1", f);

		if (said)
			say_gain(r, "read-4k-d32", " and ", "depth 32", f);
		fputs(said ? ".\n" : "", f);
		say_cost(r, f);
		fputs("Postern ", f);
		say_reach(r, own, f);
		fputs(", and keeps ", f);
		say_keeps(own->path->keeps, f);
		fputs("; an assigned device keeps none of these.\n", f);
	}
	const struct compare_row *client = report_row(r, "client");

	if (client && client->timed && r->rounds > 1) {
		fputs("Postern's client on the host ", f);
		say_reach(r, client, f);
		fputs(".\n", f);
	}
	return text_close(&t);
}

char *report_fast12(const struct compare_report *r)
{
	const struct compare_row *own = report_row(r, "postern"), *qemu = report_row(r, "qemu");
	const struct compare_row *bare = report_row(r, "bare");
	int one = report_load(r, "read-4k-d1"), deep = report_load(r, "read-4k-d32");
	int write = report_load(r, "write-4k-d32");
	struct text t;
	FILE *f = text_open(&t);
	char buf[16];

	if (!f)
		return NULL;
	if (!own || !own->timed || !qemu || !bare || one < 0 || deep < 0)
		return text_close(&t);
	struct figure gain = figure_ratio(&own->cell[deep], &qemu->cell[deep], FIELD(iops));
	struct figure added = figure_added(&own->cell[one], &bare->cell[one], FIELD(p50_ns));
	struct figure reads = figure_of(&own->cell[deep], FIELD(iops));

	if (!gain.n || !added.n)
		return text_close(&t);
	fprintf(f, "times the stock path's IOPS|7|%.1f\n", gain.value);
	fprintf(f, "added latency, us|6.6|%s\n", format_us(added.value, buf));
	fprintf(f, "read IOPS|357 k|%s\n", format_iops(reads.value, buf));
	struct figure writes = { .n = 0 };

	if (write >= 0)
		writes = figure_of(&own->cell[write], FIELD(iops));
	fprintf(f, "write IOPS|284 k|%s\n", writes.n ? format_iops(writes.value, buf)
						      : "full=on measures it");
	return text_close(&t);
}

/* Figures whose rounds lie further apart than they may. */
static void say_spread(const struct compare_report *r, FILE *f)
{
	const struct compare_row *worst = NULL;
	unsigned wide = 0, all = 0, load = 0;
	double most = 0;

	for (unsigned i = 0; i < r->nrow; i++) {
		for (unsigned l = 0; l < r->nload && r->row[i].timed; l++) {
			struct figure iops = figure_of(&r->row[i].cell[l], FIELD(iops));
			double spread = figure_spread(&iops);

			all += iops.n > 0;
			wide += spread > WIDE;
			if (spread <= most)
				continue;
			most = spread;
			worst = &r->row[i];
			load = l;
		}
	}
	if (wide)
		fprintf(f, "Of %u IOPS figures %u have rounds more than %.0f %% around their median; "
			"the widest: %s, %s.\n", all, wide, 100 * WIDE, worst->path->title,
			r->load[load]->title);
}

char *report_warnings(const struct compare_report *r)
{
	struct text t;
	FILE *f = text_open(&t);

	if (!f)
		return NULL;
	if (!strcmp(r->accel, "tcg"))
		fprintf(f, "No guest runs on KVM here (%s): guests ran under emulation, and their "
			"speeds would say nothing about this host, so only bytes, kicks and "
			"interrupts are shown.\n", r->why_slow);
	if (r->others_share > BUSY_SHARE)
		fprintf(f, "Other programs, or a hypervisor below, took %.0f %% of this host's CPUs "
			"while it was measured: the figures are worth less.\n",
			100 * r->others_share);
	if (r->cpus < 2)
		fputs("One CPU: poller and guest share it.\n", f);
	if (r->rounds < 2)
		fputs("One round: there are no ratios, as one round's would be chance.\n", f);
	say_spread(r, f);
	return text_close(&t);
}
