/*
 * Who asks: an Authorization header to a principal. Keys are looked up in the store by their SHA-256; what
 * was found is remembered for a while, and forgotten at once when a key or tenant is revoked here. Thread:
 * any; auth_ask() may wait for the store.
 */
#ifndef REDD_API_AUTH_H
#define REDD_API_AUTH_H

#include "api/api.h"

struct principal {
	bool is_admin;
	bool has_tenant;
	struct tenant tenant; /* meaningful with has_tenant */
};

struct auth;

/* options and store are borrowed. */
enum err auth_new(const struct api_options *options, struct store *store, struct auth **out);
void auth_free(struct auth *a);

/* Without waiting: OK with *out filled, ERR_BUSY when only auth_ask() can tell, ERR_AUTH when the header
 * (NULL = none) can never be right. */
enum err auth_peek(struct auth *a, const char *authorization, struct principal *out, struct why *why);
/* ERR_AUTH for an unknown key; the store's errors. */
enum err auth_ask(struct auth *a, const char *authorization, struct principal *out, struct why *why);
/* After the tenant or a key of it was deleted. */
void auth_forget(struct auth *a, const char *tenant_id);

#endif
