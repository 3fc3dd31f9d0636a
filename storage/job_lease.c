/* Who runs which job: claims, leases and the progress of what runs. Where it stands before is in job_place.c.
 */
#include "core/clock.h"
#include "core/mem.h"
#include "storage/event.h"
#include "storage/handle.h"
#include "storage/job.h"

#include <string.h>

struct job_id {
	char id[STORE_ID_SIZE];
};

static void job_id_read(struct query *q, void *item)
{
	struct job_id *j = item;

	query_array(q, j->id, sizeof(j->id));
}

static const struct record job_id_record = {sizeof(struct job_id), job_id_read, NULL};

/* ---- claims ---- */

struct job_claim {
	const char *owner;
	int64_t lease_until, max_running;
	struct job job; /* owned */
};

/* ERR_EMPTY: nothing is queued of a tenant that may run one more. */
static enum err claim_pick(struct db *db, int64_t max_running, char id[STORE_ID_SIZE])
{
	struct query q;
	enum err row, err;

	query_start(&q, db,
	        "SELECT j.id FROM tenant t JOIN job j ON j.seq ="
	        " (SELECT min(o.seq) FROM job o WHERE o.tenant_id = t.id AND o.status = 'queued')"
	        " WHERE t.n_queued > 0 AND (iif(t.limit_running_jobs = 0, ?1, t.limit_running_jobs) <= 0"
	        "  OR t.n_running < iif(t.limit_running_jobs = 0, ?1, t.limit_running_jobs))"
	        " ORDER BY t.n_running, j.seq LIMIT 1");
	query_bind_int(&q, max_running);
	row = query_next(&q);
	if (row == OK)
		query_array(&q, id, STORE_ID_SIZE);
	err = query_end(&q);
	return err ? err : row;
}

static enum err lease_set(struct db *db, const char *id, const char *owner, int64_t until)
{
	struct query q;

	query_start(&q, db, "UPDATE job SET lease_owner = ?2, lease_until = ?3 WHERE id = ?1");
	query_bind_text(&q, id);
	query_bind_text(&q, owner);
	query_bind_int(&q, until);
	return query_run(&q);
}

static enum err write_claim(struct db *db, void *arg)
{
	struct job_claim *c = arg;
	struct job_transition t = {.to = JOB_RUNNING};
	struct job before = {0};
	char id[STORE_ID_SIZE];
	enum err err = claim_pick(db, c->max_running, id);

	if (err)
		return err;
	err = job_load(db, NULL, id, &before);
	if (before.started_at)
		t.event = "Fine-tuning job goes on";
	if (!err)
		err = job_move(db, &before, &t);
	job_fini(&before);
	if (!err)
		err = lease_set(db, id, c->owner, c->lease_until);
	return err ? err : job_load(db, NULL, id, &c->job);
}

enum err store_job_claim(
        struct store *s, const char *owner, int64_t lease_ms, int64_t max_running_per_tenant, struct job *out)
{
	struct job_claim c = {.owner = owner,
	        .lease_until = clock_now_ms() + lease_ms,
	        .max_running = max_running_per_tenant};
	enum err err = writer_call(s->writer, write_claim, &c);

	if (err)
		job_fini(&c.job);
	else
		*out = c.job;
	return err;
}

/* ---- leases ---- */

struct job_renew {
	struct write write; /* first: the writer frees it by this */
	int64_t lease_until;
	char owner[];
};

static enum err write_renew(struct db *db, void *arg)
{
	const struct job_renew *r = arg;
	struct query q;

	query_start(&q, db, "UPDATE job SET lease_until = ? WHERE status = 'running' AND lease_owner = ?");
	query_bind_int(&q, r->lease_until);
	query_bind_text(&q, r->owner);
	return query_run(&q);
}

void store_job_renew_later(struct store *s, const char *owner, int64_t lease_ms)
{
	size_t n = strlen(owner) + 1;
	struct job_renew *r = mem_calloc(1, sizeof(*r) + n);

	if (!r) {
		writer_note(s->writer, ERR_MEM);
		return;
	}
	r->lease_until = clock_now_ms() + lease_ms;
	memcpy(r->owner, owner, n);
	writer_later(s->writer, &r->write, write_renew);
}

struct job_recover {
	int64_t expired_at; /* leases until then are over */
	size_t n;
};

static enum err requeue(struct db *db, const char *id)
{
	struct job job = {0};
	enum err err = job_load(db, NULL, id, &job);

	if (!err)
		err = job_move(db, &job, &(struct job_transition){.to = JOB_QUEUED});
	job_fini(&job);
	return err;
}

static enum err write_recover(struct db *db, void *arg)
{
	struct job_recover *r = arg;
	struct query q;
	void *items;
	size_t n;
	enum err err;

	query_start(&q, db, "SELECT id FROM job WHERE status = 'running' AND lease_until <= ? ORDER BY seq");
	query_bind_int(&q, r->expired_at);
	err = query_list(&q, &job_id_record, SIZE_MAX, &items, &n, NULL);
	if (err)
		return err;
	for (size_t i = 0; !err && i < n; i++)
		err = requeue(db, ((struct job_id *)items)[i].id);
	mem_free(items);
	r->n = n;
	return err;
}

enum err store_job_recover(struct store *s, bool all, size_t *n)
{
	struct job_recover r = {.expired_at = all ? INT64_MAX : clock_now_ms()};
	enum err err = writer_call(s->writer, write_recover, &r);

	if (!err && n)
		*n = r.n;
	return err;
}

/* ---- progress ---- */

struct job_report {
	struct write write; /* first: the writer frees it by this */
	char id[STORE_ID_SIZE];
	struct job_progress progress;
};

static enum err write_progress(struct db *db, void *arg)
{
	const struct job_report *r = arg;
	struct query q;

	query_start(&q, db,
	        "UPDATE job SET step = ?2, total_steps = ?3, trained_tokens = ?4, epoch = ?5,"
	        " tokens_per_second = ?6 WHERE id = ?1 AND status = 'running'");
	query_bind_text(&q, r->id);
	query_bind_int(&q, r->progress.step);
	query_bind_int(&q, r->progress.total_steps);
	query_bind_int(&q, r->progress.trained_tokens);
	query_bind_real(&q, r->progress.epoch);
	query_bind_real(&q, r->progress.tokens_per_second);
	return query_run(&q);
}

void store_job_progress_later(struct store *s, const char *id, const struct job_progress *p)
{
	struct job_report *r;

	if (!text_fits(id, sizeof(r->id)))
		return; /* no job has such an id */
	r = mem_calloc(1, sizeof(*r));
	if (!r) {
		writer_note(s->writer, ERR_MEM);
		return;
	}
	memcpy(r->id, id, strlen(id) + 1);
	r->progress = *p;
	writer_later(s->writer, &r->write, write_progress);
}
