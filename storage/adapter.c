/* Adapters: immutable, found by name. */
#include "storage/adapter.h"

#include "core/hash.h"
#include "core/mem.h"
#include "storage/handle.h"

#include <string.h>

#define ADAPTER_COLUMNS                                                                                      \
	"id, name, tenant_id, job_id, parent, created_at, step, is_checkpoint, bytes, sha256, manifest"

void adapter_record_fini(struct adapter_record *a)
{
	mem_free(a->manifest);
	mem_free(a->content);
	*a = (struct adapter_record){0};
}

static void adapter_fini_item(void *item)
{
	adapter_record_fini(item);
}

static void adapter_read(struct query *q, void *item)
{
	struct adapter_record *a = item;

	query_array(q, a->id, sizeof(a->id));
	query_array(q, a->name, sizeof(a->name));
	query_array(q, a->tenant_id, sizeof(a->tenant_id));
	query_array(q, a->job_id, sizeof(a->job_id));
	query_array(q, a->parent, sizeof(a->parent));
	a->created_at = query_int(q);
	a->step = query_int(q);
	a->checkpoint = query_int(q) != 0;
	a->bytes = query_int(q);
	query_array(q, a->sha256, sizeof(a->sha256));
	a->manifest = query_text(q);
}

static const struct record adapter_record_kind = {
        sizeof(struct adapter_record), adapter_read, adapter_fini_item};

void adapter_record_list_free(struct adapter_record *items, size_t n)
{
	record_list_free(&adapter_record_kind, items, n);
}

enum err adapter_describe(struct adapter_record *a, const char *name, const char *parent,
        const char *manifest, const void *content, size_t n_content)
{
	uint8_t digest[HASH_BYTES];

	if (!text_fits(name, sizeof(a->name)) || !text_fits(parent, sizeof(a->parent)))
		return ERR_INVALID;
	memcpy(a->name, name, strlen(name) + 1);
	memcpy(a->parent, parent, strlen(parent) + 1);
	a->created_at = store_now();
	a->bytes = (int64_t)n_content;
	hash_bytes(content, n_content, digest);
	hash_hex(digest, a->sha256);
	a->manifest = (char *)manifest;
	a->content = (void *)content;
	return random_id("adapter-", STORE_ID_CHARS, a->id);
}

enum err adapter_insert(struct db *db, const struct adapter_record *a)
{
	struct query q;

	query_start(&q, db,
	        "INSERT INTO adapter (" ADAPTER_COLUMNS ", content)"
	        " VALUES (?, ?, ?, nullif(?, ''), ?, ?, ?, ?, ?, ?, ?, ?)");
	query_bind_text(&q, a->id);
	query_bind_text(&q, a->name);
	query_bind_text(&q, a->tenant_id);
	query_bind_text(&q, a->job_id);
	query_bind_text(&q, a->parent);
	query_bind_int(&q, a->created_at);
	query_bind_int(&q, a->step);
	query_bind_int(&q, a->checkpoint);
	query_bind_int(&q, a->bytes);
	query_bind_text(&q, a->sha256);
	query_bind_text(&q, a->manifest);
	query_bind_blob(&q, a->content, (size_t)a->bytes);
	return query_run(&q);
}

static enum err write_adapter(struct db *db, void *arg)
{
	return adapter_insert(db, arg);
}

enum err store_adapter_add(struct store *s, const struct adapter_new *in, struct adapter_record *out)
{
	struct adapter_record a = {0};
	char *manifest = mem_strdup(in->manifest);
	enum err err = ERR_MEM;

	if (!manifest)
		return err;
	err = adapter_describe(&a, in->name, in->parent, manifest, in->content, in->n_content);
	if (!err && !text_fits(in->tenant_id, sizeof(a.tenant_id)))
		err = ERR_NOT_FOUND;
	if (!err) {
		memcpy(a.tenant_id, in->tenant_id, strlen(in->tenant_id) + 1);
		err = writer_call(s->writer, write_adapter, &a);
	}
	a.content = NULL;
	if (!err && out)
		*out = a;
	else
		mem_free(manifest);
	return err;
}

enum err store_adapter_get(
        struct store *s, const char *tenant_id, const char *name, struct adapter_record *out)
{
	struct adapter_record a = {0};
	struct query q;
	struct db *db;
	size_t n;
	enum err row, err = readers_take(&s->readers, &db);

	if (err)
		return err;
	query_start(
	        &q, db, "SELECT " ADAPTER_COLUMNS ", content FROM adapter WHERE name = ? AND tenant_id = ?");
	query_bind_text(&q, name);
	query_bind_text(&q, tenant_id);
	row = query_next(&q);
	if (row == OK) {
		adapter_read(&q, &a);
		a.content = query_blob(&q, &n);
	}
	err = query_end(&q);
	readers_give(&s->readers, db);
	if (!err && row == ERR_EMPTY)
		err = ERR_NOT_FOUND;
	if (err)
		adapter_record_fini(&a);
	else
		*out = a;
	return err;
}

/* Names that begin so lie between it and what has the next character for its last. */
enum err store_adapter_latest(
        struct store *s, const char *tenant_id, const char *name, char out[STORE_MODEL_SIZE])
{
	struct query q;
	struct db *db;
	char latest[STORE_MODEL_SIZE] = "";
	enum err row, err = readers_take(&s->readers, &db);

	if (err)
		return err;
	query_start(&q, db,
	        "SELECT name FROM adapter WHERE name > ?1 || ':ckpt-step-' AND name < ?1 || ':ckpt-step.'"
	        " AND tenant_id = ?2 AND is_checkpoint ORDER BY step DESC LIMIT 1");
	query_bind_text(&q, name);
	query_bind_text(&q, tenant_id);
	row = query_next(&q);
	if (row == OK)
		query_array(&q, latest, sizeof(latest));
	err = query_end(&q);
	readers_give(&s->readers, db);
	if (!err && row == ERR_EMPTY)
		err = ERR_NOT_FOUND;
	if (!err)
		memcpy(out, latest, sizeof(latest));
	return err;
}

static enum err adapter_page(struct db *db, const char *tenant_id, bool checkpoints, const struct page *page,
        void **items, size_t *n, bool *has_more)
{
	struct query q;
	int64_t before;
	enum err err = page_start(
	        db, "SELECT seq FROM adapter WHERE id = ?1 AND tenant_id = ?2", tenant_id, page, &before);

	if (err)
		return err;
	query_start(&q, db,
	        "SELECT " ADAPTER_COLUMNS " FROM adapter"
	        " WHERE tenant_id = ? AND is_checkpoint <= ? AND seq < ? ORDER BY seq DESC LIMIT ?");
	query_bind_text(&q, tenant_id);
	query_bind_int(&q, checkpoints);
	query_bind_int(&q, before);
	query_bind_int(&q, (int64_t)page->limit + 1);
	return query_list(&q, &adapter_record_kind, page->limit, items, n, has_more);
}

enum err store_adapter_list(struct store *s, const char *tenant_id, bool checkpoints, const struct page *page,
        struct adapter_record **items, size_t *n, bool *has_more)
{
	struct db *db;
	void *list;
	enum err err = readers_take(&s->readers, &db);

	if (err)
		return err;
	err = adapter_page(db, tenant_id, checkpoints, page, &list, n, has_more);
	readers_give(&s->readers, db);
	if (!err)
		*items = list;
	return err;
}

struct adapter_delete {
	const char *tenant_id, *name;
};

/* The checkpoints first: they are found through the one they belong to. */
static enum err write_adapter_delete(struct db *db, void *arg)
{
	const struct adapter_delete *d = arg;
	struct query q;
	enum err err;

	query_start(&q, db,
	        "DELETE FROM adapter WHERE is_checkpoint AND job_id ="
	        " (SELECT job_id FROM adapter WHERE name = ? AND tenant_id = ? AND NOT is_checkpoint)");
	query_bind_text(&q, d->name);
	query_bind_text(&q, d->tenant_id);
	err = query_run(&q);
	if (err)
		return err;
	query_start(&q, db, "DELETE FROM adapter WHERE name = ? AND tenant_id = ?");
	query_bind_text(&q, d->name);
	query_bind_text(&q, d->tenant_id);
	err = query_run(&q);
	return !err && !db_changed(db) ? ERR_NOT_FOUND : err;
}

enum err store_adapter_delete(struct store *s, const char *tenant_id, const char *name)
{
	struct adapter_delete d = {tenant_id, name};

	return writer_call(s->writer, write_adapter_delete, &d);
}
