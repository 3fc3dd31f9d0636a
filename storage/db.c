/* See db.h. Statements are kept in an open-addressed table keyed by the address of their text. */
#include "storage/db.h"

#include "core/mem.h"

#include <sqlite3.h>
#include <string.h>

#define DB_BUSY_MS 10000
#define DB_STATEMENTS 256 /* a power of two, more than twice the statements there are */

struct db {
	sqlite3 *handle;
	size_t n_prepared;
	struct {
		const char *sql; /* NULL = free */
		sqlite3_stmt *stmt;
	} prepared[DB_STATEMENTS];
};

static enum err db_err(int rc)
{
	switch (rc) {
	case SQLITE_OK:
	case SQLITE_ROW:
		return OK;
	case SQLITE_DONE:
		return ERR_EMPTY;
	case SQLITE_CONSTRAINT_UNIQUE:
	case SQLITE_CONSTRAINT_PRIMARYKEY:
		return ERR_EXISTS;
	case SQLITE_CONSTRAINT_FOREIGNKEY:
		return ERR_NOT_FOUND;
	default:
		return (rc & 0xff) == SQLITE_NOMEM ? ERR_MEM : ERR_DB;
	}
}

const char *db_words(struct db *db)
{
	return sqlite3_errmsg(db->handle);
}

bool db_in_transaction(struct db *db)
{
	return !sqlite3_get_autocommit(db->handle);
}

int64_t db_changed(struct db *db)
{
	return sqlite3_changes64(db->handle);
}

enum err db_exec(struct db *db, const char *sql)
{
	return db_err(sqlite3_exec(db->handle, sql, NULL, NULL, NULL));
}

enum err db_empty_log(struct db *db)
{
	return db_err(sqlite3_wal_checkpoint_v2(db->handle, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL));
}

enum err db_copy(struct db *db, const char *path, struct why *why)
{
	sqlite3 *to = NULL;
	sqlite3_backup *backup = NULL;
	int rc = sqlite3_open_v2(
	        path, &to, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);

	if (rc == SQLITE_OK)
		backup = sqlite3_backup_init(to, "main", db->handle, "main");
	/* All pages in one step: one reading transaction, so one moment. */
	if (backup)
		(void)sqlite3_backup_step(backup, -1);
	rc = backup ? sqlite3_backup_finish(backup) : rc ? rc : sqlite3_errcode(to);
	if (rc != SQLITE_OK)
		why_set(why, ERR_DB, "%s", to ? sqlite3_errmsg(to) : "out of memory");
	sqlite3_close(to);
	return db_err(rc);
}

/* WAL mode stays with the file, but SQLite keeps silent when the file system cannot do it. */
static enum err db_use_wal(struct db *db, struct why *why)
{
	struct query q;
	char mode[16] = "";
	enum err err;

	query_start(&q, db, "PRAGMA journal_mode = WAL");
	if (query_next(&q) == OK)
		query_array(&q, mode, sizeof(mode));
	err = query_end(&q);
	if (!err && strcmp(mode, "wal") != 0)
		err = why_set(why, ERR_DB, "the file system cannot hold a write-ahead log");
	else if (err)
		why_set(why, err, "%s", db_words(db));
	return err;
}

enum err db_open(const char *path, enum db_use use, struct db **out, struct why *why)
{
	int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | (use == DB_WRITE ? SQLITE_OPEN_CREATE : 0);
	struct db *db = mem_calloc(1, sizeof(*db));
	enum err err;

	if (!db)
		return why_set(why, ERR_MEM, "%s", err_text(ERR_MEM));
	err = db_err(sqlite3_open_v2(path, &db->handle, flags, NULL));
	if (err) {
		why_set(why, err, "%s", db->handle ? db_words(db) : err_text(err));
		goto fail;
	}
	sqlite3_extended_result_codes(db->handle, 1);
	sqlite3_busy_timeout(db->handle, DB_BUSY_MS);
	if (use == DB_WRITE) {
		err = db_use_wal(db, why);
		if (err)
			goto fail;
	}
	/* A reader may also be asked to empty the log, hence FULL for both. */
	err = db_exec(db, "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA secure_delete = ON");
	if (!err && use == DB_READ)
		err = db_exec(db, "PRAGMA query_only = ON");
	if (err) {
		why_set(why, err, "%s", db_words(db));
		goto fail;
	}
	*out = db;
	return OK;
fail:
	db_close(db);
	return err;
}

void db_close(struct db *db)
{
	if (!db)
		return;
	for (size_t i = 0; i < DB_STATEMENTS; i++)
		sqlite3_finalize(db->prepared[i].stmt);
	sqlite3_close(db->handle);
	mem_free(db);
}

static enum err db_prepare(struct db *db, const char *sql, sqlite3_stmt **out)
{
	size_t at = ((uintptr_t)sql * 0x9e3779b97f4a7c15u >> 32) & (DB_STATEMENTS - 1);
	enum err err;

	while (db->prepared[at].sql && db->prepared[at].sql != sql)
		at = (at + 1) & (DB_STATEMENTS - 1);
	if (!db->prepared[at].sql) {
		if (db->n_prepared == DB_STATEMENTS / 2)
			return ERR_DB;
		err = db_err(sqlite3_prepare_v3(
		        db->handle, sql, -1, SQLITE_PREPARE_PERSISTENT, &db->prepared[at].stmt, NULL));
		if (err)
			return err;
		db->prepared[at].sql = sql;
		db->n_prepared++;
	}
	*out = db->prepared[at].stmt;
	return OK;
}

void query_start(struct query *q, struct db *db, const char *sql)
{
	*q = (struct query){.db = db};
	q->err = db_prepare(db, sql, &q->stmt);
}

static void query_note(struct query *q, int rc)
{
	if (!q->err)
		q->err = db_err(rc);
}

void query_bind_text(struct query *q, const char *v)
{
	if (!q->err)
		query_note(q, sqlite3_bind_text(q->stmt, ++q->param, v, -1, SQLITE_STATIC));
}

void query_bind_int(struct query *q, int64_t v)
{
	if (!q->err)
		query_note(q, sqlite3_bind_int64(q->stmt, ++q->param, v));
}

void query_bind_real(struct query *q, double v)
{
	if (!q->err)
		query_note(q, sqlite3_bind_double(q->stmt, ++q->param, v));
}

void query_bind_blob(struct query *q, const void *p, size_t n)
{
	if (!q->err)
		query_note(q, sqlite3_bind_blob64(q->stmt, ++q->param, n || !p ? p : "", n, SQLITE_STATIC));
}

enum err query_next(struct query *q)
{
	enum err err;

	if (q->err)
		return q->err;
	q->column = 0;
	err = db_err(sqlite3_step(q->stmt));
	if (err && err != ERR_EMPTY)
		q->err = err;
	return err;
}

int64_t query_int(struct query *q)
{
	return sqlite3_column_int64(q->stmt, q->column++);
}

double query_real(struct query *q)
{
	return sqlite3_column_double(q->stmt, q->column++);
}

void query_array(struct query *q, char *out, size_t size)
{
	int column = q->column++;
	const unsigned char *v = sqlite3_column_text(q->stmt, column);
	size_t n = (size_t)sqlite3_column_bytes(q->stmt, column);

	out[0] = '\0';
	if (!v && sqlite3_column_type(q->stmt, column) != SQLITE_NULL)
		query_note(q, SQLITE_NOMEM);
	else if (n >= size)
		query_note(q, SQLITE_TOOBIG);
	else if (v)
		memcpy(out, v, n + 1);
}

char *query_text(struct query *q)
{
	int column = q->column++;
	const unsigned char *v = sqlite3_column_text(q->stmt, column);
	char *copy;

	if (!v && sqlite3_column_type(q->stmt, column) == SQLITE_NULL)
		return NULL;
	copy = mem_strdup((const char *)v);
	if (!copy)
		query_note(q, SQLITE_NOMEM);
	return copy;
}

void *query_blob(struct query *q, size_t *n)
{
	int column = q->column++;
	const void *p = sqlite3_column_blob(q->stmt, column);
	size_t size = (size_t)sqlite3_column_bytes(q->stmt, column);
	void *copy = p || !size ? mem_dup(p, size) : NULL;

	if (!copy)
		query_note(q, SQLITE_NOMEM);
	else
		*n = size;
	return copy;
}

enum err query_end(struct query *q)
{
	if (q->stmt) {
		sqlite3_reset(q->stmt);
		sqlite3_clear_bindings(q->stmt);
		q->stmt = NULL;
	}
	return q->err;
}

enum err query_run(struct query *q)
{
	while (query_next(q) == OK)
		;
	return query_end(q);
}

enum err db_read_begin(struct db *db)
{
	struct query q;

	query_start(&q, db, "BEGIN");
	return query_run(&q);
}

enum err db_read_end(struct db *db)
{
	struct query q;

	query_start(&q, db, "COMMIT");
	return query_run(&q);
}

void record_list_free(const struct record *kind, void *items, size_t n)
{
	for (size_t i = 0; items && kind->fini && i < n; i++)
		kind->fini((char *)items + i * kind->size);
	mem_free(items);
}

enum err query_list(
        struct query *q, const struct record *kind, size_t limit, void **items, size_t *n, bool *has_more)
{
	char *list = NULL;
	size_t len = 0, cap = 0;
	bool more = false;
	enum err err;

	while (query_next(q) == OK && !more) {
		if (len == limit) {
			more = true;
			continue;
		}
		if (len == cap) {
			size_t wanted = cap ? 2 * cap : 8;
			char *grown = mem_realloc(list, wanted, kind->size);

			if (!grown) {
				query_note(q, SQLITE_NOMEM);
				break;
			}
			list = grown;
			cap = wanted;
		}
		memset(list + len * kind->size, 0, kind->size);
		kind->read(q, list + len++ * kind->size);
	}
	err = query_end(q);
	if (err) {
		record_list_free(kind, list, len);
		return err;
	}
	*items = list;
	*n = len;
	if (has_more)
		*has_more = more;
	return OK;
}
