/*
 * Writes bases of random numbers in the shapes that the benchmarks speak of: config.json, model.safetensors
 * and a byte-level tokenizer.json that loads. The same shape gives the same bytes.
 *
 *   make_model DIR gpt2-124m|110m|1b [f32|bf16]
 *
 * What is there already and whole is left alone.
 */
#include "core/mem.h"
#include "core/rng.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define NAME_SIZE 96
#define MAX_TENSORS 512
#define PIECE 65536
#define HEADER_ALIGNMENT 64
/* Standard deviation of the weights: what such models are initialised with. */
#define SPREAD 0.02

struct shape {
	const char *name;
	bool gpt2; /* or LLaMA */
	size_t width, n_layers, ffn_width, n_heads, n_kv_heads, vocab_size, max_positions;
};

static const struct shape shapes[] = {
        {"gpt2-124m", true, 768, 12, 3072, 12, 12, 50257, 1024},
        {"110m", false, 768, 12, 2048, 12, 12, 32000, 2048},
        {"1b", false, 2048, 22, 5632, 32, 4, 32000, 2048},
};

struct tensor_plan {
	char name[NAME_SIZE];
	size_t rows, cols; /* cols 0: a vector */
	float mean, spread;
};

struct maker {
	const struct shape *shape;
	const char *dir;
	bool bf16;
	struct tensor_plan tensors[MAX_TENSORS];
	size_t n_tensors;
};

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static FILE *open_file(const struct maker *m, const char *name)
{
	char *path = mem_printf("%s/%s", m->dir, name);
	FILE *f = path ? fopen(path, "wb") : NULL;

	if (!f)
		die(path);
	mem_free(path);
	return f;
}

static void close_file(FILE *f, const char *name)
{
	if (ferror(f) || fclose(f))
		die(name);
}

/* ---- tensors ---- */

__attribute__((format(printf, 5, 6))) static void add(
        struct maker *m, size_t rows, size_t cols, float mean, const char *fmt, ...)
{
	struct tensor_plan *t = &m->tensors[m->n_tensors++];
	va_list ap;

	if (m->n_tensors > MAX_TENSORS)
		abort();
	va_start(ap, fmt);
	vsnprintf(t->name, sizeof(t->name), fmt, ap);
	va_end(ap);
	t->rows = rows;
	t->cols = cols;
	t->mean = mean;
	t->spread = cols ? (float)SPREAD : 0;
}

static void plan_gpt2(struct maker *m)
{
	size_t C = m->shape->width, F = m->shape->ffn_width;

	add(m, m->shape->vocab_size, C, 0, "wte.weight");
	add(m, m->shape->max_positions, C, 0, "wpe.weight");
	for (size_t i = 0; i < m->shape->n_layers; i++) {
		add(m, C, 0, 1, "h.%zu.ln_1.weight", i);
		add(m, C, 0, 0, "h.%zu.ln_1.bias", i);
		add(m, C, 3 * C, 0, "h.%zu.attn.c_attn.weight", i);
		add(m, 3 * C, 0, 0, "h.%zu.attn.c_attn.bias", i);
		add(m, C, C, 0, "h.%zu.attn.c_proj.weight", i);
		add(m, C, 0, 0, "h.%zu.attn.c_proj.bias", i);
		add(m, C, 0, 1, "h.%zu.ln_2.weight", i);
		add(m, C, 0, 0, "h.%zu.ln_2.bias", i);
		add(m, C, F, 0, "h.%zu.mlp.c_fc.weight", i);
		add(m, F, 0, 0, "h.%zu.mlp.c_fc.bias", i);
		add(m, F, C, 0, "h.%zu.mlp.c_proj.weight", i);
		add(m, C, 0, 0, "h.%zu.mlp.c_proj.bias", i);
	}
	add(m, C, 0, 1, "ln_f.weight");
	add(m, C, 0, 0, "ln_f.bias");
}

static void plan_llama(struct maker *m)
{
	const struct shape *s = m->shape;
	size_t C = s->width, F = s->ffn_width, KV = C / s->n_heads * s->n_kv_heads;

	add(m, s->vocab_size, C, 0, "model.embed_tokens.weight");
	for (size_t i = 0; i < s->n_layers; i++) {
		add(m, C, 0, 1, "model.layers.%zu.input_layernorm.weight", i);
		add(m, C, C, 0, "model.layers.%zu.self_attn.q_proj.weight", i);
		add(m, KV, C, 0, "model.layers.%zu.self_attn.k_proj.weight", i);
		add(m, KV, C, 0, "model.layers.%zu.self_attn.v_proj.weight", i);
		add(m, C, C, 0, "model.layers.%zu.self_attn.o_proj.weight", i);
		add(m, C, 0, 1, "model.layers.%zu.post_attention_layernorm.weight", i);
		add(m, F, C, 0, "model.layers.%zu.mlp.gate_proj.weight", i);
		add(m, F, C, 0, "model.layers.%zu.mlp.up_proj.weight", i);
		add(m, C, F, 0, "model.layers.%zu.mlp.down_proj.weight", i);
	}
	add(m, C, 0, 1, "model.norm.weight");
}

static size_t n_elements(const struct tensor_plan *t)
{
	return t->rows * (t->cols ? t->cols : 1);
}

static char *header_text(const struct maker *m)
{
	char *text = mem_strdup("{\"__metadata__\":{\"format\":\"pt\"}"), *longer;
	size_t at = 0, each = m->bf16 ? 2 : 4;

	for (size_t i = 0; text && i < m->n_tensors; i++) {
		const struct tensor_plan *t = &m->tensors[i];
		size_t end = at + n_elements(t) * each;

		longer = t->cols ? mem_printf("%s,\"%s\":{\"dtype\":\"%s\",\"shape\":[%zu,%zu],"
		                              "\"data_offsets\":[%zu,%zu]}",
		                           text, t->name, m->bf16 ? "BF16" : "F32", t->rows, t->cols, at, end)
		                 : mem_printf("%s,\"%s\":{\"dtype\":\"%s\",\"shape\":[%zu],"
		                              "\"data_offsets\":[%zu,%zu]}",
		                           text, t->name, m->bf16 ? "BF16" : "F32", t->rows, at, end);
		mem_free(text);
		text = longer;
		at = end;
	}
	return text;
}

/* The sum of four uniform numbers: near enough to a bell curve here, and one draw. */
static float draw(struct rng *r, const struct tensor_plan *t)
{
	uint64_t bits = rng_next(r);
	int sum = (int)(bits & 0xffff) + (int)(bits >> 16 & 0xffff) + (int)(bits >> 32 & 0xffff) +
	          (int)(bits >> 48) - 131070;

	return t->mean + t->spread * (float)sum * (1.7320508f / 65536);
}

static void write_tensor(const struct maker *m, const struct tensor_plan *t, struct rng *r, FILE *f)
{
	static union {
		float whole[PIECE];
		uint16_t brief[PIECE];
	} piece;
	size_t n;

	for (size_t left = n_elements(t); left > 0; left -= n) {
		n = left < PIECE ? left : PIECE;
		for (size_t i = 0; i < n; i++) {
			float x = draw(r, t);
			uint32_t bits;

			memcpy(&bits, &x, sizeof(bits));
			if (m->bf16)
				piece.brief[i] = (uint16_t)((bits + 0x8000) >> 16);
			else
				piece.whole[i] = x;
		}
		if (fwrite(&piece, m->bf16 ? 2 : 4, n, f) != n)
			die("model.safetensors");
	}
}

static void write_weights(struct maker *m)
{
	FILE *f = open_file(m, "model.safetensors");
	struct rng r = {1};
	char *header;
	uint64_t n;

	if (m->shape->gpt2)
		plan_gpt2(m);
	else
		plan_llama(m);
	header = header_text(m);
	if (!header)
		die("header");
	n = (strlen(header) + 1 + 8 + HEADER_ALIGNMENT - 1) / HEADER_ALIGNMENT * HEADER_ALIGNMENT - 8;
	fwrite(&n, sizeof(n), 1, f);
	fprintf(f, "%s}%*s", header, (int)(n - strlen(header) - 1), "");
	for (size_t i = 0; i < m->n_tensors; i++)
		write_tensor(m, &m->tensors[i], &r, f);
	close_file(f, "model.safetensors");
	mem_free(header);
}

/* ---- the texts beside them ---- */

static void write_config(const struct maker *m)
{
	const struct shape *s = m->shape;
	FILE *f = open_file(m, "config.json");

	if (s->gpt2)
		fprintf(f,
		        "{\"model_type\": \"gpt2\", \"n_embd\": %zu, \"n_layer\": %zu, \"n_head\": %zu, "
		        "\"n_inner\": %zu, \"vocab_size\": %zu, \"n_positions\": %zu, "
		        "\"activation_function\": \"gelu_new\", \"layer_norm_epsilon\": 1e-5, ",
		        s->width, s->n_layers, s->n_heads, s->ffn_width, s->vocab_size, s->max_positions);
	else
		fprintf(f,
		        "{\"model_type\": \"llama\", \"hidden_size\": %zu, \"num_hidden_layers\": %zu, "
		        "\"num_attention_heads\": %zu, \"num_key_value_heads\": %zu, "
		        "\"intermediate_size\": %zu, \"vocab_size\": %zu, \"max_position_embeddings\": %zu, "
		        "\"hidden_act\": \"silu\", \"rms_norm_eps\": 1e-5, \"rope_theta\": 10000.0, "
		        "\"tie_word_embeddings\": true, ",
		        s->width, s->n_layers, s->n_heads, s->n_kv_heads, s->ffn_width, s->vocab_size,
		        s->max_positions);
	fprintf(f, "\"torch_dtype\": \"%s\", \"bos_token_id\": 0, \"eos_token_id\": 0}\n",
	        m->bf16 ? "bfloat16" : "float32");
	close_file(f, "config.json");
}

/* The letter that stands for a byte in byte-level vocabularies, as a JSON string's content. */
static void put_byte_letter(FILE *f, unsigned byte, unsigned *n_moved)
{
	bool itself = (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
	unsigned code = itself ? byte : 256 + (*n_moved)++;

	if (code == '"' || code == '\\')
		fputc('\\', f);
	if (code < 0x80) {
		fputc((int)code, f);
		return;
	}
	fputc((int)(0xc0 | code >> 6), f);
	fputc((int)(0x80 | (code & 0x3f)), f);
}

static void write_tokenizer(const struct maker *m)
{
	FILE *f = open_file(m, "tokenizer.json");
	unsigned n_moved = 0;

	fputs("{\"version\": \"1.0\", \"truncation\": null, \"padding\": null, \"added_tokens\": [{\"id\": "
	      "0, "
	      "\"content\": \"<|endoftext|>\", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, "
	      "\"normalized\": false, \"special\": true}], \"normalizer\": null, \"pre_tokenizer\": "
	      "{\"type\": "
	      "\"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": true, \"use_regex\": true}, "
	      "\"post_processor\": null, \"decoder\": {\"type\": \"ByteLevel\", \"add_prefix_space\": true, "
	      "\"trim_offsets\": true, \"use_regex\": true}, \"model\": {\"type\": \"BPE\", \"dropout\": "
	      "null, "
	      "\"unk_token\": null, \"continuing_subword_prefix\": null, \"end_of_word_suffix\": null, "
	      "\"fuse_unk\": false, \"byte_fallback\": false, \"merges\": [], \"vocab\": "
	      "{\"<|endoftext|>\": 0",
	        f);
	for (unsigned byte = 0; byte < 256; byte++) {
		fputs(", \"", f);
		put_byte_letter(f, byte, &n_moved);
		fprintf(f, "\": %u", byte + 1);
	}
	for (size_t i = 257; i < m->shape->vocab_size; i++)
		fprintf(f, ", \"w%zu\": %zu", i, i);
	fputs("}}}\n", f);
	close_file(f, "tokenizer.json");
}

static bool is_whole(const struct maker *m)
{
	char *path = mem_printf("%s/complete", m->dir);
	struct stat st;
	bool whole = path && stat(path, &st) == 0;

	mem_free(path);
	return whole;
}

int main(int argc, char **argv)
{
	static struct maker m;

	for (size_t i = 0; argc > 2 && i < sizeof(shapes) / sizeof(shapes[0]); i++)
		if (strcmp(argv[2], shapes[i].name) == 0)
			m.shape = &shapes[i];
	if (!m.shape || argc > 4) {
		fprintf(stderr, "usage: make_model DIR gpt2-124m|110m|1b [f32|bf16]\n");
		return 2;
	}
	m.dir = argv[1];
	m.bf16 = argc == 4 && strcmp(argv[3], "bf16") == 0;
	(void)mkdir(m.dir, 0777);
	if (is_whole(&m))
		return 0;
	write_config(&m);
	write_tokenizer(&m);
	write_weights(&m);
	close_file(open_file(&m, "complete"), "complete");
	return 0;
}
