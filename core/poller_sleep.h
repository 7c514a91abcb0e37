/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sleeping half of a poller, for poller.c alone. Context: the poller's thread.
 */
#pragma once

#include "core/poller.h"

int poller_sleep_init(struct poller *p); /* Return: 0 or -errno */
void poller_sleep_fini(struct poller *p);

/* Begins and ends waiting for @q's kicks. Return: 0 or -errno. */
int poller_watch(struct poller *p, struct pollee *q);
void poller_unwatch(struct poller *p, struct pollee *q);
