/* SPDX-License-Identifier: Apache-2.0 */
/* A program that runs, and its channels. For host.c, lanes.c and program.c. Control thread, except
 * where said; what it says is judged, it is hostile. */
#pragma once

#include "function/remote/host.h"
#include "function/remote/outbox.h"
#include "function/remote/private.h"
#include "wire/function_stream.h"

struct program {
	struct host *host;
	struct host_process process;
	struct outbox out;
	struct loop_watch words, end; /* its socket; its pidfd */
	bool watched;
	bool is_ready, has_ended;
	bool is_reborn; /* another has begun in its place, or will, in the same machine */
	/* the disk of channel refused_id, for this errno; what comes then is not yet read */
	int refused;
	uint32_t refused_id;
	const char *fault; /* it has said what none may; static, or text */
	char text[HOST_WHY_MAX];
	uint32_t hello; /* the number of ours */
	struct fn_msg said; /* READY */
	unsigned asked;	   /* channels offered; relaxed atomic: a front's thread offers some */
	unsigned answered; /* and taken or refused */
	uint32_t next_channel; /* under the host's lock */
	struct fn_stream stream; /* a machine's, as far as it has come */
	uint64_t born_ns;
	void *spec;
};

/* Greets @process, which becomes the program's. Return: NULL without memory. */
struct program *program_new(const struct host_process *process, void *spec);
/* Its channels are closed. The spec is the caller's again. NULL is fine. */
void program_free(struct program *p);

/* Reads what it has said. Return: whether anything that others may wait for has changed. */
bool program_read(struct program *p);
/* Waits until it is ready, or has answered all channels. Return: 0; -errno with @why. */
int program_await_ready(struct program *p, uint64_t until_ns, char *why);
int program_await_channels(struct program *p, uint64_t until_ns, char *why);
/* Waits until it has ended. Return: whether it has. */
bool program_await_end(const struct program *p, uint64_t until_ns);

/* Offers it the lane @l. @takes_over: from another program, which may go on writing where it could:
 * it gets memory that the other does not have. Any thread but a poller's. Return: 0; -errno. */
int program_offer(struct program *p, struct remote_lane *l, uint32_t flags, bool takes_over,
		  struct channel **ret);
/* Says that the disk of the lane @l, which has @c, is of another size. */
void program_resize(struct program *p, const struct remote_lane *l, const struct channel *c);
/* Says that @c is over, unless @p is NULL, and frees it; no lane has it. */
void program_withdraw(struct program *p, struct channel *c);
void program_say(struct program *p, enum fn_msg_kind kind);
