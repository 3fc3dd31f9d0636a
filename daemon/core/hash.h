/*
 * SHA-256 (nettle's), hexadecimal, and random bytes from the kernel. Thread: any; a hasher has one owner.
 */
#ifndef REDD_CORE_HASH_H
#define REDD_CORE_HASH_H

#include "core/err.h"

#include <nettle/sha2.h>
#include <stddef.h>
#include <stdint.h>

#define HASH_BYTES 32
#define HASH_HEX_SIZE 65 /* with the NUL */

struct hash {
	struct sha256_ctx ctx;
};

void hash_init(struct hash *h);
void hash_update(struct hash *h, const void *p, size_t n);
/* Writes the digest and makes h ready for another message. */
void hash_final(struct hash *h, uint8_t digest[HASH_BYTES]);
/* One call for all three. */
void hash_bytes(const void *p, size_t n, uint8_t digest[HASH_BYTES]);
/* Lower-case hexadecimal, NUL-terminated. */
void hash_hex(const uint8_t digest[HASH_BYTES], char out[HASH_HEX_SIZE]);

/* For tables in memory (FNV-1a, 64 bits): begin with HASH_TABLE_BEGIN, go on with what it returned. */
#define HASH_TABLE_BEGIN UINT64_C(14695981039346656037)
uint64_t hash_table(uint64_t h, const void *p, size_t n);
/* Its low bits depend on all of it. */
uint64_t hash_table_end(uint64_t h);

/* n bytes nobody can guess. ERR_IO when the kernel has none to give. */
enum err random_bytes(void *p, size_t n);
/* prefix followed by n_chars of [A-Za-z0-9], NUL-terminated; out holds strlen(prefix) + n_chars + 1 bytes. */
enum err random_id(const char *prefix, size_t n_chars, char *out);

#endif
