/* SPDX-License-Identifier: Apache-2.0 */
#include "keeper/vault.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/parse.h"
#include "keeper/private.h"

#define LISTEN_FDS_START 3 /* systemd's, sd_listen_fds(3) */
#define SETTLE_MS 5000

static bool is_systemd(const struct vault *v)
{
	return v->at && !strcmp(v->at, VAULT_SYSTEMD);
}

static unsigned listen_fds(void)
{
	const char *pid = getenv("LISTEN_PID"), *n = getenv("LISTEN_FDS");

	if (!pid || !n || strtol(pid, NULL, 10) != getpid())
		return 0;
	long fds = strtol(n, NULL, 10);

	return fds < 0 || fds > KEPT_MAX ? 0 : (unsigned)fds;
}

/* What systemd has kept of a process before us stands behind standard error, with its names in the
 * environment. */
static int take_inherited(void (*take)(void *arg, const char *key, int fd), void *arg)
{
	const char *names = getenv("LISTEN_FDNAMES");
	CLEANUP(base_free) char *copy = strdup(names ? names : "");
	unsigned n = listen_fds();
	char *rest = copy;

	if (!copy)
		return -ENOMEM;
	for (unsigned i = 0; i < n; i++) {
		const char *name = strsep(&rest, ":");
		int fd = LISTEN_FDS_START + (int)i;

		fcntl(fd, F_SETFD, FD_CLOEXEC);
		take(arg, name ? name : "", fd);
	}
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	return 0;
}

static int send_request(const struct vault *v, uint32_t op, const char *key, unsigned from, int fd)
{
	struct keeper_request req = { .op = op, .flags = from };

	snprintf(req.path, sizeof(req.path), "%s", key);
	return fd_send(v->sock, &req, KEEPER_REQUEST_MIN_B + strlen(req.path), &fd, fd >= 0);
}

static int take_all(const struct vault *v, void (*take)(void *arg, const char *key, int fd),
		    void *arg)
{
	struct keeper_list list;
	int fd[KEEPER_KEPT_BATCH];
	unsigned nfd = 0, from = 0;

	do {
		int err = send_request(v, KEEPER_LIST, "", from, -1);
		ssize_t n = err ? err :
			    fd_recv(v->sock, &list, sizeof(list), fd, ARRAY_SIZE(fd), &nfd);

		if (n < (ssize_t)sizeof(list.n) || list.n != nfd)
			return n < 0 ? (int)n : -EPROTO;
		for (unsigned i = 0; i < nfd; i++)
			take(arg, list.key[i], fd[i]);
		from += nfd;
	} while (nfd);
	return 0;
}

static int reach(struct vault *v)
{
	static const struct timeval patience = { .tv_sec = 1 };
	int fd = fd_connect_packets(v->at);

	if (fd < 0)
		return fd;
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	v->sock = fd;
	return 0;
}

int vault_open(struct vault *v, const char *at, void (*take)(void *arg, const char *key, int fd),
	       void *arg)
{
	vault_close(v);
	*v = (struct vault){ .at = at, .sock = -1 };
	if (!at)
		return 0;
	if (is_systemd(v))
		return take_inherited(take, arg);
	int err = reach(v);

	return err ? err : take_all(v, take, arg);
}

bool vault_is_lost(const struct vault *v)
{
	struct pollfd p = { .fd = v->sock, .events = POLLIN };

	return v->at && !is_systemd(v) && (v->sock < 0 || poll(&p, 1, 0) > 0);
}

static int tell(struct vault *v, uint32_t op, const char *key, int fd)
{
	if (vault_is_lost(v))
		return -ENOTCONN;
	int err = send_request(v, op, key, 0, fd);

	if (!err)
		return 0;
	log_error(NULL, "'%s' does not take what is to outlive the keeper: %s", v->at,
		  strerror(-err));
	shutdown(v->sock, SHUT_RDWR); /* lost, which whoever watches it sees */
	return err;
}

int vault_put(struct vault *v, const char *key, int fd)
{
	char text[KEEP_KEY_MAX + 64];

	if (!v->at)
		return 0;
	if (!is_systemd(v))
		return tell(v, KEEPER_PUT, key, fd);
	vault_drop(v, key); /* it keeps two of one name otherwise */
	snprintf(text, sizeof(text), "FDSTORE=1\nFDPOLL=0\nFDNAME=%s", key);
	return notify_send_fd(text, fd);
}

int vault_drop(struct vault *v, const char *key)
{
	char text[KEEP_KEY_MAX + 64];

	if (!v->at)
		return 0;
	if (!is_systemd(v))
		return tell(v, KEEPER_DROP, key, -1);
	snprintf(text, sizeof(text), "FDSTOREREMOVE=1\nFDNAME=%s", key);
	return notify_send_fd(text, -1);
}

void vault_settle(struct vault *v)
{
	int end[2];

	/* to a `posternd --keep` all has been sent; it reads that to the end */
	if (!is_systemd(v) || pipe2(end, O_CLOEXEC))
		return;
	int err = notify_send_fd("BARRIER=1", end[1]);
	struct pollfd gone = { .fd = end[0] };

	fd_close(end[1]);
	if (!err && poll(&gone, 1, SETTLE_MS) <= 0)
		log_warn(NULL, "systemd has not said that it has what is to outlive us");
	fd_close(end[0]);
}

void vault_close(struct vault *v)
{
	v->sock = fd_close(v->sock);
}
