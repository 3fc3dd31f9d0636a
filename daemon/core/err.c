/* The words behind the codes. See err.h. */
#include "core/err.h"

#include <stdio.h>
#include <string.h>

static const struct {
	const char *name;
	const char *text;
} err_table[] = {
#define X(name, text) {#name, text},
        ERR_LIST(X)
#undef X
};

const char *err_name(enum err e)
{
	if ((size_t)e >= sizeof(err_table) / sizeof(err_table[0]))
		return "ERR_UNKNOWN";
	return err_table[e].name;
}

const char *err_text(enum err e)
{
	if ((size_t)e >= sizeof(err_table) / sizeof(err_table[0]))
		return "unknown error";
	return err_table[e].text;
}

enum err why_set(struct why *w, enum err e, const char *fmt, ...)
{
	va_list ap;

	if (!w)
		return e;
	memset(w, 0, sizeof(*w));
	va_start(ap, fmt);
	vsnprintf(w->message, sizeof(w->message), fmt, ap);
	va_end(ap);
	return e;
}

enum err why_param(struct why *w, enum err e, const char *param, const char *fmt, ...)
{
	va_list ap;

	if (!w)
		return e;
	memset(w, 0, sizeof(*w));
	va_start(ap, fmt);
	vsnprintf(w->message, sizeof(w->message), fmt, ap);
	va_end(ap);
	snprintf(w->param, sizeof(w->param), "%s", param);
	return e;
}

void why_prefix(struct why *w, const char *fmt, ...)
{
	struct why old;
	va_list ap;
	size_t n;

	if (!w)
		return;
	old = *w;
	va_start(ap, fmt);
	vsnprintf(w->message, sizeof(w->message), fmt, ap);
	va_end(ap);
	n = strlen(w->message);
	snprintf(w->message + n, sizeof(w->message) - n, "%s", old.message);
}
