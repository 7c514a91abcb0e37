/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest machines: QEMU started detached, found again by name, stopped, and its
 * serial console. The caller says which vhost-user sockets the guest gets as
 * disks; nothing here knows posternd. A machine is a directory of its name under
 * the state directory (pid, start time, QMP and console sockets, logs), so any
 * process of the same user may list, stop or join it. Cold path; every function
 * may block, allocate and run programs; one thread at a time.
 */
#pragma once

#include <sys/types.h>

#include "base/base.h"

#define VM_NAME_MAX 32 /* letters, digits, '.', '_' and '-'; not first '.' or '-' */
#define VM_MEMORY_DEFAULT_B (512 * MIB)

enum vm_accel { VM_ACCEL_AUTO, VM_ACCEL_KVM, VM_ACCEL_TCG };

#define VM_DISKS_MAX 32	     /* of a machine, those told of by vm_get() */
#define VM_DISK_NAME_MAX 64  /* letters, digits, '.', '_' and '-' */
#define VM_SPARE_MAX 16
#define VM_MEMORY_SLOTS 8    /* modules that can be plugged in, with max_memory_b */

/* One vhost-user-blk device of the guest. */
struct vm_disk {
	const char *name;    /* by which it is told of and detached; NULL: neither */
	const char *socket;  /* of the controller, absolute */
	unsigned queues;     /* 1..queues that the controller offers */
	bool packed;         /* offer the guest packed rings */
	const char *options; /* further QEMU device properties "a=b,c=d", or NULL */
};

/* What a storage function's machine has for posternd: a virtio-serial port, by its name, whose
 * other end is @socket, and an NVDIMM that is @memory. */
struct vm_function {
	const char *port, *socket, *memory; /* the latter two: paths */
	uint64_t memory_b;
};

/* A raw file that the guest has as a disk of QEMU's own; its serial is VM_FILE_SERIAL and its
 * number, the first one's is VM_FILE_FIRST. Others that open it as one of these may have it,
 * too. */
struct vm_file {
	const char *path;
	bool readonly;
};

#define VM_FILE_SERIAL "postern-"
#define VM_FILE_FIRST 4

/* What a guest consists of. Nothing is kept after the call. */
struct vm_config {
	const char *name;
	const char *state_dir;    /* NULL: vm_state_dir() */
	const char *qemu;         /* program; NULL: qemu-system-x86_64 in PATH */
	unsigned cpus;            /* 0: 1 */
	uint64_t memory_b;        /* 0: 512 MiB; whole MiB, with hugepages whole 2 MiB */
	uint64_t max_memory_b;    /* what memory may grow to while it runs; 0: it stays */
	unsigned spare;           /* disks that can be attached later, 0..VM_SPARE_MAX */
	bool hugepages;           /* memory of 2 MiB pages, all taken at the start */
	enum vm_accel accel;      /* AUTO: KVM if vm_probe_kvm() says that it runs */
	const char *kernel;       /* with initrd and append, or NULL: boot from a disk */
	const char *initrd;
	const char *append;       /* after "console=ttyS0" */
	unsigned poll_queues;     /* guest queues that it polls (needs a kernel), 0..queues-1 */
	const char *image;        /* a disk image to boot from (*.qcow2 is qcow2, all else raw) */
	bool snapshot;            /* what the guest writes to it is thrown away at the end */
	const struct vm_file *files;
	size_t nfiles;
	bool network;             /* user-mode network behind the host's */
	const struct vm_disk *disks;
	size_t ndisks;
	const struct vm_function *function; /* it is that of a storage function; or NULL */
	const unsigned *cores;    /* vCPU i runs on cores[i] alone; NULL: anywhere */
	size_t ncores;            /* 0 or cpus */
	const char *const *extra; /* more QEMU arguments, or NULL */
	size_t nextra;
	/* for vm_hold(): QEMU stays in the foreground, may start nothing and gain no privilege, and
	 * a guest that starts anew ends it */
	bool held;
	int events_fd; /* with held, and unless 0: where QEMU finds a control socket that is open */
};

/* Why a call failed: the field of vm_config at fault (or NULL) and a sentence. */
struct vm_error {
	const char *param;
	char text[400];
};

/* A named disk of a running machine. */
struct vm_attached {
	char name[VM_DISK_NAME_MAX + 1];
	bool hot; /* it was attached while the machine ran, and can be detached */
	bool leaving; /* its guest has been told to let go of it, and has not yet */
};

/* What vm_list() and vm_get() tell. */
struct vm_info {
	char name[VM_NAME_MAX + 1];
	pid_t pid;      /* of QEMU; 0: it has ended (and its directory goes with vm_stop) */
	char state[24]; /* QEMU's word: "running", "paused", ...; "ended"; "no answer" */
	char accel[8];  /* "kvm" or "tcg" */
	unsigned cpus;
	uint64_t memory_b;
	uint64_t started_s; /* seconds since the epoch */
	unsigned ndisk, spare, spare_free; /* disks; places for more, and of them empty ones */
	struct vm_attached disk[VM_DISKS_MAX]; /* as QEMU has them now, by name */
};

/* Where machines live: $XDG_RUNTIME_DIR/postern/vm, /run/postern/vm for root, otherwise
 * /tmp/postern-UID/vm. Return: 0; -ENAMETOOLONG. */
int vm_state_dir(char *ret_path, size_t size);

/* Whether KVM runs guest kernels at a useful speed: /dev/kvm may open and still only emulate.
 * Takes at most a fifth of a second. Return: 0; -EACCES (with the line that opens it in @err);
 * -ENOENT; -ENOTSUP when it does not run them; in each case a reason in @err. */
int vm_probe_kvm(struct vm_error *err);

/* Whether io_uring is allowed here, for this process and a QEMU that it starts. */
bool vm_io_uring_works(void);

/* Starts a guest and returns when QEMU has set up its devices; the guest boots meanwhile and
 * outlives the caller. *ret_info may be NULL.
 * Return: 0 (with AUTO and without KVM @err's text says why, otherwise it is as it was); -EINVAL
 * (@err names the field); -EEXIST when the name runs already; -EIO when QEMU refused (@err has its
 * words); other -errno. Nothing is left behind on failure. */
int vm_start(const struct vm_config *cfg, struct vm_info *ret_info, struct vm_error *err);

/* Who holds a machine, and what it is told, if it wants to know (NULL: it does not). */
struct vm_holder {
	/* A byte there asks for the end (VM_WISH_END, for which the guest gets grace_ms;
	 * VM_WISH_KILL: at once) or for another call of up (VM_WISH_TELL). -1: nobody wishes. */
	int wish_fd;
	unsigned grace_ms;
	void (*up)(void *arg, const struct vm_info *info); /* QEMU has set up its devices */
	/* The guest has closed the port of vm_function, as it does when its program ends. It may
	 * have opened it again by now. */
	void (*left)(void *arg);
	void *arg;
};

/* As vm_start(), but QEMU is a child of the caller, ends with it, and this returns when it has
 * ended: that of the same name which is just ending is waited for, and at the end the directory is
 * removed; unless the end was asked for with VM_WISH_END, but for what its guest said.
 * Return: 0 when it was asked to end; -ECHILD when it ended by itself (@err has its words); as
 * vm_start(). */
int vm_hold(const struct vm_config *cfg, const struct vm_holder *holder, struct vm_error *err);

#define VM_WISH_TELL 't'
#define VM_WISH_END 'e'
#define VM_WISH_KILL 'k'

/* All machines under @state_dir (NULL: vm_state_dir()), by name. Ownership: caller frees *ret.
 * Return: how many; -errno. */
ssize_t vm_list(const char *state_dir, struct vm_info **ret);

/* Return: 0; -ENOENT. */
int vm_get(const char *state_dir, const char *name, struct vm_info *ret_info);

/* Ends a guest and removes its directory: asks it to power down and waits @grace_ms, then (at
 * once with 0) makes QEMU quit, at last kills it. Return: 0, also when it had ended; -ENOENT. */
int vm_stop(const char *state_dir, const char *name, unsigned grace_ms, struct vm_error *err);

/* Gives @disk, which has a name, to the running machine @name. Idempotent; one at a time for each
 * machine. Return: 0, also if it has it; -EBUSY when it has it and is letting go of it; -ENOENT;
 * -ENOSPC when no spare place is free; -EREMOTEIO when QEMU cannot have it (@err has its words; who
 * else has it is the caller's to find out); -errno. */
int vm_attach(const char *state_dir, const char *name, const struct vm_disk *disk,
	      struct vm_error *err);

/* Takes disk @disk from the running machine @name, if its guest lets go of it within @wait_ms. With
 * @reset a guest that does not is reset, which takes the disk from it and all else as a power cut
 * would. Idempotent. Return: 0, also if it does not have it; -ENOENT: no such machine; -EBUSY when
 * the guest does not let go (the wish stays: it may still); -ENOTSUP when the disk was there at the
 * start; -errno. */
int vm_detach(const char *state_dir, const char *name, const char *disk, unsigned wait_ms,
	      bool reset, struct vm_error *err);

/* Joins the guest's serial console on @in_fd and @out_fd until Ctrl-], the end of input or of the
 * guest; a terminal is raw meanwhile. Return: 0; -ENOENT; -EBUSY when another has it; -errno. */
int vm_console(const char *state_dir, const char *name, int in_fd, int out_fd);

/* Writes the QEMU command line that vm_start() would run, a NULL-terminated array.
 * Ownership: vm_argv_free(). Return: 0; -EINVAL; -ENAMETOOLONG. */
int vm_argv(const struct vm_config *cfg, char ***ret_argv, struct vm_error *err);
void vm_argv_free(char **argv);
