/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A storage function in a machine without an operating system: the library's own source in user
 * mode of a bare guest, that of vm/gauge, which is there in half a second and runs on any KVM. The
 * memory that posternd shares is an NVDIMM, as in any machine of a function; messages come over
 * COM2 as over the port of a guest that has drivers, and a look for them costs no exit before
 * there is one. COM1 gets a line when it begins and when it ends.
 *   -append "at=ADDRESS key=N spin_us=N"
 * at=: where the NVDIMM is. key=: data is changed with it, both ways; 0: all is passed on as it is.
 * spin_us=: as in struct pfn_conf; a wake-up is 152 bytes one by one here, each of them two exits.
 */
#include <string.h>
#include <time.h>

#include "sdk/private.h"
#include "vm/gauge/json.h"
#include "vm/gauge/machine.h"
#include "vm/gauge/serial.h"
#include "vm/gauge/tsc.h"
#include "vm/gauge/words.h"
#include "wire/function_stream.h"

#define WORDS_B 256

struct ask {
	uint64_t at, key, spin_us;
};

static const struct words_key keys[] = {
	{ .name = "at", .type = WORDS_NUMBER, .min = 4 * GIB, .max = UINT64_MAX - FN_REGION_B,
	  .offset = offsetof(struct ask, at) },
	{ .name = "key", .type = WORDS_NUMBER, .max = UINT8_MAX,
	  .offset = offsetof(struct ask, key) },
	{ .name = "spin_us", .type = WORDS_NUMBER, .max = NS_PER_S / NS_PER_US,
	  .offset = offsetof(struct ask, spin_us) },
	{ 0 },
};

static struct {
	struct ask ask;
	uint8_t *shared;
	struct fn_stream stream;
	uint32_t seen; /* wake-ups, before the last look at the line */
	bool has_more; /* it had something then */
} bare;

/* For the library, of which nothing here asks for another clock. */
int clock_gettime(clockid_t clock, struct timespec *ret)
{
	uint64_t ns = clock_ticks_to_ns(clock_scale(), clock_ticks());

	*ret = (struct timespec){ (time_t)(ns / NS_PER_S), (long)(ns % NS_PER_S) };
	return 0;
}

static bool bare_found(void)
{
	return true;
}

static int bare_open(struct pfn *p)
{
	bare.shared = machine_map_memory(bare.ask.at + FN_REGION_OWN_B, FN_SHARED_B);
	if (!bare.shared || !postern_fn_shared_is(bare.shared))
		return -ENODEV;
	return postern_fn_shared_begin(p, bare.shared);
}

static void bare_close(struct pfn *p)
{
}

static int bare_take(struct pfn *p, struct arrival *ret)
{
	while (bare.has_more || bare.seen != machine_wakeups()) {
		/* before the look: what comes after it is another wake-up */
		bare.seen = machine_wakeups();
		bare.has_more = serial_take(COM2, fn_stream_end(&bare.stream));
		if (!bare.has_more)
			continue;
		bare.stream.n_b++;
		fn_stream_align(&bare.stream);
		if (!fn_stream_take(&bare.stream, &ret->m))
			continue;
		return le16toh(ret->m.kind) == FN_DISK ? postern_fn_shared_disk(bare.shared, ret) :
							 1;
	}
	return 0;
}

static int bare_say(struct pfn *p, const struct fn_msg *m)
{
	serial_write(COM2, m, sizeof(*m));
	return 0;
}

static void bare_wait(struct pfn *p, int timeout_ms)
{
	uint64_t ns = (unsigned)timeout_ms * NS_PER_MS;

	if (timeout_ms < 0)
		machine_sleep(bare.seen, MACHINE_NEVER);
	else
		machine_sleep(bare.seen, clock_ticks() + clock_ns_to_ticks(clock_scale(), ns));
}

static const struct transport bare_transport = {
	.found = bare_found,
	.open = bare_open,
	.close = bare_close,
	.take = bare_take,
	.say = bare_say,
	.unmap = postern_fn_shared_unmap,
	.wake = postern_fn_shared_wake,
	.wait = bare_wait,
};

const struct transport *const postern_fn_transports[] = { &bare_transport, NULL };

static void requests(struct pfn_disk *d, struct pfn_req **reqs, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		uint8_t *data = bare.ask.key ? reqs[i]->data : NULL;

		for (uint32_t b = 0; data && b < reqs[i]->len_b; b++)
			data[b] ^= (uint8_t)bare.ask.key;
		pfn_pass(reqs[i]);
	}
}

/* Return: NULL; or why it has ended. */
static const char *serve(void)
{
	const struct pfn_conf conf = {
		.abi = PFN_ABI, .size = sizeof(conf), .name = "bare", .version = "1",
		.down = PFN_SET(PFN_WRITE), .up = PFN_SET(PFN_READ),
		.with_data = PFN_SET(PFN_READ) | PFN_SET(PFN_WRITE), .requests = requests,
		.spin_us = (uint32_t)bare.ask.spin_us
	};
	struct pfn *p;

	if (pfn_open(&conf, &p))
		return "at: no memory of posternd's";
	int err = pfn_run(p);

	pfn_close(p);
	return err ? "posternd speaks another version" : NULL;
}

void gauge_main(void)
{
	const char *why = machine_init();
	char words[WORDS_B] = "";

	serial_init(COM1);
	serial_init(COM2);
	if (!why)
		why = tsc_init();
	if (!why && strlen(machine_words()) >= sizeof(words))
		why = "too many words";
	if (!why) {
		memcpy(words, machine_words(), strlen(machine_words()));
		why = words_read(words, keys, &bare.ask);
	}
	if (!why) {
		json_event("ready", NULL);
		why = serve();
	}
	json_event(why ? "fatal" : "bye", why);
	machine_off();
}
