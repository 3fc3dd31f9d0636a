/*
 * Error codes shared by every room, and `struct why`, the words that go with them.
 *
 * Every fallible call returns `enum err`; results leave by the last parameters, untouched on failure.
 * A call that reads what a stranger sent also takes a `struct why *` and says there what is wrong and
 * what to do about it. Thread: any; nothing here is shared.
 */
#ifndef REDD_CORE_ERR_H
#define REDD_CORE_ERR_H

#include <stdarg.h>

/* X(name, the default words) */
#define ERR_LIST(X)                                                                                          \
	X(OK, "ok")                                                                                          \
	X(ERR_MEM, "out of memory")                                                                          \
	X(ERR_IO, "input/output failed")                                                                     \
	X(ERR_DB, "the store failed")                                                                        \
	X(ERR_INVALID, "invalid input")                                                                      \
	X(ERR_FORMAT, "malformed file")                                                                      \
	X(ERR_UNSUPPORTED, "not supported")                                                                  \
	X(ERR_NOT_FOUND, "not found")                                                                        \
	X(ERR_EXISTS, "exists already")                                                                      \
	X(ERR_EMPTY, "nothing there")                                                                        \
	X(ERR_STATE, "not possible in this state")                                                           \
	X(ERR_AUTH, "not authenticated")                                                                     \
	X(ERR_FORBIDDEN, "not allowed")                                                                      \
	X(ERR_MISMATCH, "does not fit the base model")                                                       \
	X(ERR_TOO_LARGE, "too large")                                                                        \
	X(ERR_TOO_LONG, "longer than the context")                                                           \
	X(ERR_LIMIT, "a limit is reached")                                                                   \
	X(ERR_BUSY, "busy, try again later")                                                                 \
	X(ERR_CANCELLED, "cancelled")

enum err {
#define X(name, text) name,
	ERR_LIST(X)
#undef X
};

/* The identifier of e, such as "ERR_MEM"; never NULL. */
const char *err_name(enum err e);
/* The default words for e, such as "out of memory"; never NULL. */
const char *err_text(enum err e);

/* Why a call failed, for the person who can mend it. Zero-initialise; empty strings mean "not said". */
struct why {
	char message[512];
	char param[64]; /* the request field or file part at fault */
	char code[48];  /* a machine-readable code of the wire contract, where it names one */
};

/* Put the formatted message into w (NULL is allowed) and return e, so that a caller can
 * `return why_set(why, ERR_FORMAT, "%s: header is %zu bytes", path, n);`. Replaces what w said before. */
__attribute__((format(printf, 3, 4))) enum err why_set(struct why *w, enum err e, const char *fmt, ...);

/* As why_set, and name the parameter at fault. */
__attribute__((format(printf, 4, 5))) enum err why_param(
        struct why *w, enum err e, const char *param, const char *fmt, ...);

/* Put the formatted text before what w already says: how a caller adds the file to a parser's reason. */
__attribute__((format(printf, 2, 3))) void why_prefix(struct why *w, const char *fmt, ...);

#endif
