/*
 * Durable truth: tenants, keys, files, jobs, events, checkpoints, adapters. This is the whole face of
 * storage/; behind it is SQLite in WAL mode in the directory given, with file contents beside it. It promises
 * nothing that only SQLite can do: a second engine may stand behind it.
 *
 * Writes go to one writer thread that commits all that is waiting as one transaction; a write call returns
 * once its transaction is on disk, so OK means kept through power loss. Calls that end in _later are queued
 * without waiting (in order with all others); store_flush() waits for them. Reads run on the caller's thread.
 *
 * Thread: open/close by one; everything else any thread that may wait for the disk (never the loop).
 * Strings in records are owned by the record unless they are arrays; release with X_fini() or list_free.
 * Errors of all: ERR_DB, ERR_MEM, ERR_IO; others where named. On error results are untouched.
 */
#ifndef REDD_STORAGE_STORE_H
#define REDD_STORAGE_STORE_H

#include "core/err.h"
#include "core/hash.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STORE_ID_SIZE 48
#define STORE_NAME_SIZE 65
#define STORE_MODEL_SIZE 256

struct store;

/* Open or create DIR/redd.db (directory created 0700), migrate it, and lock DIR against a second process:
 * ERR_BUSY. A database newer than this program is refused: ERR_UNSUPPORTED. */
enum err store_open(const char *dir, struct store **out, struct why *why);
/* Flushes first. NULL is allowed. */
void store_close(struct store *s);
/* Wait until everything queued so far is on disk. The first error of a _later call since the last flush. */
enum err store_flush(struct store *s);

/* ---- how it is doing ---- */

#define STORE_LATENCY_BUCKETS 12
struct store_stats {
	uint64_t commits;  /* transactions so far */
	uint64_t failures; /* of them that were lost */
	uint64_t writes;   /* in all of them */
	/* Transactions that took at most store_latency_bounds[i] seconds and longer than the bound before;
	 * the last: longer than all. */
	uint64_t latency[STORE_LATENCY_BUCKETS];
	double latency_sum_s;
	size_t waiting;      /* writes that are queued */
	int64_t busy_ms;     /* since when the transaction under way takes, 0 = none is */
	bool failing;        /* the last transaction was lost */
	uint64_t free_bytes; /* of its file system, for it */
};
extern const double store_latency_bounds[STORE_LATENCY_BUCKETS - 1];
/* Does not wait. */
void store_stats(struct store *s, struct store_stats *out);
/* Write something that changes nothing, and wait for the disk: OK means that writing works again. */
enum err store_probe(struct store *s);

/* A page of a list: newest first unless said otherwise. */
struct page {
	const char *after; /* id of the last item already seen, or NULL; ERR_NOT_FOUND when there is no such
	                      item */
	size_t limit;      /* 1..1000 */
};

/* ---- tenants and keys ---- */

struct tenant_limits { /* 0 = the default of the daemon, < 0 = none */
	int64_t queued_jobs, running_jobs, file_bytes, requests_per_minute, tokens_per_minute;
};
struct tenant {
	char id[STORE_ID_SIZE];     /* "tenant-..." */
	char name[STORE_NAME_SIZE]; /* [a-z0-9-], unique, shows in model names */
	int64_t created_at;         /* unix seconds, as all created_at below */
	struct tenant_limits limits;
};
/* ERR_EXISTS when the name is taken. */
enum err store_tenant_create(
        struct store *s, const char *name, const struct tenant_limits *limits, struct tenant *out);
enum err store_tenant_get(struct store *s, const char *id, struct tenant *out);       /* ERR_NOT_FOUND */
enum err store_tenant_by_name(struct store *s, const char *name, struct tenant *out); /* ERR_NOT_FOUND */
enum err store_tenant_by_key(
        struct store *s, const uint8_t key_hash[HASH_BYTES], struct tenant *out); /* ERR_NOT_FOUND */
enum err store_tenant_list(
        struct store *s, const struct page *page, struct tenant **items, size_t *n, bool *has_more);
/* Replace its limits. ERR_NOT_FOUND. */
enum err store_tenant_limit(
        struct store *s, const char *id, const struct tenant_limits *limits, struct tenant *out);
/* Erases everything of the tenant, file contents too. ERR_NOT_FOUND. */
enum err store_tenant_delete(struct store *s, const char *id);

/* Keys are stored hashed (SHA-256; they are long random strings). */
struct api_key {
	char id[STORE_ID_SIZE]; /* "key-..." */
	char tenant_id[STORE_ID_SIZE];
	char hint[16]; /* last characters, for people */
	int64_t created_at;
};
enum err store_key_create(struct store *s, const char *tenant_id, const uint8_t key_hash[HASH_BYTES],
        const char *hint, struct api_key *out); /* ERR_NOT_FOUND: no such tenant */
enum err store_key_list(struct store *s, const char *tenant_id, struct api_key **items, size_t *n);
enum err store_key_delete(struct store *s, const char *tenant_id, const char *key_id); /* ERR_NOT_FOUND */

/* ---- files ---- */

struct file {
	char id[STORE_ID_SIZE]; /* "file-..." */
	char tenant_id[STORE_ID_SIZE];
	int64_t bytes;
	int64_t created_at;
	int64_t expires_at; /* 0 = never */
	char *filename;
	char *purpose;
	char sha256[HASH_HEX_SIZE];
};
void file_fini(struct file *f);
void file_list_free(struct file *items, size_t n);

/* Streaming in: begin, write..., then commit or abort. One owner; the content is invisible until committed.
 */
struct file_writer;
enum err store_file_begin(struct store *s, struct file_writer **out);
enum err file_writer_write(struct file_writer *w, const void *p, size_t n);
int64_t file_writer_bytes(const struct file_writer *w);
/* Let the commit fail with ERR_LIMIT when all files of the tenant would hold more than max bytes then; <= 0 =
 * no limit, as without this call. */
void file_writer_limit(struct file_writer *w, int64_t max);
/* Both free w, whatever they return. */
enum err file_writer_commit(struct file_writer *w, const char *tenant_id, const char *filename,
        const char *purpose, int64_t expires_at, struct file *out);
void file_writer_abort(struct file_writer *w);

enum err store_file_get(
        struct store *s, const char *tenant_id, const char *id, struct file *out); /* ERR_NOT_FOUND */
/* A read-only descriptor of the content, the caller closes it. It stays readable when the file is deleted. */
enum err store_file_open(struct store *s, const char *tenant_id, const char *id, int *fd);
/* purpose NULL = all. */
enum err store_file_list(struct store *s, const char *tenant_id, const char *purpose, const struct page *page,
        struct file **items, size_t *n, bool *has_more);
enum err store_file_delete(struct store *s, const char *tenant_id, const char *id); /* ERR_NOT_FOUND */
/* Sum of bytes of the tenant's files. */
enum err store_file_bytes(struct store *s, const char *tenant_id, int64_t *bytes);

/* ---- jobs ---- */

/*   validating -> queued -> running -> succeeded | failed
 *                   ^         |  |
 *                   |         |  +-> queued   (shutdown or lost lease: goes on from its checkpoint)
 *                   +- paused <+             any of validating, queued, running, paused -> cancelled | failed
 * store_job_transition() checks this table; a terminal state never changes. */
enum job_status {
	JOB_VALIDATING,
	JOB_QUEUED,
	JOB_RUNNING,
	JOB_PAUSED,
	JOB_SUCCEEDED,
	JOB_FAILED,
	JOB_CANCELLED
};
const char *job_status_name(enum job_status s); /* as on the wire: "validating_files", "queued", ... */
bool job_status_terminal(enum job_status s);
#define JOB_STATUSES (JOB_CANCELLED + 1)

struct job {
	char id[STORE_ID_SIZE]; /* "ftjob-..." */
	char tenant_id[STORE_ID_SIZE];
	char model[STORE_MODEL_SIZE]; /* as asked for: the base, or a fine-tuned model to go on from */
	char training_file[STORE_ID_SIZE];
	char validation_file[STORE_ID_SIZE]; /* "" = none */
	char result_file[STORE_ID_SIZE];     /* "" = none yet */
	char *spec;                          /* JSON, opaque here: what worker/job_spec.h writes */
	char *metadata;                      /* JSON object, or NULL */
	enum job_status status;
	int64_t created_at;
	int64_t started_at;  /* first time running, 0 = not yet */
	int64_t finished_at; /* 0 = not yet */
	int64_t trained_tokens;
	int64_t step, total_steps; /* of the last report */
	double epoch;
	double tokens_per_second;
	char fine_tuned_model[STORE_MODEL_SIZE];        /* "" until it succeeded */
	char adapter_sha256[HASH_HEX_SIZE];             /* "" until it succeeded */
	char *error_code, *error_message, *error_param; /* NULL unless failed */
};
void job_fini(struct job *j);
void job_list_free(struct job *items, size_t n);

struct job_new {
	const char *tenant_id, *model, *training_file, *validation_file /* NULL = none */, *spec,
	        *metadata /* NULL */;
	const char *idempotency_key; /* NULL = none; the same tenant and key gives the job that is there
	                                already */
	int64_t work_tokens;         /* that it will train on; 0 = unknown */
	int64_t max_queued; /* ERR_LIMIT when the tenant has so many unfinished jobs; <= 0 = no limit */
};
/* Creates it queued, with its first event. *existed (may be NULL) tells a replay of an idempotency key.
 * ERR_NOT_FOUND: a file is not the tenant's; ERR_LIMIT. */
enum err store_job_create(struct store *s, const struct job_new *in, struct job *out, bool *existed);
/* tenant_id NULL = any tenant (for the worker). */
enum err store_job_get(
        struct store *s, const char *tenant_id, const char *id, struct job *out); /* ERR_NOT_FOUND */
/* How many there are of each status, of all tenants. */
enum err store_job_counts(struct store *s, int64_t counts[JOB_STATUSES]);
/* Where a queued job stands. */
struct job_place {
	int64_t position; /* jobs before it in the queue; -1 = it is not queued, and the rest is 0 */
	/* To train on until it is done: what is left of jobs that run, of those before it and of itself.
	 * Exact for short queues, else as if every tenant's jobs were alike. 0 = its own work is unknown. */
	int64_t tokens_left;
	double tokens_per_second; /* of late, of all that run; 0 = none runs, or not yet for long */
};
enum err store_job_place(struct store *s, const char *id, struct job_place *out);
/* A job of the tenant's and where it stands, both at one moment. ERR_NOT_FOUND. */
enum err store_job_show(
        struct store *s, const char *tenant_id, const char *id, struct job *out, struct job_place *place);

/* places may be NULL, else where each of the items stands, all at one moment; mem_free(*places). */
enum err store_job_list(struct store *s, const char *tenant_id, const struct page *page, struct job **items,
        struct job_place **places, size_t *n, bool *has_more);

/* Claim the next queued job, fair by tenant: that of the tenant with the fewest running jobs, then the
 * oldest. Marks it running under owner until lease_ms from now. max_running_per_tenant <= 0 = no limit.
 * ERR_EMPTY. */
enum err store_job_claim(struct store *s, const char *owner, int64_t lease_ms, int64_t max_running_per_tenant,
        struct job *out);
/* Prolong the leases of owner's running jobs; does not wait. */
void store_job_renew_later(struct store *s, const char *owner, int64_t lease_ms);
/* Queue again what runs under an expired lease, or, with all, under any: at start, when the lock says no one
 * else lives. */
enum err store_job_recover(struct store *s, bool all, size_t *n);

/* Move a job along the table above, with an event. ERR_STATE when the table forbids it, ERR_NOT_FOUND.
 * tenant_id NULL = any. For FAILED, error_* may be given. out may be NULL. */
struct job_transition {
	enum job_status to;
	const char *error_code, *error_message, *error_param; /* NULL or for FAILED */
	const char *event; /* message of the event it leaves; NULL = a standard one */
};
enum err store_job_transition(struct store *s, const char *tenant_id, const char *id,
        const struct job_transition *t, struct job *out);

/* Progress, without waiting; ignored unless the job is running. */
struct job_progress {
	int64_t step, total_steps, trained_tokens;
	double epoch, tokens_per_second;
};
void store_job_progress_later(struct store *s, const char *id, const struct job_progress *p);

/* ---- events ---- */

struct event {
	char id[STORE_ID_SIZE]; /* "ftevent-..." */
	int64_t seq;            /* rises by time over all jobs */
	int64_t created_at;
	char level[8]; /* info, warn, error */
	char type[12]; /* message, metrics */
	char *message;
	char *data; /* JSON object or NULL */
};
void event_list_free(struct event *items, size_t n);

struct event_new {
	const char *level, *type, *message, *data /* NULL */;
	/* Not 0: a second event of this job with the same key is dropped, so that a step replayed after a
	 * resume leaves no second trace. E.g. 2 * step for metrics of a step, 2 * step + 1 for an evaluation
	 * after it. */
	int64_t once_key;
};
/* Without waiting. Strings are copied. */
enum err store_event_later(struct store *s, const char *job_id, const struct event_new *e);
/* Newest first; tenant's job only: ERR_NOT_FOUND. */
enum err store_event_list(struct store *s, const char *tenant_id, const char *job_id, const struct page *page,
        struct event **items, size_t *n, bool *has_more);
/* Oldest first, those with seq > after_seq: for streams and result files. */
enum err store_event_since(struct store *s, const char *job_id, int64_t after_seq, size_t limit,
        struct event **items, size_t *n);

/* ---- adapters: immutable versions ---- */

struct adapter_record {
	char id[STORE_ID_SIZE];      /* "adapter-..." */
	char name[STORE_MODEL_SIZE]; /* "ft:BASE:TENANT:SUFFIX:ID", with ":ckpt-step-N" for a checkpoint;
	                                unique */
	char tenant_id[STORE_ID_SIZE];
	char job_id[STORE_ID_SIZE]; /* "" = imported */
	char parent[STORE_MODEL_SIZE];
	int64_t created_at;
	int64_t step; /* of a checkpoint; 0 otherwise */
	bool checkpoint;
	int64_t bytes;
	char sha256[HASH_HEX_SIZE]; /* of the content */
	char *manifest;             /* JSON */
	void *content;              /* safetensors, `bytes` long; NULL when listed */
};
void adapter_record_fini(struct adapter_record *a);
void adapter_record_list_free(struct adapter_record *items, size_t n);
enum err store_adapter_get(struct store *s, const char *tenant_id, const char *name,
        struct adapter_record *out); /* ERR_NOT_FOUND */
/* The name of the last checkpoint of the final adapter that is, or was to be, called name. ERR_NOT_FOUND. */
enum err store_adapter_latest(
        struct store *s, const char *tenant_id, const char *name, char out[STORE_MODEL_SIZE]);
/* Without content. Checkpoints are listed only on request. */
enum err store_adapter_list(struct store *s, const char *tenant_id, bool checkpoints, const struct page *page,
        struct adapter_record **items, size_t *n, bool *has_more);
/* One that no job of ours made. Strings and content are borrowed. *out, which may be NULL, is the record
 * without its content. ERR_EXISTS: the name is taken; ERR_NOT_FOUND: no such tenant; ERR_INVALID: a name is
 * too long. */
struct adapter_new {
	const char *tenant_id, *name, *parent, *manifest;
	const void *content;
	size_t n_content;
};
enum err store_adapter_add(struct store *s, const struct adapter_new *in, struct adapter_record *out);
/* And, of a job's final adapter, its checkpoints. ERR_NOT_FOUND. */
enum err store_adapter_delete(struct store *s, const char *tenant_id, const char *name);

/* ---- scratch ---- */

/* An empty file beside the store's own, without a name, for reading and writing: gone once closed. */
enum err store_scratch_open(struct store *s, int *fd);

/* ---- aliases: stable names, switched from one adapter to another atomically ---- */

struct alias {
	char name[STORE_NAME_SIZE];
	char model[STORE_MODEL_SIZE]; /* the adapter it points at */
	int64_t updated_at;
};
/* Create it or switch it. ERR_NOT_FOUND: model is not one of the tenant's adapters. ERR_INVALID: the name. */
enum err store_alias_set(
        struct store *s, const char *tenant_id, const char *name, const char *model, struct alias *out);
enum err store_alias_get(
        struct store *s, const char *tenant_id, const char *name, struct alias *out); /* ERR_NOT_FOUND */
/* All of them, newest first; mem_free(*items). */
enum err store_alias_list(struct store *s, const char *tenant_id, struct alias **items, size_t *n);
enum err store_alias_delete(struct store *s, const char *tenant_id, const char *name); /* ERR_NOT_FOUND */

/* ---- webhooks: who is told when a job ends ---- */

#define STORE_SECRET_SIZE 64
#define STORE_EVENT_TYPE_SIZE 32 /* "fine_tuning.job.succeeded" */
#define STORE_DELIVERY_ERROR_SIZE 64

/* How an attempt to reach a webhook went. */
struct delivery_outcome {
	int64_t at;                            /* unix seconds; 0 = there has been none */
	int64_t status;                        /* answered over HTTP; 0 = nothing was */
	char error[STORE_DELIVERY_ERROR_SIZE]; /* "" = the event arrived */
};

struct webhook {
	char id[STORE_ID_SIZE]; /* "we_..." */
	char tenant_id[STORE_ID_SIZE];
	char secret[STORE_SECRET_SIZE];
	char old_secret[STORE_SECRET_SIZE]; /* "" = none; signs too, until old_until (unix seconds) */
	int64_t old_until;
	int64_t created_at, updated_at;
	char *name;
	char *url;
	char *event_types; /* each between blanks: " fine_tuning.job.failed fine_tuning.job.succeeded " */
	char last_event[STORE_ID_SIZE]; /* whose delivery ended last; "" = none has been tried */
	struct delivery_outcome last;
};
void webhook_fini(struct webhook *w);
void webhook_list_free(struct webhook *items, size_t n);
/* From tenant_id, name, url, event_types and secret of in; the rest is ignored. ERR_LIMIT: the tenant has max
 * of them; ERR_NOT_FOUND: no such tenant. */
enum err store_webhook_create(struct store *s, const struct webhook *in, size_t max, struct webhook *out);
enum err store_webhook_get(
        struct store *s, const char *tenant_id, const char *id, struct webhook *out); /* ERR_NOT_FOUND */
enum err store_webhook_list(struct store *s, const char *tenant_id, const struct page *page,
        struct webhook **items, size_t *n, bool *has_more);
/* Replace name, url, event_types and secrets by those of in, of its tenant_id and id. ERR_NOT_FOUND. */
enum err store_webhook_update(struct store *s, const struct webhook *in, struct webhook *out);
/* And what is due to it. ERR_NOT_FOUND. */
enum err store_webhook_delete(struct store *s, const char *tenant_id, const char *id);

/* One event due to one webhook, kept until it is dropped. */
struct delivery {
	int64_t seq;
	char webhook_id[STORE_ID_SIZE];
	char event_id[STORE_ID_SIZE]; /* "evt_..."; the same for all webhooks it goes to */
	char type[STORE_EVENT_TYPE_SIZE];
	char subject[STORE_ID_SIZE]; /* the job */
	int64_t created_at;
	int64_t attempts; /* that have failed */
};
/* The oldest due of each webhook at now_ms, at most limit; mem_free(*items). *next_ms is when the first of
 * those not due yet will be, INT64_MAX when there is none. */
enum err store_delivery_due(
        struct store *s, int64_t now_ms, size_t limit, struct delivery **items, size_t *n, int64_t *next_ms);
/* The webhook of a delivery. ERR_NOT_FOUND: it was deleted meanwhile. */
enum err store_delivery_webhook(struct store *s, const char *webhook_id, struct webhook *out);
/* An attempt ended so, which its webhook keeps, and failed: try again at due_ms. */
enum err store_delivery_retry(
        struct store *s, int64_t seq, int64_t due_ms, const struct delivery_outcome *outcome);
/* It arrived, or will not be tried again. */
enum err store_delivery_drop(struct store *s, int64_t seq, const struct delivery_outcome *outcome);

/* The subject of an event that tells of nothing: it is tried once. */
#define STORE_TEST_SUBJECT "ftjob-test"
/* Make such an event of this type due at once to one webhook. ERR_NOT_FOUND: it is not the tenant's;
 * ERR_STATE: one is due to it already. */
enum err store_delivery_test(struct store *s, const char *tenant_id, const char *webhook_id, const char *type,
        struct delivery *out);

/* ---- checkpoints ---- */

struct checkpoint {
	char id[STORE_ID_SIZE]; /* "ftckpt_..." */
	char job_id[STORE_ID_SIZE];
	char model[STORE_MODEL_SIZE]; /* its adapter's name */
	int64_t created_at;
	int64_t step;
	char *metrics; /* JSON object */
};
void checkpoint_list_free(struct checkpoint *items, size_t n);

struct checkpoint_new {
	const char *job_id;
	int64_t step;
	const void *state; /* the trainer's, replaces the job's former one */
	size_t n_state;
	/* When name is not NULL, a checkpoint that can be served is stored too (ignored when its name
	 * exists). */
	const char *name, *parent, *metrics, *manifest;
	const void *content;
	size_t n_content;
};
/* Allowed while the job is running, paused or queued; ERR_STATE otherwise. One transaction. */
enum err store_checkpoint_put(struct store *s, const struct checkpoint_new *c);
enum err store_checkpoint_list(struct store *s, const char *tenant_id, const char *job_id,
        const struct page *page, struct checkpoint **items, size_t *n, bool *has_more);
/* The trainer's last state; mem_free(*data). ERR_EMPTY when there is none. */
enum err store_job_state_get(struct store *s, const char *job_id, void **data, size_t *n);

/* The end of a job that worked, in one transaction: its adapter, its result file, its state dropped, status
 * succeeded, the events. ERR_STATE when the job is not running (cancelled meanwhile): nothing happens then.
 */
struct job_success {
	const char *job_id, *name, *parent, *manifest;
	const void *content;
	size_t n_content;
	const void *result_csv;
	size_t n_result_csv;
	int64_t trained_tokens;
};
enum err store_job_succeed(struct store *s, const struct job_success *in, struct job *out);

/* ---- backup ---- */

/* A copy of the whole store as it is at one moment, as a tar: the database, and every file's content beside
 * it. The store goes on meanwhile; files deleted during the copy may be missing in it, with their rows. fd is
 * written from its offset on, and is on disk on success. */
enum err store_backup(struct store *s, int fd, struct why *why);
/* The same of a directory that this process has not opened; another one may be using it. scratch names a file
 * that is made and removed again. ERR_NOT_FOUND: there is no store in it. */
enum err store_backup_dir(const char *dir, const char *scratch, int fd, struct why *why);
/* Make dir's store of what store_backup() wrote, read from fd: all of it, checked, migrated, or nothing.
 * ERR_EXISTS: there is a store in dir; ERR_FORMAT: not a backup, or a damaged one; ERR_UNSUPPORTED: of a
 * newer program; ERR_BUSY: dir is in use. */
enum err store_restore(const char *dir, int fd, struct why *why);

#endif
