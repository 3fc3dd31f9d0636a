/* What is due to webhooks: written by the transaction that ends a job, kept until someone says it arrived. */
#include "core/clock.h"
#include "core/mem.h"
#include "storage/handle.h"
#include "storage/webhook.h"

#include <stdio.h>
#include <string.h>

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

struct delivery_end {
	int64_t seq, due_ms;
	const struct delivery_outcome *outcome;
};

static enum err outcome_set(struct db *db, const struct delivery_end *end)
{
	struct query q;

	query_start(&q, db,
	        "UPDATE webhook SET last_at = ?1, last_status = ?2, last_error = ?3, last_event = d.event_id"
	        " FROM (SELECT webhook_id, event_id FROM delivery WHERE seq = ?4) AS d"
	        " WHERE id = d.webhook_id");
	query_bind_int(&q, end->outcome->at);
	query_bind_int(&q, end->outcome->status);
	query_bind_text(&q, end->outcome->error);
	query_bind_int(&q, end->seq);
	return query_run(&q);
}

static enum err write_retry(struct db *db, void *arg)
{
	const struct delivery_end *end = arg;
	struct query q;
	enum err err = outcome_set(db, end);

	if (err)
		return err;
	query_start(&q, db, "UPDATE delivery SET attempts = attempts + 1, due_at = ? WHERE seq = ?");
	query_bind_int(&q, end->due_ms);
	query_bind_int(&q, end->seq);
	return query_run(&q);
}

enum err store_delivery_retry(
        struct store *s, int64_t seq, int64_t due_ms, const struct delivery_outcome *outcome)
{
	struct delivery_end end = {.seq = seq, .due_ms = due_ms, .outcome = outcome};

	return writer_call(s->writer, write_retry, &end);
}

static enum err write_drop(struct db *db, void *arg)
{
	const struct delivery_end *end = arg;
	struct query q;
	enum err err = outcome_set(db, end);

	if (err)
		return err;
	query_start(&q, db, "DELETE FROM delivery WHERE seq = ?");
	query_bind_int(&q, end->seq);
	return query_run(&q);
}

enum err store_delivery_drop(struct store *s, int64_t seq, const struct delivery_outcome *outcome)
{
	struct delivery_end end = {.seq = seq, .outcome = outcome};

	return writer_call(s->writer, write_drop, &end);
}

/* ---- tests ---- */

struct delivery_test {
	const char *tenant_id;
	struct delivery delivery;
};

/* ERR_EMPTY: none. */
static enum err test_find(struct db *db, const char *webhook_id)
{
	struct query q;
	enum err row, err;

	query_start(&q, db,
	        "SELECT 1 FROM delivery WHERE webhook_id = ? AND subject = '" STORE_TEST_SUBJECT "' LIMIT 1");
	query_bind_text(&q, webhook_id);
	row = query_next(&q);
	err = query_end(&q);
	return err ? err : row;
}

static enum err write_test(struct db *db, void *arg)
{
	struct delivery_test *t = arg;
	struct query q;
	enum err err = test_find(db, t->delivery.webhook_id);

	if (err != ERR_EMPTY)
		return err ? err : ERR_STATE;
	query_start(&q, db,
	        "INSERT INTO delivery (webhook_id, event_id, type, subject, created_at, due_at)"
	        " SELECT id, ?1, ?2, ?3, ?4, ?5 FROM webhook WHERE id = ?6 AND tenant_id = ?7");
	query_bind_text(&q, t->delivery.event_id);
	query_bind_text(&q, t->delivery.type);
	query_bind_text(&q, t->delivery.subject);
	query_bind_int(&q, t->delivery.created_at);
	query_bind_int(&q, clock_now_ms());
	query_bind_text(&q, t->delivery.webhook_id);
	query_bind_text(&q, t->tenant_id);
	err = query_run(&q);
	return !err && !db_changed(db) ? ERR_NOT_FOUND : err;
}

enum err store_delivery_test(struct store *s, const char *tenant_id, const char *webhook_id, const char *type,
        struct delivery *out)
{
	struct delivery_test t = {.tenant_id = tenant_id,
	        .delivery = {.subject = STORE_TEST_SUBJECT, .created_at = store_now()}};
	enum err err;

	if (!text_fits(webhook_id, sizeof(t.delivery.webhook_id)) ||
	        !text_fits(type, sizeof(t.delivery.type)))
		return ERR_NOT_FOUND;
	strcpy(t.delivery.webhook_id, webhook_id);
	strcpy(t.delivery.type, type);
	err = random_id("evt_", STORE_ID_CHARS, t.delivery.event_id);
	if (!err)
		err = writer_call(s->writer, write_test, &t);
	if (!err)
		*out = t.delivery;
	return err;
}
