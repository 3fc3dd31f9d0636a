/* See config_settings.h. Whoever adds a setting adds a row here, a field in config.h, and a line in
 * systemd/redd.conf. */
#include "daemon/config_settings.h"

#include "core/mem.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MAX_THREADS 1024
#define MAX_COUNT 1000000000
#define MAX_BYTES ((int64_t)1 << 46)
#define AT(field) offsetof(struct config, field)

static const char base_group[] = "Base model and state";
static const char http_group[] = "Network";
static const char train_group[] = "Training";
static const char serve_group[] = "Answering";
static const char limit_group[] = "Limits of a tenant that has none of its own (a number, or \"none\")";
static const char other_group[] = "Other";

static const struct setting settings[] = {
        {"model", "DIR", SETTING_TEXT, AT(model_dir), 0, 0, base_group,
                "Hugging Face directory of the base model (config.json, safetensors,\n"
                "tokenizer.json). Default: the base that comes with redd."},
        {"model-name", "NAME", SETTING_TEXT, AT(model_name), 0, 0, base_group,
                "What clients call the base. Default: the directory's last component."},
        {"weights", "FORMAT", SETTING_WEIGHTS, AT(weights), 0, 0, base_group,
                "How the base's weights are held: float32, bf16 (half the memory) or int8 (a\n"
                "quarter). Answers take as much less time as memory is what they wait for;\n"
                "training takes a little more. Adapters fit all three. Default: float32."},
        {"state", "DIR", SETTING_TEXT, AT(state_dir), 0, 0, base_group,
                "Where jobs, files, adapters and keys live. Default: $STATE_DIRECTORY, else\n"
                "/var/lib/redd for root, else $XDG_STATE_HOME/redd or ~/.local/state/redd.\n"
                "One daemon per directory. Also spelled --state-dir."},
        {"state-dir", "DIR", SETTING_TEXT, AT(state_dir), 0, 0, base_group, NULL},

        {"listen", "HOST:PORT", SETTING_LISTEN, 0, 0, 0, http_group,
                "Address to serve HTTP on; port 0 takes any free one. Ignored when systemd\n"
                "passes a socket. Default: 127.0.0.1:8080."},
        {"host", "HOST", SETTING_TEXT, AT(host), 0, 0, http_group, "The host of --listen alone."},
        {"port", "PORT", SETTING_COUNT, AT(port), 0, 65535, http_group, "The port of --listen alone."},
        {"port-file", "FILE", SETTING_TEXT, AT(port_file), 0, 0, http_group,
                "Write the address to FILE once ready."},
        {"admin-key-file", "FILE", SETTING_TEXT, AT(admin_key_file), 0, 0, http_group,
                "File that holds the admin key. Default: systemd's credential admin.key,\n"
                "else STATE/admin.key, which the first start writes."},
        {"no-auth", NULL, SETTING_BOOL, AT(no_auth), 0, 0, http_group,
                "Serve everyone as one tenant, without keys. Loopback addresses only."},
        {"max-body", "BYTES", SETTING_BYTES, AT(max_body_bytes), 1024, MAX_BYTES, http_group,
                "Largest JSON request. Default: 16M."},
        {"max-file", "BYTES", SETTING_BYTES, AT(max_file_bytes), 1024, MAX_BYTES, http_group,
                "Largest uploaded file. Default: 1G."},
        {"max-connections", "N", SETTING_COUNT, AT(max_connections), 1, 1000000, http_group,
                "Connections open at once. Default: 1024."},
        {"webhook-private", NULL, SETTING_BOOL, AT(webhook_private), 0, 0, http_group,
                "Let tenants' webhooks lead to loopback and private addresses too, and not to\n"
                "the public Internet alone."},

        {"train-threads", "N", SETTING_COUNT, AT(train_threads), 0, MAX_THREADS, train_group,
                "Threads that train. The adapters are the same bytes whatever the number.\n"
                "Default: 0, one per core."},
        {"train-bf16", NULL, SETTING_BOOL, AT(train_bf16), 0, 0, train_group,
                "Multiply in bf16 when training, sums in float32, where --weights is bf16 and\n"
                "the processor multiplies bf16 fast (AMD from Zen 4 on, Intel with AMX): faster,\n"
                "less exact."},
        {"train-memory", "BYTES", SETTING_BYTES, AT(train_bytes), 0, MAX_BYTES, train_group,
                "Memory that training should take beside the base. A quarter of it may keep, from\n"
                "one epoch to the next, what rows are before the first edit. Of the rest, what\n"
                "needs more is computed twice instead of kept, half as slow again, to the same\n"
                "bytes. Default: 0, a quarter of what is available at start."},
        {"max-running-jobs", "N", SETTING_COUNT, AT(max_running_jobs), 0, MAX_COUNT, train_group,
                "Jobs trained side by side. Default: 0, four per training thread."},
        {"checkpoint-every", "STEPS", SETTING_COUNT, AT(checkpoint_every), 0, MAX_COUNT, train_group,
                "Steps between checkpoints, from which a job goes on after a crash.\n"
                "Default: 0, 50 steps."},

        {"serve-threads", "N", SETTING_COUNT, AT(serve_threads), 0, 256, serve_group,
                "Threads that compute answers together. The answers are the same whatever the\n"
                "number. Default: 0, one per core."},
        {"max-batch", "N", SETTING_COUNT, AT(max_batch), 0, 65536, serve_group,
                "Sequences decoded together. Default: 0, 64."},
        {"max-queue", "N", SETTING_COUNT, AT(max_queue), 0, MAX_COUNT, serve_group,
                "Requests that may wait for a place in the batch. Default: 0, 1024."},
        {"kv-memory", "BYTES", SETTING_BYTES, AT(kv_bytes), 0, MAX_BYTES, serve_group,
                "Memory for keys and values of running requests. Default: 0, a quarter of\n"
                "what is available at start."},

        {"limit-queued-jobs", "N", SETTING_LIMIT, AT(limits.queued_jobs), 1, MAX_COUNT, limit_group,
                "Jobs not yet finished. Default: 1000."},
        {"limit-running-jobs", "N", SETTING_LIMIT, AT(limits.running_jobs), 1, MAX_COUNT, limit_group,
                "Jobs running at once. Default: none; training is shared fairly anyway."},
        {"limit-file-bytes", "BYTES", SETTING_SIZE_LIMIT, AT(limits.file_bytes), 1, MAX_BYTES, limit_group,
                "All its files together. Default: 10G."},
        {"limit-requests-per-minute", "N", SETTING_LIMIT, AT(limits.requests_per_minute), 1, MAX_COUNT,
                limit_group, "Requests for inference. Default: none."},
        {"limit-tokens-per-minute", "N", SETTING_LIMIT, AT(limits.tokens_per_minute), 1, MAX_COUNT,
                limit_group, "Tokens read and written by inference. Default: none."},

        {"drain-seconds", "N", SETTING_COUNT, AT(drain_seconds), 0, 86400, other_group,
                "How long requests in flight may go on after SIGTERM. Default: 20."},
        {"log-level", "LEVEL", SETTING_LEVEL, AT(log_level), 0, 0, other_group,
                "debug, info, warn or error. Default: info."},
        {"log-format", "FORMAT", SETTING_FORMAT, AT(log_format), 0, 0, other_group,
                "text, or json: an object a line with the pairs as members. Default: text."},
};

const struct setting *config_settings(size_t *n)
{
	*n = sizeof(settings) / sizeof(settings[0]);
	return settings;
}

const struct setting *config_setting_find(const char *name)
{
	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
		if (strcmp(settings[i].name, name) == 0)
			return &settings[i];
	return NULL;
}

bool config_setting_is_live(const struct setting *s)
{
	static const char *const live[] = {"log-level", "log-format", "drain-seconds", "max-body", "max-file",
	        "limit-queued-jobs", "limit-file-bytes", "limit-requests-per-minute",
	        "limit-tokens-per-minute"};

	for (size_t i = 0; i < sizeof(live) / sizeof(live[0]); i++)
		if (strcmp(live[i], s->name) == 0)
			return true;
	return false;
}

enum err config_defaults(struct config *c)
{
	c->host = mem_strdup("127.0.0.1");
	if (!c->host)
		return ERR_MEM;
	c->port = 8080;
	c->max_body_bytes = (int64_t)16 << 20;
	c->max_file_bytes = (int64_t)1 << 30;
	c->max_connections = 1024;
	c->drain_seconds = 20;
	c->limits = (struct tenant_limits){
	        .queued_jobs = 1000,
	        .running_jobs = -1,
	        .file_bytes = (int64_t)10 << 30,
	        .requests_per_minute = -1,
	        .tokens_per_minute = -1,
	};
	c->log_level = LOG_LEVEL_INFO;
	return OK;
}

/* Digits only: no sign, no blanks, no overflow. *end is what follows them. */
static bool parse_digits(const char *text, int64_t *value, const char **end)
{
	int64_t v = 0;
	const char *p = text;

	for (; *p >= '0' && *p <= '9'; p++)
		if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, *p - '0', &v))
			return false;
	if (p == text)
		return false;
	*value = v;
	*end = p;
	return true;
}

bool config_parse_bytes(const char *text, int64_t *bytes)
{
	static const char units[] = "kmgt";
	const char *end, *unit;
	int64_t v;

	if (!parse_digits(text, &v, &end))
		return false;
	if (*end) {
		unit = strchr(units, *end | 0x20);
		if (!unit || (end[1] && strcasecmp(end + 1, "b") != 0 && strcasecmp(end + 1, "ib") != 0))
			return false;
		if (__builtin_mul_overflow(v, (int64_t)1 << (10 * (unit - units + 1)), &v))
			return false;
	}
	*bytes = v;
	return true;
}

enum err config_parse_listen(const char *text, char **host, int64_t *port, struct why *why)
{
	const char *colon = strrchr(text, ':'), *start = text, *stop = colon, *end;
	int64_t number;
	char *copy;

	if (!colon || colon == text || !parse_digits(colon + 1, &number, &end) || *end || number > 65535)
		goto wrong;
	if (*text == '[' && colon[-1] == ']') {
		start = text + 1;
		stop = colon - 1;
	} else if (memchr(text, ':', (size_t)(colon - text))) {
		goto wrong;
	}
	if (stop == start)
		goto wrong;
	copy = mem_printf("%.*s", (int)(stop - start), start);
	if (!copy)
		return ERR_MEM;
	*host = copy;
	*port = number;
	return OK;
wrong:
	return why_set(why, ERR_INVALID,
	        "\"%s\" is not HOST:PORT, such as 127.0.0.1:8080 or [::1]:8080 (port 0 to 65535)", text);
}

static enum err apply_number(const struct setting *s, const char *value, int64_t *to, struct why *why)
{
	bool bytes = s->kind == SETTING_BYTES || s->kind == SETTING_SIZE_LIMIT;
	bool limit = s->kind == SETTING_LIMIT || s->kind == SETTING_SIZE_LIMIT;
	const char *end = "";
	int64_t v;

	if (limit && strcmp(value, "none") == 0) {
		*to = -1;
		return OK;
	}
	if (!(bytes ? config_parse_bytes(value, &v) : parse_digits(value, &v, &end)) || *end || v < s->min ||
	        v > s->max)
		return why_set(why, ERR_INVALID, "\"%s\" is not a %s from %lld to %lld%s", value,
		        bytes ? "size (digits, then K, M, G or T)" : "whole number", (long long)s->min,
		        (long long)s->max, limit ? ", or none" : "");
	*to = v;
	return OK;
}

static enum err apply_text(const char *value, char **to, struct why *why)
{
	char *copy;

	if (!*value)
		return why_set(why, ERR_INVALID, "the value is empty");
	copy = mem_strdup(value);
	if (!copy)
		return ERR_MEM;
	mem_free(*to);
	*to = copy;
	return OK;
}

static enum err apply_bool(const char *value, bool *to, struct why *why)
{
	static const char *const words[] = {"no", "yes", "false", "true", "off", "on", "0", "1"};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strcasecmp(value, words[i]) == 0) {
			*to = i % 2;
			return OK;
		}
	return why_set(why, ERR_INVALID, "\"%s\" is neither yes nor no", value);
}

/* One of the words, as its number; said is what they are when it is none. */
static enum err apply_word(
        const char *value, const char *const *words, size_t n, const char *said, int64_t *to, struct why *why)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(value, words[i]) == 0) {
			*to = (int64_t)i;
			return OK;
		}
	return why_set(why, ERR_INVALID, "\"%s\" is none of %s", value, said);
}

static enum err apply_level(const char *value, int64_t *to, struct why *why)
{
	static const char *const words[] = {"debug", "info", "warn", "error"};

	return apply_word(value, words, 4, "debug, info, warn, error", to, why);
}

static enum err apply_format(const char *value, int64_t *to, struct why *why)
{
	static const char *const words[] = {"text", "json"};

	return apply_word(value, words, 2, "text, json", to, why);
}

static enum err apply_weights(const char *value, int64_t *to, struct why *why)
{
	static const char *const words[] = {
	        [MATRIX_F32] = "float32", [MATRIX_BF16] = "bf16", [MATRIX_INT8] = "int8"};

	return apply_word(value, words, 3, "float32, bf16, int8", to, why);
}

static enum err apply_listen(const char *value, struct config *c, struct why *why)
{
	int64_t port = 0;
	char *host = NULL;
	enum err e = config_parse_listen(value, &host, &port, why);

	if (e)
		return e;
	mem_free(c->host);
	c->host = host;
	c->port = port;
	return OK;
}

enum err config_setting_apply(const struct setting *s, const char *value, struct config *c, struct why *why)
{
	void *at = (char *)c + s->offset;

	switch (s->kind) {
	case SETTING_TEXT:
		return apply_text(value, at, why);
	case SETTING_COUNT:
	case SETTING_BYTES:
	case SETTING_LIMIT:
	case SETTING_SIZE_LIMIT:
		return apply_number(s, value, at, why);
	case SETTING_BOOL:
		return apply_bool(value, at, why);
	case SETTING_LISTEN:
		return apply_listen(value, c, why);
	case SETTING_LEVEL:
		return apply_level(value, at, why);
	case SETTING_WEIGHTS:
		return apply_weights(value, at, why);
	case SETTING_FORMAT:
		return apply_format(value, at, why);
	}
	return ERR_INVALID;
}
