/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vhost-user stream. The input is a series of messages in a shorter form: request, flags,
 * size, number and kinds of descriptors, payload; addresses of the VMM that are small are taken
 * as places in its memory.
 */
#include "tests/fuzz/fuzz.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "media/ram/ram.h"

#define FILE_B (2 * MIB)

static int kind[4]; /* memory, sealed memory, eventfd, pipe */
static uint8_t *host; /* of kind[0] */

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	int p[2];

	log_set_level(LOG_ERROR - 1u);
	kind[0] = memfd_create("memory", MFD_CLOEXEC);
	kind[1] = memfd_create("region", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	kind[2] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (pipe2(p, O_CLOEXEC) || ftruncate(kind[0], FILE_B) || ftruncate(kind[1], FILE_B) ||
	    fcntl(kind[1], F_ADD_SEALS, F_SEAL_SHRINK))
		abort();
	kind[3] = p[0];
	host = mmap(NULL, FILE_B, PROT_READ | PROT_WRITE, MAP_SHARED, kind[0], 0);
	return 0;
}

/* Return: false at the end of the input. */
static bool send_one(struct fake *g, struct food *f)
{
	struct vhost_user_msg m = { 0 };
	int fd[VHOST_USER_FDS_MAX + 1];

	if (!f->left)
		return false;
	m.hdr.request = food_byte(f);
	m.hdr.flags = food_byte(f) ^ VHOST_USER_VERSION;
	m.hdr.size = food_byte(f);
	uint8_t fds = food_byte(f);
	unsigned nfd = min_u32(fds & 15, ARRAY_SIZE(fd));

	for (unsigned i = 0; i < nfd; i++)
		fd[i] = kind[(fds >> 4 ^ i) & 3];
	food_eat(f, &m.payload, min_u64(m.hdr.size, sizeof(m.payload)));
	return !fd_send(g->sock, &m, sizeof(m.hdr) + min_u64(m.hdr.size, sizeof(m.payload)), fd,
			nfd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct food f = { data, len };
	struct media *m;
	struct fake *g;

	/* the guest's memory: one ring that says there is much to do */
	memset(host, 0, 64 * KIB);
	if (ram_open(&(struct ram_conf){ .size_b = MIB }, &m))
		abort();
	g = fake_open_disk(&(struct fake_conf){ .offered = 4, .media = m });
	g->mem.host = host; /* none of its own: it is the fuzzer's to describe */
	fake_connect(g);
	for (unsigned i = 0; i < 64 && send_one(g, &f); i++) {
		if (fake_handle(g))
			break;
		fake_turn(g);
		/* whatever it answered */
		uint8_t reply[1024];
		int got[8];
		unsigned ngot = 0;

		if (recv(g->sock, reply, 1, MSG_DONTWAIT | MSG_PEEK) == 1 &&
		    fd_recv(g->sock, reply, sizeof(reply), got, 8, &ngot) > 0)
			for (unsigned k = 0; k < ngot; k++)
				fd_close(got[k]);
	}
	session_stop_all(g->s);
	fuzz_assert_quiet(g);
	g->mem.host = NULL;
	fake_close(g);
	return 0;
}
