/* Which of a directory's files is its tokenizer. See tokenizer.h. */
#include "core/mem.h"
#include "worker/text/bpe_files.h"
#include "worker/text/sentencepiece.h"
#include "worker/text/tokenizer_build.h"

#include <string.h>

#define TOKENIZER_MAX_BYTES ((size_t)128 << 20)

/* Read DIR/NAME; data is not NULL then. What is wrong but ERR_NOT_FOUND is said. */
static enum err read_file(const char *dir, const char *name, size_t max, struct buf *out, struct why *why)
{
	char *path = mem_printf("%s/%s", dir, name);
	enum err e = path ? buf_read_file(out, path, max) : ERR_MEM;

	if (!e)
		e = buf_append(out, "", 0);
	if (e)
		why_set(why, e, "%s/%s: %s", dir, name, err_text(e));
	mem_free(path);
	return e;
}

/* ERR_NOT_FOUND: there is no such file. */
static enum err open_json(const char *dir, struct tokenizer **out, struct why *why)
{
	struct buf text = {0};
	enum err e = read_file(dir, "tokenizer.json", TOKENIZER_MAX_BYTES, &text, why);

	if (!e) {
		e = tokenizer_parse(text.data, text.len, out, why);
		if (e)
			why_prefix(why, "%s/tokenizer.json: ", dir);
	}
	buf_fini(&text);
	return e;
}

/* The tokenizer.json that another format amounts to; ERR_NOT_FOUND: no file of it is there. */
static enum err convert_sentencepiece(
        const char *dir, const struct tokenizer_config *config, json_t **out, struct why *why)
{
	struct buf model = {0};
	enum err e = read_file(dir, "tokenizer.model", SENTENCEPIECE_MAX_BYTES, &model, why);

	if (!e) {
		e = sentencepiece_convert(model.data, model.len, config, out, why);
		if (e && e != ERR_MEM)
			why_prefix(why, "%s/tokenizer.model: ", dir);
	}
	buf_fini(&model);
	return e;
}

static enum err convert_bpe_files(
        const char *dir, const struct tokenizer_config *config, json_t **out, struct why *why)
{
	struct buf vocab = {0}, merges = {0};
	enum err e = read_file(dir, "vocab.json", TOKENIZER_MAX_BYTES, &vocab, why);

	if (!e)
		e = read_file(dir, "merges.txt", TOKENIZER_MAX_BYTES, &merges, why);
	if (!e) {
		e = bpe_files_convert(&vocab, &merges, config, out, why);
		if (e && e != ERR_MEM)
			why_prefix(why, "%s/", dir);
	}
	buf_fini(&vocab);
	buf_fini(&merges);
	return e;
}

static enum err open_converted(const char *dir, struct tokenizer **out, struct why *why)
{
	struct tokenizer_config config = {0};
	json_t *root = NULL;
	enum err e = tokenizer_config_open(dir, &config, why);

	if (!e)
		e = convert_sentencepiece(dir, &config, &root, why);
	if (e == ERR_NOT_FOUND)
		e = convert_bpe_files(dir, &config, &root, why);
	if (e == ERR_NOT_FOUND)
		why_set(why, e,
		        "%s: there is no tokenizer.json, tokenizer.model, or vocab.json with merges.txt",
		        dir);
	if (!e) {
		e = tokenizer_build(root, out, why);
		if (e && e != ERR_MEM)
			why_prefix(why, "%s: the tokenizer made of its files: ", dir);
	}
	json_decref(root);
	tokenizer_config_fini(&config);
	return e;
}

enum err tokenizer_open(const char *dir, struct tokenizer **out, struct why *why)
{
	enum err e = open_json(dir, out, why);

	if (e == ERR_NOT_FOUND)
		e = open_converted(dir, out, why);
	if (e == ERR_MEM)
		why_set(why, e, "%s: %s", dir, err_text(e));
	return e;
}
