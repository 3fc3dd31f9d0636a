/* Tenants. */
#include "core/mem.h"
#include "storage/file.h"
#include "storage/handle.h"

#include <string.h>

#define TENANT_COLUMNS                                                                                       \
	"id, name, created_at, limit_queued_jobs, limit_running_jobs, limit_file_bytes,"                     \
	" limit_requests_per_minute, limit_tokens_per_minute"

static void tenant_read(struct query *q, void *item)
{
	struct tenant *t = item;

	query_array(q, t->id, sizeof(t->id));
	query_array(q, t->name, sizeof(t->name));
	t->created_at = query_int(q);
	t->limits.queued_jobs = query_int(q);
	t->limits.running_jobs = query_int(q);
	t->limits.file_bytes = query_int(q);
	t->limits.requests_per_minute = query_int(q);
	t->limits.tokens_per_minute = query_int(q);
}

static const struct record tenant_record = {sizeof(struct tenant), tenant_read, NULL};

static bool tenant_name_valid(const char *name)
{
	return text_fits(name, STORE_NAME_SIZE) && name[0] &&
	       !name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-")];
}

static enum err write_tenant(struct db *db, void *arg)
{
	const struct tenant *t = arg;
	struct query q;

	query_start(&q, db, "INSERT INTO tenant (" TENANT_COLUMNS ") VALUES (?, ?, ?, ?, ?, ?, ?, ?)");
	query_bind_text(&q, t->id);
	query_bind_text(&q, t->name);
	query_bind_int(&q, t->created_at);
	query_bind_int(&q, t->limits.queued_jobs);
	query_bind_int(&q, t->limits.running_jobs);
	query_bind_int(&q, t->limits.file_bytes);
	query_bind_int(&q, t->limits.requests_per_minute);
	query_bind_int(&q, t->limits.tokens_per_minute);
	return query_run(&q);
}

enum err store_tenant_create(
        struct store *s, const char *name, const struct tenant_limits *limits, struct tenant *out)
{
	struct tenant t = {.created_at = store_now()};
	enum err err;

	if (!tenant_name_valid(name))
		return ERR_INVALID;
	memcpy(t.name, name, strlen(name) + 1);
	if (limits)
		t.limits = *limits;
	err = random_id("tenant-", STORE_ID_CHARS, t.id);
	if (!err)
		err = writer_call(s->writer, write_tenant, &t);
	if (!err)
		*out = t;
	return err;
}

/* Reads the one tenant q is bound for, and gives db back. */
static enum err tenant_one(struct store *s, struct db *db, struct query *q, struct tenant *out)
{
	struct tenant t = {0};
	enum err row = query_next(q), err;

	if (row == OK)
		tenant_read(q, &t);
	err = query_end(q);
	readers_give(&s->readers, db);
	if (!err && row == ERR_EMPTY)
		err = ERR_NOT_FOUND;
	if (!err)
		*out = t;
	return err;
}

enum err store_tenant_get(struct store *s, const char *id, struct tenant *out)
{
	struct query q;
	struct db *db;
	enum err err = readers_take(&s->readers, &db);

	if (err)
		return err;
	query_start(&q, db, "SELECT " TENANT_COLUMNS " FROM tenant WHERE id = ?");
	query_bind_text(&q, id);
	return tenant_one(s, db, &q, out);
}

enum err store_tenant_by_name(struct store *s, const char *name, struct tenant *out)
{
	struct query q;
	struct db *db;
	enum err err = readers_take(&s->readers, &db);

	if (err)
		return err;
	query_start(&q, db, "SELECT " TENANT_COLUMNS " FROM tenant WHERE name = ?");
	query_bind_text(&q, name);
	return tenant_one(s, db, &q, out);
}

enum err store_tenant_by_key(struct store *s, const uint8_t key_hash[HASH_BYTES], struct tenant *out)
{
	struct query q;
	struct db *db;
	enum err err = readers_take(&s->readers, &db);

	if (err)
		return err;
	query_start(&q, db,
	        "SELECT " TENANT_COLUMNS " FROM tenant"
	        " WHERE id = (SELECT tenant_id FROM api_key WHERE hash = ?)");
	query_bind_blob(&q, key_hash, HASH_BYTES);
	return tenant_one(s, db, &q, out);
}

static enum err tenant_page(struct db *db, const struct page *page, void **items, size_t *n, bool *has_more)
{
	struct query q;
	int64_t before;
	enum err err =
	        page_start(db, "SELECT seq FROM tenant WHERE id = ?1 AND ?2 IS NULL", NULL, page, &before);

	if (err)
		return err;
	query_start(&q, db, "SELECT " TENANT_COLUMNS " FROM tenant WHERE seq < ? ORDER BY seq DESC LIMIT ?");
	query_bind_int(&q, before);
	query_bind_int(&q, (int64_t)page->limit + 1);
	return query_list(&q, &tenant_record, page->limit, items, n, has_more);
}

enum err store_tenant_list(
        struct store *s, const struct page *page, struct tenant **items, size_t *n, bool *has_more)
{
	struct db *db;
	void *list;
	enum err err = readers_take(&s->readers, &db);

	if (err)
		return err;
	err = tenant_page(db, page, &list, n, has_more);
	readers_give(&s->readers, db);
	if (!err)
		*items = list;
	return err;
}

static enum err write_limits(struct db *db, void *arg)
{
	const struct tenant *t = arg;
	struct query q;
	enum err err;

	query_start(&q, db,
	        "UPDATE tenant SET limit_queued_jobs = ?, limit_running_jobs = ?, limit_file_bytes = ?,"
	        " limit_requests_per_minute = ?, limit_tokens_per_minute = ? WHERE id = ?");
	query_bind_int(&q, t->limits.queued_jobs);
	query_bind_int(&q, t->limits.running_jobs);
	query_bind_int(&q, t->limits.file_bytes);
	query_bind_int(&q, t->limits.requests_per_minute);
	query_bind_int(&q, t->limits.tokens_per_minute);
	query_bind_text(&q, t->id);
	err = query_run(&q);
	return !err && !db_changed(db) ? ERR_NOT_FOUND : err;
}

enum err store_tenant_limit(
        struct store *s, const char *id, const struct tenant_limits *limits, struct tenant *out)
{
	struct tenant t = {.limits = *limits};
	enum err err;

	if (!text_fits(id, sizeof(t.id)))
		return ERR_NOT_FOUND;
	memcpy(t.id, id, strlen(id) + 1);
	err = writer_call(s->writer, write_limits, &t);
	return err ? err : store_tenant_get(s, id, out);
}

struct tenant_delete {
	const char *id;
	struct file_id *files; /* owned */
	size_t n_files;
};

static enum err write_tenant_delete(struct db *db, void *arg)
{
	struct tenant_delete *d = arg;
	struct query q;
	enum err err = file_ids(db, d->id, &d->files, &d->n_files);

	if (err)
		return err;
	query_start(&q, db, "DELETE FROM tenant WHERE id = ?");
	query_bind_text(&q, d->id);
	err = query_run(&q);
	return !err && !db_changed(db) ? ERR_NOT_FOUND : err;
}

/* Deleted rows are overwritten with zeros (secure_delete), but at first in the log alone: nothing is left of
 * them once the log is written back and emptied. */
enum err store_tenant_delete(struct store *s, const char *id)
{
	struct tenant_delete d = {.id = id};
	enum err err = writer_call(s->writer, write_tenant_delete, &d), removed = OK;

	for (size_t i = 0; !err && i < d.n_files; i++) {
		enum err one = contents_remove(&s->contents, d.files[i].id);

		if (one)
			removed = one;
	}
	mem_free(d.files);
	if (err)
		return err;
	err = writer_empty_log(s->writer);
	return removed ? removed : err;
}
