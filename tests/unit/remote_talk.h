/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program at the other end of a socket, which the test speaks for: a process (whose messages
 * have ends), or one in a machine (a stream, and memory that is shared).
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>
#include <sys/socket.h>
#include <unistd.h>

#include "function/remote/program.h"
#include "function/remote/region.h"

struct talk {
	struct program *p;
	int sock;
	struct fn_msg heard; /* what posternd has said last */
	struct region *region; /* of a machine */
	bool is_machine;
};

static inline void talk_hear(struct talk *t, enum fn_msg_kind kind)
{
	assert_int_equal(recv(t->sock, &t->heard, sizeof(t->heard), MSG_DONTWAIT),
			 sizeof(t->heard));
	assert_int_equal(le16toh(t->heard.kind), kind);
}

static inline void talk_open(struct talk *t, bool is_machine)
{
	int pair[2];

	*t = (struct talk){ .is_machine = is_machine };
	if (is_machine)
		assert_int_equal(region_open(-1, &t->region), 0);
	assert_int_equal(socketpair(AF_UNIX, (is_machine ? SOCK_STREAM : SOCK_SEQPACKET) |
						     SOCK_CLOEXEC, 0, pair), 0);
	struct host_process process = { .pid = 1, .sock = pair[0], .pidfd = -1,
					.region = t->region };

	t->sock = pair[1];
	t->p = program_new(&process, NULL);
	talk_hear(t, FN_HELLO);
}

static inline void talk_close(struct talk *t)
{
	program_free(t->p);
	close(t->sock);
	region_put(t->region);
}

/* As the program would say it. */
static inline struct fn_msg talk_msg(const struct talk *t, enum fn_msg_kind kind)
{
	return (struct fn_msg){ .magic = htole32(FN_MAGIC), .kind = htole16((uint16_t)kind),
				.abi = htole16(FN_ABI_NEWEST), .channel = t->heard.channel,
				.size_b = htole64(t->region ? t->region->id : 0), .name = "test",
				.version = "1" };
}

static inline void talk_say(struct talk *t, const void *what, size_t len_b)
{
	assert_int_equal(send(t->sock, what, len_b, 0), len_b);
	program_read(t->p);
}
