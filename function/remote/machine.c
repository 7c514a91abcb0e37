/* SPDX-License-Identifier: Apache-2.0 */
#include "function/remote/machine.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "function/remote/region.h"

#define KEY_MEMORY "memory"
#define KEY_CONNECTION "connection"

struct machine {
	struct region region;
	struct host *host;
	struct loop *loop;
	struct loop_watch door; /* the listening socket */
	int conn_fd;		/* -1: none, or it has ended and was not looked at since */
	struct keep_scope keep;
};

static bool is_alive(int sock)
{
	uint8_t byte;
	ssize_t n = recv(sock, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

	return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

static void hang_up(struct machine *m)
{
	if (m->conn_fd < 0)
		return;
	keep_drop(&m->keep, KEY_CONNECTION);
	fd_close(m->conn_fd);
	m->conn_fd = -1;
}

static void door_ready(struct loop_watch *w, uint32_t events)
{
	struct machine *m = container_of(w, struct machine, door);
	int fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return;
	if (m->conn_fd >= 0 && is_alive(m->conn_fd)) {
		log_error(host_name(m->host), "a second machine is turned away");
		fd_close(fd);
		return;
	}
	hang_up(m);
	m->conn_fd = fd;
	int err = keep_put(&m->keep, KEY_CONNECTION, fd);

	if (err)
		log_error(host_name(m->host), "a restart will cut its machine off for a second: %s",
			  strerror(-err));
	host_retry(m->host);
}

static struct machine *new_machine(struct host *host, struct loop *loop,
				   const struct keep_scope *keep)
{
	struct machine *m = calloc(1, sizeof(*m));

	if (m)
		*m = (struct machine){ .host = host, .loop = loop, .keep = *keep, .conn_fd = -1 };
	return m;
}

int machine_open(struct host *host, struct loop *loop, int listen_fd, const struct keep_scope *keep,
		 struct machine **ret)
{
	CLEANUP(fd_cleanup) int door_fd = listen_fd;
	struct machine *m = new_machine(host, loop, keep);

	if (!m)
		return -ENOMEM;
	int kept_fd = keep_get(keep, KEY_MEMORY);
	int err = region_open(&m->region, kept_fd < 0 ? -1 : kept_fd);

	if (!err && kept_fd < 0)
		err = keep_put(keep, KEY_MEMORY, m->region.fd);
	if (!err) {
		int flags = fcntl(door_fd, F_GETFL);

		fcntl(door_fd, F_SETFL, flags | O_NONBLOCK);
		m->door = (struct loop_watch){ door_fd, door_ready };
		err = loop_add(loop, &m->door, EPOLLIN);
	}
	if (err) {
		region_close(&m->region);
		free(m);
		return err;
	}
	fd_steal(&door_fd);
	/* one of another posternd's would have other memory than ours */
	int conn_fd = kept_fd < 0 ? -ENOENT : keep_get(keep, KEY_CONNECTION);

	if (conn_fd >= 0)
		m->conn_fd = conn_fd;
	*ret = m;
	return 0;
}

void machine_close(struct machine *m, bool forget)
{
	if (!m)
		return;
	loop_del(m->loop, &m->door);
	fd_close(m->door.fd);
	fd_close(m->conn_fd);
	region_close(&m->region);
	if (forget)
		keep_drop_all(&m->keep);
	free(m);
}

int machine_start(struct machine *m, struct host_process *ret)
{
	struct ucred peer = { 0 };
	socklen_t len = sizeof(peer);

	if (m->conn_fd >= 0 && !is_alive(m->conn_fd))
		hang_up(m);
	if (m->conn_fd < 0)
		return -EAGAIN;
	int sock = fcntl(m->conn_fd, F_DUPFD_CLOEXEC, 0);

	if (sock < 0)
		return -errno;
	getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &peer, &len);
	*ret = (struct host_process){ .pid = peer.pid, .sock = sock, .pidfd = -1,
				      .region = &m->region };
	return 0;
}

struct region *machine_region(struct machine *m)
{
	return &m->region;
}

void machine_memory(const struct machine *m, char *ret_path, size_t size)
{
	snprintf(ret_path, size, "/proc/%d/fd/%d", (int)getpid(), m->region.fd);
}
