/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's side of a vhost-user-blk socket, for programs on the host: connects, negotiates,
 * shares memory of its own, starts queues. The queues are then driven with client/queue.h, each
 * by one thread. Blocking; nothing is logged: failures are an errno and the step that failed.
 */
#pragma once

#include "client/queue.h"

struct client;

struct client_conf {
	const char *socket;
	uint16_t queues; /* 0: 1 */
	uint16_t depth; /* slots a queue; 0: 1 */
	uint16_t queue_size; /* ring entries; 0: as many as the depth needs, 128 at least */
	uint32_t buf_b; /* data buffer of a slot; 0: 4096 */
	unsigned mem_regions; /* 0: 1 */
	uint64_t extra_b; /* memory beside that of the queues, at the end; touched here */
	bool packed;
	bool no_indirect;
	bool no_event_idx;
	bool no_inflight;
	bool log; /* have the back end log what it writes, as during a migration */
	bool hugepages;
};

/* Connects and starts every queue, polled. *ret_step names what was being done, and on failure
 * what failed. Ownership: the caller closes *ret_client. Return: 0; -EINVAL (numbers that do not
 * fit together); -ENOTSUP (packed or so many queues not offered); -errno; see vu_tell(). */
int client_open(const struct client_conf *conf, struct client **ret_client, const char **ret_step);
/* Connects once more after the back end has gone, as a VMM does: with the same memory, the same
 * in-flight region and the rings as they are. Where it failed it may be called again, and until it
 * succeeds no request comes back. Return: as client_open(); -ENOTSUP also where the back end does
 * not offer the features any more that the first one did. */
int client_reopen(struct client *c, const char *socket, const char **ret_step);
/* Stops the queues as far as the back end still answers, and disconnects. NULL is fine. */
void client_close(struct client *c);

const struct virtio_blk_config *client_config(const struct client *c);
/* Feature bits negotiated, the device's and VIRTIO's. */
uint64_t client_features(const struct client *c);
unsigned client_queues(const struct client *c);
/* Its counts are those of now. */
struct client_queue *client_queue(struct client *c, unsigned i);

/* Sleeps until an interrupt on any of the queues, at most @timeout_ns. The caller
 * has armed them. Return: queues that were interrupted; 0 at the timeout; -errno. */
int client_wait(struct client *c, uint64_t timeout_ns);
