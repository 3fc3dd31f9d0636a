/* See chat_messages.h. */
#include "api/chat_messages.h"

#include "core/mem.h"

#include <stdio.h>
#include <string.h>

#define FIELD_NAME_SIZE 64

/* As requests name them, and as templates know them. */
static const struct {
	const char *wire, *role;
} chat_roles[] = {
        {"system", "system"},
        {"developer", "system"},
        {"user", "user"},
        {"assistant", "assistant"},
};

void chat_messages_fini(struct chat_messages *m)
{
	if (!m)
		return;
	for (size_t i = 0; i < m->n; i++)
		mem_free(m->joined[i]);
	mem_free(m->joined);
	mem_free(m->items);
	memset(m, 0, sizeof(*m));
}

static const char *parse_role(const json_t *json)
{
	const char *wire = json_string_value(json);

	for (size_t i = 0; wire && i < sizeof(chat_roles) / sizeof(chat_roles[0]); i++)
		if (!strcmp(wire, chat_roles[i].wire))
			return chat_roles[i].role;
	return NULL;
}

/* A string without NULs inside, or NULL. */
static const char *plain_string(const json_t *json)
{
	const char *s = json_string_value(json);

	return s && strlen(s) == json_string_length(json) ? s : NULL;
}

/* The texts of a list of parts, joined. *out is the caller's. */
static enum err join_parts(const json_t *parts, const char *field, char **out, struct why *why)
{
	struct buf text = {0};
	enum err e = buf_reserve(&text, 0);

	for (size_t i = 0; !e && i < json_array_size(parts); i++) {
		const json_t *part = json_array_get(parts, i);
		const char *type = json_string_value(json_object_get(part, "type"));
		const char *piece = plain_string(json_object_get(part, "text"));

		if (!type || strcmp(type, "text") != 0 || !piece) {
			e = why_param(why, ERR_INVALID, field,
			        "%s[%zu] must be {\"type\":\"text\",\"text\":...}: this server reads text "
			        "only",
			        field, i);
			break;
		}
		if (i)
			e = buf_puts(&text, "\n");
		if (!e)
			e = buf_puts(&text, piece);
	}
	if (e)
		buf_fini(&text);
	else
		*out = text.data;
	return e;
}

static enum err parse_content(
        const json_t *message, const char *field, struct chat_message *out, char **joined, struct why *why)
{
	const json_t *content = json_object_get(message, "content");
	enum err e = OK;

	if ((!content || json_is_null(content)) && !strcmp(out->role, "assistant")) {
		out->content = "";
		return OK;
	}
	if (json_is_array(content) && json_array_size(content)) {
		e = join_parts(content, field, joined, why);
		out->content = *joined;
		return e;
	}
	out->content = plain_string(content);
	if (!out->content)
		return why_param(
		        why, ERR_INVALID, field, "%s must be a string or a list of text parts", field);
	return OK;
}

static enum err parse_message(
        const json_t *message, size_t i, struct chat_message *out, char **joined, struct why *why)
{
	char field[FIELD_NAME_SIZE];

	snprintf(field, sizeof(field), "messages[%zu]", i);
	if (!json_is_object(message))
		return why_param(
		        why, ERR_INVALID, field, "%s must be an object with role and content", field);
	out->weight = 1;
	out->role = parse_role(json_object_get(message, "role"));
	if (!out->role) {
		snprintf(field, sizeof(field), "messages[%zu].role", i);
		return why_param(
		        why, ERR_INVALID, field, "%s must be system, developer, user or assistant", field);
	}
	snprintf(field, sizeof(field), "messages[%zu].content", i);
	return parse_content(message, field, out, joined, why);
}

enum err chat_messages_parse(const json_t *messages, struct chat_messages *out, struct why *why)
{
	struct chat_messages m = {0};
	size_t n = json_array_size(messages);
	enum err e = OK;

	if (!n)
		return why_param(
		        why, ERR_INVALID, "messages", "messages must be a list of messages, not empty");
	if (n > CHAT_MAX_MESSAGES)
		return why_param(why, ERR_INVALID, "messages",
		        "messages has %zu entries, at most %d are allowed", n, CHAT_MAX_MESSAGES);
	m.items = mem_calloc(n, sizeof(*m.items));
	m.joined = mem_calloc(n, sizeof(*m.joined));
	if (m.items && m.joined)
		m.n = n;
	else
		e = ERR_MEM;
	for (size_t i = 0; !e && i < n; i++)
		e = parse_message(json_array_get(messages, i), i, &m.items[i], &m.joined[i], why);
	if (e)
		chat_messages_fini(&m);
	else
		*out = m;
	return e;
}
