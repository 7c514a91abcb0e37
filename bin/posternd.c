/* SPDX-License-Identifier: Apache-2.0 */
/* posternd: options, then one of its two processes. The keeper starts the worker from itself. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/fd.h"
#include "bin/options.h"
#include "bin/worker.h"
#include "control/client.h"
#include "keeper/keeper.h"
#include "keeper/kept.h"
#include "keeper/vault.h"

/* Otherwise a socket could become standard error, and log lines its messages. */
static void fill_standard_fds(void)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDWR);
	} while (fd >= 0 && fd <= STDERR_FILENO);
	fd_close(fd);
}

/* A guest takes two descriptors for each queue; the usual soft limit of 1024 is for programs that
 * use select(). The worker inherits this. */
static void use_all_descriptors(void)
{
	struct rlimit l;

	if (getrlimit(RLIMIT_NOFILE, &l))
		return;
	l.rlim_cur = l.rlim_max;
	setrlimit(RLIMIT_NOFILE, &l);
}

int main(int argc, char **argv)
{
	static struct options o;

	fill_standard_fds();
	int done = options_parse(argc, argv, &o);

	if (done)
		return done < 0;
	if (o.worker_link)
		return worker_run(&o);
	char *word = NULL;
	int baton_fd = o.baton ? (int)strtol(o.baton, &word, 10) : -1;
	if (word && *word)
		return baton_check(baton_fd);

	use_all_descriptors();
	fd_make_room(KEPT_ROOM);
	if (o.keep)
		return vault_run(o.keep);
	char *upgrade = NULL;
	if (o.control && asprintf(&upgrade, "%s" CTL_KEEPER_SUFFIX, o.control) < 0)
		return 1;
	struct keeper_config cfg = {
		.control_path = o.control,
		.control_group = o.control_group,
		.upgrade_path = upgrade,
		.state_dir = o.state,
		.kept_at = o.kept_at,
		.images = *o.images ? o.images : NULL,
		.program = "/proc/self/exe",
		.argv = argv,
		.hand_over_fd = o.fd,
		.baton_fd = baton_fd,
		.one_life = o.fd >= 0,
	};

	return keeper_run(&cfg);
}
