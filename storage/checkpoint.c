/* Checkpoints: the trainer's last state, and those that can be served. */
#include "core/mem.h"
#include "storage/adapter.h"
#include "storage/handle.h"
#include "storage/job.h"

#include <string.h>

static void checkpoint_read(struct query *q, void *item)
{
	struct checkpoint *c = item;

	query_array(q, c->id, sizeof(c->id));
	query_array(q, c->job_id, sizeof(c->job_id));
	query_array(q, c->model, sizeof(c->model));
	c->created_at = query_int(q);
	c->step = query_int(q);
	c->metrics = query_text(q);
}

static void checkpoint_fini_item(void *item)
{
	struct checkpoint *c = item;

	mem_free(c->metrics);
}

static const struct record checkpoint_record = {
        sizeof(struct checkpoint), checkpoint_read, checkpoint_fini_item};

void checkpoint_list_free(struct checkpoint *items, size_t n)
{
	record_list_free(&checkpoint_record, items, n);
}

/* ---- putting ---- */

struct checkpoint_put {
	const struct checkpoint_new *in;
	char id[STORE_ID_SIZE];
	struct adapter_record adapter; /* borrows from in */
};

static enum err state_put(struct db *db, const struct checkpoint_new *in)
{
	struct query q;

	query_start(&q, db,
	        "INSERT INTO job_state (job_id, data) VALUES (?, ?)"
	        " ON CONFLICT (job_id) DO UPDATE SET data = excluded.data");
	query_bind_text(&q, in->job_id);
	query_bind_blob(&q, in->state, in->n_state);
	return query_run(&q);
}

static enum err checkpoint_insert(struct db *db, const struct checkpoint_put *p)
{
	struct query q;

	query_start(&q, db,
	        "INSERT INTO checkpoint (id, job_id, adapter_id, created_at, step, metrics)"
	        " VALUES (?, ?, ?, ?, ?, coalesce(?, '{}'))");
	query_bind_text(&q, p->id);
	query_bind_text(&q, p->in->job_id);
	query_bind_text(&q, p->adapter.id);
	query_bind_int(&q, p->adapter.created_at);
	query_bind_int(&q, p->in->step);
	query_bind_text(&q, p->in->metrics);
	return query_run(&q);
}

static enum err adapter_name_taken(struct db *db, const char *name, bool *taken)
{
	struct query q;

	query_start(&q, db, "SELECT 1 FROM adapter WHERE name = ?");
	query_bind_text(&q, name);
	*taken = query_next(&q) == OK;
	return query_end(&q);
}

static enum err write_checkpoint(struct db *db, void *arg)
{
	struct checkpoint_put *p = arg;
	struct job job = {0};
	bool taken = true;
	enum err err = job_load(db, NULL, p->in->job_id, &job);

	if (!err && job.status != JOB_RUNNING && job.status != JOB_PAUSED && job.status != JOB_QUEUED)
		err = ERR_STATE;
	if (!err)
		err = state_put(db, p->in);
	if (!err && p->in->name)
		err = adapter_name_taken(db, p->in->name, &taken);
	if (!err && !taken) {
		memcpy(p->adapter.tenant_id, job.tenant_id, sizeof(job.tenant_id));
		memcpy(p->adapter.job_id, job.id, sizeof(job.id));
		err = adapter_insert(db, &p->adapter);
		if (!err)
			err = checkpoint_insert(db, p);
	}
	job_fini(&job);
	return err;
}

enum err store_checkpoint_put(struct store *s, const struct checkpoint_new *c)
{
	struct checkpoint_put p = {.in = c, .adapter.step = c->step, .adapter.checkpoint = true};
	enum err err = random_id("ftckpt_", STORE_ID_CHARS, p.id);

	if (!err && c->name)
		err = adapter_describe(&p.adapter, c->name, c->parent, c->manifest, c->content, c->n_content);
	return err ? err : writer_call(s->writer, write_checkpoint, &p);
}

/* ---- reading ---- */

static enum err checkpoint_page(
        struct db *db, const char *job_id, const struct page *page, void **items, size_t *n, bool *has_more)
{
	struct query q;
	int64_t before;
	enum err err = page_start(
	        db, "SELECT seq FROM checkpoint WHERE id = ?1 AND job_id = ?2", job_id, page, &before);

	if (err)
		return err;
	query_start(&q, db,
	        "SELECT c.id, c.job_id, a.name, c.created_at, c.step, c.metrics"
	        " FROM checkpoint c JOIN adapter a ON a.id = c.adapter_id"
	        " WHERE c.job_id = ? AND c.seq < ? ORDER BY c.seq DESC LIMIT ?");
	query_bind_text(&q, job_id);
	query_bind_int(&q, before);
	query_bind_int(&q, (int64_t)page->limit + 1);
	return query_list(&q, &checkpoint_record, page->limit, items, n, has_more);
}

enum err store_checkpoint_list(struct store *s, const char *tenant_id, const char *job_id,
        const struct page *page, struct checkpoint **items, size_t *n, bool *has_more)
{
	struct db *db;
	void *list;
	enum err err = readers_take(&s->readers, &db);

	if (err)
		return err;
	err = job_exists(db, tenant_id, job_id);
	if (!err)
		err = checkpoint_page(db, job_id, page, &list, n, has_more);
	readers_give(&s->readers, db);
	if (!err)
		*items = list;
	return err;
}

enum err store_job_state_get(struct store *s, const char *job_id, void **data, size_t *n)
{
	struct query q;
	struct db *db;
	void *state = NULL;
	size_t size = 0;
	enum err row, err = readers_take(&s->readers, &db);

	if (err)
		return err;
	query_start(&q, db, "SELECT data FROM job_state WHERE job_id = ?");
	query_bind_text(&q, job_id);
	row = query_next(&q);
	if (row == OK)
		state = query_blob(&q, &size);
	err = query_end(&q);
	readers_give(&s->readers, db);
	if (err || row == ERR_EMPTY) {
		mem_free(state);
		return err ? err : ERR_EMPTY;
	}
	*data = state;
	*n = size;
	return OK;
}
