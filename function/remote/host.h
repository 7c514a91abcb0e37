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
struct program;

#define FUNCTION_NAME_MAX 48
#define HOST_WHY_MAX 160

/* A program that runs. */
struct host_process {
	pid_t pid;
	int sock;  /* our end of its FN_SOCKET */
	int pidfd; /* readable when it, or its machine, has ended; -1: its socket says so */
	uint32_t sandbox; /* as the starter says, for show */
	/* It is in a machine, whose memory this is: its socket is a stream, and pid QEMU's. */
	struct region *region;
	bool is_held; /* and posternd's own: host_machine_ended() says when it has ended, and why */
};

/* Who starts programs. A spec is the starter's own; @free lets go of it, and ends its machine. */
struct host_starter {
	/* May block for milliseconds. Return: 0; -EAGAIN: not yet, host_retry() or
	 * host_not_started() will say more; -errno with @why, of HOST_WHY_MAX bytes, filled. */
	int (*start)(const char *name, void *spec, struct host_process *ret, char *why);
	/* Ends it at once, and its machine, if that is posternd's to end. */
	void (*kill)(void *spec, const struct host_process *p);
	void (*free)(void *spec);
	/* The program of @spec, which has been tried, is to be the host's: notes that down. NULL:
	 * nobody does. Return: 0; -errno with @why. */
	int (*commit)(const char *name, void *spec, char *why);
	/* It is not any more: the one before it is, again. */
	void (*rolled_back)(const char *name, void *spec, void *spec_before);
	/* The memory that its machine shares. NULL, or Return: NULL: it is a process. */
	struct region *(*region)(void *spec);
	/* It has ended. NULL, or Return: false: nobody knows how; true: "was killed by ..." and the
	 * like. */
	bool (*how)(void *spec, const struct host_process *p, char *ret, size_t size);
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
	bool is_bar; /* a machine's memory is that of ivshmem-plain */
	unsigned lanes, restarts, rollbacks, replaced;
	bool is_replacing; /* a next one boots, while this one serves */
	struct remote_stats stats; /* of all lanes there are and were */
};

/* @stall_ns: a program that keeps the oldest request it has for this long is lost; 0: never.
 * Return: NULL without memory. */
struct host *host_new(const char *name, struct loop *loop, const struct host_starter *starter,
		      uint64_t stall_ns);
/* Ends its program. No disk uses it. */
void host_free(struct host *h);

/* Starts a program from @spec, and waits until it has been checked, at most five seconds. On
 * success the spec is the host's. Return: 0; -errno with @why, of HOST_WHY_MAX bytes. */
int host_start(struct host *h, void *spec, char *why);
/* Takes one that runs already, since before a restart of ours; otherwise as host_start(). */
int host_adopt(struct host *h, void *spec, const struct host_process *process, char *why);
/* Does not wait: starts it when it can, and again; checks it the first time, if it is new. The spec
 * is the host's. */
void host_start_later(struct host *h, void *spec, bool is_new);
/* What @spec had to wait for has come. */
void host_retry(struct host *h, void *spec);
/* The machine of @spec has ended, for @why. @had_come: its program could be spoken to before. */
void host_machine_ended(struct host *h, void *spec, bool had_come, const char *why);
/* The program of @spec, which is in a machine, has let go of its port: it has ended. If another has
 * begun by now that is greeted again. */
void host_program_left(struct host *h, void *spec);
/* The machine of @spec is being ended, for @why. */
void host_give_up(struct host *h, void *spec, const char *why);
/* Whether the program of @spec is ready. */
bool host_is_ready(const struct host *h, const void *spec);
/* @p, which is in a machine, speaks of channel @id. FN_DISK_READY: it has mapped it, so all that
 * it had in the same place before is over; FN_KICK: its poller, which sleeps, is to look. Control
 * thread. */
void host_channel_says(struct host *h, const struct program *p, uint32_t id, enum fn_msg_kind kind);
/* As host_start(), beside the one there is, which it replaces between two requests. If it ends or
 * breaks the rules within @probation_ns, the old one comes back. -EINPROGRESS: the spec is the
 * host's, and its machine boots; it replaces the other when it is ready and has been tried, or
 * host_info() says why it has not. -EALREADY: another does that. */
int host_replace(struct host *h, void *spec, uint64_t probation_ns, char *why);

bool host_is_replacing(const struct host *h);
const char *host_name(const struct host *h);
void host_info(struct host *h, struct host_info *ret_info);
void *host_spec(struct host *h);

/* For remotes and their lanes; any thread but a poller's. */

struct buffers;
/* Those that @l needs for what the host runs. Return: as buffers_find(). */
int host_find_buffers(struct host *h, struct remote_lane *l, struct buffers **ret);
uint32_t host_takes(struct host *h); /* requests on their way down, as 1 << op */
/* The lane gets the program, if there is one; perhaps before this returns. */
void host_add_lane(struct host *h, struct remote_lane *l);
void host_del_lane(struct host *h, struct remote_lane *l);
/* It is about to be freed: what it counted is kept. */
void host_forget_lane(struct host *h, struct remote_lane *l);
/* Runs @fn for each lane of @f. */
void host_each_lane(struct host *h, const struct remote *f, void (*fn)(struct remote_lane *l));
