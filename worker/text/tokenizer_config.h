/*
 * What stands beside a vocabulary that is no tokenizer.json: tokenizer_config.json, special_tokens_map.json,
 * added_tokens.json, and config.json for the model's kind. And the parts of a tokenizer.json that follow from
 * them, whatever the vocabulary: added tokens and the tokens around text. Thread: any.
 */
#ifndef REDD_TEXT_TOKENIZER_CONFIG_H
#define REDD_TEXT_TOKENIZER_CONFIG_H

#include "worker/text/json_get.h"
#include "worker/text/vocab.h"

struct tokenizer_config {
	json_t *json;     /* owned; tokenizer_config.json's members and those of the other files */
	const char *kind; /* borrowed from json; the tokenizer's class, or the model's type, or "" */
};

/* Read those files of a directory that are there. ERR_FORMAT, ERR_IO, ERR_MEM; fini it on failure too. */
enum err tokenizer_config_open(const char *dir, struct tokenizer_config *out, struct why *why);
void tokenizer_config_fini(struct tokenizer_config *c);

/* Whether the kind speaks of this family ("llama", "t5"), in any spelling. */
bool tokenizer_config_is(const struct tokenizer_config *c, const char *family);
/* A yes or no of the configuration; usual when it does not say. */
enum err tokenizer_config_flag(
        const struct tokenizer_config *c, const char *key, bool usual, bool *out, struct why *why);
/* The token of a role ("eos_token"), as a name or as an object with one; usual when it does not say. */
const char *tokenizer_config_token(const struct tokenizer_config *c, const char *role, const char *usual);

/* The tokens that are found in text as they stand, while they are gathered. */
struct token_list {
	const struct tokenizer_config *config; /* borrowed */
	struct vocab *vocab;                   /* borrowed; grows by the tokens that it lacks */
	json_t *tokens;                        /* owned; their entries in "added_tokens", by name */
};
enum err token_list_init(struct token_list *l, const struct tokenizer_config *config, struct vocab *vocab);
void token_list_fini(struct token_list *l);
/* Add a token of the vocabulary; nothing when it is not there. */
enum err token_list_add(struct token_list *l, const char *name, bool special);
/* Add those that the configuration names; a name that the vocabulary lacks gets the next id. */
enum err token_list_add_configured(struct token_list *l, struct why *why);
/* "added_tokens", to own; NULL when memory is short. */
json_t *token_list_array(const struct token_list *l);

/* A "post_processor" that puts tokens of the vocabulary before and after text; NULL = none, as is one that
 * the vocabulary lacks. *out is to be owned. */
enum err template_json(const struct vocab *vocab, const char *before, const char *after, json_t **out);

#endif
