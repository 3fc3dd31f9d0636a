/*
 * A connection to the database and the statements it has prepared: the only face SQLite has in this room.
 * A struct query binds from left to right and reads columns from left to right; its first error sticks, so
 * callers check once, at query_next(), query_end() or query_run(). No statement may be in use twice at a time
 * on one connection. Thread: one at a time per connection.
 */
#ifndef REDD_STORAGE_DB_H
#define REDD_STORAGE_DB_H

#include "core/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct db;
struct sqlite3_stmt;

enum db_use { DB_READ, DB_WRITE };

/* DB_WRITE creates the file and puts it into WAL mode; DB_READ refuses to change anything. */
enum err db_open(const char *path, enum db_use use, struct db **out, struct why *why);
void db_close(struct db *db);
/* Run statements that return nothing of interest, unprepared: schema and pragmas. */
enum err db_exec(struct db *db, const char *sql);
/* Write everything in the log to the database file and empty the log; others may be reading and writing. */
enum err db_empty_log(struct db *db);
/* Copy the whole database, as it is at one moment, into the file at path, which is made; others may go on
 * writing. */
enum err db_copy(struct db *db, const char *path, struct why *why);
/* SQLite's words for the last failure; borrowed until the next call. */
const char *db_words(struct db *db);
/* False when there is no transaction, also when SQLite took the last one back by itself (a full disk). */
bool db_in_transaction(struct db *db);
/* Between these two all statements see the database as it is at one moment. A connection whose read could not
 * be ended is in a transaction still, and must see no other reader. */
enum err db_read_begin(struct db *db);
enum err db_read_end(struct db *db);
/* Rows changed by the last INSERT, UPDATE or DELETE. */
int64_t db_changed(struct db *db);

struct query {
	struct db *db;
	struct sqlite3_stmt *stmt;
	int param;
	int column;
	enum err err;
};

/* sql is prepared at its first use and found again by its address: pass literals only. */
void query_start(struct query *q, struct db *db, const char *sql);
/* What is bound must live until the query ends. A NULL pointer is bound as NULL. */
void query_bind_text(struct query *q, const char *v);
void query_bind_int(struct query *q, int64_t v);
void query_bind_real(struct query *q, double v);
void query_bind_blob(struct query *q, const void *p, size_t n);
/* The next row: OK, or ERR_EMPTY after the last; ERR_EXISTS, ERR_NOT_FOUND: a unique or a foreign key says
 * so. */
enum err query_next(struct query *q);
int64_t query_int(struct query *q);
double query_real(struct query *q);
/* NULL becomes "". What does not fit is ERR_DB: nothing longer was ever let in. */
void query_array(struct query *q, char *out, size_t size);
/* A copy to mem_free(); NULL for NULL. */
char *query_text(struct query *q);
/* A copy to mem_free(); not NULL but on error. */
void *query_blob(struct query *q, size_t *n);
/* Free the statement for its next use, whatever happened; the first error of the query. */
enum err query_end(struct query *q);
/* Step to the end, and query_end(). */
enum err query_run(struct query *q);

/* How to read one row into a zeroed record of `size` bytes, and to release it (NULL = nothing to release). */
struct record {
	size_t size;
	void (*read)(struct query *q, void *item);
	void (*fini)(void *item);
};

/* Read at most limit rows into a new array for mem_free(); *has_more (may be NULL) when there was one more.
 * Ends q. */
enum err query_list(
        struct query *q, const struct record *kind, size_t limit, void **items, size_t *n, bool *has_more);
void record_list_free(const struct record *kind, void *items, size_t n);

#endif
