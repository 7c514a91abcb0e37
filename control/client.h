/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calling posternd from another program: connect, call, read the typed error. One
 * call at a time; a connection belongs to one thread. Blocks until posternd answers.
 */
#pragma once

#include "control/ctl.h"

struct ctl_client;

/* Behind the control socket's path: where the keeper is asked to replace its worker's program. */
#define CTL_KEEPER_SUFFIX ".keeper"

/* The control socket's place: $XDG_RUNTIME_DIR/postern/control.sock; /run/postern/control.sock
 * without XDG_RUNTIME_DIR, or when only that one exists.
 * Ownership: the caller frees it. Return: NULL without memory. */
char *ctl_client_default_path(void);

/* @path NULL: the default one. Error ids: no_daemon, denied, path_too_long.
 * Return: 0; -errno with @err filled. */
int ctl_client_open(const char *path, struct ctl_client **ret, struct ctl_error *err);
void ctl_client_close(struct ctl_client *c);

/* Calls @method ("disk.create") with the object @params (borrowed; NULL: none). @err is what
 * posternd answered, or no_daemon when it went away, bad_answer when it made no sense.
 * Ownership: *ret_result is a new reference; @ret_result may be NULL.
 * Return: 0; -EREMOTEIO: posternd refused, see @err; -errno. */
int ctl_client_call(struct ctl_client *c, const char *method, const json_t *params,
		    json_t **ret_result, struct ctl_error *err);
