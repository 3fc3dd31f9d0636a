/* Opening and closing: the directory, its lock, the database and what hangs on it. See store.h, handle.h. */
#include "storage/store.h"

#include "core/clock.h"
#include "core/mem.h"
#include "storage/file.h"
#include "storage/handle.h"
#include "storage/migrate.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

int64_t store_now(void)
{
	return clock_now_ms() / 1000;
}

bool text_fits(const char *s, size_t size)
{
	return s && strnlen(s, size) < size;
}

enum err page_start(
        struct db *db, const char *sql, const char *owner, const struct page *page, int64_t *before)
{
	struct query q;
	enum err row, err;

	if (page->limit < 1 || page->limit > STORE_PAGE_MAX)
		return ERR_INVALID;
	if (!page->after) {
		*before = INT64_MAX;
		return OK;
	}
	query_start(&q, db, sql);
	query_bind_text(&q, page->after);
	query_bind_text(&q, owner);
	row = query_next(&q);
	if (row == OK)
		*before = query_int(&q);
	err = query_end(&q);
	return err ? err : row == ERR_EMPTY ? ERR_NOT_FOUND : OK;
}

static enum err store_lock(int dir_fd, int *fd, struct why *why)
{
	*fd = openat(dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (*fd < 0)
		return why_set(why, ERR_IO, "cannot open lock: %s", strerror(errno));
	if (!flock(*fd, LOCK_EX | LOCK_NB))
		return OK;
	if (errno == EWOULDBLOCK)
		return why_set(why, ERR_BUSY,
		        "it is in use by another process: stop that one, or choose another directory");
	return why_set(why, ERR_IO, "cannot be locked: %s", strerror(errno));
}

/* Make dir where it is not there, on disk too, and open it. */
static enum err store_open_dir(const char *dir, int *fd, struct why *why)
{
	bool made = !mkdir(dir, 0700);
	int parent;

	if (!made && errno != EEXIST)
		return why_set(why, ERR_IO, "cannot be made: %s", strerror(errno));
	*fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (*fd < 0)
		return why_set(why, ERR_IO, "cannot be opened: %s", strerror(errno));
	/* Where the parent may not be opened, its entry is left to the file system. */
	parent = made ? openat(*fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	if (parent >= 0) {
		(void)fsync(parent);
		close(parent);
	}
	return OK;
}

/* The database, migrated, with its writer and readers. */
static enum err store_open_db(struct store *s, const char *dir, int dir_fd, struct why *why)
{
	char *path = mem_printf("%s/redd.db", dir);
	struct db *db = NULL;
	enum err err;

	if (!path)
		return why_set(why, ERR_MEM, "%s", err_text(ERR_MEM));
	err = db_open(path, DB_WRITE, &db, why);
	if (!err)
		err = migrate(db, why);
	if (err)
		why_prefix(why, "redd.db: ");
	if (!err && fsync(dir_fd))
		err = why_set(why, ERR_IO, "cannot be written to: %s", strerror(errno));
	if (!err)
		err = readers_init(&s->readers, path);
	if (!err) {
		err = writer_start(db, &s->writer);
		db = NULL;
	}
	db_close(db);
	mem_free(path);
	return err;
}

enum err store_open(const char *dir, struct store **out, struct why *why)
{
	struct store *s = mem_calloc(1, sizeof(*s));
	int dir_fd = -1;
	enum err err;

	if (!s)
		return why_set(why, ERR_MEM, "%s", err_text(ERR_MEM));
	s->lock_fd = -1;
	s->contents = CONTENTS_CLOSED;
	err = store_open_dir(dir, &dir_fd, why);
	if (!err)
		err = store_lock(dir_fd, &s->lock_fd, why);
	if (!err)
		err = contents_open(&s->contents, dir_fd, why);
	if (!err)
		err = store_open_db(s, dir, dir_fd, why);
	if (!err)
		err = files_settle(s);
	if (dir_fd >= 0)
		close(dir_fd);
	if (err) {
		if (why && !why->message[0])
			why_set(why, err, "%s", err_text(err));
		why_prefix(why, "state directory %s: ", dir);
		store_close(s);
		return err;
	}
	*out = s;
	return OK;
}

void store_close(struct store *s)
{
	if (!s)
		return;
	writer_stop(s->writer);
	readers_fini(&s->readers);
	contents_close(&s->contents);
	if (s->lock_fd >= 0)
		close(s->lock_fd);
	mem_free(s);
}

enum err store_flush(struct store *s)
{
	return writer_flush(s->writer);
}
