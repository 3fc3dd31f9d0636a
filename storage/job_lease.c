/* Who runs which job: the queue, claims, leases and the progress of what runs. */
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

/* ---- the queue ---- */

/* A queued job among its tenant's, as far as it tells when its turn is. */
struct turn {
	int64_t seq, n_running, n_queued, newer;
	int64_t work, left;    /* tokens: its own in all, and what is left of them */
	int64_t queued_tokens; /* left of its tenant's queued jobs */
	char tenant_id[STORE_ID_SIZE];
};

/* Jobs that came after it are counted up to here, for most who ask have just come; beyond, those before. */
#define NEWER_MAX 200
/* So many jobs before it are looked at, each; of more, their mean. */
#define EXACT_MAX 32
#define STRING(x) #x
#define NUMBER(x) STRING(x)

/* ERR_EMPTY: it is not queued. */
static enum err turn_find(struct db *db, const char *id, struct turn *t)
{
	struct query q;
	enum err row, err;

	query_start(&q, db,
	        "SELECT j.seq, j.tenant_id, t.n_running, t.n_queued, (SELECT count(*) FROM (SELECT 1 FROM "
	        "job o"
	        "  WHERE o.tenant_id = j.tenant_id AND o.status = 'queued' AND o.seq > j.seq"
	        "  LIMIT " NUMBER(NEWER_MAX) ")), j.work_tokens, max(j.work_tokens - j.trained_tokens, 0),"
	                                     " t.queued_tokens"
	                                     " FROM job j JOIN tenant t ON t.id = j.tenant_id WHERE j.id = ? "
	                                     "AND j.status = 'queued'");
	query_bind_text(&q, id);
	row = query_next(&q);
	if (row == OK) {
		t->seq = query_int(&q);
		query_array(&q, t->tenant_id, sizeof(t->tenant_id));
		t->n_running = query_int(&q);
		t->n_queued = query_int(&q);
		t->newer = query_int(&q);
		t->work = query_int(&q);
		t->left = query_int(&q);
		t->queued_tokens = query_int(&q);
	}
	err = query_end(&q);
	return err ? err : row;
}

/* Queued jobs of its tenant that are older. */
static enum err turn_older(struct db *db, const struct turn *t, int64_t *older)
{
	struct query q;

	if (t->newer < NEWER_MAX) {
		*older = t->n_queued - 1 - t->newer;
		return OK;
	}
	query_start(&q, db, "SELECT count(*) FROM job WHERE tenant_id = ? AND status = 'queued' AND seq < ?");
	query_bind_text(&q, t->tenant_id);
	query_bind_int(&q, t->seq);
	if (query_next(&q) == OK)
		*older = query_int(&q);
	return query_end(&q);
}

/* What is left of n jobs out of n_queued that have queued_tokens left, if they are alike. */
static int64_t share(int64_t queued_tokens, int64_t n, int64_t n_queued)
{
	return n_queued > 0 ? (int64_t)((double)queued_tokens * (double)n / (double)n_queued) : 0;
}

/* What is left of those older ones. */
static enum err turn_older_tokens(struct db *db, const struct turn *t, int64_t older, int64_t *tokens)
{
	struct query q;

	if (older > EXACT_MAX) {
		*tokens = share(t->queued_tokens, older, t->n_queued);
		return OK;
	}
	query_start(&q, db,
	        "SELECT coalesce(sum(max(work_tokens - trained_tokens, 0)), 0) FROM job"
	        " WHERE tenant_id = ? AND status = 'queued' AND seq < ?");
	query_bind_text(&q, t->tenant_id);
	query_bind_int(&q, t->seq);
	if (query_next(&q) == OK)
		*tokens = query_int(&q);
	return query_end(&q);
}

/* Of other tenants, the jobs of an earlier turn, and the older one of the same: added to out. */
static enum err turn_others(struct db *db, const struct turn *t, int64_t turn, struct job_place *out)
{
	struct query q;

	query_start(&q, db,
	        "SELECT min(max(?1 - t.n_running, 0), t.n_queued)"
	        "  + iif(?1 - t.n_running BETWEEN 0 AND t.n_queued - 1, (SELECT count(*) FROM job o"
	        "   WHERE o.tenant_id = t.id AND o.status = 'queued' AND o.seq < ?2) > ?1 - t.n_running, 0),"
	        " t.n_queued, t.queued_tokens"
	        " FROM tenant t WHERE t.n_queued > 0 AND t.id <> ?3");
	query_bind_int(&q, turn);
	query_bind_int(&q, t->seq);
	query_bind_text(&q, t->tenant_id);
	while (query_next(&q) == OK) {
		int64_t n = query_int(&q), n_queued = query_int(&q);

		out->position += n;
		out->tokens_left += share(query_int(&q), n, n_queued);
	}
	return query_end(&q);
}

/* What runs: what is left of it, if the steps to come are like those done, and how fast it goes. */
static enum err running_add(struct db *db, struct job_place *out)
{
	struct query q;

	query_start(&q, db,
	        "SELECT coalesce(sum(iif(step > 0, trained_tokens * max(total_steps - step, 0) / step,"
	        "  max(work_tokens - trained_tokens, 0))), 0), coalesce(sum(tokens_per_second), 0.0)"
	        " FROM job WHERE status = 'running'");
	if (query_next(&q) == OK) {
		out->tokens_left += query_int(&q);
		out->tokens_per_second = query_real(&q);
	}
	return query_end(&q);
}

/* A tenant's k-th queued job is claimed when the tenant runs n_running + k others: that is its turn. Jobs are
 * claimed by turn, then age (see claim_pick), so before a job come those of an earlier turn, and the older
 * ones of its own. In plain steps: one statement would have to keep tables of its own, at many times the
 * cost. */
enum err job_place_find(struct db *db, const char *id, struct job_place *out)
{
	struct turn t;
	int64_t older = 0, older_tokens = 0;
	enum err err = turn_find(db, id, &t);

	if (err)
		return err;
	err = turn_older(db, &t, &older);
	if (!err)
		err = turn_older_tokens(db, &t, older, &older_tokens);
	out->position = older;
	out->tokens_left = t.left + older_tokens;
	if (!err)
		err = turn_others(db, &t, t.n_running + older, out);
	if (!err)
		err = running_add(db, out);
	if (!t.work)
		out->tokens_left = 0;
	return err;
}

enum err store_job_place(struct store *s, const char *id, struct job_place *out)
{
	struct job_place place = {0};
	enum err err, end;
	struct db *db;

	err = readers_take(&s->readers, &db);
	if (err)
		return err;
	err = db_read_begin(db);
	if (!err) {
		err = job_place_find(db, id, &place);
		end = db_read_end(db);
		if (end)
			err = end;
	}
	readers_give(&s->readers, db);
	if (err == ERR_EMPTY) {
		place = (struct job_place){.position = -1};
		err = OK;
	}
	if (!err)
		*out = place;
	return err;
}

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
