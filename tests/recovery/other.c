/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker of another version, for upgrades that must not succeed. What it does is in the name that
 * it is run by:
 *
 *   other-kept     goes on only with what a later version keeps
 *   other-state    reads only a later version's state file
 *   other-keeper   speaks another protocol with its keeper
 *   other-dies     could go on, and dies as soon as it is to
 *   other-sick     could go on, and serves no disk
 *   other-fit      could go on, and says that it serves them all
 *
 * Asked whether it could go on as the keeper, any of them writes down beside itself what a keeper
 * would leave it (NAME.baton), and says no.
 */
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "keeper/hold.h"
#include "keeper/keeper.h"
#include "keeper/link.h"

static bool is(const char *name, const char *what)
{
	const char *dash = strrchr(name, '-');

	return dash && !strcmp(dash + 1, what);
}

static int write_down(const char *self, int baton_fd)
{
	CLEANUP(base_free) char *text = NULL;
	char path[PATH_MAX + 8];
	ssize_t n = fd_read_file(baton_fd, 1 * MIB, &text);

	snprintf(path, sizeof(path), "%s.baton", self);
	FILE *to = n > 0 ? fopen(path, "w") : NULL;
	if (to) {
		fwrite(text, 1, (size_t)n, to);
		fclose(to);
	}
	return 1;
}

int main(int argc, char **argv)
{
	size_t n = strlen(KEEPER_LINK_ARG);
	const char *arg = argc && !strncmp(argv[argc - 1], KEEPER_LINK_ARG, n) ?
			  argv[argc - 1] + n : NULL;
	char self[PATH_MAX] = "";
	struct keeper_event ev;
	struct link l;
	int fd;

	if (argc && sscanf(argv[argc - 1], KEEPER_BATON_ARG "%d,check", &fd) == 1)
		return readlink("/proc/self/exe", self, sizeof(self) - 1) < 0 ||
		       lseek(fd, 0, SEEK_SET) ?
			       1 :
			       write_down(self, fd);
	if (!arg || readlink("/proc/self/exe", self, sizeof(self) - 1) < 0 || link_init(&l, arg))
		return 1;
	struct keeper_intro intro = {
		.op = KEEPER_INTRO,
		.protocol = KEEPER_PROTOCOL + is(self, "keeper"),
		.state_min = is(self, "state") ? 8 : 1,
		.state_max = 8,
		.kept_min = is(self, "kept") ? KEEP_VERSION + 1 : KEEP_VERSION,
		.kept_max = KEEP_VERSION + 1,
		.version = "9.9",
		.baton_min = BATON_VERSION,
		.baton_max = BATON_VERSION,
	};
	if (hold_start(fd_steal(&l.hold_fd)) || link_introduce(&l, &intro))
		return 1;
	while (!link_event(&l, &ev, &fd)) {
		fd_close(fd);
		if (ev.op == KEEPER_HELLO && is(self, "dies"))
			return 3;
		if (ev.op == KEEPER_HELLO)
			link_ready(&l);
		if (ev.op == KEEPER_COUNT)
			link_healthy(&l, is(self, "fit") ? UINT32_MAX : 0);
		if (ev.op == KEEPER_STOP)
			return 0;
	}
	return 0;
}
