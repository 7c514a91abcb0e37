/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inside of a client, for programs that want to be a guest of their own making, in its
 * steps, its addresses and its manners: tests, fuzzing, recovery tools. A client made with
 * client_raw_open() has said nothing yet; every step below may be taken, left out, repeated, or
 * replaced by a message of the program's own (client/vu.h) on c->sock. Same rules as client.h.
 */
#pragma once

#include "client/client.h"
#include "client/mem.h"
#include "client/vu.h"

struct client {
	struct client_conf conf; /* with its defaults filled in; socket is not kept */
	int sock;
	uint64_t offered, features;
	uint64_t protocol; /* 0: not negotiated */
	uint64_t queues_offered;
	struct client_mem mem;
	struct virtio_blk_config config;
	int inflight_fd; /* -1: none */
	struct vhost_user_inflight inflight;
	int log_fd; /* -1: none */
	struct client_queue *queue;
	unsigned started; /* queues that run */
};

/* A client on @sock, which it owns from now on, also on failure; -1: no socket. Nothing is
 * sent; memory is there, and every queue laid out in it. Return: 0; -EINVAL; -ENOMEM; -errno. */
int client_raw_open(const struct client_conf *conf, int sock, struct client **ret_client);

/* Whether answers may be asked for with NEED_REPLY. */
static inline bool client_raw_ack(const struct client *c)
{
	return c->protocol & (1ull << VHOST_USER_PROTOCOL_F_REPLY_ACK);
}

/* The steps of client_open(), in its order. Return: 0; -ENOTSUP; see vu_tell(). */
int client_raw_negotiate(struct client *c); /* owner, features, protocol features, queue number */
int client_raw_get_config(struct client *c); /* into c->config */
int client_raw_share_mem(struct client *c); /* SET_MEM_TABLE */
int client_raw_get_inflight(struct client *c); /* GET_INFLIGHT_FD, for a region all zero */
int client_raw_set_inflight(struct client *c); /* SET_INFLIGHT_FD */
int client_raw_start(struct client *c, unsigned i); /* num, base, addresses, kick, call, enable */
int client_raw_log(struct client *c); /* if c->conf.log: log, feature and addresses, as QEMU does */
int client_raw_stop(struct client *c, unsigned i, uint32_t *ret_base); /* GET_VRING_BASE */

/* Sends the addresses of queue @i with @flags (VHOST_USER_VRING_F_LOG). */
int client_raw_set_addr(struct client *c, unsigned i, uint32_t flags);
