/* See admit.h. */
#include "api/admit.h"

#include "api/edge.h"
#include "core/clock.h"

#include <stdio.h>
#include <string.h>

#define NS_PER_MS 1000000

static int64_t now_ms(void)
{
	return clock_mono_ns() / NS_PER_MS;
}

static int64_t limit_of(struct exchange *x, enum rate_kind kind)
{
	const struct tenant_limits *own = &exchange_tenant(x)->limits, all = exchange_default_limits(x);

	if (kind == RATE_REQUESTS)
		return own->requests_per_minute ? own->requests_per_minute : all.requests_per_minute;
	return own->tokens_per_minute ? own->tokens_per_minute : all.tokens_per_minute;
}

static const char *kind_name(enum rate_kind kind)
{
	return kind == RATE_REQUESTS ? "requests" : "tokens";
}

static void header_set(struct exchange *x, const char *what, enum rate_kind kind, const char *value)
{
	char name[48];

	snprintf(name, sizeof(name), "x-ratelimit-%s-%s", what, kind_name(kind));
	exchange_set_header(x, name, value);
}

/* "850ms", "12s", "1m3s": as OpenAI writes them. */
static void duration_text(int64_t ms, char text[32])
{
	int64_t s = (ms + 999) / 1000;

	if (ms < 1000)
		snprintf(text, 32, "%lldms", (long long)ms);
	else if (s < 60)
		snprintf(text, 32, "%llds", (long long)s);
	else
		snprintf(text, 32, "%lldm%llds", (long long)(s / 60), (long long)(s % 60));
}

static void headers_set(
        struct exchange *x, enum rate_kind kind, int64_t limit, const struct rate_state *state)
{
	char text[32];

	snprintf(text, sizeof(text), "%lld", (long long)limit);
	header_set(x, "limit", kind, text);
	snprintf(text, sizeof(text), "%lld", (long long)state->remaining);
	header_set(x, "remaining", kind, text);
	duration_text(state->reset_ms, text);
	header_set(x, "reset", kind, text);
}

static enum err refuse(struct exchange *x, enum rate_kind kind, int64_t limit, int64_t wanted,
        const struct rate_state *state, struct why *why)
{
	int64_t seconds = (state->wait_ms + 999) / 1000;
	char text[32];

	if (state->wait_ms < 0) {
		exchange_set_header(x, "x-should-retry", "false");
		why_set(why, ERR_LIMIT,
		        "The request is too large: it has %lld tokens, and your limit is %lld per minute. "
		        "Shorten it.",
		        (long long)wanted, (long long)limit);
	} else {
		snprintf(text, sizeof(text), "%lld", (long long)(seconds > 0 ? seconds : 1));
		exchange_set_header(x, "Retry-After", text);
		snprintf(text, sizeof(text), "%lld", (long long)state->wait_ms);
		exchange_set_header(x, "retry-after-ms", text);
		duration_text(state->wait_ms, text);
		why_set(why, ERR_LIMIT,
		        "Rate limit reached on %s per minute: limit %lld, left %lld, asked for %lld. Try "
		        "again in %s.",
		        kind_name(kind), (long long)limit, (long long)state->remaining, (long long)wanted,
		        text);
	}
	memcpy(why->code, "rate_limit_exceeded", sizeof("rate_limit_exceeded"));
	return ERR_LIMIT;
}

enum err admit_request(struct exchange *x, struct why *why)
{
	int64_t limit = limit_of(x, RATE_REQUESTS);
	struct rate_state state;
	enum err e;

	if (limit <= 0)
		return OK;
	e = rate_take(
	        exchange_api(x)->rate, exchange_tenant(x)->id, RATE_REQUESTS, limit, 1, now_ms(), &state);
	if (e == OK || e == ERR_LIMIT)
		headers_set(x, RATE_REQUESTS, limit, &state);
	return e == ERR_LIMIT ? refuse(x, RATE_REQUESTS, limit, 1, &state, why) : e;
}

enum err admit_tokens(struct exchange *x, size_t n_prompt, size_t n_answer, struct why *why)
{
	int64_t limit = limit_of(x, RATE_TOKENS), wanted = (int64_t)n_prompt;
	struct rate_state state;
	enum err e;

	if (limit <= 0)
		return OK;
	/* An answer may be allowed more than a minute's worth: then all of it is reserved. */
	if (wanted < limit)
		wanted = n_answer < (size_t)(limit - wanted) ? wanted + (int64_t)n_answer : limit;
	e = rate_take(
	        exchange_api(x)->rate, exchange_tenant(x)->id, RATE_TOKENS, limit, wanted, now_ms(), &state);
	if (e == OK || e == ERR_LIMIT)
		headers_set(x, RATE_TOKENS, limit, &state);
	if (e == OK)
		x->reserved_tokens = wanted;
	return e == ERR_LIMIT ? refuse(x, RATE_TOKENS, limit, wanted, &state, why) : e;
}

void admit_settle(struct exchange *x, size_t n_used)
{
	int64_t limit = limit_of(x, RATE_TOKENS);

	if (!x->reserved_tokens || limit <= 0)
		return;
	rate_give(exchange_api(x)->rate, exchange_tenant(x)->id, RATE_TOKENS, limit,
	        x->reserved_tokens - (int64_t)n_used, now_ms());
	x->reserved_tokens = 0;
}
