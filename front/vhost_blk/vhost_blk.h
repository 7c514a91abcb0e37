/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vhost-user-blk front: a disk as a virtio block device (VIRTIO 1.2, 5.2) whose
 * rings a VMM shares with us over a Unix socket (vhost-user).
 *
 * One thread for each front accepts one connection at a time and handles its
 * messages, one after another; it talks to the pollers by mail and waits for them.
 * Rings are the pollers' alone.
 */
#pragma once

#include "core/keep.h"
#include "disk/disk.h"
#include "guest/gmem.h"

struct vhost_blk_conf {
	struct disk *disk;
	/* A listening socket, or one that is connected already (serves that one connection). */
	int listen_fd, conn_fd; /* -1: not this one */
	unsigned nqueue;	/* offered, 1 to FRONT_QUEUES_MAX */
	struct poller *const *poller;
	unsigned npoller; /* queue i begins on poller i % npoller */
	enum gmem_policy memory;
	/* Called on the front's thread when the connection of conn_fd has ended; NULL: nobody. */
	void (*ended)(void *arg);
	void *ended_arg;
	struct keep_scope keep; /* where connections outlive the process; zeroed: nowhere */
};

/* Starts serving @c->disk. Context: control thread. Ownership: the descriptors and a front that
 * front_ops.close() frees; the disk and pollers outlive it. Return: 0; -ENOMEM; -errno. */
int vhost_blk_open(const struct vhost_blk_conf *c, struct front **ret_front);
