/*
 * Where a queued job stands. A tenant's k-th queued job is claimed when the tenant runs n_running + k others:
 * that is its turn. Jobs are claimed by turn, then age (see claim_pick in job_lease.c), so before a job come
 * those of an earlier turn, and the older ones of its own. In plain steps: one statement would have to keep
 * tables of its own, at many times the cost.
 */
#include "storage/handle.h"
#include "storage/job.h"

/* A queued job among its tenant's, as far as it tells when its turn is. */
struct turn {
	int64_t seq, n_running, n_queued, newer;
	int64_t work, left;    /* tokens: its own in all, and what is left of them */
	int64_t queued_tokens; /* left of its tenant's queued jobs */
	char tenant_id[STORE_ID_SIZE];
};

/* Jobs that came after it are counted up to here, for most who ask have just come; beyond, those before. */
#define NEWER_MAX 200
/* So many of its tenant's jobs before it are looked at, each, and as many of all the others'; of more, their
 * mean. */
#define EXACT_MAX 32

/* Jobs newer than it are counted up to max_newer. ERR_EMPTY: it is not queued. */
static enum err turn_find(struct db *db, const char *id, int64_t max_newer, struct turn *t)
{
	struct query q;
	enum err row, err;

	query_start(&q, db,
	        "SELECT j.seq, j.tenant_id, t.n_running, t.n_queued,"
	        " (SELECT count(*) FROM (SELECT 1 FROM job o"
	        "  WHERE o.tenant_id = j.tenant_id AND o.status = 'queued' AND o.seq > j.seq LIMIT ?2)),"
	        " j.work_tokens, max(j.work_tokens - j.trained_tokens, 0), t.queued_tokens"
	        " FROM job j JOIN tenant t ON t.id = j.tenant_id WHERE j.id = ?1 AND j.status = 'queued'");
	query_bind_text(&q, id);
	query_bind_int(&q, max_newer);
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

/* What is left of a tenant's n oldest queued jobs, added to *tokens. */
static enum err oldest_add(struct db *db, const char *tenant_id, int64_t n, int64_t *tokens)
{
	struct query q;

	query_start(&q, db,
	        "SELECT coalesce(sum(tokens), 0) FROM (SELECT max(work_tokens - trained_tokens, 0) AS tokens"
	        " FROM job WHERE tenant_id = ? AND status = 'queued' ORDER BY seq LIMIT ?)");
	query_bind_text(&q, tenant_id);
	query_bind_int(&q, n);
	if (query_next(&q) == OK)
		*tokens += query_int(&q);
	return query_end(&q);
}

/* Of other tenants, the jobs of an earlier turn, and the older one of the same: added to out. */
static enum err turn_others(struct db *db, const struct turn *t, int64_t turn, struct job_place *out)
{
	int64_t looks = EXACT_MAX;
	enum err err = OK, end;
	struct query q;

	query_start(&q, db,
	        "SELECT min(max(?1 - t.n_running, 0), t.n_queued)"
	        "  + iif(?1 - t.n_running BETWEEN 0 AND t.n_queued - 1, (SELECT count(*) FROM job o"
	        "   WHERE o.tenant_id = t.id AND o.status = 'queued' AND o.seq < ?2) > ?1 - t.n_running, 0),"
	        " t.n_queued, t.queued_tokens, t.id"
	        " FROM tenant t WHERE t.n_queued > 0 AND t.id <> ?3");
	query_bind_int(&q, turn);
	query_bind_int(&q, t->seq);
	query_bind_text(&q, t->tenant_id);
	while (!err && query_next(&q) == OK) {
		int64_t n = query_int(&q), n_queued = query_int(&q), queued_tokens = query_int(&q);
		char tenant_id[STORE_ID_SIZE];

		query_array(&q, tenant_id, sizeof(tenant_id));
		out->position += n;
		if (n < n_queued && n <= looks) {
			looks -= n;
			err = n ? oldest_add(db, tenant_id, n, &out->tokens_left) : OK;
		} else {
			out->tokens_left += share(queued_tokens, n, n_queued);
		}
	}
	end = query_end(&q);
	return err ? err : end;
}

/* To out, what runs: what is left of it, if the steps to come are like those done, and how fast it goes. */
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

enum err job_walk_place(struct db *db, struct job_walk *w, const char *id, struct job_place *out)
{
	struct job_place place;
	struct turn t;
	int64_t older_tokens = 0;
	enum err err = turn_find(db, id, w->begun ? 0 : NEWER_MAX, &t);

	if (err)
		return err;
	if (w->begun)
		w->older--;
	else
		err = turn_older(db, &t, &w->older);
	if (!err && !w->begun)
		err = running_add(db, &w->running);
	if (!err)
		err = turn_older_tokens(db, &t, w->older, &older_tokens);
	if (err)
		return err;
	w->begun = true;
	place = w->running;
	place.position += w->older;
	place.tokens_left += t.left + older_tokens;
	err = turn_others(db, &t, t.n_running + w->older, &place);
	if (!t.work)
		place.tokens_left = 0;
	if (!err)
		*out = place;
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
		err = job_walk_place(db, &(struct job_walk){0}, id, &place);
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
