/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arguments as key=value, of the programs that measure and watch. The list ends with NULL.
 */
#pragma once

#include "base/base.h"

/* The value of @key in @args, or @otherwise; a number that cannot be read ends the program. */
const char *arg_text(char **args, const char *key, const char *otherwise);
uint64_t arg_num(char **args, const char *key, uint64_t otherwise); /* also sizes: 4K, 512M */
