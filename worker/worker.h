/*
 * Everything that computes, as the API and the daemon see it: one base model with its tokenizer, a pool of
 * training threads that works the store's queue, and the serving engine that answers for base and adapters.
 *
 * Thread: open/start/stop/close by the main thread; the rest any thread that may wait for the disk, except
 * where the comment says "loop".
 */
#ifndef REDD_WORKER_WORKER_H
#define REDD_WORKER_WORKER_H

#include "storage/store.h"
#include "worker/blend.h"
#include "worker/job_spec.h"
#include "worker/model/model.h"
#include "worker/serve/histogram.h"
#include "worker/serve/serve.h"
#include "worker/text/chat.h"
#include "worker/text/tokenizer.h"

struct worker;

struct worker_options {
	const char *model_dir;
	const char *model_name;     /* NULL = the directory's last component */
	enum matrix_format weights; /* as model_open_as() */
	bool train_bf16;            /* as model_train_bf16() */
	size_t n_train_threads;     /* 0 = one per core */
	size_t train_bytes;      /* memory of training beside the base; 0 = a quarter of what is available */
	size_t max_running_jobs; /* side by side; 0 = 4 per train thread */
	int64_t max_running_per_tenant; /* <= 0 = no limit */
	size_t checkpoint_every;        /* steps; 0 = 50 */
	size_t n_serve_threads;         /* that compute answers together; 0 = one per core */
	size_t max_batch;               /* sequences decoded together; 0 = 64 */
	size_t max_queue;               /* inference requests waiting; 0 = 1024 */
	size_t kv_bytes;                /* 0 = a quarter of the memory available at start */
};

/* Map the base, read its tokenizer. Nothing runs yet. store is borrowed until close. */
enum err worker_open(
        const struct worker_options *options, struct store *store, struct worker **out, struct why *why);
/* Start the threads; jobs found running in the store are queued again first. */
enum err worker_start(struct worker *w, struct why *why);
/* Stop: requests in flight get drain_ms, jobs save a checkpoint and go back to the queue. Joins all threads.
 */
void worker_stop(struct worker *w, int drain_ms);
void worker_close(struct worker *w);

/* Constant after open. (loop) */
const char *worker_base_name(const struct worker *w);
int64_t worker_base_created(const struct worker *w); /* unix seconds: config.json's modification time */
const struct model *worker_model(const struct worker *w);
const struct tokenizer *worker_tokenizer(const struct worker *w);
const struct chat_format *worker_chat(const struct worker *w);

/* ---- jobs ---- */

/* Read and check a job's files against its spec, in full; with why naming the first fault: ERR_INVALID with
 * why->param "training_file" or "validation_file" or as job_spec, ERR_MISMATCH with "adapter" when parent
 * edits something else than spec. `parent` may be the base or a fine-tuned model of the tenant. valid_file
 * NULL or "" = none. spec is resolved on success. The reports in *out are filled as far as reading came, on
 * failure too: job_check_fini() it in either case. */
struct job_check {
	size_t n_rows, n_tokens, n_trained_tokens, n_steps;
	double estimated_seconds;
	struct dataset_report train, valid;
};
void job_check_fini(struct job_check *c);
enum err worker_job_check(struct worker *w, const char *tenant_id, const char *parent, const char *train_file,
        const char *valid_file, struct job_spec *spec, struct job_check *out, struct why *why);
/* How fast all training threads together go through tokens: as measured, else guessed from the base's size.
 */
double worker_tokens_per_second(struct worker *w);
/* Something about this job changed in the store (created, cancelled, paused, resumed): look again. (loop) */
void worker_job_poke(struct worker *w, const char *job_id);

/* Called when a job's events or status changed, from a worker thread; must not block. One listener. NULL =
 * none. Set before worker_start(). */
void worker_set_listener(struct worker *w, void (*on_job)(void *arg, const char *job_id), void *arg);

/* ---- inference ---- */

/* Resolve a model name for a tenant: the base, or one of the tenant's adapters, loaded from the store on
 * first use and kept; with ":live" behind the name, as it stands in training. On success ref holds that
 * immutable version until released. ERR_NOT_FOUND (why->code "model_not_found"), ERR_MISMATCH when its
 * manifest does not fit the base. */
enum err worker_adapter_acquire(
        struct worker *w, const char *tenant_id, const char *model, struct adapter_ref *ref, struct why *why);
/* Resolve n >= 1 (<= BLEND_MAX) of them and blend them by weight. Errors as above and of blend_make(). */
enum err worker_adapter_blend(struct worker *w, const char *tenant_id, const struct blend_part *parts,
        size_t n, struct adapter_ref *ref, struct why *why);
/* Forget a deleted adapter, or with name NULL all of a tenant's. Holders keep their version. */
void worker_adapter_forget(struct worker *w, const char *tenant_id, const char *name);

/* As serve_submit() and serve_cancel() on this worker's engine. (loop) */
enum err worker_submit(struct worker *w, const struct serve_request *request, uint64_t *id, struct why *why);
void worker_cancel(struct worker *w, uint64_t id);

struct worker_stats {
	struct serve_stats serve;
	size_t running_jobs, n_train_threads, n_serve_threads, adapters_resident;
	size_t adapter_bytes;          /* of those resident */
	struct histogram adapter_load; /* from the store, of those that were not resident */
	uint64_t train_steps, train_tokens;
	const char *kernels; /* cpu_level_name() of those that run */
	const char *weights; /* the base's format in memory */
};
void worker_stats(struct worker *w, struct worker_stats *out); /* (loop) */

/* What memory is meant for, as settled at open, in bytes beside the base's; and the tokens of a training
 * thread's part of a batch that its share holds: keeping all, and computing twice what it can. */
struct worker_memory {
	size_t kv_bytes, train_bytes;
	size_t stem_bytes; /* of train_bytes: what jobs keep of their rows from one epoch to the next */
	size_t train_tokens, train_tokens_sparse;
};
void worker_memory(const struct worker *w, struct worker_memory *out); /* (loop) */

#endif
