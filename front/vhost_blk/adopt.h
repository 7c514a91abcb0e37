/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection as its kept page describes it: written down from the session after each
 * message, and made into a session again by a successor. Context: the front's thread.
 */
#pragma once

#include "front/vhost_blk/session.h"

/* Fills in what @s is. */
void adopt_record(const struct session *s, struct kept_state *ret_state);

/* Makes a session of what a predecessor has kept in @f's scope, and of @sock, which was kept there;
 * nothing runs yet: see adopt_go_on(). Ownership: @sock becomes the session's, when this is 0.
 * Return: 0; -ENOENT: it had kept nothing but @sock, nothing has been said there; another -errno:
 * nothing is kept any more and the connection is to be closed, *ret_what (@room bytes) says why. */
int adopt_session(struct vhost_blk *f, int sock, struct session **ret_session, char *ret_what,
		  size_t room);

/* Takes the next steps on an adopted session's way: starts its queues, each once it may, then
 * finishes the message that was at hand. To be called until s->is_adopted is false, when
 * replay_next() would be. Return: 0; -errno, as adopt_session(). */
int adopt_go_on(struct session *s, uint64_t *ret_ns, char *ret_what, size_t room);
