/* SPDX-License-Identifier: Apache-2.0 */
#include "compare/figure.h"

#include <stdlib.h>
#include <string.h>

#define KEPT_UP 0.9 /* of the paced load, done */

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

struct figure figure_median(const double *value, unsigned n)
{
	double v[COMPARE_ROUNDS_MAX];

	if (!n)
		return (struct figure){ 0 };
	memcpy(v, value, n * sizeof(*v));
	qsort(v, n, sizeof(*v), by_value);
	return (struct figure){ .value = (v[(n - 1) / 2] + v[n / 2]) / 2, .low = v[0],
				.high = v[n - 1], .n = n };
}

/* The field of round @i, if it is known. */
static bool known(const struct compare_cell *c, unsigned i, size_t field, double *ret)
{
	const struct compare_sample *s = &c->round[i];

	if (!s->requests)
		return false;
	memcpy(ret, (const char *)s + field, sizeof(*ret));
	return *ret >= 0;
}

struct figure figure_of(const struct compare_cell *c, size_t field)
{
	double v[COMPARE_ROUNDS_MAX];
	unsigned n = 0;

	for (unsigned i = 0; i < COMPARE_ROUNDS_MAX; i++)
		n += known(c, i, field, &v[n]);
	return figure_median(v, n);
}

/* @top and @base of the same round, as often as both are known. Return: how often. */
static unsigned pairs(const struct compare_cell *c, const struct compare_cell *base, size_t field,
		      double *top, double *bottom)
{
	unsigned n = 0;

	for (unsigned i = 0; i < COMPARE_ROUNDS_MAX; i++)
		if (known(c, i, field, &top[n]) && known(base, i, field, &bottom[n]))
			n++;
	return n;
}

struct figure figure_ratio(const struct compare_cell *c, const struct compare_cell *base,
			   size_t field)
{
	double top[COMPARE_ROUNDS_MAX], bottom[COMPARE_ROUNDS_MAX], v[COMPARE_ROUNDS_MAX];
	unsigned all = pairs(c, base, field, top, bottom), n = 0;

	for (unsigned i = 0; i < all; i++)
		if (bottom[i] > 0)
			v[n++] = top[i] / bottom[i];
	return figure_median(v, n < 2 ? 0 : n);
}

struct figure figure_added(const struct compare_cell *c, const struct compare_cell *base,
			   size_t field)
{
	double top[COMPARE_ROUNDS_MAX], bottom[COMPARE_ROUNDS_MAX];
	unsigned n = pairs(c, base, field, top, bottom);

	for (unsigned i = 0; i < n; i++)
		top[i] -= bottom[i];
	return figure_median(top, n < 2 ? 0 : n);
}

double figure_spread(const struct figure *f)
{
	return f->n > 1 && f->value > 0 ? (f->high - f->low) / 2 / f->value : 0;
}

const struct compare_row *report_row(const struct compare_report *r, const char *id)
{
	for (unsigned i = 0; i < r->nrow; i++)
		if (!strcmp(r->row[i].path->id, id))
			return *r->row[i].skipped ? NULL : &r->row[i];
	return NULL;
}

int report_load(const struct compare_report *r, const char *id)
{
	for (unsigned i = 0; i < r->nload; i++)
		if (!strcmp(r->load[i]->id, id))
			return (int)i;
	return -1;
}

bool report_has_untimed(const struct compare_report *r)
{
	for (unsigned i = 0; i < r->nrow; i++)
		if (!r->row[i].timed && !*r->row[i].skipped)
			return true;
	return false;
}

struct figure report_threshold(const struct compare_row *row)
{
	double v[COMPARE_ROUNDS_MAX];
	unsigned n = 0;

	for (unsigned i = 0; i < COMPARE_ROUNDS_MAX; i++)
		if (row->threshold[i] > 0)
			v[n++] = row->threshold[i];
	return figure_median(v, n);
}

struct figure report_paced_cpus(const struct compare_report *r, const struct compare_row *row)
{
	double v[COMPARE_ROUNDS_MAX];
	unsigned n = 0;

	for (unsigned i = 0; i < COMPARE_ROUNDS_MAX; i++) {
		const struct compare_sample *s = &row->paced.round[i];

		if (s->requests && s->cpu_ns >= 0 && s->iops >= KEPT_UP * r->paced_iops)
			v[n++] = s->cpu_ns * r->paced_iops / 1e9;
	}
	return figure_median(v, n);
}

struct figure report_paced_pct(const struct compare_report *r, const struct compare_row *row)
{
	const struct compare_row *bare = report_row(r, "bare");
	struct figure f = { .n = 0 };

	if (bare && report_paced_cpus(r, row).n)
		f = figure_ratio(&row->paced, &bare->paced, FIELD(cpu_ns));
	f.value *= 100;
	f.low *= 100;
	f.high *= 100;
	return f;
}

char *format_iops(double iops, char *buf)
{
	double v = iops >= 1e6 ? iops / 1e6 : iops >= 1e3 ? iops / 1e3 : iops;
	const char *unit = iops >= 1e6 ? " M" : iops >= 1e3 ? " k" : "";

	snprintf(buf, 16, "%.*f%s", v >= 100 || !*unit ? 0 : v >= 10 ? 1 : 2, v, unit);
	return buf;
}

char *format_us(double ns, char *buf)
{
	double us = ns / 1000, size = us < 0 ? -us : us;

	snprintf(buf, 16, "%.*f", size >= 100 ? 0 : size >= 10 ? 1 : 2, us);
	return buf;
}
