/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plots of rows over one axis, as SVG inside a page: each row has a label and a value above its
 * marks, so that it reads as well on a phone. Colours are the page's classes. Calls go in the
 * order begin, (row, marks)..., end. One thread.
 */
#pragma once

#include "base/base.h"

#include <stdio.h>

struct plot {
	FILE *out;
	bool log;
	double low, high;
	char *(*format)(double value, char *buf); /* of the axis; buf holds 16 bytes */
	unsigned rows, at;
};

/* For a logarithmic axis @low and @high become the powers of ten around them. @title is what a
 * screen reader says. */
void plot_begin(struct plot *p, const char *title);
void plot_row(struct plot *p, const char *label, const char *value);

/* Marks of the present row. Values beyond the axis end at its edge. @css: class names; @tip: what
 * a pointer that rests on it is told, or NULL. */
void plot_bar(struct plot *p, double from, double to, double thick, const char *css);
void plot_dot(struct plot *p, double at, const char *css, const char *tip);
/* A line through all rows. */
void plot_line(struct plot *p, double at, const char *css);
void plot_end(struct plot *p);

/* @text with what HTML would take for its own made harmless. */
void html_text(const char *text, FILE *out);
