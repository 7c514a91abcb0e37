/* SPDX-License-Identifier: Apache-2.0 */
/* `postern compare`: every path to storage on this host, measured side by side. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/parse.h"
#include "bin/cli.h"
#include "compare/compare.h"

/* One line that is written over, when somebody watches. */
static void show_progress(unsigned done, unsigned of, const char *what)
{
	fprintf(stderr, "\r\033[K%3u %%  %s", of ? 100 * done / of : 0, what);
}

/* "0.5" or a time with its unit. */
static int read_seconds(const char *text, uint64_t *ret_ns)
{
	char *end;
	double s = strtod(text, &end);

	if (*end || !(s > 0))
		return parse_ns(text, ret_ns);
	*ret_ns = (uint64_t)(s * 1e9);
	return 0;
}

static int read_conf(const json_t *params, struct compare_conf *c, struct ctl_error *err)
{
	const json_t *medium = json_object_get(params, "medium");

	*c = (struct compare_conf){
		.medium = ctl_str(medium, "kind"),
		.dir = ctl_str(medium, "path"),
		.paths = ctl_str(params, "paths"),
		.rounds = (unsigned)ctl_u64(params, "rounds"),
		.full = ctl_bool(params, "full"),
		.accel = ctl_str(params, "accel"),
		.progress = isatty(STDERR_FILENO) ? show_progress : NULL,
	};
	c->size_b = ctl_has(medium, "size") ? ctl_u64(medium, "size") :
		    strcmp(c->medium, "null") ? 256 * MIB : GIB;
	if (c->size_b % MIB || c->size_b < 64 * MIB)
		return ctl_fail(err, -EINVAL, "bad_value", "medium.size",
				"a whole number of MiB, 64 of them at least");
	if (read_seconds(ctl_str(params, "seconds"), &c->run_ns) || c->run_ns < 10 * NS_PER_MS ||
	    c->run_ns > 60 * NS_PER_S)
		return ctl_fail(err, -EINVAL, "bad_value", "seconds", "0.01 to 60, such as 0.5");
	return 0;
}

static int write_page(const struct compare_report *r, const char *path, struct ctl_error *err)
{
	/* with no report yet: whether it may be written, before a minute has been spent */
	FILE *f = fopen(path, r ? "we" : "ae");
	int rc = f ? 0 : -errno;

	if (f && r)
		compare_html(r, f);
	if (f && fclose(f))
		rc = -errno;
	return rc ? ctl_fail(err, rc, "output_failed", "html", "%s: %s", path, strerror(-rc)) : 0;
}

static json_t *text_of(const struct compare_report *r)
{
	char *buf = NULL;
	size_t len;
	FILE *f = open_memstream(&buf, &len);

	if (!f)
		return NULL;
	compare_text(r, f);
	fclose(f);
	if (len && buf[len - 1] == '\n')
		buf[len - 1] = '\0'; /* whoever prints it ends the line */
	json_t *text = json_string(buf);

	free(buf);
	return text;
}

static int run_compare(struct ctl *ctl, const json_t *params, json_t **ret, struct ctl_error *err)
{
	const struct cli *cli = (const struct cli *)ctl;
	const char *html = ctl_str(params, "html");
	static struct compare_report report;
	struct compare_conf conf;
	int rc = read_conf(params, &conf, err);

	if (rc)
		return rc;
	if (html && write_page(NULL, html, err))
		return -EIO;
	unsigned seconds = compare_estimate_s(&conf);

	if (!cli->json && seconds)
		fprintf(stderr, "This takes about %u s.\n", seconds);
	rc = compare_run(&conf, &report, err);
	if (conf.progress)
		fputs("\r\033[K", stderr);
	if (!rc && html)
		rc = write_page(&report, html, err);
	if (!rc)
		*ret = cli->json ? compare_json(&report) : text_of(&report);
	return rc;
}

static const struct ctl_param ram_params[] = {
	{ .name = "size", .type = CTL_SIZE, .help = "Size; not given: 256M" },
	{ 0 },
};
static const struct ctl_param null_params[] = {
	{ .name = "size", .type = CTL_SIZE, .help = "Size; not given: 1G" },
	{ 0 },
};
static const struct ctl_param file_params[] = {
	{ .name = "path", .type = CTL_PATH,
	  .help = "Directory on the file system to measure; not given: /var/tmp" },
	{ .name = "size", .type = CTL_SIZE, .help = "Size; not given: 256M" },
	{ 0 },
};
static const struct ctl_kind null_kind = { .name = "null", .params = null_params,
					   .help = "Answers at once: what is left is the path" };
static const struct ctl_kind ram_kind = { .name = "ram", .params = ram_params,
					  .help = "Memory; QEMU's disks lie in a file on /dev/shm" };
static const struct ctl_kind file_kind = { .name = "file", .params = file_params,
					   .help = "A scratch file, removed afterwards" };
static const struct ctl_kind *const kinds[] = { &null_kind, &ram_kind, &file_kind, NULL };
const struct ctl_kind_set compare_sets[] = { { "compare.medium", kinds }, { 0 } };

static const char *const accels[] = { "auto", "kvm", "tcg", NULL };
static const struct ctl_param compare_params[] = {
	{ .name = "medium", .type = CTL_KIND, .kind_set = "compare.medium", .value = "null",
	  .help = "What all paths lead to" },
	{ .name = "seconds", .type = CTL_STRING, .value = "0.5",
	  .help = "How long each load runs in each round" },
	{ .name = "rounds", .type = CTL_UINT, .min = 1, .max = COMPARE_ROUNDS_MAX, .value = "3",
	  .help = "How often all is measured, in turn" },
	{ .name = "paths", .type = CTL_STRING, .max = 200,
	  .help = "Only these, divided by commas; a wrong one is answered with all there are" },
	{ .name = "full", .type = CTL_BOOL, .value = "off", .help = "All loads and all paths" },
	{ .name = "accel", .type = CTL_ENUM, .choices = accels, .value = "auto",
	  .help = "How guests run: KVM where it works, or emulation" },
	{ .name = "html", .type = CTL_PATH, .help = "Write the report there, too, as a page" },
	{ 0 },
};

const struct ctl_cmd compare_cmds[] = {
	{ .noun = "compare", .verb = "", .params = compare_params, .run = run_compare,
	  .help = "Measure whether to bypass the hypervisor on this host" },
	{ 0 },
};
