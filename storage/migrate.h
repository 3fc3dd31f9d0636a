/*
 * The schema and its versions: schema/NNN-name.sql, built into the binary. PRAGMA user_version tells how many
 * of them a database has seen. A file that was released is never changed; what comes later is another file.
 * Thread: the one that opens the store.
 */
#ifndef REDD_STORAGE_MIGRATE_H
#define REDD_STORAGE_MIGRATE_H

#include "storage/db.h"

/* Apply what db has not seen, in order, each file in a transaction of its own.
 * ERR_UNSUPPORTED: a newer program has been here. ERR_DB with words otherwise; what was applied before stays.
 */
enum err migrate(struct db *db, struct why *why);

#endif
