/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command by which the keeper has a storage function's machine started: `postern vm run` in the
 * foreground. A worker, which a guest may have broken into, chooses its words, so they are judged
 * here: nothing gets to QEMU but what is on a list, no file but those that a worker may open, and
 * no socket but the worker's own.
 */
#pragma once

#include "keeper/programs.h"

/* @text: the machine's name, then key=value, a line each. @room holds KEEPER_PATH_MAX and is the
 * first word's. Ownership: one block, the caller's to free, and @room. Return: 0; -EINVAL: it is
 * none; -EACCES: what a machine may not have; -ENOENT; -ENOMEM; -errno. */
int machine_command(struct programs *ps, const char *text, char *room, char ***ret_argv);
