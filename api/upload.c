/* See upload.h. */
#include "api/upload.h"

#include "api/multipart.h"
#include "api/pairs.h"
#include "core/mem.h"

#include <stdio.h>
#include <string.h>

#define FIELDS_MAX_BYTES 16384
#define FIELD_NAME_SIZE 256

struct upload {
	struct store *store;      /* borrowed */
	struct multipart *parser; /* owned */
	struct file_writer *file; /* owned; NULL before the part and after upload_take() */
	char *filename;           /* owned */
	struct pairs fields;
	char field_name[FIELD_NAME_SIZE]; /* of the plain field now arriving */
	struct buf field;
	bool in_file, in_field, had_file;
	int64_t bytes, max_bytes;
};

static enum err field_finish(struct upload *u)
{
	enum err e = OK;

	if (u->in_field)
		e = pairs_add(&u->fields, u->field_name, u->field.data ? u->field.data : "");
	buf_fini(&u->field);
	u->in_field = false;
	return e;
}

static enum err on_part(void *arg, const char *name, const char *filename, struct why *why)
{
	struct upload *u = arg;
	enum err e = field_finish(u);

	if (e)
		return e;
	u->in_file = !strcmp(name, "file");
	u->in_field = !u->in_file;
	if (u->in_field) {
		snprintf(u->field_name, sizeof(u->field_name), "%s", name);
		return OK;
	}
	if (u->had_file)
		return why_param(why, ERR_INVALID, "file", "One file per request: 'file' is there twice.");
	u->had_file = true;
	u->filename = mem_strdup(filename ? filename : "");
	if (!u->filename)
		return ERR_MEM;
	return store_file_begin(u->store, &u->file);
}

static enum err on_data(void *arg, const char *p, size_t n, struct why *why)
{
	struct upload *u = arg;

	if (u->in_field) {
		if (u->field.len + u->fields.text.len + n > FIELDS_MAX_BYTES)
			return why_param(why, ERR_TOO_LARGE, u->field_name,
			        "The form's fields besides 'file' may hold %d bytes.", FIELDS_MAX_BYTES);
		return buf_append(&u->field, p, n);
	}
	if ((int64_t)n > u->max_bytes - u->bytes)
		return why_param(why, ERR_TOO_LARGE, "file",
		        "The file is larger than the limit of %lld bytes; split it.",
		        (long long)u->max_bytes);
	u->bytes += (int64_t)n;
	return file_writer_write(u->file, p, n);
}

enum err upload_new(struct store *s, const char *content_type, int64_t max_file_bytes, struct upload **out,
        struct why *why)
{
	struct upload *u = mem_calloc(1, sizeof(*u));
	struct multipart_sink sink = {.begin = on_part, .data = on_data, .arg = u};
	enum err e;

	if (!u)
		return ERR_MEM;
	u->store = s;
	u->max_bytes = max_file_bytes;
	e = multipart_new(content_type, &sink, &u->parser, why);
	if (e) {
		upload_free(u);
		return e;
	}
	*out = u;
	return OK;
}

enum err upload_feed(struct upload *u, const char *p, size_t n, struct why *why)
{
	return multipart_feed(u->parser, p, n, why);
}

enum err upload_end(struct upload *u, struct why *why)
{
	enum err e = multipart_end(u->parser, why);

	if (!e)
		e = field_finish(u);
	if (!e && !u->had_file)
		return why_param(
		        why, ERR_INVALID, "file", "'file' is required: the content, as a part of the form.");
	return e;
}

const char *upload_field(const struct upload *u, const char *name)
{
	return pairs_get(&u->fields, name, false);
}

const char *upload_filename(const struct upload *u)
{
	return u->filename ? u->filename : "";
}

int64_t upload_bytes(const struct upload *u)
{
	return u->bytes;
}

struct file_writer *upload_take(struct upload *u)
{
	struct file_writer *w = u->file;

	u->file = NULL;
	return w;
}

void upload_free(struct upload *u)
{
	if (!u)
		return;
	multipart_free(u->parser);
	if (u->file)
		file_writer_abort(u->file);
	mem_free(u->filename);
	pairs_fini(&u->fields);
	buf_fini(&u->field);
	mem_free(u);
}
