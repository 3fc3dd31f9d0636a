/*
 * What the tests of adapters over HTTP share: a daemon with a tenant, adapters posted as forms, made up, and
 * folded.
 */
#ifndef REDD_TESTS_API_ADAPTER_PLACE_H
#define REDD_TESTS_API_ADAPTER_PLACE_H

#include "core/buf.h"
#include "core/mem.h"
#include "core/rng.h"
#include "tests/support/daemon.h"
#include "tests/support/golden.h"
#include "worker/model/model.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PTH_DIR GOLDEN_DIR "pth/"
#define LOGPROB_TOLERANCE 1e-4
#define BOUNDARY "a-line-that-no-file-here-holds"

struct place {
	struct daemon daemon;
	char key[128];
};

static inline void place_open(struct place *p, const char *dir)
{
	const char *args[] = {"--model", dir, "--model-name", "base", NULL};

	memset(p, 0, sizeof(*p));
	daemon_init(&p->daemon);
	daemon_start(&p->daemon, args);
	must_tenant(&p->daemon, "ann", p->key);
}

static inline void place_close(struct place *p)
{
	daemon_stop(&p->daemon);
	daemon_fini(&p->daemon);
}

static inline struct buf read_file(const char *path)
{
	struct buf b = {0};

	assert_int_equal(buf_read_file(&b, path, (size_t)1 << 20), OK);
	return b;
}

/* A part of a form; filename NULL = a plain field. */
struct field {
	const char *name, *filename;
	const void *data;
	size_t n;
};

/* POST /v1/adapters. */
static inline struct answer post_fields(const struct place *p, const struct field *fields, size_t n)
{
	struct buf body = {0};
	struct answer a;

	for (size_t i = 0; i < n; i++) {
		assert_int_equal(
		        buf_printf(&body, "%s--" BOUNDARY "\r\nContent-Disposition: form-data; name=\"%s\"",
		                i ? "\r\n" : "", fields[i].name),
		        OK);
		if (fields[i].filename)
			assert_int_equal(buf_printf(&body, "; filename=\"%s\"", fields[i].filename), OK);
		assert_int_equal(buf_puts(&body, "\r\n\r\n"), OK);
		assert_int_equal(buf_append(&body, fields[i].data, fields[i].n), OK);
	}
	assert_int_equal(buf_puts(&body, "\r\n--" BOUNDARY "--\r\n"), OK);
	a = http_raw(&p->daemon, p->key, "POST", "/v1/adapters", "multipart/form-data; boundary=" BOUNDARY,
	        body.data, body.len);
	buf_fini(&body);
	return a;
}

/* The same with `file`, and another field as "name=value" (NULL = none). */
static inline struct answer post_adapter(
        const struct place *p, const char *filename, const struct buf *file, const char *field)
{
	char name[64];
	struct field fields[2] = {{"file", filename, file->data, file->len}, {name, NULL, NULL, 0}};

	if (field) {
		snprintf(name, sizeof(name), "%.*s", (int)strcspn(field, "="), field);
		fields[1].data = strchr(field, '=') + 1;
		fields[1].n = strlen(fields[1].data);
	}
	return post_fields(p, fields, field ? 2 : 1);
}

/* Import a file from disk; the model's name goes to id. */
static inline void must_import(const struct place *p, const char *path, const char *field, char id[256])
{
	struct buf file = read_file(path);
	struct answer a = post_adapter(p, strrchr(path, '/') + 1, &file, field);

	if (a.status != 200)
		fail_msg("%s: %ld %s", path, a.status, a.text);
	snprintf(id, 256, "%s", json_string_value(json_object_get(a.json, "id")));
	answer_fini(&a);
	buf_fini(&file);
}

/* An adapter at every module of the base in dir, with a head unless n_labels is 0, as a safetensors file. */
static inline struct buf rich_adapter(const char *dir, unsigned parts, size_t n_labels)
{
	struct adapter_spec spec;
	struct adapter_layout *l;
	struct site *sites;
	size_t n_sites;
	char path[160];
	struct buf config, out = {0};
	struct rng rng;
	float *params;

	snprintf(path, sizeof(path), "%s/config.json", dir);
	config = read_file(path);
	assert_int_equal(model_config_sites(config.data, &sites, &n_sites, NULL), OK);
	adapter_spec_default(&spec);
	spec.positions = POSITION_FFN | POSITION_ATTN | POSITION_QKV;
	spec.parts = parts;
	if (n_labels)
		assert_int_equal(
		        adapter_layout_new_head(&spec, sites, n_sites, sites[0].width, n_labels, &l, NULL),
		        OK);
	else
		assert_int_equal(adapter_layout_new(&spec, sites, n_sites, &l, NULL), OK);
	params = mem_calloc(adapter_layout_n_params(l), sizeof(*params));
	assert_non_null(params);
	adapter_layout_start(l, params);
	rng_seed(&rng, 7);
	for (size_t i = 0; i < adapter_layout_n_params(l); i++)
		params[i] += 0.6f * ((float)rng_uniform(&rng) - 0.5f);
	assert_int_equal(adapter_write(l, params, NULL, &out), OK);
	adapter_layout_free(l);
	mem_free(params);
	mem_free(sites);
	buf_fini(&config);
	return out;
}

/* Fetch the folded checkpoint of a model and unpack it into dir with the system's tar. */
static inline void must_fold(const struct place *p, const char *model, const char *dir)
{
	char path[512], command[512];
	struct answer a;
	FILE *f;

	snprintf(path, sizeof(path), "/v1/adapters/%s/content?format=folded", model);
	a = http_call(&p->daemon, p->key, "GET", path, NULL);
	if (a.status != 200)
		fail_msg("%ld %s", a.status, a.text);
	assert_string_equal(a.content_type, "application/x-tar");
	snprintf(command, sizeof(command), "mkdir '%s'", dir);
	assert_int_equal(system(command), 0);
	snprintf(path, sizeof(path), "%s/x.tar", dir);
	f = fopen(path, "wb");
	assert_non_null(f);
	assert_int_equal(fwrite(a.text, 1, a.length, f), a.length);
	assert_int_equal(fclose(f), 0);
	snprintf(command, sizeof(command), "cd '%s' && tar -xf x.tar && rm x.tar", dir);
	assert_int_equal(system(command), 0);
	answer_fini(&a);
}

#endif
