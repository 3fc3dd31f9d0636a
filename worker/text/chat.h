/*
 * Chat: from messages to token ids, in the format the base was made for. tokenizer_config.json's
 * chat_template (or chat_template.jinja) is recognised by its form (ChatML, Llama 2, Llama 3, Mistral,
 * Zephyr); a base without one gets the plain form of the paper, "Human: {user}\n\nAssistant: {assistant}".
 * The same rendering serves training and inference, so that an adapter meets at inference what it saw in
 * training. Immutable; any thread.
 */
#ifndef REDD_TEXT_CHAT_H
#define REDD_TEXT_CHAT_H

#include "worker/text/tokenizer.h"

struct chat_format; /* static, never freed */

struct chat_message {
	const char *role;    /* "system", "user", "assistant"; borrowed */
	const char *content; /* borrowed, UTF-8 */
	float weight;        /* training: 0 = no loss on this assistant turn */
};

/* Choose the format for a model directory. ERR_UNSUPPORTED with reason when a template is there but unknown.
 */
enum err chat_format_detect(const char *dir, const struct chat_format **out, struct why *why);
const char *chat_format_name(const struct chat_format *f);

/* Append the prompt's ids: all messages, then the opening of the assistant's turn.
 * ERR_INVALID for a role the format has no place for; why->param is "messages". */
enum err chat_encode_prompt(const struct chat_format *f, const struct tokenizer *t,
        const struct chat_message *messages, size_t n, struct ids *out, struct why *why);

/* As above for a training row that ends with an assistant turn: also append to `trained` one weight per id
 * (as float, same length as the ids appended): the turn's weight on an assistant turn's tokens and the token
 * that ends it, 0 elsewhere. */
enum err chat_encode_row(const struct chat_format *f, const struct tokenizer *t,
        const struct chat_message *messages, size_t n, struct ids *out, float **weights, int32_t eos_id,
        struct why *why);

#endif
