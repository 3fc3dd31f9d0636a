/* See client.h. One curl handle, reused, so a watch keeps its connection. */
#include "daemon/ctl/client.h"

#include "core/buf.h"
#include "core/mem.h"
#include "daemon/ctl/args.h"
#include "daemon/ctl/sse.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_REPLY_BYTES (256u << 20)
#define CONNECT_TIMEOUT_S 10L

struct client {
	CURL *curl;                 /* owned, as everything here */
	struct curl_slist *headers; /* of requests without a JSON body */
	struct curl_slist *json_headers;
	char *root;   /* without "/v1" and last slash */
	char *bearer; /* the key, NULL = none */
};

/* One exchange under way. */
struct exchange_state {
	struct client *client;
	struct buf body; /* a whole answer, or what a failed stream said */
	struct sse sse;
	bool (*on_event)(void *arg, const json_t *event);
	void *arg;
	FILE *to; /* where a download goes */
	struct why *why;
	enum err result;
	bool stream, done;
};

/* ---- making one ---- */

enum err client_set_key(struct client *c, const char *key)
{
	char *copy = mem_strdup(key);

	if (key && !copy)
		return ERR_MEM;
	mem_free(c->bearer);
	c->bearer = copy;
	return OK;
}

enum err client_add_header(struct client *c, const char *name, const char *value)
{
	char *line = mem_printf("%s: %s", name, value);
	bool added = line && curl_slist_append(c->headers, line) && curl_slist_append(c->json_headers, line);

	mem_free(line);
	return added ? OK : ERR_MEM;
}

enum err client_new(const char *url, const char *key, struct client **out, struct why *why)
{
	struct client *c = mem_calloc(1, sizeof(*c));
	enum err e = ERR_MEM;
	size_t n;

	if (!c)
		return ERR_MEM;
	if (strncmp(url, "http://", 7) != 0 && strncmp(url, "https://", 8) != 0) {
		e = args_wrong(why, "\"%s\" is not a URL such as http://127.0.0.1:8080", url);
		goto fail;
	}
	c->root = mem_strdup(url);
	if (!c->root)
		goto fail;
	n = strlen(c->root);
	while (n && c->root[n - 1] == '/')
		c->root[--n] = '\0';
	if (n > 3 && strcmp(c->root + n - 3, "/v1") == 0)
		c->root[n - 3] = '\0';
	e = client_set_key(c, key);
	if (e)
		goto fail;
	e = ERR_MEM;
	c->curl = curl_easy_init();
	c->headers = curl_slist_append(NULL, "Expect:");
	c->json_headers = curl_slist_append(NULL, "Content-Type: application/json");
	if (!c->curl || !c->headers || !c->json_headers || !curl_slist_append(c->json_headers, "Expect:"))
		goto fail;
	*out = c;
	return OK;
fail:
	client_free(c);
	return e;
}

void client_free(struct client *c)
{
	if (!c)
		return;
	curl_slist_free_all(c->headers);
	curl_slist_free_all(c->json_headers);
	if (c->curl)
		curl_easy_cleanup(c->curl);
	mem_free(c->root);
	mem_free(c->bearer);
	mem_free(c);
}

/* ---- what arrives ---- */

static bool on_data(void *arg, const char *data)
{
	struct exchange_state *x = arg;
	json_t *event, *error;
	const char *message;
	bool more;

	if (strcmp(data, "[DONE]") == 0) {
		x->done = true;
		return false;
	}
	event = json_loads(data, 0, NULL);
	if (!event) {
		x->result = why_set(x->why, ERR_FORMAT, "the stream holds something that is not JSON");
		return false;
	}
	error = json_object_get(event, "error");
	if (error) {
		message = json_string_value(json_object_get(error, "message"));
		x->result = why_set(
		        x->why, ERR_INVALID, "%s", message ? message : "the server failed in mid-stream");
		json_decref(event);
		return false;
	}
	more = x->on_event(x->arg, event);
	x->done = x->done || !more;
	json_decref(event);
	return more;
}

/* curl's write callback: less than n aborts. */
static size_t on_bytes(char *bytes, size_t size, size_t n, void *arg)
{
	struct exchange_state *x = arg;
	long status = 0;
	enum err e;

	n *= size;
	curl_easy_getinfo(x->client->curl, CURLINFO_RESPONSE_CODE, &status);
	if (x->stream && status < 300) {
		e = sse_feed(&x->sse, bytes, n, on_data, x);
		if (e) /* otherwise on_data has said how it went */
			x->result = e;
		return x->result || x->sse.stopped ? 0 : n;
	}
	if (x->to && status < 300) {
		if (fwrite(bytes, 1, n, x->to) != n)
			x->result = why_set(x->why, ERR_INVALID, "cannot write: %s", strerror(errno));
		return x->result ? 0 : n;
	}
	if (x->body.len + n > MAX_REPLY_BYTES)
		x->result =
		        why_set(x->why, ERR_TOO_LARGE, "the answer is larger than %u bytes", MAX_REPLY_BYTES);
	else
		x->result = buf_append(&x->body, bytes, n);
	return x->result ? 0 : n;
}

static enum err status_err(long status)
{
	switch (status) {
	case 401:
		return ERR_AUTH;
	case 403:
		return ERR_FORBIDDEN;
	case 404:
		return ERR_NOT_FOUND;
	case 429:
	case 503:
		return ERR_BUSY;
	default:
		return ERR_INVALID;
	}
}

/* The daemon's own words, where it sent some. */
static enum err refused(struct exchange_state *x, long status)
{
	json_t *reply = x->body.len ? json_loads(x->body.data, 0, NULL) : NULL;
	const json_t *error = json_object_get(reply, "error");
	const char *message = json_string_value(json_object_get(error, "message"));
	const char *param = json_string_value(json_object_get(error, "param"));
	const char *code = json_string_value(json_object_get(error, "code"));
	const char *dot = param ? strrchr(param, '.') : NULL;
	enum err e = status_err(status);

	if (param && message && strstr(message, dot ? dot + 1 : param))
		param = NULL; /* said already */
	if (!message)
		why_set(x->why, e, "the server answered with HTTP status %ld", status);
	else if (param)
		why_param(x->why, e, param, "%s (%s)", message, param);
	else
		why_set(x->why, e, "%s", message);
	if (x->why && code)
		snprintf(x->why->code, sizeof(x->why->code), "%s", code);
	json_decref(reply);
	return e;
}

/* ---- one exchange ---- */

/* url is set, method and body too. */
static enum err perform(struct exchange_state *x)
{
	CURL *curl = x->client->curl;
	char words[CURL_ERROR_SIZE] = "";
	long status = 0;
	CURLcode code;

	curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, words);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_bytes);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, x);
	curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, CONNECT_TIMEOUT_S);
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	if (x->client->bearer) {
		curl_easy_setopt(curl, CURLOPT_HTTPAUTH, CURLAUTH_BEARER);
		curl_easy_setopt(curl, CURLOPT_XOAUTH2_BEARER, x->client->bearer);
	}
	code = curl_easy_perform(curl);
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, NULL);
	if (x->result)
		return x->result;
	if (code != CURLE_OK && !(code == CURLE_WRITE_ERROR && x->sse.stopped))
		return why_set(
		        x->why, ERR_IO, "%s: %s", x->client->root, *words ? words : curl_easy_strerror(code));
	return status >= 200 && status < 300 ? OK : refused(x, status);
}

/* A fresh request to path. *url and *text must live until it has been performed. */
static enum err prepare(
        struct client *c, const char *method, const char *path, const json_t *body, char **text, char **url)
{
	bool sends = body || strcmp(method, "POST") == 0;

	*url = mem_printf("%s%s", c->root, path);
	if (!*url)
		return ERR_MEM;
	if (body) {
		*text = json_dumps(body, JSON_COMPACT);
		if (!*text)
			return ERR_MEM;
	}
	curl_easy_reset(c->curl);
	curl_easy_setopt(c->curl, CURLOPT_URL, *url);
	curl_easy_setopt(c->curl, CURLOPT_HTTPHEADER, sends ? c->json_headers : c->headers);
	if (sends)
		curl_easy_setopt(c->curl, CURLOPT_POSTFIELDS, *text ? *text : "");
	if (strcmp(method, "GET") != 0 && strcmp(method, "POST") != 0)
		curl_easy_setopt(c->curl, CURLOPT_CUSTOMREQUEST, method);
	return OK;
}

static enum err take_json(struct exchange_state *x, json_t **reply)
{
	json_error_t error;
	json_t *parsed;

	if (!reply)
		return OK;
	parsed = json_loads(x->body.len ? x->body.data : "", 0, &error);
	if (!parsed)
		return why_set(
		        x->why, ERR_FORMAT, "%s: the answer is not JSON; is this redd?", x->client->root);
	*reply = parsed;
	return OK;
}

static void exchange_state_fini(struct exchange_state *x, char *text, char *url)
{
	buf_fini(&x->body);
	sse_fini(&x->sse);
	free(text); /* jansson's */
	mem_free(url);
}

enum err client_request(struct client *c, const char *method, const char *path, const json_t *body,
        json_t **reply, struct why *why)
{
	struct exchange_state x = {.client = c, .why = why};
	char *text = NULL, *url = NULL;
	enum err e = prepare(c, method, path, body, &text, &url);

	if (!e)
		e = perform(&x);
	if (!e)
		e = take_json(&x, reply);
	exchange_state_fini(&x, text, url);
	return e;
}

enum err client_get_text(struct client *c, const char *path, char **out, struct why *why)
{
	struct exchange_state x = {.client = c, .why = why};
	char *text = NULL, *url = NULL;
	enum err e = prepare(c, "GET", path, NULL, &text, &url);

	if (!e)
		e = perform(&x);
	if (!e) {
		*out = mem_strdup(x.body.len ? x.body.data : "");
		e = *out ? OK : ERR_MEM;
	}
	exchange_state_fini(&x, text, url);
	return e;
}

enum err client_stream(struct client *c, const char *method, const char *path, const json_t *body,
        bool (*on_event)(void *arg, const json_t *event), void *arg, struct why *why)
{
	struct exchange_state x = {.client = c, .why = why, .on_event = on_event, .arg = arg, .stream = true};
	char *text = NULL, *url = NULL;
	enum err e = prepare(c, method, path, body, &text, &url);

	if (!e)
		e = perform(&x);
	if (!e && !x.done)
		e = why_set(why, ERR_FORMAT, "the stream ended before it was complete");
	exchange_state_fini(&x, text, url);
	return e;
}

enum err client_download(struct client *c, const char *path, FILE *to, struct why *why)
{
	struct exchange_state x = {.client = c, .why = why, .to = to};
	char *text = NULL, *url = NULL;
	enum err e = prepare(c, "GET", path, NULL, &text, &url);

	if (!e)
		e = perform(&x);
	if (!e && fflush(to) != 0)
		e = why_set(why, ERR_INVALID, "cannot write: %s", strerror(errno));
	exchange_state_fini(&x, text, url);
	return e;
}

/* ---- upload ---- */

static size_t on_read(char *to, size_t size, size_t n, void *arg)
{
	return fread(to, size, n, arg);
}

/* The form; NULL when memory is short. */
static curl_mime *form_new(CURL *curl, const char *name, FILE *f, const struct client_field *fields)
{
	curl_mime *mime = curl_mime_init(curl);
	curl_mimepart *part;

	if (!mime)
		return NULL;
	for (; fields && fields->name; fields++) {
		part = curl_mime_addpart(mime);
		if (!part || curl_mime_name(part, fields->name) ||
		        (fields->is_file ? curl_mime_filedata(part, fields->value)
		                         : curl_mime_data(part, fields->value, CURL_ZERO_TERMINATED)))
			goto fail;
	}
	part = curl_mime_addpart(mime);
	/* Size unknown: chunked, so that a pipe will do. */
	if (!part || curl_mime_name(part, "file") || curl_mime_data_cb(part, -1, on_read, NULL, NULL, f) ||
	        curl_mime_filename(part, name))
		goto fail;
	return mime;
fail:
	curl_mime_free(mime);
	return NULL;
}

/* curl does not say which file of a form it cannot read. */
static enum err check_files(const struct client_field *fields, struct why *why)
{
	for (; fields && fields->name; fields++)
		if (fields->is_file && access(fields->value, R_OK) < 0)
			return why_set(why, ERR_NOT_FOUND, "%s: %s", fields->value, strerror(errno));
	return OK;
}

enum err client_upload(struct client *c, const char *path, const char *file,
        const struct client_field *fields, json_t **reply, struct why *why)
{
	struct exchange_state x = {.client = c, .why = why};
	bool from_stdin = strcmp(file, "-") == 0;
	FILE *f = from_stdin ? stdin : fopen(file, "rbe");
	const char *slash = strrchr(file, '/');
	char *text = NULL, *url = NULL;
	curl_mime *mime = NULL;
	enum err e;

	if (!f)
		return why_set(why, ERR_NOT_FOUND, "%s: %s", file, strerror(errno));
	e = check_files(fields, why);
	if (!e)
		e = prepare(c, "POST", path, NULL, &text, &url);
	if (e)
		goto done;
	mime = form_new(c->curl, from_stdin ? "stdin.jsonl" : slash ? slash + 1 : file, f, fields);
	if (!mime) {
		e = ERR_MEM;
		goto done;
	}
	curl_easy_setopt(c->curl, CURLOPT_HTTPHEADER, c->headers);
	curl_easy_setopt(c->curl, CURLOPT_MIMEPOST, mime);
	e = perform(&x);
	if (!e && ferror(f))
		e = why_set(why, ERR_NOT_FOUND, "%s: it cannot be read", file);
	if (!e)
		e = take_json(&x, reply);
done:
	curl_mime_free(mime);
	if (f && !from_stdin)
		fclose(f);
	exchange_state_fini(&x, text, url);
	return e;
}
