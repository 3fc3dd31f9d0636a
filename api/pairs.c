/* See pairs.h. */
#include "api/pairs.h"

#include <string.h>
#include <strings.h>

enum err pairs_add(struct pairs *p, const char *name, const char *value)
{
	size_t n_name = strlen(name) + 1, n_value = strlen(value) + 1;
	enum err e = buf_reserve(&p->text, n_name + n_value);

	if (e)
		return e;
	buf_append(&p->text, name, n_name); /* both fit now */
	buf_append(&p->text, value, n_value);
	return OK;
}

bool pairs_next(const struct pairs *p, size_t *at, const char **name, const char **value)
{
	if (*at >= p->text.len)
		return false;
	*name = p->text.data + *at;
	*value = *name + strlen(*name) + 1;
	*at += strlen(*name) + strlen(*value) + 2;
	return true;
}

const char *pairs_get(const struct pairs *p, const char *name, bool ignore_case)
{
	const char *key, *value;
	size_t at = 0;

	while (pairs_next(p, &at, &key, &value))
		if (!(ignore_case ? strcasecmp(key, name) : strcmp(key, name)))
			return value;
	return NULL;
}

void pairs_fini(struct pairs *p)
{
	buf_fini(&p->text);
}
