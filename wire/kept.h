/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kept page of a vhost-user connection: what a successor of this process, perhaps
 * a newer or an older program, needs to go on with it. A sealed memfd of exactly
 * KEPT_PAGE_B bytes in the byte order of the machine, on which it never leaves.
 *
 * Descriptors are kept beside it and named by slot, 1 to KEPT_SLOTS - 1; slot 0 is none. A slot
 * is marked in use before a descriptor is put there and until it has been dropped, so that what
 * is marked, and not spoken of, is what a process that died in between has left behind.
 *
 * What the connection is (struct kept_state) is written into the copy that is not current, and
 * made current by one store. The message at hand has its place beside the copies:
 *
 *   KEPT_IDLE	   nothing of the next message has been taken out of the socket
 *   KEPT_TAKEN	   it is all here, with its descriptors. How many of its bytes are still in the
 *		   socket is what SO_PEEK_OFF of the socket says. It is to be handled until a state
 *		   with its number in handled is current, whose reply, if any, is then in out.
 *   KEPT_REPLYING the reply is in the pipe, or has gone from there into the socket
 *   KEPT_SENDING  the reply, with a descriptor, was sent or not, which only the socket may tell
 *
 * A change of this layout is a new version; what reads an older one stays.
 */
#pragma once

#include "wire/vhost_user.h"

#define KEPT_MAGIC 0x656e727473747370ull
#define KEPT_VERSION 1u
#define KEPT_QUEUES 64u
#define KEPT_REGIONS 509u
#define KEPT_SLOTS 1024u

enum kept_step { KEPT_IDLE, KEPT_TAKEN, KEPT_REPLYING, KEPT_SENDING };

/* What became of a queue whose requests are being done again, kept_page.replay. */
enum kept_replay {
	KEPT_REPLAY_NONE,   /* nothing is, or all of it has ended */
	KEPT_REPLAY_AMONG,  /* together with other queues */
	KEPT_REPLAY_ALONE,  /* it alone, after a process had died among others */
	KEPT_REPLAY_BARRED, /* no more: it alone has ended a process */
};

#define KEPT_QUEUE_HAS_AT 0x1u
#define KEPT_QUEUE_HAS_KICK 0x2u
#define KEPT_QUEUE_ENABLED 0x4u
#define KEPT_QUEUE_LOG 0x8u /* the used ring's writes are logged at log_gpa */
#define KEPT_QUEUE_FLAGS 0xfu

struct kept_queue {
	uint64_t desc, avail, used; /* user addresses, as in SET_VRING_ADDR */
	uint64_t log_gpa;
	uint32_t base;
	uint16_t size; /* 0: not told */
	uint16_t flags;
	uint16_t kick, call, err; /* slots */
	uint16_t own; /* slot of an in-flight region of our own; 0: the front end's, or none */
};
static_assert(sizeof(struct kept_queue) == 48, "kept page, version 1");

struct kept_region {
	uint64_t guest_addr, size_b, user_addr, mmap_off_b;
	uint16_t slot;
	uint16_t reserved[3];
};
static_assert(sizeof(struct kept_region) == 40, "kept page, version 1");

#define KEPT_WRITEBACK 0x1u
#define KEPT_RESIZE_PENDING 0x2u
#define KEPT_TRACK_PACKED 0x4u
#define KEPT_FLAGS 0x7u

struct kept_state {
	uint64_t features, protocol;
	uint64_t size_b;   /* of the disk, as the front end was told last */
	uint64_t since_ns; /* CLOCK_MONOTONIC, of the connection */
	uint32_t handled;  /* number of the last message that has had its effect */
	uint32_t flags;
	uint32_t peer_pid;
	uint16_t nregion;
	uint16_t backend; /* slot of SET_BACKEND_REQ_FD */
	uint64_t log_off_b, log_size_b; /* SET_LOG_BASE */
	uint64_t track_off_b, track_len_b; /* SET_INFLIGHT_FD */
	uint16_t track_queues, track_size;
	uint16_t log, track; /* slots */
	struct kept_queue queue[KEPT_QUEUES];
	struct kept_region region[KEPT_REGIONS];
};
static_assert(offsetof(struct kept_state, queue) == 88, "kept page, version 1");
static_assert(sizeof(struct kept_state) == 88 + 64 * 48 + 509 * 40, "kept page, version 1");

struct kept_message {
	uint32_t step;	 /* enum kept_step */
	uint32_t number; /* counts messages, from 1 */
	uint16_t replies;
	uint16_t nfd;
	uint16_t slot[VHOST_USER_FDS_MAX];
	uint32_t reserved;
	struct vhost_user_msg in, out;
};
static_assert(sizeof(struct kept_message) == 32 + 2 * 280, "kept page, version 1");

struct kept_page {
	uint64_t magic;
	uint32_t version;
	uint32_t current; /* of copy[] */
	uint32_t crashed; /* the process ended by a fault of its own; 0: it was killed */
	/* Messages about the size that are not answered; each gets one, and the last says that it
	 * is known. 0 in pages of programs that did not count them. */
	uint32_t resize_asked;
	uint64_t slots[KEPT_SLOTS / 64];
	uint32_t replay[KEPT_QUEUES]; /* enum kept_replay */
	struct kept_message msg;
	struct kept_state copy[2];
};
static_assert(offsetof(struct kept_page, msg) == 408, "kept page, version 1");
static_assert(offsetof(struct kept_page, copy) == 1000, "kept page, version 1");
#define KEPT_PAGE_B (1000u + 2 * sizeof(struct kept_state))
static_assert(sizeof(struct kept_page) == KEPT_PAGE_B, "kept page, version 1");
