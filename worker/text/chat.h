/*
 * Chat: from messages to token ids, in the format the base was made for. The chat template
 * (chat_template.jinja, or tokenizer_config.json's "chat_template") is recognised by its form: ChatML, Llama
 * 2, Llama 3, Mistral, Gemma, Phi-3, Zephyr. A base without one gets the plain form of the paper, "Human:
 * {user}\n\nAssistant: {assistant}", a system message first as a paragraph of its own, a blank line between
 * turns.
 *
 * The same rendering serves training and inference, so that an adapter meets at inference what it saw in
 * training: what stands before an assistant's answer is encoded as one text, the answer with what ends it as
 * another. The special tokens that the tokenizer puts before a text come once, at the start; special
 * tokens written out in a message are recognised, as Hugging Face does. Immutable; any thread.
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
/* The form of a base without a template. */
const struct chat_format *chat_format_plain(void);
const char *chat_format_name(const struct chat_format *f);
/* The token that ends an assistant's turn in this format, where inference stops as at end of text; -1 when
 * that is the end of text itself. */
int32_t chat_format_end_id(const struct chat_format *f, const struct tokenizer *t);

/* Append the prompt's ids: all messages, then the opening of the assistant's turn.
 * ERR_INVALID for a role the format has no place for; why->param is "messages". */
enum err chat_encode_prompt(const struct chat_format *f, const struct tokenizer *t,
        const struct chat_message *messages, size_t n, struct ids *out, struct why *why);

/* As above for a training row that ends with an assistant turn; its ids begin with those that
 * chat_encode_prompt() gives for all messages but the last. *weights, the caller's to mem_free(), grows to
 * out->n floats, one for each id appended: the turn's weight on an assistant turn's tokens and the token that
 * ends it, 0 elsewhere. In the plain form only the last turn is ended by a token: eos_id. On failure out and
 * *weights keep their content. */
enum err chat_encode_row(const struct chat_format *f, const struct tokenizer *t,
        const struct chat_message *messages, size_t n, struct ids *out, float **weights, int32_t eos_id,
        struct why *why);

#endif
