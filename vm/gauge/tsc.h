/* SPDX-License-Identifier: Apache-2.0 */
/* How fast the processor's counter runs, behind base/clock.h's functions. */
#pragma once

#include "base/clock.h"

enum tsc_source { TSC_CPUID, TSC_HOST, TSC_PIT };

/* Asks the processor or the hypervisor, otherwise measures, for 50 ms. Return: NULL; or why it
 * cannot be known. */
const char *tsc_init(void);
/* The host knows better. @khz is not 0. */
void tsc_set_khz(uint64_t khz);
uint64_t tsc_khz(void);
enum tsc_source tsc_source(void);

/* The hypervisor's name for itself, at most 12 letters; "" without one. */
void tsc_hypervisor(char ret_name[13]);
