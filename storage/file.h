/* Rows of files, for other subjects of this room. */
#ifndef REDD_STORAGE_FILE_H
#define REDD_STORAGE_FILE_H

#include "storage/db.h"
#include "storage/store.h"

/* At open: expired files go, and contents no row speaks of. */
enum err files_settle(struct store *s);
/* ERR_NOT_FOUND: no such tenant. On the writer. */
enum err file_insert(struct db *db, const struct file *f);
/* ERR_NOT_FOUND when there is no such file of the tenant or it has expired. */
enum err file_exists(struct db *db, const char *tenant_id, const char *id);
/* Of the bytes of the tenant's files that have not expired. */
enum err file_sum(struct db *db, const char *tenant_id, int64_t *bytes);
/* The ids of the tenant's files, expired ones too; mem_free(*ids). */
struct file_id {
	char id[STORE_ID_SIZE];
};
enum err file_ids(struct db *db, const char *tenant_id, struct file_id **ids, size_t *n);

#endif
