/* SPDX-License-Identifier: Apache-2.0 */
/* The commands of guest machines, which run here: posternd does not know machines. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cpus.h"
#include "bin/cli.h"
#include "vm/vm.h"

#define DISKS_MAX 16
#define CORES_MAX 256

static int vm_fail(int code, const char *id, const struct vm_error *why, const char *fallback,
		   struct ctl_error *err)
{
	return ctl_fail(err, code, id, why && why->param ? why->param : fallback, "%s",
			why && *why->text ? why->text : strerror(-code));
}

/* What vm_start() is given that lives as long as the call. */
struct plan {
	struct vm_config cfg;
	struct vm_disk disk[DISKS_MAX];
	json_t *known[DISKS_MAX]; /* posternd's word about each */
	unsigned cores[CORES_MAX];
	const char *extra[64];
};

static int plan_disks(const struct cli *cli, struct plan *p, const json_t *params,
		      struct ctl_error *err)
{
	uint64_t queues = ctl_u64(params, "queues");
	json_t *name;
	size_t i;

	if (!queues)
		queues = max_u64(p->cfg.cpus, 1) + p->cfg.poll_queues;
	if (json_array_size(json_object_get(params, "disk")) > DISKS_MAX)
		return ctl_fail(err, -ERANGE, "out_of_range", "disk", "at most %d are allowed",
				DISKS_MAX);
	json_array_foreach(json_object_get(params, "disk"), i, name) {
		int code = cli_disk(cli, json_string_value(name), &p->known[i], err);

		p->cfg.ndisks = i + 1;
		if (code)
			return code;
		const json_t *front = json_object_get(p->known[i], "front");

		if (!ctl_str(front, "socket"))
			return ctl_fail(err, -ENODEV, "disk_failed", "disk",
					"disk '%s' is not served: %.200s", json_string_value(name),
					ctl_str(p->known[i], "why"));
		p->disk[i] = (struct vm_disk){
			.socket = ctl_str(front, "socket"),
			.queues = (unsigned)min_u64(queues, ctl_u64(front, "queues")),
			.packed = ctl_bool(params, "packed"),
		};
	}
	p->cfg.disks = p->disk;
	return 0;
}

static int plan_cores(struct plan *p, const char *text, struct ctl_error *err)
{
	cpu_set_t set;

	if (!text)
		return 0;
	if (cpus_parse(text, &set))
		return ctl_fail(err, -EINVAL, "bad_value", "cores",
				"'%.60s' is not a list of CPUs such as 1,4-7", text);
	for (unsigned i = 0; i < CPU_SETSIZE && p->cfg.ncores < CORES_MAX; i++)
		if (CPU_ISSET(i, &set))
			p->cores[p->cfg.ncores++] = i;
	p->cfg.cores = p->cores;
	return 0;
}

static json_t *show(const struct vm_info *i)
{
	return json_pack("{s:s, s:s, s:i, s:s, s:i, s:I, s:I}", "name", i->name, "state", i->state,
			 "pid", i->pid, "accel", i->accel, "cpus", (int)i->cpus, "memory_b",
			 (json_int_t)i->memory_b, "up_ns",
			 (json_int_t)(i->pid && i->started_s ? (uint64_t)time(NULL) - i->started_s :
							       0) * (json_int_t)NS_PER_S);
}

static int run_run(struct ctl *ctl, const json_t *params, json_t **ret, struct ctl_error *err)
{
	static const char *const accel[] = { [VM_ACCEL_AUTO] = "auto",
					     [VM_ACCEL_KVM] = "kvm",
					     [VM_ACCEL_TCG] = "tcg" };
	const struct cli *cli = (const struct cli *)ctl;
	struct plan p = { .cfg = { .name = ctl_str(params, "name"),
				   .qemu = ctl_str(params, "qemu"),
				   .cpus = (unsigned)ctl_u64(params, "cpus"),
				   .memory_b = ctl_u64(params, "memory"),
				   .hugepages = ctl_bool(params, "hugepages"),
				   .kernel = ctl_str(params, "kernel"),
				   .initrd = ctl_str(params, "initrd"),
				   .append = ctl_str(params, "append"),
				   .poll_queues = (unsigned)ctl_u64(params, "poll_queues"),
				   .image = ctl_str(params, "image"),
				   .network = ctl_bool(params, "network") } };
	struct vm_error why = { 0 };
	struct vm_info info;
	json_t *word;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(accel); i++)
		if (!strcmp(accel[i], ctl_str(params, "accel")))
			p.cfg.accel = (enum vm_accel)i;
	json_array_foreach(json_object_get(params, "qemu_arg"), i, word)
		p.extra[i] = json_string_value(word);
	p.cfg.extra = p.extra;
	p.cfg.nextra = i;
	int code = plan_cores(&p, ctl_str(params, "cores"), err);

	if (!code)
		code = plan_disks(cli, &p, params, err);
	if (!code) {
		code = vm_start(&p.cfg, &info, &why);
		if (code)
			vm_fail(code, code == -EEXIST ? "vm_exists" : code == -EINVAL ? "bad_value" :
				"vm_failed", &why, "name", err);
	}
	if (!code)
		*ret = show(&info);
	for (i = 0; i < p.cfg.ndisks; i++)
		json_decref(p.known[i]);
	return code;
}

static int run_list(struct ctl *ctl, const json_t *params, json_t **ret, struct ctl_error *err)
{
	CLEANUP(base_free) struct vm_info *all = NULL;
	ssize_t n = vm_list(NULL, &all);

	if (n < 0)
		return vm_fail((int)n, "vm_failed", NULL, NULL, err);
	*ret = json_array();
	for (ssize_t i = 0; i < n; i++)
		json_array_append_new(*ret, show(&all[i]));
	return 0;
}

static int not_found(const char *name, struct ctl_error *err)
{
	return ctl_fail(err, -ENOENT, "vm_not_found", "name",
			"there is no machine '%s'; `vm list` names them", name);
}

static int run_stop(struct ctl *ctl, const json_t *params, json_t **ret, struct ctl_error *err)
{
	const char *name = ctl_str(params, "name");
	struct vm_error why = { 0 };
	int code = vm_stop(NULL, name, (unsigned)ctl_u64(params, "grace") * 1000, &why);

	if (code == -ENOENT)
		return not_found(name, err);
	return code ? vm_fail(code, "vm_failed", &why, "name", err) : 0;
}

static int run_console(struct ctl *ctl, const json_t *params, json_t **ret, struct ctl_error *err)
{
	const char *name = ctl_str(params, "name");

	fputs("Ctrl-] leaves.\n", stderr);
	int code = vm_console(NULL, name, 0, 1);

	if (code == -ENOENT)
		return not_found(name, err);
	if (code == -EBUSY)
		return ctl_fail(err, code, "busy", "name", "another has this console");
	return code ? vm_fail(code, "vm_failed", NULL, "name", err) : 0;
}

static int run_probe(struct ctl *ctl, const json_t *params, json_t **ret, struct ctl_error *err)
{
	struct vm_error why = { 0 };
	int code = vm_probe_kvm(&why);

	*ret = json_string(code ? why.text : "kvm");
	return 0;
}

static const char *const accels[] = { "auto", "kvm", "tcg", NULL };

#define NAME_PARAM \
	{ .name = "name", .type = CTL_NAME, .required = true, .positional = true, \
	  .max = VM_NAME_MAX, .help = "The machine" }

static const struct ctl_param run_params[] = {
	NAME_PARAM,
	{ .name = "disk", .type = CTL_NAME, .list = true,
	  .help = "A disk of posternd's; may be given again, /dev/vda first" },
	{ .name = "cpus", .type = CTL_UINT, .min = 1, .max = 255, .value = "1",
	  .help = "Virtual CPUs" },
	{ .name = "memory", .type = CTL_SIZE, .value = "512M", .help = "Memory" },
	{ .name = "kernel", .type = CTL_PATH, .help = "Linux kernel to boot" },
	{ .name = "initrd", .type = CTL_PATH, .help = "Its initial ramdisk" },
	{ .name = "append", .type = CTL_STRING, .help = "More words for its command line" },
	{ .name = "image", .type = CTL_PATH, .help = "Disk image to boot from, raw or *.qcow2" },
	{ .name = "accel", .type = CTL_ENUM, .choices = accels, .value = "auto",
	  .help = "Who runs the guest's code" },
	{ .name = "queues", .type = CTL_UINT, .min = 1, .max = 64,
	  .help = "Queues of each disk; not given: one a CPU, and poll_queues" },
	{ .name = "poll_queues", .type = CTL_UINT, .max = 63, .value = "0",
	  .help = "Of these, how many the guest polls (needs kernel=)" },
	{ .name = "packed", .type = CTL_BOOL, .value = "off", .help = "Packed rings" },
	{ .name = "hugepages", .type = CTL_BOOL, .value = "off", .help = "Memory of 2 MiB pages" },
	{ .name = "cores", .type = CTL_STRING, .max = 200,
	  .help = "Host CPUs, one for each virtual one; keep the pollers' out of it" },
	{ .name = "network", .type = CTL_BOOL, .value = "off",
	  .help = "Network behind the host's" },
	{ .name = "qemu", .type = CTL_STRING, .help = "QEMU to run; not given: from PATH" },
	{ .name = "qemu_arg", .type = CTL_STRING, .list = true,
	  .help = "One more argument for it; may be given again" },
	{ 0 },
};
static const struct ctl_param name_params[] = { NAME_PARAM, { 0 } };
static const struct ctl_param stop_params[] = {
	NAME_PARAM,
	{ .name = "grace", .type = CTL_UINT, .max = 3600, .value = "10",
	  .help = "Seconds that it gets to power down before it is ended" },
	{ 0 },
};

const struct ctl_cmd vm_cmds[] = {
	{ .noun = "vm", .verb = "run", .params = run_params, .run = run_run,
	  .help = "Start a machine on disks of posternd's" },
	{ .noun = "vm", .verb = "list", .run = run_list, .help = "Show the machines",
	  .columns = "name state pid accel cpus memory_b up_ns" },
	{ .noun = "vm", .verb = "stop", .params = stop_params, .run = run_stop,
	  .help = "Power a machine down" },
	{ .noun = "vm", .verb = "console", .params = name_params, .run = run_console,
	  .help = "Join a machine's serial console" },
	{ .noun = "vm", .verb = "probe", .run = run_probe,
	  .help = "Say whether KVM runs guests here, or why not" },
	{ 0 },
};
