/*
 * Admission of requests for inference by the tenant's limits on requests and tokens per minute: what they
 * take is taken here, and the x-ratelimit headers of the answer say what is left. Without a limit there are
 * no headers. Thread: whoever has the exchange; never waits for the disk.
 */
#ifndef REDD_API_ADMIT_H
#define REDD_API_ADMIT_H

#include "api/exchange.h"

/* Count a request, before any work is done for it. ERR_LIMIT with code rate_limit_exceeded, ERR_MEM. Once an
 * exchange. */
enum err admit_request(struct exchange *x, struct why *why);
/* Reserve tokens before the engine is asked: those of the prompt, which must be there, and as many of the
 * answer's as the budget can hold. ERR_LIMIT with code rate_limit_exceeded, ERR_MEM. Once an exchange. */
enum err admit_tokens(struct exchange *x, size_t n_prompt, size_t n_answer, struct why *why);
/* Replace what was reserved by what was used. Harmless when nothing was. Before the exchange is finished or
 * ended. */
void admit_settle(struct exchange *x, size_t n_used);

#endif
