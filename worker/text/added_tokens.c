/* See added_tokens.h. Matching is leftmost, then longest, as Hugging Face's automaton does. */
#include "worker/text/added_tokens.h"

#include "core/mem.h"
#include "worker/text/utf8.h"

#include <stdlib.h>

struct token_trie_node {
	uint32_t child, sibling; /* 0 = none */
	int32_t token;           /* the id of the token that ends here, or -1 */
	unsigned char byte;
};

/* ---- the trie ---- */

static enum err trie_add_node(struct token_trie *t, unsigned char byte, uint32_t *index)
{
	if (t->n == t->cap) {
		size_t cap = t->cap ? 2 * t->cap : 64;
		struct token_trie_node *nodes = mem_realloc(t->nodes, cap, sizeof(*nodes));

		if (!nodes)
			return ERR_MEM;
		t->nodes = nodes;
		t->cap = cap;
	}
	*index = (uint32_t)t->n;
	t->nodes[t->n++] = (struct token_trie_node){0, 0, -1, byte};
	return OK;
}

static uint32_t trie_child(const struct token_trie *t, uint32_t node, unsigned char byte)
{
	uint32_t i = t->nodes[node].child;

	while (i && t->nodes[i].byte != byte)
		i = t->nodes[i].sibling;
	return i;
}

static enum err trie_add(struct token_trie *t, const char *p, size_t n, int32_t token)
{
	uint32_t node = 0, next;
	enum err e;

	if (!n)
		return OK;
	if (!t->n) {
		e = trie_add_node(t, 0, &next);
		if (e)
			return e;
	}
	for (size_t i = 0; i < n; i++) {
		next = trie_child(t, node, (unsigned char)p[i]);
		if (!next) {
			e = trie_add_node(t, (unsigned char)p[i], &next);
			if (e)
				return e;
			t->nodes[next].sibling = t->nodes[node].child;
			t->nodes[node].child = next;
		}
		node = next;
	}
	t->nodes[node].token = token;
	t->starts[(unsigned char)p[0]] = true;
	return OK;
}

/* The longest token that p starts with and its length, or -1. */
static int32_t trie_longest(const struct token_trie *t, const char *p, size_t n, size_t *len)
{
	uint32_t node = 0;
	int32_t found = -1;

	for (size_t i = 0; i < n; i++) {
		node = trie_child(t, node, (unsigned char)p[i]);
		if (!node)
			break;
		if (t->nodes[node].token >= 0) {
			found = t->nodes[node].token;
			*len = i + 1;
		}
	}
	return found;
}

/* ---- reading ---- */

static enum err parse_flags(const json_t *json, struct added_token *out, struct why *why)
{
	enum err e = json_get_id(json, "id", &out->id, why);

	if (!e)
		e = json_get_bool(json, "single_word", &out->single_word, why);
	if (!e)
		e = json_get_bool(json, "lstrip", &out->lstrip, why);
	if (!e)
		e = json_get_bool(json, "rstrip", &out->rstrip, why);
	if (!e)
		e = json_get_bool(json, "normalized", &out->normalized, why);
	if (!e)
		e = json_get_bool(json, "special", &out->special, why);
	return e;
}

/* A token's string and id must not contradict the model's vocabulary. */
static enum err check_id(const struct vocab *model, struct json_text content, int32_t id, struct why *why)
{
	int32_t known = vocab_find(model, content.p, content.n);
	size_t n;

	if (known >= 0 && known != id)
		return why_set(why, ERR_FORMAT, "\"%.60s\" has id %d here and %d in the vocabulary",
		        content.p, id, known);
	if (known < 0 && vocab_text(model, id, &n))
		return why_set(why, ERR_FORMAT, "id %d of \"%.60s\" is another token's in the vocabulary", id,
		        content.p);
	return OK;
}

static enum err parse_token(const json_t *json, const struct vocab *model, struct added_tokens *out,
        struct json_text *content, struct why *why)
{
	struct added_token *token = &out->items[out->n];
	enum err e = json_get_text(json, "content", content, why);

	if (e)
		return e;
	e = parse_flags(json, token, why);
	if (e)
		return e;
	e = check_id(model, *content, token->id, why);
	if (e)
		return e;
	e = vocab_add(&out->names, content->p, content->n, token->id);
	if (e == ERR_EXISTS)
		return why_set(
		        why, ERR_FORMAT, "\"%.60s\" or its id %d is there twice", content->p, token->id);
	return e;
}

static enum err index_token(const struct normalizer *normalizer, struct regex_scratch *s,
        struct json_text content, struct added_tokens *out)
{
	const struct added_token *token = &out->items[out->n];
	struct buf text = {0}, spare = {0};
	enum err e;

	if (!token->normalized)
		return trie_add(&out->raw, content.p, content.n, token->id);
	e = buf_append(&text, content.p, content.n);
	if (!e)
		e = normalizer_apply(normalizer, s, &text, &spare);
	if (!e)
		e = trie_add(&out->normalized, text.data, text.len, token->id);
	buf_fini(&text);
	buf_fini(&spare);
	return e;
}

static int compare_ids(const void *a, const void *b)
{
	const struct added_token *x = a, *y = b;

	return (x->id > y->id) - (x->id < y->id);
}

enum err added_tokens_parse(const json_t *json, const struct vocab *model,
        const struct normalizer *normalizer, struct added_tokens *out, struct why *why)
{
	struct regex_scratch *s = NULL;
	struct json_text content;
	json_t *token;
	size_t i;
	enum err e;

	if (!json || json_is_null(json))
		return OK;
	if (!json_is_array(json))
		return why_set(why, ERR_FORMAT, "must be an array");
	out->items = mem_calloc(json_array_size(json), sizeof(*out->items));
	e = out->items ? regex_scratch_new(&s) : ERR_MEM;
	json_array_foreach (json, i, token) {
		if (!e)
			e = parse_token(token, model, out, &content, why);
		if (!e)
			e = index_token(normalizer, s, content, out);
		if (e)
			break;
		out->n++;
	}
	regex_scratch_free(s);
	if (out->n)
		qsort(out->items, out->n, sizeof(*out->items), compare_ids);
	return e;
}

void added_tokens_fini(struct added_tokens *a)
{
	if (!a)
		return;
	vocab_fini(&a->names);
	mem_free(a->items);
	mem_free(a->raw.nodes);
	mem_free(a->normalized.nodes);
	*a = (struct added_tokens){0};
}

const struct added_token *added_tokens_get(const struct added_tokens *a, int32_t id)
{
	struct added_token key = {.id = id};

	return a->n ? bsearch(&key, a->items, a->n, sizeof(*a->items), compare_ids) : NULL;
}

/* ---- finding ---- */

static bool stands_alone(const char *p, size_t n, size_t start, size_t end)
{
	return (start == 0 || !utf8_is_word(utf8_last(p, start))) &&
	       (end == n || !utf8_is_word(utf8_get(p + end)));
}

enum err added_tokens_split(const struct added_tokens *a, const struct token_trie *trie, const char *p,
        size_t n, enum err (*add)(void *arg, const struct added_token *token, size_t start, size_t end),
        void *arg)
{
	size_t done = 0, len = 0;
	enum err e = OK;

	for (size_t i = 0; trie->n && i < n && !e;) {
		const struct added_token *token;
		size_t start = i, end;
		int32_t found;

		if (!trie->starts[(unsigned char)p[i]] ||
		        (found = trie_longest(trie, p + i, n - i, &len)) < 0) {
			i++;
			continue;
		}
		token = added_tokens_get(a, found);
		i += len;
		end = i;
		if (token->single_word && !stands_alone(p, n, start, end))
			continue;
		if (token->lstrip)
			start -= utf8_trailing_space(p, start);
		if (start < done)
			start = done;
		if (token->rstrip)
			end += utf8_leading_space(p + end, n - end);
		if (end < done)
			continue; /* within the space that the one before took */
		if (start > done)
			e = add(arg, NULL, done, start);
		if (!e)
			e = add(arg, token, start, end);
		done = end;
	}
	if (!e && done < n)
		e = add(arg, NULL, done, n);
	return e;
}
