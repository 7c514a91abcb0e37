/* SPDX-License-Identifier: Apache-2.0 */
#include "vm/vm_ctl.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "control/client.h"
#include "vm/vm.h"

#define DISKS_MAX 16 /* as many as fit beside the rest on q35's root bus */
#define CORES_MAX 255
#define GRACE_MAX_S 3600
#define S_TO_MS 1000u
#define FORCE_WAIT_S 10 /* that a guest gets, before force=on resets it */
#define FREE_LOOK_MS 20
#define FREE_NS (10 * NS_PER_S) /* for posternd to see that a user has gone; a busy host */
#define FILES_MAX 8
/* Where whoever started this command to hold a machine is told of it, and says what it wishes. */
#define HOLDER_FD 3
#define HELD_GRACE_MS 2000

static const char *control_path;

void vm_ctl_set_control(const char *path)
{
	control_path = path;
}

/* The id by which programs know what failed. */
static const char *error_id(int code)
{
	switch (code) {
	case -EINVAL:
	case -ENAMETOOLONG:
		return "bad_value";
	case -EEXIST:
		return "vm_exists";
	case -ENOENT:
		return "vm_not_found";
	case -EBUSY:
		return "busy";
	case -ENOSPC:
		return "no_space";
	case -ENOTSUP:
		return "not_supported";
	default:
		return "vm_failed";
	}
}

static int report(int code, const struct vm_error *from, struct ctl_error *err)
{
	return ctl_fail(err, code, error_id(code), from->param, "%s",
			*from->text ? from->text : strerror(-code));
}

/* Fills @ret from what posternd says about disk @name; *ret_answer owns the strings. */
static int look_up(struct ctl_client *c, const char *name, struct vm_disk *ret,
		   json_t **ret_answer, struct ctl_error *err)
{
	json_t *params = json_pack("{s:s}", "name", name), *answer = NULL;
	int code = ctl_client_call(c, "disk.show", params, &answer, err);

	json_decref(params);
	if (code)
		return code;
	json_t *front = json_object_get(answer, "front");

	*ret_answer = answer;
	ret->name = ctl_str(answer, "name");
	ret->socket = ctl_str(front, "socket");
	ret->queues = (unsigned)ctl_u64(front, "queues");
	if (ret->socket && ret->queues)
		return 0;
	return ctl_fail(err, -EINVAL, "bad_value", "disk", "disk '%s' has no vhost-user front",
			name);
}

/* The place where the machine of function @name and posternd meet; *answers keeps the strings
 * alive. */
static int look_up_function(const char *name, struct vm_function *ret, json_t *answers,
			    struct ctl_error *err)
{
	json_t *params = json_pack("{s:s}", "name", name), *answer = NULL;
	struct ctl_client *c = NULL;
	int code = ctl_client_open(control_path, &c, err);

	if (!code)
		code = ctl_client_call(c, "function.show", params, &answer, err);
	json_decref(params);
	ctl_client_close(c);
	if (code && !strcmp(err->param, "name"))
		strcpy(err->param, "function");
	if (code)
		return code;
	json_array_append_new(answers, answer);
	*ret = (struct vm_function){ ctl_str(answer, "port"), ctl_str(answer, "socket"),
				     ctl_str(answer, "memory_path"), ctl_u64(answer, "memory_b") };
	if (ret->port)
		return 0;
	return ctl_fail(err, -EINVAL, "bad_value", "function", "'%s' was not added with vm=on",
			name);
}

/* The same, from whoever knows it and says so. */
static int take_function(const json_t *params, struct vm_function *ret, struct ctl_error *err)
{
	struct stat st;

	*ret = (struct vm_function){ ctl_str(params, "function_port"),
				     ctl_str(params, "function_socket"),
				     ctl_str(params, "function_memory"), 0 };
	if (!ret->port || !ret->socket || !ret->memory)
		return ctl_fail(err, -EINVAL, "missing_param", "function_port",
				"function_port=, function_socket= and function_memory= go together");
	if (stat(ret->memory, &st))
		return ctl_fail(err, -EINVAL, "bad_value", "function_memory", "%m");
	ret->memory_b = (uint64_t)st.st_size;
	return 0;
}

/* What a function's machine has for it, if it is one. */
static int find_function(const json_t *params, struct vm_config *cfg, struct vm_function *room,
			 json_t *answers, struct ctl_error *err)
{
	int code = 0;

	if (ctl_has(params, "function"))
		code = look_up_function(ctl_str(params, "function"), room, answers, err);
	else if (ctl_has(params, "function_port"))
		code = take_function(params, room, err);
	else
		return 0;
	cfg->function = room;
	return code;
}

static int take_files(const json_t *params, struct vm_file *files, size_t *ret_n,
		      struct ctl_error *err)
{
	static const char *const kinds[] = { "file", "read" };

	for (unsigned k = 0; k < ARRAY_SIZE(kinds); k++) {
		json_t *paths = json_object_get(params, kinds[k]), *path;
		size_t i;

		json_array_foreach(paths, i, path) {
			if (*ret_n == FILES_MAX)
				return ctl_fail(err, -E2BIG, "out_of_range", kinds[k],
						"at most %d files in all", FILES_MAX);
			files[(*ret_n)++] = (struct vm_file){ json_string_value(path), k };
		}
	}
	return 0;
}

/* Every disk=NAME of the command. *ret_answers keeps the strings alive. */
static int look_up_all(const json_t *params, struct vm_disk *disks, size_t *ret_n,
		       json_t *answers, struct ctl_error *err)
{
	json_t *names = json_object_get(params, "disk"), *name;
	struct ctl_client *c = NULL;
	size_t i;

	if (!json_array_size(names))
		return 0;
	if (json_array_size(names) > DISKS_MAX)
		return ctl_fail(err, -ERANGE, "out_of_range", "disk", "at most %d", DISKS_MAX);
	int code = ctl_client_open(control_path, &c, err);

	json_array_foreach(names, i, name) {
		json_t *answer = NULL;

		if (!code)
			code = look_up(c, json_string_value(name), &disks[i], &answer, err);
		if (answer)
			json_array_append_new(answers, answer);
	}
	ctl_client_close(c);
	*ret_n = json_array_size(names);
	return code;
}

/* A guest's queues on a disk: as asked for, else one a vCPU and those that are polled. */
static int choose_queues(const json_t *params, const struct vm_config *cfg, struct vm_disk *d,
			 struct ctl_error *err)
{
	uint64_t want = ctl_has(params, "queues") ? ctl_u64(params, "queues")
						  : cfg->cpus + cfg->poll_queues;

	if (ctl_has(params, "queues") && want > d->queues)
		return ctl_fail(err, -ERANGE, "out_of_range", "queues", "the disk offers %u",
				d->queues);
	d->queues = (unsigned)min_u64(want, d->queues);
	d->packed = ctl_bool(params, "packed");
	d->options = ctl_str(params, "disk_options");
	return 0;
}

static enum vm_accel accel_of(const char *word)
{
	return !strcmp(word, "kvm") ? VM_ACCEL_KVM : !strcmp(word, "tcg") ? VM_ACCEL_TCG
									  : VM_ACCEL_AUTO;
}

static json_t *info_json(const struct vm_info *i)
{
	uint64_t now_s = (uint64_t)time(NULL);
	uint64_t up_s = i->pid && now_s > i->started_s ? now_s - i->started_s : 0;

	json_t *disks = json_array();

	for (unsigned k = 0; k < i->ndisk; k++)
		json_array_append_new(disks, json_string(i->disk[k].name));
	return json_pack("{s:s, s:I, s:s, s:s, s:I, s:I, s:I, s:o}", "name", i->name, "pid",
			 (json_int_t)i->pid, "state", i->state, "accel", i->accel, "cpus",
			 (json_int_t)i->cpus, "memory_b", (json_int_t)i->memory_b, "up_ns",
			 (json_int_t)(up_s * NS_PER_S), "disks", disks);
}

/* Whether somebody who is told of it holds this process. */
static bool has_holder(void)
{
	int type = 0;
	socklen_t len = sizeof(type);

	return !getsockopt(HOLDER_FD, SOL_SOCKET, SO_TYPE, &type, &len) && type == SOCK_SEQPACKET;
}

static void tell_holder(const char *text)
{
	send(HOLDER_FD, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void held_up(void *arg, const struct vm_info *info)
{
	const struct vm_error *why = arg;
	char text[sizeof(why->text) + 64];

	snprintf(text, sizeof(text), "up %d %s %s", (int)info->pid, info->accel, why->text);
	tell_holder(text);
}

static void port_left(void *arg)
{
	tell_holder("left");
}

/* Starts it and stays until it has ended. */
static int hold(const struct vm_config *cfg, struct ctl_error *err)
{
	struct vm_error why = { 0 };
	bool is_held = has_holder();
	char text[sizeof(err->text) + sizeof(err->param) + 16];

	if (is_held)
		fcntl(HOLDER_FD, F_SETFD, FD_CLOEXEC); /* nothing for QEMU */
	const struct vm_holder holder = { .wish_fd = is_held ? HOLDER_FD : -1,
					  .grace_ms = HELD_GRACE_MS,
					  .up = is_held ? held_up : NULL,
					  .left = is_held ? port_left : NULL,
					  .arg = &why };
	int code = vm_hold(cfg, &holder, &why);

	if (!code)
		return 0;
	code = report(code, &why, err);
	if (!is_held)
		return code;
	snprintf(text, sizeof(text), "down %s%s%s", err->param, *err->param ? ": " : "", err->text);
	tell_holder(text);
	return 0; /* who holds it says it to whom it concerns */
}

/* In the background: it outlives the command. */
static int launch(const struct vm_config *cfg, json_t **ret, struct ctl_error *err)
{
	struct vm_error why = { 0 };
	struct vm_info info;
	int code = vm_start(cfg, &info, &why);

	if (code)
		return report(code, &why, err);
	*ret = info_json(&info);
	if (*why.text)
		json_object_set_new(*ret, "note", json_string(why.text));
	return 0;
}

static int start(const json_t *params, struct vm_config *cfg, json_t **ret, struct ctl_error *err)
{
	json_t *cores = json_object_get(params, "cores"), *extra = json_object_get(params, "qemu");
	unsigned core[CORES_MAX];
	json_t *value;
	size_t i;

	json_array_foreach(cores, i, value)
		if (i < CORES_MAX)
			core[i] = (unsigned)json_integer_value(value);
	cfg->cores = core;
	cfg->ncores = min_u64(json_array_size(cores), CORES_MAX);
	const char **words = calloc(json_array_size(extra) + 1, sizeof(*words));

	if (!words)
		return ctl_fail(err, -ENOMEM, "no_memory", NULL, "out of memory");
	json_array_foreach(extra, i, value)
		words[i] = json_string_value(value);
	cfg->extra = words;
	cfg->nextra = json_array_size(extra);
	int code = ctl_bool(params, "foreground") ? hold(cfg, err) : launch(cfg, ret, err);

	free(words);
	return code;
}

static int run_run(struct ctl *ctl, const json_t *params, json_t **ret, struct ctl_error *err)
{
	struct vm_disk disks[DISKS_MAX] = { 0 };
	struct vm_file files[FILES_MAX];
	json_t *answers = json_array();
	struct vm_config cfg = {
		.name = ctl_str(params, "name"),
		.cpus = (unsigned)ctl_u64(params, "cpus"),
		.memory_b = ctl_u64(params, "memory"),
		.max_memory_b = ctl_u64(params, "max_memory"),
		.spare = (unsigned)ctl_u64(params, "spare"),
		.hugepages = ctl_bool(params, "hugepages"),
		.accel = accel_of(ctl_str(params, "accel")),
		.kernel = ctl_str(params, "kernel"),
		.initrd = ctl_str(params, "initrd"),
		.append = ctl_str(params, "append"),
		.poll_queues = (unsigned)ctl_u64(params, "poll_queues"),
		.image = ctl_str(params, "image"),
		.snapshot = ctl_bool(params, "snapshot"),
		.network = ctl_bool(params, "network"),
		.disks = disks,
		.files = files,
	};
	struct vm_function function;
	int code = look_up_all(params, disks, &cfg.ndisks, answers, err);

	if (!code)
		code = take_files(params, files, &cfg.nfiles, err);
	if (!code)
		code = find_function(params, &cfg, &function, answers, err);
	for (size_t i = 0; i < cfg.ndisks && !code; i++)
		code = choose_queues(params, &cfg, &disks[i], err);
	if (!code)
		code = start(params, &cfg, ret, err);
	json_decref(answers);
	return code;
}

/* Who has a disk, as posternd and the machines say. */
struct holder {
	bool connected;
	pid_t pid;
	uint64_t for_ns;
	struct vm_info vm; /* name "": none of ours */
	bool has_it;	   /* the machine has the disk by this name; if not, it is just going */
	bool leaving;	   /* it has, and its guest was told to let go of it */
};

static const struct vm_attached *find_disk(const struct vm_info *vm, const char *disk)
{
	for (unsigned i = 0; i < vm->ndisk; i++)
		if (!strcmp(vm->disk[i].name, disk))
			return &vm->disk[i];
	return NULL;
}

static void find_holder(const json_t *answer, struct holder *h)
{
	json_t *front = json_object_get(answer, "front");
	struct vm_info *all = NULL;

	memset(h, 0, sizeof(*h));
	h->connected = ctl_bool(front, "connected");
	if (!h->connected)
		return;
	h->pid = (pid_t)ctl_u64(front, "peer_pid");
	h->for_ns = ctl_u64(front, "connected_for_ns");
	ssize_t n = vm_list(NULL, &all);

	for (ssize_t i = 0; i < n; i++)
		if (all[i].pid == h->pid)
			h->vm = all[i];
	const struct vm_attached *disk = find_disk(&h->vm, ctl_str(answer, "name"));

	h->has_it = disk;
	h->leaving = disk && disk->leaving;
	free(all);
}

static int held(const char *disk, const struct holder *h, struct ctl_error *err)
{
	time_t since = time(NULL) - (time_t)(h->for_ns / NS_PER_S);
	char at[32], who[80];
	struct tm tm;

	strftime(at, sizeof(at), "%F %T", localtime_r(&since, &tm));
	if (*h->vm.name)
		snprintf(who, sizeof(who), "machine '%s'", h->vm.name);
	else
		snprintf(who, sizeof(who), "process %d", (int)h->pid);
	return ctl_fail(err, -EBUSY, "busy", "disk", "'%s' is held by %s since %s%s", disk, who, at,
			h->leaving ? ": its guest has been told to let go of it, and has not yet; "
				     "force=on resets it" :
			h->has_it ? "; force=on takes it away" : "");
}

/* Asks posternd for @disk; *ret_answer owns what @d points to. */
static int ask_disk(const char *disk, struct vm_disk *d, json_t **ret_answer, struct ctl_error *err)
{
	struct ctl_client *c = NULL;
	int code = ctl_client_open(control_path, &c, err);

	if (!code)
		code = look_up(c, disk, d, ret_answer, err);
	ctl_client_close(c);
	return code;
}

/* Waits for a machine that has just let go of the disk, or a process that has ended: its
 * connection goes a moment later. Return: 0 with the disk free; -EBUSY; -errno. */
static int await_free(const char *disk, struct vm_disk *d, json_t **ret_answer, struct holder *h,
		      struct ctl_error *err)
{
	uint64_t end_ns = clock_ns() + FREE_NS;

	for (;;) {
		json_decref(*ret_answer);
		*ret_answer = NULL;
		int code = ask_disk(disk, d, ret_answer, err);

		if (code)
			return code;
		find_holder(*ret_answer, h);
		if (!h->connected)
			return 0;
		bool going = *h->vm.name ? !h->has_it : kill(h->pid, 0) && errno == ESRCH;

		if (!going || clock_ns() > end_ns)
			return held(disk, h, err);
		poll(NULL, 0, FREE_LOOK_MS);
	}
}

static int take_away(const char *disk, const struct holder *h, struct ctl_error *err)
{
	struct vm_error why = { 0 };
	int code = vm_detach(NULL, h->vm.name, disk, FORCE_WAIT_S * S_TO_MS, true, &why);

	return code ? report(code, &why, err) : 0;
}

static int attach(const json_t *params, const struct vm_info *vm, struct ctl_error *err)
{
	const char *disk = ctl_str(params, "disk");
	struct vm_config cfg = { .cpus = vm->cpus };
	struct vm_error why = { 0 };
	struct ctl_error later;
	json_t *answer = NULL;
	struct vm_disk d = { 0 };
	struct holder h;
	int code = await_free(disk, &d, &answer, &h, err);

	if (code == -EBUSY && h.has_it && ctl_bool(params, "force")) {
		code = take_away(disk, &h, err);
		if (!code)
			code = await_free(disk, &d, &answer, &h, err);
	}
	if (!code)
		code = choose_queues(params, &cfg, &d, err);
	if (!code) {
		code = vm_attach(NULL, vm->name, &d, &why);
		if (code)
			report(code, &why, err);
		/* somebody else may have been faster */
		if (code == -EREMOTEIO && await_free(disk, &d, &answer, &h, &later) == -EBUSY) {
			*err = later;
			code = -EBUSY;
		}
	}
	json_decref(answer);
	return code;
}

static int run_attach(struct ctl *ctl, const json_t *params, json_t **ret, struct ctl_error *err)
{
	const char *name = ctl_str(params, "name");
	struct vm_info info;

	if (vm_get(NULL, name, &info) || !info.pid)
		return ctl_fail(err, -ENOENT, "vm_not_found", "name", "no machine '%s' runs", name);
	const struct vm_attached *disk = find_disk(&info, ctl_str(params, "disk"));
	int code = disk && !disk->leaving ? 0 : attach(params, &info, err);

	if (!code && !vm_get(NULL, name, &info))
		*ret = info_json(&info);
	return code;
}

static int run_detach(struct ctl *ctl, const json_t *params, json_t **ret, struct ctl_error *err)
{
	const char *name = ctl_str(params, "name");
	struct vm_error why = { 0 };
	struct vm_info info;
	int code = vm_detach(NULL, name, ctl_str(params, "disk"),
			     (unsigned)ctl_u64(params, "wait") * S_TO_MS, ctl_bool(params, "force"),
			     &why);

	if (code)
		return report(code, &why, err);
	if (!vm_get(NULL, name, &info))
		*ret = info_json(&info);
	return 0;
}

static int run_list(struct ctl *ctl, const json_t *params, json_t **ret, struct ctl_error *err)
{
	struct vm_info *all;
	ssize_t n = vm_list(NULL, &all);

	if (n < 0)
		return report((int)n, &(struct vm_error){ 0 }, err);
	*ret = json_array();
	for (ssize_t i = 0; i < n; i++)
		json_array_append_new(*ret, info_json(&all[i]));
	free(all);
	return 0;
}

static int run_show(struct ctl *ctl, const json_t *params, json_t **ret, struct ctl_error *err)
{
	const char *name = ctl_str(params, "name");
	struct vm_info info;
	json_t *disks;

	if (vm_get(NULL, name, &info))
		return ctl_fail(err, -ENOENT, "vm_not_found", "name", "no machine '%s'", name);
	*ret = info_json(&info);
	disks = json_array();
	for (unsigned i = 0; i < info.ndisk; i++)
		json_array_append_new(disks, json_pack("{s:s, s:s}", "disk", info.disk[i].name,
						       "detachable",
						       info.disk[i].leaving ? "under way" :
						       info.disk[i].hot ? "yes" :
						       "no: from the start"));
	json_object_set_new(*ret, "disks", disks);
	json_object_set_new(*ret, "spare", json_integer(info.spare));
	json_object_set_new(*ret, "spare_free", json_integer(info.spare_free));
	return 0;
}

static int run_stop(struct ctl *ctl, const json_t *params, json_t **ret, struct ctl_error *err)
{
	struct vm_error why = { 0 };
	int code = vm_stop(NULL, ctl_str(params, "name"),
			   (unsigned)ctl_u64(params, "grace") * S_TO_MS, &why);

	return code ? report(code, &why, err) : 0;
}

static int run_console(struct ctl *ctl, const json_t *params, json_t **ret, struct ctl_error *err)
{
	const char *name = ctl_str(params, "name");
	int code = vm_console(NULL, name, STDIN_FILENO, STDOUT_FILENO);

	if (code == -ENOENT)
		return ctl_fail(err, code, error_id(code), "name", "no machine '%s' runs", name);
	if (code == -EBUSY)
		return ctl_fail(err, code, error_id(code), "name", "another has its console");
	return code ? report(code, &(struct vm_error){ 0 }, err) : 0;
}

static int run_probe(struct ctl *ctl, const json_t *params, json_t **ret, struct ctl_error *err)
{
	struct vm_error why = { 0 };
	bool kvm = !vm_probe_kvm(&why);

	*ret = json_pack("{s:s, s:s}", "accel", kvm ? "kvm" : "tcg", "why",
			 kvm ? "KVM runs guest kernels at full speed" : why.text);
	return 0;
}

static const char *const accels[] = { "auto", "kvm", "tcg", NULL };

#define NAME_PARAM                                                                              \
	{ .name = "name", .type = CTL_NAME, .required = true, .positional = true, .max = VM_NAME_MAX, \
	  .help = "Name of the machine" }

#define DISK_PARAM                                                                               \
	{ .name = "disk", .type = CTL_NAME, .required = true, .positional = true,                 \
	  .help = "A disk of posternd's" }
#define QUEUES_PARAM                                                                             \
	{ .name = "queues", .type = CTL_UINT, .min = 1,                                           \
	  .help = "Queues of each disk; not given: one a CPU and the polled ones" }
#define PACKED_PARAM \
	{ .name = "packed", .type = CTL_BOOL, .value = "off", .help = "Packed rings" }
#define OPTIONS_PARAM                                                                            \
	{ .name = "disk_options", .type = CTL_STRING,                                             \
	  .help = "Further properties of QEMU's vhost-user-blk-pci, as a=b,c=d" }

static const struct ctl_param run_params[] = {
	NAME_PARAM,
	{ .name = "disk", .type = CTL_NAME, .list = true,
	  .help = "A disk of posternd's: /dev/vda, vdb" },
	{ .name = "function", .type = CTL_NAME,
	  .help = "A function of posternd's, added with vm=on, whose program runs in this machine" },
	{ .name = "function_port", .type = CTL_STRING, .max = 64,
	  .help = "Instead of function=, where its machine is known: the name of the port that it has" },
	{ .name = "function_socket", .type = CTL_PATH, .help = "And where that leads" },
	{ .name = "function_memory", .type = CTL_PATH, .help = "And the memory that is shared" },
	{ .name = "foreground", .type = CTL_BOOL, .value = "off",
	  .help = "Stay until the machine has ended; it ends with the command, or if its guest reboots" },
	{ .name = "cpus", .type = CTL_UINT, .min = 1, .max = CORES_MAX, .value = "1",
	  .help = "Virtual CPUs" },
	{ .name = "memory", .type = CTL_SIZE, .min = MIB, .value = "512M", .help = "Memory" },
	{ .name = "max_memory", .type = CTL_SIZE, .min = MIB,
	  .help = "What memory may grow to while it runs; not given: it stays" },
	{ .name = "spare", .type = CTL_UINT, .max = VM_SPARE_MAX, .value = "4",
	  .help = "Places for disks that are attached later" },
	{ .name = "kernel", .type = CTL_PATH, .help = "Linux kernel; not given: boot from a disk" },
	{ .name = "initrd", .type = CTL_PATH, .help = "Its initial file system" },
	{ .name = "append", .type = CTL_STRING, .help = "Its words, after console=ttyS0" },
	{ .name = "image", .type = CTL_PATH,
	  .help = "A disk image on QEMU's own virtio-blk, before the disks; raw unless *.qcow2" },
	{ .name = "snapshot", .type = CTL_BOOL, .value = "off",
	  .help = "What the guest writes to image= is thrown away when the machine ends" },
	{ .name = "file", .type = CTL_PATH, .list = true,
	  .help = "A raw file as one more disk of QEMU's own, by its serial: postern-4 and so on" },
	{ .name = "read", .type = CTL_PATH, .list = true,
	  .help = "The same, to be read; its serial after those of file=" },
	QUEUES_PARAM,
	{ .name = "poll_queues", .type = CTL_UINT, .value = "0",
	  .help = "Queues that the guest polls instead of taking interrupts; needs kernel=" },
	PACKED_PARAM,
	{ .name = "hugepages", .type = CTL_BOOL, .value = "off", .help = "Memory of 2 MiB pages" },
	{ .name = "accel", .type = CTL_ENUM, .choices = accels, .value = "auto",
	  .help = "KVM, or emulation (tcg); auto: KVM where it really runs guests" },
	{ .name = "cores", .type = CTL_UINT, .max = 4095, .list = true,
	  .help = "Host cores, one for each CPU" },
	{ .name = "network", .type = CTL_BOOL, .value = "off",
	  .help = "A network card behind the host's address" },
	OPTIONS_PARAM,
	{ .name = "qemu", .type = CTL_STRING, .list = true, .help = "One more argument for QEMU" },
	{ 0 },
};
static const struct ctl_param stop_params[] = {
	NAME_PARAM,
	{ .name = "grace", .type = CTL_UINT, .max = GRACE_MAX_S, .value = "10",
	  .help = "Seconds that the guest gets to power down by itself; 0: none" },
	{ 0 },
};
static const struct ctl_param attach_params[] = {
	NAME_PARAM,
	DISK_PARAM,
	QUEUES_PARAM,
	PACKED_PARAM,
	OPTIONS_PARAM,
	{ .name = "force", .type = CTL_BOOL, .value = "off",
	  .help = "Take it from the machine that has it, which is reset if its guest does not let go" },
	{ 0 },
};
static const struct ctl_param detach_params[] = {
	NAME_PARAM,
	DISK_PARAM,
	{ .name = "wait", .type = CTL_UINT, .max = GRACE_MAX_S, .value = "10",
	  .help = "Seconds that the guest gets to let go of it" },
	{ .name = "force", .type = CTL_BOOL, .value = "off",
	  .help = "If it does not: reset the machine, which takes the disk away" },
	{ 0 },
};
static const struct ctl_param show_params[] = { NAME_PARAM, { 0 } };
static const struct ctl_param console_params[] = { NAME_PARAM, { 0 } };

const struct ctl_cmd vm_cmds[] = {
	{ .noun = "vm", .verb = "run", .params = run_params, .run = run_run,
	  .help = "Start a guest machine with disks of posternd's; it outlives the command" },
	{ .noun = "vm", .verb = "list", .run = run_list, .help = "Show the machines, one a line",
	  .columns = "name pid state accel cpus memory_b up_ns disks" },
	{ .noun = "vm", .verb = "show", .params = show_params, .run = run_show,
	  .help = "Show one machine and its disks" },
	{ .noun = "vm", .verb = "attach", .params = attach_params, .run = run_attach,
	  .help = "Give a running machine another disk" },
	{ .noun = "vm", .verb = "detach", .params = detach_params, .run = run_detach,
	  .help = "Take a disk from a running machine" },
	{ .noun = "vm", .verb = "stop", .params = stop_params, .run = run_stop,
	  .help = "Power a machine down, or switch it off" },
	{ .noun = "vm", .verb = "console", .params = console_params, .run = run_console,
	  .help = "Join a machine's serial console; Ctrl-] leaves it" },
	{ .noun = "vm", .verb = "probe", .run = run_probe,
	  .help = "Tell whether guests can run on KVM here, and if not, why" },
	{ 0 },
};
