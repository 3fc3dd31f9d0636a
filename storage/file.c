/* Files: rows here, contents in contents.c. A content is there before its row and goes after it. */
#include "storage/file.h"

#include "core/hash.h"
#include "core/mem.h"
#include "storage/handle.h"

#include <string.h>
#include <unistd.h>

#define FILE_COLUMNS "id, tenant_id, bytes, created_at, expires_at, filename, purpose, sha256"

void file_fini(struct file *f)
{
	mem_free(f->filename);
	mem_free(f->purpose);
	*f = (struct file){0};
}

static void file_fini_item(void *item)
{
	file_fini(item);
}

static void file_read(struct query *q, void *item)
{
	struct file *f = item;

	query_array(q, f->id, sizeof(f->id));
	query_array(q, f->tenant_id, sizeof(f->tenant_id));
	f->bytes = query_int(q);
	f->created_at = query_int(q);
	f->expires_at = query_int(q);
	f->filename = query_text(q);
	f->purpose = query_text(q);
	query_array(q, f->sha256, sizeof(f->sha256));
}

static const struct record file_record = {sizeof(struct file), file_read, file_fini_item};

void file_list_free(struct file *items, size_t n)
{
	record_list_free(&file_record, items, n);
}

static void file_id_read(struct query *q, void *item)
{
	struct file_id *f = item;

	query_array(q, f->id, sizeof(f->id));
}

static const struct record file_id_record = {sizeof(struct file_id), file_id_read, NULL};

enum err file_insert(struct db *db, const struct file *f)
{
	struct query q;

	query_start(&q, db, "INSERT INTO file (" FILE_COLUMNS ") VALUES (?, ?, ?, ?, ?, ?, ?, ?)");
	query_bind_text(&q, f->id);
	query_bind_text(&q, f->tenant_id);
	query_bind_int(&q, f->bytes);
	query_bind_int(&q, f->created_at);
	query_bind_int(&q, f->expires_at);
	query_bind_text(&q, f->filename);
	query_bind_text(&q, f->purpose);
	query_bind_text(&q, f->sha256);
	return query_run(&q);
}

static enum err file_load(struct db *db, const char *tenant_id, const char *id, struct file *out)
{
	struct file f = {0};
	struct query q;
	enum err row, err;

	query_start(&q, db,
	        "SELECT " FILE_COLUMNS " FROM file WHERE id = ?1 AND tenant_id = ?2 AND (expires_at = 0 OR "
	        "expires_at > ?3)");
	query_bind_text(&q, id);
	query_bind_text(&q, tenant_id);
	query_bind_int(&q, store_now());
	row = query_next(&q);
	if (row == OK)
		file_read(&q, &f);
	err = query_end(&q);
	if (!err && row == ERR_EMPTY)
		err = ERR_NOT_FOUND;
	if (err)
		file_fini(&f);
	else
		*out = f;
	return err;
}

enum err file_exists(struct db *db, const char *tenant_id, const char *id)
{
	struct query q;
	enum err row, err;

	query_start(&q, db,
	        "SELECT 1 FROM file WHERE id = ?1 AND tenant_id = ?2 AND (expires_at = 0 OR expires_at > "
	        "?3)");
	query_bind_text(&q, id);
	query_bind_text(&q, tenant_id);
	query_bind_int(&q, store_now());
	row = query_next(&q);
	err = query_end(&q);
	return !err && row == ERR_EMPTY ? ERR_NOT_FOUND : err;
}

enum err file_ids(struct db *db, const char *tenant_id, struct file_id **ids, size_t *n)
{
	struct query q;
	void *items;
	enum err err;

	query_start(&q, db, "SELECT id FROM file WHERE tenant_id = ?");
	query_bind_text(&q, tenant_id);
	err = query_list(&q, &file_id_record, SIZE_MAX, &items, n, NULL);
	if (!err)
		*ids = items;
	return err;
}

/* ---- expiry and litter ---- */

struct purge {
	int64_t now;
	struct file_id *ids; /* owned */
	size_t n;
};

static enum err write_purge(struct db *db, void *arg)
{
	struct purge *p = arg;
	struct query q;
	void *items;
	enum err err;

	query_start(&q, db, "DELETE FROM file WHERE expires_at > 0 AND expires_at <= ? RETURNING id");
	query_bind_int(&q, p->now);
	err = query_list(&q, &file_id_record, SIZE_MAX, &items, &p->n, NULL);
	if (!err)
		p->ids = items;
	return err;
}

static enum err files_purge(struct store *s, int64_t now)
{
	struct purge p = {.now = now};
	enum err err = writer_call(s->writer, write_purge, &p);

	for (size_t i = 0; !err && i < p.n; i++)
		err = contents_remove(&s->contents, p.ids[i].id);
	mem_free(p.ids);
	return err;
}

static enum err file_known(void *ctx, const char *id, bool *known)
{
	struct query q;
	enum err row, err;

	query_start(&q, ctx, "SELECT 1 FROM file WHERE id = ?");
	query_bind_text(&q, id);
	row = query_next(&q);
	err = query_end(&q);
	*known = row == OK;
	return err;
}

enum err files_settle(struct store *s)
{
	struct db *db;
	enum err err = files_purge(s, store_now());

	if (!err)
		err = readers_take(&s->readers, &db);
	if (err)
		return err;
	err = contents_sweep(&s->contents, file_known, db);
	readers_give(&s->readers, db);
	return err;
}

/* ---- reading ---- */

enum err store_file_get(struct store *s, const char *tenant_id, const char *id, struct file *out)
{
	struct db *db;
	enum err err = readers_take(&s->readers, &db);

	if (err)
		return err;
	err = file_load(db, tenant_id, id, out);
	readers_give(&s->readers, db);
	return err;
}

enum err store_file_open(struct store *s, const char *tenant_id, const char *id, int *fd)
{
	struct db *db;
	enum err err = readers_take(&s->readers, &db);

	if (err)
		return err;
	err = file_exists(db, tenant_id, id);
	readers_give(&s->readers, db);
	return err ? err : contents_open_read(&s->contents, id, fd);
}

static enum err any_expired(struct db *db, int64_t now, bool *any)
{
	struct query q;

	query_start(&q, db, "SELECT 1 FROM file WHERE expires_at > 0 AND expires_at <= ? LIMIT 1");
	query_bind_int(&q, now);
	*any = query_next(&q) == OK;
	return query_end(&q);
}

static enum err file_page(struct db *db, const char *tenant_id, const char *purpose, const struct page *page,
        int64_t now, void **items, size_t *n, bool *has_more)
{
	struct query q;
	int64_t before;
	enum err err = page_start(
	        db, "SELECT seq FROM file WHERE id = ?1 AND tenant_id = ?2", tenant_id, page, &before);

	if (err)
		return err;
	query_start(&q, db,
	        "SELECT " FILE_COLUMNS " FROM file WHERE tenant_id = ?1 AND seq < ?2"
	        " AND (?3 IS NULL OR purpose = ?3) AND (expires_at = 0 OR expires_at > ?4)"
	        " ORDER BY seq DESC LIMIT ?5");
	query_bind_text(&q, tenant_id);
	query_bind_int(&q, before);
	query_bind_text(&q, purpose);
	query_bind_int(&q, now);
	query_bind_int(&q, (int64_t)page->limit + 1);
	return query_list(&q, &file_record, page->limit, items, n, has_more);
}

enum err store_file_list(struct store *s, const char *tenant_id, const char *purpose, const struct page *page,
        struct file **items, size_t *n, bool *has_more)
{
	int64_t now = store_now();
	bool expired = false;
	struct db *db;
	void *list;
	enum err err = readers_take(&s->readers, &db);

	if (err)
		return err;
	err = file_page(db, tenant_id, purpose, page, now, &list, n, has_more);
	if (!err)
		*items = list;
	/* The list is right without it: a purge that fails is tried again by the next one. */
	if (any_expired(db, now, &expired))
		expired = false;
	readers_give(&s->readers, db);
	if (expired)
		(void)files_purge(s, now);
	return err;
}

enum err file_sum(struct db *db, const char *tenant_id, int64_t *bytes)
{
	struct query q;
	int64_t sum = 0;
	enum err err;

	query_start(&q, db,
	        "SELECT coalesce(sum(bytes), 0) FROM file"
	        " WHERE tenant_id = ?1 AND (expires_at = 0 OR expires_at > ?2)");
	query_bind_text(&q, tenant_id);
	query_bind_int(&q, store_now());
	if (query_next(&q) == OK)
		sum = query_int(&q);
	err = query_end(&q);
	if (!err)
		*bytes = sum;
	return err;
}

enum err store_file_bytes(struct store *s, const char *tenant_id, int64_t *bytes)
{
	struct db *db;
	enum err err = readers_take(&s->readers, &db);

	if (err)
		return err;
	err = file_sum(db, tenant_id, bytes);
	readers_give(&s->readers, db);
	return err;
}

/* ---- deleting ---- */

struct file_delete {
	const char *tenant_id, *id;
};

static enum err write_delete(struct db *db, void *arg)
{
	const struct file_delete *d = arg;
	struct query q;
	enum err err = file_exists(db, d->tenant_id, d->id);

	if (err)
		return err;
	query_start(&q, db, "DELETE FROM file WHERE id = ?");
	query_bind_text(&q, d->id);
	return query_run(&q);
}

enum err store_file_delete(struct store *s, const char *tenant_id, const char *id)
{
	struct file_delete d = {tenant_id, id};
	enum err err = writer_call(s->writer, write_delete, &d);

	return err ? err : contents_remove(&s->contents, id);
}
