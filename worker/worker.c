/*
 * See worker.h: puts base, registry, training pool and serving engine together; each has its own threads and
 * locks. What is set in worker_open() is constant until worker_close().
 */
#include "worker/worker.h"

#include "core/log.h"
#include "core/mem.h"
#include "worker/job_data.h"
#include "worker/job_env.h"
#include "worker/math/cpu.h"
#include "worker/pool.h"
#include "worker/registry.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define BASE_NAME_SIZE 97
#define DEFAULT_JOBS_PER_THREAD 4
#define DEFAULT_CHECKPOINT_EVERY 50
/* The part of the memory of training that stems may take. */
#define STEM_PART 4
#define DEFAULT_MAX_BATCH 64
#define DEFAULT_MAX_QUEUE 1024
/* Long enough for products to run well, short enough that decode steps between two chunks come soon. */
#define PREFILL_ROWS 128
/* A guess for estimates before anything was measured: operations per second of one thread. */
#define GUESSED_FLOPS 5e10
/* Of one parameter and token in training: forward and backward products, no weight gradients. */
#define FLOPS_PER_PARAM_TOKEN 4.0

struct worker {
	struct worker_options options; /* defaults filled in; strings not kept */
	char base_name[BASE_NAME_SIZE];
	int64_t base_created;
	struct model *model;         /* owned */
	struct tokenizer *tokenizer; /* owned */
	const struct chat_format *chat;
	struct registry *registry; /* owned */
	struct live *live;         /* owned */
	struct job_env env;
	struct budget stems; /* of the memory of training */
	struct pool *pool;   /* owned; between start and stop */
	struct serve *serve; /* owned; between start and stop */
};

/* The name as given or the directory's, with what would not fit into an id or a path replaced. */
static void set_base_name(struct worker *w, const char *name, const char *dir)
{
	size_t end = strlen(dir), start;

	while (end > 1 && dir[end - 1] == '/')
		end--;
	for (start = end; start > 0 && dir[start - 1] != '/'; start--)
		;
	if (name && *name)
		snprintf(w->base_name, sizeof(w->base_name), "%s", name);
	else
		snprintf(w->base_name, sizeof(w->base_name), "%.*s", (int)(end - start), dir + start);
	for (char *p = w->base_name; *p; p++)
		if (!isalnum((unsigned char)*p) && !strchr("._-", *p))
			*p = '-';
	if (!w->base_name[0])
		snprintf(w->base_name, sizeof(w->base_name), "base");
}

static int64_t config_time(const char *dir)
{
	char *path = mem_printf("%s/config.json", dir);
	struct stat st;
	int64_t t = path && stat(path, &st) == 0 ? (int64_t)st.st_mtime : 0;

	mem_free(path);
	return t;
}

static size_t memory_available(void)
{
	FILE *f = fopen("/proc/meminfo", "r");
	char line[128];
	uint64_t kib = 0;

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "MemAvailable: %" SCNu64, &kib) == 1)
			break;
	if (f)
		fclose(f);
	return kib ? (size_t)kib << 10 : (size_t)1 << 30;
}

/* Of the memory of training, what jobs may keep of their rows, and what threads work in. */
static size_t stem_bytes(const struct worker *w)
{
	return w->options.train_bytes / STEM_PART;
}

static size_t workspace_bytes(const struct worker *w)
{
	return w->options.train_bytes - stem_bytes(w);
}

static void fill_defaults(struct worker_options *o)
{
	o->model_dir = o->model_name = NULL;
	if (o->n_train_threads == 0)
		o->n_train_threads = cpu_count();
	if (o->n_serve_threads == 0)
		o->n_serve_threads = cpu_count();
	if (o->max_running_jobs == 0)
		o->max_running_jobs = DEFAULT_JOBS_PER_THREAD * o->n_train_threads;
	if (o->checkpoint_every == 0)
		o->checkpoint_every = DEFAULT_CHECKPOINT_EVERY;
	if (o->max_batch == 0)
		o->max_batch = DEFAULT_MAX_BATCH;
	if (o->max_queue == 0)
		o->max_queue = DEFAULT_MAX_QUEUE;
	if (o->kv_bytes == 0)
		o->kv_bytes = memory_available() / 4;
	if (o->train_bytes == 0)
		o->train_bytes = memory_available() / 4;
}

/* A template of unknown form is no reason not to serve the base: chats then take the plain one, and the log
 * says so. */
static enum err open_chat(struct worker *w, const char *dir, struct why *why)
{
	struct why unknown = {0};
	enum err e = chat_format_detect(dir, &w->chat, &unknown);

	if (e == ERR_UNSUPPORTED) {
		log_warn("chat_template", "format=%s message=\"%s\"", chat_format_name(chat_format_plain()),
		        unknown.message);
		w->chat = chat_format_plain();
		return OK;
	}
	if (e != OK)
		why_set(why, e, "%s", unknown.message);
	return e;
}

enum err worker_open(
        const struct worker_options *options, struct store *store, struct worker **out, struct why *why)
{
	const char *dir = options->model_dir;
	struct worker *w = mem_calloc(1, sizeof(*w));
	enum err e;

	if (!w)
		return ERR_MEM;
	cpu_init(CPU_BEST);
	w->options = *options;
	fill_defaults(&w->options);
	set_base_name(w, options->model_name, dir);
	w->base_created = config_time(dir);
	e = model_open_as(dir, options->weights, &w->model, why);
	if (!e && options->train_bf16)
		model_train_bf16(w->model);
	if (e == OK)
		e = tokenizer_open(dir, &w->tokenizer, why);
	if (e == OK)
		e = open_chat(w, dir, why);
	if (e == OK)
		e = live_new(&w->live);
	if (e == OK)
		e = registry_new(store, w->model, w->base_name, REGISTRY_MAX_BYTES, &w->registry);
	if (e != OK) {
		worker_close(w);
		return e;
	}
	w->env = (struct job_env){
	        .store = store,
	        .model = w->model,
	        .tokenizer = w->tokenizer,
	        .chat = w->chat,
	        .registry = w->registry,
	        .live = w->live,
	        .base_name = w->base_name,
	        .checkpoint_every = w->options.checkpoint_every,
	        .stems = &w->stems,
	};
	atomic_init(&w->stems.left, stem_bytes(w));
	*out = w;
	return OK;
}

/* Rows whose workspace has so many bytes. */
static size_t rows_within(const struct model *m, size_t bytes, bool sparse)
{
	enum { STEP = 1024 };
	size_t some = train_workspace_bytes(m, STEP, sparse);
	size_t row = (train_workspace_bytes(m, 2 * STEP, sparse) - some) / STEP, fixed = some - STEP * row;

	return bytes > fixed ? (bytes - fixed) / row : 0;
}

void worker_memory(const struct worker *w, struct worker_memory *out)
{
	size_t bytes = workspace_bytes(w) / w->options.n_train_threads;

	out->kv_bytes = w->options.kv_bytes;
	out->train_bytes = w->options.train_bytes;
	out->stem_bytes = stem_bytes(w);
	out->train_tokens = rows_within(w->model, bytes, false);
	out->train_tokens_sparse = rows_within(w->model, bytes, true);
}

enum err worker_start(struct worker *w, struct why *why)
{
	const struct serve_options serve_options = {
	        .model = w->model,
	        .tokenizer = w->tokenizer,
	        .max_batch = w->options.max_batch,
	        .max_queue = w->options.max_queue,
	        .kv_bytes = w->options.kv_bytes,
	        .prefill_rows = PREFILL_ROWS,
	        .n_threads = w->options.n_serve_threads,
	};
	const struct pool_options pool_options = {
	        .env = &w->env,
	        .n_threads = w->options.n_train_threads,
	        .train_bytes = workspace_bytes(w),
	        .max_jobs = w->options.max_running_jobs,
	        .max_running_per_tenant = w->options.max_running_per_tenant,
	};
	size_t n_recovered;
	enum err e = store_job_recover(w->env.store, true, &n_recovered);

	if (e == OK)
		e = serve_start(&serve_options, &w->serve, why);
	if (e == OK)
		e = pool_start(&pool_options, &w->pool, why);
	if (e != OK)
		worker_stop(w, 0);
	return e;
}

void worker_stop(struct worker *w, int drain_ms)
{
	if (!w)
		return;
	pool_stop(w->pool);
	w->pool = NULL;
	if (w->serve)
		serve_stop(w->serve, drain_ms);
	w->serve = NULL;
}

void worker_close(struct worker *w)
{
	if (!w)
		return;
	worker_stop(w, 0);
	live_free(w->live);
	registry_free(w->registry);
	tokenizer_close(w->tokenizer);
	model_close(w->model);
	mem_free(w);
}

const char *worker_base_name(const struct worker *w)
{
	return w->base_name;
}

int64_t worker_base_created(const struct worker *w)
{
	return w->base_created;
}

const struct model *worker_model(const struct worker *w)
{
	return w->model;
}

const struct tokenizer *worker_tokenizer(const struct worker *w)
{
	return w->tokenizer;
}

const struct chat_format *worker_chat(const struct worker *w)
{
	return w->chat;
}

/* ---- jobs ---- */

void job_check_fini(struct job_check *c)
{
	if (!c)
		return;
	dataset_report_fini(&c->train);
	dataset_report_fini(&c->valid);
}

double worker_tokens_per_second(struct worker *w)
{
	struct pool_stats stats = {0};
	double per_token = FLOPS_PER_PARAM_TOKEN * (double)model_info(w->model)->n_params;

	if (w->pool)
		pool_stats(w->pool, &stats);
	if (stats.tokens_per_second > 0)
		return stats.tokens_per_second;
	return GUESSED_FLOPS * (double)w->options.n_train_threads / per_token;
}

/* Tokens that training and its evaluations push through the model, over what all threads do per second. */
static double estimate_seconds(
        struct worker *w, const struct job_spec *spec, const struct job_data *data, size_t n_steps)
{
	const struct train_config *c = &spec->train;
	size_t n_evals = data->has_valid ? (c->eval_every ? n_steps / c->eval_every + 1 : c->n_epochs) : 0;
	double tokens = (double)data->train.n_tokens * (double)c->n_epochs +
	                0.5 * (double)data->valid.n_tokens * (double)n_evals;

	return tokens / worker_tokens_per_second(w);
}

enum err worker_job_check(struct worker *w, const char *tenant_id, const char *parent, const char *train_file,
        const char *valid_file, struct job_spec *spec, struct job_check *out, struct why *why)
{
	struct job_spec resolved = *spec;
	struct job_data data;
	size_t per_epoch;
	enum err e;

	memset(out, 0, sizeof(*out));
	e = job_data_read(&w->env, tenant_id, parent, train_file, valid_file, &resolved, &data, &out->train,
	        &out->valid, why);
	if (e != OK)
		return e;
	per_epoch = (data.train.n_rows - 1) / resolved.train.batch_size + 1;
	out->n_rows = data.train.n_rows;
	out->n_tokens = data.train.n_tokens;
	out->n_trained_tokens = data.train.n_trained;
	out->n_steps = per_epoch * resolved.train.n_epochs;
	out->estimated_seconds = estimate_seconds(w, &resolved, &data, out->n_steps);
	job_data_fini(&data);
	*spec = resolved;
	return OK;
}

void worker_job_poke(struct worker *w, const char *job_id)
{
	if (w->pool)
		pool_poke(w->pool, job_id);
}

void worker_set_listener(struct worker *w, void (*on_job)(void *arg, const char *job_id), void *arg)
{
	w->env.on_job = on_job;
	w->env.on_job_arg = arg;
}

/* ---- inference ---- */

/* What trains under that name; what came of it, or its last checkpoint, when nothing does. */
static enum err acquire_live(
        struct worker *w, const char *tenant_id, const char *name, struct adapter_ref *ref, struct why *why)
{
	char checkpoint[STORE_MODEL_SIZE];
	enum err e = live_acquire(w->live, tenant_id, name, ref);

	if (e == ERR_NOT_FOUND)
		e = registry_acquire(w->registry, tenant_id, name, ref, why);
	if (e != ERR_NOT_FOUND)
		return e;
	if (store_adapter_latest(w->env.store, tenant_id, name, checkpoint) == OK)
		e = registry_acquire(w->registry, tenant_id, checkpoint, ref, why);
	return e;
}

enum err worker_adapter_acquire(
        struct worker *w, const char *tenant_id, const char *model, struct adapter_ref *ref, struct why *why)
{
	size_t n = strlen(model), n_suffix = strlen(LIVE_SUFFIX);
	char name[STORE_MODEL_SIZE];

	/* Neither the base nor an alias is ever in training. */
	if (strncmp(model, "ft:", 3) != 0 || n <= n_suffix || n - n_suffix >= sizeof(name) ||
	        strcmp(model + n - n_suffix, LIVE_SUFFIX) != 0)
		return registry_acquire(w->registry, tenant_id, model, ref, why);
	snprintf(name, sizeof(name), "%.*s", (int)(n - n_suffix), model);
	return acquire_live(w, tenant_id, name, ref, why);
}

enum err worker_adapter_blend(struct worker *w, const char *tenant_id, const struct blend_part *parts,
        size_t n, struct adapter_ref *ref, struct why *why)
{
	struct adapter_ref refs[BLEND_MAX];
	enum err e;

	for (size_t i = 0; i < n; i++) {
		e = worker_adapter_acquire(w, tenant_id, parts[i].model, &refs[i], why);
		if (!e)
			continue;
		while (i--)
			if (refs[i].release)
				refs[i].release(refs[i].owner);
		return e;
	}
	return blend_make(refs, parts, n, ref, why);
}

void worker_adapter_forget(struct worker *w, const char *tenant_id, const char *name)
{
	registry_forget(w->registry, tenant_id, name);
}

enum err worker_submit(struct worker *w, const struct serve_request *request, uint64_t *id, struct why *why)
{
	if (!w->serve)
		return why_set(why, ERR_BUSY, "the daemon is not serving");
	return serve_submit(w->serve, request, id, why);
}

void worker_cancel(struct worker *w, uint64_t id)
{
	if (w->serve)
		serve_cancel(w->serve, id);
}

void worker_stats(struct worker *w, struct worker_stats *out)
{
	struct pool_stats pool = {0};
	struct registry_stats adapters;

	memset(out, 0, sizeof(*out));
	if (w->serve)
		serve_stats(w->serve, &out->serve);
	if (w->pool)
		pool_stats(w->pool, &pool);
	out->running_jobs = pool.running_jobs;
	out->n_train_threads = w->options.n_train_threads;
	out->n_serve_threads = w->options.n_serve_threads;
	registry_stats(w->registry, &adapters);
	out->adapters_resident = adapters.n_adapters;
	out->adapter_bytes = adapters.bytes;
	out->adapter_load = adapters.load;
	out->train_steps = pool.steps;
	out->train_tokens = pool.tokens;
	out->kernels = cpu_level_name(cpu_level());
	out->weights = matrix_format_name(model_info(w->model)->weights);
}
