/*
 * From method and path to a route. Patterns are literal segments and "{}", which captures one segment as it
 * was sent; the caller decodes it once, after matching, so that %2F never splits a segment. Thread: any; no
 * state.
 */
#ifndef REDD_API_ROUTER_H
#define REDD_API_ROUTER_H

#include "api/exchange.h"

#define ROUTER_MAX_CAPTURES 3
#define ROUTER_ALLOW_SIZE 64

enum router_verdict { ROUTER_FOUND, ROUTER_NO_PATH, ROUTER_NO_METHOD };

struct router_match {
	const struct route *route;
	size_t n_captures;
	struct {
		const char *p; /* borrowed from the path */
		size_t n;
	} captures[ROUTER_MAX_CAPTURES];
	char allow[ROUTER_ALLOW_SIZE]; /* with ROUTER_NO_METHOD: "GET, HEAD, OPTIONS" */
};

/* Look path up in tables (ended by NULL), each ended by a NULL method. HEAD is answered by the route of GET.
 */
enum router_verdict router_find(
        const struct route *const *tables, const char *method, const char *path, struct router_match *out);

/* Decode %XX in place, once. False, with s untouched, when an escape is broken or stands for NUL. */
bool url_decode(char *s);

#endif
