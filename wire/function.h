/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What posternd and a storage function of another process or machine share: rings,
 * buffers, and the messages by which they find each other. All little endian.
 *
 * A channel is one lane of one disk, and two pieces of memory: the rings, made anew
 * for each program that serves the lane, and the buffers, which stay as long as the lane,
 * because requests that a program has passed on still use theirs when the next one
 * takes over.
 *
 * Why no virtqueue: there a request is three cache lines to fetch (index, ring entry,
 * descriptor) before its data, because a driver's buffers lie anywhere. Here a slot's
 * buffer is where its number says, so an entry says all there is, and carries its own
 * "valid" mark: the lap of the ring. A request costs one line there and one back. And
 * there is no address to judge: whatever the other side writes into a slot's number is
 * either below the number of slots or refused.
 *
 * Each ring has one writer. An entry's other words are written before its first one
 * (release), and read after it (acquire). The first lap is 1, so zeroed memory is empty.
 *
 * No ring is ever full: a slot is in one place at a time, and the I/O of a function's
 * own is bounded (FN_IO_MAX), so their sum bounds what may lie in a ring. The exception are the
 * events of an observer that come without a slot; for those its reader says how far it
 * is (fn_side.taken), and what has no room is dropped.
 *
 * Versions: posternd says the oldest and the newest that it speaks, and the program chooses the
 * newest that it speaks, too. One that speaks none of them says what it does speak, and ends.
 * Within a version nothing changes meaning; what was zero may get one.
 */
#pragma once

#include "base/bytes.h"

#define FN_ABI_OLDEST 1
#define FN_ABI_NEWEST 1

#define FN_MAGIC 0x4e46736fu /* "osFN" */

#define FN_ENTRIES 256u
#define FN_SLOTS 128u	      /* requests that a program may have at once */
#define FN_OWN_SLOTS 32u      /* more buffers, for the I/O of its own: numbers from FN_SLOTS on */
#define FN_ALL_SLOTS (FN_SLOTS + FN_OWN_SLOTS)
#define FN_IO_MAX 64u	      /* I/O of its own in flight */
#define FN_BUF_B (256u * 1024) /* of a slot; a longer request comes in pieces */
#define FN_BUFS_B ((uint64_t)FN_ALL_SLOTS * FN_BUF_B)
#define FN_NO_SLOT 0xffffu    /* of an event that needs no answer */

static_assert(FN_SLOTS + FN_IO_MAX <= FN_ENTRIES, "a ring always has room");

enum fn_op { FN_READ, FN_WRITE, FN_FLUSH, FN_DISCARD, FN_ZEROES, FN_OPS };

enum fn_status {
	FN_OK,
	FN_IOERR,
	FN_NOSPC,
	FN_RANGE,
	FN_RDONLY,
	FN_UNSUPP,
	FN_TIMEOUT,
	FN_GONE, /* of its own I/O: the disk has gone meanwhile; only libraries make it */
	FN_STATUSES,
};

/* fn_entry.kind, to the program */
enum fn_to {
	FN_REQUEST = 1, /* answer it, unless it has no slot */
	FN_IO_DONE,	/* arg: as it was in FN_IO; status */
};

/* fn_entry.kind, from the program */
enum fn_from {
	FN_PASS = 1, /* the request goes on in its direction, with what its buffer holds now */
	FN_DONE,     /* it ends here, with status; of one on its way up: it goes on with status */
	/* a request of its own: op, flags, off_b, len_b, at buf_off_b of slot's buffer */
	FN_IO,
};

enum fn_flag {
	FN_F_FUA = 1 << 0,
	FN_F_UNMAP = 1 << 1,
	FN_F_UP = 1 << 2,     /* on its way back; status is what came of it */
	FN_F_DATA = 1 << 3,   /* its data is in the slot's buffer */
	FN_F_REPLAY = 1 << 4, /* an earlier program, or this one, may have seen it before */
};

/* The first word of an entry, from its lowest bits: lap, slot, op, flags, status, kind. */
struct fn_word {
	uint16_t lap, slot;
	uint8_t op, flags, status, kind;
};

struct fn_entry {
	le64 word;
	le64 off_b;
	le32 len_b;
	le32 buf_off_b; /* FN_IO */
	le64 arg;	/* FN_IO, FN_IO_DONE: the program's own; FN_REQUEST: its age in ns */
};

static_assert(sizeof(struct fn_entry) == 32, "two to a cache line");

static inline uint64_t fn_pack(struct fn_word w)
{
	return w.lap | (uint64_t)w.slot << 16 | (uint64_t)w.op << 32 | (uint64_t)w.flags << 40 |
	       (uint64_t)w.status << 48 | (uint64_t)w.kind << 56;
}

static inline struct fn_word fn_unpack(uint64_t v)
{
	return (struct fn_word){ .lap = (uint16_t)v,
				 .slot = (uint16_t)(v >> 16),
				 .op = (uint8_t)(v >> 32),
				 .flags = (uint8_t)(v >> 40),
				 .status = (uint8_t)(v >> 48),
				 .kind = (uint8_t)(v >> 56) };
}

/* The lap of the @n-th entry ever written to a ring. */
static inline uint16_t fn_lap(uint32_t n)
{
	return (uint16_t)(n / FN_ENTRIES + 1);
}

/* What one side says about itself; the other only reads it. */
struct fn_side {
	/* Odd while it sleeps or is about to: whoever publishes then wakes it, once for each value.
	 * Stored before a last look at the ring, and read after an entry is published, both
	 * sequentially consistent: one of the two sees the other. */
	le32 sleeps;
	le32 taken; /* entries read; the program's, and only where events may be dropped */
	uint8_t unused[56];
};

static_assert(sizeof(struct fn_side) == 64, "a cache line, so that neither slows the other");

/* The rings of a channel. */
struct fn_rings {
	struct fn_side postern, program;
	uint8_t unused[4096 - 2 * sizeof(struct fn_side)];
	struct fn_entry to[FN_ENTRIES];   /* posternd writes */
	struct fn_entry from[FN_ENTRIES]; /* the program writes */
};

static_assert(offsetof(struct fn_rings, to) == 4096, "fixed");
static_assert(offsetof(struct fn_rings, from) == 4096 + 8192, "fixed");
static_assert(sizeof(struct fn_rings) == 5 * 4096, "whole pages");

/*
 * Messages, over a SOCK_SEQPACKET pair whose one end a process finds as FN_SOCKET.
 * FN_HELLO comes first, and again from a new posternd: all that was before is void.
 *
 * A program in a machine of its own finds the same messages as a stream, whole ones behind each
 * other, on the virtio-serial port FN_PORT; and memory of FN_REGION_B, in two places: on an NVDIMM,
 * which it maps as device DAX, or, where its kernel cannot, in BAR 2 of an ivshmem-plain device.
 * A guest's kernel keeps the first FN_REGION_OWN_B of an NVDIMM for itself; what follows begins
 * with a struct fn_region, and FN_DISK says where in it a channel lies, instead of bringing
 * descriptors. Who sleeps is woken by FN_KICK, in both directions.
 */
#define FN_SOCKET 3	  /* the descriptor that a process is started with */
#define FN_FIRST_FILE 4	  /* and those it was given, in order */
#define FN_NAME_MAX 64	  /* with the NUL, as are all texts here but a disk's name */
#define FN_VERSION_MAX 32

enum fn_msg_kind {
	FN_HELLO = 1, /* to: abi, abi_oldest: what posternd speaks; channel: any number */
	/* from: abi: what was chosen; channel: of the HELLO that it answers, so that what was said
	 * to a posternd before is known; masks; version of the program */
	FN_READY,
	FN_DISK,      /* to: a channel, with rings, buffers and what wakes posternd (an eventfd) */
	FN_DISK_READY, /* from: it is mapped and polled; or status says why not */
	FN_DISK_GONE, /* to: it is over; what was not answered needs no answer */
	/* to: a ring has something new, nothing else counts; from a machine: of channel */
	FN_KICK,
	FN_STOP,      /* to: end */
	FN_DISK_SIZE, /* to: a channel's size_b and below_b are others now */
	FN_BORN,      /* from a machine: a program has begun there, and knows of nothing before */
};

enum fn_mode { FN_TRANSFORM, FN_OBSERVE, FN_SERVE };

/* fn_msg.flags */
enum fn_msg_flag {
	FN_M_OWN_IO = 1 << 0,	/* READY: it makes I/O of its own, perhaps unasked */
	FN_M_READONLY = 1 << 1, /* DISK: writes end with FN_RDONLY */
	FN_M_TEST = 1 << 2,	/* DISK: a trial of the program, on a disk that nobody has */
	FN_M_BAR = 1 << 3,	/* READY, from a machine: it has the memory of ivshmem-plain */
};

struct fn_msg {
	le32 magic;
	le16 kind;
	le16 abi, abi_oldest;
	le16 mode;
	le32 channel;
	le32 status;  /* DISK_READY: 0, or an errno */
	le32 flags;
	/* READY: sets of 1 << fn_op. Down: on the way to the medium; up: on the way back;
	 * with_data: reads are seen up with their data, writes down. */
	union {
		/* DISK, to a machine: where they are behind struct fn_region's */
		le32 down, rings_page;
	};			       /* beginning, in FN_PAGE_B */
	union {
		le32 up, bufs_page;
	};
	le32 with_data;
	le32 blk_b;
	le64 size_b;  /* DISK: as the guest sees it; READY, from a machine: fn_region.id */
	le64 below_b; /* DISK: what I/O of its own may reach; at least size_b */
	/* READY: the program's; DISK: the disk's, which has no NUL if it needs all the room */
	char name[FN_NAME_MAX];
	char version[FN_VERSION_MAX]; /* READY */
};

static_assert(sizeof(struct fn_msg) == 152, "no holes");

#define FN_PORT "postern.function"
#define FN_PAGE_B 4096u
#define FN_REGION_B (1024 * MIB) /* ivshmem-plain wants a power of two */
#define FN_REGION_OWN_B (2 * MIB)
#define FN_REGION_MAGIC 0x6e6f69676572664eull

/* The first page that both sides share. */
struct fn_region {
	le64 magic;
	le64 id; /* of this memory, by chance: a machine that has another's is found out */
};
