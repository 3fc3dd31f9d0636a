/*
 * Adapters as safetensors files, written and read. See adapter.h. A file from a stranger is matched against
 * the base's modules tensor by tensor; whatever is not an edit of one of them is refused.
 */
#include "core/mem.h"
#include "worker/adapter/adapter.h"
#include "worker/adapter/layout.h"
#include "worker/adapter/safetensors.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MANIFEST_KEY "manifest"
#define HEADER_ALIGNMENT 8
#define TENSOR_NAME_SIZE (SITE_NAME_SIZE + 64)

/* ---- writing ---- */

/* The entry of one vector whose bytes begin at *at, which moves behind them. */
static int add_entry(
        json_t *header, const char *site, const struct method_part *part, size_t width, size_t *at)
{
	size_t end = *at + width * sizeof(float);
	char name[TENSOR_NAME_SIZE];
	json_t *entry;

	snprintf(name, sizeof(name), "%s%s", site, part->tensor);
	entry = json_pack("{s:s, s:o, s:[I, I]}", "dtype", "F32", "shape",
	        part->vector ? json_pack("[I]", (json_int_t)width)
	                     : json_pack("[i, I]", 1, (json_int_t)width),
	        "data_offsets", (json_int_t)*at, (json_int_t)end);
	*at = end;
	return json_object_set_new(header, name, entry);
}

static int add_manifest(json_t *header, const json_t *manifest)
{
	char *text = json_dumps(manifest, JSON_COMPACT | JSON_SORT_KEYS);
	int failed = !text;

	if (text)
		failed = json_object_set_new(header, "__metadata__", json_pack("{s:s}", MANIFEST_KEY, text));
	free(text);
	return failed;
}

/* The entries of the head. */
static int add_head(json_t *header, const struct adapter_layout *l, size_t *at)
{
	struct head_tensor tensors[HEAD_TENSORS];
	int failed = 0;

	head_tensors(l->head_width, l->n_labels, tensors);
	for (size_t i = 0; i < HEAD_TENSORS; i++) {
		const struct head_tensor *t = &tensors[i];
		size_t end = *at + t->rows * (t->cols ? t->cols : 1) * sizeof(float);
		json_t *shape = t->cols ? json_pack("[I, I]", (json_int_t)t->rows, (json_int_t)t->cols)
		                        : json_pack("[I]", (json_int_t)t->rows);

		failed |= json_object_set_new(header, t->name,
		        json_pack("{s:s, s:o, s:[I, I]}", "dtype", "F32", "shape", shape, "data_offsets",
		                (json_int_t)*at, (json_int_t)end));
		*at = end;
	}
	return failed;
}

/* Manifest first, then the vectors in the order of params; NULL when memory is short. */
static char *header_text(const struct adapter_layout *l, const json_t *manifest)
{
	json_t *header = json_object();
	int failed = manifest ? add_manifest(header, manifest) : 0;
	char *text = NULL;
	size_t at = 0;

	for (size_t i = 0; !failed && i < l->n_sites; i++)
		for (size_t p = 0; p < l->method->n_parts; p++)
			if (l->slots[i].parts & l->method->parts[p].bit)
				failed |= add_entry(header, l->sites[i].name, &l->method->parts[p],
				        l->slots[i].width, &at);
	if (l->n_labels)
		failed |= add_head(header, l, &at);
	if (!failed)
		text = json_dumps(header, JSON_COMPACT);
	json_decref(header);
	return text;
}

enum err adapter_write(
        const struct adapter_layout *l, const float *params, const json_t *manifest, struct buf *out)
{
	static const char spaces[HEADER_ALIGNMENT + 1] = "        ";
	char *header = header_text(l, manifest);
	unsigned char prefix[8];
	size_t n, padding;
	enum err e = ERR_MEM;

	if (!header)
		goto fail;
	n = strlen(header);
	padding = (HEADER_ALIGNMENT - n % HEADER_ALIGNMENT) % HEADER_ALIGNMENT;
	for (size_t i = 0; i < sizeof(prefix); i++)
		prefix[i] = (unsigned char)((n + padding) >> (8 * i));
	/* all memory first, so that what follows cannot fail half way */
	e = buf_reserve(out, sizeof(prefix) + n + padding + l->n_params * sizeof(*params));
	if (e)
		goto fail;
	buf_append(out, prefix, sizeof(prefix));
	buf_append(out, header, n);
	buf_append(out, spaces, padding);
	buf_append(out, params, l->n_params * sizeof(*params));
fail: /* and success */
	free(header);
	return e;
}

/* ---- reading ---- */

/* What a file holds, tensor by tensor. */
struct found {
	unsigned *parts;              /* owned (n_sites): bits seen at each site */
	const struct tensor **tensor; /* owned (n_sites, n_parts): where */
	const struct tensor *head[HEAD_TENSORS];
	size_t head_width, n_labels;
};

static void found_fini(struct found *f)
{
	mem_free(f->parts);
	mem_free(f->tensor);
}

/* A module's path without what wraps the model: its outer name, which differs between a bare model and one
 * with a head, and the names of what trained it. */
static const char *bare_name(const char *name)
{
	static const char *const outer[] = {
	        "transformer.", "model.", "roberta.", "bert.", "base_model.", "module."};
	size_t i = 0;

	while (i < sizeof(outer) / sizeof(outer[0])) {
		size_t n = strlen(outer[i]);
		bool there = strncmp(name, outer[i], n) == 0;

		name += there ? n : 0;
		i = there ? 0 : i + 1; /* under one wrapper there may be another */
	}
	return name;
}

static bool same_text(const char *a, size_t n, const char *b)
{
	return strlen(b) == n && memcmp(a, b, n) == 0;
}

/* The site called by the first n bytes of name: exactly, or up to the outer name if only one is; n_sites if
 * none. */
static size_t find_site(const char *name, size_t n, const struct site *sites, size_t n_sites)
{
	const char *bare = bare_name(name);
	size_t skipped = (size_t)(bare - name), match = n_sites;

	for (size_t i = 0; i < n_sites; i++)
		if (same_text(name, n, sites[i].name))
			return i;
	for (size_t i = 0; i < n_sites && skipped <= n; i++) {
		if (!same_text(bare, n - skipped, bare_name(sites[i].name)))
			continue;
		if (match != n_sites)
			return n_sites;
		match = i;
	}
	return match;
}

/* The part whose suffix ends name, and the length of what comes before it; n_parts if none. */
static size_t find_part(const struct method *m, const char *name, size_t *n_site)
{
	size_t n = strlen(name);

	for (size_t p = 0; p < m->n_parts; p++) {
		size_t tail = strlen(m->parts[p].tensor);

		if (n > tail && strcmp(name + n - tail, m->parts[p].tensor) == 0) {
			*n_site = n - tail;
			return p;
		}
	}
	return m->n_parts;
}

static bool shape_fits(const struct tensor *t, size_t width)
{
	return (t->n_dims == 1 && t->shape[0] == width) ||
	       (t->n_dims == 2 && t->shape[0] == 1 && t->shape[1] == width);
}

static enum err check_type(const struct tensor *t, struct why *why)
{
	if (t->type != TENSOR_F32 && t->type != TENSOR_F16 && t->type != TENSOR_BF16 && t->type != TENSOR_F64)
		return why_set(why, ERR_FORMAT, "tensor %.200s: %s is none of F32, F16, BF16, F64", t->name,
		        tensor_type_name(t->type));
	return OK;
}

/* The number of a head's tensor, or HEAD_TENSORS. In a file of their own they bear no prefix. */
static size_t find_head(const char *name)
{
	static const char prefix[] = "classifier.";
	struct head_tensor tensors[HEAD_TENSORS];
	size_t i = 0;

	head_tensors(1, 1, tensors);
	name += strncmp(name, prefix, strlen(prefix)) == 0 ? strlen(prefix) : 0;
	while (i < HEAD_TENSORS && strcmp(tensors[i].name + strlen(prefix), name) != 0)
		i++;
	return i;
}

bool head_tensor_is(const char *name)
{
	return find_head(name) < HEAD_TENSORS;
}

/* Once all tensors are placed: a whole head, whose shapes agree with each other and with the base. */
static enum err check_head(const struct site *sites, size_t n_sites, struct found *f, struct why *why)
{
	struct head_tensor want[HEAD_TENSORS];
	size_t n = 0;

	for (size_t i = 0; i < HEAD_TENSORS; i++)
		n += f->head[i] != NULL;
	if (!n)
		return OK;
	if (n < HEAD_TENSORS)
		return why_set(why, ERR_FORMAT, "the classifier lacks %zu of its %d tensors",
		        HEAD_TENSORS - n, HEAD_TENSORS);
	for (size_t i = 0; i < n_sites; i++)
		if (sites[i].position == POSITION_FFN)
			f->head_width = sites[i].width;
	f->n_labels = f->head[3]->n_elements;
	if (!f->n_labels || f->n_labels > ADAPTER_MAX_LABELS)
		return why_set(why, ERR_FORMAT, "a classifier of %zu labels; 1 to %d are supported",
		        f->n_labels, ADAPTER_MAX_LABELS);
	head_tensors(f->head_width, f->n_labels, want);
	for (size_t i = 0; i < HEAD_TENSORS; i++) {
		const struct tensor *t = f->head[i];
		enum err e = check_type(t, why);

		if (e)
			return e;
		if (t->n_dims != (want[i].cols ? 2 : 1) || t->shape[0] != want[i].rows ||
		        (want[i].cols && t->shape[1] != want[i].cols))
			return why_set(why, ERR_MISMATCH,
			        "tensor %.200s does not fit %zu labels on a base %zu wide", t->name,
			        f->n_labels, f->head_width);
	}
	return OK;
}

static enum err place_tensor(const struct method *m, const struct tensor *t, const struct site *sites,
        size_t n_sites, struct found *f, struct why *why)
{
	size_t n_name = 0;
	size_t p = find_part(m, t->name, &n_name), head = find_head(t->name);
	size_t site;
	enum err e;

	if (head < HEAD_TENSORS) {
		if (f->head[head])
			return why_set(
			        why, ERR_FORMAT, "tensor %.200s: the classifier is there twice", t->name);
		f->head[head] = t;
		return OK;
	}
	if (p == m->n_parts)
		return why_set(why, ERR_MISMATCH, "tensor %.200s is no edit known here", t->name);
	site = find_site(t->name, n_name, sites, n_sites);
	if (site == n_sites)
		return why_set(why, ERR_MISMATCH, "tensor %.200s belongs to no module of this base", t->name);
	if (!shape_fits(t, sites[site].width))
		return why_set(why, ERR_MISMATCH, "tensor %.200s has %zu numbers, but the module is %zu wide",
		        t->name, t->n_elements, sites[site].width);
	e = check_type(t, why);
	if (e)
		return e;
	if (f->parts[site] & m->parts[p].bit)
		return why_set(why, ERR_FORMAT, "tensor %.200s: the same edit is there twice", t->name);
	f->parts[site] |= m->parts[p].bit;
	f->tensor[site * m->n_parts + p] = t;
	return OK;
}

/* Parts that are there together: what the file lacks of them stays the identity. */
static void complete_parts(const struct method *m, size_t n_sites, unsigned *parts)
{
	for (size_t i = 0; i < n_sites; i++)
		for (size_t p = 0; p < m->n_parts; p++)
			if (parts[i] & m->parts[p].bit)
				parts[i] |= method_parts_named(m, m->parts[p].name);
}

static enum err place_tensors(const struct method *m, const struct tensor *const *tensors, size_t n,
        const struct site *sites, size_t n_sites, struct found *f, struct why *why)
{
	enum err e = OK;

	if (!n)
		return why_set(why, ERR_FORMAT, "the file holds no tensor");
	f->parts = mem_calloc(n_sites, sizeof(*f->parts));
	f->tensor = mem_calloc(n_sites, m->n_parts * sizeof(struct tensor *));
	if (!f->parts || !f->tensor)
		return ERR_MEM;
	for (size_t i = 0; !e && i < n; i++)
		e = place_tensor(m, tensors[i], sites, n_sites, f, why);
	complete_parts(m, n_sites, f->parts);
	return e ? e : check_head(sites, n_sites, f, why);
}

/* The spec that comes nearest to what a file holds. */
static void spec_of(
        const struct site *sites, size_t n_sites, const unsigned *parts, struct adapter_spec *spec)
{
	adapter_spec_default(spec);
	spec->positions = 0;
	spec->parts = 0;
	for (size_t i = 0; i < n_sites; i++) {
		spec->parts |= parts[i];
		if (parts[i])
			spec->positions |= sites[i].position;
		if (parts[i] && sites[i].layer < ADAPTER_MAX_LAYERS)
			spec->layers[sites[i].layer] = 1;
	}
	for (size_t i = 0; i < n_sites; i++)
		if ((sites[i].position & spec->positions) && !parts[i])
			spec->all_layers = false;
	if (spec->all_layers)
		memset(spec->layers, 0, sizeof(spec->layers));
}

/* All numbers of a tensor, which must be finite. */
static enum err read_vector(const struct tensor *t, float *vector, struct why *why)
{
	enum err e = tensor_read_f32(t, 0, t->n_elements, vector);

	for (size_t i = 0; !e && i < t->n_elements; i++)
		if (!isfinite(vector[i]))
			return why_set(
			        why, ERR_FORMAT, "tensor %.200s: number %zu is not finite", t->name, i);
	return e;
}

static enum err read_params(
        const struct adapter_layout *l, const struct found *f, float *params, struct why *why)
{
	const struct method *m = l->method;
	struct head_tensor tensors[HEAD_TENSORS];
	enum err e = OK;

	for (size_t i = 0; i < l->n_sites; i++)
		for (size_t p = 0; !e && p < m->n_parts; p++) {
			const struct tensor *t = f->tensor[i * m->n_parts + p];

			if (t)
				e = read_vector(
				        t, params + slot_part_offset(&l->slots[i], m->parts[p].bit), why);
		}
	head_tensors(l->head_width, l->n_labels, tensors);
	for (size_t i = 0; !e && l->n_labels && i < HEAD_TENSORS; i++)
		e = read_vector(f->head[i], params + l->head_offset + tensors[i].offset, why);
	return e;
}

/* What the tensors give, owned until it is handed over. */
struct loaded {
	struct found found;
	struct adapter_layout *layout;
	float *params;
};

static enum err load(const struct tensor *const *tensors, size_t n, const struct site *sites, size_t n_sites,
        struct loaded *out, struct why *why)
{
	struct adapter_spec spec;
	enum err e = place_tensors(method_get(METHOD_RED), tensors, n, sites, n_sites, &out->found, why);

	if (e)
		return e;
	spec_of(sites, n_sites, out->found.parts, &spec);
	e = layout_build(&spec, sites, n_sites, out->found.parts, out->found.head_width, out->found.n_labels,
	        &out->layout);
	if (e)
		return e;
	out->params = mem_calloc(out->layout->n_params, sizeof(*out->params));
	if (!out->params)
		return ERR_MEM;
	adapter_layout_start(out->layout, out->params);
	return read_params(out->layout, &out->found, out->params, why);
}

enum err layout_from_tensors(const struct tensor *const *tensors, size_t n, const struct site *sites,
        size_t n_sites, struct adapter_layout **layout, float **params, struct why *why)
{
	struct loaded l = {0};
	enum err e = load(tensors, n, sites, n_sites, &l, why);

	found_fini(&l.found);
	if (e) {
		mem_free(l.params);
		adapter_layout_free(l.layout);
		return e;
	}
	*layout = l.layout;
	*params = l.params;
	return OK;
}

static enum err read_manifest(const struct safetensors *s, json_t **out, struct why *why)
{
	const char *text = safetensors_metadata(s, MANIFEST_KEY);
	json_error_t je;
	json_t *j;

	*out = NULL;
	if (!text)
		return OK;
	j = json_loads(text, JSON_REJECT_DUPLICATES, &je);
	if (!j)
		return why_set(why, ERR_FORMAT, "manifest: %s (at byte %d)", je.text, je.position);
	if (!json_is_object(j)) {
		json_decref(j);
		return why_set(why, ERR_FORMAT, "manifest is not a JSON object");
	}
	*out = j;
	return OK;
}

enum err adapter_read(const void *data, size_t n, const struct site *sites, size_t n_sites,
        struct adapter_layout **layout, float **params, json_t **manifest, struct why *why)
{
	const struct tensor **tensors = NULL;
	struct safetensors *s = NULL;
	json_t *j = NULL;
	enum err e = safetensors_new(data, n, &s, why);

	if (!e)
		e = read_manifest(s, &j, why);
	if (!e)
		e = safetensors_list(s, &tensors);
	if (!e)
		e = layout_from_tensors(tensors, safetensors_count(s), sites, n_sites, layout, params, why);
	if (!e && manifest)
		*manifest = json_incref(j);
	json_decref(j);
	mem_free(tensors);
	safetensors_free(s);
	return e;
}
