/* Jobs: their record, creation and reading. How they move is in job_state.c, who runs them in job_lease.c. */
#include "storage/job.h"

#include "core/mem.h"
#include "storage/event.h"
#include "storage/file.h"
#include "storage/handle.h"

#include <string.h>

#define JOB_COLUMNS                                                                                          \
	"id, tenant_id, model, training_file, validation_file, result_file, spec, metadata, status,"         \
	" created_at, started_at, finished_at, trained_tokens, step, total_steps, epoch, tokens_per_second," \
	" fine_tuned_model, adapter_sha256, error_code, error_message, error_param"

static const char *const status_names[] = {
        [JOB_VALIDATING] = "validating_files",
        [JOB_QUEUED] = "queued",
        [JOB_RUNNING] = "running",
        [JOB_PAUSED] = "paused",
        [JOB_SUCCEEDED] = "succeeded",
        [JOB_FAILED] = "failed",
        [JOB_CANCELLED] = "cancelled",
};

#define N_STATUS (sizeof(status_names) / sizeof(status_names[0]))

const char *job_status_name(enum job_status s)
{
	return status_names[s];
}

bool job_status_terminal(enum job_status s)
{
	return s == JOB_SUCCEEDED || s == JOB_FAILED || s == JOB_CANCELLED;
}

/* The schema lets no other name in. */
static enum job_status status_read(struct query *q)
{
	char name[24];
	size_t s = 0;

	query_array(q, name, sizeof(name));
	while (s < N_STATUS - 1 && strcmp(name, status_names[s]) != 0)
		s++;
	return (enum job_status)s;
}

void job_fini(struct job *j)
{
	mem_free(j->spec);
	mem_free(j->metadata);
	mem_free(j->error_code);
	mem_free(j->error_message);
	mem_free(j->error_param);
	*j = (struct job){0};
}

static void job_fini_item(void *item)
{
	job_fini(item);
}

static void job_read(struct query *q, void *item)
{
	struct job *j = item;

	query_array(q, j->id, sizeof(j->id));
	query_array(q, j->tenant_id, sizeof(j->tenant_id));
	query_array(q, j->model, sizeof(j->model));
	query_array(q, j->training_file, sizeof(j->training_file));
	query_array(q, j->validation_file, sizeof(j->validation_file));
	query_array(q, j->result_file, sizeof(j->result_file));
	j->spec = query_text(q);
	j->metadata = query_text(q);
	j->status = status_read(q);
	j->created_at = query_int(q);
	j->started_at = query_int(q);
	j->finished_at = query_int(q);
	j->trained_tokens = query_int(q);
	j->step = query_int(q);
	j->total_steps = query_int(q);
	j->epoch = query_real(q);
	j->tokens_per_second = query_real(q);
	query_array(q, j->fine_tuned_model, sizeof(j->fine_tuned_model));
	query_array(q, j->adapter_sha256, sizeof(j->adapter_sha256));
	j->error_code = query_text(q);
	j->error_message = query_text(q);
	j->error_param = query_text(q);
}

static const struct record job_record = {sizeof(struct job), job_read, job_fini_item};

void job_list_free(struct job *items, size_t n)
{
	record_list_free(&job_record, items, n);
}

/* The one job q is bound for; ends q. */
static enum err job_one(struct query *q, struct job *out)
{
	struct job j = {0};
	enum err row = query_next(q), err;

	if (row == OK)
		job_read(q, &j);
	err = query_end(q);
	if (!err && row == ERR_EMPTY)
		err = ERR_NOT_FOUND;
	if (err)
		job_fini(&j);
	else
		*out = j;
	return err;
}

enum err job_load(struct db *db, const char *tenant_id, const char *id, struct job *out)
{
	struct query q;

	query_start(
	        &q, db, "SELECT " JOB_COLUMNS " FROM job WHERE id = ?1 AND (?2 IS NULL OR tenant_id = ?2)");
	query_bind_text(&q, id);
	query_bind_text(&q, tenant_id);
	return job_one(&q, out);
}

enum err job_exists(struct db *db, const char *tenant_id, const char *id)
{
	struct query q;
	enum err row, err;

	query_start(&q, db, "SELECT 1 FROM job WHERE id = ?1 AND (?2 IS NULL OR tenant_id = ?2)");
	query_bind_text(&q, id);
	query_bind_text(&q, tenant_id);
	row = query_next(&q);
	err = query_end(&q);
	return !err && row == ERR_EMPTY ? ERR_NOT_FOUND : err;
}

/* ---- creating ---- */

struct job_create {
	const struct job_new *in;
	struct job job; /* owned */
	bool existed;
};

static enum err job_by_key(struct db *db, const struct job_new *in, struct job *out)
{
	struct query q;

	query_start(&q, db, "SELECT " JOB_COLUMNS " FROM job WHERE tenant_id = ? AND idempotency_key = ?");
	query_bind_text(&q, in->tenant_id);
	query_bind_text(&q, in->idempotency_key);
	return job_one(&q, out);
}

/* May the tenant have another job? ERR_NOT_FOUND: it does not exist. */
static enum err job_quota(struct db *db, const struct job_new *in)
{
	struct query q;
	int64_t unfinished = 0;
	enum err row, err;

	query_start(&q, db, "SELECT n_unfinished FROM tenant WHERE id = ?");
	query_bind_text(&q, in->tenant_id);
	row = query_next(&q);
	if (row == OK)
		unfinished = query_int(&q);
	err = query_end(&q);
	if (err)
		return err;
	if (row == ERR_EMPTY)
		return ERR_NOT_FOUND;
	return in->max_queued > 0 && unfinished >= in->max_queued ? ERR_LIMIT : OK;
}

static enum err job_insert(struct db *db, const char *id, const struct job_new *in)
{
	struct query q;

	query_start(&q, db,
	        "INSERT INTO job (id, tenant_id, idempotency_key, model, training_file, validation_file, "
	        "spec,"
	        " metadata, status, created_at, work_tokens)"
	        " VALUES (?, ?, ?, ?, ?, coalesce(?, ''), ?, ?, 'queued', ?, ?)");
	query_bind_text(&q, id);
	query_bind_text(&q, in->tenant_id);
	query_bind_text(&q, in->idempotency_key);
	query_bind_text(&q, in->model);
	query_bind_text(&q, in->training_file);
	query_bind_text(&q, in->validation_file);
	query_bind_text(&q, in->spec);
	query_bind_text(&q, in->metadata);
	query_bind_int(&q, store_now());
	query_bind_int(&q, in->work_tokens);
	return query_run(&q);
}

static enum err write_create(struct db *db, void *arg)
{
	struct job_create *c = arg;
	const struct job_new *in = c->in;
	char id[STORE_ID_SIZE];
	enum err err;

	if (in->idempotency_key) {
		err = job_by_key(db, in, &c->job);
		c->existed = !err;
		if (err != ERR_NOT_FOUND)
			return err;
	}
	err = job_quota(db, in);
	if (!err)
		err = file_exists(db, in->tenant_id, in->training_file);
	if (!err && in->validation_file)
		err = file_exists(db, in->tenant_id, in->validation_file);
	if (!err)
		err = random_id("ftjob-", STORE_ID_CHARS, id);
	if (!err)
		err = job_insert(db, id, in);
	if (!err)
		err = event_say(db, id, "Created fine-tuning job: %s", id);
	return err ? err : job_load(db, NULL, id, &c->job);
}

enum err store_job_create(struct store *s, const struct job_new *in, struct job *out, bool *existed)
{
	struct job_create c = {.in = in};
	enum err err;

	if (!text_fits(in->model, sizeof(c.job.model)))
		return ERR_INVALID;
	err = writer_call(s->writer, write_create, &c);
	if (err) {
		job_fini(&c.job);
		return err;
	}
	*out = c.job;
	if (existed)
		*existed = c.existed;
	return OK;
}

/* ---- reading ---- */

enum err store_job_get(struct store *s, const char *tenant_id, const char *id, struct job *out)
{
	struct db *db;
	enum err err = readers_take(&s->readers, &db);

	if (err)
		return err;
	err = job_load(db, tenant_id, id, out);
	readers_give(&s->readers, db);
	return err;
}

static enum err job_show(
        struct db *db, const char *tenant_id, const char *id, struct job *job, struct job_place *place)
{
	enum err err = db_read_begin(db), end;

	if (err)
		return err;
	err = job_load(db, tenant_id, id, job);
	if (!err && job->status == JOB_QUEUED)
		err = job_walk_place(db, &(struct job_walk){0}, id, place);
	end = db_read_end(db);
	return err ? err : end;
}

enum err store_job_show(
        struct store *s, const char *tenant_id, const char *id, struct job *out, struct job_place *place)
{
	struct job_place found = {.position = -1};
	struct job job = {0};
	struct db *db;
	enum err err = readers_take(&s->readers, &db);

	if (err)
		return err;
	err = job_show(db, tenant_id, id, &job, &found);
	readers_give(&s->readers, db);
	if (err) {
		job_fini(&job);
		return err;
	}
	*out = job;
	*place = found;
	return OK;
}

static enum err job_page(struct db *db, const char *tenant_id, const struct page *page, void **items,
        size_t *n, bool *has_more)
{
	struct query q;
	int64_t before;
	enum err err = page_start(
	        db, "SELECT seq FROM job WHERE id = ?1 AND tenant_id = ?2", tenant_id, page, &before);

	if (err)
		return err;
	query_start(&q, db,
	        "SELECT " JOB_COLUMNS " FROM job WHERE tenant_id = ? AND seq < ? ORDER BY seq DESC LIMIT ?");
	query_bind_text(&q, tenant_id);
	query_bind_int(&q, before);
	query_bind_int(&q, (int64_t)page->limit + 1);
	return query_list(&q, &job_record, page->limit, items, n, has_more);
}

/* Where each of them stands. */
static enum err page_places(struct db *db, const struct job *items, size_t n, struct job_place *places)
{
	struct job_walk walk = {0};
	enum err err = OK;

	for (size_t i = 0; !err && i < n; i++) {
		places[i] = (struct job_place){.position = -1};
		if (items[i].status == JOB_QUEUED)
			err = job_walk_place(db, &walk, items[i].id, &places[i]);
	}
	return err;
}

enum err store_job_list(struct store *s, const char *tenant_id, const struct page *page, struct job **items,
        struct job_place **places, size_t *n, bool *has_more)
{
	struct job_place *found = NULL;
	void *list = NULL;
	size_t len = 0;
	bool more = false;
	struct db *db;
	enum err err = readers_take(&s->readers, &db), end;

	if (err)
		return err;
	err = db_read_begin(db);
	if (!err)
		err = job_page(db, tenant_id, page, &list, &len, &more);
	if (!err && places) {
		found = mem_calloc(len, sizeof(*found));
		err = found ? page_places(db, list, len, found) : ERR_MEM;
	}
	end = db_read_end(db);
	readers_give(&s->readers, db);
	if (!err)
		err = end;
	if (err) {
		job_list_free(list, len);
		mem_free(found);
		return err;
	}
	*items = list;
	*n = len;
	if (has_more)
		*has_more = more;
	if (places)
		*places = found;
	return OK;
}
