/*
 * The safetensors files of a model directory, mapped: model.safetensors, or the shards that
 * model.safetensors.index.json names. Internal to model/. Constant once open; any thread.
 */
#ifndef REDD_MODEL_SHARDS_H
#define REDD_MODEL_SHARDS_H

#include "core/err.h"
#include "worker/adapter/safetensors.h"

struct shards;

/* ERR_NOT_FOUND, ERR_FORMAT, ERR_UNSUPPORTED, ERR_IO, ERR_MEM; why names the file. */
enum err shards_open(const char *dir, struct shards **out, struct why *why);
void shards_close(struct shards *s);
/* A tensor by its exact name, in any shard; NULL when there is none. It points into the mapping. */
const struct tensor *shards_find(const struct shards *s, const char *name);
/* Let go of the memory that a mapped tensor takes here; reading it again brings it back from the file. */
void shards_forget(const struct tensor *t);
/* The files, one by one (i < count). */
size_t shards_count(const struct shards *s);
const struct safetensors *shards_at(const struct shards *s, size_t i);

#endif
