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

/* What a VMM gets to confirm another size before the command is answered without that. Those that have
 * the channel for it need less than a millisecond. */
#define CONFIRM_WAIT_NS (300 * NS_PER_MS)

/* Gives each function its parameters of @list. Return: how many were changed; less than all is
 * failure with @err. */
static unsigned set_functions(struct entry *e, const json_t *list, struct ctl_error *err)
{
	unsigned i;

	for (i = 0; i < e->nfunction; i++) {
		const struct function_kind *k = e->function_kind[i];
		const json_t *value = json_array_get(list, i);

		if (json_equal(value, json_array_get(json_object_get(e->conf, "function"), i)))
			continue;
		if (!k->set)
			ctl_fail(err, -ENOTSUP, "not_supported", "function",
				 "'%s' cannot be changed while it runs", k->ctl.name);
		if (!k->set || k->set(e->function[i], value, err))
			break;
	}
	return i;
}

static int judge_chain(const struct entry *e, const json_t *list, struct ctl_error *err)
{
	bool same = json_array_size(list) == e->nfunction;

	for (unsigned i = 0; same && i < e->nfunction; i++)
		same = !strcmp(ctl_str(json_array_get(list, i), "kind"),
			       e->function_kind[i]->ctl.name);
	return same ? 0 : ctl_fail(err, -ENOTSUP, "not_supported", "function",
				   "a chain keeps its functions and their order; only their "
				   "parameters change");
}

/* On failure the functions are as they were. */
static int apply_functions(struct entry *e, const json_t *conf, struct ctl_error *err)
{
	const json_t *list = json_object_get(conf, "function");
	const json_t *was = json_object_get(e->conf, "function");
	struct ctl_error ignored;

	if (!json_equal(list, was) && list) {
		unsigned n = set_functions(e, list, err);

		if (n < e->nfunction) {
			json_t *now = e->conf;

			/* set_functions() skips what is already as it should be */
			e->conf = (json_t *)conf;
			set_functions(e, was, &ignored);
			e->conf = now;
			return -EINVAL;
		}
	}
	return 0;
}

/* Brings the open disk to @conf, whose own limit has been judged. On failure it is as it was. */
static int apply(struct entry *e, const json_t *conf, const json_t *limit, struct ctl_error *err)
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
		code = apply_functions(e, conf, err);
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
	if (ctl_has(params, "function") &&
	    judge_chain(e, json_object_get(params, "function"), err))
		return -ENOTSUP;
	json_t *conf = json_copy(e->conf);

	if (ctl_has(params, "pollers")) /* so many, whichever they are */
		json_object_del(conf, "poller");
	json_object_update(conf, (json_t *)params);
	code = entry_limit(ctl, conf, &limit, err);
	if (!code)
		code = state_put(ctl_state(ctl), "disk", entry_name(e), conf, err);
	if (!code) {
		code = apply(e, conf, limit, err);
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
			log_info(entry_name(e), "resized to %llu bytes", (unsigned long long)size_b);
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
