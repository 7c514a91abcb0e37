/* SPDX-License-Identifier: Apache-2.0 */
#include "function/limit/limit_ctl.h"

#include "function/limit/limit.h"

static const struct ctl_param limit_params[] = {
	{ .name = "iops", .type = CTL_UINT, .value = "0", .max = NS_PER_S,
	  .help = "Requests a second: reads, writes, discards, write-zeroes (0: no limit)" },
	{ .name = "bytes", .type = CTL_SIZE, .value = "0", .max = 1024 * 1024 * GIB,
	  .help = "Bytes a second read and written (0: no limit)" },
	{ .name = "discards", .type = CTL_UINT, .value = "0", .max = NS_PER_S,
	  .help = "Discards and write-zeroes a second, which then are none of iops (0: they are)" },
	{ .name = "burst", .type = CTL_TIME, .value = "10ms", .min = LIMIT_BURST_MIN_NS,
	  .max = LIMIT_BURST_MAX_NS,
	  .help = "Unused allowance that may be used at once: as much as in this time" },
	{ 0 },
};

static struct limit_conf conf_of(const json_t *params)
{
	return (struct limit_conf){ .iops = ctl_u64(params, "iops"),
				    .bytes = ctl_u64(params, "bytes"),
				    .discards = ctl_u64(params, "discards"),
				    .burst_ns = ctl_ns(params, "burst") };
}

static int open_limit(const json_t *params, struct function **ret, struct ctl_error *err)
{
	struct limit_conf c = conf_of(params);

	if (limit_open(&c, ret))
		return ctl_fail(err, -ENOMEM, "no_memory", NULL, "out of memory");
	return 0;
}

static int set_limit(struct function *f, const json_t *params, struct ctl_error *err)
{
	struct limit_conf c = conf_of(params);

	limit_set(f, &c);
	return 0;
}

static void show_limit(const struct function *f, json_t *into)
{
	json_object_set_new(into, "delayed", json_integer((json_int_t)limit_delayed(f)));
}

const struct function_kind limit_function_kind = {
	.ctl = { .name = "limit", .help = "Let so many requests and bytes a second pass, no more",
		 .params = limit_params },
	.open = open_limit,
	.set = set_limit,
	.show = show_limit,
};
