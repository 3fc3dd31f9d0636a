/* Keys of tenants, known by their hash alone. */
#include "core/mem.h"
#include "storage/handle.h"

#include <string.h>

static void key_read(struct query *q, void *item)
{
	struct api_key *k = item;

	query_array(q, k->id, sizeof(k->id));
	query_array(q, k->tenant_id, sizeof(k->tenant_id));
	query_array(q, k->hint, sizeof(k->hint));
	k->created_at = query_int(q);
}

static const struct record key_record = {sizeof(struct api_key), key_read, NULL};

struct key_create {
	const uint8_t *hash;
	struct api_key key;
};

static enum err write_key(struct db *db, void *arg)
{
	const struct key_create *c = arg;
	struct query q;

	query_start(
	        &q, db, "INSERT INTO api_key (id, tenant_id, hash, hint, created_at) VALUES (?, ?, ?, ?, ?)");
	query_bind_text(&q, c->key.id);
	query_bind_text(&q, c->key.tenant_id);
	query_bind_blob(&q, c->hash, HASH_BYTES);
	query_bind_text(&q, c->key.hint);
	query_bind_int(&q, c->key.created_at);
	return query_run(&q);
}

enum err store_key_create(struct store *s, const char *tenant_id, const uint8_t key_hash[HASH_BYTES],
        const char *hint, struct api_key *out)
{
	struct key_create c = {.hash = key_hash, .key.created_at = store_now()};
	enum err err;

	if (!text_fits(tenant_id, sizeof(c.key.tenant_id)))
		return ERR_NOT_FOUND;
	if (!text_fits(hint, sizeof(c.key.hint)))
		return ERR_INVALID;
	memcpy(c.key.tenant_id, tenant_id, strlen(tenant_id) + 1);
	memcpy(c.key.hint, hint, strlen(hint) + 1);
	err = random_id("key-", STORE_ID_CHARS, c.key.id);
	if (!err)
		err = writer_call(s->writer, write_key, &c);
	if (!err)
		*out = c.key;
	return err;
}

enum err store_key_list(struct store *s, const char *tenant_id, struct api_key **items, size_t *n)
{
	struct query q;
	struct db *db;
	void *list;
	enum err err = readers_take(&s->readers, &db);

	if (err)
		return err;
	query_start(&q, db,
	        "SELECT id, tenant_id, hint, created_at FROM api_key WHERE tenant_id = ? ORDER BY seq DESC");
	query_bind_text(&q, tenant_id);
	err = query_list(&q, &key_record, SIZE_MAX, &list, n, NULL);
	readers_give(&s->readers, db);
	if (!err)
		*items = list;
	return err;
}

struct key_delete {
	const char *tenant_id, *key_id;
};

static enum err write_key_delete(struct db *db, void *arg)
{
	const struct key_delete *d = arg;
	struct query q;
	enum err err;

	query_start(&q, db, "DELETE FROM api_key WHERE id = ? AND tenant_id = ?");
	query_bind_text(&q, d->key_id);
	query_bind_text(&q, d->tenant_id);
	err = query_run(&q);
	return !err && !db_changed(db) ? ERR_NOT_FOUND : err;
}

enum err store_key_delete(struct store *s, const char *tenant_id, const char *key_id)
{
	struct key_delete d = {tenant_id, key_id};

	return writer_call(s->writer, write_key_delete, &d);
}
