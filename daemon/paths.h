/*
 * Where things are when nobody said: the state directory, the bundled base; and making a directory with its
 * parents. Thread: any.
 */
#ifndef REDD_DAEMON_PATHS_H
#define REDD_DAEMON_PATHS_H

#include "core/err.h"

#include <stdbool.h>

/* What the choice depends on, so that tests can say it. Strings are borrowed; NULL = not set. */
struct paths_surroundings {
	bool root;
	const char
	        *state_directory; /* $STATE_DIRECTORY, maybe several with colons between: the first counts */
	const char *xdg_state_home;
	const char *home;
	const char *exe_dir; /* where the program itself lies */
};

/* This process's. *exe_dir is the caller's, mem_free() it; NULL when the kernel will not tell. */
void paths_surroundings_get(struct paths_surroundings *out, char **exe_dir);

/* $STATE_DIRECTORY, /var/lib/redd for root, $XDG_STATE_HOME/redd, ~/.local/state/redd: the first that
 * applies. mem_free() it. ERR_NOT_FOUND: none does; ERR_MEM. */
enum err paths_state_dir(const struct paths_surroundings *s, char **out, struct why *why);

/* The base that comes with redd: EXE_DIR/../share/redd/base as installed, EXE_DIR/../../worker/base in the
 * source tree. mem_free() it. ERR_NOT_FOUND when neither holds a config.json; ERR_MEM. */
enum err paths_base_dir(const struct paths_surroundings *s, char **out, struct why *why);

/* mkdir -p, mode 0700 for what is new. ERR_IO, ERR_MEM. */
enum err paths_make_dir(const char *dir, struct why *why);

/* Put text into path, visible in full or not at all, and on disk before this returns. Replaces what is there.
 * ERR_IO with the reason in why, ERR_MEM. */
enum err paths_write_file(const char *path, const char *text, struct why *why);

#endif
