/*
 * Tensors of the files made into matrices, by several threads at once: what starting up waits for. Matrices
 * are announced first and filled in batches, so that not all of the files is in memory beside them. Internal
 * to model/. Thread: one owner.
 */
#ifndef REDD_MODEL_PACK_H
#define REDD_MODEL_PACK_H

#include "core/err.h"
#include "worker/adapter/safetensors.h"
#include "worker/math/matrix.h"

#include <stdbool.h>

struct pack;

/* ERR_MEM, ERR_LIMIT when the system allows no further thread. */
enum err pack_start(size_t n_threads, struct pack **out);
/* NULL is allowed. What was announced and not finished stays unfilled. */
void pack_stop(struct pack *p);
/* Let `data`, m's own memory, be filled from t, whose rows are (N,K), or transposed (K,N), by the next
 * pack_finish() at the latest. t and data are borrowed until then. ERR_MEM, and those of tensor_read_f32().
 */
enum err pack_add(
        struct pack *p, const struct tensor *t, bool transposed, const struct matrix *m, void *data);
/* Fill what was announced; the tensors' pages are let go. */
enum err pack_finish(struct pack *p);

#endif
