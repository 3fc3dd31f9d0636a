/* What is due to webhooks: written by the transaction that ends a job, kept until someone says it arrived. */
#include "core/clock.h"
#include "core/mem.h"
#include "storage/handle.h"
#include "storage/webhook.h"

#include <stdio.h>

enum err delivery_insert(struct db *db, const struct job *job, enum job_status ended)
{
	char event_id[STORE_ID_SIZE], type[STORE_EVENT_TYPE_SIZE];
	struct query q;
	enum err err = random_id("evt_", STORE_ID_CHARS, event_id);

	if (err)
		return err;
	snprintf(type, sizeof(type), "fine_tuning.job.%s", job_status_name(ended));
	query_start(&q, db,
	        "INSERT INTO delivery (webhook_id, event_id, type, subject, created_at, due_at)"
	        " SELECT id, ?1, ?2, ?3, ?4, ?5 FROM webhook"
	        " WHERE tenant_id = ?6 AND instr(event_types, ' ' || ?2 || ' ') ORDER BY seq");
	query_bind_text(&q, event_id);
	query_bind_text(&q, type);
	query_bind_text(&q, job->id);
	query_bind_int(&q, store_now());
	query_bind_int(&q, clock_now_ms());
	query_bind_text(&q, job->tenant_id);
	return query_run(&q);
}

static void delivery_read(struct query *q, void *item)
{
	struct delivery *d = item;

	d->seq = query_int(q);
	query_array(q, d->webhook_id, sizeof(d->webhook_id));
	query_array(q, d->event_id, sizeof(d->event_id));
	query_array(q, d->type, sizeof(d->type));
	query_array(q, d->subject, sizeof(d->subject));
	d->created_at = query_int(q);
	d->attempts = query_int(q);
}

static const struct record delivery_record = {sizeof(struct delivery), delivery_read, NULL};

static enum err due_next(struct db *db, int64_t now_ms, int64_t *next_ms)
{
	struct query q;
	int64_t next = INT64_MAX;
	enum err err;

	query_start(&q, db,
	        "SELECT due FROM (SELECT (SELECT min(due_at) FROM delivery"
	        " WHERE webhook_id = webhook.id AND due_at > ?) AS due FROM webhook)"
	        " WHERE due IS NOT NULL ORDER BY due LIMIT 1");
	query_bind_int(&q, now_ms);
	if (query_next(&q) == OK)
		next = query_int(&q);
	err = query_end(&q);
	if (!err)
		*next_ms = next;
	return err;
}

static enum err due_list(struct db *db, int64_t now_ms, size_t limit, void **items, size_t *n)
{
	struct query q;

	query_start(&q, db,
	        "SELECT d.seq, d.webhook_id, event_id, type, subject, d.created_at, attempts"
	        " FROM webhook JOIN delivery d ON d.seq = (SELECT seq FROM delivery"
	        "  WHERE webhook_id = webhook.id AND due_at <= ? ORDER BY due_at LIMIT 1)"
	        " ORDER BY due_at LIMIT ?");
	query_bind_int(&q, now_ms);
	query_bind_int(&q, (int64_t)limit);
	return query_list(&q, &delivery_record, limit, items, n, NULL);
}

enum err store_delivery_due(
        struct store *s, int64_t now_ms, size_t limit, struct delivery **items, size_t *n, int64_t *next_ms)
{
	struct db *db;
	void *list = NULL;
	enum err err = readers_take(&s->readers, &db);

	if (err)
		return err;
	err = due_next(db, now_ms, next_ms);
	if (!err)
		err = due_list(db, now_ms, limit, &list, n);
	readers_give(&s->readers, db);
	if (!err)
		*items = list;
	return err;
}

struct delivery_retry {
	int64_t seq, due_ms;
};

static enum err write_retry(struct db *db, void *arg)
{
	const struct delivery_retry *r = arg;
	struct query q;

	query_start(&q, db, "UPDATE delivery SET attempts = attempts + 1, due_at = ? WHERE seq = ?");
	query_bind_int(&q, r->due_ms);
	query_bind_int(&q, r->seq);
	return query_run(&q);
}

enum err store_delivery_retry(struct store *s, int64_t seq, int64_t due_ms)
{
	struct delivery_retry r = {seq, due_ms};

	return writer_call(s->writer, write_retry, &r);
}

static enum err write_drop(struct db *db, void *arg)
{
	const int64_t *seq = arg;
	struct query q;

	query_start(&q, db, "DELETE FROM delivery WHERE seq = ?");
	query_bind_int(&q, *seq);
	return query_run(&q);
}

enum err store_delivery_drop(struct store *s, int64_t seq)
{
	return writer_call(s->writer, write_drop, &seq);
}
