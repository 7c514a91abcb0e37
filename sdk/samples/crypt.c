/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crypt: what the medium holds is encrypted, what the guest sees is not. AES-XTS, by OpenSSL, in
 * the layout of dm-crypt's aes-xts-plain64, so that `cryptsetup open --type plain` reads the
 * medium.
 *
 *	openssl rand -out web.key 64
 *	postern function add c1 run=/usr/local/libexec/postern/crypt read=web.key
 *	postern disk create web ... function=remote,name=c1
 *
 * The key comes by descriptor: 64 bytes for AES-256, 32 for AES-128. `crypt 4096` counts sectors of
 * 4 KiB instead of 512 bytes (dm-crypt's sector_size:4096 iv_large_sectors), which is four times as
 * fast. What was discarded reads as noise. Zeroes are refused: a guest then writes them.
 */
#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <postern/function.h>

#define KEY_FD 4
#define KEY_MAX_B 64

static unsigned sector_b = 512;
static EVP_CIPHER_CTX *ways[2]; /* 0 deciphers, 1 enciphers */

/* The sector's number is its tweak, little endian. Return: 0; -1. */
static int one_sector(EVP_CIPHER_CTX *c, uint64_t number, unsigned char *data)
{
	unsigned char tweak[16] = { 0 };
	int n;

	for (unsigned i = 0; i < 8; i++)
		tweak[i] = (unsigned char)(number >> 8 * i);
	/* -1: as it was set up */
	if (EVP_CipherInit_ex(c, NULL, NULL, NULL, tweak, -1) != 1 ||
	    EVP_CipherUpdate(c, data, &n, data, (int)sector_b) != 1)
		return -1;
	return 0;
}

static int convert(const struct pfn_req *r)
{
	unsigned char *data = r->data;

	for (uint32_t at = 0; at < r->len_b; at += sector_b)
		if (one_sector(ways[r->op == PFN_WRITE], (r->off_b + at) / sector_b, data + at))
			return -1;
	return 0;
}

static void requests(struct pfn_disk *d, struct pfn_req **reqs, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct pfn_req *r = reqs[i];

		if (r->op == PFN_ZEROES)
			pfn_done(r, PFN_UNSUPP);
		else if (r->data && convert(r))
			pfn_done(r, PFN_IOERR);
		else
			pfn_pass(r);
	}
}

static int opened(struct pfn_disk *d)
{
	if (d->mode != PFN_TRANSFORM || d->blk_b % sector_b) {
		fprintf(stderr, "crypt: disk %s: needs mode=transform and blocks of %u bytes\n",
			d->name, sector_b);
		return EINVAL;
	}
	return 0;
}

static EVP_CIPHER_CTX *way(const EVP_CIPHER *cipher, const unsigned char *key, int enciphers)
{
	EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();

	if (!c || EVP_CipherInit_ex(c, cipher, NULL, key, NULL, enciphers) != 1) {
		fprintf(stderr, "crypt: OpenSSL refuses the key; its halves must differ\n");
		exit(1);
	}
	return c;
}

static void take_key(void)
{
	unsigned char key[KEY_MAX_B + 1];
	/* from its start: one that is started again has the same descriptor */
	ssize_t n = pread(KEY_FD, key, sizeof(key), 0);

	if (n != KEY_MAX_B && n != KEY_MAX_B / 2) {
		fprintf(stderr, "crypt: the key must have 32 or 64 bytes: `function add NAME run=... "
			"read=KEYFILE`\n");
		exit(1);
	}
	const EVP_CIPHER *cipher = n == KEY_MAX_B ? EVP_aes_256_xts() : EVP_aes_128_xts();

	ways[0] = way(cipher, key, 0);
	ways[1] = way(cipher, key, 1);
	OPENSSL_cleanse(key, sizeof(key));
	close(KEY_FD);
}

int main(int argc, char **argv)
{
	struct pfn_conf conf = { .abi = PFN_ABI, .size = sizeof(conf), .name = "crypt",
				 .version = "1",
				 .down = PFN_SET(PFN_WRITE) | PFN_SET(PFN_ZEROES),
				 .up = PFN_SET(PFN_READ),
				 .with_data = PFN_SET(PFN_WRITE) | PFN_SET(PFN_READ),
				 .requests = requests, .open = opened };

	if (argc > 1)
		sector_b = (unsigned)strtoul(argv[1], NULL, 10);
	if (sector_b != 512 && sector_b != 4096) {
		fprintf(stderr, "crypt: sectors have 512 or 4096 bytes\n");
		return 1;
	}
	take_key();
	return pfn_main(&conf);
}
