/* See paths.h. */
#include "daemon/paths.h"

#include "core/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void paths_surroundings_get(struct paths_surroundings *out, char **exe_dir)
{
	char exe[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);

	*exe_dir = NULL;
	if (n > 0) {
		exe[n] = '\0';
		*exe_dir = mem_strdup(dirname(exe));
	}
	*out = (struct paths_surroundings){
	        .root = geteuid() == 0,
	        .state_directory = getenv("STATE_DIRECTORY"),
	        .xdg_state_home = getenv("XDG_STATE_HOME"),
	        .home = getenv("HOME"),
	        .exe_dir = *exe_dir,
	};
}

static bool said(const char *value)
{
	return value && *value;
}

enum err paths_state_dir(const struct paths_surroundings *s, char **out, struct why *why)
{
	char *dir;

	if (said(s->state_directory))
		dir = mem_printf("%.*s", (int)strcspn(s->state_directory, ":"), s->state_directory);
	else if (s->root)
		dir = mem_strdup("/var/lib/redd");
	else if (said(s->xdg_state_home))
		dir = mem_printf("%s/redd", s->xdg_state_home);
	else if (said(s->home))
		dir = mem_printf("%s/.local/state/redd", s->home);
	else
		return why_set(why, ERR_NOT_FOUND, "nothing says where the state belongs: use --state DIR");
	if (!dir)
		return ERR_MEM;
	*out = dir;
	return OK;
}

enum err paths_base_dir(const struct paths_surroundings *s, char **out, struct why *why)
{
	static const char *const places[] = {"../share/redd/base", "../../worker/base"};

	for (size_t i = 0; s->exe_dir && i < sizeof(places) / sizeof(places[0]); i++) {
		char *dir = mem_printf("%s/%s", s->exe_dir, places[i]);
		char *card = mem_printf("%s/%s/config.json", s->exe_dir, places[i]);
		bool there = card && access(card, R_OK) == 0;
		bool short_of_memory = !dir || !card;

		mem_free(card);
		if (there && dir) {
			*out = dir;
			return OK;
		}
		mem_free(dir);
		if (short_of_memory)
			return ERR_MEM;
	}
	return why_set(why, ERR_NOT_FOUND, "the base that comes with redd is not there: use --model DIR");
}

enum err paths_make_dir(const char *dir, struct why *why)
{
	char *path = mem_strdup(dir);
	enum err e = OK;

	if (!path)
		return ERR_MEM;
	for (char *p = path + 1; !e; p++) {
		char kept = *p;

		if (kept != '/' && kept != '\0')
			continue;
		*p = '\0';
		if (mkdir(path, 0700) < 0 && errno != EEXIST)
			e = why_set(why, ERR_IO, "%s: %s", path, strerror(errno));
		*p = kept;
		if (!kept)
			break;
	}
	mem_free(path);
	return e;
}

/* Make a rename or creation in path's directory durable. */
static bool sync_directory_of(const char *path)
{
	char copy[PATH_MAX];
	bool ok;
	int fd;

	if (snprintf(copy, sizeof(copy), "%s", path) >= (int)sizeof(copy))
		return false;
	fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return false;
	ok = fsync(fd) == 0;
	close(fd);
	return ok;
}

static bool write_all(int fd, const char *p, size_t n)
{
	while (n) {
		ssize_t done = write(fd, p, n);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return false;
		p += done;
		n -= (size_t)done;
	}
	return true;
}

enum err paths_write_file(const char *path, const char *text, struct why *why)
{
	char *draft = mem_printf("%s.new", path);
	enum err e = OK;
	int fd = -1;

	if (!draft)
		return ERR_MEM;
	(void)unlink(draft);
	fd = open(draft, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0 || !write_all(fd, text, strlen(text)) || fsync(fd) < 0 || rename(draft, path) < 0 ||
	        !sync_directory_of(path)) {
		e = why_set(why, ERR_IO, "%s: %s", path, strerror(errno));
		(void)unlink(draft);
	}
	if (fd >= 0)
		close(fd);
	mem_free(draft);
	return e;
}
