/*
 * The admin key: found where the operator put it, or written by the first start. Only its hash is kept.
 * Thread: main, with the state directory locked.
 */
#ifndef REDD_DAEMON_ADMIN_KEY_H
#define REDD_DAEMON_ADMIN_KEY_H

#include "core/err.h"
#include "core/hash.h"

#include <stdbool.h>

#define ADMIN_KEY_PREFIX "redd-admin-"
#define ADMIN_KEY_RANDOM 40
#define ADMIN_KEY_MAX_BYTES 512

struct admin_key {
	uint8_t hash[HASH_BYTES];
	char *path;   /* owned: the file it is in */
	bool created; /* by this call */
};

/* Look in key_file if it is not NULL, else in credentials_dir/admin.key if that is there, else in
 * state_dir/admin.key, which is written (mode 0600, on disk before this returns) when it is missing.
 * The key is the file's one line, without blanks around it. On success admin_key_fini() *out.
 * ERR_NOT_FOUND: key_file is missing; ERR_FORMAT: a file does not hold one word; ERR_IO; ERR_MEM. */
enum err admin_key_load(const char *key_file, const char *credentials_dir, const char *state_dir,
        struct admin_key *out, struct why *why);
void admin_key_fini(struct admin_key *k);

#endif
