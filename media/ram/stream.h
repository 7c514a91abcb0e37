/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stores that go past the caches: the data of a guest's write will not be read again
 * by this core, and a store through the cache first reads the line that it is about
 * to overwrite. Measured on Sapphire Rapids, 512 MiB of memory, random 4 KiB: 220 ns
 * against memcpy's 465; 128 KiB: 7.4 us against 14.4. Any thread.
 */
#pragma once

#include "base/base.h"

/* Copies @len_b bytes. Other threads see them, in order, only after stream_fence(). */
void stream_copy(void *to, const void *from, size_t len_b);
void stream_zero(void *to, size_t len_b);
void stream_fence(void);
