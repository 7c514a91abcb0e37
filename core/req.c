/* SPDX-License-Identifier: Apache-2.0 */
#include "core/req.h"

#include <string.h>

static const char *const op_name[REQ_OPS] = { "read", "write", "flush", "discard", "zeroes" };
static const char *const status_name[REQ_STATUSES] = {
	[REQ_OK] = "ok",	   [REQ_IOERR] = "io_error",	   [REQ_NOSPC] = "no_space",
	[REQ_RANGE] = "range",	   [REQ_RDONLY] = "read_only", [REQ_UNSUPP] = "unsupported",
	[REQ_TIMEOUT] = "timeout",
};

void segs_copy(const struct seg *s, unsigned nseg, uint64_t skip_b, void *buf, uint64_t len_b,
	       enum segs_way way)
{
	char *at = buf;

	for (unsigned i = 0; len_b && i < nseg; i++) {
		if (skip_b >= s[i].len_b) {
			skip_b -= s[i].len_b;
			continue;
		}
		char *host = (char *)s[i].host + skip_b;
		size_t n = min_u64(len_b, s[i].len_b - skip_b);

		memcpy(way == SEGS_TO_BUF ? at : host, way == SEGS_TO_BUF ? host : at, n);
		at += n;
		len_b -= n;
		skip_b = 0;
	}
}

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
