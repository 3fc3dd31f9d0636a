/* See pack.h. An item of the crew's is a few panels of a matrix. */
#include "worker/model/pack.h"

#include "core/mem.h"
#include "worker/math/crew.h"
#include "worker/math/vec.h"
#include "worker/model/shards.h"

/* Outputs of an item. */
#define PACK_ROWS ((size_t)4 * MATRIX_PANEL)
#define MAX_JOBS 64
/* Announced bytes that are worth waking the crew for, and as much of the files as is in memory beside the
 * matrices. */
#define BATCH_BYTES ((size_t)64 << 20)

struct job {
	const struct tensor *tensor;
	bool transposed;
	struct matrix m;
	void *data;
	size_t n_items;
};

struct pack {
	struct crew *crew;
	struct job jobs[MAX_JOBS];
	size_t n_jobs, n_items, n_bytes, max_in;
	float *scratch; /* owned: two times PACK_ROWS rows for each thread */
	size_t n_scratch;
	enum err *errors; /* owned, of each thread */
};

enum err pack_start(size_t n_threads, struct pack **out)
{
	struct pack *p = mem_calloc(1, sizeof(*p));
	enum err e = p ? OK : ERR_MEM;

	if (!e && n_threads > 1)
		e = crew_start(n_threads, &p->crew);
	if (!e) {
		p->errors = mem_calloc(crew_size(p->crew), sizeof(*p->errors));
		e = p->errors ? OK : ERR_MEM;
	}
	if (e)
		pack_stop(p);
	else
		*out = p;
	return e;
}

void pack_stop(struct pack *p)
{
	if (!p)
		return;
	crew_stop(p->crew);
	mem_free(p->scratch);
	mem_free(p->errors);
	mem_free(p);
}

enum err pack_add(struct pack *p, const struct tensor *t, bool transposed, const struct matrix *m, void *data)
{
	struct job *j = &p->jobs[p->n_jobs++];

	*j = (struct job){.tensor = t, .transposed = transposed, .m = *m, .data = data};
	j->n_items = (m->n_out + PACK_ROWS - 1) / PACK_ROWS;
	p->n_items += j->n_items;
	p->n_bytes += matrix_bytes(m->format, m->n_out, m->n_in);
	p->max_in = m->n_in > p->max_in ? m->n_in : p->max_in;
	return p->n_jobs == MAX_JOBS || p->n_bytes >= BATCH_BYTES || p->n_items > CREW_MAX_ITEMS / 2
	               ? pack_finish(p)
	               : OK;
}

/* Rows (n,K) from row `begin` on; turned (K,n) is scratch for those stored (K,N). */
static enum err rows_read(const struct job *j, size_t begin, size_t n, float *turned, float *out)
{
	size_t N = j->m.n_out, K = j->m.n_in;
	enum err e = OK;

	if (!j->transposed)
		return tensor_read_f32(j->tensor, begin * K, n * K, out);
	for (size_t k = 0; !e && k < K; k++)
		e = tensor_read_f32(j->tensor, k * N + begin, n, turned + k * n);
	if (!e)
		vec_transpose(K, n, turned, out);
	return e;
}

/* Whether the file's rows are bf16 just as matrix_pack_bf16() takes them. */
static bool is_bf16_already(const struct job *j)
{
	return j->m.format == MATRIX_BF16 && j->tensor->type == TENSOR_BF16 && !j->transposed &&
	       j->m.n_in % 2 == 0 && (uintptr_t)j->tensor->data % sizeof(uint32_t) == 0;
}

static void pack_item(void *arg, size_t item, size_t thread)
{
	struct pack *p = arg;
	const struct job *j = p->jobs;
	float *rows = p->scratch + thread * 2 * PACK_ROWS * p->max_in;
	size_t begin, n;
	enum err e;

	for (; item >= j->n_items; j++)
		item -= j->n_items;
	begin = item * PACK_ROWS;
	n = j->m.n_out - begin < PACK_ROWS ? j->m.n_out - begin : PACK_ROWS;
	if (is_bf16_already(j)) {
		const char *from = j->tensor->data;

		matrix_pack_bf16(&j->m, begin, n, from + begin * j->m.n_in * sizeof(uint16_t), j->data);
		return;
	}
	e = rows_read(j, begin, n, rows + PACK_ROWS * p->max_in, rows);
	if (e)
		p->errors[thread] = e;
	else
		matrix_pack(&j->m, begin, n, rows, j->data);
}

static enum err scratch_grow(struct pack *p)
{
	size_t n = crew_size(p->crew) * 2 * PACK_ROWS * p->max_in;

	if (n <= p->n_scratch)
		return OK;
	mem_free(p->scratch);
	p->scratch = mem_aligned(n, sizeof(*p->scratch));
	p->n_scratch = p->scratch ? n : 0;
	return p->scratch ? OK : ERR_MEM;
}

enum err pack_finish(struct pack *p)
{
	enum err e = scratch_grow(p);

	if (!e)
		crew_run(p->crew, p->n_items, pack_item, p);
	for (size_t i = 0; i < crew_size(p->crew); i++)
		e = e ? e : p->errors[i];
	for (size_t i = 0; i < p->n_jobs; i++)
		shards_forget(p->jobs[i].tensor);
	p->n_jobs = p->n_items = p->n_bytes = 0;
	return e;
}
