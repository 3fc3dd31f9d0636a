/* See contents.h. */
#include "storage/contents.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static enum err open_subdir(int dir_fd, const char *name, int *fd, struct why *why)
{
	if (mkdirat(dir_fd, name, 0700) && errno != EEXIST)
		return why_set(why, ERR_IO, "cannot make %s: %s", name, strerror(errno));
	*fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return *fd < 0 ? why_set(why, ERR_IO, "cannot open %s: %s", name, strerror(errno)) : OK;
}

static enum err keep_none(void *ctx, const char *id, bool *known)
{
	(void)ctx;
	(void)id;
	*known = false;
	return OK;
}

/* Unlink in the directory what keep() does not know. */
static enum err sweep(int dir_fd, enum err (*keep)(void *ctx, const char *id, bool *known), void *ctx)
{
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	enum err err = OK;
	struct dirent *e;

	if (!dir) {
		if (fd >= 0)
			close(fd);
		return ERR_IO;
	}
	while (!err && (errno = 0, e = readdir(dir))) {
		bool known;

		if (e->d_name[0] == '.')
			continue;
		err = keep(ctx, e->d_name, &known);
		if (!err && !known && unlinkat(dir_fd, e->d_name, 0))
			err = ERR_IO;
	}
	if (!err && errno)
		err = ERR_IO;
	closedir(dir);
	return err;
}

enum err contents_open(struct contents *c, int dir_fd, struct why *why)
{
	enum err err;

	*c = CONTENTS_CLOSED;
	err = open_subdir(dir_fd, "files", &c->files_fd, why);
	if (!err)
		err = open_subdir(dir_fd, "tmp", &c->tmp_fd, why);
	if (!err && sweep(c->tmp_fd, keep_none, NULL))
		err = why_set(why, ERR_IO, "cannot empty tmp: %s", strerror(errno));
	if (err)
		contents_close(c);
	return err;
}

void contents_close(struct contents *c)
{
	if (c->files_fd >= 0)
		close(c->files_fd);
	if (c->tmp_fd >= 0)
		close(c->tmp_fd);
	*c = CONTENTS_CLOSED;
}

enum err contents_create(const struct contents *c, char name[STORE_ID_SIZE], int *fd)
{
	enum err err = random_id("new-", 24, name);

	if (err)
		return err;
	*fd = openat(c->tmp_fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	return *fd < 0 ? ERR_IO : OK;
}

enum err contents_write(int fd, const void *p, size_t n)
{
	const char *at = p;

	while (n) {
		ssize_t done = write(fd, at, n);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return ERR_IO;
		at += done;
		n -= (size_t)done;
	}
	return OK;
}

enum err contents_publish(const struct contents *c, const char *name, int fd, const char *id)
{
	if (fsync(fd) || renameat(c->tmp_fd, name, c->files_fd, id))
		return ERR_IO;
	if (!fsync(c->files_fd))
		return OK;
	(void)renameat(c->files_fd, id, c->tmp_fd, name);
	return ERR_IO;
}

void contents_discard(const struct contents *c, const char *name)
{
	(void)unlinkat(c->tmp_fd, name, 0);
}

enum err contents_put(const struct contents *c, const char *id, const void *p, size_t n)
{
	char name[STORE_ID_SIZE];
	int fd;
	enum err err = contents_create(c, name, &fd);

	if (err)
		return err;
	err = contents_write(fd, p, n);
	if (!err)
		err = contents_publish(c, name, fd, id);
	if (err)
		contents_discard(c, name);
	close(fd);
	return err;
}

enum err contents_open_read(const struct contents *c, const char *id, int *fd)
{
	int opened = openat(c->files_fd, id, O_RDONLY | O_CLOEXEC);

	if (opened < 0)
		return errno == ENOENT ? ERR_NOT_FOUND : ERR_IO;
	*fd = opened;
	return OK;
}

enum err contents_remove(const struct contents *c, const char *id)
{
	return unlinkat(c->files_fd, id, 0) && errno != ENOENT ? ERR_IO : OK;
}

enum err contents_sweep(
        const struct contents *c, enum err (*keep)(void *ctx, const char *id, bool *known), void *ctx)
{
	return sweep(c->files_fd, keep, ctx);
}
