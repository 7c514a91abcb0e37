/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a storage function's program says, over a machine's stream or a process's packets: the input
 * is pieces of it, raw or as messages with some fields of the input's.
 */
#include <sys/socket.h>
#include <unistd.h>

#include "function/remote/program.h"
#include "function/remote/region.h"
#include "tests/fuzz/fuzz.h"

static struct region *region;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	log_set_level(LOG_ERROR - 1u);
	return region_open(-1, &region);
}

/* A message that has a chance to be believed. */
static struct fn_msg compose(const struct program *p, struct food *f)
{
	struct fn_msg m = { .magic = htole32(FN_MAGIC), .abi = htole16(FN_ABI_NEWEST),
			    .channel = htole32(p->hello), .size_b = htole64(region->id) };
	uint8_t which = food_byte(f);

	m.kind = htole16(food_byte(f) % 12);
	if (which & 1)
		food_eat(f, &m.name, sizeof(m.name));
	if (which & 2)
		food_eat(f, &m.down, 12);
	if (which & 4)
		food_eat(f, &m.channel, 4);
	if (which & 8)
		food_eat(f, &m, 8);
	return m;
}

static void speak(struct program *p, int sock, struct food *f)
{
	uint8_t raw[256];
	struct fn_msg m;
	size_t n = food_byte(f);

	if (n & 1) {
		food_eat(f, raw, n / 2);
		send(sock, raw, n / 2, MSG_DONTWAIT | MSG_NOSIGNAL);
	} else {
		m = compose(p, f);
		send(sock, &m, n & 2 ? sizeof(m) : n % sizeof(m), MSG_DONTWAIT | MSG_NOSIGNAL);
	}
	program_read(p);
	while (recv(sock, &m, sizeof(m), MSG_DONTWAIT) > 0)
		;
	/* what is believed is text and sets */
	if (p->is_ready && (strnlen(p->said.name, FN_NAME_MAX) == FN_NAME_MAX ||
			    strnlen(p->said.version, FN_VERSION_MAX) == FN_VERSION_MAX ||
			    le32toh(p->said.down) >> FN_OPS || p->stream.n_b > sizeof(m)))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct food f = { data, len };
	bool is_machine = food_byte(&f) & 1;
	int pair[2];

	if (socketpair(AF_UNIX, (is_machine ? SOCK_STREAM : SOCK_SEQPACKET) | SOCK_CLOEXEC, 0,
		       pair))
		abort();
	struct host_process process = { .pid = 1, .sock = pair[0], .pidfd = -1,
					.region = is_machine ? region : NULL };
	struct program *p = program_new(&process, NULL);

	for (unsigned i = 0; f.left && i < 100; i++)
		speak(p, pair[1], &f);
	close(pair[1]);
	program_read(p);
	program_free(p);
	return 0;
}
