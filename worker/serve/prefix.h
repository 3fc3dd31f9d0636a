/*
 * Prompts' beginnings, kept after their requests: the pages of whole chunks, for requests that begin with the
 * same tokens under the same adapter version, hence of the same tenant, at the same strength. A chunk is
 * computed alike whatever surrounds it, and kept ones are taken at their own place only, so that reusing one
 * does not show in any number. What is found is compared token by token, never by a hash alone.
 *
 * A page that no sequence holds is given up, the longest unused first, when pages are short.
 * Thread: the serving thread's alone.
 */
#ifndef REDD_SERVE_PREFIX_H
#define REDD_SERVE_PREFIX_H

#include "worker/model/model.h"

struct prefix;

/* A prompt as its reader sees it. */
struct prefix_prompt {
	uint64_t version; /* an adapter_ref's; 0 = nothing is kept or found */
	float strength;
	const int32_t *tokens; /* borrowed during a call */
	size_t n_tokens;
};

/* pool is borrowed. Unless chunk_tokens is a multiple of a page's tokens nothing is kept. ERR_MEM. */
enum err prefix_new(struct kv_pool *pool, size_t chunk_tokens, struct prefix **out);
/* Gives up all it keeps. */
void prefix_free(struct prefix *p);

/* Append to kv, which holds whole chunks of the prompt, those that follow and are kept, all but what the
 * prompt's last token is in. Returns how many tokens. */
size_t prefix_adopt(struct prefix *p, const struct prefix_prompt *prompt, struct kv *kv);
/* Keep the whole chunks of the prompt that kv holds. Memory being short it keeps fewer. */
void prefix_keep(struct prefix *p, const struct prefix_prompt *prompt, const struct kv *kv);

/* Pages that prefix_adopt() would find and that sequences hold now. */
size_t prefix_shared_pages(const struct prefix *p, const struct prefix_prompt *prompt);
/* Give up idle pages until n are free. False when there are too few: then some may be gone. */
bool prefix_make_room(struct prefix *p, size_t n);

#endif
