/* See bpe_files.h. A new family is a row of `families`. */
#include "worker/text/bpe_files.h"

#include "core/mem.h"
#include "worker/text/token_model.h"
#include "worker/text/utf8.h"

#include <string.h>

#define QWEN2_PATTERN                                                                                        \
	"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"  \
	"\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

struct family {
	const char *name;
	const char *before, *after; /* always around text; NULL = where the configuration asks for them */
	const char *bos, *eos;      /* what it then calls them */
	const char *normalizer;     /* or NULL */
	const char *pattern;        /* cuts text into words; NULL = byte-level's own */
	const char *specials[6];    /* if the vocabulary has them; ended by NULL */
};

static const struct family families[] = {
        {"roberta", "<s>", "</s>", "<s>", "</s>", NULL, NULL,
                {"<s>", "<pad>", "</s>", "<unk>", "<mask>", NULL}},
        {"bart", "<s>", "</s>", "<s>", "</s>", NULL, NULL, {"<s>", "<pad>", "</s>", "<unk>", "<mask>", NULL}},
        {"qwen2", NULL, NULL, NULL, "<|endoftext|>", "NFC", QWEN2_PATTERN, {"<|endoftext|>", NULL}},
        {"", NULL, NULL, "<|endoftext|>", "<|endoftext|>", NULL, NULL, {"<|endoftext|>", NULL}},
};

static const struct family *family_of(const struct tokenizer_config *c)
{
	size_t i = 0;

	while (families[i].name[0] && !tokenizer_config_is(c, families[i].name))
		i++;
	return &families[i];
}

/* The lines of merges.txt without its first, a remark. */
static enum err merges_json(const struct buf *text, json_t **out, struct why *why)
{
	const char *p = text->data, *end = p + text->len;
	json_t *merges = json_array();
	enum err e = merges ? OK : ERR_MEM;

	for (size_t line = 1; !e && p < end; line++) {
		const char *newline = memchr(p, '\n', (size_t)(end - p));
		size_t n = (size_t)((newline ? newline : end) - p);
		size_t n_text = n && p[n - 1] == '\r' ? n - 1 : n;

		if (utf8_valid(p, n_text) < n_text)
			e = why_set(why, ERR_FORMAT, "merges.txt: line %zu is not UTF-8", line);
		else if (n_text && !(line == 1 && strncmp(p, "#version", 8) == 0))
			e = json_array_append_new(merges, json_stringn(p, n_text)) ? ERR_MEM : OK;
		p = newline ? newline + 1 : end;
	}
	if (e)
		json_decref(merges);
	else
		*out = merges;
	return e;
}

static json_t *pre_tokenizer_json(const struct family *f, bool prefix)
{
	if (!f->pattern)
		return json_pack("{s:s, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", (int)prefix,
		        "use_regex", 1);
	return json_pack("{s:s, s:[{s:s, s:{s:s}, s:s, s:b}, {s:s, s:b, s:b}]}", "type", "Sequence",
	        "pretokenizers", "type", "Split", "pattern", "Regex", f->pattern, "behavior", "Isolated",
	        "invert", 0, "type", "ByteLevel", "add_prefix_space", (int)prefix, "use_regex", 0);
}

static enum err post_processor_json(const struct tokenizer_config *c, const struct family *f,
        const struct vocab *v, json_t **out, struct why *why)
{
	bool bos, eos;
	enum err e = tokenizer_config_flag(c, "add_bos_token", false, &bos, why);

	if (!e)
		e = tokenizer_config_flag(c, "add_eos_token", false, &eos, why);
	if (e)
		return e;
	if (f->before)
		return template_json(v, tokenizer_config_token(c, "cls_token", f->before),
		        tokenizer_config_token(c, "sep_token", f->after), out);
	return template_json(v, bos ? tokenizer_config_token(c, "bos_token", f->bos) : NULL,
	        eos ? tokenizer_config_token(c, "eos_token", f->eos) : NULL, out);
}

static enum err convert(
        const struct tokenizer_config *c, const json_t *model, struct vocab *v, json_t *root, struct why *why)
{
	const struct family *f = family_of(c);
	struct token_list list;
	json_t *post = NULL;
	bool prefix;
	int failed = 0;
	enum err e = token_list_init(&list, c, v);

	for (size_t i = 0; !e && f->specials[i]; i++)
		e = token_list_add(&list, f->specials[i], true);
	if (!e)
		e = token_list_add_configured(&list, why);
	if (!e)
		e = tokenizer_config_flag(c, "add_prefix_space", false, &prefix, why);
	if (!e)
		e = post_processor_json(c, f, v, &post, why);
	if (!e && f->normalizer)
		failed = json_object_set_new(root, "normalizer", json_pack("{s:s}", "type", f->normalizer));
	if (!e)
		failed |= json_object_set(root, "model", (json_t *)(uintptr_t)model) |
		          json_object_set(root, "post_processor", post) |
		          json_object_set_new(root, "added_tokens", token_list_array(&list)) |
		          json_object_set_new(root, "pre_tokenizer", pre_tokenizer_json(f, prefix)) |
		          json_object_set_new(root, "decoder", json_pack("{s:s}", "type", "ByteLevel"));
	json_decref(post);
	token_list_fini(&list);
	return e ? e : failed ? ERR_MEM : OK;
}

static enum err model_json(const struct buf *vocab, const struct buf *merges, json_t **out, struct why *why)
{
	json_error_t error = {0};
	json_t *list = NULL, *pieces = json_loadb(vocab->data, vocab->len, JSON_REJECT_DUPLICATES, &error);
	enum err e;

	if (!pieces && json_out_of_memory(&error))
		return ERR_MEM;
	if (!pieces)
		return why_set(why, ERR_FORMAT, "vocab.json: not JSON: %s (line %d)", error.text, error.line);
	e = merges_json(merges, &list, why);
	if (!e)
		*out = json_pack("{s:s, s:O, s:O}", "type", "BPE", "vocab", pieces, "merges", list);
	json_decref(pieces);
	json_decref(list);
	return e || *out ? e : ERR_MEM;
}

enum err bpe_files_convert(const struct buf *vocab, const struct buf *merges,
        const struct tokenizer_config *config, json_t **out, struct why *why)
{
	json_t *root = json_object(), *model = NULL;
	struct vocab v = {0};
	enum err e = root ? model_json(vocab, merges, &model, why) : ERR_MEM;

	if (!e) {
		e = token_model_parse_vocab(model, &v, why);
		if (e && e != ERR_MEM)
			why_prefix(why, "vocab.json: ");
	}
	if (!e)
		e = convert(config, model, &v, root, why);
	json_decref(model);
	vocab_fini(&v);
	if (e)
		json_decref(root);
	else
		*out = root;
	return e;
}
