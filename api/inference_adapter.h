/*
 * One adapter version shared by the choices of one answer: acquired once, so that all choices come from the
 * same version, and released when the last request that computes with it has let go. Thread: any.
 */
#ifndef REDD_API_INFERENCE_ADAPTER_H
#define REDD_API_INFERENCE_ADAPTER_H

#include "worker/serve/serve.h"

struct inference_adapter;

/* Take over ref, with one holder: the caller. ERR_MEM; ref stays the caller's then. */
enum err inference_adapter_new(const struct adapter_ref *ref, struct inference_adapter **out);
/* A ref for one more holder, whose release() lets go. */
struct adapter_ref inference_adapter_hold(struct inference_adapter *a);
/* The caller lets go. NULL is allowed. */
void inference_adapter_release(struct inference_adapter *a);

#endif
