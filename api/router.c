/* See router.h. Some forty patterns are compared in turn: less than a microsecond, and nothing to build. */
#include "api/router.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

static bool pattern_match(const char *pattern, const char *path, struct router_match *m)
{
	m->n_captures = 0;
	while (*pattern) {
		if (pattern[0] == '{' && pattern[1] == '}') {
			size_t n = strcspn(path, "/");

			if (!n || m->n_captures == ROUTER_MAX_CAPTURES)
				return false;
			m->captures[m->n_captures].p = path;
			m->captures[m->n_captures++].n = n;
			path += n;
			pattern += 2;
		} else if (*pattern++ != *path++) {
			return false;
		}
	}
	return !*path;
}

static void allow_add(struct router_match *m, const char *method)
{
	size_t n = strlen(m->allow);

	snprintf(m->allow + n, sizeof(m->allow) - n, "%s%s", n ? ", " : "", method);
	if (!strcmp(method, "GET"))
		allow_add(m, "HEAD");
}

enum router_verdict router_find(
        const struct route *const *tables, const char *method, const char *path, struct router_match *out)
{
	const char *wanted = strcmp(method, "HEAD") ? method : "GET";
	struct router_match m = {0};

	for (; *tables; tables++) {
		for (const struct route *r = *tables; r->method; r++) {
			if (!pattern_match(r->pattern, path, &m))
				continue;
			if (!strcmp(r->method, wanted)) {
				m.route = r;
				*out = m;
				return ROUTER_FOUND;
			}
			allow_add(&m, r->method);
		}
	}
	if (!m.allow[0])
		return ROUTER_NO_PATH;
	allow_add(&m, "OPTIONS");
	*out = m;
	return ROUTER_NO_METHOD;
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)tolower((unsigned char)c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool url_decode(char *s)
{
	char *to = s;

	for (const char *p = s; (p = strchr(p, '%')); p++)
		if (hex_value(p[1]) < 0 || hex_value(p[2]) < 0 || (p[1] == '0' && p[2] == '0'))
			return false;
	for (const char *from = s; *from; from++) {
		if (*from == '%') {
			*to++ = (char)(hex_value(from[1]) << 4 | hex_value(from[2]));
			from += 2;
		} else {
			*to++ = *from;
		}
	}
	*to = '\0';
	return true;
}
