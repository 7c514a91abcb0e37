/* SPDX-License-Identifier: Apache-2.0 */
#include "core/req.h"

static const char *const op_name[REQ_OPS] = { "read", "write", "flush", "discard", "zeroes" };
static const char *const status_name[REQ_STATUSES] = {
	[REQ_OK] = "ok",	   [REQ_IOERR] = "io_error",	   [REQ_NOSPC] = "no_space",
	[REQ_RANGE] = "range",	   [REQ_RDONLY] = "read_only", [REQ_UNSUPP] = "unsupported",
	[REQ_TIMEOUT] = "timeout",
};

unsigned reqs_close_ranks(struct req **reqs, unsigned n)
{
	unsigned left = 0;

	for (unsigned i = 0; i < n; i++)
		if (reqs[i])
			reqs[left++] = reqs[i];
	return left;
}

const char *req_op_name(enum req_op op)
{
	return op_name[op];
}

const char *req_status_name(enum req_status status)
{
	return status_name[status];
}
