/* SPDX-License-Identifier: Apache-2.0 */
#include "bin/options.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/parse.h"
#include "bin/tables.h"
#include "bin/version.h"
#include "keeper/keeper.h"

enum { OPT_CONTROL = 256, OPT_GROUP, OPT_STATE, OPT_CPUS, OPT_POLLERS, OPT_LOG, OPT_SOCKET, OPT_FD,
       OPT_FILE, OPT_READ_ONLY, OPT_CAPABILITIES, OPT_SCHEMA, OPT_LINK, OPT_KEEP,
       OPT_KEPT_AT, OPT_BATON, OPT_IMAGES };

static const struct option long_options[] = {
	{ "control", required_argument, NULL, OPT_CONTROL },
	{ "control-group", required_argument, NULL, OPT_GROUP },
	{ "state", required_argument, NULL, OPT_STATE },
	{ "images", required_argument, NULL, OPT_IMAGES },
	{ "cpus", required_argument, NULL, OPT_CPUS },
	{ "pollers", required_argument, NULL, OPT_POLLERS },
	{ "log-level", required_argument, NULL, OPT_LOG },
	{ "socket-path", required_argument, NULL, OPT_SOCKET },
	{ "fd", required_argument, NULL, OPT_FD },
	{ "blk-file", required_argument, NULL, OPT_FILE },
	{ "read-only", no_argument, NULL, OPT_READ_ONLY },
	{ "print-capabilities", no_argument, NULL, OPT_CAPABILITIES },
	{ "print-schema", no_argument, NULL, OPT_SCHEMA },
	{ "worker-link", required_argument, NULL, OPT_LINK },
	{ "keeper-baton", required_argument, NULL, OPT_BATON },
	{ "keep", required_argument, NULL, OPT_KEEP },
	{ "kept-at", required_argument, NULL, OPT_KEPT_AT },
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, 'V' },
	{ 0 },
};

static const char help[] =
	"Usage: posternd [OPTION]...\n"
	"Serve disks to virtual machines over vhost-user; `postern` makes and shows them.\n"
	"\n"
	"  --control PATH        listen for `postern` here\n"
	"                        ($XDG_RUNTIME_DIR/postern/control.sock, otherwise\n"
	"                        /run/postern/control.sock)\n"
	"  --control-group NAME  let members of this group call, too\n"
	"  --state DIR           keep what must survive a restart here\n"
	"                        ($XDG_STATE_HOME/postern; ~/.local/state/postern;\n"
	"                        for root /var/lib/postern)\n"
	"  --images DIR          open no file that is not below this directory, or below one\n"
	"                        of several (anywhere)\n"
	"  --cpus LIST           CPUs for the pollers, one each in turn, such as 1,4-7\n"
	"                        (any but CPU 0)\n"
	"  --pollers N           polling threads (1)\n"
	"  --log-level LEVEL     error, warn, info or debug (info)\n"
	"  --kept-at WHERE       leave guests' connections and ram disks there when all of\n"
	"                        posternd goes, and go on with what is there: 'systemd', its\n"
	"                        store, or the socket of a `posternd --keep`\n"
	"  --keep PATH           be the process that only holds what another posternd leaves\n"
	"                        with it over the socket PATH; takes --log-level only\n"
	"\n"
	"One disk from the command line, as QEMU's backend programs do, without control\n"
	"socket and state:\n"
	"  --blk-file PATH       the disk's file or block device\n"
	"  --socket-path PATH    listen for the VMM here\n"
	"  --fd N                or serve this connected descriptor\n"
	"  --read-only           refuse all changes\n"
	"  --print-capabilities  say in JSON what of this is there\n"
	"\n"
	"  --print-schema        print all commands and their parameters as JSON\n"
	"  -h, --help\n"
	"  -V, --version\n"
	"\n"
	"It stays in the foreground and logs to standard error. See posternd(8).\n";

static char *absolute(const char *path)
{
	char *out = NULL, cwd[4096];

	if (path[0] == '/')
		return strdup(path);
	if (!getcwd(cwd, sizeof(cwd)) || asprintf(&out, "%s/%s", cwd, path) < 0)
		return NULL;
	return out;
}

static char *default_control(void)
{
	const char *dir = getenv("XDG_RUNTIME_DIR");
	char *out;

	return asprintf(&out, "%s/postern/control.sock", dir && dir[0] == '/' ? dir : "/run") < 0 ?
	       NULL : out;
}

static char *default_state(void)
{
	const char *dir = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
	char *out = NULL;

	if (dir && dir[0] == '/')
		return asprintf(&out, "%s/postern", dir) < 0 ? NULL : out;
	if (!geteuid())
		return strdup("/var/lib/postern");
	if (!home || home[0] != '/')
		return NULL;
	return asprintf(&out, "%s/.local/state/postern", home) < 0 ? NULL : out;
}

static int print_schema(void)
{
	json_t *schema = ctl_schema(&posternd_tables, POSTERN_VERSION);
	int err = json_dumpf(schema, stdout, JSON_INDENT(1));

	json_decref(schema);
	putchar('\n');
	return err ? -EINVAL : 1;
}

/* What is asked for and is no option to run with. */
static int print(int opt)
{
	if (opt == OPT_SCHEMA)
		return print_schema();
	if (opt == OPT_CAPABILITIES)
		puts("{\n  \"type\": \"block\",\n  \"features\": [\n    \"read-only\",\n"
		     "    \"blk-file\"\n  ]\n}");
	else if (opt == 'V')
		puts("posternd " POSTERN_VERSION);
	else
		fputs(help, stdout);
	return 1;
}

static int take_number(const char *name, const char *text, uint64_t min, uint64_t max,
		       uint64_t *ret)
{
	uint64_t v;

	if (!parse_u64(text, &v) && v >= min && v <= max) {
		*ret = v;
		return 0;
	}
	log_error(NULL, "--%s: '%s' is not a number from %llu to %llu", name, text,
		  (unsigned long long)min, (unsigned long long)max);
	return -EINVAL;
}

static int take_images(struct options *o, const char *arg)
{
	unsigned n = 0;
	char *dir = absolute(arg);

	while (o->images[n])
		n++;
	if (!dir || n == IMAGES_MAX) {
		log_error(NULL, "--images: at most %d directories", IMAGES_MAX);
		free(dir);
		return -EINVAL;
	}
	for (size_t len = strlen(dir); len && dir[len - 1] == '/'; len--)
		dir[len - 1] = '\0';
	o->images[n] = dir;
	return 0;
}

static int take(struct options *o, int opt, const char *arg)
{
	enum log_level level;
	uint64_t n = 0;
	int err;

	switch (opt) {
	case OPT_CONTROL:
		o->control = absolute(arg);
		return 0;
	case OPT_GROUP:
		o->control_group = arg;
		return 0;
	case OPT_STATE:
		o->state = absolute(arg);
		return 0;
	case OPT_IMAGES:
		return take_images(o, arg);
	case OPT_CPUS:
		o->cpus = arg;
		return 0;
	case OPT_POLLERS:
		err = take_number("pollers", arg, 1, 64, &n);
		o->pollers = (unsigned)n;
		return err;
	case OPT_LOG:
		if (log_level_parse(arg, &level)) {
			log_error(NULL, "--log-level: '%s' is not one of: error, warn, info, debug",
				  arg);
			return -EINVAL;
		}
		log_set_level(level);
		return 0;
	case OPT_SOCKET:
		o->socket_path = absolute(arg);
		return 0;
	case OPT_FD:
		err = take_number("fd", arg, 0, 65535, &n);
		o->fd = (int)n;
		return err;
	case OPT_FILE:
		o->blk_file = absolute(arg);
		return 0;
	case OPT_READ_ONLY:
		o->read_only = true;
		return 0;
	case OPT_LINK:
		o->worker_link = arg;
		return 0;
	case OPT_BATON:
		o->baton = arg;
		return 0;
	case OPT_KEEP:
		o->keep = absolute(arg);
		return 0;
	case OPT_KEPT_AT:
		o->kept_at = strcmp(arg, "systemd") ? absolute(arg) : arg;
		return 0;
	}
	return print(opt);
}

/* Options that make no sense together. */
static int judge(struct options *o)
{
	struct stat st;
	const char *why = NULL;

	if (!o->blk_file && (o->socket_path || o->fd >= 0))
		why = "--socket-path and --fd need --blk-file";
	else if (!o->blk_file && o->read_only)
		why = "--read-only needs --blk-file";
	else if (o->blk_file && !o->socket_path == (o->fd < 0))
		why = "--blk-file needs one of --socket-path and --fd";
	else if (o->keep && (o->blk_file || o->control || o->state || o->kept_at || *o->images))
		why = "--keep only holds what others leave with it: no other option but --log-level";
	else if (o->blk_file && o->kept_at)
		why = "--blk-file keeps nothing, so it goes without --kept-at";
	else if (o->blk_file && o->state)
		why = "--blk-file keeps nothing, so it goes without --state";
	else if (o->fd >= 0 && (fstat(o->fd, &st) || !S_ISSOCK(st.st_mode)))
		why = "--fd: it is not an open socket";
	if (why)
		log_error(NULL, "%s", why);
	return why ? -EINVAL : 0;
}

int options_parse(int argc, char **argv, struct options *ret)
{
	struct options o = { .pollers = 1, .fd = -1 };
	int opt, err;

	opterr = 0;
	while ((opt = getopt_long(argc, argv, ":hV", long_options, NULL)) != -1) {
		if (opt == '?' || opt == ':') {
			log_error(NULL, "%s '%s'; posternd --help names the options",
				  opt == ':' ? "a value is needed behind" : "there is no option",
				  argv[optind - 1]);
			return -EINVAL;
		}
		err = take(&o, opt, optarg);
		if (err)
			return err;
	}
	if (optind < argc) {
		log_error(NULL, "'%s' makes no sense here; posternd --help names the options",
			  argv[optind]);
		return -EINVAL;
	}
	err = judge(&o);
	if (err)
		return err;
	if (o.keep) {
		*ret = o;
		return 0;
	}
	if (!o.blk_file && !o.control)
		o.control = default_control();
	if (!o.blk_file && !o.state)
		o.state = default_state();
	if (!o.blk_file && !o.state) {
		log_error(NULL, "--state: is needed without $HOME and $XDG_STATE_HOME");
		return -EINVAL;
	}
	*ret = o;
	return 0;
}
