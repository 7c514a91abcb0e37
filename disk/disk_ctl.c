/* SPDX-License-Identifier: Apache-2.0 */
#include "disk/disk_ctl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "control/rpc.h"
#include "disk/entry_ctl.h"

/* What a disk gets to let go of its medium before the command that closes it is answered. Nearly
 * all need microseconds; others are closed when they can be, and meanwhile control serves the
 * rest. */
#define CLOSE_WAIT_NS (100 * NS_PER_MS)
/* And one with nothing in flight, whose front only waits for a processor. */
#define CLOSE_IDLE_NS (2 * NS_PER_S)

static struct list entries = { &entries, &entries };
static char socket_dir[FD_SOCKET_PATH_MAX + 1];

void disk_ctl_set_socket_dir(const char *dir)
{
	snprintf(socket_dir, sizeof(socket_dir), "%s", dir);
}

static struct entry *find(const char *name)
{
	list_for_each(it, tmp, &entries) {
		struct entry *e = list_entry(it, struct entry, node);

		if (!strcmp(entry_name(e), name))
			return e;
	}
	return NULL;
}

static int not_found(const char *name, struct ctl_error *err)
{
	return ctl_fail(err, -ENOENT, "disk_not_found", "name",
			"there is no disk '%s'; `disk list` names them", name);
}

static int not_open(const struct entry *e, struct ctl_error *err)
{
	return ctl_fail(err, -ENODEV, "disk_failed", "name", "the disk is not open: %.300s",
			e->why.text);
}

/* Whom an open disk that is to close waits for. Return: @ret. */
static const char *holder(const struct entry *e, char *ret)
{
	struct disk_stats st;

	disk_stats(e->disk, &st);
	entry_holder(e, &st, ret, ENTRY_HOLDER_MAX);
	return ret;
}

/* @e is being closed, and keeps its name until it is. Return: 0 if not. */
static int judge_closing(const struct entry *e, struct ctl_error *err)
{
	char who[ENTRY_HOLDER_MAX];

	if (!e->closing)
		return 0;
	return ctl_fail(err, -EBUSY, "busy", "name",
			"the disk is closing; %s has not ended what is in flight", holder(e, who));
}

struct list *entry_all(void)
{
	return &entries;
}

int entry_get_open(const char *name, struct entry **ret_entry, struct ctl_error *err)
{
	struct entry *e = find(name);

	if (!e)
		return not_found(name, err);
	if (e->closing)
		return judge_closing(e, err);
	if (!e->disk)
		return not_open(e, err);
	*ret_entry = e;
	return 0;
}

/* Fills in what a disk has that its caller did not say, so that the state is complete. */
static int complete(json_t *conf, struct ctl_error *err)
{
	json_t *front = json_object_get(conf, "front");
	const char *mode = ctl_str(conf, "socket_mode"), *name = ctl_str(conf, "name");
	char path[sizeof(socket_dir) + 80];

	if (mode && (strlen(mode) > 4 || !*mode || mode[strspn(mode, "01234567")] ||
		     strtoul(mode, NULL, 8) > 0777))
		return ctl_fail(err, -EINVAL, "bad_value", "socket_mode",
				"'%s' is not an octal mode from 0 to 0777", mode);
	if (ctl_has(front, "socket"))
		return 0;
	if (!*socket_dir)
		return ctl_fail(err, -EINVAL, "missing_param", "front.socket",
				"is needed: there is no directory for sockets");
	snprintf(path, sizeof(path), "%s/%s.sock", socket_dir, name);
	json_object_set_new(front, "socket", json_string(path));
	return 0;
}

/* Whether two disks may not both have the value of @key in @part. */
static bool collide(const json_t *have, const json_t *want, const char *part, const char *key)
{
	const json_t *a = json_object_get(have, part), *b = json_object_get(want, part);
	const char *x = ctl_str(a, key), *y = ctl_str(b, key);

	return x && y && !strcmp(x, y) && !strcmp(ctl_str(a, "kind"), ctl_str(b, "kind"));
}

static int refuse_taken(const json_t *conf, struct ctl_error *err)
{
	list_for_each(it, tmp, &entries) {
		struct entry *e = list_entry(it, struct entry, node);

		if (collide(e->conf, conf, "front", "socket"))
			return ctl_fail(err, -EADDRINUSE, "socket_in_use", "front.socket",
					"'%s' belongs to disk '%s'",
					ctl_str(json_object_get(conf, "front"), "socket"),
					entry_name(e));
		if (collide(e->conf, conf, "medium", "path") &&
		    !(ctl_bool(e->conf, "readonly") && ctl_bool(conf, "readonly")))
			return ctl_fail(err, -EBUSY, "busy", "medium.path",
					"'%.250s' belongs to disk '%s'",
					ctl_str(json_object_get(conf, "medium"), "path"),
					entry_name(e));
	}
	return 0;
}

/* The caller's name is taken: success if all else is the same, too. */
static int create_again(struct ctl *ctl, struct entry *e, const json_t *conf, json_t **ret,
			struct ctl_error *err)
{
	char key[64];
	int code = judge_closing(e, err);

	if (code)
		return code;
	if (state_differs(e->conf, conf, key, sizeof(key)))
		return ctl_fail(err, -EEXIST, "disk_exists", key,
				"disk '%s' exists with another %s; `disk show` tells, `disk set` "
				"and `disk resize` change", entry_name(e), key);
	if (!e->disk) { /* it could not be opened before: now perhaps */
		code = entry_open(ctl, e, NULL, err);
		if (code) {
			e->why = *err;
			return code;
		}
		e->waits = false;
		log_info(entry_name(e), "opened");
	}
	*ret = entry_show(e, true);
	return 0;
}

static int open_again(struct ctl *ctl, struct entry *e, struct ctl_error *err)
{
	e->was_kept = false; /* whoever reopens a disk whose data is lost wants it empty */
	int code = entry_open(ctl, e, NULL, err);

	e->waits = false;
	if (code) {
		e->why = *err;
		log_error(entry_name(e), "not reopened: %s: %s", err->param, err->text);
	} else {
		log_info(entry_name(e), "reopened");
	}
	return code;
}

/* The front of @e, if it was open, has stopped. */
static int finish_closing(struct ctl *ctl, struct entry *e, struct ctl_error *err)
{
	enum closing what = e->closing;

	entry_close(e);
	e->closing = CLOSING_NOT;
	if (what == CLOSING_TO_REOPEN)
		return open_again(ctl, e, err);
	list_del(&e->node);
	entry_free(e);
	return 0;
}

/* Waits for the front of @e, which is to stop. Return: whether it has. */
static bool has_let_go(struct entry *e)
{
	struct disk_stats st;

	if (entry_wait(e, clock_ns() + CLOSE_WAIT_NS))
		return true;
	disk_stats(e->disk, &st);
	return !st.inflight && !st.orphans && entry_wait(e, clock_ns() + CLOSE_IDLE_NS);
}

/* Closes a listed disk, and what follows: at once if its medium allows, otherwise in
 * disk_ctl_reap().
 * Return: 0 also for that; what opening it again says. */
static int close_for(struct ctl *ctl, struct entry *e, enum closing what, struct ctl_error *err)
{
	bool begun = e->closing;
	char who[ENTRY_HOLDER_MAX];

	e->closing = what;
	if (e->disk && what == CLOSING_FOR_GOOD)
		disk_give_up(e->disk);
	if (begun)
		return 0;
	/* nobody connects to what is going */
	entry_forget(ctl, e);
	if (e->disk) {
		entry_stop(e);
		if (!has_let_go(e)) {
			log_warn(entry_name(e), "closes when %s has ended what is in flight",
				 holder(e, who));
			return 0;
		}
	}
	return finish_closing(ctl, e, err);
}

void disk_ctl_set_wake(int fd)
{
	entry_set_wake(fd);
}

void disk_ctl_reap(struct ctl *ctl)
{
	struct ctl_error logged;

	list_for_each(it, tmp, &entries) {
		struct entry *e = list_entry(it, struct entry, node);

		if (e->disk)
			entry_look(e);
		if (e->closing && entry_wait(e, 0))
			finish_closing(ctl, e, &logged);
	}
}

static int run_create(struct ctl *ctl, const json_t *params, json_t **ret, struct ctl_error *err)
{
	json_t *conf = json_deep_copy(params);
	struct entry *e = find(ctl_str(params, "name"));
	int code = complete(conf, err);

	if (!code && e) {
		code = create_again(ctl, e, conf, ret, err);
		json_decref(conf);
		return code;
	}
	if (!code)
		code = refuse_taken(conf, err);
	e = code ? NULL : entry_new(conf);
	json_decref(conf);
	if (!e)
		return code ? code : ctl_fail(err, -ENOMEM, "no_memory", NULL, "out of memory");
	e->is_new = true;
	code = entry_open(ctl, e, NULL, err);
	if (code) {
		ctl_unmake();
		keep_drop_all(&e->keep);
		entry_free(e);
		return code;
	}
	list_add_tail(&entries, &e->node);
	code = state_put(ctl_state(ctl), "disk", entry_name(e), e->conf, err);
	if (code) {
		ctl_unmake();
		close_for(ctl, e, CLOSING_FOR_GOOD, err);
		return code;
	}
	log_info(entry_name(e), "created");
	*ret = entry_show(e, true);
	return 0;
}

/* Opens a disk of the state, or says why not. */
static void come_back(struct ctl *ctl, struct entry *e)
{
	struct ctl_error err = { 0 };
	int code = entry_open(ctl, e, NULL, &err);
	bool waited = e->waits;

	e->why = err;
	/* for a predecessor's last requests, for the rest of one whose keeper has died, which still
	 * has its sockets; for a path that does not answer */
	e->waits = code == -EBUSY || code == -EADDRINUSE || code == -ETIMEDOUT;
	if (!code)
		log_info(entry_name(e), "opened");
	else if (e->waits && !waited)
		log_warn(entry_name(e), "waits: %s: %s", err.param, err.text);
	else if (!e->waits)
		log_error(entry_name(e), "not opened: %s: %s", err.param, err.text);
}

/* @conf as this version writes it: older ones had timeout_ms, a number, for timeout. Return: a new
 * one. */
static json_t *renew(const json_t *conf)
{
	json_t *copy = json_deep_copy(conf), *ms = json_object_get(copy, "timeout_ms");
	char time[32];

	if (json_is_integer(ms) && !json_object_get(copy, "timeout")) {
		snprintf(time, sizeof(time), "%lldms", (long long)json_integer_value(ms));
		json_object_set_new(copy, "timeout", json_string(time));
		json_object_del(copy, "timeout_ms");
	}
	return copy;
}

unsigned disk_ctl_restore(struct ctl *ctl)
{
	const struct ctl_cmd *create = ctl_cmd_find(ctl_tables(ctl), "disk", "create");
	unsigned waiting = 0;
	const char *name;
	json_t *conf;

	json_object_foreach((json_t *)state_all(ctl_state(ctl), "disk"), name, conf) {
		struct ctl_error err = { 0 };
		json_t *checked = NULL, *renewed = renew(conf);
		int code = ctl_check(ctl_tables(ctl), create->params, renewed, &checked, &err);
		/* What this version does not understand is kept as it is, and not served. */
		struct entry *e = entry_new(code ? conf : checked);

		json_decref(renewed);
		json_decref(checked);
		if (!e)
			continue;
		list_add_tail(&entries, &e->node);
		e->was_kept = true;
		e->why = err;
		if (code)
			log_error(name, "not opened: %s: %s", err.param, err.text);
		else
			entry_ahead(ctl, e);
	}
	list_for_each(it, tmp, &entries) {
		struct entry *e = list_entry(it, struct entry, node);

		if (!*e->why.id)
			come_back(ctl, e);
		waiting += e->waits;
	}
	return waiting;
}

unsigned disk_ctl_retry(struct ctl *ctl)
{
	unsigned waiting = 0;

	list_for_each(it, tmp, &entries)
		if (list_entry(it, struct entry, node)->waits)
			entry_ahead(ctl, list_entry(it, struct entry, node));
	list_for_each(it, tmp, &entries) {
		struct entry *e = list_entry(it, struct entry, node);

		if (e->waits)
			come_back(ctl, e);
		waiting += e->waits;
	}
	return waiting;
}

int disk_ctl_serve(struct ctl *ctl, const json_t *params, int conn_fd, void (*ended)(void *arg),
		   void *arg, struct ctl_error *err)
{
	const struct ctl_cmd *create = ctl_cmd_find(ctl_tables(ctl), "disk", "create");
	struct entry_conn conn = { conn_fd, ended, arg };
	json_t *conf = NULL;
	int code = ctl_check(ctl_tables(ctl), create->params, params, &conf, err);
	struct entry *e = code ? NULL : entry_new(conf);

	json_decref(conf);
	if (!e)
		return code ? code : ctl_fail(err, -ENOMEM, "no_memory", NULL, "out of memory");
	code = entry_open(ctl, e, &conn, err);
	if (code)
		entry_free(e);
	else
		list_add_tail(&entries, &e->node);
	return code;
}

bool disk_ctl_close_all(uint64_t grace_ns)
{
	uint64_t until_ns = clock_ns() + grace_ns;

	list_for_each(it, tmp, &entries) {
		struct entry *e = list_entry(it, struct entry, node);

		if (e->disk && !e->closing)
			entry_stop(e);
	}
	list_for_each(it, tmp, &entries) {
		struct entry *e = list_entry(it, struct entry, node);

		if (e->disk && !entry_wait(e, until_ns)) {
			char who[ENTRY_HOLDER_MAX];

			log_warn(entry_name(e), "not closed: %s has not ended what is in flight",
				 holder(e, who));
			continue;
		}
		entry_close(e);
		list_del(&e->node);
		entry_free(e);
	}
	return list_empty(&entries);
}

json_t *disk_ctl_list(void)
{
	json_t *all = json_array();

	list_for_each(it, tmp, &entries)
		json_array_append_new(all, entry_show(list_entry(it, struct entry, node), false));
	return all;
}

void disk_ctl_why_mode(const struct poller *p, unsigned mode, char *ret_text, size_t len)
{
	static const char *const word[] = { [POLL_NEVER] = "poll=never",
					    [POLL_ADAPTIVE] = "poll=adaptive",
					    [POLL_ALWAYS] = "poll=always" };
	const char *first = NULL;
	unsigned more = 0;

	list_for_each(it, tmp, &entries) {
		struct entry *e = list_entry(it, struct entry, node);

		for (unsigned i = 0; i < e->npoller; i++) {
			if (e->poller[i] != p || disk_mode(e->disk) != mode)
				continue;
			more += first != NULL;
			first = first ? first : entry_name(e);
			break;
		}
	}
	if (more)
		snprintf(ret_text, len, "disk '%s' and %u more have %s", first, more, word[mode]);
	else
		snprintf(ret_text, len, "disk '%s' has %s", first ? first : "?", word[mode]);
}

static int run_list(struct ctl *ctl, const json_t *params, json_t **ret, struct ctl_error *err)
{
	*ret = disk_ctl_list();
	return 0;
}

static int run_show(struct ctl *ctl, const json_t *params, json_t **ret, struct ctl_error *err)
{
	struct entry *e = find(ctl_str(params, "name"));

	if (!e)
		return not_found(ctl_str(params, "name"), err);
	*ret = entry_show(e, true);
	return 0;
}

static int run_delete(struct ctl *ctl, const json_t *params, json_t **ret, struct ctl_error *err)
{
	struct entry *e = find(ctl_str(params, "name"));
	struct front_info *f = calloc(1, sizeof(*f));
	bool connected = false;
	pid_t pid = 0;

	if (e && e->disk && f) {
		e->front->ops->info(e->front, f);
		connected = f->connected;
		pid = f->peer_pid;
	}
	free(f);
	if (!e)
		return not_found(ctl_str(params, "name"), err);
	if (e->closing == CLOSING_FOR_GOOD)
		return judge_closing(e, err);
	if (connected && !ctl_bool(params, "force"))
		return ctl_fail(err, -EBUSY, "busy", "name",
				"process %d is connected to it; force=on takes it away", pid);
	int code = state_del(ctl_state(ctl), "disk", entry_name(e), err);

	if (code)
		return code;
	log_info(entry_name(e), "deleted");
	return close_for(ctl, e, CLOSING_FOR_GOOD, err);
}

/* A medium that has lost a write stays failed, whatever later ones say, until somebody has looked
 * and reopens it. Guests that reconnect go on. */
static int run_reopen(struct ctl *ctl, const json_t *params, json_t **ret, struct ctl_error *err)
{
	struct entry *e = find(ctl_str(params, "name"));

	if (!e)
		return not_found(ctl_str(params, "name"), err);
	int code = judge_closing(e, err);

	if (!code)
		code = close_for(ctl, e, CLOSING_TO_REOPEN, err);
	if (code)
		return code;
	*ret = entry_show(e, true);
	return 0;
}

static int run_requests(struct ctl *ctl, const json_t *params, json_t **ret, struct ctl_error *err)
{
	struct entry *e = find(ctl_str(params, "name"));

	if (!e)
		return not_found(ctl_str(params, "name"), err);
	*ret = entry_requests(e);
	return 0;
}

/* What has failed is done again; if it fails again, the disk stops again. */
static int run_resume(struct ctl *ctl, const json_t *params, json_t **ret, struct ctl_error *err)
{
	struct entry *e = find(ctl_str(params, "name"));

	if (!e)
		return not_found(ctl_str(params, "name"), err);
	int code = judge_closing(e, err);
	if (code)
		return code;
	if (!e->disk)
		return not_open(e, err);
	if (e->is_halted)
		log_info(entry_name(e), "resumed");
	e->is_halted = false;
	disk_go_on(e->disk);
	*ret = entry_show(e, true);
	return 0;
}

static const char *const poll_modes[] = { "adaptive", "always", "never", NULL };
static const char *const on_timeouts[] = { "wait", "error", NULL };
static const char *const werrors[] = { "report", "stop", NULL };

#define NAME_PARAM \
	{ .name = "name", .type = CTL_NAME, .required = true, .positional = true, \
	  .help = "The disk" }
#define POLL_HELP "How its queues are watched: adaptive (polled while busy), always, never"
#define POLLERS_HELP "How many pollers share its queues, chosen and changed by themselves"
#define POLLER_HELP "Which ones instead, by name; queues go to them in turn, and stay"
#define TIMEOUT_HELP "A request older than this makes the disk 'stalled'; 0: none ever does"
#define ON_TIMEOUT_HELP \
	"Then: wait for the medium, or give the guest an error; 'error' copies all data"
#define WERROR_HELP \
	"When a write, discard or flush fails: report it to the guest, or stop until disk resume"
#define TIMEOUT_MAX_NS (3600 * NS_PER_S)
/* The function `limit` knows what of them is allowed, and what is taken when nothing is said. */
#define LIMIT_PARAMS \
	{ .name = "iops", .type = CTL_UINT, \
	  .help = "Let no more requests a second begin; 0: as many as come" }, \
	{ .name = "bytes", .type = CTL_SIZE, \
	  .help = "Let no more bytes a second be read and written; 0: as many as come" }, \
	{ .name = "discards", .type = CTL_UINT, \
	  .help = "Discards and write-zeroes a second, which then are none of iops" }, \
	{ .name = "burst", .type = CTL_TIME, \
	  .help = "Allowance that a quiet disk saves up for, 10ms unless given" }
#define FUNCTION_HELP "A step that requests pass through; may be given again, in order"

static const struct ctl_param create_params[] = {
	{ .name = "name", .type = CTL_NAME, .required = true, .positional = true,
	  .help = "The disk's name, which you choose" },
	{ .name = "medium", .type = CTL_KIND, .kind_set = "medium", .required = true,
	  .help = "Where its data lives" },
	{ .name = "size", .type = CTL_SIZE, .min = 512,
	  .help = "Size; not given: the medium's own" },
	{ .name = "front", .type = CTL_KIND, .kind_set = "front", .value = "vhost-user",
	  .help = "How guests reach it" },
	{ .name = "function", .type = CTL_KIND, .kind_set = "function", .list = true,
	  .help = FUNCTION_HELP },
	{ .name = "readonly", .type = CTL_BOOL, .value = "off", .help = "Refuse all changes" },
	{ .name = "poll", .type = CTL_ENUM, .choices = poll_modes, .value = "adaptive",
	  .help = POLL_HELP },
	{ .name = "pollers", .type = CTL_UINT, .min = 1, .max = FRONT_QUEUES_MAX, .value = "1",
	  .help = POLLERS_HELP },
	{ .name = "poller", .type = CTL_NAME, .list = true, .help = POLLER_HELP },
	{ .name = "serial", .type = CTL_STRING, .max = DISK_SERIAL_MAX,
	  .help = "Serial number that guests see; not given: the name" },
	{ .name = "blk_size", .type = CTL_SIZE, .min = DISK_BLK_MIN_B, .max = DISK_BLK_MAX_B,
	  .help = "Block size that guests see; not given: the medium's" },
	LIMIT_PARAMS,
	{ .name = "timeout", .type = CTL_TIME, .max = TIMEOUT_MAX_NS, .value = "10s",
	  .help = TIMEOUT_HELP },
	{ .name = "on_timeout", .type = CTL_ENUM, .choices = on_timeouts, .value = "wait",
	  .help = ON_TIMEOUT_HELP },
	{ .name = "werror", .type = CTL_ENUM, .choices = werrors, .value = "report",
	  .help = WERROR_HELP },
	{ .name = "socket_mode", .type = CTL_STRING, .max = 4,
	  .help = "Permissions of the socket, octal; 0600, or 0660 with socket_group" },
	{ .name = "socket_group", .type = CTL_STRING, .max = 32,
	  .help = "Group that the socket belongs to" },
	{ .name = "compat", .type = CTL_UINT, .min = 1, .max = 1, .value = "1",
	  .help = "What guests see, frozen at creation" },
	{ 0 },
};
static const struct ctl_param name_params[] = { NAME_PARAM, { 0 } };
static const struct ctl_param delete_params[] = {
	NAME_PARAM,
	{ .name = "force", .type = CTL_BOOL, .value = "off",
	  .help = "Even while a guest is connected" },
	{ 0 },
};
static const struct ctl_param resize_params[] = {
	NAME_PARAM,
	{ .name = "size", .type = CTL_SIZE, .min = 512, .required = true, .help = "The new size" },
	{ .name = "shrink", .type = CTL_BOOL, .value = "off",
	  .help = "Also below the present size" },
	{ 0 },
};
static const struct ctl_param set_params[] = {
	NAME_PARAM,
	{ .name = "poll", .type = CTL_ENUM, .choices = poll_modes, .help = POLL_HELP },
	LIMIT_PARAMS,
	{ .name = "timeout", .type = CTL_TIME, .max = TIMEOUT_MAX_NS, .help = TIMEOUT_HELP },
	{ .name = "on_timeout", .type = CTL_ENUM, .choices = on_timeouts, .help = ON_TIMEOUT_HELP },
	{ .name = "werror", .type = CTL_ENUM, .choices = werrors, .help = WERROR_HELP },
	{ .name = "pollers", .type = CTL_UINT, .min = 1, .max = FRONT_QUEUES_MAX,
	  .help = POLLERS_HELP },
	{ .name = "poller", .type = CTL_NAME, .list = true, .help = POLLER_HELP },
	{ .name = "function", .type = CTL_KIND, .kind_set = "function", .list = true,
	  .help = "The whole chain as it is to be; function= alone: none" },
	{ 0 },
};

const struct ctl_cmd disk_cmds[] = {
	{ .noun = "disk", .verb = "create", .params = create_params, .run = run_create,
	  .help = "Make a disk and serve it" },
	{ .noun = "disk", .verb = "list", .run = run_list, .help = "Show all disks, one a line",
	  .columns = "name size_b medium_kind poll state connected socket why" },
	{ .noun = "disk", .verb = "show", .params = name_params, .run = run_show,
	  .help = "Show all about one disk" },
	{ .noun = "disk", .verb = "requests", .params = name_params, .run = run_requests,
	  .help = "List what is in flight, the oldest first: how old, and where it is",
	  .columns = "op offset len_b age_ns where poller queue" },
	{ .noun = "disk", .verb = "set", .params = set_params, .run = disk_ctl_set,
	  .help = "Change a disk while it runs" },
	{ .noun = "disk", .verb = "resize", .params = resize_params, .run = disk_ctl_resize,
	  .columns = "name size_b guest",
	  .help = "Change a disk's size; its guests see it" },
	{ .noun = "disk", .verb = "resume", .params = name_params, .run = run_resume,
	  .help = "Let a disk that werror=stop has stopped go on; what failed is done again" },
	{ .noun = "disk", .verb = "reopen", .params = name_params, .run = run_reopen,
	  .help = "Close a failed disk and open it again; connected guests reconnect" },
	{ .noun = "disk", .verb = "delete", .params = delete_params, .run = run_delete,
	  .help = "Stop serving a disk and forget it; its data stays" },
	{ 0 },
};
