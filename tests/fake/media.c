/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fake/media.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "core/lane.h"

struct script_lane {
	struct media_lane l;
	struct scripted *s;
};

static struct scripted *of(struct media *m)
{
	return container_of(m, struct scripted, m);
}

/* Moves the data, and ends the request. */
static void end(struct scripted *s, struct req *r, enum req_status status)
{
	uint8_t *at = s->store + r->off_b;

	if (status == REQ_OK && r->op == REQ_ZEROES)
		memset(at, 0, r->len_b);
	for (unsigned i = 0; status == REQ_OK && i < r->nseg; i++) {
		if (r->op == REQ_READ)
			memcpy(r->seg[i].host, at, r->seg[i].len_b);
		else if (r->op == REQ_WRITE)
			memcpy(at, r->seg[i].host, r->seg[i].len_b);
		at += r->seg[i].len_b;
	}
	req_done(r, status);
}

static void keep(struct scripted *s, struct req *r, bool ready, enum req_status status)
{
	assert_true(s->nheld < SCRIPT_HELD_MAX);
	s->held[s->nheld] = r;
	s->ready[s->nheld] = ready;
	s->answer[s->nheld++] = status;
}

static void note(struct scripted *s, const struct req *r)
{
	struct script_seen *n = &s->seen[s->nseen++ % SCRIPT_LOG_MAX];

	*n = (struct script_seen){ r->op, r->off_b, r->len_b,
				   r->flags & (REQ_F_FUA | REQ_F_UNMAP), r->nseg, { 0 } };
	for (unsigned i = 0; i < r->nseg && i < ARRAY_SIZE(n->seg_b); i++)
		n->seg_b[i] = r->seg[i].len_b;
}

/* What the script says of @r. */
static struct script_step step_of(struct scripted *s, const struct req *r)
{
	struct script_step now = { .when = s->when, .status = REQ_OK };

	if (!s->table)
		return now;
	if (s->next == s->nstep)
		fail_msg("a %s at %llu that the script does not have", req_op_name(r->op),
			 (unsigned long long)r->off_b);
	now = s->table[s->next++];
	assert_int_equal(r->op, now.op);
	assert_int_equal(r->off_b, now.off_b);
	assert_int_equal(r->len_b, now.len_b);
	assert_int_equal(r->flags & (REQ_F_FUA | REQ_F_UNMAP), now.flags);
	return now;
}

static void script_submit(struct media_lane *l, struct req **reqs, unsigned n)
{
	struct scripted *s = of(l->media);

	assert_true(n && n <= POLLER_BATCH);
	s->largest_batch = n > s->largest_batch ? n : s->largest_batch;
	for (unsigned i = 0; i < n; i++) {
		struct req *r = reqs[i];
		struct script_step step = step_of(s, r);

		note(s, r);
		assert_true(range_inside(r->off_b, r->len_b, s->store_b));
		if (step.when == SCRIPT_NOW)
			end(s, r, step.status);
		else
			keep(s, r, step.when == SCRIPT_POLL, step.status);
	}
}

static unsigned script_poll(struct media_lane *l)
{
	struct scripted *s = of(l->media);
	unsigned n = 0, last = 0;
	uint64_t v;

	if (s->wake_fd >= 0)
		(void)!read(s->wake_fd, &v, sizeof(v));
	for (unsigned i = 0; i < s->nheld; i++) {
		struct req *r = s->held[i];

		if (r && s->ready[i] && r->lane->media == l) {
			s->held[i] = NULL;
			end(s, r, s->answer[i]);
			n++;
		}
	}
	for (unsigned i = 0; i < s->nheld; i++)
		if (s->held[i])
			last = i + 1;
	if (!last)
		s->nheld = 0;
	return n;
}

static int script_wake_fd(struct media_lane *l)
{
	return of(l->media)->wake_fd;
}

static int script_lane_open(struct media *m, struct poller *p, struct media_lane **ret_lane)
{
	struct script_lane *l = calloc(1, sizeof(*l));

	assert_non_null(l);
	media_lane_init(&l->l, m, p);
	of(m)->lanes++;
	*ret_lane = &l->l;
	return 0;
}

static void script_lane_close(struct media_lane *l)
{
	assert_int_equal(l->inflight, 0);
	of(l->media)->lanes--;
	free(container_of(l, struct script_lane, l));
}

static void script_close(struct media *m)
{
	struct scripted *s = of(m);

	fd_close(s->wake_fd);
	free(s->store);
	free(s);
}

static int script_region_add(struct media *m, struct gregion *g)
{
	of(m)->regions++;
	of(m)->region_adds++;
	return 0;
}

static void script_region_del(struct media *m, struct gregion *g)
{
	of(m)->regions--;
	of(m)->region_dels++;
}

static const struct media_ops script_ops = {
	.kind = "scripted",
	.close = script_close,
	.lane_open = script_lane_open,
	.lane_close = script_lane_close,
	.submit = script_submit,
	.poll = script_poll,
	.wake_fd = script_wake_fd,
	.region_add = script_region_add,
	.region_del = script_region_del,
};

struct scripted *script_new(uint64_t size_b)
{
	struct scripted *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	s->store = calloc(1, size_b);
	assert_non_null(s->store);
	s->store_b = size_b;
	s->m.ops = &script_ops;
	s->m.caps = (struct media_caps){ .size_b = size_b, .align_b = 1, .blk_b = 512,
					 .discard_gran_b = 4096, .zeroes = true,
					 .volatile_cache = true };
	s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return s;
}

void script_expect(struct scripted *s, const struct script_step *table, unsigned n)
{
	s->table = table;
	s->nstep = n;
	s->next = 0;
}

void script_release(struct scripted *s, unsigned i, enum req_status status)
{
	static const uint64_t one = 1;

	assert_true(i < s->nheld && s->held[i] && !s->ready[i]);
	s->ready[i] = true;
	s->answer[i] = status;
	if (s->wake_fd >= 0)
		assert_int_equal(write(s->wake_fd, &one, sizeof(one)), sizeof(one));
}

void script_release_all(struct scripted *s, enum req_status status)
{
	for (unsigned i = 0; i < s->nheld; i++)
		if (s->held[i] && !s->ready[i])
			script_release(s, i, status);
}

unsigned script_waiting(const struct scripted *s)
{
	unsigned n = 0;

	for (unsigned i = 0; i < s->nheld; i++)
		n += s->held[i] && !s->ready[i];
	return n;
}
