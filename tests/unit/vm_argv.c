/* SPDX-License-Identifier: Apache-2.0 */
/* From a machine's description to QEMU's command line: vm/argv.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "vm/vm.h"

static const struct vm_disk one_disk = { .socket = "/run/d.sock", .queues = 2 };

/* A machine that boots from its one disk; each test changes what it is about. */
static struct vm_config plain(void)
{
	return (struct vm_config){ .name = "web", .state_dir = "/run/vm", .accel = VM_ACCEL_TCG,
				   .disks = &one_disk, .ndisks = 1 };
}

/* The value behind option @option, the @nth (from 0). Fails the test when there is none. */
static char *option(char **argv, const char *name, unsigned nth)
{
	for (char **arg = argv; *arg; arg++)
		if (!strcmp(*arg, name) && !nth--)
			return arg[1];
	fail_msg("no %s", name);
	return NULL;
}

static bool has(char **argv, const char *name)
{
	for (char **arg = argv; *arg; arg++)
		if (!strcmp(*arg, name))
			return true;
	return false;
}

static char **build(const struct vm_config *cfg)
{
	struct vm_error err = { 0 };
	char **argv = NULL;
	int bad = vm_argv(cfg, &argv, &err);

	if (bad)
		fail_msg("%d %s: %s", bad, err.param, err.text);
	return argv;
}

/* @cfg is refused and the error names @param. */
static void refused(const struct vm_config *cfg, const char *param)
{
	struct vm_error err = { 0 };
	char **argv;

	assert_true(vm_argv(cfg, &argv, &err) < 0);
	assert_string_equal(err.param, param);
	assert_true(*err.text);
}

static void boots_from_the_disk_unless_told_otherwise(void **state)
{
	struct vm_config cfg = plain();
	char **argv = build(&cfg);

	assert_string_equal(argv[0], "qemu-system-x86_64");
	assert_string_equal(option(argv, "-accel", 0), "tcg");
	assert_string_equal(option(argv, "-smp", 0), "1,maxcpus=2");
	assert_string_equal(option(argv, "-m", 0), "512M");
	assert_string_equal(option(argv, "-object", 0),
			    "memory-backend-memfd,id=mem,size=512M,share=on");
	assert_string_equal(option(argv, "-M", 0), "q35,memory-backend=mem");
	assert_string_equal(option(argv, "-chardev", 1),
			    "socket,id=disk0,path=/run/d.sock,reconnect=1");
	assert_string_equal(option(argv, "-device", 0), "vhost-user-blk-pci,id=disk0,chardev=disk0,"
			    "num-queues=2,packed=off,bootindex=1");
	assert_false(has(argv, "-kernel"));
	assert_false(has(argv, "-netdev"));
	vm_argv_free(argv);
}

static void has_room_for_disks_and_memory_that_come_later(void **state)
{
	struct vm_disk d = { .name = "web", .socket = "/run/d.sock", .queues = 1 };
	struct vm_config cfg = plain();

	cfg.disks = &d;
	cfg.spare = 9;
	cfg.max_memory_b = 2 * GIB;
	char **argv = build(&cfg);

	assert_string_equal(option(argv, "-m", 0), "512M,slots=8,maxmem=2048M");
	assert_string_equal(option(argv, "-chardev", 1),
			    "socket,id=disk-web,path=/run/d.sock,reconnect=1");
	assert_non_null(strstr(option(argv, "-device", 0), "id=disk-web,chardev=disk-web,"));
	assert_string_equal(option(argv, "-device", 1),
			    "pcie-root-port,id=spare0,chassis=1,addr=1c.0,"
			    "multifunction=on");
	/* eight functions make a slot */
	assert_string_equal(option(argv, "-device", 9),
			    "pcie-root-port,id=spare8,chassis=9,addr=1b.0,"
			    "multifunction=on");
	vm_argv_free(argv);
}

static void throws_away_what_a_snapshot_gets(void **state)
{
	struct vm_config cfg = plain();

	cfg.image = "/dev/null"; /* to be read by anyone */
	cfg.snapshot = true;
	char **argv = build(&cfg);

	assert_non_null(strstr(option(argv, "-drive", 0), "file=/dev/null,"));
	assert_non_null(strstr(option(argv, "-drive", 0), ",snapshot=on"));
	vm_argv_free(argv);
	cfg.snapshot = false;
	argv = build(&cfg);
	assert_null(strstr(option(argv, "-drive", 0), "snapshot"));
	vm_argv_free(argv);
	cfg.image = NULL;
	cfg.snapshot = true;
	refused(&cfg, "snapshot");
}

static void has_files_as_disks_that_their_serials_tell_apart(void **state)
{
	struct vm_file files[] = { { "/dev/null", false }, { "/dev/zero", true } };
	struct vm_config cfg = plain();

	cfg.files = files;
	cfg.nfiles = 2;
	char **argv = build(&cfg);

	assert_non_null(strstr(option(argv, "-drive", 0), "id=file4,format=raw,file=/dev/null,"));
	assert_null(strstr(option(argv, "-drive", 0), "readonly"));
	/* two machines of a function have it while one replaces the other */
	assert_string_equal(option(argv, "-device", 0),
			    "virtio-blk-pci,drive=file4,serial=postern-4,share-rw=on");
	assert_non_null(strstr(option(argv, "-drive", 1), ",readonly=on"));
	assert_string_equal(option(argv, "-device", 1),
			    "virtio-blk-pci,drive=file5,serial=postern-5");
	vm_argv_free(argv);
	files[0].path = "/nonexistent/file";
	refused(&cfg, "file");
	files[0].path = "/dev/null";
	files[1].path = "/nonexistent/file";
	refused(&cfg, "read");
}

static void stays_in_the_foreground_and_may_do_little_when_held(void **state)
{
	struct vm_config cfg = plain();
	char **argv = build(&cfg);

	assert_true(has(argv, "-daemonize"));
	assert_false(has(argv, "-sandbox"));
	vm_argv_free(argv);
	cfg.held = true;
	argv = build(&cfg);
	assert_false(has(argv, "-daemonize"));
	assert_string_equal(option(argv, "-sandbox", 0), "on,obsolete=deny,elevateprivileges=deny,"
			    "spawn=deny,resourcecontrol=deny");
	assert_true(has(argv, "-no-reboot"));
	vm_argv_free(argv);
}

static void shares_memory_and_a_port_as_a_function(void **state)
{
	const struct vm_function f = { "a.port", "/run/f,n.function", "/proc/7/fd/9", 1024 * MIB };
	struct vm_config cfg = plain();

	cfg.function = &f;
	char **argv = build(&cfg);

	assert_string_equal(option(argv, "-m", 0), "512M,slots=9,maxmem=1536M");
	assert_string_equal(option(argv, "-M", 0), "q35,memory-backend=mem,nvdimm=on");
	assert_string_equal(option(argv, "-object", 1), "memory-backend-file,id=function,share=on,"
			    "mem-path=/proc/7/fd/9,size=1024M");
	assert_string_equal(option(argv, "-device", 1), "nvdimm,memdev=function");
	assert_string_equal(option(argv, "-object", 2), "memory-backend-file,id=function-bar,"
			    "share=on,mem-path=/proc/7/fd/9,size=1024M");
	assert_string_equal(option(argv, "-device", 2), "ivshmem-plain,memdev=function-bar");
	assert_string_equal(option(argv, "-chardev", 2),
			    "socket,id=function,path=/run/f,,n.function,reconnect=1");
	assert_string_equal(option(argv, "-device", 4),
			    "virtserialport,chardev=function,name=a.port,id=port");
	vm_argv_free(argv);
	/* one that has been let go of does not come to the next one's door */
	cfg.held = true;
	argv = build(&cfg);
	assert_string_equal(option(argv, "-chardev", 2),
			    "socket,id=function,path=/run/f,,n.function");
	assert_false(has(argv, "-mon"));
	vm_argv_free(argv);
	cfg.events_fd = 7;
	argv = build(&cfg);
	assert_string_equal(option(argv, "-chardev", 1), "socket,id=events,fd=7");
	assert_string_equal(option(argv, "-mon", 0), "chardev=events,mode=control");
	vm_argv_free(argv);
}

static void passes_kernel_initrd_and_polled_queues(void **state)
{
	struct vm_config cfg = plain();

	cfg.kernel = cfg.initrd = "/proc/self/exe";
	cfg.append = "quiet";
	cfg.poll_queues = 1;
	char **argv = build(&cfg);

	assert_string_equal(option(argv, "-kernel", 0), "/proc/self/exe");
	assert_string_equal(option(argv, "-initrd", 0), "/proc/self/exe");
	assert_string_equal(option(argv, "-append", 0),
			    "console=ttyS0 no_timer_check virtio_blk.poll_queues=1 quiet");
	assert_null(strstr(option(argv, "-device", 0), "bootindex"));
	/* Linux makes a queue a possible vCPU: one is left that is not polled */
	assert_string_equal(option(argv, "-smp", 0), "1,maxcpus=2");
	vm_argv_free(argv);
}

static void has_only_an_emulated_kernel_skip_the_test_of_its_timer(void **state)
{
	struct vm_config cfg = plain();

	cfg.kernel = "/proc/self/exe";
	char **argv = build(&cfg);

	assert_string_equal(option(argv, "-append", 0), "console=ttyS0 no_timer_check");
	vm_argv_free(argv);
	cfg.accel = VM_ACCEL_KVM;
	argv = build(&cfg);
	assert_string_equal(option(argv, "-append", 0), "console=ttyS0");
	vm_argv_free(argv);
}

static void offers_packed_rings_and_hugepages_when_asked(void **state)
{
	struct vm_disk d = { .socket = "/run/d.sock", .queues = 1, .packed = true,
			     .options = "event_idx=off" };
	struct vm_config cfg = plain();

	cfg.disks = &d;
	cfg.hugepages = true;
	cfg.memory_b = 64 * MIB;
	cfg.cpus = 3;
	char **argv = build(&cfg);

	assert_string_equal(option(argv, "-object", 0),
			    "memory-backend-memfd,id=mem,size=64M,share=on,"
			    "hugetlb=on,hugetlbsize=2M,prealloc=on");
	assert_non_null(strstr(option(argv, "-device", 0), "packed=on,bootindex=1,event_idx=off"));
	assert_string_equal(option(argv, "-smp", 0), "3,maxcpus=3");
	vm_argv_free(argv);
}

static void doubles_commas_in_paths(void **state)
{
	struct vm_disk d = { .socket = "/run/a,b.sock", .queues = 1 };
	struct vm_config cfg = plain();

	cfg.disks = &d;
	cfg.state_dir = "/run/x,y";
	char **argv = build(&cfg);

	assert_non_null(strstr(option(argv, "-chardev", 1), "path=/run/a,,b.sock,"));
	assert_string_equal(option(argv, "-qmp", 0),
			    "unix:/run/x,,y/web/qmp.sock,server=on,wait=off");
	vm_argv_free(argv);
}

static void takes_an_image_for_raw_unless_its_name_says_qcow2(void **state)
{
	char raw[] = "/tmp/postern-vm-argv.XXXXXX", qcow2[] = "/tmp/postern-vm-argv.XXXXXX.qcow2";
	struct vm_config cfg = plain();

	fd_close(mkstemp(raw));
	fd_close(mkstemps(qcow2, 6));
	cfg.image = raw;
	char **argv = build(&cfg);

	assert_non_null(strstr(option(argv, "-drive", 0), "format=raw,"));
	assert_string_equal(option(argv, "-device", 0),
			    "virtio-blk-pci,drive=image,iothread=io,bootindex=1");
	assert_null(strstr(option(argv, "-device", 1), "bootindex"));
	vm_argv_free(argv);
	cfg.image = qcow2;
	argv = build(&cfg);
	assert_non_null(strstr(option(argv, "-drive", 0), "format=qcow2,"));
	vm_argv_free(argv);
	remove(raw);
	remove(qcow2);
}

static void appends_what_the_caller_adds(void **state)
{
	static const char *const extra[] = { "-device", "virtio-rng-pci" };
	struct vm_config cfg = plain();

	cfg.extra = extra;
	cfg.nextra = 2;
	cfg.network = true;
	char **argv = build(&cfg);

	assert_string_equal(option(argv, "-netdev", 0), "user,id=net");
	assert_string_equal(option(argv, "-device", 2), "virtio-rng-pci");
	vm_argv_free(argv);
}

static void refuses_names_that_are_no_file_names(void **state)
{
	static const char *const bad[] = { NULL, "", ".", "..", ".a", "-a", "a/b", "a b",
					   "abcdefghijklmnopqrstuvwxyz0123456" };
	struct vm_config cfg = plain();

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		cfg.name = bad[i];
		refused(&cfg, "name");
	}
}

static void names_the_field_at_fault(void **state)
{
	struct vm_disk d = one_disk;
	struct vm_disk twice[] = { { .name = "web", .socket = "/run/d.sock", .queues = 1 },
				   { .name = "web", .socket = "/run/e.sock", .queues = 1 } };
	static const unsigned cores[] = { 0, 1 };
	struct vm_config cfg = plain();

	cfg.cpus = 256;
	refused(&cfg, "cpus");
	cfg = plain();
	cfg.memory_b = MIB + 1;
	refused(&cfg, "memory");
	cfg.memory_b = 3 * MIB;
	cfg.hugepages = true;
	refused(&cfg, "memory");
	cfg = plain();
	cfg.cores = cores;
	cfg.ncores = 2;
	refused(&cfg, "cores");
	cfg = plain();
	cfg.initrd = "/proc/self/exe";
	refused(&cfg, "initrd");
	cfg = plain();
	cfg.kernel = "/nonexistent";
	refused(&cfg, "kernel");
	cfg = plain();
	cfg.image = "/nonexistent";
	refused(&cfg, "image");
	cfg = plain();
	cfg.ndisks = 0;
	refused(&cfg, "kernel");
	cfg = plain();
	cfg.spare = VM_SPARE_MAX + 1;
	refused(&cfg, "spare");
	cfg = plain();
	cfg.max_memory_b = 512 * MIB;
	refused(&cfg, "max_memory");
	cfg = plain();
	cfg.disks = twice;
	cfg.ndisks = 2;
	refused(&cfg, "disk");
	cfg = plain();
	cfg.disks = &d;
	d.queues = 0;
	refused(&cfg, "disk");
	d = (struct vm_disk){ .socket = "relative.sock", .queues = 1 };
	refused(&cfg, "disk");
}

static void leaves_one_queue_that_is_not_polled(void **state)
{
	struct vm_config cfg = plain();

	cfg.kernel = "/proc/self/exe";
	cfg.poll_queues = 2;
	refused(&cfg, "poll_queues");
}

static void refuses_socket_paths_beyond_107_bytes(void **state)
{
	char longer[200] = "/";
	struct vm_disk d = { .socket = longer, .queues = 1 };
	struct vm_config cfg = plain();

	memset(longer + 1, 'a', FD_SOCKET_PATH_MAX);
	cfg.disks = &d;
	refused(&cfg, "disk");
	cfg = plain();
	cfg.state_dir = longer;
	refused(&cfg, "name");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(boots_from_the_disk_unless_told_otherwise),
		cmocka_unit_test(has_room_for_disks_and_memory_that_come_later),
		cmocka_unit_test(throws_away_what_a_snapshot_gets),
		cmocka_unit_test(has_files_as_disks_that_their_serials_tell_apart),
		cmocka_unit_test(stays_in_the_foreground_and_may_do_little_when_held),
		cmocka_unit_test(shares_memory_and_a_port_as_a_function),
		cmocka_unit_test(passes_kernel_initrd_and_polled_queues),
		cmocka_unit_test(has_only_an_emulated_kernel_skip_the_test_of_its_timer),
		cmocka_unit_test(offers_packed_rings_and_hugepages_when_asked),
		cmocka_unit_test(doubles_commas_in_paths),
		cmocka_unit_test(takes_an_image_for_raw_unless_its_name_says_qcow2),
		cmocka_unit_test(appends_what_the_caller_adds),
		cmocka_unit_test(refuses_names_that_are_no_file_names),
		cmocka_unit_test(names_the_field_at_fault),
		cmocka_unit_test(leaves_one_queue_that_is_not_polled),
		cmocka_unit_test(refuses_socket_paths_beyond_107_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
