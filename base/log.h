/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Log lines on standard error: "postern: LEVEL: [object] text". The caller that
 * decides does the logging; nothing on the I/O path logs. Any thread: a line is
 * one write(2), and is dropped where that would wait for a reader.
 */
#pragma once

#include "base/base.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* Lines above @level are dropped (default LOG_INFO). Any thread, at any time. */
void log_set_level(enum log_level level);
enum log_level log_get_level(void);

/* "error", "warn", "info", "debug". Return: -EINVAL for any other name. */
int log_level_parse(const char *name, enum log_level *ret_level);
const char *log_level_name(enum log_level level);

/* @object: the user's name of the disk, medium or poller concerned, or NULL. */
void log_write(enum log_level level, const char *object, const char *fmt, ...) printf_like(3, 4);

#define log_error(object, ...) log_write(LOG_ERROR, object, __VA_ARGS__)
#define log_warn(object, ...) log_write(LOG_WARN, object, __VA_ARGS__)
#define log_info(object, ...) log_write(LOG_INFO, object, __VA_ARGS__)
#define log_debug(object, ...) log_write(LOG_DEBUG, object, __VA_ARGS__)
