/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The QEMU command line of a machine: judged first, whole, so that a mistake is
 * named by the field that it is in; then written as data.
 */
#include <fcntl.h>
#include <linux/io_uring.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "vm/machine.h"

#define QEMU_DEFAULT "qemu-system-x86_64"
#define CPUS_MAX 255u /* q35 without x2apic interrupt remapping */
#define HUGEPAGE_B (2 * MIB)

/* Arguments gathered so far; after a failed allocation, additions do nothing. */
struct args {
	char **v;
	size_t n;
	bool failed;
};

static void args_add(struct args *a, char *arg)
{
	char **v = arg && !a->failed ? realloc(a->v, (a->n + 2) * sizeof(*v)) : NULL;

	if (!v) {
		a->failed = true;
		free(arg);
		return;
	}
	a->v = v;
	a->v[a->n++] = arg;
	a->v[a->n] = NULL;
}

static void add(struct args *a, const char *fmt, ...) printf_like(2, 3);

static void add(struct args *a, const char *fmt, ...)
{
	char *arg = NULL;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&arg, fmt, ap) < 0)
		arg = NULL;
	va_end(ap);
	args_add(a, arg);
}

/* @path with each comma doubled, as QEMU's key=value lists want it. */
static void escape(const char *path, char *ret, size_t size)
{
	size_t n = 0;

	for (; *path && n + 3 < size; path++) {
		ret[n++] = *path;
		if (*path == ',')
			ret[n++] = ',';
	}
	ret[n] = 0;
}

static int check_disks(const struct vm_config *cfg, struct vm_error *err)
{
	for (size_t i = 0; i < cfg->ndisks; i++) {
		const struct vm_disk *d = &cfg->disks[i];

		if (!d->socket || d->socket[0] != '/')
			return vm_fail(err, -EINVAL, "disk", "a disk's socket is an absolute path");
		if (strlen(d->socket) > FD_SOCKET_PATH_MAX)
			return vm_fail(err, -ENAMETOOLONG, "disk",
				       "socket path %s is longer than %d bytes", d->socket,
				       FD_SOCKET_PATH_MAX);
		if (!d->queues)
			return vm_fail(err, -EINVAL, "disk", "a disk has at least one queue");
		for (size_t k = 0; d->name && k < i; k++)
			if (cfg->disks[k].name && !strcmp(cfg->disks[k].name, d->name))
				return vm_fail(err, -EINVAL, "disk", "'%s' is there twice",
					       d->name);
		if (cfg->poll_queues >= d->queues)
			return vm_fail(err, -EINVAL, "poll_queues",
				       "at most %u of the disk's %u queues can be polled",
				       d->queues - 1, d->queues);
	}
	return 0;
}

static int check_boot(const struct vm_config *cfg, struct vm_error *err)
{
	if (!cfg->kernel && (cfg->initrd || cfg->append || cfg->poll_queues))
		return vm_fail(err, -EINVAL, cfg->initrd ? "initrd" : cfg->append ? "append"
					     : "poll_queues", "needs kernel=");
	if (cfg->kernel && access(cfg->kernel, R_OK))
		return vm_fail(err, -EINVAL, "kernel", "%s: %m", cfg->kernel);
	if (cfg->initrd && access(cfg->initrd, R_OK))
		return vm_fail(err, -EINVAL, "initrd", "%s: %m", cfg->initrd);
	if (cfg->image && access(cfg->image, cfg->snapshot ? R_OK : R_OK | W_OK))
		return vm_fail(err, -EINVAL, "image", "%s: %m", cfg->image);
	if (cfg->snapshot && !cfg->image)
		return vm_fail(err, -EINVAL, "snapshot", "needs image=");
	for (size_t i = 0; i < cfg->nfiles; i++)
		if (access(cfg->files[i].path, cfg->files[i].readonly ? R_OK : R_OK | W_OK))
			return vm_fail(err, -EINVAL, cfg->files[i].readonly ? "read" : "file",
				       "%s: %m", cfg->files[i].path);
	if (!cfg->kernel && !cfg->image && !cfg->ndisks)
		return vm_fail(err, -EINVAL, "kernel",
			       "nothing to boot: give kernel=, image= or disk=");
	return 0;
}

static int check(const struct vm_config *cfg, struct vm_error *err)
{
	int bad = vm_name_check(cfg->name, err);

	if (!bad)
		bad = check_boot(cfg, err);
	if (!bad)
		bad = check_disks(cfg, err);
	if (bad)
		return bad;
	if (cfg->cpus > CPUS_MAX)
		return vm_fail(err, -EINVAL, "cpus", "1 to %u, not %u", CPUS_MAX, cfg->cpus);
	if (cfg->ncores && cfg->ncores != (cfg->cpus ? cfg->cpus : 1))
		return vm_fail(err, -EINVAL, "cores", "one core for each of the %u cpus, not %zu",
			       cfg->cpus ? cfg->cpus : 1, cfg->ncores);
	uint64_t unit_b = cfg->hugepages ? HUGEPAGE_B : MIB;

	if (cfg->memory_b % unit_b)
		return vm_fail(err, -EINVAL, "memory", "a multiple of %s",
			       cfg->hugepages ? "2 MiB (hugepages)" : "1 MiB");
	if (cfg->spare > VM_SPARE_MAX)
		return vm_fail(err, -EINVAL, "spare", "0 to %d", VM_SPARE_MAX);
	uint64_t now_b = cfg->memory_b ? cfg->memory_b : VM_MEMORY_DEFAULT_B;

	if (cfg->max_memory_b && (cfg->max_memory_b % MIB || cfg->max_memory_b <= now_b))
		return vm_fail(err, -EINVAL, "max_memory", "a multiple of 1 MiB beyond memory");
	return 0;
}

static void add_machine(struct args *a, const struct vm_config *cfg, uint64_t memory_b)
{
	add(a, "%s", cfg->qemu ? cfg->qemu : QEMU_DEFAULT);
	add(a, "-name");
	add(a, "%s,debug-threads=on", cfg->name);
	add(a, "-nodefaults");
	add(a, "-no-user-config");
	add(a, "-M");
	add(a, "q35,memory-backend=mem%s", cfg->function ? ",nvdimm=on" : "");
	add(a, "-accel");
	add(a, "%s", cfg->accel == VM_ACCEL_KVM ? "kvm" : "tcg");
	add(a, "-cpu");
	add(a, "%s", cfg->accel == VM_ACCEL_KVM ? "host" : "max");
	unsigned cpus = cfg->cpus ? cfg->cpus : 1;
	/* Linux sets up no more queues than there may be vCPUs: room for one that is not polled.
	 * And where only one vCPU may ever be, QEMU's emulation leaves the guest's memory barriers
	 * out (tcg_gen_mb() without CF_PARALLEL): kicks get lost, as the controller is another
	 * process. */
	unsigned maxcpus = cfg->poll_queues ? cfg->poll_queues + 1 : 2;

	add(a, "-smp");
	add(a, "%u,maxcpus=%u", cpus, cpus > maxcpus ? cpus : maxcpus);
	add(a, "-m");
	uint64_t nvdimm_b = cfg->function ? cfg->function->memory_b : 0;
	uint64_t max_b = max_u64(cfg->max_memory_b, memory_b) + nvdimm_b;

	if (max_b > memory_b)
		add(a, "%lluM,slots=%d,maxmem=%lluM", (unsigned long long)(memory_b / MIB),
		    VM_MEMORY_SLOTS + !!nvdimm_b, (unsigned long long)(max_b / MIB));
	else
		add(a, "%lluM", (unsigned long long)(memory_b / MIB));
	/* the controller maps guest memory through this descriptor */
	add(a, "-object");
	add(a, "memory-backend-memfd,id=mem,size=%lluM,share=on%s",
	    (unsigned long long)(memory_b / MIB),
	    cfg->hugepages ? ",hugetlb=on,hugetlbsize=2M,prealloc=on" : "");
	add(a, "-display");
	add(a, "none");
}

static int add_sockets(struct args *a, const struct vm_config *cfg)
{
	char path[PATH_MAX], quoted[PATH_MAX + 64], log[PATH_MAX];
	int err = vm_path(path, FD_SOCKET_PATH_MAX + 1, cfg->state_dir, cfg->name, VM_FILE_QMP);

	if (err)
		return err;
	escape(path, quoted, sizeof(quoted));
	add(a, "-qmp");
	add(a, "unix:%s,server=on,wait=off", quoted);
	err = vm_path(path, FD_SOCKET_PATH_MAX + 1, cfg->state_dir, cfg->name, VM_FILE_CONSOLE);
	if (!err)
		err = vm_path(log, sizeof(log), cfg->state_dir, cfg->name, VM_FILE_CONSOLE_LOG);
	if (err)
		return err;
	escape(path, quoted, sizeof(quoted));
	add(a, "-chardev");
	char quoted_log[PATH_MAX + 64];

	escape(log, quoted_log, sizeof(quoted_log));
	add(a, "socket,id=console,path=%s,server=on,wait=off,logfile=%s", quoted, quoted_log);
	add(a, "-serial");
	add(a, "chardev:console");
	return 0;
}

/* Whether QEMU goes to the background, or stays a child that may do little. */
static int add_process(struct args *a, const struct vm_config *cfg)
{
	char pid[PATH_MAX], log[PATH_MAX];
	int err = vm_path(pid, sizeof(pid), cfg->state_dir, cfg->name, VM_FILE_PID);

	if (cfg->held) {
		add(a, "-sandbox");
		add(a, "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
		add(a, "-no-reboot");
		if (cfg->events_fd) {
			add(a, "-chardev");
			add(a, "socket,id=events,fd=%d", cfg->events_fd);
			add(a, "-mon");
			add(a, "chardev=events,mode=control");
		}
		return 0;
	}
	if (!err)
		err = vm_path(log, sizeof(log), cfg->state_dir, cfg->name, VM_FILE_LOG);
	if (err)
		return err;
	add(a, "-daemonize");
	add(a, "-pidfile");
	add(a, "%s", pid);
	add(a, "-D");
	add(a, "%s", log);
	return 0;
}

static void add_disk(struct args *a, const struct vm_disk *d, size_t i, bool boot)
{
	char quoted[2 * FD_SOCKET_PATH_MAX + 4];

	char id[sizeof(VM_DISK_ID) + VM_DISK_NAME_MAX];

	escape(d->socket, quoted, sizeof(quoted));
	if (d->name)
		snprintf(id, sizeof(id), "%s%s", VM_DISK_ID, d->name);
	else
		snprintf(id, sizeof(id), "disk%zu", i);
	add(a, "-chardev");
	/* reconnect: a controller that restarts is found again after a second */
	add(a, "socket,id=%s,path=%s,reconnect=1", id, quoted);
	add(a, "-device");
	add(a, "vhost-user-blk-pci,id=%s,chardev=%s,num-queues=%u,packed=%s%s%s%s", id, id,
	    d->queues, d->packed ? "on" : "off", boot ? ",bootindex=1" : "", d->options ? "," : "",
	    d->options ? d->options : "");
}

/* Root ports, eight to a slot from 1c down, where nobody else is on q35's root bus. */
static void add_spare(struct args *a, unsigned i)
{
	add(a, "-device");
	add(a, "pcie-root-port,id=%s%u,chassis=%u,addr=%x.%u,multifunction=on", VM_SPARE_ID, i,
	    i + 1, 0x1cu - i / 8, i % 8);
}

bool vm_io_uring_works(void)
{
	struct io_uring_params p = { 0 };
	int fd = (int)syscall(SYS_io_uring_setup, 1, &p);

	fd_close(fd);
	return fd >= 0;
}

/* A drive of QEMU's own, as fast as this host lets it be. */
static void add_drive(struct args *a, const char *id, const char *path, const char *format,
		      bool readonly, const char *more)
{
	char quoted[PATH_MAX];
	/* tmpfs has no O_DIRECT */
	int fd = open(path, (readonly ? O_RDONLY : O_RDWR) | O_DIRECT | O_CLOEXEC);

	escape(path, quoted, sizeof(quoted));
	add(a, "-drive");
	add(a, "if=none,id=%s,format=%s,file=%s,cache=%s,aio=%s,discard=unmap%s", id, format,
	    quoted,
	    fd >= 0 ? "none" : "writeback", vm_io_uring_works() ? "io_uring" : "threads", more);
	fd_close(fd);
}

static void add_image(struct args *a, const struct vm_config *cfg)
{
	size_t len = strlen(cfg->image);
	/* by the name only: a guest may write any header into a raw image */
	bool qcow2 = len > 6 && !strcmp(cfg->image + len - 6, ".qcow2");

	add_drive(a, "image", cfg->image, qcow2 ? "qcow2" : "raw", cfg->snapshot,
		  cfg->snapshot ? ",snapshot=on" : "");
	add(a, "-object");
	add(a, "iothread,id=io");
	add(a, "-device");
	add(a, "virtio-blk-pci,drive=image,iothread=io%s", cfg->kernel ? "" : ",bootindex=1");
}

/* Another machine of the same function may have them meanwhile. */
static void add_file(struct args *a, const struct vm_file *f, unsigned number)
{
	char id[16];

	snprintf(id, sizeof(id), "file%u", number);
	add_drive(a, id, f->path, "raw", f->readonly, f->readonly ? ",readonly=on" : "");
	add(a, "-device");
	add(a, "virtio-blk-pci,drive=%s,serial=" VM_FILE_SERIAL "%u%s", id, number,
	    f->readonly ? "" : ",share-rw=on");
}

static void add_boot(struct args *a, const struct vm_config *cfg)
{
	if (!cfg->kernel)
		return;
	add(a, "-kernel");
	add(a, "%s", cfg->kernel);
	if (cfg->initrd) {
		add(a, "-initrd");
		add(a, "%s", cfg->initrd);
	}
	/* Linux gives its timer some ten ticks' time to bring five. An emulator that this host
	 * did not let run just then brings fewer, and Linux panics: "IO-APIC + timer doesn't
	 * work!". Under KVM it does not ask. */
	const char *timer = cfg->accel == VM_ACCEL_KVM ? "" : " no_timer_check";
	char poll[48] = "";

	if (cfg->poll_queues)
		snprintf(poll, sizeof(poll), " virtio_blk.poll_queues=%u", cfg->poll_queues);
	add(a, "-append");
	add(a, "console=ttyS0%s%s%s%s", timer, poll, cfg->append ? " " : "",
	    cfg->append ? cfg->append : "");
}

/* The memory is posternd's: nothing of it is initialised or persistent here. */
static void add_function(struct args *a, const struct vm_function *f, bool held)
{
	char quoted[PATH_MAX + 64];

	escape(f->memory, quoted, sizeof(quoted));
	add(a, "-object");
	add(a, "memory-backend-file,id=function,share=on,mem-path=%s,size=%lluM", quoted,
	    (unsigned long long)(f->memory_b / MIB));
	add(a, "-device");
	add(a, "nvdimm,memdev=function");
	/* once more, for a guest whose kernel makes no use of that; a BAR's size is a power of two,
	 * which that of a controller before this one may not be */
	if (!(f->memory_b & (f->memory_b - 1))) {
		add(a, "-object");
		add(a, "memory-backend-file,id=function-bar,share=on,mem-path=%s,size=%lluM",
		    quoted, (unsigned long long)(f->memory_b / MIB));
		add(a, "-device");
		add(a, "ivshmem-plain,memdev=function-bar");
	}
	add(a, "-device");
	add(a, "virtio-serial-pci,max_ports=2");
	escape(f->socket, quoted, sizeof(quoted));
	add(a, "-chardev");
	/* A controller that restarts is found again after a second. One that holds the machine
	 * keeps the connection, and what it has let go of is not to come to the next one's door. */
	add(a, "socket,id=function,path=%s%s", quoted, held ? "" : ",reconnect=1");
	add(a, "-device");
	/* without an id QEMU does not tell when the guest opens and closes it */
	add(a, "virtserialport,chardev=function,name=%s,id=port", f->port);
}

static void add_network(struct args *a)
{
	add(a, "-netdev");
	add(a, "user,id=net");
	add(a, "-device");
	/* without its boot ROM, which is a package of its own */
	add(a, "virtio-net-pci,netdev=net,romfile=");
}

int vm_argv(const struct vm_config *cfg, char ***ret_argv, struct vm_error *err)
{
	struct args a = { 0 };
	int bad = check(cfg, err);

	if (bad)
		return bad;
	add_machine(&a, cfg, cfg->memory_b ? cfg->memory_b : VM_MEMORY_DEFAULT_B);
	bad = add_sockets(&a, cfg);
	if (!bad)
		bad = add_process(&a, cfg);
	if (bad) {
		vm_argv_free(a.v);
		return vm_fail(err, bad, "name",
			       "the sockets of this machine would be longer than %d "
			       "bytes", FD_SOCKET_PATH_MAX);
	}
	add_boot(&a, cfg);
	if (cfg->image)
		add_image(&a, cfg);
	for (size_t i = 0; i < cfg->nfiles; i++)
		add_file(&a, &cfg->files[i], VM_FILE_FIRST + (unsigned)i);
	for (size_t i = 0; i < cfg->ndisks; i++)
		add_disk(&a, &cfg->disks[i], i, !cfg->kernel && !cfg->image && !i);
	for (unsigned i = 0; i < cfg->spare; i++)
		add_spare(&a, i);
	if (cfg->function)
		add_function(&a, cfg->function, cfg->held);
	if (cfg->network)
		add_network(&a);
	for (size_t i = 0; i < cfg->nextra; i++)
		add(&a, "%s", cfg->extra[i]);
	if (a.failed) {
		vm_argv_free(a.v);
		return -ENOMEM;
	}
	*ret_argv = a.v;
	return 0;
}

void vm_argv_free(char **argv)
{
	for (char **arg = argv; arg && *arg; arg++)
		free(*arg);
	free(argv);
}
