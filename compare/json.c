/* SPDX-License-Identifier: Apache-2.0 */
/* The report for programs: a list entry for each load on each path. */
#include <stdlib.h>
#include <string.h>

#include "compare/figure.h"

/* null for what was not measured. */
static json_t *real_or_null(const struct figure *f)
{
	return f->n ? json_real(f->value) : json_null();
}

static json_t *field(const struct compare_row *row, const struct compare_cell *c, size_t which,
		     bool needs_time)
{
	struct figure f = figure_of(c, which);

	if (needs_time && !row->timed)
		f.n = 0;
	return real_or_null(&f);
}

static json_t *keeps(const char *words)
{
	json_t *list = json_array();

	for (const char *at = words; *at;) {
		size_t len = strcspn(at, " ");

		json_array_append_new(list, json_stringn(at, len));
		at += len + (at[len] == ' ');
	}
	return list;
}

static json_t *entry(const struct compare_report *r, const struct compare_row *row, unsigned l)
{
	bool host = row->path->kind == COMPARE_BARE || row->path->kind == COMPARE_CLIENT;
	const struct compare_row *bare = report_row(r, "bare");
	const struct compare_cell *c = &row->cell[l];
	struct figure of_bare = { .n = 0 }, added = { .n = 0 }, iops = figure_of(c, FIELD(iops));

	if (bare && row->timed) {
		of_bare = figure_ratio(c, &bare->cell[l], FIELD(iops));
		added = figure_added(c, &bare->cell[l], FIELD(p50_ns));
	}
	json_t *o = json_pack("{s:s, s:s, s:s}", "path", row->path->id, "accelerator",
			      host ? "host" : r->accel, "load", r->load[l]->id);

	json_object_set_new(o, "p50_ns", field(row, c, FIELD(p50_ns), true));
	json_object_set_new(o, "p99_ns", field(row, c, FIELD(p99_ns), true));
	json_object_set_new(o, "p999_ns", field(row, c, FIELD(p999_ns), true));
	json_object_set_new(o, "iops", field(row, c, FIELD(iops), true));
	json_object_set_new(o, "iops_spread", row->timed && iops.n ?
			    json_real(figure_spread(&iops)) : json_null());
	json_object_set_new(o, "of_bare", real_or_null(&of_bare));
	json_object_set_new(o, "added_ns", real_or_null(&added));
	json_object_set_new(o, "kicks_per_io", field(row, c, FIELD(kicks), false));
	json_object_set_new(o, "irqs_per_io", field(row, c, FIELD(irqs), false));
	json_object_set_new(o, "exits_per_io", field(row, c, FIELD(exits), true));
	json_object_set_new(o, "host_cpu_ns_per_io", field(row, c, FIELD(cpu_ns), true));
	json_object_set_new(o, "verified_b", json_integer((json_int_t)row->verified_b));
	json_object_set_new(o, "rounds", json_integer(iops.n));
	json_object_set_new(o, "keeps", keeps(row->path->keeps));
	json_object_set_new(o, "skipped", *row->skipped ? json_string(row->skipped) : json_null());
	return o;
}

static json_t *paced(const struct compare_report *r, const struct compare_row *row)
{
	struct figure cpus = report_paced_cpus(r, row), pct = report_paced_pct(r, row);
	struct figure threshold = report_threshold(row);
	struct figure p50 = figure_of(&row->paced, FIELD(p50_ns));

	return json_pack("{s:s, s:o, s:o, s:o, s:o}", "path", row->path->id, "threshold_iops",
			 real_or_null(&threshold), "cpus", real_or_null(&cpus), "pct_of_bare",
			 real_or_null(&pct), "p50_ns", real_or_null(&p50));
}

static json_t *lines(char *text)
{
	json_t *list = json_array();
	char *save = NULL;

	for (char *l = text ? strtok_r(text, "\n", &save) : NULL; l;
	     l = strtok_r(NULL, "\n", &save))
		json_array_append_new(list, json_string(l));
	free(text);
	return list;
}

json_t *compare_json(const struct compare_report *r)
{
	json_t *paths = json_array(), *pace = json_array();

	for (unsigned i = 0; i < r->nrow; i++)
		for (unsigned l = 0; l < r->nload; l++)
			json_array_append_new(paths, entry(r, &r->row[i], l));
	for (unsigned i = 0; i < r->nrow; i++)
		if (!*r->row[i].skipped && r->row[i].timed)
			json_array_append_new(pace, paced(r, &r->row[i]));
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:i, s:f, s:f, s:f, s:o, s:o, s:o, s:o}",
			 "date",
			 r->date, "host", r->host, "programs", r->programs, "medium", r->medium,
			 "accelerator", r->accel, "rounds", (int)r->rounds, "seconds", r->seconds,
			 "others_share", r->others_share, "paced_iops", r->paced_iops, "paths",
			 paths,
			 "paced", pace, "warnings", lines(report_warnings(r)), "answer",
			 lines(report_answer(r)));
}
