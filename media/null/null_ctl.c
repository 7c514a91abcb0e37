/* SPDX-License-Identifier: Apache-2.0 */
#include "media/null/null_ctl.h"

#include "media/null/null.h"

static int open_null(const json_t *params, const struct media_want *want, struct media **ret,
		     struct ctl_error *err)
{
	if (null_open(want->readonly, ret))
		return ctl_fail(err, -ENOMEM, "no_memory", NULL, "out of memory");
	return 0;
}

static int resize_null(struct media *m, uint64_t size_b, struct ctl_error *err)
{
	return 0;
}

const struct media_kind null_kind = {
	.ctl = { .name = "null", .help = "Answer at once and touch no data, to measure the path" },
	.open = open_null,
	.resize = resize_null,
};
