/* See labels.h. */
#include "worker/text/labels.h"

#include "core/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void labels_fini(struct labels *l)
{
	if (!l)
		return;
	for (size_t i = 0; l->names && i < l->n; i++)
		mem_free(l->names[i]);
	mem_free(l->names);
	*l = (struct labels){0};
}

enum err labels_copy(const struct labels *from, struct labels *out)
{
	struct labels l = {.kind = from->kind, .n = from->n};

	if (from->names) {
		l.names = mem_calloc(l.n, sizeof(*l.names));
		if (!l.names)
			return ERR_MEM;
		for (size_t i = 0; i < l.n; i++) {
			l.names[i] = mem_strdup(from->names[i]);
			if (!l.names[i]) {
				labels_fini(&l);
				return ERR_MEM;
			}
		}
	}
	*out = l;
	return OK;
}

int32_t labels_find(const struct labels *l, const char *name)
{
	char number[32];

	for (size_t i = 0; i < l->n; i++) {
		snprintf(number, sizeof(number), "%zu", i);
		if (strcmp(l->names ? l->names[i] : number, name) == 0)
			return (int32_t)i;
	}
	return -1;
}

const char *labels_name(const struct labels *l, size_t i, char room[32])
{
	if (l->names && i < l->n)
		return l->names[i];
	snprintf(room, 32, "LABEL_%zu", i);
	return room;
}

json_t *labels_json(const struct labels *l)
{
	json_t *list;

	if (!l->names)
		return json_null();
	list = json_array();
	for (size_t i = 0; list && i < l->n; i++)
		if (json_array_append_new(list, json_string(l->names[i]))) {
			json_decref(list);
			return NULL;
		}
	return list;
}

enum err labels_read(const json_t *json, size_t n, struct labels *out)
{
	struct labels l = {.kind = n == 1 ? LABELS_NUMBER : LABELS_CLASSES, .n = n};

	if (json && !json_is_null(json)) {
		if (json_array_size(json) != n)
			return ERR_FORMAT;
		l.kind = LABELS_CLASSES;
		l.names = mem_calloc(n, sizeof(*l.names));
		if (!l.names)
			return ERR_MEM;
		for (size_t i = 0; i < n; i++) {
			const char *name = json_string_value(json_array_get(json, i));

			l.names[i] = name ? mem_strdup(name) : NULL;
			if (!l.names[i]) {
				labels_fini(&l);
				return name ? ERR_MEM : ERR_FORMAT;
			}
		}
	}
	*out = l;
	return OK;
}
