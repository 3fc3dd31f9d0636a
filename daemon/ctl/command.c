/* See command.h. */
#include "daemon/ctl/command.h"

#include "core/mem.h"

#include <ctype.h>
#include <string.h>
#include <time.h>

void command_print_json(const json_t *reply)
{
	json_dumpf(reply, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY);
	putchar('\n');
}

enum err command_show(struct ctl *ctl, const char *path, void (*print)(struct ctl *ctl, const json_t *reply),
        struct why *why)
{
	json_t *reply = NULL;
	enum err e = client_request(ctl->client, "GET", path, NULL, &reply, why);

	if (e)
		return e;
	if (ctl->json)
		command_print_json(reply);
	else
		print(ctl, reply);
	json_decref(reply);
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
