/* SPDX-License-Identifier: Apache-2.0 */
/* From samples to figures, sentences, tables, JSON and a page: compare/figure.c and its users. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>

#include "compare_canned.h"

static struct compare_report r;

static struct compare_cell cell_of(const double *iops, unsigned n)
{
	struct compare_cell c = { 0 };

	for (unsigned i = 0; i < n; i++)
		c.round[i] = (struct compare_sample){ .requests = iops[i] > 0, .iops = iops[i] };
	return c;
}

/* What @write prints. Ownership: the caller frees it. */
static char *printed(void (*write)(const struct compare_report *r, FILE *out))
{
	char *buf = NULL;
	size_t len;
	FILE *f = open_memstream(&buf, &len);

	write(&r, f);
	fclose(f);
	return buf;
}

static void contains(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("no \"%s\" in:\n%s", part, text);
}

static void lacks(const char *text, const char *part)
{
	if (strstr(text, part))
		fail_msg("\"%s\" in:\n%s", part, text);
}

/* The entry of @path and @load. */
static json_t *entry_of(const json_t *report, const char *path, const char *load)
{
	json_t *entry;
	size_t i;

	json_array_foreach(json_object_get(report, "paths"), i, entry)
		if (!strcmp(ctl_str(entry, "path"), path) && !strcmp(ctl_str(entry, "load"), load))
			return entry;
	fail_msg("no entry %s %s", path, load);
	return NULL;
}

static void takes_the_middle_of_rounds(void **state)
{
	struct compare_cell odd = cell_of((double[]){ 30, 10, 20 }, 3);
	struct compare_cell even = cell_of((double[]){ 40, 10, 20, 30 }, 4);
	struct figure f = figure_of(&odd, FIELD(iops));

	assert_int_equal(f.n, 3);
	assert_float_equal(f.value, 20, 1e-9);
	assert_float_equal(f.low, 10, 1e-9);
	assert_float_equal(f.high, 30, 1e-9);
	assert_float_equal(figure_spread(&f), 0.5, 1e-9);
	assert_float_equal(figure_of(&even, FIELD(iops)).value, 25, 1e-9);
}

static void leaves_out_rounds_that_were_not_measured(void **state)
{
	struct compare_cell c = cell_of((double[]){ 30, 0, 20 }, 3);

	c.round[2].iops = -1; /* unknown */
	assert_int_equal(figure_of(&c, FIELD(iops)).n, 1);
	assert_float_equal(figure_of(&c, FIELD(iops)).value, 30, 1e-9);
}

static void takes_ratios_within_a_round_never_of_one_alone(void **state)
{
	struct compare_cell top = cell_of((double[]){ 100, 10, 90 }, 3);
	struct compare_cell base = cell_of((double[]){ 200, 20, 100 }, 3);
	struct compare_cell once = cell_of((double[]){ 0, 20, 0 }, 3);

	/* 0.5, 0.5, 0.9; medians of each alone would give 0.9 */
	assert_float_equal(figure_ratio(&top, &base, FIELD(iops)).value, 0.5, 1e-9);
	assert_int_equal(figure_ratio(&top, &base, FIELD(iops)).n, 3);
	assert_int_equal(figure_ratio(&top, &once, FIELD(iops)).n, 0);
	assert_int_equal(figure_added(&top, &once, FIELD(iops)).n, 0);
	assert_float_equal(figure_added(&top, &base, FIELD(iops)).value, -10, 1e-9);
}

static void prints_numbers_in_three_digits(void **state)
{
	char buf[16];

	assert_string_equal(format_iops(850, buf), "850");
	assert_string_equal(format_iops(9652, buf), "9.65 k");
	assert_string_equal(format_iops(96520, buf), "96.5 k");
	assert_string_equal(format_iops(19.4e6, buf), "19.4 M");
	assert_string_equal(format_us(523, buf), "0.52");
	assert_string_equal(format_us(57300, buf), "57.3");
	assert_string_equal(format_us(1240000, buf), "1240");
	assert_string_equal(format_us(-57300, buf), "-57.3");
}

static void answers_in_plain_words(void **state)
{
	canned_report(&r);
	CLEANUP(base_free) char *answer = report_answer(&r);

	contains(answer, "112 times the IOPS at depth 1 (a median of 0.54 us against 60.0 us)");
	contains(answer, "less host CPU at the same 9,000 IOPS (0.01 CPUs against 0.63)");
	contains(answer, "reaches 90 % of the bare host's IOPS at depth 1 and 60 % at depth 32");
	contains(answer, "keeps migration, suspend, hot-add, resize, limits, statistics and upgrade");
}

static void one_round_gives_no_ratio_and_says_so(void **state)
{
	canned_report(&r);
	r.rounds = 1;
	for (unsigned i = 0; i < r.nrow; i++)
		for (unsigned k = 1; k < COMPARE_ROUNDS_MAX; k++)
			for (unsigned l = 0; l < r.nload; l++)
				r.row[i].cell[l].round[k] = r.row[i].paced.round[k] =
					(struct compare_sample){ 0 };
	CLEANUP(base_free) char *answer = report_answer(&r), *warnings = report_warnings(&r);
	CLEANUP(base_free) char *fast12 = report_fast12(&r), *text = printed(compare_text);

	assert_string_equal(answer,
			    "One round was measured: no ratios, and no answer from them.\n");
	contains(warnings, "One round");
	assert_string_equal(fast12, "");
	lacks(text, "90 %");
}

static void warns_of_other_load_and_of_rounds_far_apart(void **state)
{
	canned_report(&r);
	CLEANUP(base_free) char *none = report_warnings(&r);

	assert_string_equal(none, "");
	r.others_share = 0.31;
	r.row[1].cell[0].round[0].iops *= 3;
	CLEANUP(base_free) char *warnings = report_warnings(&r);

	contains(warnings, "took 31 % of this host's CPUs");
	contains(warnings, "Of 16 IOPS figures 1 have rounds more than 25 % around their median; the "
			   "widest: Postern, exit-free both ways, 4 KiB random read, depth 1.");
}

static void the_table_has_each_path_and_why_one_is_missing(void **state)
{
	canned_report(&r);
	CLEANUP(base_free) char *text = printed(compare_text);

	contains(text, "\n4 KiB random read, depth 1\n");
	contains(text, "Postern, exit-free both ways       1.80 M  +-2%   90 %   0.54   0.06   3.24   8.10"
		       "   0.00   0.00   0.00   1.10\n");
	contains(text, "assigned device: this host has no device to spare");
	contains(text, "One load that all sustain, 9.00 k IOPS");
	contains(text, "less than 10 % extra");
	contains(text, "FAST'12");
	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
		assert_true(strlen(line) <= 110);
}

static void cpu_at_the_paced_load_counts_only_who_kept_up(void **state)
{
	canned_report(&r);
	for (unsigned i = 0; i < r.rounds; i++)
		r.row[4].paced.round[i].iops = r.paced_iops / 2;
	assert_string_equal(r.row[4].path->id, "qemu");
	assert_int_equal(report_paced_cpus(&r, &r.row[4]).n, 0);
	assert_int_equal(report_paced_pct(&r, &r.row[4]).n, 0);
	assert_float_equal(report_paced_cpus(&r, &r.row[2]).value, 0.27f, 1e-6f);
	assert_float_equal(report_paced_pct(&r, &r.row[2]).value, 3000, 1e-3);
}

static void under_emulation_no_speed_of_a_guest_is_shown(void **state)
{
	canned_untimed(&r);
	CLEANUP(base_free) char *text = printed(compare_text), *page = printed(compare_html);
	json_t *json = compare_json(&r), *e = entry_of(json, "postern", "read-4k-d1");
	static const char *const speeds[] = { "iops", "p50_ns", "p99_ns", "p999_ns", "of_bare",
					      "host_cpu_ns_per_io", "exits_per_io" };

	contains(text, "KVM only emulates guest kernels here");
	contains(text, "Guests run under emulation here");
	contains(text, "\nPostern, exit-free both ways        0.00   0.00              0.00   0.00");
	contains(text, "written: 27.3 MiB, over 7 paths\n");
	lacks(text, "1.80 M");
	lacks(page, "1.80 M");
	contains(page, "0.48"); /* the bare host's */
	for (size_t i = 0; i < ARRAY_SIZE(speeds); i++)
		assert_true(json_is_null(json_object_get(e, speeds[i])));
	assert_true(json_is_real(json_object_get(e, "kicks_per_io")));
	assert_int_equal(ctl_u64(e, "verified_b"), 4096000);
	assert_true(json_is_real(json_object_get(entry_of(json, "bare", "read-4k-d1"), "iops")));
	json_decref(json);
}

static void json_has_an_entry_for_each_load_on_each_path(void **state)
{
	canned_report(&r);
	json_t *json = compare_json(&r), *e = entry_of(json, "postern-irq", "read-4k-d32");

	assert_int_equal(json_array_size(json_object_get(json, "paths")), r.nrow * r.nload);
	assert_string_equal(ctl_str(e, "accelerator"), "kvm");
	assert_string_equal(ctl_str(entry_of(json, "bare", "read-4k-d1"), "accelerator"), "host");
	assert_float_equal(json_real_value(json_object_get(e, "iops")), 900e3, 1);
	assert_float_equal(json_real_value(json_object_get(e, "irqs_per_io")), 1, 1e-9);
	assert_true(json_is_null(json_object_get(e, "skipped")));
	assert_int_equal(json_array_size(json_object_get(e, "keeps")), 7);
	e = entry_of(json, "assigned", "read-4k-d1");
	assert_string_equal(ctl_str(e, "skipped"), "this host has no device to spare");
	assert_true(json_is_null(json_object_get(e, "iops")));
	json_decref(json);
}

static void the_page_needs_nothing_else_and_escapes_what_it_is_given(void **state)
{
	canned_report(&r);
	CLEANUP(base_free) char *page = printed(compare_html);

	contains(page, "A processor &lt;of &amp; &quot;ours&quot;&gt;");
	contains(page, "prefers-color-scheme:dark");
	contains(page, "<h2>Where each path saturates</h2>");
	lacks(page, "<script");
	lacks(page, "http://");
	lacks(page, "https://");
	lacks(page, "nan");
	lacks(page, "inf\"");
}

static void an_empty_report_is_a_page_too(void **state)
{
	canned_report(&r);
	for (unsigned i = 0; i < r.nrow; i++)
		strcpy(r.row[i].skipped, "nothing runs here");
	r.paced_iops = 0;
	CLEANUP(base_free) char *page = printed(compare_html), *text = printed(compare_text);

	contains(page, "nothing runs here");
	lacks(page, "<svg");
	contains(text, "nothing runs here");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_the_middle_of_rounds),
		cmocka_unit_test(leaves_out_rounds_that_were_not_measured),
		cmocka_unit_test(takes_ratios_within_a_round_never_of_one_alone),
		cmocka_unit_test(prints_numbers_in_three_digits),
		cmocka_unit_test(answers_in_plain_words),
		cmocka_unit_test(one_round_gives_no_ratio_and_says_so),
		cmocka_unit_test(warns_of_other_load_and_of_rounds_far_apart),
		cmocka_unit_test(the_table_has_each_path_and_why_one_is_missing),
		cmocka_unit_test(cpu_at_the_paced_load_counts_only_who_kept_up),
		cmocka_unit_test(under_emulation_no_speed_of_a_guest_is_shown),
		cmocka_unit_test(json_has_an_entry_for_each_load_on_each_path),
		cmocka_unit_test(the_page_needs_nothing_else_and_escapes_what_it_is_given),
		cmocka_unit_test(an_empty_report_is_a_page_too),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
