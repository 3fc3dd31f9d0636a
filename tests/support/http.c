/* The HTTP half of daemon.h, on libcurl's easy interface: one handle a call, so any thread may call. */
#include "tests/support/daemon.h"

#include "core/buf.h"
#include "core/mem.h"

#include <curl/curl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define CALL_TIMEOUT_S 180L

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
	return buf_append(arg, data, size * n) ? 0 : size * n;
}

static CURL *call_open(const struct daemon *d, const char *key, const char *method, const char *path,
        struct curl_slist **headers)
{
	char url[1024], line[256];
	CURL *c = curl_easy_init();

	assert_non_null(c);
	snprintf(url, sizeof(url), "%s%s", d->spawn.url, path);
	curl_easy_setopt(c, CURLOPT_URL, url);
	curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, method);
	curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(c, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(c, CURLOPT_TIMEOUT, CALL_TIMEOUT_S);
	if (key) {
		snprintf(line, sizeof(line), "Authorization: Bearer %s", key);
		*headers = curl_slist_append(*headers, line);
	}
	return c;
}

static void call_body(
        CURL *c, struct curl_slist **headers, const char *content_type, const void *data, size_t n)
{
	char line[256];

	snprintf(line, sizeof(line), "Content-Type: %s", content_type);
	*headers = curl_slist_append(*headers, line);
	*headers = curl_slist_append(*headers, "Expect:");
	curl_easy_setopt(c, CURLOPT_POST, 1L);
	curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)n);
	curl_easy_setopt(c, CURLOPT_COPYPOSTFIELDS, data);
}

/* jansson reads no NUL in an object's key, and a token may be one: it is read as its picture, U+2400. */
static json_t *parse_json(const struct buf *body)
{
	char *text = mem_dup(body->data, body->len + 1), *at = text;
	json_t *json;

	assert_non_null(text);
	while ((at = strstr(at, "\\u0000")))
		memcpy(at, "\\u2400", 6);
	json = json_loads(text, JSON_DECODE_ANY, NULL);
	mem_free(text);
	return json;
}

/* Perform, collect, clean up. Status 0 when the connection failed. */
static struct answer call_run(CURL *c, struct curl_slist *headers)
{
	struct answer a = {0};
	struct buf body = {0};
	const char *type = NULL;
	CURLcode rc;

	assert_int_equal(buf_reserve(&body, 0), OK);
	curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(c, CURLOPT_WRITEDATA, &body);
	rc = curl_easy_perform(c);
	if (rc == CURLE_OK) {
		curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &a.status);
		curl_easy_getinfo(c, CURLINFO_CONTENT_TYPE, &type);
		snprintf(a.content_type, sizeof(a.content_type), "%s", type ? type : "");
	}
	curl_slist_free_all(headers);
	curl_easy_cleanup(c);
	a.text = body.data;
	a.length = body.len;
	a.json = parse_json(&body);
	return a;
}

void answer_fini(struct answer *a)
{
	mem_free(a->text);
	json_decref(a->json);
	memset(a, 0, sizeof(*a));
}

struct answer http_raw(const struct daemon *d, const char *key, const char *method, const char *path,
        const char *content_type, const void *data, size_t n)
{
	struct curl_slist *headers = NULL;
	CURL *c = call_open(d, key, method, path, &headers);

	if (data)
		call_body(c, &headers, content_type, data, n);
	return call_run(c, headers);
}

struct answer http_call(
        const struct daemon *d, const char *key, const char *method, const char *path, const json_t *body)
{
	char *text = body ? json_dumps(body, 0) : NULL;
	struct answer a = http_raw(d, key, method, path, "application/json", text, text ? strlen(text) : 0);

	free(text);
	return a;
}

long http_upload(
        const struct daemon *d, const char *key, const char *name, const void *data, size_t n, char id[64])
{
	struct curl_slist *headers = NULL;
	CURL *c = call_open(d, key, "POST", "/v1/files", &headers);
	curl_mime *form = curl_mime_init(c);
	curl_mimepart *part = curl_mime_addpart(form);
	struct answer a;
	long status;

	curl_mime_name(part, "purpose");
	curl_mime_data(part, "fine-tune", CURL_ZERO_TERMINATED);
	part = curl_mime_addpart(form);
	curl_mime_name(part, "file");
	curl_mime_data(part, data, n);
	curl_mime_filename(part, name);
	curl_easy_setopt(c, CURLOPT_MIMEPOST, form);
	a = call_run(c, headers);
	curl_mime_free(form);
	status = a.status;
	id[0] = '\0';
	if (status == 200)
		snprintf(id, 64, "%s", json_string_value(json_object_get(a.json, "id")));
	answer_fini(&a);
	return status;
}

struct sse {
	struct buf pending;
	bool (*on_event)(void *arg, const char *data);
	void *arg;
};

static size_t on_sse(char *data, size_t size, size_t n, void *arg)
{
	struct sse *s = arg;
	char *end;

	if (buf_append(&s->pending, data, size * n))
		return 0;
	while ((end = memchr(s->pending.data, '\n', s->pending.len))) {
		size_t length = (size_t)(end - s->pending.data);
		bool go_on = true;

		*end = '\0';
		if (strncmp(s->pending.data, "data: ", 6) == 0)
			go_on = s->on_event(s->arg, s->pending.data + 6);
		buf_consume(&s->pending, length + 1);
		if (!go_on)
			return 0;
	}
	return size * n;
}

long http_stream(const struct daemon *d, const char *key, const char *method, const char *path,
        const json_t *body, bool (*on_event)(void *arg, const char *data), void *arg)
{
	struct curl_slist *headers = NULL;
	CURL *c = call_open(d, key, method, path, &headers);
	struct sse sse = {.on_event = on_event, .arg = arg};
	char *text = body ? json_dumps(body, 0) : NULL;
	long status = 0;

	if (text)
		call_body(c, &headers, "application/json", text, strlen(text));
	curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_sse);
	curl_easy_setopt(c, CURLOPT_WRITEDATA, &sse);
	curl_easy_perform(c);
	curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
	curl_slist_free_all(headers);
	curl_easy_cleanup(c);
	buf_fini(&sse.pending);
	free(text);
	return status;
}

json_t *must_call(
        const struct daemon *d, const char *key, const char *method, const char *path, const json_t *body)
{
	struct answer a = http_call(d, key, method, path, body);
	json_t *json;

	if (a.status != 200 || !a.json)
		fail_msg("%s %s: status %ld: %.2000s", method, path, a.status, a.text);
	json = json_incref(a.json);
	answer_fini(&a);
	return json;
}

void must_tenant(const struct daemon *d, const char *name, char key[128])
{
	json_t *body = json_pack("{s:s}", "name", name);
	json_t *tenant = must_call(d, d->admin_key, "POST", "/v1/admin/tenants", body);

	snprintf(key, 128, "%s", json_string_value(json_object_get(tenant, "api_key")));
	json_decref(body);
	json_decref(tenant);
}

void must_upload(const struct daemon *d, const char *key, const char *path, char id[64])
{
	struct buf data = {0};

	if (buf_read_file(&data, path, 1 << 26))
		fail_msg("%s cannot be read", path);
	assert_int_equal(http_upload(d, key, strrchr(path, '/') + 1, data.data, data.len, id), 200);
	buf_fini(&data);
}

void must_job(const struct daemon *d, const char *key, const json_t *body, char id[64])
{
	json_t *job = must_call(d, key, "POST", "/v1/fine_tuning/jobs", body);

	snprintf(id, 64, "%s", json_string_value(json_object_get(job, "id")));
	json_decref(job);
}

static bool ignore_event(void *arg, const char *data)
{
	(void)arg;
	(void)data;
	return true;
}

json_t *must_finish(const struct daemon *d, const char *key, const char *job_id)
{
	char path[128];

	snprintf(path, sizeof(path), "/v1/fine_tuning/jobs/%s/events?stream=true", job_id);
	assert_int_equal(http_stream(d, key, "GET", path, NULL, ignore_event, NULL), 200);
	snprintf(path, sizeof(path), "/v1/fine_tuning/jobs/%s", job_id);
	return must_call(d, key, "GET", path, NULL);
}

char *must_detokenize(const struct daemon *d, const char *key, const char *model, const json_t *ids)
{
	json_t *body = json_pack("{s:s, s:O}", "model", model, "tokens", ids);
	json_t *answer = must_call(d, key, "POST", "/v1/detokenize", body);
	char *text = mem_strdup(json_string_value(json_object_get(answer, "prompt")));

	assert_non_null(text);
	json_decref(body);
	json_decref(answer);
	return text;
}

char *must_added_text(const struct daemon *d, const char *key, const char *model, json_t *prompt, json_t *ids)
{
	json_t *body = NULL, *answer = NULL, *all;
	char *before, *after, *added;

	if (json_is_string(prompt)) {
		body = json_pack("{s:s, s:O}", "model", model, "prompt", prompt);
		answer = must_call(d, key, "POST", "/v1/tokenize", body);
		prompt = json_object_get(answer, "tokens");
	}
	all = json_copy(prompt);
	json_array_extend(all, ids);
	before = must_detokenize(d, key, model, prompt);
	after = must_detokenize(d, key, model, all);
	added = mem_strdup(after + strlen(before));
	mem_free(before);
	mem_free(after);
	json_decref(all);
	json_decref(body);
	json_decref(answer);
	return added;
}

/* One page of events into values; the id to go on after, or "" at the end. */
static void metrics_page(
        const json_t *page, const char *field, double *values, size_t max, size_t *n, char after[64])
{
	const json_t *data = json_object_get(page, "data"), *event;
	size_t i;

	after[0] = '\0';
	json_array_foreach (data, i, event) {
		const json_t *metrics = json_object_get(event, "data"),
		             *value = json_object_get(metrics, field);
		size_t step = (size_t)json_integer_value(json_object_get(metrics, "step"));

		if (value && step >= 1 && step <= max) {
			values[step - 1] = json_number_value(value);
			++*n;
		}
		if (json_is_true(json_object_get(page, "has_more")))
			snprintf(after, 64, "%s", json_string_value(json_object_get(event, "id")));
	}
}

size_t job_metrics(const struct daemon *d, const char *key, const char *job_id, const char *field,
        double *values, size_t max)
{
	char path[256], after[64] = "";
	size_t n = 0;

	do {
		json_t *page;

		snprintf(path, sizeof(path), "/v1/fine_tuning/jobs/%s/events?limit=100%s%s", job_id,
		        *after ? "&after=" : "", after);
		page = must_call(d, key, "GET", path, NULL);
		metrics_page(page, field, values, max, &n, after);
		json_decref(page);
	} while (*after);
	return n;
}
