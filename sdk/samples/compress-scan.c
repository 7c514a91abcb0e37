/* SPDX-License-Identifier: Apache-2.0 */
/*
 * compress-scan: watches what is written and tells how far it can be compressed, and how much of it
 * has been written before. A preprocessor next to the data: nothing of it crosses a network.
 *
 *	postern function add scan run=/usr/local/libexec/postern/compress-scan file=web.json
 *	postern disk create web ... function=remote,name=scan,mode=observe
 *	cat web.json
 *
 * It looks at blocks of 4 KiB: zlib's fastest level tells the size, and a set of the last million
 * fingerprints which are duplicates. The report is one JSON object, written anew as requests come,
 * once a second at most, and when the disk goes; a program that is started again counts from zero.
 * An observer: the guest never waits for it; `function show` counts what it missed.
 */
#include <inttypes.h>
#include <isa-l.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

#include <postern/function.h>

#define REPORT_FD 4
#define BLOCK_B 4096u
#define PRINTS (1u << 20) /* 8 MiB of fingerprints */
#define REPORT_NS 1000000000ull

static struct {
	uint64_t blocks, zero, duplicate, incompressible, compressed_b, reported_ns;
} seen;

static uint64_t print[PRINTS];
static z_stream deflater;

static uint64_t clock_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

/* Return: whether a block with this content has been seen; it has from now on. */
static bool is_known(const unsigned char *block)
{
	uint64_t sum = crc64_ecma_norm(0, block, BLOCK_B), *at = &print[sum % PRINTS];
	bool known = *at == sum;

	*at = sum;
	return known;
}

static uint32_t compressed_b(const unsigned char *block)
{
	static unsigned char out[BLOCK_B + 64];

	deflateReset(&deflater);
	deflater.next_in = (unsigned char *)block;
	deflater.avail_in = BLOCK_B;
	deflater.next_out = out;
	deflater.avail_out = sizeof(out);
	deflate(&deflater, Z_FINISH);
	return deflater.total_out < BLOCK_B ? (uint32_t)deflater.total_out : BLOCK_B;
}

static void look_at(const unsigned char *block)
{
	static const unsigned char zeros[BLOCK_B];

	seen.blocks++;
	if (!memcmp(block, zeros, BLOCK_B)) {
		seen.zero++;
	} else if (is_known(block)) {
		seen.duplicate++;
	} else {
		uint32_t to_b = compressed_b(block);

		seen.compressed_b += to_b;
		seen.incompressible += to_b == BLOCK_B;
	}
}

static void report(void)
{
	char text[512];
	uint64_t unique = seen.blocks - seen.zero - seen.duplicate;
	int n = snprintf(text, sizeof(text),
			 "{\"seen_b\": %" PRIu64 ", \"zero_b\": %" PRIu64 ", \"duplicate_b\": %" PRIu64
			 ", \"unique_b\": %" PRIu64 ", \"unique_compressed_b\": %" PRIu64
			 ", \"incompressible_b\": %" PRIu64 "}",
			 seen.blocks * BLOCK_B, seen.zero * BLOCK_B, seen.duplicate * BLOCK_B,
			 unique * BLOCK_B, seen.compressed_b, seen.incompressible * BLOCK_B);

	/* always as long: who reads it meanwhile finds no rest of a longer one behind it */
	memset(text + n, ' ', sizeof(text) - (size_t)n);
	text[sizeof(text) - 1] = '\n';
	if (pwrite(REPORT_FD, text, sizeof(text), 0) != sizeof(text) ||
	    ftruncate(REPORT_FD, sizeof(text)))
		fprintf(stderr, "compress-scan: %.*s\n", n, text);
	seen.reported_ns = clock_ns();
}

static void requests(struct pfn_disk *d, struct pfn_req **reqs, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		const unsigned char *data = reqs[i]->data;

		for (uint32_t at = 0; data && !d->test && at + BLOCK_B <= reqs[i]->len_b;
		     at += BLOCK_B)
			look_at(data + at);
		pfn_pass(reqs[i]);
	}
	if (seen.blocks && clock_ns() - seen.reported_ns > REPORT_NS)
		report();
}

static void gone(struct pfn_disk *d)
{
	if (!d->test)
		report();
}

int main(void)
{
	struct pfn_conf conf = { .abi = PFN_ABI, .size = sizeof(conf), .name = "compress-scan",
				 .version = "1", .down = PFN_SET(PFN_WRITE),
				 .with_data = PFN_SET(PFN_WRITE), .requests = requests,
				 .gone = gone };

	if (lseek(REPORT_FD, 0, SEEK_CUR) < 0) {
		fprintf(stderr, "compress-scan: where to? `function add NAME run=... file=FILE`\n");
		return 1;
	}
	if (deflateInit(&deflater, Z_BEST_SPEED) != Z_OK) {
		fprintf(stderr, "compress-scan: no memory\n");
		return 1;
	}
	return pfn_main(&conf);
}
