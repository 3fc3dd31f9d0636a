/* Webhooks, each a place that a tenant wants its events sent to. What is due to them: delivery.c. */
#include "core/mem.h"
#include "storage/handle.h"

#include <string.h>

#define WEBHOOK_COLUMNS                                                                                      \
	"id, tenant_id, secret, old_secret, old_until, created_at, updated_at, name, url, event_types,"      \
	" last_event, last_at, last_status, last_error"

static void webhook_read(struct query *q, void *item)
{
	struct webhook *w = item;

	query_array(q, w->id, sizeof(w->id));
	query_array(q, w->tenant_id, sizeof(w->tenant_id));
	query_array(q, w->secret, sizeof(w->secret));
	query_array(q, w->old_secret, sizeof(w->old_secret));
	w->old_until = query_int(q);
	w->created_at = query_int(q);
	w->updated_at = query_int(q);
	w->name = query_text(q);
	w->url = query_text(q);
	w->event_types = query_text(q);
	query_array(q, w->last_event, sizeof(w->last_event));
	w->last.at = query_int(q);
	w->last.status = query_int(q);
	query_array(q, w->last.error, sizeof(w->last.error));
}

void webhook_fini(struct webhook *w)
{
	mem_free(w->name);
	mem_free(w->url);
	mem_free(w->event_types);
	*w = (struct webhook){0};
}

static void webhook_fini_item(void *item)
{
	webhook_fini(item);
}

static const struct record webhook_record = {sizeof(struct webhook), webhook_read, webhook_fini_item};

void webhook_list_free(struct webhook *items, size_t n)
{
	record_list_free(&webhook_record, items, n);
}

/* The one q is bound for; gives db back. */
static enum err webhook_one(struct store *s, struct db *db, struct query *q, struct webhook *out)
{
	struct webhook w = {0};
	enum err row = query_next(q), err;

	if (row == OK)
		webhook_read(q, &w);
	err = query_end(q);
	readers_give(&s->readers, db);
	if (!err && row == ERR_EMPTY)
		err = ERR_NOT_FOUND;
	if (err)
		webhook_fini(&w);
	else
		*out = w;
	return err;
}

enum err store_webhook_get(struct store *s, const char *tenant_id, const char *id, struct webhook *out)
{
	struct query q;
	struct db *db;
	enum err err = readers_take(&s->readers, &db);

	if (err)
		return err;
	query_start(&q, db, "SELECT " WEBHOOK_COLUMNS " FROM webhook WHERE id = ? AND tenant_id = ?");
	query_bind_text(&q, id);
	query_bind_text(&q, tenant_id);
	return webhook_one(s, db, &q, out);
}

enum err store_delivery_webhook(struct store *s, const char *webhook_id, struct webhook *out)
{
	struct query q;
	struct db *db;
	enum err err = readers_take(&s->readers, &db);

	if (err)
		return err;
	query_start(&q, db, "SELECT " WEBHOOK_COLUMNS " FROM webhook WHERE id = ?");
	query_bind_text(&q, webhook_id);
	return webhook_one(s, db, &q, out);
}

struct webhook_create {
	const struct webhook *in;
	size_t max;
	char id[STORE_ID_SIZE];
};

static enum err write_webhook(struct db *db, void *arg)
{
	struct webhook_create *c = arg;
	struct query q;
	enum err err;

	query_start(&q, db,
	        "INSERT INTO webhook (id, tenant_id, name, url, event_types, secret, created_at, updated_at)"
	        " SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7"
	        " WHERE (SELECT count(*) FROM webhook WHERE tenant_id = ?2) < ?8");
	query_bind_text(&q, c->id);
	query_bind_text(&q, c->in->tenant_id);
	query_bind_text(&q, c->in->name);
	query_bind_text(&q, c->in->url);
	query_bind_text(&q, c->in->event_types);
	query_bind_text(&q, c->in->secret);
	query_bind_int(&q, store_now());
	query_bind_int(&q, (int64_t)c->max);
	err = query_run(&q);
	return !err && !db_changed(db) ? ERR_LIMIT : err;
}

enum err store_webhook_create(struct store *s, const struct webhook *in, size_t max, struct webhook *out)
{
	struct webhook_create c = {.in = in, .max = max};
	enum err err = random_id("we_", STORE_ID_CHARS, c.id);

	if (!err)
		err = writer_call(s->writer, write_webhook, &c);
	return err ? err : store_webhook_get(s, in->tenant_id, c.id, out);
}

static enum err webhook_page(struct db *db, const char *tenant_id, const struct page *page, void **items,
        size_t *n, bool *has_more)
{
	struct query q;
	int64_t before;
	enum err err = page_start(
	        db, "SELECT seq FROM webhook WHERE id = ?1 AND tenant_id = ?2", tenant_id, page, &before);

	if (err)
		return err;
	query_start(&q, db,
	        "SELECT " WEBHOOK_COLUMNS
	        " FROM webhook WHERE tenant_id = ? AND seq < ? ORDER BY seq DESC LIMIT ?");
	query_bind_text(&q, tenant_id);
	query_bind_int(&q, before);
	query_bind_int(&q, (int64_t)page->limit + 1);
	return query_list(&q, &webhook_record, page->limit, items, n, has_more);
}

enum err store_webhook_list(struct store *s, const char *tenant_id, const struct page *page,
        struct webhook **items, size_t *n, bool *has_more)
{
	struct db *db;
	void *list;
	enum err err = readers_take(&s->readers, &db);

	if (err)
		return err;
	err = webhook_page(db, tenant_id, page, &list, n, has_more);
	readers_give(&s->readers, db);
	if (!err)
		*items = list;
	return err;
}

static enum err write_webhook_update(struct db *db, void *arg)
{
	const struct webhook *w = arg;
	struct query q;
	enum err err;

	query_start(&q, db,
	        "UPDATE webhook SET name = ?, url = ?, event_types = ?, secret = ?, old_secret = ?,"
	        " old_until = ?, updated_at = ? WHERE id = ? AND tenant_id = ?");
	query_bind_text(&q, w->name);
	query_bind_text(&q, w->url);
	query_bind_text(&q, w->event_types);
	query_bind_text(&q, w->secret);
	query_bind_text(&q, w->old_secret);
	query_bind_int(&q, w->old_until);
	query_bind_int(&q, store_now());
	query_bind_text(&q, w->id);
	query_bind_text(&q, w->tenant_id);
	err = query_run(&q);
	return !err && !db_changed(db) ? ERR_NOT_FOUND : err;
}

enum err store_webhook_update(struct store *s, const struct webhook *in, struct webhook *out)
{
	struct webhook w = *in; /* borrows its strings */
	enum err err = writer_call(s->writer, write_webhook_update, &w);

	return err ? err : store_webhook_get(s, in->tenant_id, in->id, out);
}

struct webhook_delete {
	const char *tenant_id, *id;
};

static enum err write_webhook_delete(struct db *db, void *arg)
{
	const struct webhook_delete *d = arg;
	struct query q;
	enum err err;

	query_start(&q, db, "DELETE FROM webhook WHERE id = ? AND tenant_id = ?");
	query_bind_text(&q, d->id);
	query_bind_text(&q, d->tenant_id);
	err = query_run(&q);
	return !err && !db_changed(db) ? ERR_NOT_FOUND : err;
}

enum err store_webhook_delete(struct store *s, const char *tenant_id, const char *id)
{
	struct webhook_delete d = {tenant_id, id};

	return writer_call(s->writer, write_webhook_delete, &d);
}
