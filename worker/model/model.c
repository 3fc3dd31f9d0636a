/*
 * Opening and closing a base: configuration, weights, sites, rotary tables, fingerprint. See model.h.
 */
#include "core/buf.h"
#include "core/hash.h"
#include "core/mem.h"
#include "worker/model/transformer.h"

#include <stdio.h>
#include <string.h>

#define CONFIG_MAX_BYTES ((size_t)16 << 20)

static enum err read_text(const char *dir, const char *name, struct buf *out, struct why *why)
{
	char *path = mem_printf("%s/%s", dir, name);
	enum err e = path ? buf_read_file(out, path, CONFIG_MAX_BYTES) : ERR_MEM;

	if (e)
		why_set(why, e, "%s/%s: %s", dir, name, err_text(e));
	mem_free(path);
	return e;
}

/* What the architecture adds to the fingerprint: every field that changes what the weights compute, but not
 * the spelling of config.json. */
static void arch_hash(const struct arch *a, struct hash *hash)
{
	char text[1024];
	int n = snprintf(text, sizeof(text),
	        "%s layers=%zu+%zu heads=%zu/%zu*%zu norm=%d eps=%a post=%d act=%d scale=%a/%d "
	        "window=%zu,%zu "
	        "rope=%a,%d,%a,%a,%a,%a relative=%zu,%zu positions=%zu,%zu types=%zu head=%d",
	        a->family->name, a->stacks[0].n_layers, a->stacks[1].n_layers, a->n_heads, a->n_kv_heads,
	        a->head_dim, a->norm, (double)a->norm_eps, a->post_norm, a->activation, (double)a->attn_scale,
	        a->attn_scale_by_layer, a->window, a->window_from, a->rope.theta, a->rope.scaling,
	        a->rope.factor, a->rope.low_freq_factor, a->rope.high_freq_factor,
	        a->rope.original_max_positions, a->relative_buckets, a->relative_distance, a->max_positions,
	        a->position_offset, a->n_types, a->scaled_head);

	hash_update(hash, text, (size_t)n);
}

static enum err model_read_config(struct model *m, const char *dir, struct why *why)
{
	struct buf config = {0}, generation = {0};
	enum err e = read_text(dir, "config.json", &config, why);

	if (!e) {
		e = arch_parse(config.data, &m->arch, why);
		if (e)
			why_prefix(why, "%s/config.json: ", dir);
	}
	if (!e) {
		enum err found = read_text(dir, "generation_config.json", &generation, NULL);

		if (found && found != ERR_NOT_FOUND)
			e = why_set(why, found, "%s/generation_config.json: %s", dir, err_text(found));
		else if (!found) {
			e = arch_parse_generation(generation.data, &m->arch, why);
			if (e)
				why_prefix(why, "%s/generation_config.json: ", dir);
		}
	}
	buf_fini(&config);
	buf_fini(&generation);
	return e;
}

static enum err model_fill_rope(struct model *m)
{
	size_t P = m->arch.max_positions, D = m->arch.head_dim;

	if (m->arch.positions != POSITIONS_ROPE)
		return OK;
	m->rope_cos = mem_aligned(P * (D / 2), sizeof(float));
	m->rope_sin = mem_aligned(P * (D / 2), sizeof(float));
	if (!m->rope_cos || !m->rope_sin)
		return ERR_MEM;
	rope_table(&m->arch.rope, 0, P, D, m->rope_cos, m->rope_sin);
	return OK;
}

static void model_fill_info(struct model *m, struct hash *hash)
{
	const struct arch *a = &m->arch;
	uint8_t digest[HASH_BYTES];

	m->info = (struct model_info){
	        .family = a->family->name,
	        .model_type = a->model_type,
	        .kind = a->family->kind,
	        .n_layers = a->n_layers,
	        .width = a->width,
	        .vocab_size = a->vocab_size,
	        .max_positions = a->max_positions,
	        .n_params = m->weights.n_params,
	        .weights = m->weights.format,
	        .weight_bytes = m->weights.n_bytes,
	        .bos_id = a->bos_id,
	        .decoder_start_id = a->decoder_start_id,
	        .n_eos = a->n_eos,
	};
	memcpy(m->info.eos_ids, a->eos_ids, sizeof(a->eos_ids));
	hash_final(hash, digest);
	hash_hex(digest, m->info.hash);
}

enum err model_open(const char *dir, struct model **out, struct why *why)
{
	return model_open_as(dir, MATRIX_F32, out, why);
}

enum err model_open_as(const char *dir, enum matrix_format weights, struct model **out, struct why *why)
{
	struct model *m = mem_calloc(1, sizeof(*m));
	struct hash hash;
	enum err e = m ? OK : ERR_MEM;

	hash_init(&hash);
	if (!e) {
		m->dir = mem_strdup(dir);
		e = m->dir ? OK : ERR_MEM;
	}
	if (!e)
		e = model_read_config(m, dir, why);
	if (!e)
		arch_hash(&m->arch, &hash);
	if (!e)
		e = weights_open(dir, &m->arch, weights, &m->weights, &hash, why);
	if (!e)
		e = arch_sites(&m->arch, &m->sites, &m->n_sites);
	if (!e)
		e = model_fill_rope(m);
	if (e)
		goto fail;
	model_fill_info(m, &hash);
	*out = m;
	return OK;
fail:
	if (e == ERR_MEM)
		why_set(why, e, "%s: out of memory", dir);
	model_close(m);
	return e;
}

void model_train_bf16(struct model *m)
{
	m->train_bf16 = m->weights.format == MATRIX_BF16;
}

void model_close(struct model *m)
{
	if (!m)
		return;
	weights_close(&m->weights);
	mem_free(m->sites);
	mem_free(m->dir);
	mem_free(m->rope_cos);
	mem_free(m->rope_sin);
	mem_free(m);
}

const struct model_info *model_info(const struct model *m)
{
	return &m->info;
}

const struct site *model_sites(const struct model *m, size_t *n_sites)
{
	*n_sites = m->n_sites;
	return m->sites;
}
