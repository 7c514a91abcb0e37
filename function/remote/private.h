/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the remote function share, and its tests; nobody else includes it. */
#pragma once

#include <pthread.h>

#include "base/hist.h"
#include "core/lane.h"
#include "function/remote/buffers.h"
#include "function/remote/remote.h"
#include "function/remote/ring.h"

/* Where a slot is. One that has a buffer attached keeps it from down() to the end of up(). */
enum slot_place {
	SLOT_FREE,
	SLOT_BELOW,  /* its request is further down the chain */
	SLOT_QUEUED, /* to be sent when there is a program */
	SLOT_SENT,   /* the program has it */
	SLOT_EVENT,  /* the program has a copy of an observed request, which has gone on */
};

struct slot {
	struct seg seg; /* the request's, instead of its own, while attached */
	struct req *r;
	struct seg *was_seg; /* NULL: no buffer is attached */
	uint64_t was_off_b, was_len_b, done_b;
	uint64_t sent_ticks;
	struct list order; /* SENT and QUEUED, oldest first */
	struct bounce *bounce; /* that the request had; or NULL */
	uint16_t was_nseg;
	uint16_t nio;  /* of the program's own I/O in this buffer */
	uint8_t place; /* enum slot_place */
	bool up;
	bool seen; /* by a program that was lost: its data may be half changed */
	bool warm; /* its buffer has been used: there are pages behind it */
	uint8_t unused[24];
};

static_assert(sizeof(struct slot) == 128, "a shift finds one by its segment");

/* What down() and up() do with a request. */
enum door { DOOR_OPEN, DOOR_HOLD, DOOR_BYPASS, DOOR_ERROR };

struct own_io {
	uint64_t arg;
	uint16_t slot;
	uint16_t next_free;
	bool orphan; /* the program that asked for it is not there any more */
	bool in_flight, awaited; /* awaited: counted in nawaited */
};

/* What a program needs to serve a lane, made by control. */
struct channel {
	struct fn_rings *rings;
	int kick_fd; /* a message there wakes it; -1: it never sleeps */
	uint32_t down, up, with_data;
	bool own_io;
	bool is_shared; /* the rings are in the buffers' region */
	bool is_given;	/* of those: the lane has it */
	uint32_t id;	/* among those of its program */
	struct buffers *buffers; /* the lane's */
};

/* Lanes that change their program together: none starts with the new one before all have ended
 * with the old one. */
struct handover {
	unsigned lanes;	 /* that are not yet drained; release by each, acquire */
	unsigned joined; /* that have the new program; release, acquire */
	const char *fault; /* of the program before, in the meantime; ordered by joined */
};

/* Written by the poller, read by anyone; relaxed. */
struct remote_lane_stats {
	uint64_t requests, dropped, own_io, replayed, bypassed, failed;
	/* of the last replacement: from the old program's last answer to the new one's first */
	uint64_t pause_ticks;
	struct hist wait;     /* ticks, from sent to answered */
};

struct remote {
	struct function function;
	struct host *host;
	enum fn_mode mode;
	int on_fail; /* enum remote_fail; relaxed atomic, written by control */
	struct remote_lane_stats past; /* of lanes that are gone; under the host's lock */
	unsigned *users;
};

struct remote_lane {
	/* To the poller the program is what a medium is: something to poll while requests are in
	 * flight, with a descriptor to sleep on. */
	struct media_lane source;
	struct lane *lane;
	struct remote *remote;
	struct ring ring;
	uint8_t *bufs; /* FN_ALL_SLOTS of FN_BUF_B; release by the poller, acquire */
	uint8_t step;  /* its place in the chain */
	uint8_t mode;  /* enum fn_mode */
	uint8_t door;  /* enum door */
	uint8_t down, up, with_data;
	/* of the requests on their way down, those that get a slot, or wait for one */
	uint8_t takes;
	bool timer_on, serving_waiting;
	bool own_io_token; /* counted in source.inflight: it must be polled though it has nothing */
	uint16_t nfree;
	uint16_t io_free, nio;
	unsigned nsent;
	struct list order;   /* slots */
	struct list waiting; /* requests that wait for a slot, through hold; both directions */
	/* from when on the oldest that it has has been the oldest; later by the time in which we
	 * did not run either */
	uint64_t front_ticks;
	uint64_t stall_ticks;	 /* a program that keeps that for so long is lost; 0: never */
	/* since when a machine's program is to take the lane; 0: it is not */
	uint64_t offered_ticks;
	uint64_t look_ticks; /* how often the timer looks while it has something; 0: never */
	/* One that has kept it for so long while I/O of its own was in flight, and how often; of
	 * that I/O the last time, what still is. */
	const struct slot *late;
	uint64_t late_sent_ticks;
	uint16_t excuses, nawaited;
	/* What the program is told, and what its own I/O may reach; relaxed atomics, written by the
	 * poller. */
	uint64_t size_b, below_b;
	int kick_fd, wake_fd;
	uint16_t free[FN_SLOTS];
	struct slot slot[FN_SLOTS];
	struct own_io io[FN_IO_MAX];
	struct req_owner io_owner;
	struct remote_lane_stats stats;

	/* cold */
	const struct channel *pending; /* the next one, for when nothing is in the way */
	struct handover *handover; /* under way */
	uint64_t paused_ticks;
	uint64_t looked_ticks; /* when the timer did so last, or began to */
	bool drained;
	bool has_machine; /* the program that it has, or had last, is in one */
	bool pausing; /* a replacement is under way, or the next program has not yet answered */
	const char *fault;	/* static text; release, for control */
	void (*tell)(void *arg); /* control, of a fault or an end of handover; does not wait */
	void *tell_arg;
	struct list link; /* in the host's list */
	struct channel *channel, *next_channel; /* the host's, under its lock */
	struct list buffers; /* the same, for those now and those of other channels */
};

/* remote.c: the poller's thread. */
extern const struct function_ops remote_ops;
extern const struct media_ops remote_source_ops;

/* Gives the request of @s the slot's buffer, with what it writes. */
void remote_attach(struct remote_lane *l, struct slot *s);
/* As remote_attach(), of a request on its way up that has no buffer: it was read for a program that
 * did not want to see that, or for none, and its data follows if the one there is does. */
void remote_attach_read(struct remote_lane *l, struct slot *s);
/* Gives it its own segments back, and all that it asks for. */
void remote_detach(struct slot *s);
/* Sends @s to the program that there is. */
void remote_send(struct remote_lane *l, struct slot *s, bool up);
/* Starts the present piece of @s on its way down. */
void remote_start(struct remote_lane *l, struct slot *s);
/* The piece of @s has ended, on its way up. Return: true: so has its request, which has no slot any
 * more; false: the next piece has been started. */
bool remote_finish(struct remote_lane *l, struct slot *s);
/* Lets those that wait for a slot have one, as far as there are any. */
void remote_serve_waiting(struct remote_lane *l);
void remote_free_slot(struct remote_lane *l, struct slot *s);
/* Copies what the guest writes into the buffer of @s. */
void remote_fill(struct remote_lane *l, const struct slot *s);
/* Wakes the program, which sleeps; never blocks. */
void remote_kick(struct remote_lane *l);
/* We do not sleep any more. */
void remote_awake(struct remote_lane *l);
/* Makes the poller look at the ring, and at whether the program sleeps, this turn or the next. */
void remote_look(struct remote_lane *l);

/* own.c: the poller's thread. */

/* The program asks for I/O of its own. Return: NULL; what is wrong with it. */
const char *own_io_take(struct remote_lane *l, struct fn_word w, const struct fn_entry *e);
/* The program is waited for until all that is in flight has ended, and from then on has its
 * time. */
void own_io_await(struct remote_lane *l);
/* Such a request is back at our step. */
void own_io_done(struct remote_lane *l, struct req *r);

/* lane.c: control thread, or a front's */

void remote_close(struct function *f);
void remote_adjust(const struct function *f, struct media_caps *caps);
int remote_lane_open(struct function *f, struct lane *lane, void **ret_state);
void remote_lane_start(void *state, unsigned step);
void remote_lane_stop(void *state);
void remote_lane_close(void *state);
bool remote_lane_is_quiet(const void *state); /* the poller's thread */
uint64_t remote_timer(void *state, uint64_t now_ns);
void remote_resized(struct function *f); /* lanes.c */
void remote_give_up(struct function *f);
/* A program that keeps the oldest request that it has for so long is lost; 0: never. Before the
 * lane has one. */
void remote_set_stall(struct remote_lane *l, uint64_t stall_ns);

/* The rest: the poller's thread. */

/* While it is pausing, at each answer. */
void remote_note_pause(struct remote_lane *l);

/* Sees how far the program's own I/O may reach. */
void remote_measure(struct remote_lane *l);
/* The program is gone, or has done what none may: what it had is dealt with as on_fail says. */
void remote_lose(struct remote_lane *l, const char *fault);
/* Control takes the program away, and one that was to come. */
void remote_disconnect(struct remote_lane *l);
/* A program is asked whether it can have the lane; remote_gain() follows. */
void remote_offered(struct remote_lane *l);
/* There is a program for a lane that has none: as soon as nothing of the last one's is in flight it
 * gets what was held, in order. @c stays valid until it is lost. */
void remote_gain(struct remote_lane *l, const struct channel *c);
/* Nothing more goes to the program, and when all lanes of @h are drained @c takes over. */
void remote_hand_over(struct remote_lane *l, struct handover *h, const struct channel *c);
/* Nobody but the program that there is has what wakes us, any more. */
void remote_settle(struct remote_lane *l);
/* The request of @s goes down, from its beginning, without the program and without its buffer: a
 * program that hangs may go on writing there. */
void remote_go_around(struct remote_lane *l, struct slot *s);
/* Ends the change of program that is under way, if nothing is in its way any more. */
void remote_proceed(struct remote_lane *l);
/* Opens or closes the door by what there is and by the policy, which may have changed. */
void remote_judge_door(struct remote_lane *l);
