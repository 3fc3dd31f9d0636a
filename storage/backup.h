/* What a backup's writer and its reader share: the names in the archive, and sums. */
#ifndef REDD_STORAGE_BACKUP_H
#define REDD_STORAGE_BACKUP_H

#include "core/err.h"
#include "core/hash.h"

#define BACKUP_MARK "redd-backup"
#define BACKUP_MARK_TEXT "redd backup, format 1: files/ID are contents, redd.db is the database\n"
#define BACKUP_FILES "files"
#define BACKUP_DATABASE "redd.db"
#define BACKUP_SUM "redd.db.sha256" /* of the database, in hex; rows hold those of the contents */

/* The hash and size of a file in a directory. ERR_NOT_FOUND, ERR_IO. */
enum err backup_hash(int dir_fd, const char *name, char hex[HASH_HEX_SIZE], int64_t *bytes);

#endif
