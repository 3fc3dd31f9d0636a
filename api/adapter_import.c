/*
 * POST /v1/adapters: an adapter made elsewhere becomes one of the tenant's models. What is stored is our own
 * serialisation of what was understood, never the file that came. Pool threads.
 */
#include "api/adapter_files.h"
#include "api/edge.h"
#include "api/form.h"
#include "api/model_json.h"
#include "api/wire.h"
#include "core/mem.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ID_CHARS 8
#define FILENAME_MAX_BYTES 255
#define NAME_LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"

/* What a request asks for, and what becomes of it. */
struct import {
	struct exchange *x;
	struct form form;
	const struct form_part *file, *classifier; /* borrowed from form; classifier may be NULL */
	const char *name;                          /* borrowed from form */
	struct adapter_layout *layout;
	float *params;
	json_t *manifest;
	struct buf content;
	char model[STORE_MODEL_SIZE];
	struct why why;
};

static void import_fini(struct import *im)
{
	form_fini(&im->form);
	adapter_layout_free(im->layout);
	mem_free(im->params);
	json_decref(im->manifest);
	buf_fini(&im->content);
}

static enum err read_form(struct import *im)
{
	struct why *why = &im->why;
	const struct form_part *name;
	enum err e = form_read(&im->form, exchange_header(im->x, "Content-Type"), exchange_body(im->x), why);

	if (e)
		return e;
	im->file = form_find(&im->form, "file");
	im->classifier = form_find(&im->form, "classifier");
	name = form_find(&im->form, "name");
	im->name = name ? name->content.data : "";
	if (!im->file || !im->file->content.len)
		return why_param(why, ERR_INVALID, "file",
		        "'file' is required: safetensors, or what torch.save wrote, as a part of the form.");
	if (im->file->filename && strlen(im->file->filename) > FILENAME_MAX_BYTES)
		return why_param(
		        why, ERR_INVALID, "file", "The file's name may have %d bytes.", FILENAME_MAX_BYTES);
	if (name &&
	        (name->content.len >= STORE_NAME_SIZE || strspn(im->name, NAME_LETTERS) != name->content.len))
		return why_param(why, ERR_INVALID, "name",
		        "'name' has at most %d letters, digits, dots, dashes and underscores.",
		        STORE_NAME_SIZE - 1);
	return OK;
}

/* Match the file against the base's modules. */
static enum err understand(struct import *im)
{
	struct worker *w = exchange_worker(im->x);
	const struct form_part *file = im->file, *head = im->classifier;
	const struct site *sites;
	struct why *why = &im->why;
	size_t n_sites;
	enum err e;

	if (!w)
		return why_set(&im->why, ERR_BUSY, "The daemon has no base model yet.");
	sites = model_sites(worker_model(w), &n_sites);
	if (head)
		e = adapter_import_with_head(file->content.data, file->content.len, head->content.data,
		        head->content.len, sites, n_sites, &im->layout, &im->params, why);
	else
		e = adapter_import(
		        file->content.data, file->content.len, sites, n_sites, &im->layout, &im->params, why);
	if (e && e != ERR_MEM && !why->param[0])
		why_param(why, e, "file", "%s", strdupa(why->message));
	if (!e && adapter_layout_head_labels(im->layout) &&
	        model_info(worker_model(w))->kind != MODEL_ENCODER)
		return why_param(why, ERR_MISMATCH, head ? "classifier" : "file",
		        "The base %s does not classify: a classifier does not belong to it.",
		        worker_base_name(w));
	return e;
}

/* What registry and readers want to know of it; the spec is what was found in the file. */
static enum err describe(struct import *im)
{
	struct worker *w = exchange_worker(im->x);
	const char *from = im->file->filename ? im->file->filename : "";
	enum err e;

	im->manifest = adapter_manifest(im->layout);
	if (!im->manifest ||
	        json_object_set_new(
	                im->manifest, "base_hash", json_string(model_info(worker_model(w))->hash)) ||
	        json_object_set_new(im->manifest, "imported_from", wire_string(from)))
		return ERR_MEM;
	e = adapter_write(im->layout, im->params, im->manifest, &im->content);
	/* The store's copy names the base too, as a job's does; the file's bytes depend on the base alone. */
	if (!e && json_object_set_new(im->manifest, "base", json_string(worker_base_name(w))))
		e = ERR_MEM;
	return e;
}

static enum err name_it(struct import *im)
{
	char id[ID_CHARS + 1];
	enum err e = random_id("", ID_CHARS, id);
	int n;

	if (e)
		return e;
	n = snprintf(im->model, sizeof(im->model), "ft:%s:%s:%s:%s", worker_base_name(exchange_worker(im->x)),
	        exchange_tenant(im->x)->name, im->name, id);
	return n > 0 && (size_t)n < sizeof(im->model) ? OK : ERR_TOO_LONG;
}

static enum err keep(struct import *im, struct adapter_record *out)
{
	char *manifest = json_dumps(im->manifest, JSON_COMPACT);
	struct adapter_new in = {.tenant_id = exchange_tenant(im->x)->id,
	        .name = im->model,
	        .parent = worker_base_name(exchange_worker(im->x)),
	        .manifest = manifest,
	        .content = im->content.data,
	        .n_content = im->content.len};
	enum err e = manifest ? store_adapter_add(exchange_store(im->x), &in, out) : ERR_MEM;

	free(manifest);
	return e;
}

enum exchange_verdict adapter_import_post(struct exchange *x)
{
	struct import im = {.x = x};
	struct adapter_record a = {0};
	enum exchange_verdict verdict;
	enum err e = read_form(&im);

	if (!e)
		e = understand(&im);
	if (!e)
		e = describe(&im);
	if (!e)
		e = name_it(&im);
	if (!e)
		e = keep(&im, &a);
	if (e)
		verdict = exchange_reply_error(x, e, &im.why);
	else
		verdict = exchange_reply_json(x, 200, model_json(exchange_tenant(x), &a));
	adapter_record_fini(&a);
	import_fini(&im);
	return verdict;
}
