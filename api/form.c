/* See form.h. */
#include "api/form.h"

#include "api/multipart.h"
#include "core/mem.h"

#include <string.h>

const struct form_part *form_find(const struct form *form, const char *name)
{
	for (size_t i = 0; i < form->n; i++)
		if (form->parts[i].name && !strcmp(form->parts[i].name, name))
			return &form->parts[i];
	return NULL;
}

static enum err on_part(void *arg, const char *name, const char *filename, struct why *why)
{
	struct form *form = arg;
	struct form_part *part;

	if (form_find(form, name))
		return why_param(why, ERR_INVALID, name, "'%.60s' is in the form twice.", name);
	if (form->n == FORM_MAX_PARTS)
		return why_set(why, ERR_INVALID, "The form has more than %d parts.", FORM_MAX_PARTS);
	part = &form->parts[form->n++];
	part->name = mem_strdup(name);
	part->filename = mem_strdup(filename);
	return !part->name || (filename && !part->filename) ? ERR_MEM : buf_reserve(&part->content, 1);
}

static enum err on_data(void *arg, const char *p, size_t n, struct why *why)
{
	struct form *form = arg;

	(void)why;
	return buf_append(&form->parts[form->n - 1].content, p, n);
}

enum err form_read(struct form *form, const char *content_type, const struct buf *body, struct why *why)
{
	struct multipart_sink sink = {.begin = on_part, .data = on_data, .arg = form};
	struct multipart *parser = NULL;
	enum err e = multipart_new(content_type, &sink, &parser, why);

	if (!e && body->len)
		e = multipart_feed(parser, body->data, body->len, why);
	if (!e)
		e = multipart_end(parser, why);
	multipart_free(parser);
	return e;
}

void form_fini(struct form *form)
{
	for (size_t i = 0; i < form->n; i++) {
		mem_free(form->parts[i].name);
		mem_free(form->parts[i].filename);
		buf_fini(&form->parts[i].content);
	}
	form->n = 0;
}
