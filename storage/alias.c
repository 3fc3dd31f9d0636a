/* Aliases: a tenant's stable names, each switched from one adapter to another in one statement. */
#include "core/mem.h"
#include "storage/handle.h"

#include <string.h>

static void alias_read(struct query *q, void *item)
{
	struct alias *a = item;

	query_array(q, a->name, sizeof(a->name));
	query_array(q, a->model, sizeof(a->model));
	a->updated_at = query_int(q);
}

static const struct record alias_record = {sizeof(struct alias), alias_read, NULL};

struct alias_set {
	const char *tenant_id;
	struct alias alias;
};

static enum err write_alias(struct db *db, void *arg)
{
	const struct alias_set *a = arg;
	struct query q;
	enum err err;

	query_start(&q, db,
	        "INSERT INTO alias (tenant_id, name, adapter_id, updated_at)"
	        " SELECT tenant_id, ?, id, ? FROM adapter WHERE name = ? AND tenant_id = ?"
	        " ON CONFLICT (tenant_id, name) DO UPDATE SET"
	        " adapter_id = excluded.adapter_id, updated_at = excluded.updated_at");
	query_bind_text(&q, a->alias.name);
	query_bind_int(&q, a->alias.updated_at);
	query_bind_text(&q, a->alias.model);
	query_bind_text(&q, a->tenant_id);
	err = query_run(&q);
	return !err && !db_changed(db) ? ERR_NOT_FOUND : err;
}

enum err store_alias_set(
        struct store *s, const char *tenant_id, const char *name, const char *model, struct alias *out)
{
	struct alias_set a = {.tenant_id = tenant_id, .alias.updated_at = store_now()};
	enum err err;

	if (!text_fits(name, sizeof(a.alias.name)))
		return ERR_INVALID;
	if (!text_fits(model, sizeof(a.alias.model)))
		return ERR_NOT_FOUND;
	memcpy(a.alias.name, name, strlen(name) + 1);
	memcpy(a.alias.model, model, strlen(model) + 1);
	err = writer_call(s->writer, write_alias, &a);
	if (!err)
		*out = a.alias;
	return err;
}

enum err store_alias_get(struct store *s, const char *tenant_id, const char *name, struct alias *out)
{
	struct alias a = {0};
	struct query q;
	struct db *db;
	enum err row, err = readers_take(&s->readers, &db);

	if (err)
		return err;
	query_start(&q, db,
	        "SELECT alias.name, adapter.name, updated_at FROM alias JOIN adapter ON adapter.id = "
	        "adapter_id"
	        " WHERE alias.tenant_id = ? AND alias.name = ?");
	query_bind_text(&q, tenant_id);
	query_bind_text(&q, name);
	row = query_next(&q);
	if (row == OK)
		alias_read(&q, &a);
	err = query_end(&q);
	readers_give(&s->readers, db);
	if (!err && row == ERR_EMPTY)
		err = ERR_NOT_FOUND;
	if (!err)
		*out = a;
	return err;
}

enum err store_alias_list(struct store *s, const char *tenant_id, struct alias **items, size_t *n)
{
	struct query q;
	struct db *db;
	void *list;
	enum err err = readers_take(&s->readers, &db);

	if (err)
		return err;
	query_start(&q, db,
	        "SELECT alias.name, adapter.name, updated_at FROM alias JOIN adapter ON adapter.id = "
	        "adapter_id"
	        " WHERE alias.tenant_id = ? ORDER BY alias.seq DESC");
	query_bind_text(&q, tenant_id);
	err = query_list(&q, &alias_record, SIZE_MAX, &list, n, NULL);
	readers_give(&s->readers, db);
	if (!err)
		*items = list;
	return err;
}

struct alias_delete {
	const char *tenant_id, *name;
};

static enum err write_alias_delete(struct db *db, void *arg)
{
	const struct alias_delete *d = arg;
	struct query q;
	enum err err;

	query_start(&q, db, "DELETE FROM alias WHERE tenant_id = ? AND name = ?");
	query_bind_text(&q, d->tenant_id);
	query_bind_text(&q, d->name);
	err = query_run(&q);
	return !err && !db_changed(db) ? ERR_NOT_FOUND : err;
}

enum err store_alias_delete(struct store *s, const char *tenant_id, const char *name)
{
	struct alias_delete d = {tenant_id, name};

	return writer_call(s->writer, write_alias_delete, &d);
}
