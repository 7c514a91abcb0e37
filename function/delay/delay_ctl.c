/* SPDX-License-Identifier: Apache-2.0 */
#include "function/delay/delay_ctl.h"

#include "function/delay/delay.h"

#define DELAY_MAX_NS (3600 * NS_PER_S)

static const struct ctl_param delay_params[] = {
	{ .name = "read", .type = CTL_TIME, .value = "0", .max = DELAY_MAX_NS,
	  .help = "What a read waits" },
	{ .name = "write", .type = CTL_TIME, .value = "0", .max = DELAY_MAX_NS,
	  .help = "What a write, discard or write-zeroes waits" },
	{ .name = "flush", .type = CTL_TIME, .value = "0", .max = DELAY_MAX_NS,
	  .help = "What a flush waits" },
	{ 0 },
};

static struct delay_conf conf_of(const json_t *params)
{
	return (struct delay_conf){ .read_ns = ctl_ns(params, "read"),
				    .write_ns = ctl_ns(params, "write"),
				    .flush_ns = ctl_ns(params, "flush") };
}

static int open_delay(const json_t *params, struct function **ret, struct ctl_error *err)
{
	struct delay_conf c = conf_of(params);

	if (delay_open(&c, ret))
		return ctl_fail(err, -ENOMEM, "no_memory", NULL, "out of memory");
	return 0;
}

static int set_delay(struct function *f, const json_t *params, struct ctl_error *err)
{
	struct delay_conf c = conf_of(params);

	delay_set(f, &c);
	return 0;
}

const struct function_kind delay_function_kind = {
	.ctl = { .name = "delay", .help = "Make each request wait, to see what a slow disk does",
		 .params = delay_params },
	.open = open_delay,
	.set = set_delay,
};
