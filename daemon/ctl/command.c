/* See command.h. */
#include "daemon/ctl/command.h"

#include "core/mem.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

const struct args_option list_options[] = {
        {"limit", 'n', "N", "At most so many, newest first (default 20)."},
        {"after", 0, "ID", "Go on behind this one."},
        {NULL, 0, NULL, NULL},
};

const struct args_option output_options[] = {
        {"output", 'o', "FILE", "Write to FILE (default: standard output)."},
        {NULL, 0, NULL, NULL},
};

void command_print_json(const json_t *reply)
{
	json_dumpf(reply, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY);
	putchar('\n');
}

enum err command_send(struct ctl *ctl, const char *method, const char *path, json_t *body,
        void (*print)(struct ctl *ctl, const json_t *reply), struct why *why)
{
	json_t *reply = NULL;
	enum err e = client_request(ctl->client, method, path, body, &reply, why);

	if (!e && ctl->json)
		command_print_json(reply);
	else if (!e && print)
		print(ctl, reply);
	json_decref(body);
	json_decref(reply);
	return e;
}

enum err command_show(struct ctl *ctl, const char *path, void (*print)(struct ctl *ctl, const json_t *reply),
        struct why *why)
{
	return command_send(ctl, "GET", path, NULL, print, why);
}

enum err command_list_path(struct ctl *ctl, const char *prefix, char *path, size_t size, struct why *why)
{
	const char *after = args_text(&ctl->args, "after");
	char start[512];
	int64_t limit = 20;
	enum err e = args_integer(&ctl->args, "limit", 1, 1000, &limit, why);

	if (e)
		return e;
	snprintf(start, sizeof(start), "%s?limit=%lld%s", prefix, (long long)limit, after ? "&after=" : "");
	if (after)
		return command_path(path, size, start, after, "", why);
	snprintf(path, size, "%s", start);
	return OK;
}

void command_print_more(const struct ctl *ctl, const json_t *reply)
{
	if (json_is_true(json_object_get(reply, "has_more")) && !ctl->quiet)
		fprintf(ctl->err.file, "there are more: --after %s\n", command_string(reply, "last_id"));
}

enum err command_delete(struct ctl *ctl, const char *prefix, const char *id, struct why *why)
{
	char path[1024];
	enum err e = command_path(path, sizeof(path), prefix, id, "", why);

	return e ? e : command_send(ctl, "DELETE", path, NULL, NULL, why);
}

/* Into a draft beside it, so that a file of that name is always whole; for its owner only, as adapters and
 * backups hold what tenants trust us with. */
static enum err save_file(struct ctl *ctl, const char *path, const char *name, struct why *why)
{
	char *draft = mem_printf("%s.part", name);
	int fd = draft ? open(draft, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : -1;
	FILE *to = fd >= 0 ? fdopen(fd, "wb") : NULL;
	enum err e = OK;

	if (!draft)
		return ERR_MEM;
	if (!to)
		e = why_set(why, ERR_INVALID, "%s: %s", draft, strerror(errno));
	if (!e)
		e = client_download(ctl->client, path, to, why);
	if (to && fclose(to) != 0 && !e)
		e = why_set(why, ERR_INVALID, "%s: %s", draft, strerror(errno));
	if (!e && rename(draft, name) < 0)
		e = why_set(why, ERR_INVALID, "%s: %s", name, strerror(errno));
	if (e && to)
		(void)unlink(draft);
	mem_free(draft);
	return e;
}

enum err command_save_as(struct ctl *ctl, const char *path, const char *name, struct why *why)
{
	if (strcmp(name, "-") == 0)
		return client_download(ctl->client, path, ctl->out.file, why);
	return save_file(ctl, path, name, why);
}

enum err command_save(struct ctl *ctl, const char *path, bool binary, struct why *why)
{
	const char *name = args_text(&ctl->args, "output");

	if (name)
		return command_save_as(ctl, path, name, why);
	if (binary && ctl->out.terminal)
		return args_wrong(why, "that is nothing for a terminal: use --output FILE");
	return client_download(ctl->client, path, ctl->out.file, why);
}

void command_print_field(struct ctl *ctl, const char *name, const char *value)
{
	if (!*value)
		return;
	fprintf(ctl->out.file, "%s%-15s%s ", term_colour(&ctl->out, TERM_DIM), name,
	        term_colour(&ctl->out, TERM_PLAIN));
	term_print(&ctl->out, value);
	fputc('\n', ctl->out.file);
}

void command_print_members(struct ctl *ctl, const char *name, const json_t *object)
{
	void *at;

	for (at = json_object_iter((json_t *)object); at; at = json_object_iter_next((json_t *)object, at)) {
		char *text = json_dumps(
		        json_object_iter_value(at), JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(6));
		char *line = text ? mem_printf("%s = %s", json_object_iter_key(at), text) : NULL;

		if (line)
			command_print_field(ctl, name, line);
		mem_free(line);
		free(text);
	}
}

enum err command_set_members(const struct args *a, json_t *object, struct why *why)
{
	const char *pair;

	for (size_t i = 0; (pair = args_nth(a, "set", i)); i++) {
		const char *equals = strchr(pair, '=');
		json_t *value;

		if (!equals || equals == pair)
			return args_wrong(why, "--set: \"%s\" is not KEY=VALUE", pair);
		value = json_loads(equals + 1, JSON_DECODE_ANY, NULL);
		if (!value)
			value = json_string(equals + 1);
		if (!value)
			return args_wrong(why, "--set: \"%s\" is not UTF-8", pair);
		if (json_object_setn_new(object, pair, (size_t)(equals - pair), value) < 0)
			return ERR_MEM;
	}
	return OK;
}

const char *command_string(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

int64_t command_integer(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

double command_real(const json_t *object, const char *key)
{
	return json_number_value(json_object_get(object, key));
}

void command_time(int64_t seconds, char text[20])
{
	time_t when = (time_t)seconds;
	struct tm tm;

	if (seconds <= 0 || !localtime_r(&when, &tm) || !strftime(text, 20, "%Y-%m-%d %H:%M", &tm))
		strcpy(text, "-");
}

enum err command_path(
        char *path, size_t size, const char *prefix, const char *id, const char *suffix, struct why *why)
{
	size_t n = (size_t)snprintf(path, size, "%s", prefix);

	if (!*id)
		return args_wrong(why, "an id is empty");
	for (; *id && n + 4 < size; id++) {
		bool plain = isalnum((unsigned char)*id) || strchr("-_.~:@", *id);

		n += (size_t)snprintf(path + n, size - n, plain ? "%c" : "%%%02X", (unsigned char)*id);
	}
	if (*id || n + strlen(suffix) >= size)
		return args_wrong(why, "an id is too long");
	strcpy(path + n, suffix);
	return OK;
}

enum err command_base_model(struct ctl *ctl, char **id, struct why *why)
{
	json_t *reply = NULL;
	const json_t *model;
	const char *found = "";
	enum err e = client_request(ctl->client, "GET", "/v1/models", NULL, &reply, why);
	size_t i;

	if (e)
		return e;
	json_array_foreach (json_object_get(reply, "data"), i, model) {
		const char *name = command_string(model, "id");

		if (!*found && strncmp(name, "ft:", 3) != 0)
			found = name;
	}
	if (*found)
		*id = mem_strdup(found);
	e = !*found ? why_set(why, ERR_FORMAT, "the server lists no base model: name one with --model")
	    : *id   ? OK
	            : ERR_MEM;
	json_decref(reply);
	return e;
}
