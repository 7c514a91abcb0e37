/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The trial of a program before any disk is given to it: the whole path, on a poller
 * and a small disk of its own, turned by hand. What was written must be what is read. It has one
 * limit for all of it; stall_ms is for requests of disks.
 */
#pragma once

#include "function/remote/program.h"

/* Context: control thread; waits for @p at most to @until_ns. A program that refuses the trial's
 * disk has passed. Return: 0; -errno with @why, of HOST_WHY_MAX bytes. */
int check_program(struct program *p, uint64_t until_ns, char *why);
