/*
 * One adapter version shared by the choices of one answer: acquired once, so that all choices come from the
 * same version, and released when the last request that computes with it has let go. Thread: any.
 */
#ifndef REDD_API_INFERENCE_ADAPTER_H
#define REDD_API_INFERENCE_ADAPTER_H

#include "api/exchange.h"

struct inference_adapter;

/* What a request computes with: the model it names, or, with n_blend > 0, a blend; its model must be there
 * then too, for the answer bears its name. Errors of worker_adapter_acquire() and worker_adapter_blend(). May
 * wait for the disk. */
enum err inference_adapter_acquire(struct exchange *x, const char *model, const struct blend_part *blend,
        size_t n_blend, struct adapter_ref *ref, struct why *why);

/* Take over ref, with one holder: the caller. ERR_MEM; ref stays the caller's then. */
enum err inference_adapter_new(const struct adapter_ref *ref, struct inference_adapter **out);
/* A ref for one more holder, whose release() lets go. */
struct adapter_ref inference_adapter_hold(struct inference_adapter *a);
/* The caller lets go. NULL is allowed. */
void inference_adapter_release(struct inference_adapter *a);

#endif
