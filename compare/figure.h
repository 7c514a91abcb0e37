/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From rounds to figures: medians with their reach, ratios taken within each round, and the
 * sentences that follow from them. Pure; any thread.
 */
#pragma once

#include "compare/compare.h"

/* A median over @n rounds, and the lowest and highest of them. n 0: nothing was measured. */
struct figure {
	double value, low, high;
	unsigned n;
};

/* Which number of a sample. */
#define FIELD(name) offsetof(struct compare_sample, name)

/* Of the rounds in which the field is known. */
struct figure figure_of(const struct compare_cell *c, size_t field);
/* @c against @base in the same round; of fewer than two rounds there is no ratio (n 0). */
struct figure figure_ratio(const struct compare_cell *c, const struct compare_cell *base,
			   size_t field);
struct figure figure_added(const struct compare_cell *c, const struct compare_cell *base,
			   size_t field);
struct figure figure_median(const double *value, unsigned n);

/* How far the rounds lie apart: half of their reach as a share of the median; 0 of one round. */
double figure_spread(const struct figure *f);

/* The row of a path. Return: NULL if it is not in the report or was not measured. */
const struct compare_row *report_row(const struct compare_report *r, const char *id);
/* The place of a load. Return: -1: not measured. */
int report_load(const struct compare_report *r, const char *id);
/* Whether there is any row with speeds other than the bare one, whether any is without. */
bool report_has_untimed(const struct compare_report *r);

/* Load that the path kept up with, IOPS. */
struct figure report_threshold(const struct compare_row *row);
/* CPUs that the paced load takes, of the rounds in which it was kept up with. */
struct figure report_paced_cpus(const struct compare_report *r, const struct compare_row *row);
/* ... in per cent of the bare host's. */
struct figure report_paced_pct(const struct compare_report *r, const struct compare_row *row);

/* The answer in plain words, and what FAST'12 reported beside it: sentences divided by newlines.
 * Ownership: the caller frees it. Return: NULL without memory. */
char *report_answer(const struct compare_report *r);
char *report_fast12(const struct compare_report *r);
/* What to be told before believing any of it: lines, perhaps none. As above. */
char *report_warnings(const struct compare_report *r);

/* "19.4 M", "96.5 k", "850". @buf holds 16 bytes. Return: @buf. */
char *format_iops(double iops, char *buf);
/* "0.52", "57.3", "1,240": microseconds of @ns. As above. */
char *format_us(double ns, char *buf);
