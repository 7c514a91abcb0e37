/* SPDX-License-Identifier: Apache-2.0 */
/* The judging of parameters against their tables: control/check.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "control/ctl.h"

static const char *const modes[] = { "always", "adaptive", "never", NULL };

static const struct ctl_param file_params[] = {
	{ .name = "path", .type = CTL_PATH, .help = "the file", .required = true },
	{ .name = "direct", .type = CTL_BOOL, .help = "past the page cache", .value = "on" },
	{ 0 },
};
static const struct ctl_param limit_params[] = {
	{ .name = "iops", .type = CTL_UINT, .help = "requests a second", .min = 1, .max = 1000000 },
	{ 0 },
};
static const struct ctl_kind file_kind = { "file", "a file", file_params };
static const struct ctl_kind null_kind = { "null", "nothing", NULL };
static const struct ctl_kind limit_kind = { "limit", "slower", limit_params };
static const struct ctl_kind *const media[] = { &file_kind, &null_kind, NULL };
static const struct ctl_kind *const functions[] = { &limit_kind, NULL };
static const struct ctl_kind_set sets[] = { { "medium", media }, { "function", functions }, { 0 } };
static const char *const switches[] = { "on", "off", NULL };
static const struct ctl_param params[] = {
	{ .name = "name", .type = CTL_NAME, .help = "its name", .required = true },
	{ .name = "size", .type = CTL_SIZE, .help = "bytes", .min = 512 },
	{ .name = "queues", .type = CTL_UINT, .help = "queues", .min = 1, .max = 64,
	  .value = "64" },
	{ .name = "wait", .type = CTL_TIME, .help = "a while", .min = 1000, .max = 60000000000 },
	{ .name = "readonly", .type = CTL_BOOL, .help = "no writes" },
	{ .name = "poll", .type = CTL_ENUM, .help = "mode", .choices = modes },
	{ .name = "where", .type = CTL_PATH, .help = "place", .choices = switches },
	{ .name = "serial", .type = CTL_STRING, .help = "serial", .max = 20 },
	{ .name = "medium", .type = CTL_KIND, .help = "medium", .kind_set = "medium" },
	{ .name = "function", .type = CTL_KIND, .help = "f", .kind_set = "function", .list = true },
	{ 0 },
};
static const struct ctl_tables tables = { .sets = sets };

/* Checks @text; what came of it is compared with @want as compact JSON with sorted keys. */
static void accepts(const char *text, const char *want)
{
	struct ctl_error err = { 0 };
	json_t *in = json_loads(text, 0, NULL), *out = NULL;

	assert_non_null(in);
	assert_int_equal(ctl_check(&tables, params, in, &out, &err), 0);
	char *got = json_dumps(out, JSON_COMPACT | JSON_SORT_KEYS);
	assert_string_equal(got, want);
	free(got);
	json_decref(in);
	json_decref(out);
}

static void refuses(const char *text, const char *id, const char *param, const char *says)
{
	struct ctl_error err = { 0 };
	json_t *in = json_loads(text, JSON_ALLOW_NUL, NULL), *out = NULL;

	assert_non_null(in);
	assert_true(ctl_check(&tables, params, in, &out, &err) < 0);
	assert_null(out);
	assert_string_equal(err.id, id);
	assert_string_equal(err.param, param);
	if (!strstr(err.text, says))
		fail_msg("'%s' does not say '%s'", err.text, says);
	json_decref(in);
}

static void fills_in_defaults(void **state)
{
	accepts("{\"name\":\"a\"}", "{\"name\":\"a\",\"queues\":64}");
}

static void reads_sizes_numbers_and_switches_from_text(void **state)
{
	accepts("{\"name\":\"a\",\"size\":\"20G\",\"queues\":\"0x10\",\"readonly\":\"on\"}",
		"{\"name\":\"a\",\"queues\":16,\"readonly\":true,\"size\":21474836480}");
	accepts("{\"name\":\"a\",\"size\":512,\"queues\":1,\"readonly\":false}",
		"{\"name\":\"a\",\"queues\":1,\"readonly\":false,\"size\":512}");
}

static void takes_a_word_where_a_path_could_be(void **state)
{
	accepts("{\"name\":\"a\",\"where\":\"on\"}",
		"{\"name\":\"a\",\"queues\":64,\"where\":\"on\"}");
	accepts("{\"name\":\"a\",\"where\":false}",
		"{\"name\":\"a\",\"queues\":64,\"where\":\"off\"}");
	accepts("{\"name\":\"a\",\"where\":\"/on\"}",
		"{\"name\":\"a\",\"queues\":64,\"where\":\"/on\"}");
	refuses("{\"name\":\"a\",\"where\":\"of\"}", "bad_value", "where", "absolute");
}

static void names_an_unknown_parameter_and_the_allowed_ones(void **state)
{
	refuses("{\"name\":\"a\",\"sise\":1}", "unknown_param", "sise",
		"allowed: name, size, queues, wait, readonly, poll, where, serial, medium, function");
	refuses("{\"name\":\"a\",\"medium\":{\"kind\":\"null\",\"x\":1}}", "unknown_param",
		"medium.x", "no such parameter of null, none is allowed");
}

static void names_a_missing_parameter(void **state)
{
	refuses("{}", "missing_param", "name", "is needed: its name");
	refuses("{\"name\":\"a\",\"medium\":\"file\"}", "missing_param", "medium.path", "the file");
}

static void refuses_names_that_are_no_names(void **state)
{
	refuses("{\"name\":\"\"}", "out_of_range", "name", "at least 1");
	refuses("{\"name\":\"../x\"}", "bad_value", "name", "no name");
	refuses("{\"name\":\"a/b\"}", "bad_value", "name", "no name");
	refuses("{\"name\":7}", "bad_value", "name", "a text");
	refuses("{\"name\":\"a\\u0000b\"}", "bad_value", "name", "a text");
	refuses("{\"name\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}",
		"out_of_range", "name", "at most 64");
}

static void refuses_numbers_out_of_range(void **state)
{
	refuses("{\"name\":\"a\",\"queues\":0}", "out_of_range", "queues", "from 1 to 64");
	refuses("{\"name\":\"a\",\"queues\":-1}", "out_of_range", "queues", "from 1 to 64");
	refuses("{\"name\":\"a\",\"queues\":65}", "out_of_range", "queues", "from 1 to 64");
	refuses("{\"name\":\"a\",\"size\":\"8192P\"}", "out_of_range", "size", "2^63");
	refuses("{\"name\":\"a\",\"size\":\"99999999999999999999\"}", "out_of_range", "size",
		"2^63");
}

static void reads_times_and_keeps_them_as_texts(void **state)
{
	static const char *const bad[] = { "2", "ms", "-1ms", "1 ms", "1min", "", "1msx" };
	char text[64];

	accepts("{\"name\":\"a\",\"wait\":\"20ms\"}",
		"{\"name\":\"a\",\"queues\":64,\"wait\":\"20ms\"}");
	/* the same time is the same text */
	accepts("{\"name\":\"a\",\"wait\":\"2000000us\"}",
		"{\"name\":\"a\",\"queues\":64,\"wait\":\"2s\"}");
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		snprintf(text, sizeof(text), "{\"name\":\"a\",\"wait\":\"%s\"}", bad[i]);
		refuses(text, "bad_value", "wait", "is not a time");
	}
	refuses("{\"name\":\"a\",\"wait\":2}", "bad_value", "wait", "such as 500us");
	refuses("{\"name\":\"a\",\"wait\":0}", "out_of_range", "wait", "from 1us to 60s");
	refuses("{\"name\":\"a\",\"wait\":\"61s\"}", "out_of_range", "wait", "from 1us to 60s");
	refuses("{\"name\":\"a\",\"wait\":\"99999999999999999999s\"}", "out_of_range", "wait",
		"60s");
}

static void refuses_values_of_another_type(void **state)
{
	refuses("{\"name\":\"a\",\"size\":\"20Q\"}", "bad_value", "size", "20Q");
	refuses("{\"name\":\"a\",\"size\":1.5}", "bad_value", "size", "1.5");
	refuses("{\"name\":\"a\",\"queues\":[1]}", "bad_value", "queues", "whole number");
	refuses("{\"name\":\"a\",\"readonly\":1}", "bad_value", "readonly", "on or off");
	refuses("{\"name\":\"a\",\"poll\":\"often\"}", "bad_value", "poll",
		"always, adaptive, never");
	refuses("{\"name\":\"a\",\"poll\":3}", "bad_value", "poll", "adaptive");
	refuses("{\"name\":\"a\",\"serial\":\"123456789012345678901\"}", "out_of_range", "serial",
		"at most 20");
	refuses("[]", "bad_value", "", "object");
}

static void reads_kinds_from_objects_and_from_text(void **state)
{
	const char *want = "{\"medium\":{\"direct\":false,\"kind\":\"file\",\"path\":\"/w,1\"},"
			   "\"name\":\"a\",\"queues\":64}";

	accepts("{\"name\":\"a\",\"medium\":{\"kind\":\"file\",\"path\":\"/w,1\",\"direct\":false}}",
		want);
	accepts("{\"name\":\"a\",\"medium\":\"file,path=/w,,1,direct=off\"}", want);
}

static void refuses_bad_kinds(void **state)
{
	refuses("{\"name\":\"a\",\"medium\":\"tape\"}", "unknown_kind", "medium", "file, null");
	refuses("{\"name\":\"a\",\"medium\":{}}", "unknown_kind", "medium", "file, null");
	refuses("{\"name\":\"a\",\"medium\":3}", "unknown_kind", "medium", "file, null");
	refuses("{\"name\":\"a\",\"medium\":\"file,path\"}", "bad_value", "medium", "key=value");
	refuses("{\"name\":\"a\",\"medium\":\"file,path=/a,path=/b\"}", "bad_value", "medium",
		"twice");
	refuses("{\"name\":\"a\",\"medium\":\"file,path=web.img\"}", "bad_value", "medium.path",
		"absolute");
}

static void takes_one_or_many_for_a_list(void **state)
{
	accepts("{\"name\":\"a\",\"function\":\"limit,iops=5\"}",
		"{\"function\":[{\"iops\":5,\"kind\":\"limit\"}],\"name\":\"a\",\"queues\":64}");
	refuses("{\"name\":\"a\",\"function\":[\"limit,iops=5\",\"limit,iops=0\"]}",
		"out_of_range", "function[1].iops", "from 1 to 1000000");
}

static void refuses_a_list_without_end(void **state)
{
	char text[2000] = "{\"name\":\"a\",\"function\":[\"limit\"";

	for (int i = 0; i < 64; i++)
		strcat(text, ",\"limit\"");
	strcat(text, "]}");
	refuses(text, "out_of_range", "function", "at most 64");
}

static void finds_a_checked_kind(void **state)
{
	json_t *v = json_pack("{s:s}", "kind", "null");

	assert_ptr_equal(ctl_kind_of(&tables, "medium", v), &null_kind);
	assert_null(ctl_kind_of(&tables, "function", v));
	json_decref(v);
}

static void schema_lists_every_parameter(void **state)
{
	static const struct ctl_cmd cmds[] = { { .noun = "disk", .verb = "create",
						 .params = params },
					       { 0 } };
	static const struct ctl_cmd *const all[] = { cmds, NULL };
	struct ctl_tables t = { .cmds = all, .sets = sets };
	json_t *s = ctl_schema(&t, "1");
	json_t *c = json_array_get(json_object_get(s, "commands"), 0);

	assert_int_equal(json_array_size(json_object_get(c, "params")), 10);
	assert_int_equal(json_array_size(json_object_get(json_object_get(s, "kinds"), "medium")),
			 2);
	assert_ptr_equal(ctl_cmd_find(&t, "disk", "create"), &cmds[0]);
	assert_null(ctl_cmd_find(&t, "disk", "eat"));
	json_decref(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fills_in_defaults),
		cmocka_unit_test(reads_sizes_numbers_and_switches_from_text),
		cmocka_unit_test(takes_a_word_where_a_path_could_be),
		cmocka_unit_test(names_an_unknown_parameter_and_the_allowed_ones),
		cmocka_unit_test(names_a_missing_parameter),
		cmocka_unit_test(refuses_names_that_are_no_names),
		cmocka_unit_test(refuses_numbers_out_of_range),
		cmocka_unit_test(reads_times_and_keeps_them_as_texts),
		cmocka_unit_test(refuses_values_of_another_type),
		cmocka_unit_test(reads_kinds_from_objects_and_from_text),
		cmocka_unit_test(refuses_bad_kinds),
		cmocka_unit_test(takes_one_or_many_for_a_list),
		cmocka_unit_test(refuses_a_list_without_end),
		cmocka_unit_test(finds_a_checked_kind),
		cmocka_unit_test(schema_lists_every_parameter),
	};

	return cmocka_run_group_tests_name("control_check", tests, NULL, NULL);
}
