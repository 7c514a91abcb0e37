/* SPDX-License-Identifier: Apache-2.0 */
/* The worker: rings, media and control commands, in a sandbox. */
#pragma once

#include "bin/options.h"

/* The worker's main. Return: the exit status. */
int worker_run(const struct options *o);
