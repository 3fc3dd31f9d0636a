/*
 * Retries of the official clients, which send no Idempotency-Key but count their attempts: a request that
 * says it is a retry and equals one of the last ten minutes gets the idempotency key of that one, so the
 * store answers with what exists already, even when both run at once. Thread: any.
 */
#ifndef REDD_API_REPLAY_H
#define REDD_API_REPLAY_H

#include "core/buf.h"
#include "core/err.h"

#include <stdbool.h>

#define REPLAY_KEY_SIZE 40

struct replay;

enum err replay_new(struct replay **out);
void replay_free(struct replay *r);
/* The key to create under: with retry that of the equal request before it, if any, else a new one. ERR_IO. */
enum err replay_key(struct replay *r, const char *tenant_id, const char *path, const struct buf *body,
        bool retry, char out[REPLAY_KEY_SIZE]);

#endif
