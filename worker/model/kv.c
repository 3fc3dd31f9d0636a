/* See kv.h. */
#include "worker/model/kv.h"

#include "core/mem.h"

#include <assert.h>
#include <string.h>

static size_t pages_of(size_t page_tokens, size_t n_tokens)
{
	return (n_tokens + page_tokens - 1) / page_tokens;
}

static size_t page_floats(const struct kv_shape *s)
{
	return 2 * s->n_layers * s->page_tokens * s->width;
}

size_t kv_bytes(const struct model *m, size_t n_positions)
{
	struct kv_shape shape = kv_shape_of(m);

	/* A seq2seq's source and decoder begin pages of their own. */
	return (pages_of(shape.page_tokens, n_positions) + (model_info(m)->kind == MODEL_SEQ2SEQ)) *
	       page_floats(&shape) * sizeof(float);
}

/* ---- the pool ---- */

static enum err pool_new(const struct model *m, size_t n_pages, struct kv_pool **out)
{
	struct kv_pool *p = mem_calloc(1, sizeof(*p));

	if (!p)
		return ERR_MEM;
	p->shape = kv_shape_of(m);
	p->page_floats = page_floats(&p->shape);
	p->n_pages = p->n_free = n_pages;
	p->free = mem_calloc(n_pages, sizeof(*p->free));
	p->holders = mem_calloc(n_pages, sizeof(*p->holders));
	p->kept = mem_calloc(n_pages, sizeof(*p->kept));
	if (mem_mul(n_pages, p->page_floats * sizeof(float), &p->data_bytes))
		p->data = mem_reserve(p->data_bytes);
	if (!p->free || !p->holders || !p->kept || !p->data) {
		kv_pool_free(p);
		return ERR_MEM;
	}
	for (size_t i = 0; i < n_pages; i++)
		p->free[i] = (uint32_t)(n_pages - 1 - i);
	*out = p;
	return OK;
}

enum err kv_pool_new(const struct model *m, size_t bytes, struct kv_pool **out)
{
	struct kv_shape shape = kv_shape_of(m);
	size_t n_pages = bytes / (page_floats(&shape) * sizeof(float));

	if (n_pages == 0)
		return ERR_LIMIT;
	return pool_new(m, n_pages < UINT32_MAX ? n_pages : UINT32_MAX, out);
}

void kv_pool_free(struct kv_pool *p)
{
	if (!p)
		return;
	assert(p->n_free == p->n_pages);
	mem_unreserve(p->data, p->data_bytes);
	mem_free(p->free);
	mem_free(p->holders);
	mem_free(p->kept);
	mem_free(p);
}

size_t kv_pool_page_tokens(const struct kv_pool *p)
{
	return p->shape.page_tokens;
}

size_t kv_pool_pages(const struct kv_pool *p)
{
	return p->n_pages;
}

size_t kv_pool_free_pages(const struct kv_pool *p)
{
	return p->n_free;
}

static uint32_t take_page(struct kv_pool *p)
{
	uint32_t page = p->free[--p->n_free];

	p->holders[page] = 1;
	return page;
}

static void hold_page(struct kv_pool *p, uint32_t page)
{
	assert(p->holders[page] > 0);
	p->n_idle -= p->kept[page] && p->holders[page] == 1;
	p->holders[page]++;
}

static void release_page(struct kv_pool *p, uint32_t page)
{
	assert(p->holders[page] > 0);
	if (--p->holders[page] == 0)
		p->free[p->n_free++] = page;
	p->n_idle += p->kept[page] && p->holders[page] == 1;
}

void kv_page_keep(struct kv_pool *p, uint32_t page)
{
	assert(!p->kept[page]);
	hold_page(p, page);
	p->kept[page] = true;
}

void kv_page_give_up(struct kv_pool *p, uint32_t page)
{
	assert(p->kept[page]);
	p->n_idle -= p->holders[page] == 1;
	p->kept[page] = false;
	release_page(p, page);
}

bool kv_page_is_idle(const struct kv_pool *p, uint32_t page)
{
	return p->kept[page] && p->holders[page] == 1;
}

size_t kv_pool_idle_pages(const struct kv_pool *p)
{
	return p->n_idle;
}

/* ---- caches ---- */

enum err kv_new_in(struct kv_pool *p, size_t n_positions, struct kv **out)
{
	/* A source and what follows it begin pages of their own. */
	size_t max_pages = pages_of(p->shape.page_tokens, n_positions) + 1;
	struct kv *kv = mem_calloc(1, sizeof(*kv) + max_pages * sizeof(kv->pages[0]));

	if (!kv)
		return ERR_MEM;
	kv->pool = p;
	kv->capacity = n_positions;
	kv->max_pages = max_pages;
	*out = kv;
	return OK;
}

enum err kv_new(const struct model *m, size_t n_positions, struct kv **out)
{
	struct kv_shape shape = kv_shape_of(m);
	struct kv_pool *p;
	enum err e = pool_new(m, pages_of(shape.page_tokens, n_positions) + 1, &p);

	if (e)
		return e;
	e = kv_new_in(p, n_positions, out);
	if (e)
		kv_pool_free(p);
	else
		(*out)->owns_pool = true;
	return e;
}

static void release_pages(struct kv *kv, size_t first)
{
	for (size_t i = first; i < kv->source_pages + kv->own_pages; i++)
		release_page(kv->pool, kv->pages[i]);
}

void kv_free(struct kv *kv)
{
	if (!kv)
		return;
	release_pages(kv, 0);
	if (kv->owns_pool)
		kv_pool_free(kv->pool);
	mem_free(kv);
}

size_t kv_length(const struct kv *kv)
{
	return kv->length;
}

size_t kv_capacity(const struct kv *kv)
{
	return kv->capacity - kv->n_source;
}

size_t kv_held_pages(const struct kv *kv)
{
	return kv->source_pages + kv->own_pages;
}

void kv_truncate(struct kv *kv, size_t n)
{
	size_t n_pages;

	if (n < kv->length)
		kv->length = n;
	n_pages = pages_of(kv->pool->shape.page_tokens, kv->length);
	release_pages(kv, kv->source_pages + n_pages);
	kv->own_pages = n_pages;
}

void kv_share(struct kv *dst, const struct kv *src)
{
	size_t n_pages = pages_of(src->pool->shape.page_tokens, src->length), n = src->source_pages + n_pages;

	assert(dst != src && dst->pool == src->pool && dst->max_pages >= n);
	release_pages(dst, 0);
	dst->n_source = src->n_source;
	dst->length = src->length;
	dst->source_pages = src->source_pages;
	dst->own_pages = n_pages;
	for (size_t i = 0; i < n; i++) {
		hold_page(src->pool, src->pages[i]);
		dst->pages[i] = src->pages[i];
	}
}

/* The page that the next token goes into, if it has tokens already; SIZE_MAX otherwise. */
static size_t begun_page(const struct kv *kv)
{
	size_t page_tokens = kv->pool->shape.page_tokens;

	return kv->length % page_tokens ? kv->source_pages + kv->length / page_tokens : SIZE_MAX;
}

static bool must_copy(const struct kv *kv)
{
	size_t begun = begun_page(kv);

	return begun != SIZE_MAX && kv->pool->holders[kv->pages[begun]] > 1;
}

size_t kv_lacks_pages(const struct kv *kv, size_t n)
{
	size_t n_pages = pages_of(kv->pool->shape.page_tokens, kv->length + n);

	return (n_pages > kv->own_pages ? n_pages - kv->own_pages : 0) + (n > 0 && must_copy(kv));
}

/* The begun page, which others look at too, becomes this cache's own. */
static void copy_begun(struct kv *kv)
{
	struct kv_pool *p = kv->pool;
	const struct kv_shape *s = &p->shape;
	uint32_t *begun = &kv->pages[begun_page(kv)], page = take_page(p);
	size_t rows = kv->length % s->page_tokens, block = s->page_tokens * s->width;

	for (size_t i = 0; i < 2 * s->n_layers; i++)
		memcpy(p->data + page * p->page_floats + i * block,
		        p->data + *begun * p->page_floats + i * block, rows * s->width * sizeof(float));
	release_page(p, *begun);
	*begun = page;
}

enum err kv_extend(struct kv *kv, size_t n)
{
	size_t n_pages = pages_of(kv->pool->shape.page_tokens, kv->length + n);

	if (n > kv_capacity(kv) - kv->length)
		return ERR_TOO_LONG;
	if (kv_lacks_pages(kv, n) > kv->pool->n_free)
		return ERR_LIMIT;
	if (n > 0 && must_copy(kv))
		copy_begun(kv);
	while (kv->own_pages < n_pages)
		kv->pages[kv->source_pages + kv->own_pages++] = take_page(kv->pool);
	return OK;
}

enum err kv_begin_source(struct kv *kv, size_t n)
{
	size_t n_pages = pages_of(kv->pool->shape.page_tokens, n);

	assert(kv->n_source == 0 && kv->own_pages == 0);
	if (n > kv->capacity)
		return ERR_TOO_LONG;
	if (n_pages > kv->pool->n_free)
		return ERR_LIMIT;
	kv->n_source = n;
	while (kv->source_pages < n_pages)
		kv->pages[kv->source_pages++] = take_page(kv->pool);
	return OK;
}

uint32_t kv_page(const struct kv *kv, size_t i)
{
	return kv->pages[kv->source_pages + i];
}

void kv_adopt(struct kv *kv, const uint32_t *pages, size_t n_pages)
{
	size_t page_tokens = kv->pool->shape.page_tokens;

	assert(kv->length % page_tokens == 0 && n_pages * page_tokens <= kv_capacity(kv) - kv->length);
	kv_truncate(kv, kv->length);
	for (size_t i = 0; i < n_pages; i++) {
		hold_page(kv->pool, pages[i]);
		kv->pages[kv->source_pages + kv->own_pages++] = pages[i];
	}
	kv->length += n_pages * page_tokens;
}

/* ---- rows ---- */

struct paged_rows kv_keys(const struct kv *kv, size_t layer, bool source)
{
	const struct kv_pool *p = kv->pool;

	return (struct paged_rows){
	        .base = p->data + 2 * layer * p->shape.page_tokens * p->shape.width,
	        .stride = p->page_floats,
	        .pages = kv->pages + (source ? 0 : kv->source_pages),
	        .page_rows = p->shape.page_tokens,
	        .ld = p->shape.width,
	};
}

struct paged_rows kv_values(const struct kv *kv, size_t layer, bool source)
{
	struct paged_rows rows = kv_keys(kv, layer, source);

	rows.base += rows.page_rows * rows.ld;
	return rows;
}

float *kv_row(const struct paged_rows *rows, size_t row)
{
	return rows->base + rows->pages[row / rows->page_rows] * rows->stride +
	       row % rows->page_rows * rows->ld;
}
