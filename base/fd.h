/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Descriptors: scope-owned ones, whole reads and writes, Unix sockets, and
 * passing descriptors over them. Cold path; may block; any thread.
 */
#pragma once

#include <sys/types.h>

#include "base/base.h"

/* For CLEANUP: closes *@fd if it is not negative. */
void fd_cleanup(int *fd);
/* Closes @fd if it is not negative. Keeps errno. Return: -1, to store back. */
int fd_close(int fd);
/* Return: the descriptor in *@fd, which becomes -1. */
int fd_steal(int *fd);

/* Has the kernel make room for @n descriptors of this process at once. In a process with threads
 * each doubling of the room waits until every CPU has been through the scheduler, 15 to 20 ms, and
 * what comes over a socket waits with it. Context: before the first thread. */
void fd_make_room(unsigned n);

/* All of @len bytes at the file position. Return: 0; -errno; -EPIPE at an early end (read). */
int fd_write_all(int fd, const void *buf, size_t len);
int fd_read_all(int fd, void *buf, size_t len);

/* Whole content of @path, NUL-terminated, at most @max_b. Ownership: caller frees *ret_text.
 * Return: length; -errno; -EFBIG. */
ssize_t fd_read_file(int fd, size_t max_b, char **ret_text);

/* Memory of @len_b bytes that others may map, too, and whose size nobody can change: one that is
 * cut short would end whoever uses it. @flags: MFD_HUGETLB or 0. Return: fd; -errno. */
int fd_memory(const char *name, uint64_t len_b, unsigned flags);
bool fd_is_sealed(int fd); /* whether the size of @fd is as fixed as that */

/* Closes all descriptors but the standard ones and the @n of @keep, which get sorted; -1 is none.
 * The calling thread parts from a table that it shares before anything is closed.
 * Return: 0; -errno, with nothing closed. */
int fd_close_but(int *keep, unsigned n);

/* The longest socket path that a sockaddr_un takes, without its NUL. */
#define FD_SOCKET_PATH_MAX 107

/* A listening stream socket at @path with permission bits @mode. A dead socket file (nobody
 * listens) is replaced; a live one is -EADDRINUSE. Return: fd; -ENAMETOOLONG; -errno. */
int fd_listen(const char *path, mode_t mode);
int fd_connect(const char *path); /* Return: fd; -ENAMETOOLONG; -errno */
/* As the two above, for sockets that keep messages apart (SOCK_SEQPACKET). */
int fd_listen_packets(const char *path, mode_t mode);
int fd_connect_packets(const char *path);

/* Sends @len bytes with @nfd descriptors, at most 253, in one message. Return: 0 or -errno. */
int fd_send(int sock, const void *buf, size_t len, const int *fds, unsigned nfd);

/* The same without waiting: what is not sent at once is not sent. Return: 0; -EAGAIN; -errno. */
int fd_send_now(int sock, const void *buf, size_t len, const int *fds, unsigned nfd);

/* One recvmsg of at most @len bytes and @max_fd descriptors (close-on-exec). *ret_nfd is how
 * many arrived and are now the caller's; with more than fit, all are closed and -EMSGSIZE.
 * Return: bytes, 0 at the end, -errno. */
ssize_t fd_recv(int sock, void *buf, size_t len, int *ret_fds, unsigned max_fd, unsigned *ret_nfd);

/* The same without waiting, and without taking anything out of the socket: the descriptors are
 * duplicates. With @ret_fds NULL none are made. */
ssize_t fd_peek(int sock, void *buf, size_t len, int *ret_fds, unsigned max_fd, unsigned *ret_nfd);
