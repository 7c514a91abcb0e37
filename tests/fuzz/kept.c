/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kept page of a predecessor that went mad. The input is laid over a page that makes sense,
 * piece by piece: place, length, bytes. Descriptors are where the true page has them.
 */
#include "tests/fuzz/fuzz.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "front/vhost_blk/adopt.h"
#include "front/vhost_blk/exchange.h"
#include "media/ram/ram.h"
#include "tests/fake/keep.h"

#define QUEUES 3

static struct fake_keep keeper, kept;
static struct kept_page page;
static struct fake *guest;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct media *m;

	log_set_level(LOG_ERROR - 1u);
	fake_keep_init(&keeper);
	if (ram_open(&(struct ram_conf){ .size_b = MIB }, &m))
		abort();
	guest = fake_open(&(struct fake_conf){ .queues = QUEUES, .media = m, .regions = 2,
					       .keep = &keeper.keep });
	page = *guest->s->memo->page;
	fake_keep_init(&kept);
	for (unsigned i = 0; i < keeper.n; i++)
		if (kept.keep.ops->put(&kept.keep, keeper.kept[i].key, keeper.kept[i].fd))
			abort();
	fake_disconnect(guest);
	return 0;
}

/* Keeps all that the true predecessor had kept, and @p as its page. Return: the front end's
 * socket. */
static int keep_all(const struct kept_page *p)
{
	const int seals = F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL;
	const struct keep_scope *scope = &guest->front.conf.keep;
	int fd = memfd_create("page", MFD_CLOEXEC | MFD_ALLOW_SEALING), pair[2];

	for (unsigned i = 0; i < kept.n; i++)
		if (keeper.keep.ops->put(&keeper.keep, kept.kept[i].key, kept.kept[i].fd))
			abort();
	if (fd < 0 || fd_write_all(fd, p, sizeof(*p)) || fcntl(fd, F_ADD_SEALS, seals) ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		abort();
	keep_put(scope, "page", fd);
	keep_put(scope, "sock", pair[1]);
	fd_close(fd);
	fd_close(pair[1]);
	return pair[0];
}

static void lay_over(struct kept_page *p, struct food *f)
{
	while (f->left) {
		uint16_t at;

		food_eat(f, &at, sizeof(at));
		unsigned len = 1u + (food_byte(f) & 15);
		/* most of what matters is in front; the second copy is as good as the first */
		size_t room = sizeof(*p) - len;
		food_eat(f, (uint8_t *)p + at % room, len);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct food f = { data, len };
	struct kept_page p = page;
	uint64_t at_ns;
	char why[128];

	lay_over(&p, &f);
	guest->sock = keep_all(&p);
	int sock = keep_get(&guest->front.conf.keep, "sock");
	if (adopt_session(&guest->front, sock, &guest->s, why, sizeof(why))) {
		fd_close(sock);
		guest->s = NULL;
	}
	guest->front.session = guest->s;
	/* the second step waits for a poller, and that one is turned here; the third, alone for a
	 * second, is not waited for */
	for (unsigned i = 0; i < 4 && guest->s; i++) {
		if (adopt_go_on(guest->s, &at_ns, why, sizeof(why)) || !guest->s->is_adopted)
			break;
		fake_turn(guest);
	}
	for (unsigned i = 0; i < 4; i++)
		fake_turn(guest);
	fake_disconnect(guest);
	fake_keep_fini(&keeper);
	fuzz_assert_quiet(guest);
	return 0;
}
