/* SPDX-License-Identifier: Apache-2.0 */
#include "function/remote/remote_ctl.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/list.h"
#include "base/log.h"
#include "control/rpc.h"
#include "control/state.h"
#include "function/remote/host.h"
#include "function/remote/remote.h"
#include "function/remote/spec_ctl.h"

#define END_NS (3 * NS_PER_S) /* that machines get when all of posternd ends */

/* A function as its user knows it. */
struct entry {
	struct list node;
	char name[FUNCTION_NAME_MAX + 1];
	struct host *host;
	unsigned users; /* disks' functions */
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

static const json_t *conf_of(const struct entry *e)
{
	const struct spec *s = host_spec(e->host);

	return s->conf;
}

/* Machines that end while all of posternd does, so that it can wait for them. */
#define ENDING_MAX 64
static struct pollfd ending[ENDING_MAX];
static nfds_t nending;
static bool is_ending;

static void free_spec(void *spec)
{
	const struct spec *s = spec;
	/* one that is brought finds what is kept again */
	bool forget = !is_ending || spec_kind(s->conf) != SPEC_BROUGHT;
	int end_fd = spec_close(spec, forget);

	if (is_ending && end_fd >= 0 && nending < ENDING_MAX)
		ending[nending++] = (struct pollfd){ end_fd, POLLIN, 0 };
	else
		fd_close(end_fd);
}

static int commit(const char *name, void *spec, char *why)
{
	const struct spec *s = spec;
	struct ctl_error err;
	int code = state_put(ctl_state(the_ctl), "function", name, s->conf, &err);

	if (code)
		snprintf(why, HOST_WHY_MAX, "it cannot be noted down: %.120s", err.text);
	return code;
}

static void rolled_back(const char *name, void *spec, void *spec_before)
{
	const struct spec *s = spec_before;
	struct ctl_error err;

	if (state_put(ctl_state(the_ctl), "function", name, s->conf, &err))
		log_error(name, "a restart would start the version that has failed: %s", err.text);
}

static const struct host_starter starter = {
	.start = spec_start, .kill = spec_kill, .free = free_spec, .commit = commit,
	.rolled_back = rolled_back, .region = spec_region, .how = spec_how,
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

static void entry_free(struct entry *e)
{
	list_del(&e->node);
	host_free(e->host);
	free(e);
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
	return json_string(*text ? text + 1 : "nothing");
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

/* What is missing, if it is that, in words for whoever asks. */
static const char *why_of(const struct spec *s, const struct host_info *i)
{
	if (i->why || i->state != HOST_DOWN || spec_kind(s->conf) != SPEC_BROUGHT)
		return i->why;
	return "its machine is not there yet: `vm run` starts it";
}

static void add_machine(json_t *o, const struct spec *s)
{
	char text[64];

	machine_memory(s->machine, text, sizeof(text));
	json_object_set_new(o, "memory_path", json_string(text));
	json_object_set_new(o, "memory_b", num(FN_REGION_B));
	json_object_set_new(o, "port", json_string(FN_PORT));
	if (spec_kind(s->conf) != SPEC_MACHINE)
		return;
	spec_machine_name(s, text, sizeof(text));
	json_object_set_new(o, "machine", json_string(text));
	/* what it has, rather than what was asked for */
	if (*machine_accel(s->machine))
		json_object_set_new(o, "accel", json_string(machine_accel(s->machine)));
	if (*machine_note(s->machine))
		json_object_set_new(o, "accel_note", json_string(machine_note(s->machine)));
}

static const char *transport_of(const struct spec *s, const struct host_info *i)
{
	if (spec_kind(s->conf) == SPEC_PROCESS)
		return "process";
	if (!i->version)
		return "machine";
	return i->is_bar ? "machine (ivshmem, uncached)" : "machine (nvdimm, dax)";
}

static json_t *show(const struct entry *e, bool all)
{
	const struct spec *s = host_spec(e->host);
	bool is_booting = s->machine && machine_is_booting(s->machine);
	struct host_info i;
	json_t *o;

	host_info(e->host, &i);
	if (i.state == HOST_DOWN && is_booting)
		i.state = HOST_STARTING;
	i.why = why_of(s, &i);
	o = json_pack("{s:s, s:s, s:s*, s:s, s:i, s:o, s:o, s:o, s:i}", "name", e->name, "state",
		      state_of(&i), "version", i.version, "transport",
		      transport_of(s, &i),
		      "disks", (int)e->users, "requests", num(i.stats.requests), "added_p50_ns",
		      num(i.stats.wait_p50_ns), "added_p99_ns", num(i.stats.wait_p99_ns),
		      "restarts", (int)i.restarts);
	if (i.why && (i.state != HOST_UP || all))
		json_object_set_new(o, i.state == HOST_UP ? "last_failure" : "why",
				    json_string(i.why));
	if (!all)
		return o;
	if (s->machine)
		add_machine(o, s);
	json_object_update_missing(o, s->conf);
	if (i.process.pid)
		add_program(o, &i);
	add_stats(o, &i.stats);
	json_object_set_new(o, "replaced", num(i.replaced));
	json_object_set_new(o, "replacing", json_boolean(i.is_replacing));
	json_object_set_new(o, "rollbacks", num(i.rollbacks));
	json_object_set_new(o, "replace_pause_ns", num(i.stats.pause_ns));
	return o;
}

static int add_again(struct entry *e, const json_t *conf, json_t **ret, struct ctl_error *err)
{
	char key[64];

	if (state_differs(conf_of(e), conf, key, sizeof(key)))
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
	struct spec *s;
	int code = spec_new(e->host, the_loop, conf, false, false, &s, err);

	if (code)
		return code;
	if (s->machine) {
		host_start_later(e->host, s, true);
		return 0;
	}
	code = host_start(e->host, s, why);
	if (!code)
		return 0;
	spec_close(s, true);
	return ctl_fail(err, code, "start_failed", "run", "%s", why);
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
	if (code)
		entry_free(e);
	*ret = e;
	return code;
}

static int run_add(struct ctl *ctl, const json_t *params, json_t **ret, struct ctl_error *err)
{
	struct entry *e = find(ctl_str(params, "name"));
	json_t *conf = json_deep_copy(params);
	int code = spec_judge(conf, the_socket_dir, err);

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

/* What is to run instead of what runs in @e. */
static int replacement(struct entry *e, const json_t *params, struct spec **ret,
		       struct ctl_error *err)
{
	const struct spec *was = host_spec(e->host);
	json_t *conf = spec_merge(was->conf, params);
	int code = spec_judge(conf, the_socket_dir, err);

	if (!code && spec_kind(conf) == SPEC_BROUGHT)
		code = ctl_fail(err, -ENOTSUP, "not_supported", "vm",
				"a machine that you bring, vm=on, replaces nothing; in it you replace the "
				"program: what it had, the new one gets again");
	if (!code)
		code = spec_new(e->host, the_loop, conf, was->machine && !was->is_second, false,
				ret, err);
	json_decref(conf);
	return code;
}

static int run_replace(struct ctl *ctl, const json_t *params, json_t **ret, struct ctl_error *err)
{
	const char *name = ctl_str(params, "name");
	struct entry *e = find(name);
	char why[HOST_WHY_MAX] = "out of memory";
	struct spec *s = NULL;

	if (!e)
		return not_found(name, "name", err);
	if (host_is_replacing(e->host))
		return ctl_fail(err, -EBUSY, "busy", "name", "it is being replaced already");
	int code = replacement(e, params, &s, err);

	if (code)
		return code;
	code = host_replace(e->host, s, ctl_u64(params, "probation_ms") * NS_PER_MS, why);
	if (code && code != -EINPROGRESS) {
		spec_close(s, true);
		return ctl_fail(err, -EINVAL, "start_failed", ctl_has(params, "run") ? "run" : "vm",
				"%s; the version there was goes on", why);
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
				"disks that use it: %u; `disk set DISK function=...` gives one another chain",
				e->users);
	int code = state_del(ctl_state(ctl), "function", name, err);

	if (code)
		return code;
	entry_free(e);
	return 0;
}

/* Return: 0: its program runs since before the restart, and is taken over; -errno. */
static int adopt_process(struct entry *e, struct spec *spec)
{
	struct ctl_spawn s = { .name = e->name, .run = ctl_str(spec->conf, "run"), .adopt = true,
			       .memory_mib = 1 };
	char why[HOST_WHY_MAX] = "";
	int err = ctl_spawn(&s);

	if (err)
		return err;
	struct host_process p = { .pid = s.pid, .sock = s.sock, .pidfd = s.pidfd,
				  .sandbox = s.jail };

	err = host_adopt(e->host, spec, &p, why);
	if (err)
		log_error(e->name, "its program %d is not taken over: %s", s.pid, why);
	return err;
}

/* Ownership: @conf is taken. */
static void come_back(struct entry *e, json_t *conf)
{
	struct ctl_error err = { 0 };
	struct spec *s = NULL;

	if (spec_new(e->host, the_loop, conf, false, true, &s, &err))
		log_error(e->name, "not started: %s", err.text);
	else if (spec_kind(conf) != SPEC_PROCESS || adopt_process(e, s))
		host_start_later(e->host, s, false);
	json_decref(conf);
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

		if (ctl_check(ctl_tables(ctl), add->params, kept, &conf, &err) ||
		    spec_judge(conf, the_socket_dir, &err)) {
			log_error(name, "not started: %s: %s", err.param, err.text);
			json_decref(conf);
			continue;
		}
		e = entry_new(name, conf);
		if (e)
			come_back(e, conf);
		else
			json_decref(conf);
	}
}

void remote_ctl_close_all(void)
{
	uint64_t until_ns = clock_ns() + END_NS;

	is_ending = true;
	list_for_each(it, tmp, &entries)
		entry_free(list_entry(it, struct entry, node));
	for (nfds_t i = 0; i < nending; i++) {
		uint64_t now_ns = clock_ns();

		poll(&ending[i], 1, now_ns < until_ns ? (int)((until_ns - now_ns) / NS_PER_MS) : 0);
		fd_close(ending[i].fd);
	}
	nending = 0;
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
	json_object_set_new(into, "state", json_string(s.left_out ? "left out" : state_of(&i)));
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
#define FILE_HELP "A file to read and write, its descriptor 4 and so on, made if missing; of a machine a " \
	"disk with the serial postern-4, which exists"
#define READ_HELP "A file to read, a key for instance; its descriptor, or serial, after those of file="

/* What may be said when a function is added, and when it is replaced. */
#define PROGRAM_PARAMS                                                                             \
	{ .name = "run", .type = CTL_STRING, .min = 1, .max = 4000, .command = true,               \
	  .help = "The program, a path or a name in PATH, and its arguments, divided by blanks" }, \
	{ .name = "memory", .type = CTL_SIZE, .min = 16 * MIB, .max = 64 * GIB,                    \
	  .help = "The most memory it may have, not given: 256M; its machine's, not given: 512M" }, \
	{ .name = "cpus", .type = CTL_STRING, .max = 63,                                           \
	  .help = "Where it may run, not given: anywhere; how many its machine has, not given: 1" }, \
	{ .name = "file", .type = CTL_PATH, .list = true, .help = FILE_HELP },                     \
	{ .name = "read", .type = CTL_PATH, .list = true, .help = READ_HELP },                     \
	{ .name = "kernel", .type = CTL_PATH,                                                      \
	  .help = "Its machine boots this Linux kernel; with vm=on there is no image" },           \
	{ .name = "initrd", .type = CTL_PATH, .help = "The kernel's initial file system" },        \
	{ .name = "append", .type = CTL_STRING, .help = "The kernel's words, after console=ttyS0" }, \
	{ .name = "cores", .type = CTL_UINT, .max = 4095, .list = true,                            \
	  .help = "Host cores of its machine, one for each CPU" },                                 \
	{ .name = "accel", .type = CTL_ENUM, .choices = accels,                                    \
	  .help = "Its machine's: KVM, or emulation (tcg); auto, the default: KVM where it runs" }, \
	{ .name = "hugepages", .type = CTL_BOOL, .help = "Its machine's memory of 2 MiB pages" },  \
	{ .name = "boot_s", .type = CTL_UINT, .min = 1, .max = 3600,                               \
	  .help = "How long its guest may take until the program is there, in seconds; not given: 120" }

static const char *const accels[] = { "auto", "kvm", "tcg", NULL };
static const char *const switches[] = { "on", "off", NULL };

static const struct ctl_param add_params[] = {
	{ .name = "name", .type = CTL_NAME, .max = FUNCTION_NAME_MAX, .required = true,
	  .positional = true, .help = "The function's name, which you choose" },
	{ .name = "vm", .type = CTL_PATH, .choices = switches, .value = "off", .opens = true,
	  .help = "The image of a machine of its own, which posternd starts, and each time with the image as it "
		  "is now: what the guest writes there is thrown away; on: `vm run ... function=NAME` "
		  "starts it" },
	PROGRAM_PARAMS,
	{ .name = "socket", .type = CTL_PATH,
	  .help = "Where its machine connects; not given: NAME.function beside the control socket" },
	{ .name = "stall_ms", .type = CTL_UINT, .max = 3600000, .value = "5000",
	  .help = "One that keeps the oldest request that it has for so long is started anew; "
		  "0: never" },
	{ 0 },
};
static const struct ctl_param name_params[] = { NAME_PARAM, { 0 } };
static const struct ctl_param replace_params[] = {
	NAME_PARAM,
	{ .name = "vm", .type = CTL_PATH, .choices = switches, .opens = true,
	  .help = "The image of the machine that is to take over, when it is ready" },
	PROGRAM_PARAMS,
	{ .name = "probation_ms", .type = CTL_UINT, .max = 3600000, .value = "5000",
	  .help = "If it fails within this, the version before comes back" },
	{ 0 },
};

const struct ctl_cmd remote_cmds[] = {
	{ .noun = "function", .verb = "add", .params = add_params, .run = run_add,
	  .help = "Start a program that disks may have as a function" },
	{ .noun = "function", .verb = "list", .run = run_list,
	  .help = "Show all functions, one a line",
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
