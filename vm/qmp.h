/* SPDX-License-Identifier: Apache-2.0 */
/*
 * QEMU's control socket: one command at a time, which skips events; or wait for one.
 * Every wait for an answer ends after the time given at the opening. One thread at a time; may
 * block, allocates.
 */
#pragma once

#include <jansson.h>

#include "base/base.h"

struct qmp;

/* Connects, reads the greeting, leaves negotiation mode.
 * Return: 0; -ETIMEDOUT (another client has it); -EPROTO; -errno of connect. */
int qmp_open(const char *path, unsigned timeout_ms, struct qmp **ret_qmp);
/* The same over @fd, which is connected; it becomes the client's, also on failure. */
int qmp_take(int fd, unsigned timeout_ms, struct qmp **ret_qmp);
void qmp_close(struct qmp *q);

/* Runs @command. @args (stolen) may be NULL. *ret_value, the caller's to drop, is QEMU's answer;
 * NULL @ret_value drops it here.
 * Return: 0; -EREMOTEIO when QEMU refused (qmp_reason() has its words); -EPIPE when it went away;
 * -ETIMEDOUT; -EPROTO. */
int qmp_call(struct qmp *q, const char *command, json_t *args, json_t **ret_value);

/* Waits for the next event, at most @timeout_ms. *ret_event is the caller's to drop. Return: 0;
 * -EPIPE; -ETIMEDOUT; -EPROTO. */
int qmp_event(struct qmp *q, unsigned timeout_ms, json_t **ret_event);

/* Readable when there may be an event; borrowed. */
int qmp_fd(const struct qmp *q);

/* QEMU's description of the last refusal; lives as long as @q. */
const char *qmp_reason(const struct qmp *q);
