/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One message from the socket to its answer, in steps of which each can be the last one of
 * this process: a successor finds out from the kept page, the socket and the pipe which it
 * was, and takes the next. Context: the front's thread; waits for the front end, and does meanwhile
 * what control asks of the front.
 *
 *	peek	    header, then all of it; the socket's SO_PEEK_OFF moves along
 *	keep	    the descriptors that came
 *	TAKEN	    recorded; the message can be handled without the socket from here
 *	consume	    SO_PEEK_OFF falls to 0 with the bytes, in the kernel, at once
 *	handle	    may happen again, see message.c
 *	commit	    the new state and the answer
 *	pipe	    the answer is written there
 *	REPLYING    recorded; from here an empty pipe means that it has left
 *	splice	    from the pipe into the socket, in the kernel, at once
 *	IDLE	    recorded
 *
 * A reply that carries a descriptor cannot go through a pipe. It is SENDING from before it is
 * sent until after. A successor that finds this goes on where the socket shows that it has left
 * (not read yet, or followed by the next message); otherwise it ends the connection, and the front
 * end connects again.
 */
#pragma once

#include <stddef.h>

struct session;

/* Receives and handles one message. Return: 0; -EPIPE: the other side has gone; -ENOTRECOVERABLE:
 * as vhost_blk_do(); -errno: the connection is to be closed, *ret_what (@room bytes) says why. */
int exchange_message(struct session *s, char *ret_what, size_t room);

/* Goes on with the message that was at hand when a predecessor died, if there was one.
 * Return: as exchange_message(). */
int exchange_resume(struct session *s, char *ret_what, size_t room);
