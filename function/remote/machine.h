/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the machine of a function meets posternd: the memory that both share, and a socket to which
 * its QEMU connects, again whenever it has been cut off. A machine that is posternd's is held by a
 * process (vm/hold.c), which is started here, ends QEMU with itself, and outlives the worker as the
 * memory and the connection do; one that somebody brings just comes. Control thread.
 */
#pragma once

#include "core/keep.h"
#include "function/remote/host.h"

struct machine;

/* The process that holds a machine: it says "up PID ACCEL NOTE", "left" (the guest has
 * closed the port, which it may have opened again by now) and "down WHY", a message each. */
struct machine_holder {
	pid_t pid;
	int sock, pidfd;
};

struct machine_ops {
	/* Starts it, for the memory @memory_fd. Return: 0; -errno with @why, of HOST_WHY_MAX
	 * bytes. */
	int (*hold)(void *spec, int memory_fd, struct machine_holder *ret, char *why);
	void (*kill)(pid_t pid);
};

struct machine_conf {
	struct host *host; /* is told when it has come, and when it has ended */
	void *spec;	   /* as which */
	struct loop *loop;
	int listen_fd;		/* becomes the machine's, also on failure */
	struct keep_scope keep; /* what it has of a predecessor's is gone on with */
	const struct machine_ops *ops; /* NULL: somebody brings it */
	uint64_t boot_ns; /* until its program is ready; then it is ended */
	struct machine_holder holder; /* one that runs since before a restart; pid 0: none */
};

/* Return: 0; -errno. */
int machine_open(const struct machine_conf *conf, struct machine **ret);
/* Asks the machine to end, if it is posternd's, and does not wait for that. NULL is fine. @forget:
 * nobody goes on with what is kept. Return: a descriptor, the caller's, that is readable when it
 * has ended; -1: there is nothing to wait for. */
int machine_close(struct machine *m, bool forget);

/* Nobody goes on with what a machine has kept there. */
void machine_forget(const struct keep_scope *keep);

/* As host_starter.start. */
int machine_start(struct machine *m, struct host_process *ret, char *why);
/* Ends it at once, if it is posternd's. */
void machine_kill(struct machine *m);

/* For lanes' memory. */
struct region *machine_region(struct machine *m);
/* What QEMU opens to map the memory. */
void machine_memory(const struct machine *m, char *ret_path, size_t size);
bool machine_is_booting(const struct machine *m);
/* "kvm" or "tcg", and why not the former; "" if that is not known. */
const char *machine_accel(const struct machine *m);
const char *machine_note(const struct machine *m);
