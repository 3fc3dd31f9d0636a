/* See hash.h. */
#include "core/hash.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

void hash_init(struct hash *h)
{
	sha256_init(&h->ctx);
}

void hash_update(struct hash *h, const void *p, size_t n)
{
	sha256_update(&h->ctx, n, p);
}

void hash_final(struct hash *h, uint8_t digest[HASH_BYTES])
{
	sha256_digest(&h->ctx, HASH_BYTES, digest);
}

void hash_bytes(const void *p, size_t n, uint8_t digest[HASH_BYTES])
{
	struct hash h;

	hash_init(&h);
	hash_update(&h, p, n);
	hash_final(&h, digest);
}

void hash_hex(const uint8_t digest[HASH_BYTES], char out[HASH_HEX_SIZE])
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < HASH_BYTES; i++) {
		out[2 * i] = digits[digest[i] >> 4];
		out[2 * i + 1] = digits[digest[i] & 15];
	}
	out[HASH_HEX_SIZE - 1] = '\0';
}

uint64_t hash_table(uint64_t h, const void *p, size_t n)
{
	const unsigned char *bytes = p;

	for (size_t i = 0; i < n; i++)
		h = (h ^ bytes[i]) * UINT64_C(1099511628211);
	return h;
}

uint64_t hash_table_end(uint64_t h)
{
	return h ^ h >> 32;
}

enum err random_bytes(void *p, size_t n)
{
	char *at = p;

	while (n) {
		ssize_t got = getrandom(at, n, 0);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return ERR_IO;
		at += got;
		n -= (size_t)got;
	}
	return OK;
}

enum err random_id(const char *prefix, size_t n_chars, char *out)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
	size_t at = strlen(prefix);

	memcpy(out, prefix, at);
	while (n_chars) {
		uint8_t raw[32];
		enum err e = random_bytes(raw, sizeof(raw));

		if (e)
			return e;
		/* 248 = 4 * 62: bytes above it would favour the first letters. */
		for (size_t i = 0; i < sizeof(raw) && n_chars; i++) {
			if (raw[i] >= 248)
				continue;
			out[at++] = letters[raw[i] % 62];
			n_chars--;
		}
	}
	out[at] = '\0';
	return OK;
}
