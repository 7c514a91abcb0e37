/* SPDX-License-Identifier: Apache-2.0 */
#include "function/remote/spec_ctl.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/child.h"
#include "base/clock.h"
#include "base/cpus.h"
#include "base/fd.h"
#include "base/log.h"

#define FILES_MAX 8
#define WORDS_MAX 4000 /* what the keeper takes, with room for its own */
#define MACHINE_NAME_MAX 32
#define SECOND ".2"
#define CPUS_MAX 255

/* What only some kinds have, and what they have if nobody says. */
static const struct own {
	const char *name;
	unsigned kinds; /* 1 << enum spec_kind */
	const char *text;
	uint64_t number;
} owns[] = {
#define IN(kind) (1u << SPEC_##kind)
	{ .name = "run", .kinds = IN(PROCESS) },
	{ .name = "memory", .kinds = IN(PROCESS), .number = 256 * MIB },
	{ .name = "memory", .kinds = IN(MACHINE), .number = 512 * MIB },
	{ .name = "cpus", .kinds = IN(PROCESS) },
	{ .name = "cpus", .kinds = IN(MACHINE), .text = "1" },
	{ .name = "file", .kinds = IN(PROCESS) | IN(MACHINE) },
	{ .name = "read", .kinds = IN(PROCESS) | IN(MACHINE) },
	{ .name = "socket", .kinds = IN(BROUGHT) | IN(MACHINE) },
	{ .name = "kernel", .kinds = IN(MACHINE) },
	{ .name = "initrd", .kinds = IN(MACHINE) },
	{ .name = "append", .kinds = IN(MACHINE) },
	{ .name = "cores", .kinds = IN(MACHINE) },
	{ .name = "accel", .kinds = IN(MACHINE), .text = "auto" },
	{ .name = "hugepages", .kinds = IN(MACHINE) },
	{ .name = "boot_s", .kinds = IN(MACHINE), .number = 120 },
#undef IN
};

enum spec_kind spec_kind(const json_t *conf)
{
	const char *vm = ctl_str(conf, "vm");

	if (!vm || !strcmp(vm, "off"))
		return SPEC_PROCESS;
	return *vm == '/' || ctl_has(conf, "kernel") ? SPEC_MACHINE : SPEC_BROUGHT;
}

/* Refuses what is for another kind, and fills in what is for this one. */
static int judge_kind(json_t *conf, enum spec_kind kind, struct ctl_error *err)
{
	static const char *const are[] = { [SPEC_PROCESS] = "is for a machine, vm=",
					   [SPEC_BROUGHT] = "is not for a machine that you bring, "
							    "vm=on: `vm run` says what it has",
					   [SPEC_MACHINE] = "is for a process" };

	for (unsigned i = 0; i < ARRAY_SIZE(owns); i++) {
		const struct own *o = &owns[i];
		unsigned kinds = o->kinds;

		for (unsigned k = 0; k < ARRAY_SIZE(owns); k++)
			if (!strcmp(owns[k].name, o->name))
				kinds |= owns[k].kinds;
		if (ctl_has(conf, o->name) && !(kinds & 1u << kind))
			return ctl_fail(err, -EINVAL, "bad_value", o->name, "%s", are[kind]);
		if (ctl_has(conf, o->name) || !(o->kinds & 1u << kind))
			continue;
		if (o->text)
			json_object_set_new(conf, o->name, json_string(o->text));
		if (o->number)
			json_object_set_new(conf, o->name, json_integer((json_int_t)o->number));
	}
	return 0;
}

static int choose_socket(json_t *conf, const char *dir, struct ctl_error *err)
{
	char path[FD_SOCKET_PATH_MAX + 80];

	if (ctl_has(conf, "socket"))
		return 0;
	if (!*dir)
		return ctl_fail(err, -EINVAL, "missing_param", "socket",
				"is needed: there is no directory for sockets");
	snprintf(path, sizeof(path), "%s/%s.function", dir, ctl_str(conf, "name"));
	json_object_set_new(conf, "socket", json_string(path));
	return 0;
}

static int judge_cpus(const json_t *conf, enum spec_kind kind, struct ctl_error *err)
{
	const char *cpus = ctl_str(conf, "cpus");
	char *end = NULL;
	cpu_set_t set;

	if (kind == SPEC_PROCESS && cpus && cpus_parse(cpus, &set))
		return ctl_fail(err, -EINVAL, "bad_value", "cpus",
				"'%s' is not a list of CPUs such as 2 or 1-3", cpus);
	if (kind != SPEC_MACHINE)
		return 0;
	unsigned long n = strtoul(cpus, &end, 10);

	if (*cpus < '0' || *cpus > '9' || *end || !n || n > CPUS_MAX)
		return ctl_fail(err, -EINVAL, "bad_value", "cpus",
				"'%s' is not how many a machine has: 1 to %d; cores= says where they run",
				cpus, CPUS_MAX);
	return 0;
}

/* The keeper gets a word a line. */
static int judge_lines(const json_t *conf, struct ctl_error *err)
{
	const char *key;
	json_t *value, *item;
	size_t i;

	json_object_foreach((json_t *)conf, key, value) {
		bool has_line = json_is_string(value) && strchr(json_string_value(value), '\n');

		json_array_foreach(value, i, item)
			has_line |= json_is_string(item) && strchr(json_string_value(item), '\n');
		if (has_line)
			return ctl_fail(err, -EINVAL, "bad_value", key, "is one line");
	}
	return 0;
}

int spec_judge(json_t *conf, const char *socket_dir, struct ctl_error *err)
{
	enum spec_kind kind = spec_kind(conf);
	int code = judge_kind(conf, kind, err);

	if (!code && kind == SPEC_PROCESS && !ctl_has(conf, "run"))
		code = ctl_fail(err, -EINVAL, "missing_param", "run",
				"is needed, or vm=IMAGE for a function in a machine of its own");
	if (!code)
		code = judge_cpus(conf, kind, err);
	if (!code && kind == SPEC_MACHINE)
		code = judge_lines(conf, err);
	if (!code && kind == SPEC_MACHINE &&
	    strlen(ctl_str(conf, "name")) > MACHINE_NAME_MAX - strlen(SECOND))
		code = ctl_fail(err, -EINVAL, "out_of_range", "name",
				"at most %zu bytes for a function in a machine of its own",
				MACHINE_NAME_MAX - strlen(SECOND));
	return code || kind == SPEC_PROCESS ? code : choose_socket(conf, socket_dir, err);
}

/* Another kind begins anew, and so does booting with another image. */
json_t *spec_merge(const json_t *was, const json_t *params)
{
	static const char *const stay[] = { "name", "stall_ms", NULL };
	static const char *const boot[] = { "kernel", "initrd", "append" };
	bool is_process = ctl_has(params, "run"), is_machine = ctl_has(params, "vm");
	bool was_process = spec_kind(was) == SPEC_PROCESS;
	json_t *conf = json_copy((json_t *)was);

	if ((is_process && !was_process) || (is_machine && spec_kind(was) != SPEC_MACHINE)) {
		json_object_clear(conf);
		for (unsigned i = 0; stay[i]; i++)
			json_object_set(conf, stay[i], json_object_get(was, stay[i]));
		json_object_set_new(conf, "vm", json_string("off"));
	}
	for (unsigned i = 0; is_machine && i < ARRAY_SIZE(boot); i++)
		json_object_del(conf, boot[i]);
	json_object_update(conf, (json_t *)params);
	json_object_del(conf, "probation_ms");
	return conf;
}

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

/* What @code, of one that cannot be started, may come from. */
static const char *hint_of(int code)
{
	switch (code) {
	case -ENOENT:
		return " (a path begins with '/', a name is looked for in PATH)";
	case -EACCES:
		return " (it must be executable, and no script)";
	case -EINVAL:
		return " (a program's name, and quotations that end)";
	}
	return "";
}

static int start_process(const char *name, const json_t *conf, struct host_process *ret, char *why)
{
	int fds[FILES_MAX];
	struct ctl_error err = { 0 };
	struct ctl_spawn s = { .name = name,
			       .run = ctl_str(conf, "run"),
			       .memory_mib = (uint32_t)(ctl_u64(conf, "memory") / MIB),
			       .cpus = ctl_str(conf, "cpus"),
			       .files = fds };
	int code = open_files(json_object_get(conf, "file"), O_RDWR | O_CREAT, "file", fds,
			      &s.nfile, &err);

	if (!code)
		code = open_files(json_object_get(conf, "read"), O_RDONLY, "read", fds, &s.nfile,
				  &err);
	if (code) {
		snprintf(why, HOST_WHY_MAX, "%.150s", err.text);
	} else {
		code = ctl_spawn(&s);
		if (code)
			snprintf(why, HOST_WHY_MAX, "'%.60s' cannot be started: %s%s", s.run,
				 strerror(-code), hint_of(code));
	}
	while (s.nfile)
		fd_close(fds[--s.nfile]);
	if (!code)
		*ret = (struct host_process){ .pid = s.pid, .sock = s.sock, .pidfd = s.pidfd,
					      .sandbox = s.jail };
	return code;
}

void spec_machine_name(const struct spec *s, char *ret, size_t size)
{
	snprintf(ret, size, "%s%s", ctl_str(s->conf, "name"), s->is_second ? SECOND : "");
}

static void machine_socket(const struct spec *s, char *ret, size_t size)
{
	snprintf(ret, size, "%s%s", ctl_str(s->conf, "socket"), s->is_second ? SECOND : "");
}

/* Words for the keeper, as far as there is room. */
struct words {
	char text[WORDS_MAX + 1];
	size_t n;
};

static void add_word(struct words *w, const char *key, const char *text)
{
	int n = text ? snprintf(w->text + w->n, sizeof(w->text) - w->n, "\n%s=%s", key, text) : 0;

	w->n = min_u64(w->n + (size_t)n, sizeof(w->text));
}

static void add_value(struct words *w, const char *key, const json_t *value)
{
	char text[24];

	if (json_is_integer(value)) {
		snprintf(text, sizeof(text), "%llu", (unsigned long long)json_integer_value(value));
		add_word(w, key, text);
	} else if (json_is_boolean(value)) {
		add_word(w, key, json_is_true(value) ? "on" : "off");
	} else {
		add_word(w, key, json_string_value(value));
	}
}

/* Return: 0; -E2BIG. */
static int machine_words(const struct spec *s, struct words *w)
{
	static const char *const keys[] = { "kernel", "initrd", "append", "cpus", "memory",
					    "hugepages",
					    "accel", "cores", "file", "read" };
	const char *image = ctl_str(s->conf, "vm");
	char socket[FD_SOCKET_PATH_MAX + 80];
	json_t *item;
	size_t k;

	spec_machine_name(s, w->text, sizeof(w->text));
	w->n = strlen(w->text);
	machine_socket(s, socket, sizeof(socket));
	add_word(w, "function_socket", socket);
	if (*image == '/') {
		add_word(w, "image", image);
		add_word(w, "snapshot", "on");
	}
	for (unsigned i = 0; i < ARRAY_SIZE(keys); i++) {
		json_t *value = json_object_get(s->conf, keys[i]);

		json_array_foreach(value, k, item)
			add_value(w, keys[i], item);
		if (!json_is_array(value))
			add_value(w, keys[i], value);
	}
	return w->n < sizeof(w->text) ? 0 : -E2BIG;
}

/* Those of a machine are QEMU's to open, and those of a process are opened at each start; whether
 * they are there is better said before, with the parameter. */
static int look_for_files(const json_t *conf, enum spec_kind kind, struct ctl_error *err)
{
	const struct {
		const char *key;
		int flags;
	} files[] = { { "vm", O_RDONLY }, { "kernel", O_RDONLY }, { "initrd", O_RDONLY },
		      { "file", O_RDWR | (kind == SPEC_PROCESS ? O_CREAT : 0) },
		      { "read", O_RDONLY } };

	for (unsigned i = 0; i < ARRAY_SIZE(files); i++) {
		json_t *value = json_object_get(conf, files[i].key);
		json_t *list = json_pack("[O?]", value);
		int fds[FILES_MAX], code;
		unsigned n = 0;

		code = !value || (json_is_string(value) && *json_string_value(value) != '/') ? 0 :
		       open_files(json_is_array(value) ? value : list, files[i].flags, files[i].key,
				  fds, &n, err);
		json_decref(list);
		while (n)
			fd_close(fds[--n]);
		if (code)
			return code;
	}
	return 0;
}

/* Starts the machine of @s, or (@memory_fd -1) finds the one that runs. */
static int spawn_machine(const struct spec *s, int memory_fd, struct machine_holder *ret)
{
	struct words words;
	struct ctl_spawn start = { .name = ctl_str(s->conf, "name"), .run = words.text,
				   .adopt = memory_fd < 0, .is_machine = true, .memory_mib = 1,
				   .files = &memory_fd, .nfile = memory_fd < 0 ? 0 : 1 };
	int code = machine_words(s, &words);

	if (!code)
		code = ctl_spawn(&start);
	if (!code)
		*ret = (struct machine_holder){ start.pid, start.sock, start.pidfd };
	return code;
}

static int hold_machine(void *spec, int memory_fd, struct machine_holder *ret, char *why)
{
	const struct spec *s = spec;
	struct ctl_error err = { 0 };
	int code = look_for_files(s->conf, SPEC_MACHINE, &err);

	if (code) {
		snprintf(why, HOST_WHY_MAX, "%.24s: %.120s", err.param, err.text);
		return code;
	}
	code = spawn_machine(s, memory_fd, ret);
	if (code)
		snprintf(why, HOST_WHY_MAX, "`postern vm run` cannot be started: %s",
			 strerror(-code));
	return code;
}

static void kill_holder(pid_t pid)
{
	int status;

	ctl_kill(pid, &status);
}

static const struct machine_ops machine_ops = { .hold = hold_machine, .kill = kill_holder };

/* What the machine in the place of @s has kept is apart from the other's. */
static int scope_of(const struct spec *s, struct keep_scope *ret)
{
	struct keep_scope all = { .keep = ctl_keep(), .path = "function" };
	int err = keep_scope_in(&all, ctl_str(s->conf, "name"), ret);

	if (err || !s->is_second)
		return err;
	all = *ret;
	return keep_scope_in(&all, "second", ret);
}

/* Which place the machine of @s has, if it runs since before a restart. */
static void find_machine(struct spec *s, struct machine_holder *ret)
{
	s->is_second = true;
	if (spawn_machine(s, -1, ret)) {
		s->is_second = false;
		if (spawn_machine(s, -1, ret))
			ret->pid = 0;
	}
}

/* A machine that was to take over when a restart came, or to come back, does not: what it has
 * kept is over. */
static void forget_others(const struct spec *s)
{
	bool is_process = spec_kind(s->conf) == SPEC_PROCESS;
	struct spec other = *s;
	struct keep_scope keep;

	for (unsigned second = 0; second < 2; second++) {
		other.is_second = second;
		if ((is_process || s->is_second != second) && !scope_of(&other, &keep))
			machine_forget(&keep);
	}
}

/* Makes the place where the machine of @s and posternd meet. */
static int meet_machine(struct spec *s, struct loop *loop, bool adopt, struct ctl_error *err)
{
	char socket[FD_SOCKET_PATH_MAX + 80];
	struct machine_conf c = { .host = s->host, .spec = s, .loop = loop,
				  .boot_ns = ctl_u64(s->conf, "boot_s") * NS_PER_S,
				  .ops = spec_kind(s->conf) == SPEC_MACHINE ? &machine_ops : NULL };

	if (c.ops && adopt)
		find_machine(s, &c.holder);
	machine_socket(s, socket, sizeof(socket));
	c.listen_fd = ctl_listen(socket, 0600, NULL, "socket", err);
	if (c.listen_fd < 0)
		return c.listen_fd;
	int code = scope_of(s, &c.keep);

	if (!code)
		code = machine_open(&c, &s->machine);
	else
		fd_close(c.listen_fd);
	if (!code)
		return 0;
	ctl_unlisten(socket);
	return ctl_fail(err, code, "start_failed", "vm",
			"no memory can be shared with a machine: %s", strerror(-code));
}

int spec_new(struct host *host, struct loop *loop, json_t *conf, bool second, bool adopt,
	     struct spec **ret, struct ctl_error *err)
{
	struct spec *s = calloc(1, sizeof(*s));
	enum spec_kind kind = spec_kind(conf);
	int code = s ? 0 : ctl_fail(err, -ENOMEM, "no_memory", NULL, "out of memory");

	if (!code)
		*s = (struct spec){ .conf = json_incref(conf), .host = host, .is_second = second };
	if (!code && kind != SPEC_BROUGHT && !adopt)
		code = look_for_files(conf, kind, err);
	if (!code && kind != SPEC_PROCESS)
		code = meet_machine(s, loop, adopt, err);
	if (!code && adopt)
		forget_others(s);
	/* what was there goes on being a function, and says what it lacks */
	if (code && adopt && s) {
		log_error(ctl_str(conf, "name"), "its machine cannot reach posternd: %s",
			  err->text);
		code = 0;
	}
	if (code) {
		spec_close(s, true);
		return code;
	}
	*ret = s;
	return 0;
}

int spec_close(struct spec *s, bool forget)
{
	char socket[FD_SOCKET_PATH_MAX + 80];
	int end_fd;

	if (!s)
		return -1;
	if (s->machine && forget) {
		machine_socket(s, socket, sizeof(socket));
		ctl_unlisten(socket);
	}
	end_fd = machine_close(s->machine, forget);
	json_decref(s->conf);
	free(s);
	return end_fd;
}

int spec_start(const char *name, void *spec, struct host_process *ret, char *why)
{
	struct spec *s = spec;

	if (spec_kind(s->conf) == SPEC_PROCESS)
		return start_process(name, s->conf, ret, why);
	return s->machine ? machine_start(s->machine, ret, why) : -EAGAIN;
}

/* A program in a machine that somebody brings goes on; it has nothing until it says READY again. */
void spec_kill(void *spec, const struct host_process *p)
{
	struct spec *s = spec;

	if (s->machine)
		machine_kill(s->machine);
	else
		kill_holder(p->pid);
}

bool spec_how(void *spec, const struct host_process *p, char *ret, size_t size)
{
	int status;

	if (((struct spec *)spec)->machine || !ctl_kill(p->pid, &status))
		return false;
	child_how(status, ret, size);
	return true;
}

struct region *spec_region(void *spec)
{
	struct spec *s = spec;

	return s->machine ? machine_region(s->machine) : NULL;
}
