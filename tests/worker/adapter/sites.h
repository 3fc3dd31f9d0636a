/*
 * Hand-made bases for the tests of adapters: the editable modules of real families, from their shapes alone.
 */
#ifndef REDD_TESTS_ADAPTER_SITES_H
#define REDD_TESTS_ADAPTER_SITES_H

#include "worker/adapter/adapter.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static inline void site_set(
        struct site *s, const char *name, enum position position, size_t layer, size_t width)
{
	memset(s, 0, sizeof(*s));
	snprintf(s->name, sizeof(s->name), "%s", name);
	s->position = position;
	s->layer = layer;
	s->width = width;
}

/* Three sites a layer, as in GPT-2. Released with free(). */
static inline struct site *gpt2_sites(size_t n_layers, size_t width)
{
	struct site *sites = calloc(3 * n_layers, sizeof(*sites));
	char name[SITE_NAME_SIZE];

	for (size_t i = 0; sites && i < n_layers; i++) {
		snprintf(name, sizeof(name), "transformer.h.%zu.attn.c_attn", i);
		site_set(&sites[3 * i], name, POSITION_QKV, i, 3 * width);
		snprintf(name, sizeof(name), "transformer.h.%zu.attn.c_proj", i);
		site_set(&sites[3 * i + 1], name, POSITION_ATTN, i, width);
		snprintf(name, sizeof(name), "transformer.h.%zu.mlp.c_proj", i);
		site_set(&sites[3 * i + 2], name, POSITION_FFN, i, width);
	}
	return sites;
}

/* Five sites a layer, as in LLaMA; k and v may be narrower. */
static inline struct site *llama_sites(size_t n_layers, size_t width, size_t kv_width)
{
	static const struct {
		const char *tail;
		enum position position;
	} modules[5] = {{"self_attn.q_proj", POSITION_QKV}, {"self_attn.k_proj", POSITION_QKV},
	        {"self_attn.v_proj", POSITION_QKV}, {"self_attn.o_proj", POSITION_ATTN},
	        {"mlp.down_proj", POSITION_FFN}};
	struct site *sites = calloc(5 * n_layers, sizeof(*sites));
	char name[SITE_NAME_SIZE];

	for (size_t i = 0; sites && i < 5 * n_layers; i++) {
		size_t m = i % 5;

		snprintf(name, sizeof(name), "model.layers.%zu.%s", i / 5, modules[m].tail);
		site_set(&sites[i], name, modules[m].position, i / 5, m == 1 || m == 2 ? kv_width : width);
	}
	return sites;
}

#endif
