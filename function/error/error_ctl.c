/* SPDX-License-Identifier: Apache-2.0 */
#include "function/error/error_ctl.h"

#include <string.h>

#include "core/req.h"
#include "function/error/error.h"

#define SECTOR_B 512
#define SECTOR_MAX (UINT64_MAX / SECTOR_B)

static const char *const ops[] = { "read", "write", "flush", "discard", "zeroes", "all", NULL };
static const char *const statuses[] = { "io_error", "no_space", "abort", NULL };

static const struct ctl_param error_params[] = {
	{ .name = "op", .type = CTL_ENUM, .choices = ops, .value = "all",
	  .help = "Requests that may fail" },
	{ .name = "sector", .type = CTL_UINT, .max = SECTOR_MAX,
	  .help = "Only requests that touch this sector of 512 bytes ..." },
	{ .name = "sectors", .type = CTL_UINT, .value = "1", .min = 1, .max = SECTOR_MAX,
	  .help = "... or one of so many from there on" },
	{ .name = "every", .type = CTL_UINT, .value = "1", .min = 1, .max = INT64_MAX,
	  .help = "Each so many-th of them fails" },
	{ .name = "count", .type = CTL_UINT, .value = "0",
	  .help = "So many fail and then no more (0: without end)" },
	{ .name = "status", .type = CTL_ENUM, .choices = statuses, .value = "io_error",
	  .help = "What the guest is told; or abort: the worker ends, as if by a bug" },
	{ 0 },
};

static unsigned ops_of(const char *name)
{
	unsigned all = (1u << REQ_OPS) - 1;

	for (unsigned op = 0; op < REQ_OPS; op++)
		if (!strcmp(name, ops[op]))
			return 1u << op;
	return all;
}

static int open_error(const json_t *params, struct function **ret, struct ctl_error *err)
{
	uint64_t sector = ctl_u64(params, "sector"), n = ctl_u64(params, "sectors");
	struct error_conf c = { .ops = ops_of(ctl_str(params, "op")),
				.end_b = UINT64_MAX,
				.every = ctl_u64(params, "every"),
				.count = ctl_u64(params, "count"),
				.status = strcmp(ctl_str(params, "status"), "no_space")
						  ? REQ_IOERR
						  : REQ_NOSPC,
				.aborts = !strcmp(ctl_str(params, "status"), "abort") };

	static_assert(REQ_READ == 0 && REQ_WRITE == 1 && REQ_FLUSH == 2 && REQ_DISCARD == 3 &&
		      REQ_ZEROES == 4, "ops[] is in this order");
	if (ctl_has(params, "sector")) {
		c.first_b = sector * SECTOR_B;
		c.end_b = n > SECTOR_MAX - sector ? UINT64_MAX : (sector + n) * SECTOR_B;
	}
	if (error_open(&c, ret))
		return ctl_fail(err, -ENOMEM, "no_memory", NULL, "out of memory");
	return 0;
}

static void show_error(const struct function *f, json_t *into)
{
	json_object_set_new(into, "injected", json_integer((json_int_t)error_injected(f)));
}

const struct function_kind error_function_kind = {
	.ctl = { .name = "error", .help = "Make chosen requests fail, to see what a bad disk does",
		 .params = error_params },
	.open = open_error,
	.show = show_error,
};
