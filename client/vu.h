/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The front end's half of the vhost-user socket: whole messages, with descriptors, good ones or
 * whatever a test wants to send. Blocking, with a limit on the wait for an answer; one thread.
 */
#pragma once

#include "wire/vhost_user.h"

#define VU_TIMEOUT_MS 10000

/* A stream socket connected to @path, whose reads give up after VU_TIMEOUT_MS.
 * Return: fd; -errno; -ENAMETOOLONG. */
int vu_connect(const char *path);

/* Sends one message: header with @flags | version, @len bytes of @payload, @nfd descriptors.
 * Nothing is checked. Return: 0; -errno. */
int vu_send(int sock, uint32_t request, uint32_t flags, const void *payload, uint32_t len,
	    const int *fds, unsigned nfd);

/* Receives one message. *@nfd is the room in @fds and becomes how many came, which are then the
 * caller's. Return: 0; -EPROTO (version, size); -EPIPE (closed); -ETIMEDOUT; -errno. */
int vu_recv(int sock, struct vhost_user_msg *ret_msg, int *fds, unsigned *nfd);

/* Sends a request whose answer is a payload of its own, and waits for that answer in @ret_msg.
 * Return: 0; -EPROTO if the answer is to something else or not flagged as one; see vu_recv(). */
int vu_ask(int sock, uint32_t request, const void *payload, uint32_t len,
	   struct vhost_user_msg *ret_msg);
int vu_ask_u64(int sock, uint32_t request, uint64_t *ret_value);

/* Sends a request; with @ack (REPLY_ACK negotiated) asks for its acknowledgement and waits.
 * Return: 0; -EREMOTEIO if the back end refused; see vu_recv(). */
int vu_tell(int sock, bool ack, uint32_t request, const void *payload, uint32_t len, const int *fds,
	    unsigned nfd);
int vu_tell_u64(int sock, bool ack, uint32_t request, uint64_t value);
