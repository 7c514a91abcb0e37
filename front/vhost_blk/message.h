/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A message of vhost-user, from the front end's words to its effect on the session and an
 * answer. How it comes and how the answer leaves is exchange.c's. Context: the front's thread.
 */
#pragma once

#include "front/vhost_blk/config.h"
#include "front/vhost_blk/memo.h"

struct session;

/* What is offered. */
#define MESSAGE_PROTOCOL_FEATURES                                                        \
	(BIT(VHOST_USER_PROTOCOL_F_MQ) | BIT(VHOST_USER_PROTOCOL_F_LOG_SHMFD) |          \
	 BIT(VHOST_USER_PROTOCOL_F_REPLY_ACK) | BIT(VHOST_USER_PROTOCOL_F_BACKEND_REQ) | \
	 BIT(VHOST_USER_PROTOCOL_F_CONFIG) | BIT(VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD) | \
	 BIT(VHOST_USER_PROTOCOL_F_RESET_DEVICE) |                                       \
	 BIT(VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS))

struct message {
	struct vhost_user_msg in;
	struct kept_fd fd[VHOST_USER_FDS_MAX]; /* a handler that keeps one steals it */
	unsigned nfd;

	struct vhost_user_msg out; /* the reply, with hdr.size set by the handler */
	bool replies;
	int out_fd; /* goes with the reply and is closed; -1: none */
};

/* Judges the header, before the payload is looked into. Return: why it is refused; NULL: it is
 * not. */
const char *message_judge(const struct session *s, const struct message *m);

/* How many descriptors belong to a message that message_judge() has let pass, at most
 * VHOST_USER_FDS_MAX. */
unsigned message_fds(const struct message *m);
/* Whether it may have brought @nfd of them. */
bool message_allows_fds(const struct message *m, unsigned nfd);

/* Handles a message that message_judge() has let pass. Return: 0, @m->out is what to answer if
 * @m->replies; -EPROTO: the connection is to be closed, *ret_what (@room bytes) says why. */
int message_run(struct session *s, struct message *m, char *ret_what, size_t room);

/* Tells the front end that the configuration has changed. */
void message_config_changed(struct session *s);
/* Something has arrived on the back-end channel. */
void message_backend_reply(struct session *s);

/* Puts "MESSAGE: @why" into *ret_what. Return: -EPROTO. */
int message_explain(const struct message *m, const char *why, char *ret_what, size_t room);
