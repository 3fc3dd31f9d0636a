/*
 * Where this configuration finds its state and its base: what was said, else what paths.h knows. It looks,
 * and makes nothing. Thread: main.
 */
#ifndef REDD_DAEMON_PLACES_H
#define REDD_DAEMON_PLACES_H

#include "daemon/config.h"

struct places {
	char *state_dir;        /* owned */
	char *model_dir;        /* owned; NULL while nobody asked for it */
	const char *model_name; /* borrowed from config, or constant; NULL = the directory's last component */
};

/* The state directory alone. ERR_NOT_FOUND, ERR_MEM. places_fini() *out in any case. */
enum err places_find_state(const struct config *c, struct places *out, struct why *why);
/* The base's too, in addition. ERR_NOT_FOUND, ERR_MEM. */
enum err places_find_base(const struct config *c, struct places *out, struct why *why);
void places_fini(struct places *p);

#endif
