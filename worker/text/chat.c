/*
 * Rendering messages by a format's table and encoding them. See chat.h. The text before an answer and the
 * answer are encoded apart, in training as in inference, so the ids of a prompt never depend on what answers
 * it.
 */
#include "worker/text/chat.h"

#include "core/mem.h"
#include "worker/text/chat_format.h"
#include "worker/text/utf8.h"

#include <string.h>

struct rendering {
	const struct chat_format *f;
	const struct tokenizer *t;
	const char *eos;   /* the end-of-text token as text */
	bool spaces_first; /* the tokenizer itself puts a space before a text */
	struct buf text;   /* owned; not yet encoded */
	struct ids ids;    /* owned */
	float *weights;    /* owned; parallel to ids; NULL unless wanted */
	bool want_weights;
};

static const char *find_eos(const struct tokenizer *t)
{
	static const char *const names[] = {
	        "</s>", "<|endoftext|>", "<|end_of_text|>", "<eos>", "<|im_end|>"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (tokenizer_token_id(t, names[i]) >= 0)
			return names[i];
	}
	return "";
}

static enum err find_spaces_first(const struct tokenizer *t, bool *out)
{
	struct ids ids = {0};
	struct buf bytes = {0};
	enum err e = tokenizer_encode(t, "x", 1, false, &ids);

	if (!e && ids.n)
		e = tokenizer_token_bytes(t, ids.ids[0], &bytes);
	*out = bytes.len && bytes.data[0] == ' ';
	ids_fini(&ids);
	buf_fini(&bytes);
	return e;
}

static void rendering_fini(struct rendering *r)
{
	buf_fini(&r->text);
	ids_fini(&r->ids);
	mem_free(r->weights);
}

/* Append one of the table's texts, with the end of text by its name. */
static enum err add_fixed(struct rendering *r, const char *text)
{
	const char *eos = strstr(text, CHAT_EOS);
	enum err e;

	if (!eos)
		return buf_puts(&r->text, text);
	e = buf_append(&r->text, text, (size_t)(eos - text));
	if (!e)
		e = buf_puts(&r->text, r->eos);
	return e ? e : buf_puts(&r->text, eos + strlen(CHAT_EOS));
}

static enum err add_content(struct rendering *r, const char *content)
{
	size_t n = strlen(content), left = 0, right = 0;

	if (r->f->trim && utf8_valid(content, n) == n) {
		left = utf8_leading_space(content, n);
		right = utf8_trailing_space(content + left, n - left);
	}
	return buf_append(&r->text, content + left, n - left - right);
}

static enum err add_turn(struct rendering *r, const struct chat_turn *turn, const char *content)
{
	enum err e = add_fixed(r, turn->open);

	if (!e)
		e = add_content(r, content);
	return e ? e : add_fixed(r, turn->close);
}

static enum err add_weights(struct rendering *r, size_t n, float weight)
{
	float *weights;

	if (!r->want_weights)
		return OK;
	weights = mem_realloc(r->weights, r->ids.n + n, sizeof(*weights));
	if (!weights)
		return ERR_MEM;
	for (size_t i = 0; i < n; i++)
		weights[r->ids.n + i] = weight;
	r->weights = weights;
	return OK;
}

static enum err add_ids(struct rendering *r, const int32_t *ids, size_t n, float weight)
{
	enum err e = add_weights(r, n, weight);

	return e ? e : ids_append(&r->ids, ids, n);
}

/* Encode the text rendered so far. */
static enum err flush(struct rendering *r, float weight)
{
	size_t n = r->ids.n;
	enum err e;

	if (!r->text.len)
		return OK;
	e = tokenizer_encode(r->t, r->text.data, r->text.len, false, &r->ids);
	r->text.len = 0;
	if (e)
		return e;
	n = r->ids.n - n;
	r->ids.n -= n;
	e = add_weights(r, n, weight);
	r->ids.n += n;
	return e;
}

static enum err start(struct rendering *r)
{
	size_t n;
	const int32_t *leading = tokenizer_leading(r->t, &n);
	int32_t bos = r->f->bos ? tokenizer_token_id(r->t, r->f->bos) : -1;

	if (n)
		return add_ids(r, leading, n, 0);
	return bos >= 0 ? add_ids(r, &bos, 1, 0) : OK;
}

static enum err check_roles(
        const struct chat_format *f, const struct chat_message *messages, size_t n, struct why *why)
{
	if (!n)
		return why_param(why, ERR_INVALID, "messages", "messages is empty");
	for (size_t i = 0; i < n; i++) {
		const char *role = messages[i].role;
		bool system = strcmp(role, "system") == 0;

		if (!system && strcmp(role, "user") != 0 && strcmp(role, "assistant") != 0)
			return why_param(why, ERR_INVALID, "messages",
			        "messages[%zu]: the role \"%.*s\" is not known: use system, user or "
			        "assistant",
			        i, (int)utf8_valid(role, strnlen(role, 40)), role);
		if (system && !f->system.open)
			return why_param(why, ERR_INVALID, "messages",
			        "messages[%zu]: this model's chat format (%s) has no system message", i,
			        f->name);
		if (system && f->system_within_user &&
		        (i > 0 || n == 1 || strcmp(messages[1].role, "user") != 0))
			return why_param(why, ERR_INVALID, "messages",
			        "messages[%zu]: in this model's chat format (%s) the system message comes "
			        "first, a user's "
			        "after it",
			        i, f->name);
	}
	return OK;
}

static enum err add_user(struct rendering *r, const struct chat_message *messages, size_t i)
{
	const struct chat_format *f = r->f;
	enum err e = OK;

	if (f->bos_again && i > 1 && tokenizer_token_id(r->t, f->bos) >= 0)
		e = buf_puts(&r->text, f->bos);
	if (!e && f->system_within_user && i == 1 && strcmp(messages[0].role, "system") == 0) {
		e = add_fixed(r, f->user.open);
		if (!e)
			e = add_turn(r, &f->system, messages[0].content);
		if (!e)
			e = add_content(r, messages[1].content);
		return e ? e : add_fixed(r, f->user.close);
	}
	return e ? e : add_turn(r, &f->user, messages[i].content);
}

/* An assistant turn, from its opening to the token that ends it. */
static enum err add_answer(struct rendering *r, const struct chat_message *m)
{
	const struct chat_format *f = r->f;
	const char *lead = r->spaces_first && f->lead[0] == ' ' ? f->lead + 1 : f->lead;
	enum err e = add_fixed(r, f->assistant.open);

	if (!e)
		e = flush(r, 0);
	if (!e)
		e = buf_puts(&r->text, lead);
	if (!e)
		e = add_content(r, m->content);
	if (!e && f->assistant.close)
		e = add_fixed(r, f->assistant.close);
	return e ? e : flush(r, m->weight);
}

/* All messages; what follows an answer is added only when something does. */
static enum err add_messages(struct rendering *r, const struct chat_message *messages, size_t n)
{
	const struct chat_format *f = r->f;
	enum err e = start(r);

	if (!e && f->default_system && strcmp(messages[0].role, "system") != 0)
		e = add_turn(r, &f->system, f->default_system);
	for (size_t i = 0; i < n && !e; i++) {
		if (i && strcmp(messages[i - 1].role, "assistant") == 0)
			e = buf_puts(&r->text, f->between);
		if (e)
			break;
		if (strcmp(messages[i].role, "assistant") == 0)
			e = add_answer(r, &messages[i]);
		else if (strcmp(messages[i].role, "user") == 0)
			e = add_user(r, messages, i);
		else if (!f->system_within_user)
			e = add_turn(r, &f->system, messages[i].content);
	}
	return e;
}

static enum err rendering_init(struct rendering *r, const struct chat_format *f, const struct tokenizer *t)
{
	*r = (struct rendering){.f = f, .t = t, .eos = find_eos(t)};
	return find_spaces_first(t, &r->spaces_first);
}

enum err chat_encode_prompt(const struct chat_format *f, const struct tokenizer *t,
        const struct chat_message *messages, size_t n, struct ids *out, struct why *why)
{
	struct rendering r;
	enum err e = check_roles(f, messages, n, why);

	if (e)
		return e;
	e = rendering_init(&r, f, t);
	if (!e)
		e = add_messages(&r, messages, n);
	if (!e && strcmp(messages[n - 1].role, "assistant") == 0)
		e = buf_puts(&r.text, f->between);
	if (!e)
		e = add_fixed(&r, f->assistant.open);
	if (!e)
		e = flush(&r, 0);
	if (!e)
		e = ids_append(out, r.ids.ids, r.ids.n);
	rendering_fini(&r);
	return e ? why_set(why, e, "%s", err_text(e)) : OK;
}

/* Append what was rendered to what the caller has. */
static enum err hand_over(const struct rendering *r, struct ids *out, float **weights)
{
	float *grown = mem_realloc(*weights, out->n + r->ids.n, sizeof(*grown));
	enum err e;

	if (!grown)
		return ERR_MEM;
	*weights = grown;
	e = ids_append(out, r->ids.ids, r->ids.n);
	if (!e && r->ids.n)
		memcpy(grown + out->n - r->ids.n, r->weights, r->ids.n * sizeof(*grown));
	return e;
}

enum err chat_encode_row(const struct chat_format *f, const struct tokenizer *t,
        const struct chat_message *messages, size_t n, struct ids *out, float **weights, int32_t eos_id,
        struct why *why)
{
	struct rendering r;
	enum err e = check_roles(f, messages, n, why);

	if (e)
		return e;
	if (strcmp(messages[n - 1].role, "assistant") != 0)
		return why_param(why, ERR_INVALID, "messages", "the last message must be the assistant's");
	e = rendering_init(&r, f, t);
	r.want_weights = true;
	if (!e)
		e = add_messages(&r, messages, n);
	if (!e && !f->assistant.close)
		e = add_ids(&r, &eos_id, 1, messages[n - 1].weight);
	if (!e)
		e = hand_over(&r, out, weights);
	rendering_fini(&r);
	return e ? why_set(why, e, "%s", err_text(e)) : OK;
}

int32_t chat_format_end_id(const struct chat_format *f, const struct tokenizer *t)
{
	return f->assistant.close && !strstr(f->assistant.close, CHAT_EOS)
	               ? tokenizer_token_id(t, f->assistant.close)
	               : -1;
}
