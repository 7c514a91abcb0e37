/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The report as one page: style, plots and tables inside it, nothing fetched, no script. It is
 * also well-formed XML, so that programs can read it.
 */
#include <stdlib.h>
#include <string.h>

#include "base/parse.h"
#include "compare/figure.h"
#include "compare/plot.h"

#define PROBES (COMPARE_ROUNDS_MAX * COMPARE_PROBES_MAX)

static const char style[] =
	":root{color-scheme:light dark;--bg:#fbfbf9;--fg:#1d1f21;--dim:#5d636b;--card:#fff;"
	"--line:#d9dcdf;--bare:#6b7280;--postern:#1660c4;--qemu:#b4560a;--qsd:#1a7a4c;--warn:#fff4d6}\n"
	"@media (prefers-color-scheme:dark){:root{--bg:#15171a;--fg:#e8e9ea;--dim:#a3a9b1;"
	"--card:#1e2125;--line:#383d43;--bare:#a6adb8;--postern:#6ba8ff;--qemu:#f2a35e;"
	"--qsd:#5fcf97;--warn:#3b3216}}\n"
	"*{box-sizing:border-box}body{margin:0 auto;padding:16px;max-width:1080px;background:var(--bg);"
	"color:var(--fg);font:16px/1.5 system-ui,sans-serif;overflow-wrap:anywhere}\n"
	"h1{font-size:1.6rem;margin:.2em 0}h2{font-size:1.15rem;margin:1.6em 0 .4em}"
	"p{margin:.4em 0}.dim{color:var(--dim);font-size:.9rem}\n"
	".card{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:12px 14px;"
	"margin:12px 0}.answer{border-left:4px solid var(--postern);font-size:1.05rem}"
	".warn{background:var(--warn)}\n"
	".plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,420px),1fr));gap:14px}"
	".plots .card{margin:0}.plots h2{margin-top:0}svg{display:block;width:100%;max-width:520px;"
	"height:auto;font:13px system-ui,sans-serif}\n"
	"svg text{fill:var(--fg)}svg .axis,svg .value{fill:var(--dim)}.grid{stroke:var(--line)}"
	".folk{stroke:var(--dim);stroke-dasharray:4 3}\n"
	".bare{fill:var(--bare)}.postern{fill:var(--postern)}.qemu{fill:var(--qemu)}.qsd{fill:var(--qsd)}"
	".light{opacity:.35}.not{fill:var(--card);stroke:var(--dim);stroke-width:1.5}"
	".tail{stroke:var(--fg);stroke-width:1}\n"
	".wide{overflow-x:auto}table{border-collapse:collapse;font-size:.88rem;"
	"font-variant-numeric:tabular-nums}th,td{padding:4px 9px;text-align:right;white-space:nowrap;"
	"border-bottom:1px solid var(--line)}th:first-child,td:first-child{text-align:left}"
	"th{color:var(--dim);font-weight:600}\n";

static const char *css_of(const struct compare_row *row)
{
	static const char *const css[] = {
		[COMPARE_BARE] = "bare", [COMPARE_CLIENT] = "postern",
		[COMPARE_POSTERN] = "postern",
		[COMPARE_QEMU] = "qemu", [COMPARE_QSD] = "qsd", [COMPARE_ASSIGNED] = "bare",
	};

	return css[row->path->kind];
}

static bool shown(const struct compare_row *row)
{
	return row->timed && !*row->skipped;
}

static bool is_small_read(const struct compare_load *l)
{
	return l->read_pct == 100 && l->bs_b == 4096;
}

static unsigned shown_rows(const struct compare_report *r)
{
	unsigned n = 0;

	for (unsigned i = 0; i < r->nrow; i++)
		n += shown(&r->row[i]);
	return n;
}

static char *axis_ns(double ns, char *buf)
{
	return format_ns((uint64_t)ns, buf);
}

static char *axis_cpus(double cpus, char *buf)
{
	snprintf(buf, 16, "%.3g", cpus);
	return buf;
}

/* Lines of text as paragraphs. */
static void paragraphs(const char *text, FILE *out)
{
	for (const char *at = text; at && *at;) {
		size_t len = strcspn(at, "\n");
		char line[600];

		snprintf(line, sizeof(line), "%.*s", (int)len, at);
		fputs("<p>", out);
		html_text(line, out);
		fputs("</p>\n", out);
		at += len + (at[len] == '\n');
	}
}

static void card_begin(const char *title, const char *note, FILE *out)
{
	fputs("<section class=\"card\">\n<h2>", out);
	html_text(title, out);
	fputs("</h2>\n<p class=\"dim\">", out);
	html_text(note, out);
	fputs("</p>\n", out);
}

/* Makes room for @v between @low and @high, which begin at 0. */
static void widen(double v, double *low, double *high)
{
	if (v <= 0)
		return;
	*low = *low <= 0 || v < *low ? v : *low;
	*high = v > *high ? v : *high;
}

/* Reads of 4 KiB at each depth measured, as dots on one line a path. */
static void iops_by_depth(const struct compare_report *r, FILE *out)
{
	struct plot p = { .out = out, .log = true, .format = format_iops, .rows = shown_rows(r) };

	for (unsigned i = 0; i < r->nrow; i++)
		for (unsigned l = 0; l < r->nload && shown(&r->row[i]); l++)
			if (is_small_read(r->load[l]))
				widen(figure_of(&r->row[i].cell[l], FIELD(iops)).value, &p.low,
				      &p.high);
	if (p.high <= 0)
		return;
	card_begin("IOPS by depth",
		   "4 KiB random reads; from the lowest depth to the highest. To the "
		   "right is better.", out);
	plot_begin(&p, "IOPS of each path by depth");
	for (unsigned i = 0; i < r->nrow; i++) {
		const struct compare_row *row = &r->row[i];
		char value[64] = "", buf[16], tip[64];
		double low = 0, high = 0;

		if (!shown(row))
			continue;
		for (unsigned l = 0; l < r->nload; l++)
			if (is_small_read(r->load[l]))
				widen(figure_of(&row->cell[l], FIELD(iops)).value, &low, &high);
		snprintf(value, sizeof(value), "%s", high > 0 ? format_iops(low, buf) : "-");
		if (high > low)
			snprintf(value + strlen(value), sizeof(value) - strlen(value), " to %s",
				 format_iops(high, buf));
		plot_row(&p, row->path->title, value);
		if (high > 0)
			plot_bar(&p, low, high, 2, css_of(row));
		for (unsigned l = 0; l < r->nload; l++) {
			struct figure f = figure_of(&row->cell[l], FIELD(iops));

			if (!is_small_read(r->load[l]) || !f.n)
				continue;
			snprintf(tip, sizeof(tip), "depth %u: %s IOPS", r->load[l]->depth,
				 format_iops(f.value, buf));
			plot_dot(&p, f.value, css_of(row), tip);
		}
	}
	plot_end(&p);
	fputs("</section>\n", out);
}

/* A mark of the distribution, its median over the rounds. 0: unknown. */
static double mark(const struct compare_cell *c, unsigned m)
{
	struct figure first = figure_of(c, FIELD(mark_ns));

	return first.n ? figure_of(c, FIELD(mark_ns) + m * sizeof(double)).value : 0;
}

static void latency_row(struct plot *p, const struct compare_row *row, unsigned l)
{
	const struct compare_cell *c = &row->cell[l];
	struct figure p50 = figure_of(c, FIELD(p50_ns)), p99 = figure_of(c, FIELD(p99_ns));
	char value[64], a[16], b[16], css[32], tip[80];

	snprintf(value, sizeof(value), "%s, p99 %s us", p50.n ? format_us(p50.value, a) : "-",
		 p99.n ? format_us(p99.value, b) : "-");
	plot_row(p, row->path->title, value);
	if (!p50.n)
		return;
	snprintf(css, sizeof(css), "%s light", css_of(row));
	if (mark(c, 0) > 0) {
		plot_bar(p, mark(c, 0), mark(c, COMPARE_MARKS - 1), 3, css);
		plot_bar(p, mark(c, 2), mark(c, 7), 7, css);
		plot_bar(p, mark(c, 3), mark(c, 5), 11, css);
	} else {
		plot_bar(p, p50.value, p99.value, 3, css);
	}
	snprintf(tip, sizeof(tip), "median %s us, 99 %% within %s us", a, b);
	plot_dot(p, p50.value, css_of(row), tip);
}

static void latency(const struct compare_report *r, unsigned l, FILE *out)
{
	struct plot p = { .out = out, .log = true, .format = axis_ns, .rows = shown_rows(r) };
	char title[120];

	for (unsigned i = 0; i < r->nrow; i++) {
		const struct compare_cell *c = &r->row[i].cell[l];

		if (!shown(&r->row[i]))
			continue;
		widen(figure_of(c, FIELD(p50_ns)).value, &p.low, &p.high);
		widen(figure_of(c, FIELD(p999_ns)).value, &p.low, &p.high);
		widen(mark(c, 0), &p.low, &p.high);
	}
	if (p.high <= 0)
		return;
	snprintf(title, sizeof(title), "Latency, %s", r->load[l]->title);
	card_begin(title, "Dot: median. Thick: the middle half; then 10 to 95 %; thin: 1 to 99.9 % of "
		   "all requests. To the left is better.", out);
	plot_begin(&p, title);
	for (unsigned i = 0; i < r->nrow; i++)
		if (shown(&r->row[i]))
			latency_row(&p, &r->row[i], l);
	plot_end(&p);
	fputs("</section>\n", out);
}

/* On a logarithmic axis a bar's length says nothing; its end does. */
static void lollipop(struct plot *p, double at, const char *css)
{
	plot_bar(p, p->low, at, 2, css);
	plot_dot(p, at, css, NULL);
}

static void cpu_per_io(const struct compare_report *r, unsigned l, FILE *out)
{
	struct plot p = { .out = out, .log = true, .format = axis_ns, .rows = shown_rows(r) };
	char title[120], buf[16], value[32];

	for (unsigned i = 0; i < r->nrow; i++)
		if (shown(&r->row[i]))
			widen(figure_of(&r->row[i].cell[l], FIELD(cpu_ns)).value, &p.low, &p.high);
	if (p.high <= 0)
		return;
	snprintf(title, sizeof(title), "Host CPU per request, %s", r->load[l]->title);
	card_begin(title, "Guest, poller and kernel together, at full speed. To the left is better.",
		   out);
	plot_begin(&p, title);
	for (unsigned i = 0; i < r->nrow; i++) {
		const struct compare_row *row = &r->row[i];
		struct figure f = figure_of(&row->cell[l], FIELD(cpu_ns));

		if (!shown(row))
			continue;
		snprintf(value, sizeof(value), "%s us", f.n ? format_us(f.value, buf) : "-");
		plot_row(&p, row->path->title, value);
		if (f.n)
			lollipop(&p, f.value, css_of(row));
	}
	plot_end(&p);
	fputs("</section>\n", out);
}

static void paced_cpus(const struct compare_report *r, FILE *out)
{
	const struct compare_row *bare = report_row(r, "bare");
	struct figure base = bare ? report_paced_cpus(r, bare) : (struct figure){ .n = 0 };
	struct plot p = { .out = out, .format = axis_cpus, .rows = shown_rows(r) };
	char title[120], buf[16], value[64];

	for (unsigned i = 0; i < r->nrow; i++)
		if (shown(&r->row[i]) && report_paced_cpus(r, &r->row[i]).value > p.high)
			p.high = report_paced_cpus(r, &r->row[i]).value;
	if (p.high <= 0)
		return;
	snprintf(title, sizeof(title), "Host CPUs at the same %s IOPS",
		 format_iops(r->paced_iops, buf));
	card_begin(title, "What each path costs at a load that all sustain, and in per cent of the "
		   "bare host. Dashed: 110 % of bare, where folklore puts virtualisation.", out);
	plot_begin(&p, title);
	for (unsigned i = 0; i < r->nrow; i++) {
		const struct compare_row *row = &r->row[i];
		struct figure f = report_paced_cpus(r, row), pct = report_paced_pct(r, row);

		if (!shown(row))
			continue;
		snprintf(value, sizeof(value), f.n ? "%.2f" : "-", f.value);
		if (pct.n)
			snprintf(value + strlen(value), sizeof(value) - strlen(value), " = %.0f %%",
				 pct.value);
		plot_row(&p, row->path->title, value);
		if (f.n)
			plot_bar(&p, 0, f.value, 9, css_of(row));
	}
	if (base.n)
		plot_line(&p, base.value * 1.1, "folk");
	plot_end(&p);
	fputs("</section>\n", out);
}

/* Every load that was offered: filled where it was kept up with. */
static void probes(struct plot *p, const struct compare_row *row)
{
	char tip[80], a[16], b[16];

	for (unsigned i = 0; i < COMPARE_ROUNDS_MAX; i++) {
		for (unsigned n = 0; n < COMPARE_PROBES_MAX; n++) {
			const struct compare_probe *at = &row->probe[i][n];

			if (at->offered <= 0)
				continue;
			snprintf(tip, sizeof(tip), "offered %s, done %s IOPS",
				 format_iops(at->offered, a), format_iops(at->iops, b));
			plot_dot(p, at->offered,
				 at->offered <= row->threshold[i] ? css_of(row) : "not", tip);
		}
	}
}

static void saturation(const struct compare_report *r, FILE *out)
{
	struct plot p = { .out = out, .log = true, .format = format_iops, .rows = shown_rows(r) };
	char value[40], buf[16];

	for (unsigned i = 0; i < r->nrow; i++)
		for (unsigned k = 0; shown(&r->row[i]) && k < PROBES; k++)
			widen((&r->row[i].probe[0][0])[k].offered, &p.low, &p.high);
	if (p.high <= 0)
		return;
	card_begin("Where each path saturates",
		   "Loads offered one request at a time, evenly: filled "
		   "where the path kept up (95 % done), hollow where it did not. The line ends at its "
		   "threshold.", out);
	plot_begin(&p, "Load at which each path saturates");
	for (unsigned i = 0; i < r->nrow; i++) {
		const struct compare_row *row = &r->row[i];
		struct figure f = report_threshold(row);
		char css[32];

		if (!shown(row))
			continue;
		snprintf(value, sizeof(value), "%s IOPS", f.n ? format_iops(f.value, buf) : "-");
		plot_row(&p, row->path->title, value);
		snprintf(css, sizeof(css), "%s light", css_of(row));
		if (f.n)
			plot_bar(&p, p.low, f.value, 3, css);
		probes(&p, row);
	}
	plot_end(&p);
	fputs("</section>\n", out);
}

static void td(const struct figure *f, const char *text, FILE *out)
{
	fputs("<td>", out);
	html_text(f->n ? text : "-", out);
	fputs("</td>", out);
}

static void table_row(const struct compare_report *r, const struct compare_row *row, unsigned l,
		      FILE *out)
{
	static const size_t times[] = { FIELD(p50_ns), FIELD(p99_ns), FIELD(p999_ns),
					FIELD(cpu_ns) };
	static const size_t counts[] = { FIELD(kicks), FIELD(irqs), FIELD(exits) };
	const struct compare_row *bare = report_row(r, "bare");
	const struct compare_cell *c = &row->cell[l];
	struct figure f = figure_of(c, FIELD(iops)), none = { .n = 0 };
	char buf[16], pct[24];

	fputs("<tr><td>", out);
	html_text(row->path->title, out);
	fputs("</td>", out);
	td(row->timed ? &f : &none, format_iops(f.value, buf), out);
	snprintf(pct, sizeof(pct), "%.0f %%", 100 * figure_spread(&f));
	td(row->timed ? &f : &none, pct, out);
	f = bare && bare != row && row->timed ? figure_ratio(c, &bare->cell[l], FIELD(iops)) : none;
	snprintf(pct, sizeof(pct), "%.*f %%", f.value < 0.1, 100 * f.value);
	td(&f, pct, out);
	f = bare && bare != row && row->timed ? figure_added(c, &bare->cell[l], FIELD(p50_ns)) :
	    none;
	td(&f, format_us(f.value, buf), out);
	for (size_t i = 0; i < ARRAY_SIZE(times); i++) {
		f = figure_of(c, times[i]);
		td(row->timed ? &f : &none, format_us(f.value, buf), out);
	}
	for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
		f = figure_of(c, counts[i]);
		snprintf(buf, sizeof(buf), "%.2f", f.value);
		td(&f, buf, out);
	}
	fputs("</tr>\n", out);
}

static void tables(const struct compare_report *r, FILE *out)
{
	for (unsigned l = 0; l < r->nload; l++) {
		fputs("<h2>", out);
		html_text(r->load[l]->title, out);
		fputs("</h2>\n<div class=\"wide\"><table><tr><th>Path</th><th>IOPS</th><th>+-</th>"
		      "<th>of bare</th><th>added us</th><th>p50 us</th><th>p99 us</th><th>p99.9 us</th>"
		      "<th>CPU us</th><th>kicks</th><th>interrupts</th><th>exits</th></tr>\n", out);
		for (unsigned i = 0; i < r->nrow; i++)
			if (!*r->row[i].skipped)
				table_row(r, &r->row[i], l, out);
		fputs("</table></div>\n", out);
	}
}

static void features(const struct compare_report *r, FILE *out)
{
	static const char *const name[] = { "migration", "suspend", "hot-add", "resize", "limits",
					    "statistics", "snapshots", "upgrade" };

	fputs("<h2>What stays of the hypervisor's features</h2>\n<div class=\"wide\"><table><tr>"
	      "<th>Path</th>", out);
	for (size_t f = 0; f < ARRAY_SIZE(name); f++)
		fprintf(out, "<th>%s</th>", name[f]);
	fputs("</tr>\n", out);
	for (unsigned i = 0; i < r->nrow; i++) {
		const struct compare_path *path = r->row[i].path;

		if (path->kind == COMPARE_BARE || path->kind == COMPARE_CLIENT)
			continue;
		fputs("<tr><td>", out);
		html_text(path->title, out);
		fputs("</td>", out);
		for (size_t f = 0; f < ARRAY_SIZE(name); f++)
			fprintf(out, "<td>%s</td>", strstr(path->keeps, name[f]) ? "yes" : "-");
		fputs("</tr>\n", out);
	}
	fputs("</table></div>\n", out);
}

static void fast12(const struct compare_report *r, FILE *out)
{
	CLEANUP(base_free) char *text = report_fast12(r);
	char *save = NULL;

	if (!text || !*text)
		return;
	fputs("<h2>Beside FAST'12</h2>\n<p class=\"dim\">Ben-Yehuda et al., the polled transport that "
	      "this design follows.</p>\n<div class=\"wide\"><table><tr><th></th><th>FAST'12</th>"
	      "<th>here</th></tr>\n", out);
	for (char *l = strtok_r(text, "\n", &save); l; l = strtok_r(NULL, "\n", &save)) {
		char *theirs = strchr(l, '|'), *ours = strrchr(l, '|');

		*theirs = *ours = '\0';
		fprintf(out, "<tr><td>%s</td><td>%s</td><td>%s</td></tr>\n", l, theirs + 1,
			ours + 1);
	}
	fputs("</table></div>\n", out);
}

static void skipped(const struct compare_report *r, FILE *out)
{
	bool any = false;

	for (unsigned i = 0; i < r->nrow; i++) {
		if (!*r->row[i].skipped)
			continue;
		fputs(any ? "<li>" : "<h2>Not measured</h2>\n<ul>\n<li>", out);
		html_text(r->row[i].path->title, out);
		fputs(": ", out);
		html_text(r->row[i].skipped, out);
		fputs("</li>\n", out);
		any = true;
	}
	fputs(any ? "</ul>\n" : "", out);
}

static void head(const struct compare_report *r, FILE *out)
{
	CLEANUP(base_free) char *answer = report_answer(r), *warnings = report_warnings(r);

	fputs("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
	      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n"
	      "<link rel=\"icon\" href=\"data:,\"/>\n"
	      "<title>Should you bypass the hypervisor?</title>\n<style>\n", out);
	fputs(style, out);
	fputs("</style>\n</head>\n<body>\n<h1>Should you bypass the hypervisor?</h1>\n"
	      "<p class=\"dim\">", out);
	html_text(r->host, out);
	fputs("; ", out);
	html_text(r->programs, out);
	fputs("; medium ", out);
	html_text(r->medium, out);
	fprintf(out, "; %u round%s of %.2g s each, in turn; %s</p>\n", r->rounds,
		r->rounds == 1 ? "" : "s", r->seconds, r->date);
	if (answer && *answer) {
		fputs("<section class=\"card answer\">\n", out);
		paragraphs(answer, out);
		fputs("</section>\n", out);
	}
	if (warnings && *warnings) {
		fputs("<section class=\"card warn\">\n", out);
		paragraphs(warnings, out);
		fputs("</section>\n", out);
	}
}

void compare_html(const struct compare_report *r, FILE *out)
{
	static const char *const first[] = { "read-4k-d1", "read-4k-d32" };

	head(r, out);
	fputs("<div class=\"plots\">\n", out);
	iops_by_depth(r, out);
	for (size_t i = 0; i < ARRAY_SIZE(first); i++)
		if (report_load(r, first[i]) >= 0)
			latency(r, (unsigned)report_load(r, first[i]), out);
	if (report_load(r, first[1]) >= 0)
		cpu_per_io(r, (unsigned)report_load(r, first[1]), out);
	paced_cpus(r, out);
	saturation(r, out);
	fputs("</div>\n", out);
	tables(r, out);
	features(r, out);
	fast12(r, out);
	skipped(r, out);
	fputs("<p class=\"dim\">Figures are medians over the rounds, +- half their reach; ratios are "
	      "taken within each round. Written by postern compare.</p>\n</body>\n</html>\n", out);
}
