/* See fold.h. The plan says what each tensor becomes; here it is written, piece by piece. */
#include "worker/model/fold.h"

#include "core/buf.h"
#include "core/clock.h"
#include "core/mem.h"
#include "worker/model/fold_plan.h"
#include "worker/model/tar.h"

#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIECE 4096 /* numbers worked on at a time */
#define CONFIG_MAX_BYTES ((size_t)16 << 20)
#define HEADER_ALIGNMENT 8

struct folder {
	const struct model *model;
	struct fold_plan plan;
	struct tar tar;
	struct why *why;
};

/* What goes along unchanged, where the base has it. */
static const char *const companions[] = {"generation_config.json", "tokenizer.json", "tokenizer.model",
        "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt",
        "vocab.txt", "spiece.model", "sentencepiece.bpe.model", "chat_template.jinja", NULL};

/* ---- numbers ---- */

/* To the nearest, ties to even; what is too large becomes infinite. x is finite. */
static uint16_t to_bf16(float x)
{
	uint32_t bits;

	memcpy(&bits, &x, sizeof(bits));
	return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static uint16_t to_f16(float x)
{
	uint32_t bits, sign;
	float magnitude = fabsf(x);
	uint16_t half;

	memcpy(&bits, &x, sizeof(bits));
	sign = bits >> 16 & 0x8000;
	bits &= 0x7fffffff;
	if (magnitude >= 65520) /* half way to the number behind the largest */
		return (uint16_t)(sign | 0x7c00);
	if (magnitude < 0x1p-14f) /* subnormal: a multiple of 2^-24, the sum rounds as the processor does */
		half = (uint16_t)lrintf(magnitude * 0x1p24f);
	else
		half = (uint16_t)((bits - (112U << 23) + 0xfff + (bits >> 13 & 1)) >> 13);
	return (uint16_t)(sign | half);
}

/* n numbers in a tensor's own type. ERR_UNSUPPORTED when one is too large for it. */
static enum err write_numbers(struct folder *f, const struct fold_tensor *t, const float *x, size_t n)
{
	enum tensor_type type = t->source->type;
	uint16_t narrow[PIECE];
	float largest = type == TENSOR_F16 ? 65520 : type == TENSOR_BF16 ? 0x1.ffp127f : INFINITY;

	for (size_t i = 0; i < n; i++) {
		if (!(fabsf(x[i]) < largest))
			return why_set(f->why, ERR_UNSUPPORTED,
			        "folded into tensor %.100s a number becomes too large for %s",
			        t->name ? t->name : t->source->name, tensor_type_name(type));
		if (type != TENSOR_F32)
			narrow[i] = type == TENSOR_F16 ? to_f16(x[i]) : to_bf16(x[i]);
	}
	return type == TENSOR_F32 ? tar_write(&f->tar, x, n * sizeof(*x))
	                          : tar_write(&f->tar, narrow, n * sizeof(*narrow));
}

/* Elements first .. first + n - 1, all in one row of the stored weight or in the bias, edited. */
static enum err write_piece(struct folder *f, const struct fold_tensor *t, size_t first, size_t n)
{
	const struct fold_edit *e = t->edit;
	size_t row_length = t->kind == FOLD_WEIGHT ? t->source->shape[1] : SIZE_MAX;
	size_t row = first / row_length, column = first % row_length;
	bool by_row = t->kind == FOLD_WEIGHT && !f->model->arch.transposed;
	float x[PIECE] = {0};
	enum err err = t->kind == FOLD_NEW ? OK : tensor_read_f32(t->source, first, n, x);

	if (err)
		return why_set(f->why, err, "tensor %.100s: %s cannot be folded", t->source->name,
		        tensor_type_name(t->source->type));
	for (size_t i = 0; e && i < n; i++) {
		x[i] *= e->scale[by_row ? row : column + i];
		if (t->kind == FOLD_BIAS || t->kind == FOLD_NEW)
			x[i] += e->shift[column + i];
	}
	return write_numbers(f, t, x, n);
}

static size_t count_of(const struct fold_tensor *t)
{
	return t->kind == FOLD_NEW ? t->n_out : t->source->n_elements;
}

static enum err write_tensor(struct folder *f, const struct fold_tensor *t)
{
	size_t n = count_of(t), row = t->kind == FOLD_WEIGHT ? t->source->shape[1] : n;
	enum err e = OK;

	if (t->kind == FOLD_COPY)
		return tar_write(&f->tar, t->source->data, t->source->n_bytes);
	for (size_t at = 0, piece; !e && at < n; at += piece) {
		piece = row - at % row < PIECE ? row - at % row : PIECE;
		e = write_piece(f, t, at, piece);
	}
	return e;
}

/* ---- model.safetensors ---- */

static json_t *shape_json(const struct fold_tensor *t)
{
	json_t *shape = json_array();
	int failed = 0;

	if (t->kind == FOLD_NEW)
		failed = json_array_append_new(shape, json_integer((json_int_t)t->n_out));
	for (size_t d = 0; t->kind != FOLD_NEW && d < t->source->n_dims; d++)
		failed |= json_array_append_new(shape, json_integer((json_int_t)t->source->shape[d]));
	if (failed) {
		json_decref(shape);
		return NULL;
	}
	return shape;
}

/* The header's text, mem_free() it, and the bytes of data behind it; NULL when memory is short. */
static char *header_text(const struct fold_plan *p, size_t *n_data)
{
	json_t *header = json_pack("{s:{s:s}}", "__metadata__", "format", "pt");
	char *text = NULL, *out = NULL;
	int failed = 0;

	*n_data = 0;
	for (size_t i = 0; i < p->n_tensors; i++) {
		const struct fold_tensor *t = &p->tensors[i];
		size_t end = *n_data + count_of(t) * tensor_type_bytes(t->source->type);

		failed |= json_object_set_new(header, t->name ? t->name : t->source->name,
		        json_pack("{s:s, s:o, s:[I, I]}", "dtype", tensor_type_name(t->source->type), "shape",
		                shape_json(t), "data_offsets", (json_int_t)*n_data, (json_int_t)end));
		*n_data = end;
	}
	if (!failed)
		text = json_dumps(header, JSON_COMPACT);
	if (text)
		out = mem_printf("%s%*s", text,
		        (int)((HEADER_ALIGNMENT - strlen(text) % HEADER_ALIGNMENT) % HEADER_ALIGNMENT), "");
	free(text);
	json_decref(header);
	return out;
}

static enum err write_weights(struct folder *f)
{
	unsigned char prefix[8];
	size_t n_data, n_header;
	char *header = header_text(&f->plan, &n_data);
	enum err e;

	if (!header)
		return ERR_MEM;
	n_header = strlen(header);
	for (size_t i = 0; i < sizeof(prefix); i++)
		prefix[i] = (unsigned char)(n_header >> (8 * i));
	e = tar_begin(&f->tar, "model.safetensors", sizeof(prefix) + n_header + n_data);
	if (!e)
		e = tar_write(&f->tar, prefix, sizeof(prefix));
	if (!e)
		e = tar_write(&f->tar, header, n_header);
	for (size_t i = 0; !e && i < f->plan.n_tensors; i++)
		e = write_tensor(f, &f->plan.tensors[i]);
	mem_free(header);
	return e;
}

/* ---- config.json and what goes along ---- */

/* The configuration with the switches set that the plan needs. */
static enum err adapt_config(const struct folder *f, struct buf *text)
{
	const struct family *family = f->model->arch.family;
	json_t *config = json_loads(text->data, 0, NULL);
	char *adapted = NULL;
	enum err e = ERR_MEM;

	if (!json_is_object(config)) {
		e = why_set(f->why, ERR_FORMAT, "%s/config.json has changed since the base was opened",
		        f->model->dir);
		goto fail;
	}
	if (f->plan.attn_bias && json_object_set_new(config, family->attn_bias_key, json_true()))
		goto fail;
	if (f->plan.ffn_bias && json_object_set_new(config, family->ffn_bias_key, json_true()))
		goto fail;
	adapted = json_dumps(config, JSON_INDENT(2));
	if (!adapted)
		goto fail;
	text->len = 0;
	e = buf_puts(text, adapted);
	if (!e)
		e = buf_puts(text, "\n");
fail:
	free(adapted);
	json_decref(config);
	return e;
}

static enum err write_config(struct folder *f)
{
	char *path = mem_printf("%s/config.json", f->model->dir);
	struct buf text = {0};
	enum err e = path ? buf_read_file(&text, path, CONFIG_MAX_BYTES) : ERR_MEM;

	if (e && e != ERR_MEM)
		why_set(f->why, e, "%s: %s", path, err_text(e));
	if (!e && (f->plan.attn_bias || f->plan.ffn_bias))
		e = adapt_config(f, &text);
	if (!e)
		e = tar_begin(&f->tar, "config.json", text.len);
	if (!e)
		e = tar_write(&f->tar, text.data, text.len);
	buf_fini(&text);
	mem_free(path);
	return e;
}

/* A file of the base as it is, if it is there. */
static enum err write_companion(struct folder *f, const char *name)
{
	char *path = mem_printf("%s/%s", f->model->dir, name);
	unsigned char piece[PIECE];
	struct stat st;
	ssize_t n;
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	enum err e = path ? OK : ERR_MEM;

	mem_free(path);
	if (fd < 0)
		return e;
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
		close(fd);
		return OK;
	}
	e = tar_begin(&f->tar, name, (uint64_t)st.st_size);
	for (off_t left = st.st_size; !e && left > 0; left -= n) {
		n = read(fd, piece, left < PIECE ? (size_t)left : PIECE);
		e = n > 0 ? tar_write(&f->tar, piece, (size_t)n) : ERR_IO;
		if (n <= 0)
			break;
	}
	close(fd);
	return e;
}

enum err model_fold(const struct model *m, const struct adapter_layout *layout, const float *params, int fd,
        struct why *why)
{
	struct folder *f = mem_calloc(1, sizeof(*f));
	enum err e;

	if (!f)
		return ERR_MEM;
	f->model = m;
	f->why = why;
	f->tar.fd = fd;
	f->tar.time = clock_now_ms() / 1000;
	e = fold_plan_make(m, layout, params, &f->plan, why);
	if (!e)
		e = write_config(f);
	if (!e)
		e = write_weights(f);
	for (const char *const *name = companions; !e && *name; name++)
		e = write_companion(f, *name);
	if (!e)
		e = tar_end(&f->tar);
	fold_plan_fini(&f->plan);
	mem_free(f);
	return e;
}
