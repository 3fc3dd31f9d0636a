/* See migrate.h. The assembler puts each file, with a NUL behind it, among the constants. */
#include "storage/migrate.h"

#include <stdio.h>

#define SCHEMA(symbol, path)                                                                                 \
	__asm__(".pushsection .rodata\n" #symbol ":\n\t.incbin \"" path "\"\n\t.byte 0\n\t.popsection");     \
	extern const char symbol[] __attribute__((visibility("hidden")))

SCHEMA(schema_001, "storage/schema/001-initial.sql");
SCHEMA(schema_002, "storage/schema/002-alias.sql");
SCHEMA(schema_003, "storage/schema/003-webhook.sql");
SCHEMA(schema_004, "storage/schema/004-work.sql");
SCHEMA(schema_005, "storage/schema/005-webhook-last.sql");

static const char *const schema[] = {schema_001, schema_002, schema_003, schema_004, schema_005};

#define N_SCHEMA (sizeof(schema) / sizeof(schema[0]))

static enum err version_get(struct db *db, int64_t *version)
{
	struct query q;
	int64_t v = 0;
	enum err err;

	query_start(&q, db, "PRAGMA user_version");
	if (query_next(&q) == OK)
		v = query_int(&q);
	err = query_end(&q);
	if (!err)
		*version = v;
	return err;
}

/* Bring db from version to version + 1, or leave it as it is. */
static enum err migrate_one(struct db *db, size_t version, struct why *why)
{
	char done[64];
	enum err err;

	snprintf(done, sizeof(done), "PRAGMA user_version = %zu; COMMIT", version + 1);
	err = db_exec(db, "BEGIN IMMEDIATE");
	if (!err)
		err = db_exec(db, schema[version]);
	if (!err)
		err = db_exec(db, done);
	if (!err)
		return OK;
	why_set(why, err, "schema version %zu cannot be applied: %s", version + 1, db_words(db));
	if (db_in_transaction(db))
		(void)db_exec(db, "ROLLBACK");
	return err;
}

enum err migrate(struct db *db, struct why *why)
{
	int64_t version;
	enum err err = version_get(db, &version);

	if (err)
		return why_set(why, err, "%s", db_words(db));
	if (version < 0 || (uint64_t)version > N_SCHEMA)
		return why_set(why, ERR_UNSUPPORTED,
		        "its schema is version %lld, this program knows %zu: run the newer redd that wrote "
		        "it",
		        (long long)version, N_SCHEMA);
	for (size_t v = (size_t)version; v < N_SCHEMA; v++) {
		err = migrate_one(db, v, why);
		if (err)
			return err;
	}
	return OK;
}
