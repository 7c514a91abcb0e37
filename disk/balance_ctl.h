/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looks once a second at what the pollers do, and moves a queue off one that has too
 * much to do (disk/balance.h decides). Only while there are two pollers or more, and
 * nobody has turned it off. Wakes no poller that sleeps. Control thread only.
 */
#pragma once

#include "control/ctl.h"

struct poller;

extern const struct ctl_cmd balance_cmds[];

/* A timerfd that is ours to set; whoever watches it calls balance_ctl_tick(). What the state says
 * of it comes into force. */
void balance_ctl_start(struct ctl *ctl, int timer_fd);
void balance_ctl_tick(void);
/* Pollers have come or gone. */
void balance_ctl_changed(void);

/* What @p does, as a few words in @ret_text, which is returned. */
const char *balance_ctl_load(const struct poller *p, char *ret_text, size_t len);
/* Whether it is on and what it did last: a new reference. */
json_t *balance_ctl_show(void);
