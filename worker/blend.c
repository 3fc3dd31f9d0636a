/* See blend.h. */
#include "worker/blend.h"

#include "core/mem.h"

#include <string.h>

struct blend {
	struct adapter_layout *layout; /* owned, as the two below */
	float *params;
	struct labels labels;
};

static void refs_release(struct adapter_ref *refs, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (refs[i].release)
			refs[i].release(refs[i].owner);
}

static void blend_release(void *owner)
{
	struct blend *b = owner;

	adapter_layout_free(b->layout);
	mem_free(b->params);
	labels_fini(&b->labels);
	mem_free(b);
}

static bool labels_same(const struct labels *a, const struct labels *b)
{
	char room_a[32], room_b[32];

	if (a->kind != b->kind || a->n != b->n)
		return false;
	for (size_t i = 0; i < a->n; i++)
		if (strcmp(labels_name(a, i, room_a), labels_name(b, i, room_b)) != 0)
			return false;
	return true;
}

/* The labels of those that have some, which must be the same. */
static enum err labels_join(const struct adapter_ref *refs, size_t n, struct labels *out)
{
	const struct labels *first = NULL;

	for (size_t i = 0; i < n; i++) {
		if (!refs[i].labels)
			continue;
		if (first && !labels_same(first, refs[i].labels))
			return ERR_MISMATCH;
		first = refs[i].labels;
	}
	return first ? labels_copy(first, out) : OK;
}

static enum err explain(enum err e, struct why *why)
{
	if (e == ERR_MISMATCH)
		why_param(why, e, "adapters",
		        "these adapters cannot be blended: their classification heads differ, or their "
		        "weights "
		        "cancel out");
	if (e == ERR_UNSUPPORTED)
		why_param(why, e, "adapters",
		        "one of these adapters norms what it edits; such cannot be blended");
	return e;
}

/* The one of them that edits, when it does so as it is; n when there is none such. */
static size_t the_only(const struct adapter_ref *refs, const struct blend_part *parts, size_t n)
{
	size_t only = n;

	for (size_t i = 0; i < n; i++) {
		if (!refs[i].layout)
			continue;
		if (only < n || parts[i].weight != 1)
			return n;
		only = i;
	}
	return only;
}

enum err blend_make(struct adapter_ref *refs, const struct blend_part *parts, size_t n,
        struct adapter_ref *out, struct why *why)
{
	struct adapter_share shares[BLEND_MAX];
	size_t only = the_only(refs, parts, n);
	struct blend *b;
	enum err e;

	if (only < n) {
		*out = refs[only];
		refs[only].release = NULL;
		refs_release(refs, n);
		return OK;
	}
	b = mem_calloc(1, sizeof(*b));
	e = b ? OK : ERR_MEM;

	for (size_t i = 0; i < n; i++)
		shares[i] = (struct adapter_share){refs[i].layout, refs[i].params, parts[i].weight};
	if (!e)
		e = labels_join(refs, n, &b->labels);
	if (!e)
		e = adapter_blend(shares, n, &b->layout, &b->params);
	refs_release(refs, n);
	if (!e) {
		*out = (struct adapter_ref){.layout = b->layout,
		        .params = b->params,
		        .labels = b->labels.kind == LABELS_NONE ? NULL : &b->labels,
		        .release = blend_release,
		        .owner = b};
		return OK;
	}
	if (b)
		blend_release(b);
	if (e == ERR_EMPTY) { /* of the base alone */
		*out = (struct adapter_ref){0};
		return OK;
	}
	return explain(e, why);
}
