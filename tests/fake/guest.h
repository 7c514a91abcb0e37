/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fake guest, and the VMM around it: virtqueues built by hand in a memfd, able to misbehave
 * in every field, and the front's messages. The front under test runs in the same thread:
 * pollers without threads are turned by the test, and the connection's messages are handled when
 * the test says so, so that every interleaving is chosen.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client/mem.h"
#include "client/vu.h"
#include "tests/fake/media.h"
#include "front/vhost_blk/session.h"
#include "wire/virtio_blk.h"

#define FAKE_POLLERS_MAX 2
#define FAKE_BIT(n) (1ull << (n))

struct fake;

struct fake_conf {
	bool packed, no_event_idx, no_indirect;
	bool no_ack;	  /* without REPLY_ACK */
	bool track;	  /* with an in-flight region */
	bool readonly;
	uint64_t without; /* features that are left out besides */
	unsigned queues;  /* 0: 1 */
	uint16_t size;	  /* of a queue; 0: 16 */
	unsigned regions; /* of memory; 0: 1 */
	unsigned pollers; /* 0: 1 */
	unsigned offered; /* queues that the disk offers; 0: as many as conf.queues */
	uint64_t disk_b;  /* 0: 1 MiB */
	uint32_t blk_b;
	uint64_t timeout_ns;
	enum poll_mode mode;
	enum script_when when;	/* of the scripted medium */
	struct media *media;	/* NULL: a scripted one */
	struct function *const *function;
	unsigned nfunction;
	struct keep *keep; /* where connections outlive the process; NULL: nowhere */
};

struct fake_queue {
	struct fake *g;
	unsigned index;
	uint16_t size;
	bool packed, event_idx;
	union {
		struct virtq_desc *desc;
		struct virtq_packed_desc *pdesc;
	};
	union {
		struct virtq_avail *avail;
		struct virtq_packed_event *driver_event;
	};
	union {
		struct virtq_used *used;
		struct virtq_packed_event *device_event;
	};
	uint16_t put_idx, published_idx, used_idx; /* split: free-running; packed: places */
	bool put_wrap, used_wrap;
	uint16_t next_desc, next_id; /* to be handed out next */
	uint16_t first_flags;	     /* packed: of the first put since the last publish */
	uint16_t unpublished;	     /* packed: descriptors put since */
	uint16_t slots_of[1024];     /* packed: ring entries of each buffer id */
	int kick_fd, call_fd, err_fd;
};

struct fake {
	struct fake_conf conf;
	struct poller *poller[FAKE_POLLERS_MAX];
	struct disk *disk;
	struct scripted *medium; /* NULL: it is another */
	struct vhost_blk front;	 /* without its thread */
	struct session *s;
	int sock; /* our end */
	char why[128]; /* what exchange_message() said last */
	struct client_mem mem;
	uint64_t features, protocol;
	int track_fd;
	struct vhost_user_inflight track;
	struct fake_queue *q[FRONT_QUEUES_MAX];
};

/* Poller, disk, and a front without a connection. Fails the test if anything fails. */
struct fake *fake_open_disk(const struct fake_conf *c);
/* A connection: memory for its rings, but nothing said yet. */
void fake_connect(struct fake *g);
void fake_disconnect(struct fake *g);
void fake_negotiate(struct fake *g);
/* Makes queue @i, not yet told to the front. */
struct fake_queue *fake_queue(struct fake *g, unsigned i);
int fake_share_mem(struct fake *g);
void fake_get_track(struct fake *g);
int fake_set_track(struct fake *g);
/* Return: 0; what the message that starts it gave, see fake_tell(). */
int fake_start(struct fake *g, unsigned i, uint32_t base);
uint32_t fake_stop(struct fake *g, unsigned i); /* Return: its base */
/* The driver begins with a stopped queue @i, the only one, anew, as after a reset of the device;
 * with a new in-flight region, if it has any. */
void fake_reset(struct fake *g, unsigned i);
/* All of the above, with every queue running. */
struct fake *fake_open(const struct fake_conf *c);
void fake_close(struct fake *g);

/* Sends a message and lets the front handle it. With REPLY_ACK its verdict is asked for.
 * Return: 0; -EREMOTEIO: refused; another -errno: the front would close the connection. */
int fake_tell(struct fake *g, uint32_t request, const void *payload, uint32_t len, const int *fds,
	      unsigned nfd);
int fake_tell_u64(struct fake *g, uint32_t request, uint64_t v);
int fake_tell_state(struct fake *g, uint32_t request, uint32_t index, uint32_t num);
int fake_tell_fd(struct fake *g, uint32_t request, uint64_t index, int fd);
/* The same for a message that has an answer of its own. */
int fake_ask(struct fake *g, uint32_t request, const void *payload, uint32_t len,
	     struct vhost_user_msg *ret_msg);
/* Lets the front handle one message that is in the socket. */
int fake_handle(struct fake *g);
/* The addresses of queue @i, as the VMM has them. */
struct vhost_user_vring_addr fake_addr(const struct fake_queue *q);
/* Region @i of memory as messages describe it. */
struct vhost_user_mem_region fake_region(const struct fake *g, unsigned i);

/* The process dies, between two turns: what its poller, session and medium do from here on reaches
 * neither the guest nor what was kept. Then a successor, with a medium of its own, which takes the
 * connection over as far as the first step of adopt_go_on(): the guest and its end of the socket
 * are its. Return: the successor; its s is NULL if it could not, and why says so. */
struct fake *fake_succeed(struct fake *g);
/* The further steps, for pollers that are turned. Return: as adopt_go_on(), with why. */
int fake_go_on(struct fake *g);

/* One turn of each poller. Return: the work they found. */
unsigned fake_turn(struct fake *g);
/* Turns until nothing is found any more. */
void fake_settle(struct fake *g);
struct vq *fake_vq(struct fake *g, unsigned i);
/* Why queue @i is broken, NULL: it is not. */
const char *fake_broken(struct fake *g, unsigned i);

/* Requests that a poller's slab has given out and not got back. */
unsigned fake_requests_out(const struct poller *p);

/* Guest memory. */
void *fake_alloc(struct fake *g, uint64_t len_b, uint64_t align_b);
uint64_t fake_gpa(const struct fake *g, const void *p);

/* A descriptor as the guest gives it. */
struct fake_desc {
	uint64_t at;
	uint32_t len_b;
	uint16_t flags; /* VIRTQ_DESC_F_WRITE, and any other */
};

static inline struct fake_desc fake_out(struct fake *g, const void *p, uint32_t len_b)
{
	return (struct fake_desc){ fake_gpa(g, p), len_b, 0 };
}

static inline struct fake_desc fake_in(struct fake *g, const void *p, uint32_t len_b)
{
	return (struct fake_desc){ fake_gpa(g, p), len_b, VIRTQ_DESC_F_WRITE };
}

/* Puts a chain into the ring, or an indirect table of it. Return: its id. */
uint16_t fake_put(struct fake_queue *q, const struct fake_desc *d, unsigned n);
uint16_t fake_put_indirect(struct fake_queue *q, const struct fake_desc *d, unsigned n);
/* Split: puts @head into the available ring. */
void fake_put_head(struct fake_queue *q, uint16_t head);
/* Split: writes descriptor @i; packed: the next place of the ring, @next being the id. */
void fake_write(struct fake_queue *q, uint16_t i, struct fake_desc d, uint16_t next);
/* Makes what was put visible. */
void fake_publish(struct fake_queue *q);
/* Return: whether a completion has come; it is taken off. */
bool fake_reap(struct fake_queue *q, uint16_t *ret_id, uint32_t *ret_len);
unsigned fake_reap_all(struct fake_queue *q); /* Return: how many came */

void fake_kick(struct fake_queue *q);
/* Whether a driver that has just published @n chains would have to kick. */
bool fake_must_kick(const struct fake_queue *q, uint16_t n);
/* Interrupts since the last time. */
unsigned fake_calls(struct fake_queue *q);
/* Asks for an interrupt at the next completion, or for none. */
void fake_want_call(struct fake_queue *q);
void fake_want_no_call(struct fake_queue *q);

/* A whole request in memory of its own: header, data, status, a descriptor each. */
struct fake_req {
	struct virtio_blk_hdr *hdr;
	uint8_t *data, *status;
	uint32_t len_b;
	bool in;
	uint16_t id;
};

#define FAKE_PENDING 0xee
struct fake_req fake_req(struct fake *g, uint32_t type, uint64_t sector, uint32_t len_b);
void fake_put_req(struct fake_queue *q, struct fake_req *r);
/* From beginning to end. Return: its status. */
unsigned fake_do(struct fake_queue *q, struct fake_req *r);
/* A write at sector 8 that the scripted medium, which holds all, fails with @status, and that
 * werror=stop keeps. */
struct fake_req fake_stop_disk(struct fake *g, uint32_t len_b, enum req_status status);
/* Puts a chain, publishes and settles. Return: whether its descriptors came back. */
bool fake_run(struct fake_queue *q, const struct fake_desc *d, unsigned n);
/* That queue @i still works. */
void fake_assert_alive(struct fake *g, unsigned i);

/* Tests that are the same for both ring formats; a test finds its format in *state. */
struct fake_case {
	bool packed;
};
extern struct fake_case fake_split_case, fake_packed_case;
#define FAKE_SPLIT(f) { "split_" #f, f, NULL, NULL, &fake_split_case }
#define FAKE_PACKED(f) { "packed_" #f, f, NULL, NULL, &fake_packed_case }
#define FAKE_BOTH(f) FAKE_SPLIT(f), FAKE_PACKED(f)

static inline bool fake_is_packed(void **state)
{
	return ((const struct fake_case *)*state)->packed;
}
