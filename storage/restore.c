/*
 * A store out of an archive. Everything is written beside where it belongs, checked against the database's
 * own rows, and the database gets its name last: a directory without it is no store, so half a restore is
 * none. What was written is taken back on failure.
 */
#include "core/hash.h"
#include "core/mem.h"
#include "storage/backup.h"
#include "storage/handle.h"
#include "storage/tar.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define DRAFT BACKUP_DATABASE ".new"
#define ID_LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"

struct restore {
	const char *dir; /* borrowed */
	int dir_fd, files_fd, lock_fd;
	bool has_mark, has_database;
	char sum[HASH_HEX_SIZE]; /* of the database, as the archive has it; "" = not seen */
	struct why *why;
};

/* ---- the directory ---- */

static enum err open_target(struct restore *r)
{
	if (mkdir(r->dir, 0700) && errno != EEXIST)
		return why_set(r->why, ERR_IO, "%s: %s", r->dir, strerror(errno));
	r->dir_fd = open(r->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (r->dir_fd < 0)
		return why_set(r->why, ERR_IO, "%s: %s", r->dir, strerror(errno));
	r->lock_fd = openat(r->dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (r->lock_fd < 0)
		return why_set(r->why, ERR_IO, "%s: %s", r->dir, strerror(errno));
	if (flock(r->lock_fd, LOCK_EX | LOCK_NB))
		return why_set(r->why, ERR_BUSY, "%s: a redd is using it", r->dir);
	if (faccessat(r->dir_fd, BACKUP_DATABASE, F_OK, 0) == 0)
		return why_set(r->why, ERR_EXISTS,
		        "%s holds a store already: move it away, or restore into another directory", r->dir);
	if (mkdirat(r->dir_fd, BACKUP_FILES, 0700) && errno != EEXIST)
		return why_set(r->why, ERR_IO, "%s: %s", r->dir, strerror(errno));
	r->files_fd = openat(r->dir_fd, BACKUP_FILES, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return r->files_fd < 0 ? why_set(r->why, ERR_IO, "%s/files: %s", r->dir, strerror(errno)) : OK;
}

/* Without a database beside them contents belong to nobody. */
static void take_back(struct restore *r)
{
	DIR *dir = r->files_fd < 0 ? NULL : fdopendir(dup(r->files_fd));
	const struct dirent *e;

	if (dir)
		rewinddir(dir);
	while (dir && (e = readdir(dir)))
		if (e->d_name[0] != '.')
			(void)unlinkat(r->files_fd, e->d_name, 0);
	if (dir)
		closedir(dir);
	(void)unlinkat(r->dir_fd, DRAFT, 0);
}

/* ---- the archive ---- */

static enum err write_entry(struct restore *r, int in, int dir_fd, const char *name, int64_t size)
{
	int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	enum err err;

	if (fd < 0)
		return why_set(r->why, ERR_IO, "%s: %s", name, strerror(errno));
	err = tar_read_fd(in, size, fd);
	if (!err && fsync(fd))
		err = why_set(r->why, ERR_IO, "%s: %s", name, strerror(errno));
	close(fd);
	return err;
}

/* By way of a file: contents of entries go to descriptors. */
static enum err take_sum(struct restore *r, int in, int64_t size)
{
	int fd = size == sizeof(r->sum) - 1 ? memfd_create("sum", MFD_CLOEXEC) : -1;
	enum err err;

	if (fd < 0)
		return ERR_FORMAT;
	err = tar_read_fd(in, size, fd);
	if (!err && pread(fd, r->sum, sizeof(r->sum) - 1, 0) != (ssize_t)sizeof(r->sum) - 1)
		err = ERR_IO;
	close(fd);
	return err;
}

static enum err take_entry(struct restore *r, int in, const char *name, int64_t size)
{
	const char *id = name + sizeof(BACKUP_FILES);

	if (strcmp(name, BACKUP_MARK) == 0) {
		r->has_mark = true;
		return tar_skip(in, size);
	}
	if (!r->has_mark)
		return why_set(r->why, ERR_FORMAT, "this is not a backup of redd's");
	if (strcmp(name, BACKUP_DATABASE) == 0) {
		r->has_database = true;
		return write_entry(r, in, r->dir_fd, DRAFT, size);
	}
	if (strcmp(name, BACKUP_SUM) == 0)
		return take_sum(r, in, size);
	if (strncmp(name, BACKUP_FILES "/", sizeof(BACKUP_FILES)) != 0 || !*id ||
	        strlen(id) >= STORE_ID_SIZE || strspn(id, ID_LETTERS) != strlen(id))
		return why_set(
		        r->why, ERR_FORMAT, "the backup holds \"%s\", which does not belong there", name);
	return write_entry(r, in, r->files_fd, id, size);
}

static enum err unpack(struct restore *r, int in)
{
	char name[TAR_NAME_SIZE];
	int64_t size;
	enum err err;

	while (!(err = tar_next(in, name, &size))) {
		err = take_entry(r, in, name, size);
		if (err)
			break;
	}
	if (err == ERR_EMPTY)
		err = r->has_database && r->sum[0]
		              ? OK
		              : why_set(r->why, ERR_FORMAT, "the backup holds no database");
	else if (err == ERR_FORMAT && r->why && !r->why->message[0])
		why_set(r->why, err, "%s",
		        r->has_mark ? "the backup is damaged or cut off" : "this is not a backup of redd's");
	return err;
}

/* ---- checking ---- */

static enum err check_contents(struct restore *r, struct db *db)
{
	struct query q;
	enum err err;

	query_start(&q, db, "SELECT id, bytes, sha256 FROM file");
	while (query_next(&q) == OK) {
		char id[STORE_ID_SIZE], wanted[HASH_HEX_SIZE], found[HASH_HEX_SIZE];
		int64_t bytes, size = 0;

		query_array(&q, id, sizeof(id));
		bytes = query_int(&q);
		query_array(&q, wanted, sizeof(wanted));
		err = backup_hash(r->files_fd, id, found, &size);
		if (!err && (size != bytes || strcmp(found, wanted) != 0))
			err = ERR_FORMAT;
		if (err) {
			(void)query_end(&q);
			return why_set(r->why, ERR_FORMAT, "the content of %s is %s", id,
			        err == ERR_NOT_FOUND ? "missing" : "damaged");
		}
	}
	return query_end(&q);
}

static enum err check_database(struct restore *r)
{
	char *path = mem_printf("%s/" DRAFT, r->dir), verdict[64] = "", sum[HASH_HEX_SIZE];
	struct db *db = NULL;
	struct query q;
	int64_t bytes;
	enum err err = path ? backup_hash(r->dir_fd, DRAFT, sum, &bytes) : ERR_MEM;

	if (!err && strcmp(sum, r->sum) != 0)
		err = why_set(r->why, ERR_FORMAT, "the backup's database is damaged");
	if (!err)
		err = db_open(path, DB_WRITE, &db, r->why);
	if (!err) {
		query_start(&q, db, "PRAGMA integrity_check(1)");
		if (query_next(&q) == OK && q.err == OK)
			query_array(&q, verdict, sizeof(verdict));
		err = query_end(&q);
		if (err || strcmp(verdict, "ok") != 0)
			err = why_set(r->why, ERR_FORMAT, "the backup's database is damaged");
	}
	if (!err)
		err = check_contents(r, db);
	if (!err)
		err = db_exec(db, "PRAGMA journal_mode = DELETE");
	db_close(db);
	mem_free(path);
	return err;
}

/* ---- the whole ---- */

static enum err publish(struct restore *r)
{
	if (fsync(r->files_fd) || renameat(r->dir_fd, DRAFT, r->dir_fd, BACKUP_DATABASE) || fsync(r->dir_fd))
		return why_set(r->why, ERR_IO, "%s: %s", r->dir, strerror(errno));
	return OK;
}

enum err store_restore(const char *dir, int fd, struct why *why)
{
	struct restore r = {.dir = dir, .dir_fd = -1, .files_fd = -1, .lock_fd = -1, .why = why};
	struct store *s = NULL;
	enum err err = open_target(&r);
	bool ours = !err;

	if (!err)
		err = unpack(&r, fd);
	if (!err)
		err = check_database(&r);
	if (!err)
		err = publish(&r);
	if (err && ours)
		take_back(&r);
	if (r.files_fd >= 0)
		close(r.files_fd);
	if (r.lock_fd >= 0)
		close(r.lock_fd);
	if (r.dir_fd >= 0)
		close(r.dir_fd);
	/* Migrated now, so that a backup of a newer program is refused here and not at the next start. */
	if (!err)
		err = store_open(dir, &s, why);
	store_close(s);
	return err;
}
