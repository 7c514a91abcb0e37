/* SPDX-License-Identifier: Apache-2.0 */
/* Serial lines, to the host and from it. Nothing is lost as long as the host reads. */
#pragma once

#include "base/base.h"

enum serial { COM1 = 0x3f8, COM2 = 0x2f8 }; /* their first port */

/* What has come before is lost. From now on what comes is a wake-up (machine.h). */
void serial_init(enum serial at);

/* Return: whether a byte had come; it is in *@ret then. Two exits, one if there was none. */
bool serial_take(enum serial at, uint8_t *ret);

/* Sleeps until a line has come and writes it, without its end, to @ret_line. Return: false if it
 * was longer than @size - 1 and was cut. */
bool serial_line(enum serial at, char *ret_line, size_t size);

void serial_write(enum serial at, const void *data, size_t len_b);
