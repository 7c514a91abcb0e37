/* SPDX-License-Identifier: Apache-2.0 */
/* The report for people at a terminal. */
#include <stdlib.h>
#include <string.h>

#include "compare/figure.h"

#define TITLE 33
#define WIDTH 108

static bool is_host(const struct compare_row *row)
{
	return row->path->kind == COMPARE_BARE || row->path->kind == COMPARE_CLIENT;
}

/* A cell of the table, @width wide; a dash for what is not known. */
static void cell(FILE *out, int width, const struct figure *f, const char *text)
{
	fprintf(out, " %*s", width, f->n ? text : "-");
}

static void times_cells(const struct compare_report *r, const struct compare_row *row, unsigned l,
			FILE *out)
{
	const struct compare_row *bare = report_row(r, "bare");
	const struct compare_cell *c = &row->cell[l];
	struct figure iops = figure_of(c, FIELD(iops)), of_bare = { .n = 0 }, added = { .n = 0 };
	static const size_t latency[] = { FIELD(p50_ns), FIELD(p99_ns), FIELD(p999_ns) };
	char buf[16];

	if (bare && bare != row) {
		of_bare = figure_ratio(c, &bare->cell[l], FIELD(iops));
		added = figure_added(c, &bare->cell[l], FIELD(p50_ns));
	}
	cell(out, 7, &iops, format_iops(iops.value, buf));
	snprintf(buf, sizeof(buf), figure_spread(&iops) < 9.99 ? "+-%.0f%%" : ">999%%",
		 100 * figure_spread(&iops));
	cell(out, 5, &iops, iops.n > 1 ? buf : "");
	snprintf(buf, sizeof(buf), "%.*f %%", of_bare.value < 0.1, 100 * of_bare.value);
	cell(out, 6, &of_bare, buf);
	for (size_t i = 0; i < ARRAY_SIZE(latency); i++) {
		struct figure f = figure_of(c, latency[i]);

		cell(out, 6, &f, format_us(f.value, buf));
		if (!i)
			cell(out, 6, &added, format_us(added.value, buf));
	}
}

static void count_cells(const struct compare_row *row, unsigned l, FILE *out)
{
	static const size_t count[] = { FIELD(kicks), FIELD(irqs), FIELD(exits) };
	const struct compare_cell *c = &row->cell[l];
	struct figure cpu = figure_of(c, FIELD(cpu_ns));
	char buf[16];

	for (size_t i = 0; i < ARRAY_SIZE(count); i++) {
		struct figure f = figure_of(c, count[i]);

		snprintf(buf, sizeof(buf), "%.*f", f.value < 100 ? 2 : 0, f.value);
		cell(out, 6, &f, buf);
	}
	cell(out, 6, &cpu, format_us(cpu.value, buf));
	fputc('\n', out);
}

static void load_table(const struct compare_report *r, unsigned l, FILE *out)
{
	fprintf(out, "\n%s\n%-*s %7s %5s %6s %6s %6s %6s %6s %6s %6s %6s %6s\n",
		r->load[l]->title, TITLE, "", "IOPS", "", "of", "p50", "added", "p99", "p99.9",
		"kicks", "irqs", "exits", "CPU");
	fprintf(out, "%-*s %7s %5s %6s %6s %6s %6s %6s %20s %6s\n", TITLE, "", "", "",
		"bare", "us", "us", "us", "us", "a request", "us");
	for (unsigned i = 0; i < r->nrow; i++) {
		const struct compare_row *row = &r->row[i];

		if (*row->skipped || !row->timed)
			continue;
		fprintf(out, "%-*s", TITLE, row->path->title);
		times_cells(r, row, l, out);
		count_cells(row, l, out);
	}
}

/* Guests under emulation: counts of the standard loads. */
static void counts_table(const struct compare_report *r, FILE *out)
{
	char buf[16];

	if (!report_has_untimed(r))
		return;
	fprintf(out, "\nGuests under emulation: counted, not timed\n%-*s", TITLE,
		"a request costs");
	for (unsigned l = 0; l < r->nload; l++)
		if (r->load[l]->standard)
			fprintf(out, " %6s %6s, depth %-3u", "kicks", "irqs", r->load[l]->depth);
	fputc('\n', out);
	for (unsigned i = 0; i < r->nrow; i++) {
		const struct compare_row *row = &r->row[i];

		if (*row->skipped || row->timed)
			continue;
		fprintf(out, "%-*s", TITLE, row->path->title);
		for (unsigned l = 0; l < r->nload; l++) {
			if (!r->load[l]->standard)
				continue;
			struct figure kicks = figure_of(&row->cell[l], FIELD(kicks));
			struct figure irqs = figure_of(&row->cell[l], FIELD(irqs));

			snprintf(buf, sizeof(buf), "%.2f", kicks.value);
			cell(out, 6, &kicks, buf);
			snprintf(buf, sizeof(buf), "%.2f", irqs.value);
			cell(out, 6, &irqs, buf);
			if (l + 1 < r->nload)
				fprintf(out, "%11s", "");
		}
		fputc('\n', out);
	}
}

static void verified_line(const struct compare_report *r, FILE *out)
{
	uint64_t sum_b = 0;
	unsigned paths = 0;

	for (unsigned i = 0; i < r->nrow; i++) {
		if (*r->row[i].skipped || !r->row[i].verified_b)
			continue;
		sum_b += r->row[i].verified_b;
		paths++;
	}
	if (paths)
		fprintf(out, "\nBytes read back as they had been written: %.1f MiB, over %u path%s\n",
			(double)sum_b / (double)MIB, paths, paths == 1 ? "" : "s");
}

/* What each costs at one load, and the load that each keeps up with. */
static void paced_table(const struct compare_report *r, FILE *out)
{
	char buf[16], pct[16] = "-";

	if (r->paced_iops <= 0)
		return;
	fprintf(out, "\nOne load that all sustain, %s IOPS of 4 KiB random reads, and each one's "
		"limit\n%-*s %10s %9s %8s %16s\n", format_iops(r->paced_iops, buf), TITLE, "",
		"host CPUs", "of bare", "p50 us", "keeps up with");
	for (unsigned i = 0; i < r->nrow; i++) {
		const struct compare_row *row = &r->row[i];
		struct figure cpus = report_paced_cpus(r, row), of = report_paced_pct(r, row);
		struct figure p50 = figure_of(&row->paced, FIELD(p50_ns));
		struct figure most = report_threshold(row);
		char limit[32];

		if (*row->skipped || !row->timed)
			continue;
		fprintf(out, "%-*s", TITLE, row->path->title);
		snprintf(buf, sizeof(buf), "%.2f", cpus.value);
		cell(out, 10, &cpus, buf);
		snprintf(pct, sizeof(pct), "%.0f %%", of.value);
		cell(out, 9, &of, pct);
		cell(out, 8, &p50, format_us(p50.value, buf));
		snprintf(limit, sizeof(limit), "%s IOPS", format_iops(most.value, buf));
		cell(out, 16, &most, limit);
		fputc('\n', out);
	}
	fputs("The folklore: virtualisation costs less than 10 % extra, which would be 110 % of "
	      "bare.\n", out);
}

static void keeps_table(const struct compare_report *r, FILE *out)
{
	const char *last = NULL;

	for (unsigned i = 0; i < r->nrow; i++) {
		const struct compare_row *row = &r->row[i];

		if (is_host(row) || (last && !strcmp(last, row->path->keeps)))
			continue;
		fputs(last ? "" : "\nWhat stays of the hypervisor's features\n", out);
		last = row->path->keeps;
		fprintf(out, "%-*.*s  %s\n", TITLE, (int)strcspn(row->path->title, ","),
			row->path->title, *last ? last : "none");
	}
}

static void skipped_lines(const struct compare_report *r, FILE *out)
{
	bool any = false;

	for (unsigned i = 0; i < r->nrow; i++) {
		if (!*r->row[i].skipped)
			continue;
		fprintf(out, "%s%s: %s\n", any ? "" : "\nNot measured\n", r->row[i].path->title,
			r->row[i].skipped);
		any = true;
	}
}

static void fast12_table(const struct compare_report *r, FILE *out)
{
	CLEANUP(base_free) char *text = report_fast12(r);
	char *save = NULL;

	if (!text || !*text)
		return;
	fprintf(out, "\n%-*s  %10s  %s\n", TITLE, "", "FAST'12", "here");
	for (char *l = strtok_r(text, "\n", &save); l; l = strtok_r(NULL, "\n", &save)) {
		char *theirs = strchr(l, '|'), *ours = strrchr(l, '|');

		fprintf(out, "%-*.*s  %10.*s  %s\n", TITLE, (int)(theirs - l), l,
			(int)(ours - theirs - 1), theirs + 1, ours + 1);
	}
}

/* Sentences, broken between words. */
static void wrapped(const char *text, FILE *out)
{
	size_t at = 0;

	for (; text && *text; text += strspn(text, " ")) {
		size_t len = strcspn(text, " \n");

		if (at && at + 1 + len > WIDTH)
			at = (fputc('\n', out), 0);
		at += (size_t)fprintf(out, "%s%.*s", at ? " " : "", (int)len, text);
		text += len;
		if (*text == '\n') {
			fputc(*text++, out);
			at = 0;
		}
	}
}

void compare_text(const struct compare_report *r, FILE *out)
{
	CLEANUP(base_free) char *answer = report_answer(r), *warnings = report_warnings(r);

	fprintf(out, "%s; %s\nMedium: %s. %u round%s of %.2g s each, in turn; medians, +- half the "
		"reach of the rounds\n", r->host, r->programs, r->medium, r->rounds,
		r->rounds == 1 ? "" : "s", r->seconds);
	for (unsigned l = 0; l < r->nload; l++)
		load_table(r, l, out);
	counts_table(r, out);
	verified_line(r, out);
	paced_table(r, out);
	keeps_table(r, out);
	fast12_table(r, out);
	skipped_lines(r, out);
	if (warnings && *warnings) {
		fputc('\n', out);
		wrapped(warnings, out);
	}
	if (answer && *answer) {
		fputc('\n', out);
		wrapped(answer, out);
	}
}
