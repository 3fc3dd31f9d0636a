/*
 * Byte-pair encoding: the merges of a vocabulary, and joining symbols by them. Parsing is in bpe_parse.c,
 * joining in bpe.c. Internal to the tokenizer; immutable once parsed.
 */
#ifndef REDD_TEXT_BPE_H
#define REDD_TEXT_BPE_H

#include "worker/text/token_model.h"

#define BPE_N_DIRECT 0x400 /* characters below this are looked up in a table */

/* Two neighbours, the rank that says how early they are joined, and what they become. */
struct bpe_merge {
	uint64_t pair; /* left id << 32 | right id; BPE_NO_PAIR = free slot */
	uint32_t rank;
	int32_t id;
};
#define BPE_NO_PAIR UINT64_MAX
#define BPE_NO_RANK UINT32_MAX

struct bpe {
	struct bpe_merge *slots; /* owned; open addressing */
	unsigned slots_shift;    /* 64 - log2 of the number of slots */
	char *prefix;            /* owned; continuing_subword_prefix, or NULL */
	char *suffix;            /* owned; end_of_word_suffix, or NULL */
	int32_t unk_id;          /* -1 = unknown characters vanish */
	bool fuse_unk, byte_fallback, ignore_merges;
	/* A character that nothing is ever joined to from the left, so that text may be cut before it: 0 =
	 * none. */
	char cut[5];
	int32_t direct[BPE_N_DIRECT]; /* the id of a character, or -1 */
	int32_t bytes[256];           /* the ids of <0x00> to <0xFF>, or -1 */
};

static inline uint64_t bpe_pair(int32_t left, int32_t right)
{
	return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

/* The merge of a pair, or NULL. */
static inline const struct bpe_merge *bpe_find(const struct bpe *b, int32_t left, int32_t right)
{
	uint64_t pair = bpe_pair(left, right);
	uint64_t mask = (UINT64_C(1) << (64 - b->slots_shift)) - 1;
	uint64_t i = pair * 0x9e3779b97f4a7c15u >> b->slots_shift;

	while (b->slots[i].pair != pair) {
		if (b->slots[i].pair == BPE_NO_PAIR)
			return NULL;
		i = (i + 1) & mask;
	}
	return &b->slots[i];
}

enum err bpe_parse(const json_t *json, struct token_model *out, struct why *why);
void bpe_free(void *state);

#endif
