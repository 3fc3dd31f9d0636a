/* Events of jobs. Their id is made of seq, which is never used twice: no column and no index for it. */
#include "storage/event.h"

#include "core/mem.h"
#include "storage/handle.h"
#include "storage/job.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define EVENT_COLUMNS "printf('ftevent-%024d', seq), seq, created_at, level, type, message, data"

static void event_read(struct query *q, void *item)
{
	struct event *e = item;

	query_array(q, e->id, sizeof(e->id));
	e->seq = query_int(q);
	e->created_at = query_int(q);
	query_array(q, e->level, sizeof(e->level));
	query_array(q, e->type, sizeof(e->type));
	e->message = query_text(q);
	e->data = query_text(q);
}

static void event_fini_item(void *item)
{
	struct event *e = item;

	mem_free(e->message);
	mem_free(e->data);
}

static const struct record event_record = {sizeof(struct event), event_read, event_fini_item};

void event_list_free(struct event *items, size_t n)
{
	record_list_free(&event_record, items, n);
}

enum err event_insert(struct db *db, const char *job_id, const struct event_new *e)
{
	struct query q;

	query_start(&q, db,
	        "INSERT OR IGNORE INTO event (job, once_key, created_at, level, type, message, data)"
	        " SELECT seq, nullif(?2, 0), ?3, ?4, ?5, ?6, ?7 FROM job WHERE id = ?1");
	query_bind_text(&q, job_id);
	query_bind_int(&q, e->once_key);
	query_bind_int(&q, store_now());
	query_bind_text(&q, e->level);
	query_bind_text(&q, e->type);
	query_bind_text(&q, e->message);
	query_bind_text(&q, e->data);
	return query_run(&q);
}

enum err event_say(struct db *db, const char *job_id, const char *fmt, ...)
{
	char message[512];
	va_list args;

	va_start(args, fmt);
	vsnprintf(message, sizeof(message), fmt, args);
	va_end(args);
	return event_insert(
	        db, job_id, &(struct event_new){.level = "info", .type = "message", .message = message});
}

/* ---- later ---- */

struct event_write {
	struct write write; /* first: the writer frees it by this */
	char job_id[STORE_ID_SIZE];
	char level[sizeof(((struct event *)0)->level)];
	char type[sizeof(((struct event *)0)->type)];
	struct event_new event; /* points into this struct */
	char text[];            /* message, data */
};

static enum err write_event(struct db *db, void *arg)
{
	const struct event_write *w = arg;

	return event_insert(db, w->job_id, &w->event);
}

enum err store_event_later(struct store *s, const char *job_id, const struct event_new *e)
{
	size_t n_message = strlen(e->message) + 1, n_data = e->data ? strlen(e->data) + 1 : 0;
	struct event_write *w;

	if (!text_fits(job_id, sizeof(w->job_id)) || !text_fits(e->level, sizeof(w->level)) ||
	        !text_fits(e->type, sizeof(w->type)))
		return ERR_INVALID;
	w = mem_calloc(1, sizeof(*w) + n_message + n_data);
	if (!w)
		return ERR_MEM;
	memcpy(w->job_id, job_id, strlen(job_id) + 1);
	memcpy(w->level, e->level, strlen(e->level) + 1);
	memcpy(w->type, e->type, strlen(e->type) + 1);
	memcpy(w->text, e->message, n_message);
	w->event = (struct event_new){
	        .level = w->level, .type = w->type, .message = w->text, .once_key = e->once_key};
	if (e->data)
		w->event.data = memcpy(w->text + n_message, e->data, n_data);
	writer_later(s->writer, &w->write, write_event);
	return OK;
}

/* ---- reading ---- */

static enum err event_page(
        struct db *db, const char *job_id, const struct page *page, void **items, size_t *n, bool *has_more)
{
	struct query q;
	int64_t before;
	enum err err = page_start(db,
	        "SELECT e.seq FROM event e JOIN job j ON j.seq = e.job"
	        " WHERE e.seq = CAST(substr(?1, 9) AS INTEGER) AND printf('ftevent-%024d', e.seq) = ?1"
	        " AND j.id = ?2",
	        job_id, page, &before);

	if (err)
		return err;
	query_start(&q, db,
	        "SELECT " EVENT_COLUMNS " FROM event"
	        " WHERE job = (SELECT seq FROM job WHERE id = ?1) AND seq < ?2 ORDER BY seq DESC LIMIT ?3");
	query_bind_text(&q, job_id);
	query_bind_int(&q, before);
	query_bind_int(&q, (int64_t)page->limit + 1);
	return query_list(&q, &event_record, page->limit, items, n, has_more);
}

enum err store_event_list(struct store *s, const char *tenant_id, const char *job_id, const struct page *page,
        struct event **items, size_t *n, bool *has_more)
{
	struct db *db;
	void *list;
	enum err err = readers_take(&s->readers, &db);

	if (err)
		return err;
	err = job_exists(db, tenant_id, job_id);
	if (!err)
		err = event_page(db, job_id, page, &list, n, has_more);
	readers_give(&s->readers, db);
	if (!err)
		*items = list;
	return err;
}

enum err store_event_since(
        struct store *s, const char *job_id, int64_t after_seq, size_t limit, struct event **items, size_t *n)
{
	struct query q;
	struct db *db;
	void *list;
	enum err err = limit ? readers_take(&s->readers, &db) : ERR_INVALID;

	if (err)
		return err;
	query_start(&q, db,
	        "SELECT " EVENT_COLUMNS " FROM event"
	        " WHERE job = (SELECT seq FROM job WHERE id = ?1) AND seq > ?2 ORDER BY seq LIMIT ?3");
	query_bind_text(&q, job_id);
	query_bind_int(&q, after_seq);
	query_bind_int(&q, limit < INT64_MAX ? (int64_t)limit : INT64_MAX);
	err = query_list(&q, &event_record, limit, &list, n, NULL);
	readers_give(&s->readers, db);
	if (!err)
		*items = list;
	return err;
}
