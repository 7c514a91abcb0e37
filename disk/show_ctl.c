/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/parse.h"
#include "disk/entry_ctl.h"

/* A request older than this part of the timeout makes a disk slow. */
#define SLOW_PART 10

static json_t *num(uint64_t v)
{
	return json_integer((json_int_t)v);
}

void entry_holder(const struct entry *e, const struct disk_stats *st, char *ret, size_t len)
{
	const json_t *f = json_array_get(json_object_get(e->conf, "function"),
					 (size_t)st->oldest_step);

	if (!f)
		snprintf(ret, len, "its medium");
	else if (ctl_str(f, "name"))
		snprintf(ret, len, "its function '%s'", ctl_str(f, "name"));
	else
		snprintf(ret, len, "its function %s", ctl_str(f, "kind"));
}

/* The oldest request has been there for too long. */
static void say_age(const struct entry *e, const struct disk_stats *st, char *ret_why, size_t len)
{
	char age[16], holder[ENTRY_HOLDER_MAX];

	entry_holder(e, st, holder, sizeof(holder));
	format_ns(st->oldest_ns, age);
	if (st->oldest_step < 0)
		snprintf(ret_why, len, "its oldest request is %s old", age);
	else
		snprintf(ret_why, len, "its oldest request is %s old, and %s has it", age, holder);
}

/* What is wrong with an open disk, in one word: the worst that is true; and why. */
static const char *health(const struct entry *e, const struct disk_stats *st,
			  const struct front_info *front, const json_t *medium, char *ret_why,
			  size_t len)
{
	uint64_t timeout_ns = entry_care(e->conf).timeout_ns;
	const char *state = ctl_str(medium, "state");
	char age[16], holder[ENTRY_HOLDER_MAX];

	*ret_why = '\0';
	if (e->closing) {
		entry_holder(e, st, holder, sizeof(holder));
		snprintf(ret_why, len, "%s has not ended %llu requests, the oldest %s old", holder,
			 (unsigned long long)st->inflight, format_ns(st->oldest_ns, age));
		return "closing";
	}
	if (state && !strcmp(state, "failed")) {
		snprintf(ret_why, len, "its medium has failed; `disk reopen` tries it again");
		return "failed";
	}
	if (st->stopped) {
		snprintf(ret_why, len, "a change has failed (%s); `disk resume` does it again",
			 req_status_name(st->why));
		return "stopped";
	}
	format_ns(st->oldest_ns, age);
	if (st->orphans) {
		snprintf(ret_why, len,
			 "its medium still has %llu requests that have timed out, the "
			 "oldest %s old", (unsigned long long)st->orphans, age);
		return "stalled";
	}
	if (st->overdue || (timeout_ns && st->oldest_ns > timeout_ns)) {
		say_age(e, st, ret_why, len);
		return "stalled";
	}
	if (timeout_ns && st->oldest_ns > timeout_ns / SLOW_PART) {
		say_age(e, st, ret_why, len);
		return "slow";
	}
	for (unsigned i = 0; i < front->nqueue; i++) {
		const struct front_queue_info *q = &front->queue[i];

		if (q->state != FRONT_QUEUE_BROKEN)
			continue;
		snprintf(ret_why, len, "queue %u: %s", q->index, q->reason ? q->reason : "broken");
		return "broken_queue";
	}
	return "healthy";
}

const char *entry_queue_state(enum front_queue_state state)
{
	static const char *const word[] = { [FRONT_QUEUE_STOPPED] = "stopped",
					    [FRONT_QUEUE_RUNNING] = "running",
					    [FRONT_QUEUE_BROKEN] = "broken" };

	return word[state];
}

static json_t *show_queue(const struct front_queue_info *q)
{
	json_t *o = json_pack("{s:i, s:s, s:i, s:s, s:i, s:o, s:o, s:o, s:o}", "queue",
			      (int)q->index, "state", entry_queue_state(q->state), "size",
			      (int)q->size,
			      "ring", q->packed ? "packed" : "split", "inflight", (int)q->inflight,
			      "requests", num(q->taken), "refused", num(q->refused), "kicks",
			      num(q->kicks), "interrupts", num(q->calls));

	if (q->poller)
		json_object_set_new(o, "poller", json_string(q->poller));
	if (q->reason)
		json_object_set_new(o, "reason", json_string(q->reason));
	return o;
}

static json_t *show_front(const struct entry *e, const struct front_info *f)
{
	json_t *o = json_copy(json_object_get(e->conf, "front")), *queues = json_array();

	json_object_set_new(o, "connected", json_boolean(f->connected));
	if (f->connected) {
		json_object_set_new(o, "peer_pid", num((uint64_t)f->peer_pid));
		json_object_set_new(o, "connected_for_ns", num(clock_ns() - f->since_ns));
		json_object_set_new(o, "migrating", json_boolean(f->logging));
		json_object_set_new(o, "resize_pending", json_boolean(f->resize_pending));
	}
	for (unsigned i = 0; i < f->nqueue; i++)
		json_array_append_new(queues, show_queue(&f->queue[i]));
	json_object_set_new(o, "queue", queues);
	return o;
}

static json_t *show_functions(const struct entry *e)
{
	json_t *list = json_deep_copy(json_object_get(e->conf, "function"));

	for (unsigned i = 0; i < e->nfunction; i++)
		if (e->function_kind[i]->show)
			e->function_kind[i]->show(e->function[i], json_array_get(list, i));
	return list;
}

/* In the units of `disk set`; nothing that is not limited. */
static json_t *show_limit(const struct entry *e)
{
	json_t *o = json_object();

	if (ctl_u64(e->conf, "iops"))
		json_object_set(o, "iops", json_object_get(e->conf, "iops"));
	if (ctl_u64(e->conf, "bytes"))
		json_object_set(o, "bytes_b", json_object_get(e->conf, "bytes"));
	if (ctl_u64(e->conf, "discards"))
		json_object_set(o, "discards", json_object_get(e->conf, "discards"));
	if (!json_object_size(o))
		return o;
	if (ctl_has(e->conf, "burst"))
		json_object_set_new(o, "burst_ns", num(ctl_ns(e->conf, "burst")));
	if (e->limit && e->limit_kind->show)
		e->limit_kind->show(e->limit, o);
	return o;
}

static json_t *show_medium(const struct entry *e)
{
	json_t *o = json_copy(json_object_get(e->conf, "medium"));

	if (e->media && e->media_kind->show)
		e->media_kind->show(e->media, o);
	return o;
}

static uint64_t quantile_ns(const struct hist *h, uint64_t num_, uint64_t den)
{
	return clock_ticks_to_ns(clock_scale(), hist_quantile(h, num_, den));
}

static json_t *show_io(const struct lane_stats *s)
{
	json_t *all = json_object();

	for (unsigned i = 0; i < REQ_OPS; i++) {
		const struct hist *h = &s->latency[i];
		uint64_t done = hist_total(h);
		json_t *o;

		if (!done)
			continue;
		o = json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "done", num(done),
			      "bytes_b", num(s->op[i].bytes), "errors", num(s->op[i].errors),
			      "p50_ns", num(quantile_ns(h, 50, 100)), "p99_ns",
			      num(quantile_ns(h, 99, 100)), "p999_ns",
			      num(quantile_ns(h, 999, 1000)));
		json_object_set_new(all, req_op_name((enum req_op)i), o);
	}
	return all;
}

/* Whether the poller of queue @i is not one of an earlier queue's, too. */
static bool is_first(const struct entry *e, unsigned i)
{
	for (unsigned k = 0; k < i; k++)
		if (e->poller[k] == e->poller[i])
			return false;
	return true;
}

static void add_all(const struct entry *e, const struct disk_stats *st, const struct front_info *f,
		    json_t *o)
{
	json_t *pollers = json_array();

	for (unsigned i = 0; i < e->npoller; i++)
		if (is_first(e, i))
			json_array_append_new(pollers, json_string(e->poller[i]->name));
	json_object_set_new(o, "pollers", pollers);
	json_object_set_new(o, "serial", json_string(disk_serial(e->disk)));
	json_object_set_new(o, "blk_b", num(disk_blk_b(e->disk)));
	json_object_set_new(o, "readonly", json_boolean(disk_readonly(e->disk)));
	json_object_set_new(o, "timeout_ns", num(entry_care(e->conf).timeout_ns));
	json_object_set(o, "on_timeout", json_object_get(e->conf, "on_timeout"));
	json_object_set(o, "werror", json_object_get(e->conf, "werror"));
	json_object_set_new(o, "limit", show_limit(e));
	json_object_set_new(o, "inflight", num(st->inflight));
	json_object_set_new(o, "waiting", num(st->waiting));
	json_object_set_new(o, "given_up", num(st->orphans));
	json_object_set_new(o, "oldest_ns", num(st->oldest_ns));
	json_object_set_new(o, "overdue", num(st->lanes.overdue));
	json_object_set_new(o, "timed_out", num(st->lanes.timed_out));
	json_object_set_new(o, "copies", num(st->lanes.copies));
	json_object_set_new(o, "copied_b", num(st->lanes.copied_b));
	json_object_set_new(o, "io", show_io(&st->lanes));
	json_object_set_new(o, "front", show_front(e, f));
}

json_t *entry_show(const struct entry *e, bool all)
{
	const char *socket = ctl_str(json_object_get(e->conf, "front"), "socket");
	json_t *medium = show_medium(e);
	json_t *o = json_pack("{s:s, s:O, s:s, s:s*}", "name", entry_name(e), "poll",
			      json_object_get(e->conf, "poll"), "medium_kind",
			      ctl_str(json_object_get(e->conf, "medium"), "kind"), "socket",
			      socket);

	if (!e->disk) {
		json_object_set_new(o, "state", json_string(e->waits ? "waiting" : "failed"));
		json_object_set_new(o, "why", json_string(e->why.text));
		json_object_set_new(o, "size_b", num(ctl_u64(e->conf, "size")));
	} else {
		struct disk_stats st;
		struct front_info *f = calloc(1, sizeof(*f));
		char why[160];

		if (!f) {
			json_decref(medium);
			return o;
		}
		disk_stats(e->disk, &st);
		e->front->ops->info(e->front, f);
		json_object_set_new(o, "state",
				    json_string(health(e, &st, f, medium, why, sizeof(why))));
		if (*why)
			json_object_set_new(o, "why", json_string(why));
		json_object_set_new(o, "size_b", num(disk_size_b(e->disk)));
		json_object_set_new(o, "connected", json_boolean(f->connected));
		if (all)
			add_all(e, &st, f, o);
		free(f);
	}
	if (all) {
		json_object_set(o, "medium", medium);
		json_object_set_new(o, "function", show_functions(e));
	}
	json_decref(medium);
	return o;
}

/* Rows to ask for at a time; more than any queue has, and a second look gets the rest. */
#define REQUESTS_ROOM 1024

static int oldest_first(const void *a, const void *b)
{
	const struct disk_request *x = a, *y = b;

	return (x->age_ns < y->age_ns) - (x->age_ns > y->age_ns);
}

static json_t *show_request(const struct disk_request *r)
{
	static const char *const place[] = {
		[DISK_AT_LIMIT] = "limit",	  [DISK_AT_DOOR] = "queue",
		[DISK_AT_MEDIUM] = "medium",	  [DISK_GIVEN_UP] = "medium (given up)",
		[DISK_FAILED] = "failed (kept)",
	};
	char where[48];

	if (r->place == DISK_AT_STEP)
		snprintf(where, sizeof(where), "function %s", r->step);
	else
		snprintf(where, sizeof(where), "%s", place[r->place]);
	return json_pack("{s:s, s:o, s:o, s:o, s:s, s:s, s:i}", "op", req_op_name(r->op), "offset",
			 num(r->off_b), "len_b", num(r->len_b), "age_ns", num(r->age_ns), "where",
			 where, "poller", r->poller, "queue", (int)r->queue);
}

json_t *entry_requests(const struct entry *e)
{
	unsigned room = REQUESTS_ROOM, n = 0;
	struct disk_request *rows = NULL;
	json_t *all = json_array();

	while (e->disk) {
		struct disk_request *more = realloc(rows, room * sizeof(*rows));

		if (!more)
			break;
		rows = more;
		n = disk_requests(e->disk, rows, room);
		if (n <= room)
			break;
		room = 2 * n;
	}
	n = n < room ? n : room;
	if (n)
		qsort(rows, n, sizeof(*rows), oldest_first);
	for (unsigned i = 0; i < n; i++)
		json_array_append_new(all, show_request(&rows[i]));
	free(rows);
	return all;
}
