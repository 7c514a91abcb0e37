/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Queues whose requests a predecessor had in flight are replayed by track.c; here is what
 * happens when one of these requests is what ends the process. The kept page says of each
 * queue whether it is being replayed (enum kept_replay). A successor replays those that were
 * when its predecessor crashed (base/crash.h) one at a time, each alone in the whole
 * process; the one that ends it again is barred, and all others go on.
 * Context: the front's thread, unless it says otherwise.
 */
#pragma once

#include "front/vhost_blk/session.h"

/* How long a queue may have the process for itself: its medium may be slow, or stalled. */
#define REPLAY_ALONE_NS NS_PER_S

/* @q has been prepared, and is about to start: notes what it is going to replay. */
void replay_note(struct session *s, struct vq *q);
/* It did not start, or has stopped, or is barred no more. */
void replay_forget(struct session *s, struct vq *q);

/* What a predecessor has noted of the queues of an adopted session, none of which runs: suspects
 * wait for replay_next(), those that have done it again are barred. Return: the queues that may
 * start at once, a bit each. */
uint64_t replay_judge(struct session *s);
bool replay_is_barred(const struct session *s, const struct vq *q);

/* Starts the next suspect when it is its turn. To be called until s->suspects and s->alone are
 * none, when the front's descriptor has woken its thread or *ret_ns (CLOCK_MONOTONIC) has come.
 * Return: 0; -errno: a queue cannot start. */
int replay_next(struct session *s, uint64_t *ret_ns);
/* The session ends, wherever it is. */
void replay_end(struct session *s);
