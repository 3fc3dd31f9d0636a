/* Errors on the wire: one table from our codes to HTTP's, and the body that the official clients read. */
#include "api/exchange.h"
#include "api/wire.h"

unsigned err_http_status(enum err e)
{
	switch (e) {
	case OK:
		return 200;
	case ERR_INVALID:
	case ERR_FORMAT:
	case ERR_UNSUPPORTED:
	case ERR_TOO_LONG:
	/* Not 409, which the clients would retry. */
	case ERR_EXISTS:
	case ERR_STATE:
		return 400;
	case ERR_AUTH:
		return 401;
	case ERR_FORBIDDEN:
		return 403;
	case ERR_NOT_FOUND:
	case ERR_EMPTY:
		return 404;
	case ERR_TOO_LARGE:
		return 413;
	case ERR_MISMATCH:
		return 422;
	case ERR_LIMIT:
		return 429;
	case ERR_BUSY:
	case ERR_CANCELLED:
		return 503;
	case ERR_MEM:
	case ERR_IO:
	case ERR_DB:
		return 500;
	}
	return 500;
}

static const char *error_type(unsigned status)
{
	switch (status) {
	case 401:
		return "authentication_error";
	case 403:
		return "permission_error";
	case 404:
		return "not_found_error";
	case 429:
		return "rate_limit_error";
	default:
		return status >= 500 ? "server_error" : "invalid_request_error";
	}
}

/* Codes that go without saying. */
static const char *error_code(enum err e)
{
	if (e == ERR_AUTH)
		return "invalid_api_key";
	if (e == ERR_TOO_LONG)
		return "context_length_exceeded";
	if (e == ERR_LIMIT)
		return "insufficient_quota";
	return NULL;
}

json_t *error_json(enum err e, const struct why *why)
{
	const char *message = why && why->message[0] ? why->message : err_text(e);
	const char *code = why && why->code[0] ? why->code : error_code(e);

	return json_pack("{s:{s:o, s:s, s:o, s:o}}", "error", "message", wire_string(message), "type",
	        error_type(err_http_status(e)), "param", wire_string_or_null(why ? why->param : NULL), "code",
	        wire_string(code));
}
