/* See backup.h. */
#include "daemon/backup.h"

#include "core/mem.h"
#include "daemon/paths.h"
#include "daemon/places.h"
#include "storage/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Into a draft beside file, which then takes its name. */
static enum err write_file(const char *state_dir, const char *file, struct why *why)
{
	char *draft = mem_printf("%s.part", file), *scratch = mem_printf("%s.db-part", file);
	enum err e = draft && scratch ? OK : ERR_MEM;
	int fd = -1;

	if (!e) {
		fd = open(draft, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
		if (fd < 0)
			e = why_set(why, ERR_IO, "%s: %s", draft, strerror(errno));
	}
	if (!e)
		e = store_backup_dir(state_dir, scratch, fd, why);
	if (!e && rename(draft, file) < 0)
		e = why_set(why, ERR_IO, "%s: %s", file, strerror(errno));
	if (fd >= 0) {
		close(fd);
		if (e)
			(void)unlink(draft);
	}
	mem_free(draft);
	mem_free(scratch);
	return e;
}

/* To a pipe: the database's copy goes where temporary files do. */
static enum err write_stdout(const char *state_dir, struct why *why)
{
	const char *tmp = getenv("TMPDIR");
	char *dir = mem_printf("%s/redd-backup-XXXXXX", tmp && *tmp ? tmp : "/tmp");
	char *scratch = NULL;
	enum err e = ERR_MEM;

	if (dir && mkdtemp(dir)) {
		scratch = mem_printf("%s/db", dir);
		e = scratch ? store_backup_dir(state_dir, scratch, STDOUT_FILENO, why) : ERR_MEM;
		(void)rmdir(dir);
	} else if (dir) {
		e = why_set(why, ERR_IO, "%s: %s", dir, strerror(errno));
	}
	mem_free(dir);
	mem_free(scratch);
	return e;
}

enum err backup_to_file(const struct config *c, const char *file, struct why *why)
{
	struct places places = {0};
	enum err e = places_find_state(c, &places, why);

	if (!e)
		e = strcmp(file, "-") == 0 ? write_stdout(places.state_dir, why)
		                           : write_file(places.state_dir, file, why);
	places_fini(&places);
	return e;
}

enum err backup_from_file(const struct config *c, const char *file, struct why *why)
{
	struct places places = {0};
	bool from_stdin = strcmp(file, "-") == 0;
	int fd = from_stdin ? STDIN_FILENO : open(file, O_RDONLY | O_CLOEXEC);
	enum err e = OK;

	if (fd < 0)
		return why_set(why, ERR_NOT_FOUND, "%s: %s", file, strerror(errno));
	e = places_find_state(c, &places, why);
	if (!e)
		e = paths_make_dir(places.state_dir, why);
	if (!e)
		e = store_restore(places.state_dir, fd, why);
	places_fini(&places);
	if (!from_stdin)
		close(fd);
	return e;
}
