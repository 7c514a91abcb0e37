/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk: what a guest sees. A name, a size, an identity, a chain of functions and
 * one medium. Each poller that owns one of its queues has a lane of it (core/lane.h).
 * Requests come in by disk_submit(), which judges them; what passes goes down the
 * chain.
 *
 * Opened, changed and closed by control; fronts take and give back lanes from their
 * own threads. The disk's lock covers the list of lanes and what control changes, and
 * is never taken on the I/O path.
 */
#pragma once

#include "core/front.h"
#include "core/lane.h"

#define DISK_NAME_MAX 64
#define DISK_SERIAL_MAX 20 /* VIRTIO_BLK_ID_BYTES */
#define DISK_BLK_MIN_B 512u
#define DISK_BLK_MAX_B 4096u

struct disk;

/* What is done about requests that a medium does not end, or ends with an error. */
struct disk_care {
	uint64_t timeout_ns; /* a request older than this is overdue; 0: none ever is */
	bool expires;	     /* it ends with an error, see core/guard.h; otherwise it waits */
	bool stops;	     /* a failed change stops the disk, and its guest is not told */
};

struct disk_conf {
	const char *name;
	const char *serial; /* at most DISK_SERIAL_MAX; NULL: the name, cut */
	struct media *media;
	struct function *const *function;
	unsigned nfunction;
	uint64_t size_b; /* 0: the medium's, which must then have one */
	uint32_t blk_b;	 /* 0: the medium's */
	bool readonly;
	enum poll_mode mode;
	struct function *gate; /* ahead of the chain, with an operation of that name; NULL: none */
	struct disk_care care;
	/* disk_stats() has something new for people: called on a poller's thread, does not wait.
	 * NULL is fine. */
	void (*news)(void *arg);
	void *news_arg;
};

/* Copied out of a disk at one moment. */
struct disk_stats {
	struct lane_stats lanes; /* all lanes together */
	uint64_t inflight;	 /* requests; those that are held on purpose too */
	uint64_t waiting;	 /* of them, held by a limit or because the disk has stopped */
	uint64_t orphans;	 /* answered with an error, but the medium has not ended them */
	uint64_t oldest_ns;	 /* age of the oldest that is not held, orphans among them */
	int oldest_step;	 /* the function of the chain that has it; -1: none */
	uint64_t failed;	 /* changes that the stopped disk keeps */
	enum req_status why;	 /* of one of those */
	unsigned nlane;
	bool stopped;		 /* a lane takes nothing */
	/* a lane has requests past their deadline, or has had to end some */
	bool overdue;
};

/* A request in flight, for people. */
enum disk_place {
	DISK_AT_LIMIT,	/* held by the gate or another limit */
	DISK_AT_DOOR,	/* waits for a buffer, or for an orphan to end */
	DISK_AT_STEP,	/* a function has it */
	DISK_AT_MEDIUM,
	DISK_GIVEN_UP,	/* an orphan in the medium */
	DISK_FAILED,	/* kept by the stopped disk */
};
struct disk_request {
	uint64_t off_b, len_b, age_ns;
	const char *poller;
	const char *step; /* the function's kind, at DISK_AT_STEP */
	unsigned queue;
	enum req_op op;
	enum disk_place place;
};

/* Why a disk could not be opened or changed; static text in *ret_why, naming what is allowed. */
enum disk_param { DISK_PARAM_NONE, DISK_PARAM_SIZE, DISK_PARAM_BLK_SIZE, DISK_PARAM_SERIAL };
struct disk_error {
	enum disk_param param;
	const char *why;
};

/* Opens a disk on @c. Ownership: on success medium, functions and gate are the disk's, which closes
 * them; on failure they stay the caller's. Context: control thread.
 * Return: 0; -EINVAL with *ret_error; -ENOMEM. */
int disk_open(const struct disk_conf *c, struct disk **ret_disk, struct disk_error *ret_error);
/* No front is left. Context: control thread; waits until the lanes are quiet. NULL is fine. */
void disk_close(struct disk *d);

/* Any thread; these never change. */
const char *disk_name(const struct disk *d);
const char *disk_serial(const struct disk *d); /* padded with zeros to DISK_SERIAL_MAX + 1 */
uint32_t disk_blk_b(const struct disk *d);
bool disk_readonly(const struct disk *d);
struct media *disk_media(const struct disk *d);
/* What the chain's first step sees of all to its right. */
const struct media_caps *disk_caps(const struct disk *d);

/* Any thread; the size may change between two calls. */
uint64_t disk_size_b(const struct disk *d);
enum poll_mode disk_mode(const struct disk *d);

/* The medium has been brought to @size_b. Reaches every lane, then the fronts, which tell their
 * guests. Context: control thread. Return: 0; -EINVAL with *ret_error. */
int disk_resize(struct disk *d, uint64_t size_b, struct disk_error *ret_error);
/* It goes for good: its functions wait no more for what may never come back. Context: control
 * thread. */
void disk_give_up(struct disk *d);
/* Context: control thread. */
void disk_set_mode(struct disk *d, enum poll_mode mode);
/* Context: control thread. Return: 0; -ENOMEM: all is as it was. */
int disk_set_care(struct disk *d, const struct disk_care *c);
/* Gives the disk the chain of @function, at most CHAIN_MAX, of which some may be in the one that it
 * has. Requests wait meanwhile, at most two seconds; so does who takes or gives back a lane. Guests
 * keep what they have been told of the disk. Ownership: on success those that are in no chain any
 * more are closed, and the others are the disk's; on failure nothing has changed. Context: control
 * thread. Return: 0; -EBUSY: what is in flight does not end; -EINVAL with *ret_error; what a
 * function says when it is opened. */
int disk_set_chain(struct disk *d, struct function *const *function, unsigned n,
		   struct disk_error *ret_error);
/* A disk that has stopped in one lane stops in all; and goes on: what has failed is done again.
 * Context: control thread; waits for a turn of each poller. */
void disk_halt(struct disk *d);
void disk_go_on(struct disk *d);
/* Asks the pollers; waits for a turn of each. Context: control thread. */
void disk_stats(struct disk *d, struct disk_stats *ret_stats);

/* Copies out what is in flight, at most @max. A medium whose requests have all ended when it was
 * given them has none. Context: control thread; waits for a turn of each poller. Return: how many
 * there are, perhaps more than @max. */
unsigned disk_requests(struct disk *d, struct disk_request *ret_reqs, unsigned max);

/* A front announces itself, and goes. Context: control thread. */
void disk_add_front(struct disk *d, struct front *f);
void disk_del_front(struct disk *d, struct front *f);
/* Calls @fn for each front. Context: control thread. */
void disk_each_front(struct disk *d, void (*fn)(struct front *f, void *arg), void *arg);

/* The disk's lane on @p, made at the first call; one disk_lane_put() for each. Context: any
 * thread but a poller's; waits for a turn of @p. Return: 0; -ENOMEM; what the medium says. */
int disk_lane_get(struct disk *d, struct poller *p, struct lane **ret_lane);
void disk_lane_put(struct disk *d, struct lane *l);

/* Whether disk_lane_put(), by the last of its users, would not wait for the medium: of what was
 * given up nothing is left there. Context: as disk_lane_put(); the user has nothing in flight. */
bool disk_lane_may_go(struct disk *d, struct lane *l);

/* Judges @n requests of one owner, at most POLLER_BATCH, and sends on those that are good; the
 * others complete with why not. The array is used up. Context: the lane's poller. */
void disk_submit(struct lane *l, struct req **reqs, unsigned n);
