/* See pattern.h. */
#include "worker/text/pattern.h"

#include "core/mem.h"

#include <string.h>

enum err pattern_parse(const json_t *component, struct regex **out, struct why *why)
{
	struct json_text text = {0};
	json_t *pattern;
	bool literal;
	enum err e = json_get_object(component, "pattern", &pattern, why);

	if (e)
		return e;
	literal = json_object_get(pattern, "String") != NULL;
	e = json_get_text(pattern, literal ? "String" : "Regex", &text, why);
	return e ? e : regex_new(text.p, text.n, literal, out, why);
}

enum err pattern_replace(const struct regex *r, struct regex_scratch *s, const char *p, size_t n,
        struct json_text content, struct buf *out)
{
	struct regex_iter it;
	size_t done = 0;
	enum err e;

	for (it = regex_iter(r, s, p, n); regex_iter_next(&it);) {
		e = buf_append(out, p + done, it.start - done);
		if (e)
			return e;
		e = buf_append(out, content.p, content.n);
		if (e)
			return e;
		done = it.end;
	}
	return it.error ? it.error : buf_append(out, p + done, n - done);
}

char *pattern_copy(struct json_text t)
{
	char *copy = mem_calloc(t.n + 1, 1);

	if (copy && t.n)
		memcpy(copy, t.p, t.n);
	return copy;
}
