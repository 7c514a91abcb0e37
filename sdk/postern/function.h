/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libpostern-function: what a storage function is written against. A function is a
 * program that requests of Postern's disks pass through: it sees them in batches, may
 * look at their data and change it in place, passes them on, answers them itself, or
 * makes requests of its own to the disk below. Started by posternd as a process (or in a
 * guest), it shares with it rings and buffers, and nothing else.
 *
 *	static void requests(struct pfn_disk *d, struct pfn_req **reqs, unsigned n)
 *	{
 *		for (unsigned i = 0; i < n; i++)
 *			pfn_pass(reqs[i]);
 *	}
 *
 *	int main(void)
 *	{
 *		struct pfn_conf conf = { .abi = PFN_ABI, .size = sizeof(conf), .name = "nothing",
 *					 .version = "1", .requests = requests,
 *					 .down = PFN_SET(PFN_WRITE), .up = PFN_SET(PFN_READ),
 *					 .with_data = PFN_SET(PFN_WRITE) | PFN_SET(PFN_READ) };
 *		return pfn_main(&conf);
 *	}
 *
 * One thread calls everything, and is the one that the callbacks run on. Structures that
 * the library hands out may grow at their end in later versions; those that it is given
 * carry their size. Nothing else changes within one PFN_ABI.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PFN_ABI 1

enum pfn_op {
	PFN_READ,
	PFN_WRITE,
	PFN_FLUSH,   /* all writes that have ended become durable */
	PFN_DISCARD, /* the range's content is not needed */
	PFN_ZEROES,
};
#define PFN_SET(op) (1u << (op))
#define PFN_SET_ALL 0x1fu

enum pfn_status {
	PFN_OK,
	PFN_IOERR,
	PFN_NOSPC,
	PFN_RANGE,
	PFN_RDONLY,
	PFN_UNSUPP,
	PFN_TIMEOUT,
	PFN_GONE, /* of I/O of its own: the disk went away meanwhile */
};

enum pfn_flag {
	PFN_FUA = 1 << 0,    /* write: done only when durable */
	PFN_UNMAP = 1 << 1,  /* zeroes: may free the space */
	PFN_UP = 1 << 2,     /* on its way back: status is what came of it */
	PFN_REPLAY = 1 << 4, /* a program that was lost may have seen it before */
};

/* How a disk uses the function; its user's choice. */
enum pfn_mode {
	PFN_TRANSFORM, /* requests wait for it */
	PFN_OBSERVE,   /* it sees copies; what it does with them changes nothing */
	PFN_SERVE,     /* it answers all it takes itself; pass is an error */
};

/* A lane of a disk: requests of one disk may come over several. The library's. */
struct pfn_disk {
	const char *name;
	uint64_t size_b;  /* as guests see it */
	uint64_t below_b; /* what I/O of its own may reach; what lies beyond size_b no guest sees */
	uint32_t blk_b;	  /* all offsets and lengths are multiples */
	enum pfn_mode mode;
	bool readonly;
	bool test; /* a trial before real disks come; refuse it if that makes no sense */
	void *user; /* yours */
};

/* A request, yours until it is passed or done. */
struct pfn_req {
	struct pfn_disk *disk;
	uint64_t off_b;
	uint32_t len_b; /* with data at most PFN_BUF_B: longer ones come in pieces */
	uint8_t op;	/* enum pfn_op */
	uint8_t flags;	/* enum pfn_flag */
	uint8_t status; /* enum pfn_status; with PFN_UP */
	/* Its data, if there is any and it was asked for (pfn_conf.with_data): of a write on its
	 * way down, or a read that went well on its way up. For a read on its way down, room for an
	 * answer. Aligned to a page; changed in place; not yours any more after pass or done.
	 * NULL. */
	void *data;
	uint64_t age_ns; /* since Postern took it from the guest; with PFN_UP */
	void *user;	 /* yours */
};

#define PFN_BUF_B (256u * 1024)

/* A request of the function's own to what is below it. Its storage is the caller's until done(). */
struct pfn_io {
	struct pfn_disk *disk;
	uint64_t off_b;
	uint32_t len_b;
	uint8_t op;
	uint8_t flags;	/* PFN_FUA, PFN_UNMAP */
	uint8_t status; /* out: enum pfn_status */
	/* Where the data is, or goes: inside a buffer of pfn_buf_get(), or the data of a request of
	 * the same disk that is neither passed nor done before this has ended. */
	void *data;
	void (*done)(struct pfn_io *io); /* from inside pfn_turn() */
	void *user;
};

struct pfn;

struct pfn_conf {
	uint32_t abi;  /* PFN_ABI */
	uint32_t size; /* of this structure */
	const char *name, *version; /* printable, at most 63 and 31 characters */

	/* Sets of PFN_SET(op). Down: seen on the way to the medium; up: on the way back; with_data:
	 * writes are seen down with their data, reads up. What is in none goes by unseen. */
	uint32_t down, up, with_data;
	uint32_t own_io; /* 1: it makes requests of its own */
	uint32_t spin_us; /* it polls this long after the last request, then sleeps; 0: by itself */

	/* Requests in the order in which they passed; each is to be passed or done, now or later,
	 * in any order. */
	void (*requests)(struct pfn_disk *d, struct pfn_req **reqs, unsigned n);
	/* A disk comes: 0; an errno to refuse it. NULL: takes all. */
	int (*open)(struct pfn_disk *d);
	/* It goes: requests of it that are not answered are void, and will be seen again by whoever
	 * serves it next; I/O of its own has ended with PFN_GONE. NULL. */
	void (*gone)(struct pfn_disk *d);
	/* Its size_b and below_b are others now. NULL. */
	void (*resized)(struct pfn_disk *d);
	void *user;
};

/* Connects to the posternd that has started this program. @conf stays the caller's and valid.
 * Return: 0; -EINVAL; -EPROTONOSUPPORT: no version in common; -ENOTCONN: not started by posternd;
 * -errno. */
int pfn_open(const struct pfn_conf *conf, struct pfn **ret);
void pfn_close(struct pfn *p); /* NULL is fine */

/* Looks at all rings once, and calls back. Never waits. Return: how much there was; -ESHUTDOWN:
 * posternd wants it to end, or is gone. */
int pfn_turn(struct pfn *p);
/* Waits until there is something for pfn_turn(), at most @timeout_ms (-1: for ever). */
void pfn_sleep(struct pfn *p, int timeout_ms);
/* A descriptor that is readable when there may be something, but only between pfn_arm() and the
 * next pfn_turn(); for programs with a loop of their own. pfn_arm() returns false if there is
 * something already. */
int pfn_fd(const struct pfn *p);
bool pfn_arm(struct pfn *p);
/* Turns and sleeps until the end. Return: 0; -errno. */
int pfn_run(struct pfn *p);
/* pfn_open(), pfn_run() and pfn_close(); says on standard error what is wrong. Return: for
 * exit(). */
int pfn_main(const struct pfn_conf *conf);
void *pfn_user(const struct pfn *p);

/* From callbacks, or between two turns. */
void pfn_pass(struct pfn_req *r);
/* Ends a request on its way down, or gives one on its way up another status. */
void pfn_done(struct pfn_req *r, enum pfn_status status);

/* Return: 0: done() is called exactly once, from a later turn; -EAGAIN: too many at once; -EINVAL:
 * the data is not where it may be, or the function has not said that it makes I/O of its own. */
int pfn_io_submit(struct pfn_io *io);
#define PFN_IO_MAX 64
/* A buffer of PFN_BUF_B for I/O of its own. Return: NULL: all 32 of the disk are in use. */
void *pfn_buf_get(struct pfn_disk *d);
void pfn_buf_put(struct pfn_disk *d, void *buf);

#ifdef __cplusplus
}
#endif
