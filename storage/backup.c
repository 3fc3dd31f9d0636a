/*
 * The whole store into one archive, while it is in use. The database is copied first, at one moment; contents
 * never change, so they may follow. One that was deleted in between takes its row in the copy along.
 */
#include "storage/backup.h"
#include "core/hash.h"
#include "core/mem.h"
#include "storage/file.h"
#include "storage/handle.h"
#include "storage/tar.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HASH_PIECE 65536

enum err backup_hash(int dir_fd, const char *name, char hex[HASH_HEX_SIZE], int64_t *bytes)
{
	uint8_t digest[HASH_BYTES];
	struct hash h;
	char piece[HASH_PIECE];
	int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return ERR_NOT_FOUND;
	hash_init(&h);
	*bytes = 0;
	while ((n = read(fd, piece, sizeof(piece))) > 0) {
		hash_update(&h, piece, (size_t)n);
		*bytes += n;
	}
	close(fd);
	hash_final(&h, digest);
	hash_hex(digest, hex);
	return n < 0 ? ERR_IO : OK;
}

static void id_read(struct query *q, void *item)
{
	struct file_id *f = item;

	query_array(q, f->id, sizeof(f->id));
}

static const struct record id_record = {sizeof(struct file_id), id_read, NULL};

static enum err drop_row(struct db *copy, const char *id)
{
	struct query q;

	query_start(&q, copy, "DELETE FROM file WHERE id = ?");
	query_bind_text(&q, id);
	return query_run(&q);
}

/* One content; its row is dropped when it is gone. */
static enum err add_content(struct db *copy, int files_fd, const char *id, int out)
{
	char name[TAR_NAME_SIZE] = BACKUP_FILES "/";
	struct stat st;
	int fd = openat(files_fd, id, O_RDONLY | O_CLOEXEC);
	enum err err;

	if (fd < 0)
		return errno == ENOENT ? drop_row(copy, id) : ERR_IO;
	strncat(name, id, sizeof(name) - strlen(name) - 1);
	err = fstat(fd, &st) ? ERR_IO : tar_write_fd(out, name, st.st_size, store_now(), fd);
	close(fd);
	return err;
}

/* Every content, and the rows of those that are gone out of the copy, which becomes one file again. */
static enum err add_contents(const char *scratch, int files_fd, int out, struct why *why)
{
	struct db *copy = NULL;
	struct file_id *ids = NULL;
	struct query q;
	size_t n = 0;
	enum err err = db_open(scratch, DB_WRITE, &copy, why);

	if (err)
		return err;
	query_start(&q, copy, "SELECT id FROM file ORDER BY seq");
	err = query_list(&q, &id_record, SIZE_MAX, (void **)&ids, &n, NULL);
	for (size_t i = 0; i < n && !err; i++)
		err = add_content(copy, files_fd, ids[i].id, out);
	if (!err)
		err = db_exec(copy, "PRAGMA journal_mode = DELETE");
	mem_free(ids);
	db_close(copy);
	return err;
}

static enum err add_database(const char *scratch, int out)
{
	char sum[HASH_HEX_SIZE];
	struct stat st;
	int fd = open(scratch, O_RDONLY | O_CLOEXEC);
	int64_t bytes;
	enum err err;

	if (fd < 0)
		return ERR_IO;
	err = fstat(fd, &st) ? ERR_IO : tar_write_fd(out, BACKUP_DATABASE, st.st_size, store_now(), fd);
	close(fd);
	if (!err)
		err = backup_hash(AT_FDCWD, scratch, sum, &bytes);
	return err ? err : tar_write_text(out, BACKUP_SUM, store_now(), sum);
}

/* The database comes last: an archive that was cut off has none. */
static enum err backup(struct db *db, int files_fd, const char *scratch, int out, struct why *why)
{
	enum err err = tar_write_text(out, BACKUP_MARK, store_now(), BACKUP_MARK_TEXT);

	if (!err)
		err = db_copy(db, scratch, why);
	if (!err)
		err = add_contents(scratch, files_fd, out, why);
	if (!err)
		err = add_database(scratch, out);
	if (!err)
		err = tar_write_end(out);
	/* A pipe cannot be synced. */
	if (!err && fsync(out) && errno != EINVAL && errno != EROFS)
		err = ERR_IO;
	(void)unlink(scratch);
	if (err && why && !why->message[0])
		why_set(why, err, "%s: %s", err_text(err), strerror(errno));
	return err;
}

enum err store_backup(struct store *s, int fd, struct why *why)
{
	char name[STORE_ID_SIZE], *scratch;
	struct db *db;
	enum err err = random_id("backup-", 24, name);

	if (err)
		return err;
	/* Beside the database: readers know its path. */
	scratch = mem_printf("%.*stmp/%s", (int)(strrchr(s->readers.path, '/') + 1 - s->readers.path),
	        s->readers.path, name);
	if (!scratch)
		return ERR_MEM;
	err = readers_take(&s->readers, &db);
	if (!err) {
		err = backup(db, s->contents.files_fd, scratch, fd, why);
		readers_give(&s->readers, db);
	}
	mem_free(scratch);
	return err;
}

enum err store_backup_dir(const char *dir, const char *scratch, int fd, struct why *why)
{
	char *path = mem_printf("%s/redd.db", dir), *files = mem_printf("%s/files", dir);
	struct db *db = NULL;
	int files_fd = -1;
	enum err err = path && files ? OK : ERR_MEM;

	if (!err && access(path, F_OK) < 0)
		err = why_set(why, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "%s: %s", path, strerror(errno));
	if (!err) {
		files_fd = open(files, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (files_fd < 0)
			err = why_set(why, ERR_IO, "%s: %s", files, strerror(errno));
	}
	if (!err)
		err = db_open(path, DB_READ, &db, why);
	if (!err)
		err = backup(db, files_fd, scratch, fd, why);
	db_close(db);
	if (files_fd >= 0)
		close(files_fd);
	mem_free(path);
	mem_free(files);
	return err;
}
