/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A measuring guest (vm/gauge) with every disk that a comparison needs, and the line that it takes
 * loads on. One thread; every function may block.
 */
#pragma once

#include "compare/compare.h"
#include "compare/host.h"
#include "vm/qmp.h"

#define MACHINE_WHY 240

/* What hangs on the machine. An empty text: not there. */
struct machine_conf {
	const char *name;
	bool placed;
	const char *accel; /* "auto", "kvm", "tcg" */
	const char *gauge; /* the guest's ELF file */
	char postern[96], qsd[96]; /* sockets of vhost-user disks */
	char backing[400]; /* QEMU's own disks: the options of -blockdev, without its name */
	bool own[3]; /* which of QEMU's own disks: default, iothread, poll */
};

struct machine {
	struct host_pids qemu;
	struct qmp *qmp;
	int line; /* of the guest's serial port */
	bool kvm, placed;
	int pci[16]; /* slot of each of the guest's disks, in its order; 0: none */
	char name[16], state_dir[64];
	char why_slow[MACHINE_WHY]; /* emulation: why */
	unsigned asked; /* loads so far; the id of the last one */
	size_t have_b;
	char in[64 * 1024];
};

/* Starts one, on KVM if that runs it, and waits until it is ready. Ownership: machine_free();
 * its processes end with the guard's. Return: NULL with @why. */
struct machine *machine_start(struct host *h, const struct machine_conf *conf, char *why);
void machine_free(struct machine *m);

/* Runs @load on the disk that @path uses; @others: processes that take part beside QEMU, whose time
 * is counted. Return: 0; -EREMOTEIO (the guest refused or got stuck, @why says how); -ETIMEDOUT;
 * -EPIPE. */
int machine_run(struct machine *m, const struct compare_path *path, const struct client_load *load,
		const struct host_pids *others, struct compare_sample *ret, char *why);

/* The place of @path's disk among the guest's. Return: -1: it has none. */
int machine_disk(const struct machine *m, const struct compare_path *path);

/* Halts or goes on with all of QEMU: a guest with cpu-pm keeps its CPU busy even when it sleeps. */
void machine_freeze(struct machine *m, bool freeze);

/* A line of the guest's into a sample. Return: 0; -EREMOTEIO with @why; -EPROTO. */
int machine_read_result(const char *line, struct compare_sample *ret, char *why);
/* The list of disks in a "ready" line into pci slots. Return: how many; -EPROTO. */
int machine_read_ready(const char *line, int *ret_pci, unsigned max);
