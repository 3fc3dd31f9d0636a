/*
 * All choices of one answer: submits a request to the serving engine for each, gathers or streams what comes
 * back, and answers when the last is done. Belongs to itself once started.
 *
 * who              | does                                   | synchronised by
 * handler          | submits; opens the stream              | holds the group like one more choice
 * serving thread   | feeds its choice; streams pieces       | one thread per choice; else the lock
 * loop             | client gone: cancels                   | the lock; not once the answer is over
 * last to let go   | answers or ends the stream, then frees | only the loop may still come, to cancel
 *
 * No lock is held while the exchange or the engine is called.
 */
#ifndef REDD_API_INFERENCE_GROUP_H
#define REDD_API_INFERENCE_GROUP_H

#include "api/exchange.h"
#include "api/inference_request.h"

/* Start answering x; the caller returns EXCHANGE_LATER, for whatever goes wrong from here is answered by the
 * group. On success request and adapter are taken over (request is left zeroed). ERR_MEM, ERR_IO; both stay
 * the caller's then, and x awaits its answer. */
enum err inference_group_start(
        struct exchange *x, struct inference_request *request, const struct adapter_ref *adapter);

#endif
