/* SPDX-License-Identifier: Apache-2.0 */
#include "function/remote/remote_ctl.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/cpus.h"
#include "base/fd.h"
#include "base/list.h"
#include "base/log.h"
#include "control/rpc.h"
#include "control/state.h"
#include "function/remote/host.h"
#include "function/remote/machine.h"
#include "function/remote/remote.h"

#define FILES_MAX 8

/* A function as its user knows it. */
struct entry {
	struct list node;
	char name[FUNCTION_NAME_MAX + 1];
	struct host *host;
	struct machine *machine; /* it is in one; or NULL */
	unsigned users;		 /* disks' functions */
};

static struct list entries = { &entries, &entries };
static struct ctl *the_ctl;
static struct loop *the_loop;
static char the_socket_dir[FD_SOCKET_PATH_MAX + 1];

static struct entry *find(const char *name)
{
	list_for_each(it, tmp, &entries) {
		struct entry *e = list_entry(it, struct entry, node);

		if (!strcmp(e->name, name))
			return e;
	}
	return NULL;
}

static int not_found(const char *name, const char *param, struct ctl_error *err)
{
	return ctl_fail(err, -ENOENT, "function_not_found", param,
			"there is no function '%s'; `function list` names them", name);
}

/* Specs are configurations, as ctl_check() left them. */

static int open_files(const json_t *paths, int flags, const char *param, int *fds, unsigned *n,
		      struct ctl_error *err)
{
	const json_t *path;
	size_t i;

	json_array_foreach((json_t *)paths, i, path) {
		int fd = *n == FILES_MAX ?
				 ctl_fail(err, -E2BIG, "out_of_range", param,
					  "at most %d files in all", FILES_MAX) :
				 ctl_open_path(json_string_value(path), flags, param, err);

		if (fd < 0)
			return fd;
		fds[(*n)++] = fd;
	}
	return 0;
}

static int start_process(const char *name, void *spec, struct host_process *ret, char *why)
{
	const json_t *conf = spec;
	int fds[FILES_MAX];
	struct ctl_error err = { 0 };
	struct ctl_spawn s = { .name = name,
			       .run = ctl_str(conf, "run"),
			       .memory_mib = (uint32_t)(ctl_u64(conf, "memory") / MIB),
			       .cpus = ctl_str(conf, "cpus"),
			       .files = fds };
	int code = open_files(json_object_get(conf, "file"), O_RDWR | O_CREAT, "file", fds, &s.nfile,
			      &err);

	if (!code)
		code = open_files(json_object_get(conf, "read"), O_RDONLY, "read", fds, &s.nfile,
				  &err);
	if (code) {
		snprintf(why, HOST_WHY_MAX, "%.150s", err.text);
	} else {
		code = ctl_spawn(&s);
		if (code)
			snprintf(why, HOST_WHY_MAX, "'%.100s' cannot be started: %s", s.run,
				 strerror(-code));
	}
	while (s.nfile)
		fd_close(fds[--s.nfile]);
	if (!code)
		*ret = (struct host_process){ s.pid, s.sock, s.pidfd, s.jail, NULL };
	return code;
}

static int start(const char *name, void *spec, struct host_process *ret, char *why)
{
	struct entry *e = find(name);

	if (ctl_bool(spec, "vm"))
		return e->machine ? machine_start(e->machine, ret) : -EAGAIN;
	return start_process(name, spec, ret, why);
}

/* A machine's program goes on; it has nothing until it says READY again. */
static void kill_process(const struct host_process *p)
{
	if (!p->region)
		ctl_kill(p->pid);
}

static void free_spec(void *spec)
{
	json_decref(spec);
}

static void rolled_back(const char *name, void *spec, void *spec_before)
{
	struct ctl_error err;

	if (state_put(ctl_state(the_ctl), "function", name, spec_before, &err))
		log_error(name, "a restart would start the version that has failed: %s", err.text);
}

static const struct host_starter starter = {
	.start = start, .kill = kill_process, .free = free_spec, .rolled_back = rolled_back,
};

static struct entry *entry_new(const char *name, const json_t *conf)
{
	struct entry *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	snprintf(e->name, sizeof(e->name), "%s", name);
	e->host = host_new(name, the_loop, &starter, ctl_u64(conf, "stall_ms") * NS_PER_MS);
	if (!e->host) {
		free(e);
		return NULL;
	}
	list_add_tail(&entries, &e->node);
	return e;
}

/* @forget: nobody goes on with its machine. */
static void entry_free(struct entry *e, bool forget)
{
	list_del(&e->node);
	host_free(e->host);
	machine_close(e->machine, forget);
	free(e);
}

/* Makes the place where the machine of @e and posternd meet. */
static int meet_machine(struct entry *e, const json_t *conf, struct ctl_error *err)
{
	struct keep_scope all = { .keep = ctl_keep(), .path = "function" }, keep;
	const char *socket = ctl_str(conf, "socket");
	int fd = ctl_listen(socket, 0600, NULL, "socket", err);

	if (fd < 0)
		return fd;
	int code = keep_scope_in(&all, e->name, &keep);

	if (!code)
		code = machine_open(e->host, the_loop, fd, &keep, &e->machine);
	else
		fd_close(fd);
	if (!code)
		return 0;
	ctl_unlisten(socket);
	return ctl_fail(err, code, "start_failed", "vm", "no memory can be shared with a machine: %s",
			strerror(-code));
}

static json_t *num(uint64_t v)
{
	return json_integer((json_int_t)v);
}

static void add_word(char *text, size_t size_b, const char *word)
{
	size_t len_b = strlen(text);

	snprintf(text + len_b, size_b - len_b, " %s", word);
}

static json_t *set_of(uint32_t bits)
{
	char text[48] = "";

	for (unsigned i = 0; i < REQ_OPS; i++)
		if (bits & 1u << i)
			add_word(text, sizeof(text), req_op_name((enum req_op)i));
	return json_string(text + (*text == ' '));
}

static json_t *jail_of(uint32_t bits)
{
	static const char *const name[] = { "privileges", "files", "calls", "network", "memory" };
	char off[64] = "";

	for (unsigned i = 0; i < ARRAY_SIZE(name); i++)
		if (!(bits & 1u << i))
			add_word(off, sizeof(off), name[i]);
	return *off ? json_sprintf("off for:%s", off) : json_string("on");
}

static const char *state_of(const struct host_info *i)
{
	if (i->state == HOST_UP)
		return i->probation ? "probation" : "up";
	return i->state == HOST_STARTING ? "starting" : "down";
}

static void add_stats(json_t *o, const struct remote_stats *s)
{
	json_object_set_new(o, "requests", num(s->requests));
	json_object_set_new(o, "added_p50_ns", num(s->wait_p50_ns));
	json_object_set_new(o, "added_p99_ns", num(s->wait_p99_ns));
	json_object_set_new(o, "own_requests", num(s->own_io));
	json_object_set_new(o, "replayed", num(s->replayed));
	json_object_set_new(o, "dropped", num(s->dropped));
	json_object_set_new(o, "bypassed", num(s->bypassed));
	json_object_set_new(o, "failed", num(s->failed));
}

static void add_program(json_t *o, const struct host_info *i)
{
	json_object_set_new(o, "pid", num((uint64_t)i->process.pid));
	if (!i->version)
		return;
	json_object_set_new(o, "program", json_string(i->program));
	json_object_set_new(o, "version", json_string(i->version));
	json_object_set_new(o, "abi", num(i->abi));
	json_object_set_new(o, "sees_down", set_of(i->down));
	json_object_set_new(o, "sees_up", set_of(i->up));
	json_object_set_new(o, "with_data", set_of(i->with_data));
	json_object_set_new(o, "own_io", json_boolean(i->own_io));
	if (i->process.region)
		json_object_set_new(o, "jail", json_string("its machine"));
	else
		json_object_set_new(o, "jail", jail_of(i->process.sandbox));
}

static json_t *show(const struct entry *e, bool all)
{
	struct host_info i;
	json_t *o;

	host_info(e->host, &i);
	if (e->machine && i.state == HOST_DOWN && !i.why)
		i.why = "its machine is not there yet: `vm run` starts it";
	o = json_pack("{s:s, s:s, s:s*, s:s, s:i, s:o, s:o, s:o, s:i}", "name", e->name, "state",
		      state_of(&i), "version", i.version, "transport",
		      e->machine ? "machine (nvdimm, dax)" : "process", "disks",
		      (int)e->users, "requests", num(i.stats.requests), "added_p50_ns",
		      num(i.stats.wait_p50_ns), "added_p99_ns", num(i.stats.wait_p99_ns),
		      "restarts", (int)i.restarts);
	if (i.why && (i.state != HOST_UP || all))
		json_object_set_new(o, i.state == HOST_UP ? "last_failure" : "why",
				    json_string(i.why));
	if (!all)
		return o;
	json_object_update_missing(o, host_spec(e->host));
	if (e->machine) {
		char path[64];

		machine_memory(e->machine, path, sizeof(path));
		json_object_set_new(o, "memory_path", json_string(path));
		json_object_set_new(o, "memory_b", num(FN_REGION_B));
		json_object_set_new(o, "port", json_string(FN_PORT));
	}
	if (i.process.pid)
		add_program(o, &i);
	add_stats(o, &i.stats);
	json_object_set_new(o, "rollbacks", num(i.rollbacks));
	json_object_set_new(o, "replace_pause_ns", num(i.stats.pause_ns));
	return o;
}

/* What is for a process, and not for a machine. */
static int judge_machine(json_t *conf, struct ctl_error *err)
{
	static const char *const others[] = { "run", "cpus", "file", "read" };
	char path[sizeof(the_socket_dir) + FUNCTION_NAME_MAX + 16];

	for (unsigned i = 0; i < ARRAY_SIZE(others); i++)
		if (ctl_has(conf, others[i]))
			return ctl_fail(err, -EINVAL, "bad_value", others[i],
					"is for a process; what a machine has `vm run` says");
	json_object_del(conf, "memory");
	if (ctl_has(conf, "socket"))
		return 0;
	if (!*the_socket_dir)
		return ctl_fail(err, -EINVAL, "missing_param", "socket",
				"is needed: there is no directory for sockets");
	snprintf(path, sizeof(path), "%s/%s.function", the_socket_dir, ctl_str(conf, "name"));
	json_object_set_new(conf, "socket", json_string(path));
	return 0;
}

static int judge_conf(json_t *conf, struct ctl_error *err)
{
	const char *cpus = ctl_str(conf, "cpus");
	cpu_set_t set;

	if (ctl_bool(conf, "vm"))
		return judge_machine(conf, err);
	if (ctl_has(conf, "socket"))
		return ctl_fail(err, -EINVAL, "bad_value", "socket", "needs vm=on");
	if (!ctl_has(conf, "run"))
		return ctl_fail(err, -EINVAL, "missing_param", "run",
				"is needed, or vm=on for a function in a machine of its own");
	if (cpus && cpus_parse(cpus, &set))
		return ctl_fail(err, -EINVAL, "bad_value", "cpus",
				"'%s' is not a list of CPUs such as 2 or 1-3", cpus);
	return 0;
}

static int add_again(struct entry *e, const json_t *conf, json_t **ret, struct ctl_error *err)
{
	char key[64];

	if (state_differs(host_spec(e->host), conf, key, sizeof(key)))
		return ctl_fail(err, -EEXIST, "function_exists", key,
				"function '%s' exists with another %s; `function replace` changes "
				"what it runs", e->name, key);
	*ret = show(e, true);
	return 0;
}

/* Whether its program is there and has been tried; of a machine it comes later. */
static int bring_up(struct entry *e, json_t *conf, struct ctl_error *err)
{
	char why[HOST_WHY_MAX] = "out of memory";
	int code;

	if (ctl_bool(conf, "vm")) {
		code = meet_machine(e, conf, err);
		if (!code)
			host_start_later(e->host, json_incref(conf));
		return code;
	}
	code = host_start(e->host, conf, why);
	if (code)
		return ctl_fail(err, code, "start_failed", "run", "%s", why);
	json_incref(conf);
	return 0;
}

static int add_new(struct ctl *ctl, json_t *conf, struct entry **ret, struct ctl_error *err)
{
	const char *name = ctl_str(conf, "name");
	struct entry *e = entry_new(name, conf);

	if (!e)
		return ctl_fail(err, -ENOMEM, "no_memory", NULL, "out of memory");
	int code = bring_up(e, conf, err);

	if (!code)
		code = state_put(ctl_state(ctl), "function", name, conf, err);
	if (code && e->machine)
		ctl_unlisten(ctl_str(conf, "socket"));
	if (code)
		entry_free(e, true);
	*ret = e;
	return code;
}

static int run_add(struct ctl *ctl, const json_t *params, json_t **ret, struct ctl_error *err)
{
	struct entry *e = find(ctl_str(params, "name"));
	json_t *conf = json_deep_copy(params);
	int code = judge_conf(conf, err);

	if (!code && e) {
		code = add_again(e, conf, ret, err);
	} else if (!code) {
		code = add_new(ctl, conf, &e, err);
		if (!code)
			*ret = show(e, true);
	}
	json_decref(conf);
	return code;
}

static int run_list(struct ctl *ctl, const json_t *params, json_t **ret, struct ctl_error *err)
{
	*ret = json_array();
	list_for_each(it, tmp, &entries)
		json_array_append_new(*ret, show(list_entry(it, struct entry, node), false));
	return 0;
}

static int run_show(struct ctl *ctl, const json_t *params, json_t **ret, struct ctl_error *err)
{
	struct entry *e = find(ctl_str(params, "name"));

	if (!e)
		return not_found(ctl_str(params, "name"), "name", err);
	*ret = show(e, true);
	return 0;
}

static int run_replace(struct ctl *ctl, const json_t *params, json_t **ret, struct ctl_error *err)
{
	const char *name = ctl_str(params, "name");
	struct entry *e = find(name);
	char why[HOST_WHY_MAX] = "out of memory";
	int code = e ? 0 : not_found(name, "name", err);

	if (!code && e->machine)
		code = ctl_fail(err, -ENOTSUP, "not_supported", "name",
				"it is in a machine, where you replace the program: what it had, the "
				"new one gets again");
	if (code)
		return code;
	json_t *was = json_incref(host_spec(e->host)), *conf = json_copy(was);

	json_object_update(conf, (json_t *)params);
	json_object_del(conf, "probation_ms");
	code = judge_conf(conf, err);
	/* durable first; what fails is taken back */
	if (!code)
		code = state_put(ctl_state(ctl), "function", name, conf, err);
	if (!code && host_replace(e->host, conf, ctl_u64(params, "probation_ms") * NS_PER_MS, why)) {
		struct ctl_error ignored;

		state_put_back(ctl_state(ctl), "function", name, was, &ignored);
		code = ctl_fail(err, -EINVAL, "start_failed", "run",
				"%s; the version there was goes on", why);
	}
	json_decref(was);
	if (code) {
		json_decref(conf);
		return code;
	}
	*ret = show(e, true);
	return 0;
}

static int run_remove(struct ctl *ctl, const json_t *params, json_t **ret, struct ctl_error *err)
{
	const char *name = ctl_str(params, "name");
	struct entry *e = find(name);

	if (!e)
		return not_found(name, "name", err);
	if (e->users)
		return ctl_fail(err, -EBUSY, "busy", "name",
				"%u disks use it; `disk set DISK function=...` gives one another chain",
				e->users);
	int code = state_del(ctl_state(ctl), "function", name, err);

	if (code)
		return code;
	if (e->machine)
		ctl_unlisten(ctl_str(host_spec(e->host), "socket"));
	entry_free(e, true);
	return 0;
}

/* Its machine has been running all the time, or will come. */
static void machine_comes_back(struct entry *e, json_t *conf)
{
	struct ctl_error err = { 0 };

	if (meet_machine(e, conf, &err))
		log_error(e->name, "its machine cannot reach posternd: %s", err.text);
	host_start_later(e->host, conf);
}

static void come_back(struct entry *e, json_t *conf)
{
	struct ctl_spawn s = { .name = e->name, .run = ctl_str(conf, "run"), .adopt = true,
			       .memory_mib = 1 };
	char why[HOST_WHY_MAX] = "";

	if (!ctl_spawn(&s)) {
		struct host_process p = { s.pid, s.sock, s.pidfd, s.jail, NULL };

		if (!host_adopt(e->host, conf, &p, why))
			return;
		log_error(e->name, "its program %d is not taken over: %s", s.pid, why);
	}
	host_start_later(e->host, conf);
}

void remote_ctl_restore(struct ctl *ctl, struct loop *loop, const char *socket_dir)
{
	const struct ctl_cmd *add = ctl_cmd_find(ctl_tables(ctl), "function", "add");
	const char *name;
	json_t *kept;

	the_ctl = ctl;
	the_loop = loop;
	snprintf(the_socket_dir, sizeof(the_socket_dir), "%s", socket_dir);
	json_object_foreach((json_t *)state_all(ctl_state(ctl), "function"), name, kept) {
		struct ctl_error err = { 0 };
		json_t *conf = NULL;
		struct entry *e;

		if (ctl_check(ctl_tables(ctl), add->params, kept, &conf, &err)) {
			log_error(name, "not started: %s: %s", err.param, err.text);
			continue;
		}
		e = entry_new(name, conf);
		if (e && ctl_bool(conf, "vm"))
			machine_comes_back(e, conf);
		else if (e)
			come_back(e, conf);
		else
			json_decref(conf);
	}
}

void remote_ctl_close_all(void)
{
	list_for_each(it, tmp, &entries)
		entry_free(list_entry(it, struct entry, node), false);
}

/* The disks' side. */

static const char *const modes[] = { "transform", "observe", "serve", NULL };
static const char *const fails[] = { "pause", "bypass", "error", NULL };

static int choice(const char *const *all, const char *text)
{
	int i = 0;

	while (strcmp(all[i], text))
		i++;
	return i;
}

static const struct ctl_param kind_params[] = {
	{ .name = "name", .type = CTL_NAME, .max = FUNCTION_NAME_MAX, .required = true,
	  .help = "The function, as in `function add`" },
	{ .name = "mode", .type = CTL_ENUM, .choices = modes, .value = "transform",
	  .help = "transform: requests pass through it; observe: it sees copies; serve: it answers" },
	{ .name = "on_fail", .type = CTL_ENUM, .choices = fails, .value = "pause",
	  .help = "While there is no program: pause requests, bypass it, or error" },
	{ 0 },
};

static int open_remote(const json_t *params, struct function **ret, struct ctl_error *err)
{
	struct entry *e = find(ctl_str(params, "name"));

	if (!e)
		return not_found(ctl_str(params, "name"), "name", err);
	struct remote_conf c = {
		.host = e->host,
		.mode = (enum fn_mode)choice(modes, ctl_str(params, "mode")),
		.on_fail = (enum remote_fail)choice(fails, ctl_str(params, "on_fail")),
		.users = &e->users,
		.region = e->machine ? machine_region(e->machine) : NULL,
	};

	if (remote_open(&c, ret))
		return ctl_fail(err, -ENOMEM, "no_memory", NULL, "out of memory");
	return 0;
}

static int set_remote(struct function *f, const json_t *params, struct ctl_error *err)
{
	if (remote_mode(f) != (enum fn_mode)choice(modes, ctl_str(params, "mode")))
		return ctl_fail(err, -ENOTSUP, "not_supported", "mode",
				"it keeps its mode while the disk exists");
	if (strcmp(host_name(remote_host(f)), ctl_str(params, "name")))
		return ctl_fail(err, -ENOTSUP, "not_supported", "name",
				"`function replace` changes what a function runs");
	remote_set(f, (enum remote_fail)choice(fails, ctl_str(params, "on_fail")));
	return 0;
}

static void show_remote(const struct function *f, json_t *into)
{
	struct host_info i;
	struct remote_stats s;

	host_info(remote_host(f), &i);
	remote_stats(f, &s);
	json_object_set_new(into, "state", json_string(state_of(&i)));
	if (i.version)
		json_object_set_new(into, "version", json_string(i.version));
	add_stats(into, &s);
}

const struct function_kind remote_function_kind = {
	.ctl = { .name = "remote", .help = "A step in a program of its own, see `function add`",
		 .params = kind_params },
	.open = open_remote,
	.set = set_remote,
	.show = show_remote,
};

#define NAME_PARAM \
	{ .name = "name", .type = CTL_NAME, .max = FUNCTION_NAME_MAX, .required = true, \
	  .positional = true, .help = "The function" }
#define RUN_HELP "The program and its arguments, divided by blanks; a path, or a name in PATH"
#define MEMORY_HELP "The most memory it may have"
#define FILE_HELP "A file to read and write, its descriptor 4 and so on; made if missing"
#define READ_HELP "A file to read, a key for instance; its descriptor after those of file="

static const struct ctl_param add_params[] = {
	{ .name = "name", .type = CTL_NAME, .max = FUNCTION_NAME_MAX, .required = true,
	  .positional = true, .help = "The function's name, which you choose" },
	{ .name = "run", .type = CTL_STRING, .min = 1, .max = 4000, .help = RUN_HELP },
	{ .name = "vm", .type = CTL_BOOL, .value = "off",
	  .help = "It is in a machine of its own: `vm run ... function=NAME` starts that" },
	{ .name = "socket", .type = CTL_PATH,
	  .help = "Where its machine connects; not given: NAME.function beside the control socket" },
	{ .name = "memory", .type = CTL_SIZE, .min = 16 * MIB, .max = 64 * GIB, .value = "256M",
	  .help = MEMORY_HELP },
	{ .name = "cpus", .type = CTL_STRING, .max = 63,
	  .help = "Where it may run; not given: anywhere. It has one thread" },
	{ .name = "file", .type = CTL_PATH, .list = true, .help = FILE_HELP },
	{ .name = "read", .type = CTL_PATH, .list = true, .help = READ_HELP },
	{ .name = "stall_ms", .type = CTL_UINT, .max = 3600000, .value = "5000",
	  .help = "One that keeps the oldest request that it has for so long is started anew; "
		  "0: never" },
	{ 0 },
};
static const struct ctl_param name_params[] = { NAME_PARAM, { 0 } };
static const struct ctl_param replace_params[] = {
	NAME_PARAM,
	{ .name = "run", .type = CTL_STRING, .required = true, .min = 1, .max = 4000,
	  .help = RUN_HELP },
	{ .name = "memory", .type = CTL_SIZE, .min = 16 * MIB, .max = 64 * GIB,
	  .help = MEMORY_HELP },
	{ .name = "cpus", .type = CTL_STRING, .max = 63, .help = "Where it may run" },
	{ .name = "file", .type = CTL_PATH, .list = true, .help = FILE_HELP },
	{ .name = "read", .type = CTL_PATH, .list = true, .help = READ_HELP },
	{ .name = "probation_ms", .type = CTL_UINT, .max = 3600000, .value = "5000",
	  .help = "If it fails within this, the version before comes back" },
	{ 0 },
};

const struct ctl_cmd remote_cmds[] = {
	{ .noun = "function", .verb = "add", .params = add_params, .run = run_add,
	  .help = "Start a program that disks may have as a function" },
	{ .noun = "function", .verb = "list", .run = run_list, .help = "Show all functions, one a line",
	  .columns = "name state version transport disks requests added_p50_ns added_p99_ns "
		     "restarts why" },
	{ .noun = "function", .verb = "show", .params = name_params, .run = run_show,
	  .help = "Show all about one function" },
	{ .noun = "function", .verb = "replace", .params = replace_params, .run = run_replace,
	  .help = "Change a function's program under load, between two requests" },
	{ .noun = "function", .verb = "remove", .params = name_params, .run = run_remove,
	  .help = "End a function that no disk uses" },
	{ 0 },
};
