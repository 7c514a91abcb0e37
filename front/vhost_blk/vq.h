/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A virtqueue as its poller sees it: what it needs to take requests from a ring and
 * to publish their completions, in the order in which a turn touches it. split.c and
 * packed.c know the two ring formats, blk.c what a request in them means, track.c how
 * the front end is told which are being worked on.
 *
 * The connection's thread fills in a queue and starts it; from then until it has been
 * stopped everything here is the poller's thread's, and is changed only by mail.
 */
#pragma once

#include "disk/disk.h"
#include "front/vhost_blk/dirty.h"
#include "guest/gmem.h"
#include "wire/vhost_user.h"
#include "wire/virtio_ring.h"

/* The longest chain that is looked at whole: the data, a header and a status. */
#define VCHAIN_MAX (REQ_MAX_SEGS + 2)

/* A descriptor, read once. */
struct vdesc {
	gpa_t at;
	uint32_t len_b;
	bool in; /* the device writes */
};

/* A chain of them. With too_long only the last entry is of any use, for its status byte. */
struct vchain {
	unsigned n;
	bool too_long;
	struct vdesc d[VCHAIN_MAX];
};

/* The number of a memory table stands in the uppermost bits, where a request's tag has it. */
#define VQ_GEN_STEP (1ull << 48)

enum vq_notify { VQ_NOTIFY_OFF, VQ_NOTIFY_ON };

struct vq {
	struct pollee pe;

	/* the ring; which of each pair by @packed */
	union {
		const struct virtq_desc *desc;
		struct virtq_packed_desc *pdesc;
	};
	union {
		const struct virtq_avail *avail;
		const struct virtq_packed_event *driver_event;
	};
	union {
		struct virtq_used *used;
		struct virtq_packed_event *device_event;
	};
	uint16_t size;
	uint16_t avail_idx; /* next to take; packed: an entry of the ring */
	uint16_t used_idx;  /* next to write */
	uint16_t published; /* used_idx at the last publish */
	uint16_t npushed;   /* written and not yet published */
	uint16_t parked;    /* split with event idx: where avail_event stands while kicks are off */
	uint16_t first_flags; /* packed: flags of the first one pushed, stored last */
	bool packed, event_idx, indirect;
	bool avail_wrap, used_wrap, published_wrap; /* packed */
	bool write_through; /* a write completes only when durable */
	uint64_t gen;	    /* number of the memory table in use, in steps of VQ_GEN_STEP */
	unsigned inflight;  /* taken and not pushed */
	unsigned slots_inflight; /* packed: ring entries of them */
	unsigned old_inflight;	 /* of them under a memory table that is no longer in use */

	struct gview view;
	struct req_owner owner; /* its complete() is the format's */
	uint8_t no_status;	/* where the status of a chain that has no room for one goes */
	struct lane *lane;
	struct dirty_log *log; /* NULL: no migration is under way */
	uint64_t used_gpa;     /* of the used ring, for the log */

	/* in-flight region, see track.c */
	union {
		struct vhost_user_region_split *track_split;
		struct vhost_user_region_packed *track_packed;
	};
	uint64_t track_counter;
	uint16_t track_next; /* packed: free entry for the next descriptor fetched */
	uint16_t track_last; /* packed: entry of the last one fetched */
	uint16_t track_size; /* entries in the region */
	/* it is the front end's, who hands it back when the queue starts anew */
	bool track_returns;
	uint16_t *pushed;  /* split: heads, packed: entries; of those not yet published */
	uint16_t *replay;  /* heads or entries that a predecessor left, in order */
	unsigned nreplay, next_replay;
	bool replaying; /* all of them have been taken, and have not all ended */
	int replay_fd;	/* eventfd, for who waits until they have */
	uint32_t *replay_mark; /* enum kept_replay, in the kept page; relaxed atomic */

	int call_fd, err_fd;
	uint64_t taken, refused, calls; /* statistics; relaxed atomics */
	const char *broken;		/* why; relaxed atomic; NULL: it is not */
	bool draining;			/* takes nothing more */
	bool lost;			/* its ring is not in memory: draining until it is */
	struct vq_drain *drain;		/* who waits for it to be empty */

	char name[DISK_NAME_MAX + 8]; /* "disk/3", for the log line */
	struct disk *disk;
	unsigned index;
	bool running; /* the connection thread's */
};

/* Where a ring lies, as the front end says it; user addresses of the VMM. */
struct vq_ring {
	uint64_t desc, avail, used;
	uint64_t log_gpa; /* of the used ring */
	bool log;
};

/* The connection thread's, poller not involved: finds the ring's parts in @mem and checks their
 * alignment. Return: 0; -EFAULT; -EINVAL. */
int vq_place(struct vq *q, const struct gmem *mem, const struct vq_ring *at);

/* Stops @q for good: a broken ring. Says so once. Context: the poller's thread. */
void vq_break(struct vq *q, const char *reason);

extern const struct pollee_ops vq_pollee_ops;

/* One ring format. Context: the poller's thread. */
int split_turn(struct vq *q);
void split_complete(struct req *const *reqs, unsigned n);
void split_publish(struct vq *q);
void split_notify(struct vq *q, enum vq_notify notify);
bool split_has_work(const struct vq *q);

int packed_turn(struct vq *q);
void packed_complete(struct req *const *reqs, unsigned n);
void packed_publish(struct vq *q);
void packed_notify(struct vq *q, enum vq_notify notify);
bool packed_has_work(const struct vq *q);

/* Reads the indirect table of @len_b bytes at @at into @c, from its first entry; @chained: by next
 * (split) or in order (packed). Return: 0; -EINVAL with *ret_reason. */
int vq_fetch_indirect(struct vq *q, gpa_t at, uint32_t len_b, bool chained, struct vchain *c,
		      const char **ret_reason);

/* Appends a descriptor to @c. */
static inline void vchain_add(struct vchain *c, uint64_t at, uint32_t len_b, uint16_t flags)
{
	if (unlikely(c->n == VCHAIN_MAX)) {
		c->too_long = true;
		c->n--;
	}
	c->d[c->n++] = (struct vdesc){ { at }, len_b, flags & VIRTQ_DESC_F_WRITE };
}

/* 2.7.10: whether moving from @before to @now passed @event. */
static inline bool vq_need_event(uint16_t event, uint16_t now, uint16_t before)
{
	return (uint16_t)(now - event - 1) < (uint16_t)(now - before);
}

/* Cold: some of what a predecessor left has been submitted; and the last of it has ended. */
void vq_replay_taken(struct vq *q);
void vq_replay_ended(struct vq *q);

/* Marks the used ring in the dirty log: behind the fence that follows its publishing, since a page
 * may be copied as soon as its bit is taken away. */
void vq_log_used(struct vq *q);

/* req_owner.forget(): what stands in the in-flight region is done again when the queue starts
 * anew. */
bool vq_forget(struct req *r);

/* Sends an interrupt, if the front end gave us a way to. */
void vq_call(struct vq *q);
