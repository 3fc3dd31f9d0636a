/* See fold_plan.h. */
#include "worker/model/fold_plan.h"

#include "core/mem.h"

#include <stdio.h>
#include <string.h>

#define NAME_SIZE (SITE_NAME_SIZE + 16)

void fold_plan_fini(struct fold_plan *p)
{
	for (size_t i = 0; p->edits && i < p->model->n_sites; i++) {
		mem_free(p->edits[i].scale);
		mem_free(p->edits[i].shift);
	}
	mem_free(p->edits);
	for (size_t i = 0; i < p->n_tensors; i++)
		mem_free(p->tensors[i].name);
	mem_free(p->tensors);
	shards_close(p->shards);
}

static bool after_residual(const struct site *site)
{
	return site->position == POSITION_FFN_RES || site->position == POSITION_ATTN_RES;
}

static enum err read_edits(
        struct fold_plan *p, const struct adapter_layout *l, const float *params, struct why *why)
{
	const struct model *m = p->model;

	p->edits = mem_calloc(m->n_sites, sizeof(*p->edits));
	if (!p->edits)
		return ERR_MEM;
	for (size_t i = 0; i < m->n_sites; i++) {
		struct fold_edit *e = &p->edits[i];

		if (!adapter_layout_edits(l, i))
			continue;
		e->scale = mem_calloc(m->sites[i].width, sizeof(*e->scale));
		e->shift = mem_calloc(m->sites[i].width, sizeof(*e->shift));
		if (!e->scale || !e->shift)
			return ERR_MEM;
		if (after_residual(&m->sites[i]) && !m->arch.post_norm)
			return why_set(why, ERR_UNSUPPORTED,
			        "the edit of %s is on the residual stream, which no weight of family %s "
			        "gives, and cannot be folded",
			        m->sites[i].name, m->arch.family->name);
		if (!adapter_affine(l, params, i, e->scale, e->shift))
			return why_set(why, ERR_UNSUPPORTED,
			        "the edit of %s is more than a scale and a bias, such as a layer norm, and "
			        "cannot be folded",
			        m->sites[i].name);
		for (size_t c = 0; c < m->sites[i].width; c++)
			e->shifts = e->shifts || e->shift[c] != 0;
	}
	return OK;
}

/* Whether the base's weights have a bias at this position. */
static bool has_bias(const struct arch *a, enum position position)
{
	switch (position) {
	case POSITION_FFN:
		return a->ffn_bias;
	case POSITION_ATTN:
		return a->attn_out_bias;
	case POSITION_QKV:
		return a->qkv_bias;
	case POSITION_FFN_RES:
	case POSITION_ATTN_RES:
		return a->norm == NORM_LAYER;
	}
	return false;
}

/* Where shifts need biases that are not there, the family's switch for them. */
static enum err decide_switches(struct fold_plan *p, struct why *why)
{
	const struct arch *a = &p->model->arch;

	for (size_t i = 0; i < p->model->n_sites; i++) {
		const struct site *site = &p->model->sites[i];
		bool ffn = site->position == POSITION_FFN;

		if (!p->edits[i].shifts || has_bias(a, site->position))
			continue;
		if (!(ffn ? a->family->ffn_bias_key : a->family->attn_bias_key))
			return why_set(why, ERR_UNSUPPORTED,
			        "the adapter adds a bias to %s, which a checkpoint of family %s has no "
			        "place for",
			        site->name, a->family->name);
		if (ffn)
			p->ffn_bias = true;
		else
			p->attn_bias = true;
	}
	return OK;
}

static enum err add_tensor(struct fold_plan *p, const struct fold_tensor *t)
{
	if (p->n_tensors == p->cap_tensors) {
		size_t cap = p->cap_tensors ? 2 * p->cap_tensors : 256;
		struct fold_tensor *list = mem_realloc(p->tensors, cap, sizeof(*list));

		if (!list)
			return ERR_MEM;
		p->tensors = list;
		p->cap_tensors = cap;
	}
	p->tensors[p->n_tensors++] = *t;
	return OK;
}

static enum err add_shards(struct fold_plan *p)
{
	enum err e = OK;

	for (size_t i = 0; i < shards_count(p->shards); i++) {
		const struct safetensors *s = shards_at(p->shards, i);

		for (size_t k = 0; !e && k < safetensors_count(s); k++) {
			struct fold_tensor t = {.kind = FOLD_COPY, .source = safetensors_at(s, k)};

			e = add_tensor(p, &t);
		}
	}
	return e;
}

/* A tensor of a module by its path; NULL when there is none. */
static const struct tensor *find_tensor(const struct fold_plan *p, const char *module, const char *what)
{
	char name[NAME_SIZE];

	snprintf(name, sizeof(name), "%.*s.%s", SITE_NAME_SIZE - 1, module, what);
	return weights_find(p->shards, p->model->arch.family, name);
}

static enum err changed(const struct fold_plan *p, const char *module, const char *what, struct why *why)
{
	return why_set(why, ERR_FORMAT, "%s: tensor %s.%s is not what it was when the base was opened",
	        p->model->dir, module, what);
}

/* Whose tensors take the edit of a site: its module's, or those of the norm that gives the stream of an
 * encoder. */
static void folded_module(const struct model *m, const struct site *site, char path[SITE_NAME_SIZE])
{
	enum module norm = site->position == POSITION_FFN_RES ? MODULE_FFN_NORM : MODULE_NORM;

	if (after_residual(site))
		arch_module_path(&m->arch, site->layer, norm, path);
	else
		memcpy(path, site->name, SITE_NAME_SIZE);
}

/* What is to become of a tensor of a site's module. */
static enum err mark(struct fold_plan *p, size_t site, enum fold_kind kind, struct why *why)
{
	const struct site *s = &p->model->sites[site];
	const char *what = kind == FOLD_BIAS ? "bias" : "weight";
	char module[SITE_NAME_SIZE];
	const struct tensor *t;
	size_t n_dims = kind == FOLD_WEIGHT ? 2 : 1, dim = n_dims == 2 && p->model->arch.transposed;

	folded_module(p->model, s, module);
	t = find_tensor(p, module, what);
	if (!t || t->n_dims != n_dims || t->shape[dim] != s->width)
		return changed(p, module, what, why);
	for (size_t i = 0; i < p->n_tensors; i++)
		if (p->tensors[i].source == t) {
			p->tensors[i].kind = kind;
			p->tensors[i].edit = &p->edits[site];
		}
	return OK;
}

static enum err mark_edits(struct fold_plan *p, struct why *why)
{
	const struct model *m = p->model;
	enum err e = OK;

	for (size_t i = 0; !e && i < m->n_sites; i++) {
		if (!p->edits[i].scale)
			continue;
		e = mark(p, i, after_residual(&m->sites[i]) ? FOLD_GAIN : FOLD_WEIGHT, why);
		if (!e && has_bias(&m->arch, m->sites[i].position))
			e = mark(p, i, FOLD_BIAS, why);
	}
	return e;
}

/* The bias that a switch demands of one module of a layer: of an edited one its shift, else zeros. */
static enum err add_bias(struct fold_plan *p, size_t layer, enum module module, struct why *why)
{
	const struct model *m = p->model;
	struct fold_tensor t = {.kind = FOLD_NEW};
	char path[SITE_NAME_SIZE];
	enum err e;

	arch_module_path(&m->arch, layer, module, path);
	t.source = find_tensor(p, path, "weight");
	if (!t.source || t.source->n_dims != 2)
		return changed(p, path, "weight", why);
	t.n_out = t.source->shape[m->arch.transposed ? 1 : 0];
	for (size_t i = 0; i < m->n_sites; i++)
		if (strcmp(m->sites[i].name, path) == 0 && p->edits[i].shift)
			t.edit = &p->edits[i];
	/* Named as its weight is, with or without the prefix. */
	t.name = mem_printf("%.*sbias", (int)(strlen(t.source->name) - strlen("weight")), t.source->name);
	e = t.name ? add_tensor(p, &t) : ERR_MEM;
	if (e)
		mem_free(t.name);
	return e;
}

static enum err add_biases(struct fold_plan *p, struct why *why)
{
	static const struct {
		enum module module;
		bool ffn;
	} all[] = {{MODULE_Q, false}, {MODULE_K, false}, {MODULE_V, false}, {MODULE_ATTN_OUT, false},
	        {MODULE_FFN_GATE, true}, {MODULE_FFN_UP, true}, {MODULE_FFN_DOWN, true}};
	const struct arch *a = &p->model->arch;
	enum err e = OK;

	for (size_t layer = 0; layer < a->n_layers; layer++)
		for (size_t i = 0; !e && i < sizeof(all) / sizeof(all[0]); i++)
			if (arch_stack(a, layer)->names->modules[all[i].module] &&
			        (all[i].ffn ? p->ffn_bias : p->attn_bias))
				e = add_bias(p, layer, all[i].module, why);
	return e;
}

enum err fold_plan_make(const struct model *m, const struct adapter_layout *layout, const float *params,
        struct fold_plan *plan, struct why *why)
{
	enum err e;

	plan->model = m;
	e = read_edits(plan, layout, params, why);
	if (!e)
		e = decide_switches(plan, why);
	if (!e)
		e = shards_open(m->dir, &plan->shards, why);
	if (!e)
		e = add_shards(plan);
	if (!e)
		e = mark_edits(plan, why);
	return e ? e : add_biases(plan, why);
}
