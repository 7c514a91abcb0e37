/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the machine of a function meets posternd: the memory that both share, and a socket to which
 * its QEMU connects, again whenever it has been cut off. Who starts the machine is no matter of ours.
 * Control thread.
 */
#pragma once

#include "core/keep.h"
#include "function/remote/host.h"

struct machine;

/* For @host, which is told when a machine has come. @listen_fd becomes
 * the machine's, closed on failure, too. What @keep has of a predecessor's is gone on with.
 * Return: 0; -errno. */
int machine_open(struct host *host, struct loop *loop, int listen_fd, const struct keep_scope *keep,
		 struct machine **ret);
/* After its host. NULL is fine. @forget: nobody goes on with it. */
void machine_close(struct machine *m, bool forget);

/* As host_starter.start, for which -EAGAIN says all. */
int machine_start(struct machine *m, struct host_process *ret);
/* For lanes' memory. */
struct region *machine_region(struct machine *m);
/* What QEMU opens to map the memory. */
void machine_memory(const struct machine *m, char *ret_path, size_t size);
