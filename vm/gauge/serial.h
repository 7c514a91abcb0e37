/* SPDX-License-Identifier: Apache-2.0 */
/* COM1: lines from the host, bytes to it. Nothing is lost as long as the host reads. */
#pragma once

#include "base/base.h"

void serial_init(void);

/* Sleeps until a line has come and writes it, without its end, to @ret_line. Return: false if it
 * was longer than @size - 1 and was cut. */
bool serial_line(char *ret_line, size_t size);

void serial_write(const char *data, size_t len_b);
