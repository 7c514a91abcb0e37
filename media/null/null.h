/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The null medium: every request is done at once and no byte is touched, so what
 * remains is the cost of the path itself. Reads return whatever the guest's buffer
 * held. For measuring.
 */
#pragma once

#include "core/media.h"

/* Context: control thread. Ownership: closed by its own close operation. Return: 0 or -ENOMEM. */
int null_open(bool readonly, struct media **ret_media);
