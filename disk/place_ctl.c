/* SPDX-License-Identifier: Apache-2.0 */
#include "disk/place_ctl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "disk/disk_ctl.h"
#include "disk/poller_ctl.h"

bool place_is_named(const json_t *conf)
{
	return json_array_size(json_object_get(conf, "poller"));
}

unsigned place_queues(const struct entry *e)
{
	uint64_t n = ctl_u64(json_object_get(e->conf, "front"), "queues");

	return (unsigned)min_u64(n ? n : 1, FRONT_QUEUES_MAX);
}

static int choose_named(const struct entry *e, const json_t *names, bool insist,
			struct poller **ret_poller, unsigned *ret_n, struct ctl_error *err)
{
	const json_t *name;
	size_t i;

	if (json_array_size(names) > FRONT_QUEUES_MAX)
		return ctl_fail(err, -ERANGE, "out_of_range", "poller", "at most %d are allowed",
				FRONT_QUEUES_MAX);
	json_array_foreach((json_t *)names, i, name) {
		struct poller *p = poller_ctl_find(json_string_value(name), "poller", err);

		if (!p && insist)
			return -ENOENT;
		if (!p)
			log_warn(entry_name(e), "not on poller '%s', which is not there",
				 json_string_value(name));
		ret_poller[i] = p ? p : poller_ctl_least_used(NULL, 0);
	}
	*ret_n = (unsigned)json_array_size(names);
	return 0;
}

int place_choose(const struct entry *e, const json_t *conf, bool insist,
		 struct poller **ret_poller, unsigned *ret_n, struct ctl_error *err)
{
	unsigned want = (unsigned)ctl_u64(conf, "pollers");

	if (place_is_named(conf))
		return choose_named(e, json_object_get(conf, "poller"), insist, ret_poller, ret_n,
				    err);
	*ret_n = poller_ctl_choose(want, e->poller, e->npoller, ret_poller);
	if (*ret_n == want || !insist)
		return 0;
	return ctl_fail(err, -ERANGE, "out_of_range", "pollers",
			"from 1 to %u is allowed: posternd runs %u (--pollers, `poller add`)",
			*ret_n, poller_ctl_count());
}

int place_move(struct entry *e, struct poller *const *poller, unsigned n, struct ctl_error *err)
{
	char why[120];
	int code = e->front->ops->move(e->front, poller, n, why, sizeof(why));

	if (code)
		return ctl_fail(err, code, code == -EBUSY ? "busy" : "no_memory", "name",
				"disk '%s': %s; its queues are where they were", entry_name(e),
				why);
	memmove(e->poller, poller, n * sizeof(struct poller *));
	e->npoller = n;
	return 0;
}

int place_apply(struct entry *e, const json_t *conf, struct ctl_error *err)
{
	struct poller *to[FRONT_QUEUES_MAX];
	unsigned n;

	const json_t *names = json_object_get(conf, "poller");
	const json_t *had = json_object_get(e->conf, "poller");

	if ((names == had || json_equal(names, had)) &&
	    ctl_u64(conf, "pollers") == ctl_u64(e->conf, "pollers"))
		return 0;
	int code = place_choose(e, conf, true, to, &n, err);

	return code ? code : place_move(e, to, n, err);
}

bool place_is_on(const struct entry *e, const struct poller *p)
{
	for (unsigned i = 0; i < e->npoller; i++)
		if (e->poller[i] == p)
			return true;
	return false;
}

unsigned place_ctl_users(const struct poller *p)
{
	unsigned n = 0;

	list_for_each(it, tmp, entry_all())
		n += place_is_on(list_entry(it, struct entry, node), p);
	return n;
}

static bool names(const json_t *conf, const char *poller)
{
	const json_t *name;
	size_t i;

	json_array_foreach(json_object_get(conf, "poller"), i, name)
		if (!strcmp(json_string_value(name), poller))
			return true;
	return false;
}

/* Brings @e off @p. Also one that is not on it is asked, to where it is: it may be on its way back
 * from a move that was given up. */
static int leave(struct entry *e, const struct poller *p, struct ctl_error *err)
{
	struct poller *to[FRONT_QUEUES_MAX], *other = NULL;

	for (unsigned i = 0; i < e->npoller; i++) {
		to[i] = e->poller[i];
		if (to[i] != p)
			continue;
		/* one that it does not use yet, if there is */
		if (!other)
			other = poller_ctl_least_used(e->poller, e->npoller);
		if (!other)
			other = poller_ctl_least_used(NULL, 0);
		to[i] = other;
	}
	return place_move(e, to, e->npoller, err);
}

int place_ctl_leave(const struct poller *p, struct ctl_error *err)
{
	list_for_each(it, tmp, entry_all()) {
		struct entry *e = list_entry(it, struct entry, node);

		if (names(e->conf, p->name))
			return ctl_fail(err, -EBUSY, "busy", "name",
					"disk '%s' names it; `disk set %s poller=...` or pollers=N "
					"lets go of it", entry_name(e), entry_name(e));
	}
	list_for_each(it, tmp, entry_all()) {
		struct entry *e = list_entry(it, struct entry, node);
		int code = e->disk ? leave(e, p, err) : 0;

		if (code)
			return code;
	}
	return 0;
}

static json_t *show_queue(const struct entry *e, const struct front_queue_info *q)
{
	return json_pack("{s:s, s:i, s:s, s:s, s:s, s:i, s:I, s:I, s:I}", "disk", entry_name(e),
			 "queue", (int)q->index, "state", entry_queue_state(q->state), "poller",
			 q->poller ? q->poller : e->poller[q->index % e->npoller]->name, "ring",
			 q->packed ? "packed" : "split", "inflight", (int)q->inflight, "requests",
			 (json_int_t)q->taken, "kicks", (json_int_t)q->kicks, "interrupts",
			 (json_int_t)q->calls);
}

static int run_list(struct ctl *ctl, const json_t *params, json_t **ret, struct ctl_error *err)
{
	const char *only = ctl_str(params, "disk");
	struct front_info *f = calloc(1, sizeof(*f));
	struct entry *one = NULL;
	int code = only ? entry_get_open(only, &one, err) : 0;

	if (!code && !f)
		code = ctl_fail(err, -ENOMEM, "no_memory", NULL, "out of memory");
	if (!code)
		*ret = json_array();
	list_for_each(it, tmp, entry_all()) {
		struct entry *e = list_entry(it, struct entry, node);

		if (code || !e->disk || (only && e != one))
			continue;
		e->front->ops->info(e->front, f);
		for (unsigned i = 0; i < f->nqueue; i++)
			json_array_append_new(*ret, show_queue(e, &f->queue[i]));
	}
	free(f);
	return code;
}

/* The same as naming a poller for each queue of the disk: those that it has, and one other. */
static int run_move(struct ctl *ctl, const json_t *params, json_t **ret, struct ctl_error *err)
{
	uint64_t queue = ctl_u64(params, "queue");
	json_t *list = json_array(), *set;
	struct entry *e;
	int code = entry_get_open(ctl_str(params, "disk"), &e, err);

	if (!code && queue >= place_queues(e))
		code = ctl_fail(err, -ERANGE, "out_of_range", "queue", "the disk offers %u queues",
				place_queues(e));
	if (!code && !poller_ctl_find(ctl_str(params, "poller"), "poller", err))
		code = -ENOENT;
	for (unsigned i = 0; !code && i < place_queues(e); i++)
		json_array_append_new(list, json_string(i == queue ? ctl_str(params, "poller") :
						e->poller[i % e->npoller]->name));
	set = json_pack("{s:s, s:o}", "name", ctl_str(params, "disk"), "poller", list);
	if (!code)
		code = disk_ctl_set(ctl, set, ret, err);
	json_decref(set);
	return code;
}

static const struct ctl_param list_params[] = {
	{ .name = "disk", .type = CTL_NAME, .positional = true, .help = "Only those of this disk" },
	{ 0 },
};
static const struct ctl_param move_params[] = {
	{ .name = "disk", .type = CTL_NAME, .required = true, .positional = true,
	  .help = "The disk" },
	{ .name = "queue", .type = CTL_UINT, .max = FRONT_QUEUES_MAX - 1, .required = true,
	  .positional = true, .help = "Which of its queues, from 0" },
	{ .name = "poller", .type = CTL_NAME, .required = true, .positional = true,
	  .help = "The poller that is to serve it" },
	{ 0 },
};

const struct ctl_cmd queue_cmds[] = {
	{ .noun = "queue", .verb = "list", .params = list_params, .run = run_list,
	  .help = "Show the queues that guests have started, and who serves them",
	  .columns = "disk queue state poller ring inflight requests kicks interrupts" },
	{ .noun = "queue", .verb = "move", .params = move_params, .run = run_move,
	  .help = "Let another poller serve a queue, while it runs" },
	{ 0 },
};
