/* SPDX-License-Identifier: Apache-2.0 */
#include "compare/plot.h"

#include <math.h>

#define WIDTH 400
#define LEFT 6
#define RIGHT 394
#define ROW 40
#define MARKS 27 /* below the row's top */
#define AXIS 26

void html_text(const char *text, FILE *out)
{
	for (; *text; text++) {
		switch (*text) {
		case '<':
			fputs("&lt;", out);
			break;
		case '>':
			fputs("&gt;", out);
			break;
		case '&':
			fputs("&amp;", out);
			break;
		case '"':
			fputs("&quot;", out);
			break;
		default:
			/* control characters are no text, and no XML */
			fputc((unsigned char)*text < ' ' ? ' ' : *text, out);
		}
	}
}

static double place(const struct plot *p, double value)
{
	double share;

	if (p->log)
		share = value > 0 ? log(value / p->low) / log(p->high / p->low) : 0;
	else
		share = (value - p->low) / (p->high - p->low);
	share = share < 0 ? 0 : share > 1 ? 1 : share;
	return LEFT + share * (RIGHT - LEFT);
}

static double middle(const struct plot *p)
{
	return (p->at - 1) * ROW + MARKS;
}

static unsigned height(const struct plot *p)
{
	return p->rows * ROW + AXIS;
}

/* A line from top to bottom, with its value below. */
static void tick(const struct plot *p, double value, bool labelled)
{
	double x = place(p, value);
	char buf[16];

	fprintf(p->out, "<line class=\"grid\" x1=\"%.1f\" y1=\"0\" x2=\"%.1f\" y2=\"%u\"/>\n", x, x,
		p->rows * ROW + 6);
	if (!labelled)
		return;
	fprintf(p->out, "<text class=\"axis\" x=\"%.1f\" y=\"%u\" text-anchor=\"%s\">", x,
		p->rows * ROW + 20, x < 30 ? "start" : x > WIDTH - 30 ? "end" : "middle");
	html_text(p->format(value, buf), p->out);
	fputs("</text>\n", p->out);
}

static void ticks(const struct plot *p)
{
	if (p->log) {
		double decades = round(log10(p->high / p->low));
		unsigned n = 0, each = decades > 5 ? 2 : 1;

		for (double v = p->low; v < p->high * 1.01; v *= 10, n++)
			tick(p, v, n % each == 0);
		return;
	}
	double unit = pow(10, floor(log10(p->high)));

	if (p->high / unit > 5)
		unit *= 2;
	else if (p->high / unit < 2)
		unit /= 4;
	for (unsigned i = 0; i * unit <= p->high * 1.001; i++)
		tick(p, i * unit, true);
}

void plot_begin(struct plot *p, const char *title)
{
	if (p->log) {
		p->low = pow(10, floor(log10(p->low) + 1e-9));
		p->high = pow(10, ceil(log10(p->high) - 1e-9));
		if (p->high <= p->low)
			p->high = p->low * 10;
	}
	p->at = 0;
	fprintf(p->out, "<svg viewBox=\"0 0 %d %u\" role=\"img\" aria-label=\"", WIDTH, height(p));
	html_text(title, p->out);
	fputs("\">\n", p->out);
	ticks(p);
}

void plot_row(struct plot *p, const char *label, const char *value)
{
	p->at++;
	double y = (p->at - 1) * ROW + 14;

	fprintf(p->out, "<text class=\"label\" x=\"%d\" y=\"%.0f\">", LEFT, y);
	html_text(label, p->out);
	fprintf(p->out, "</text>\n<text class=\"value\" x=\"%d\" y=\"%.0f\" text-anchor=\"end\">",
		RIGHT, y);
	html_text(value, p->out);
	fputs("</text>\n", p->out);
}

void plot_bar(struct plot *p, double from, double to, double thick, const char *css)
{
	double a = place(p, from), b = place(p, to);

	fprintf(p->out, "<rect class=\"%s\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" "
		"rx=\"%.1f\"/>\n", css, a, middle(p) - thick / 2, b > a + 1 ? b - a : 1, thick,
		thick < 4 ? 0 : 2.0);
}

void plot_dot(struct plot *p, double at, const char *css, const char *tip)
{
	fprintf(p->out, "<circle class=\"%s\" cx=\"%.1f\" cy=\"%.1f\" r=\"4.5\">", css,
		place(p, at), middle(p));
	if (tip) {
		fputs("<title>", p->out);
		html_text(tip, p->out);
		fputs("</title>", p->out);
	}
	fputs("</circle>\n", p->out);
}

void plot_line(struct plot *p, double at, const char *css)
{
	double x = place(p, at);

	fprintf(p->out, "<line class=\"%s\" x1=\"%.1f\" y1=\"0\" x2=\"%.1f\" y2=\"%u\"/>\n", css, x,
		x, p->rows * ROW + 6);
}

void plot_end(struct plot *p)
{
	fputs("</svg>\n", p->out);
}
