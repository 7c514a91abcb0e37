/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changing a disk while it runs: `disk set` and `disk resize`.
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/parse.h"
#include "control/rpc.h"
#include "disk/disk_ctl.h"
#include "disk/entry_ctl.h"
#include "disk/place_ctl.h"

/* What a VMM gets to confirm another size before the command is answered without that. Those that
 * have the channel for it need less than a millisecond. */
#define CONFIRM_WAIT_NS (300 * NS_PER_MS)

/* The chain that a disk is to have: functions that it has, as they are or with other parameters,
 * and new ones. */
struct plan {
	struct entry *e;
	const json_t *was, *list; /* what the functions are, and are to be */
	unsigned n;
	struct function *function[CHAIN_MAX];
	const struct function_kind *kind[CHAIN_MAX];
	int from[CHAIN_MAX]; /* its place in the chain there is; -1: it is new */
	bool is_taken[CHAIN_MAX]; /* of those that the disk has */
	bool is_set[CHAIN_MAX];	  /* with new parameters, which are given to it now */
};

static void keep(struct plan *p, unsigned to, unsigned from)
{
	p->function[to] = p->e->function[from];
	p->kind[to] = p->e->function_kind[from];
	p->from[to] = (int)from;
	p->is_taken[from] = true;
}

/* What stays as it is. */
static void keep_equals(struct plan *p)
{
	for (unsigned i = 0; i < p->n; i++)
		for (unsigned k = 0; p->from[i] < 0 && k < p->e->nfunction; k++)
			if (!p->is_taken[k] && json_equal(json_array_get(p->list, i),
							  json_array_get(p->was, k)))
				keep(p, i, k);
}

/* What can become what is wanted while it is in use. Return: 0; -errno with @err. */
static int set_others(struct plan *p, struct ctl_error *err)
{
	for (unsigned i = 0; i < p->n; i++) {
		const json_t *value = json_array_get(p->list, i);

		for (unsigned k = 0; p->from[i] < 0 && k < p->e->nfunction; k++) {
			const struct function_kind *kind = p->e->function_kind[k];

			if (p->is_taken[k] || !kind->set ||
			    strcmp(kind->ctl.name, ctl_str(value, "kind")))
				continue;
			int code = kind->set(p->e->function[k], value, err);

			if (code && code != -ENOTSUP)
				return code;
			if (code)
				continue;
			keep(p, i, k);
			p->is_set[i] = true;
		}
	}
	return 0;
}

static int open_others(struct ctl *ctl, struct plan *p, struct ctl_error *err)
{
	int code = 0;

	for (unsigned i = 0; !code && i < p->n; i++)
		if (p->from[i] < 0)
			code = entry_open_function(ctl, json_array_get(p->list, i), i,
						   &p->function[i], &p->kind[i], err);
	return code;
}

/* The functions are as they were. */
static void drop(struct plan *p)
{
	struct ctl_error ignored;

	for (unsigned i = 0; i < p->n; i++) {
		if (p->is_set[i])
			p->kind[i]->set(p->function[i], json_array_get(p->was, (size_t)p->from[i]),
					&ignored);
		else if (p->from[i] < 0 && p->function[i])
			p->function[i]->ops->close(p->function[i]);
	}
}

static bool is_same_chain(const struct plan *p)
{
	bool same = p->n == p->e->nfunction;

	for (unsigned i = 0; i < p->n; i++)
		same &= p->from[i] == (int)i;
	return same;
}

static int set_chain(struct plan *p, struct ctl_error *err)
{
	struct disk_error why = { 0 };
	int code = disk_set_chain(p->e->disk, p->function, p->n, &why);

	if (code == -EINVAL)
		return ctl_fail(err, code, "not_supported", "function", "%s: make another disk",
				why.why);
	if (code == -EBUSY)
		return ctl_fail(err, code, "busy", "function", "requests in flight have not ended "
				"within a second; `disk requests %s` lists them", entry_name(p->e));
	return code ? ctl_fail(err, code, "start_failed", "function",
			       "a function cannot be opened: %s", strerror(-code)) : 0;
}

/* On failure the functions are as they were. */
static int apply_functions(struct ctl *ctl, struct entry *e, const json_t *conf,
			   struct ctl_error *err)
{
	struct plan p = { .e = e, .was = json_object_get(e->conf, "function"),
			  .list = json_object_get(conf, "function") };

	if (json_equal(p.list, p.was) || !p.list)
		return 0;
	p.n = (unsigned)json_array_size(p.list);
	if (p.n > CHAIN_MAX)
		return ctl_fail(err, -ERANGE, "out_of_range", "function",
				"a chain of %u is too long, at most %d are allowed", p.n,
				CHAIN_MAX);
	memset(p.from, -1, sizeof(p.from));
	keep_equals(&p);
	int code = set_others(&p, err);

	if (!code)
		code = open_others(ctl, &p, err);
	if (!code && !is_same_chain(&p))
		code = set_chain(&p, err);
	if (code) {
		drop(&p);
		return code;
	}
	memcpy(e->function, p.function, sizeof(e->function));
	memcpy(e->function_kind, p.kind, sizeof(e->function_kind));
	e->nfunction = p.n;
	log_info(entry_name(e), "has %u functions in its chain now", p.n);
	return 0;
}

/* Brings the open disk to @conf, whose own limit has been judged. On failure it is as it was. */
static int apply(struct ctl *ctl, struct entry *e, const json_t *conf, const json_t *limit,
		 struct ctl_error *err)
{
	struct disk_care care = entry_care(conf), care_was = entry_care(e->conf);
	struct poller *was[FRONT_QUEUES_MAX];
	unsigned nwas = e->npoller;
	struct ctl_error ignored;

	if (disk_set_care(e->disk, &care))
		return ctl_fail(err, -ENOMEM, "no_memory", NULL, "out of memory");
	memcpy(was, e->poller, sizeof(was));
	int code = place_apply(e, conf, err);

	if (!code) {
		code = apply_functions(ctl, e, conf, err);
		if (code)
			place_move(e, was, nwas, &ignored);
	}
	if (code) {
		disk_set_care(e->disk, &care_was); /* the lanes have what they need for that */
		return code;
	}
	if (e->limit && e->limit_kind->set(e->limit, limit, &ignored))
		log_error(entry_name(e), "the limit is as it was: %s", ignored.text);
	disk_set_mode(e->disk, entry_mode(conf));
	return 0;
}

/* The state has a change of @e that could not be made, for the reason in @err: it gets back what is
 * true, now or with the next change of anything. */
static void take_back(struct ctl *ctl, const struct entry *e, struct ctl_error *err)
{
	struct ctl_error why;
	size_t len = strlen(err->text);

	if (!state_put_back(ctl_state(ctl), "disk", entry_name(e), e->conf, &why))
		return;
	log_error(entry_name(e), "a restart would make a change that was refused, until another "
		  "change is saved: %s", why.text);
	snprintf(err->text + len, sizeof(err->text) - len, "; and %.150s: until another change is "
		 "saved a restart would make this one", why.text);
}

/* Ends a change: @conf takes the place of @e's configuration if @code is 0, and is dropped
 * otherwise. Return: @code. */
static int adopt(struct entry *e, json_t *conf, int code)
{
	json_decref(code ? conf : e->conf);
	if (!code)
		e->conf = conf;
	return code;
}

int disk_ctl_set(struct ctl *ctl, const json_t *params, json_t **ret, struct ctl_error *err)
{
	json_t *limit = NULL;
	struct entry *e;
	int code = entry_get_open(ctl_str(params, "name"), &e, err);

	if (code)
		return code;
	json_t *conf = json_copy(e->conf);

	if (ctl_has(params, "pollers")) /* so many, whichever they are */
		json_object_del(conf, "poller");
	json_object_update(conf, (json_t *)params);
	code = entry_limit(ctl, conf, &limit, err);
	if (!code)
		code = state_put(ctl_state(ctl), "disk", entry_name(e), conf, err);
	if (!code) {
		code = apply(ctl, e, conf, limit, err);
		if (code)
			take_back(ctl, e, err);
	}
	json_decref(limit);
	if (adopt(e, conf, code))
		return code;
	*ret = entry_show(e, true);
	return 0;
}

static int judge_size(const struct entry *e, uint64_t size_b, bool shrink, struct ctl_error *err)
{
	uint64_t medium_b = e->media->caps.size_b;
	char now[16];

	if (size_b % disk_blk_b(e->disk))
		return ctl_fail(err, -EINVAL, "bad_value", "size",
				"a multiple of the disk's block, %u bytes, is needed",
				disk_blk_b(e->disk));
	if (size_b < disk_size_b(e->disk) && !shrink)
		return ctl_fail(err, -EINVAL, "would_shrink", "size",
				"less than the present %s cuts off what guests have there; "
				"shrink=on does it all the same",
				format_size(disk_size_b(e->disk), now));
	if (medium_b && size_b > medium_b && !e->media_kind->resize)
		return ctl_fail(err, -ENOTSUP, "not_supported", "medium",
				"a medium of kind %s keeps its size", e->media_kind->ctl.name);
	return 0;
}

/* The medium first, so that no guest sees what is not there. It never gets shorter: a size given
 * by mistake costs no data. */
static int resize(struct ctl *ctl, struct entry *e, uint64_t size_b, struct ctl_error *err)
{
	uint64_t medium_b = e->media->caps.size_b;
	struct disk_error why = { 0 };
	json_t *conf;
	int code = medium_b && size_b > medium_b ? e->media_kind->resize(e->media, size_b, err) : 0;

	if (code)
		return code;
	conf = json_copy(e->conf);
	json_object_set_new(conf, "size", json_integer((json_int_t)size_b));
	code = state_put(ctl_state(ctl), "disk", entry_name(e), conf, err);
	if (!code && disk_resize(e->disk, size_b, &why)) {
		code = entry_disk_fail(&why, err);
		take_back(ctl, e, err);
	}
	return adopt(e, conf, code);
}

int disk_ctl_resize(struct ctl *ctl, const json_t *params, json_t **ret, struct ctl_error *err)
{
	uint64_t size_b = ctl_u64(params, "size");
	struct entry *e;
	int code = entry_get_open(ctl_str(params, "name"), &e, err);

	if (!code)
		code = judge_size(e, size_b, ctl_bool(params, "shrink"), err);
	if (!code && size_b != disk_size_b(e->disk)) {
		code = resize(ctl, e, size_b, err);
		if (!code)
			log_info(entry_name(e), "resized to %llu bytes",
				 (unsigned long long)size_b);
	}
	if (code)
		return code;
	bool confirmed = e->front->ops->confirmed(e->front, clock_ns() + CONFIRM_WAIT_NS);

	*ret = entry_show(e, true);
	json_object_set_new(*ret, "guest", json_string(
		!ctl_bool(*ret, "connected") ? "none is connected" :
		confirmed ? "has been told" : "has not been told: its VMM has not confirmed"));
	return 0;
}
