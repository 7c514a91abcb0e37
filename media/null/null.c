/* SPDX-License-Identifier: Apache-2.0 */
#include "media/null/null.h"

#include <stdlib.h>

#include "core/lane.h"

static void null_submit(struct media_lane *l, struct req **reqs, unsigned n)
{
	reqs_done(reqs, n, REQ_OK);
}

static int null_lane_open(struct media *m, struct poller *p, struct media_lane **ret_lane)
{
	struct media_lane *l = malloc(sizeof(*l));

	if (!l)
		return -ENOMEM;
	media_lane_init(l, m, p);
	*ret_lane = l;
	return 0;
}

static void null_lane_close(struct media_lane *l)
{
	free(l);
}

static void null_close(struct media *m)
{
	free(m);
}

static const struct media_ops null_ops = {
	.kind = "null",
	.close = null_close,
	.lane_open = null_lane_open,
	.lane_close = null_lane_close,
	.submit = null_submit,
};

int null_open(bool readonly, struct media **ret_media)
{
	struct media *m = calloc(1, sizeof(*m));

	if (!m)
		return -ENOMEM;
	m->ops = &null_ops;
	m->caps = (struct media_caps){ .align_b = 1, .blk_b = 512, .discard_gran_b = 512,
				       .zeroes = true,
				       .readonly = readonly, .prompt = true };
	*ret_media = m;
	return 0;
}
