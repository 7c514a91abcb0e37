/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "media/ram/stream.h"

void stream_copy(void *to, const void *from, size_t len_b)
{
	memcpy(to, from, len_b);
}

void stream_zero(void *to, size_t len_b)
{
	memset(to, 0, len_b);
}

/* Ordinary stores: whoever publishes the completion orders them. */
void stream_fence(void)
{
}
