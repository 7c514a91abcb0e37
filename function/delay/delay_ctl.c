/* SPDX-License-Identifier: Apache-2.0 */
#include "function/delay/delay_ctl.h"

#include "base/parse.h"
#include "function/delay/delay.h"

#define DELAY_MAX_NS (3600 * NS_PER_S)

static const struct ctl_param delay_params[] = {
	{ .name = "read", .type = CTL_STRING, .value = "0", .max = 24,
	  .help = "What a read waits: 500us, 2ms, 1s" },
	{ .name = "write", .type = CTL_STRING, .value = "0", .max = 24,
	  .help = "What a write, discard or write-zeroes waits" },
	{ .name = "flush", .type = CTL_STRING, .value = "0", .max = 24,
	  .help = "What a flush waits" },
	{ 0 },
};

static int read_time(const json_t *params, const char *key, uint64_t *ret_ns, struct ctl_error *err)
{
	const char *text = ctl_str(params, key);
	int code = text ? parse_ns(text, ret_ns) : 0;

	if (code == -EINVAL)
		return ctl_fail(err, code, "bad_value", key,
				"'%s' is not a time such as 500us, 2ms or 1s", text);
	if (code || *ret_ns > DELAY_MAX_NS)
		return ctl_fail(err, -ERANGE, "out_of_range", key, "at most 3600s, not '%s'", text);
	return 0;
}

static int conf_of(const json_t *params, struct delay_conf *ret_conf, struct ctl_error *err)
{
	struct delay_conf c = { 0 };
	int code = read_time(params, "read", &c.read_ns, err);

	if (!code)
		code = read_time(params, "write", &c.write_ns, err);
	if (!code)
		code = read_time(params, "flush", &c.flush_ns, err);
	if (!code)
		*ret_conf = c;
	return code;
}

static int open_delay(const json_t *params, struct function **ret, struct ctl_error *err)
{
	struct delay_conf c;
	int code = conf_of(params, &c, err);

	if (code)
		return code;
	if (delay_open(&c, ret))
		return ctl_fail(err, -ENOMEM, "no_memory", NULL, "out of memory");
	return 0;
}

static int set_delay(struct function *f, const json_t *params, struct ctl_error *err)
{
	struct delay_conf c;
	int code = conf_of(params, &c, err);

	if (!code)
		delay_set(f, &c);
	return code;
}

const struct function_kind delay_function_kind = {
	.ctl = { .name = "delay", .help = "Make each request wait, to see what a slow disk does",
		 .params = delay_params },
	.open = open_delay,
	.set = set_delay,
};
