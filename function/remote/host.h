/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A host: one program that serves storage functions, under a name that the user chose;
 * started, watched, restarted and replaced. Lanes of any number of disks are given to it.
 * Control thread, on its loop, but for what lanes call. The lock covers the lists of
 * lanes and their channels, and is never taken on the I/O path.
 */
#pragma once

#include <sys/types.h>

#include "base/hist.h"
#include "base/loop.h"
#include "function/remote/remote.h"

struct remote;
struct remote_lane;
struct region;

#define FUNCTION_NAME_MAX 48
#define HOST_WHY_MAX 160

/* A program that runs. */
struct host_process {
	pid_t pid;
	int sock;  /* our end of its FN_SOCKET */
	int pidfd; /* readable when it has ended; -1: its socket says so */
	uint32_t sandbox; /* as the starter says, for show */
	/* It is in a machine, whose memory this is: its socket is a stream, pid QEMU's, and it ends
	 * only for posternd. */
	const struct region *region;
};

/* Who starts programs. A spec is the starter's own; @free lets go of it. */
struct host_starter {
	/* May block for milliseconds. Return: 0; -EAGAIN: not yet, host_retry() will say when; -errno
	 * with @why, of HOST_WHY_MAX bytes, filled. */
	int (*start)(const char *name, void *spec, struct host_process *ret, char *why);
	void (*kill)(const struct host_process *p);
	void (*free)(void *spec);
	/* The program of @spec is not to be the host's any more: the one before it is, again. */
	void (*rolled_back)(const char *name, void *spec, void *spec_before);
};

enum host_state { HOST_DOWN, HOST_STARTING, HOST_UP };

struct host_info {
	enum host_state state;
	const char *why; /* it is down, or went down last; or NULL. The host's text */
	struct host_process process; /* pid 0: none */
	const char *program, *version; /* as it says itself */
	unsigned abi;
	uint32_t down, up, with_data;
	bool own_io, probation;
	unsigned lanes, restarts, rollbacks;
	struct remote_stats stats; /* of all lanes there are and were */
};

/* @stall_ns: a program that has requests and answers none for this long is lost; 0: never.
 * Return: NULL without memory. */
struct host *host_new(const char *name, struct loop *loop, const struct host_starter *starter,
		      uint64_t stall_ns);
/* Ends its program. No disk uses it. */
void host_free(struct host *h);

/* Starts a program from @spec, and waits until it has been checked, at most two seconds. On success
 * the spec is the host's. Return: 0; -errno with @why, of HOST_WHY_MAX bytes. */
int host_start(struct host *h, void *spec, char *why);
/* Takes one that runs already, since before a restart of ours; otherwise as host_start(). */
int host_adopt(struct host *h, void *spec, const struct host_process *process, char *why);
/* Does not wait: starts it when it can, and again. The spec is the host's. */
void host_start_later(struct host *h, void *spec);
/* What there was to wait for has come. */
void host_retry(struct host *h);
/* Its program, which is in a machine, speaks of channel @id. FN_DISK_READY: it has mapped it, so all that
 * it had in the same place before is over; FN_KICK: its poller, which sleeps, is to look. Control thread. */
void host_channel_says(struct host *h, uint32_t id, enum fn_msg_kind kind);
/* As host_start(), beside the one there is, which it replaces between two requests. If it ends or
 * breaks the rules within @probation_ns, the old one comes back. */
int host_replace(struct host *h, void *spec, uint64_t probation_ns, char *why);

const char *host_name(const struct host *h);
void host_info(struct host *h, struct host_info *ret_info);
void *host_spec(struct host *h);

/* For remotes and their lanes; any thread but a poller's. */
uint32_t host_takes(struct host *h); /* requests on their way down, as 1 << op */
/* The lane gets the program, if there is one; perhaps before this returns. */
void host_add_lane(struct host *h, struct remote_lane *l);
void host_del_lane(struct host *h, struct remote_lane *l);
/* It is about to be freed: what it counted is kept. */
void host_forget_lane(struct host *h, struct remote_lane *l);
/* Runs @fn for each lane of @f. */
void host_each_lane(struct host *h, const struct remote *f, void (*fn)(struct remote_lane *l));
