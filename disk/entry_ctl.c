/* SPDX-License-Identifier: Apache-2.0 */
#include "disk/entry_ctl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/parse.h"
#include "control/rpc.h"
#include "disk/place_ctl.h"

struct entry *entry_new(json_t *conf)
{
	struct entry *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	e->conf = json_incref(conf);
	e->keep.keep = ctl_keep();
	snprintf(e->keep.path, sizeof(e->keep.path), "disk/%s", entry_name(e));
	return e;
}

void entry_free(struct entry *e)
{
	json_decref(e->conf);
	free(e);
}

const char *entry_name(const struct entry *e)
{
	return ctl_str(e->conf, "name");
}

enum poll_mode entry_mode(const json_t *conf)
{
	const char *mode = ctl_str(conf, "poll");

	if (!strcmp(mode, "always"))
		return POLL_ALWAYS;
	return strcmp(mode, "never") ? POLL_ADAPTIVE : POLL_NEVER;
}

struct disk_care entry_care(const json_t *conf)
{
	const char *on_timeout = ctl_str(conf, "on_timeout"), *werror = ctl_str(conf, "werror");

	return (struct disk_care){ .timeout_ns = ctl_ns(conf, "timeout"),
				   .expires = on_timeout && !strcmp(on_timeout, "error"),
				   .stops = werror && !strcmp(werror, "stop") };
}

/* A kind names its own parameters only; the caller knows them by the disk's. */
static int qualify(int code, const struct ctl_kind *kind, const char *prefix, struct ctl_error *err)
{
	char own[sizeof(err->param)];

	for (const struct ctl_param *p = kind->params; p && p->name; p++) {
		if (strcmp(p->name, err->param))
			continue;
		snprintf(own, sizeof(own), "%s", err->param);
		snprintf(err->param, sizeof(err->param), "%.20s.%.40s", prefix, own);
		break;
	}
	return code;
}

static struct media_want media_want(const struct entry *e, const struct keep_scope *keep)
{
	return (struct media_want){ .size_b = ctl_u64(e->conf, "size"),
				    .readonly = ctl_bool(e->conf, "readonly"),
				    .create = e->is_new,
				    .restored = e->was_kept,
				    .keep = keep };
}

void entry_ahead(struct ctl *ctl, const struct entry *e)
{
	const json_t *value = json_object_get(e->conf, "medium");
	const struct ctl_kind *kind = ctl_kind_of(ctl_tables(ctl), "medium", value);
	struct media_want want = media_want(e, &e->keep);

	if (kind && media_kind_of(kind)->ahead)
		media_kind_of(kind)->ahead(value, &want);
}

static int open_media(struct ctl *ctl, struct entry *e, struct ctl_error *err)
{
	const json_t *value = json_object_get(e->conf, "medium");
	const struct ctl_kind *kind = ctl_kind_of(ctl_tables(ctl), "medium", value);
	struct keep_scope keep;
	struct media_want want = media_want(e, &keep);

	if (!kind)
		return ctl_fail(err, -EINVAL, "unknown_kind", "medium", "there is no such medium");
	e->media_kind = media_kind_of(kind);
	keep_scope_in(&e->keep, "medium", &keep);
	int code = e->media_kind->open(value, &want, &e->media, err);

	return code ? qualify(code, kind, "medium", err) : 0;
}

static void close_functions(struct entry *e)
{
	while (e->nfunction) {
		struct function *f = e->function[--e->nfunction];

		f->ops->close(f);
	}
}

int entry_open_function(struct ctl *ctl, const json_t *value, unsigned i, struct function **ret,
			const struct function_kind **ret_kind, struct ctl_error *err)
{
	const struct ctl_kind *kind = ctl_kind_of(ctl_tables(ctl), "function", value);
	char prefix[24];

	snprintf(prefix, sizeof(prefix), "function[%u]", i);
	if (!kind)
		return ctl_fail(err, -EINVAL, "unknown_kind", prefix, "there is no such function");
	*ret_kind = function_kind_of(kind);
	return qualify((*ret_kind)->open(value, ret, err), kind, prefix, err);
}

static int open_functions(struct ctl *ctl, struct entry *e, struct ctl_error *err)
{
	const json_t *list = json_object_get(e->conf, "function");
	size_t n = json_array_size(list);

	if (n > CHAIN_MAX)
		return ctl_fail(err, -ERANGE, "out_of_range", "function",
				"a chain of %zu is too long, at most %d are allowed", n, CHAIN_MAX);
	for (unsigned i = 0; i < n; i++) {
		int code = entry_open_function(ctl, json_array_get(list, i), i, &e->function[i],
					       &e->function_kind[i], err);

		if (code) {
			close_functions(e);
			return code;
		}
		e->nfunction++;
	}
	return 0;
}

/* The function that `iops=` and its like speak of; NULL: this program has none. */
static const struct ctl_kind *limit_kind(struct ctl *ctl)
{
	json_t *value = json_pack("{s:s}", "kind", "limit");
	const struct ctl_kind *kind = ctl_kind_of(ctl_tables(ctl), "function", value);

	json_decref(value);
	return kind;
}

int entry_limit(struct ctl *ctl, const json_t *conf, json_t **ret_params, struct ctl_error *err)
{
	const struct ctl_kind *kind = limit_kind(ctl);
	json_t *own = json_object();

	for (const struct ctl_param *p = kind ? kind->params : NULL; p && p->name; p++)
		if (ctl_has(conf, p->name))
			json_object_set(own, p->name, json_object_get(conf, p->name));
	int code = ctl_check(ctl_tables(ctl), kind ? kind->params : NULL, own, ret_params, err);

	json_decref(own);
	return code;
}

static int open_limit(struct ctl *ctl, struct entry *e, struct ctl_error *err)
{
	const struct ctl_kind *kind = limit_kind(ctl);
	json_t *params;
	int code = kind ? entry_limit(ctl, e->conf, &params, err) : 0;

	if (code || !kind)
		return code;
	e->limit_kind = function_kind_of(kind);
	code = e->limit_kind->open(params, &e->limit, err);
	json_decref(params);
	return code;
}

static void close_limit(struct entry *e)
{
	if (e->limit)
		e->limit->ops->close(e->limit);
	e->limit = NULL;
}

int entry_disk_fail(const struct disk_error *why, struct ctl_error *err)
{
	static const char *const param[] = { [DISK_PARAM_NONE] = "",
					     [DISK_PARAM_SIZE] = "size",
					     [DISK_PARAM_BLK_SIZE] = "blk_size",
					     [DISK_PARAM_SERIAL] = "serial" };

	return ctl_fail(err, -EINVAL, "bad_value", param[why->param], "%s", why->why);
}

static int wake_fd = -1;

void entry_set_wake(int fd)
{
	wake_fd = fd;
}

/* On any thread. */
static void have_news(void *arg)
{
	if (wake_fd >= 0)
		eventfd_write(wake_fd, 1);
}

static int open_disk(struct entry *e, struct ctl_error *err)
{
	struct disk_conf c = { .name = entry_name(e),
			       .serial = ctl_str(e->conf, "serial"),
			       .media = e->media,
			       .function = e->function,
			       .nfunction = e->nfunction,
			       .size_b = ctl_u64(e->conf, "size"),
			       .blk_b = (uint32_t)ctl_u64(e->conf, "blk_size"),
			       .readonly = ctl_bool(e->conf, "readonly"),
			       .mode = entry_mode(e->conf),
			       .gate = e->limit,
			       .care = entry_care(e->conf),
			       .news = have_news };
	struct disk_error why = { 0 };
	int code = disk_open(&c, &e->disk, &why);

	if (code == -EINVAL)
		return entry_disk_fail(&why, err);
	return code ? ctl_fail(err, code, "no_memory", NULL, "out of memory") : 0;
}

static mode_t socket_mode(const json_t *conf)
{
	const char *text = ctl_str(conf, "socket_mode");

	if (text)
		return (mode_t)strtoul(text, NULL, 8);
	return ctl_has(conf, "socket_group") ? 0660 : 0600;
}

static int open_front(struct ctl *ctl, struct entry *e, const struct entry_conn *conn,
		      struct ctl_error *err)
{
	const json_t *value = json_object_get(e->conf, "front");
	const struct ctl_kind *kind = ctl_kind_of(ctl_tables(ctl), "front", value);
	struct keep_scope keep = { 0 };
	struct front_want want = { .disk = e->disk,
				   .poller = e->poller,
				   .npoller = e->npoller,
				   .socket_mode = socket_mode(e->conf),
				   .socket_group = ctl_str(e->conf, "socket_group"),
				   .conn_fd = conn ? conn->fd : -1,
				   .ended = conn ? conn->ended : NULL,
				   .ended_arg = conn ? conn->arg : NULL,
				   .keep = &keep };

	if (!kind)
		return ctl_fail(err, -EINVAL, "unknown_kind", "front", "there is no such front");
	if (!conn)
		keep_scope_in(&e->keep, "front", &keep);
	return qualify(front_kind_of(kind)->open(value, &want, &e->front, err), kind, "front", err);
}

int entry_open(struct ctl *ctl, struct entry *e, const struct entry_conn *conn,
	       struct ctl_error *err)
{
	int code = place_choose(e, e->conf, e->is_new, e->poller, &e->npoller, err);

	if (code)
		return code;
	code = open_media(ctl, e, err);
	if (code)
		goto no_pollers;
	code = open_functions(ctl, e, err);
	if (code)
		goto close_media;
	code = open_limit(ctl, e, err);
	if (code)
		goto close_functions;
	code = open_disk(e, err);
	if (code)
		goto close_limit;
	code = open_front(ctl, e, conn, err);
	if (!code) {
		e->is_new = false;
		return 0;
	}
	disk_close(e->disk); /* with its medium and functions */
	e->disk = NULL;
	e->limit = NULL;
	e->nfunction = 0;
	goto no_pollers;
close_limit:
	close_limit(e);
close_functions:
	close_functions(e);
close_media:
	e->media->ops->close(e->media);
no_pollers:
	e->media = NULL;
	e->npoller = 0;
	return code;
}

/* Fronts stop on threads of their own. */
static pthread_mutex_t stop_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t stop_cond = PTHREAD_COND_INITIALIZER;

static void front_stopped(void *arg)
{
	struct entry *e = arg;

	/* control may free the entry as soon as it sees the flag */
	pthread_mutex_lock(&stop_lock);
	e->has_stopped = true;
	pthread_cond_broadcast(&stop_cond);
	pthread_mutex_unlock(&stop_lock);
	have_news(NULL);
}

void entry_stop(struct entry *e)
{
	e->has_stopped = false;
	e->front->ops->stop(e->front, front_stopped, e);
}

bool entry_wait(struct entry *e, uint64_t until_ns)
{
	struct timespec at = { (time_t)(until_ns / NS_PER_S), (long)(until_ns % NS_PER_S) };
	int err = 0;

	pthread_mutex_lock(&stop_lock);
	while (!e->has_stopped && !err)
		err = pthread_cond_clockwait(&stop_cond, &stop_lock, CLOCK_MONOTONIC, &at);
	bool has_stopped = e->has_stopped;
	pthread_mutex_unlock(&stop_lock);
	return has_stopped;
}

void entry_close(struct entry *e)
{
	if (!e->disk)
		return;
	e->front->ops->close(e->front);
	disk_close(e->disk);
	e->disk = NULL;
	e->front = NULL;
	e->media = NULL;
	e->limit = NULL;
	e->nfunction = e->npoller = 0;
	e->is_halted = e->is_overdue = false;
	e->timed_out = 0;
}

static void look_at_deadline(struct entry *e, const struct disk_stats *st)
{
	unsigned long long ended = st->lanes.timed_out - e->timed_out;
	char age[16];

	if (st->overdue && !e->is_overdue)
		log_warn(entry_name(e),
			 "stalled: a request is older than timeout=%s (the oldest: %s)",
			 ctl_str(e->conf, "timeout"), format_ns(st->oldest_ns, age));
	if (ended)
		log_warn(entry_name(e), "%llu requests have ended with an error, on_timeout=error",
			 ended);
	if (!st->overdue && e->is_overdue)
		log_info(entry_name(e), "no longer stalled");
	e->is_overdue = st->overdue;
	e->timed_out = st->lanes.timed_out;
}

void entry_look(struct entry *e)
{
	struct disk_stats st;

	disk_stats(e->disk, &st);
	look_at_deadline(e, &st);
	if (st.stopped && !e->is_halted) {
		disk_halt(e->disk);
		log_error(entry_name(e),
			  "stopped: a change has failed (%s) and werror=stop keeps it "
			  "from the guest; `disk resume` does it again", req_status_name(st.why));
	}
	e->is_halted = st.stopped;
}

void entry_forget(struct ctl *ctl, const struct entry *e)
{
	const json_t *value = json_object_get(e->conf, "front");
	const struct ctl_kind *kind = ctl_kind_of(ctl_tables(ctl), "front", value);

	if (kind && front_kind_of(kind)->forget)
		front_kind_of(kind)->forget(value);
	keep_drop_all(&e->keep);
}
