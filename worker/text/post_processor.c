/* See post_processor.h. A new kind is a row of `kinds` and its function. */
#include "worker/text/post_processor.h"

#include <string.h>

/* ByteLevel's only mends offsets, which we do not keep. */
static enum err byte_level_parse(const json_t *json, struct post_processor *out, struct why *why)
{
	(void)json;
	(void)out;
	(void)why;
	return OK;
}

/* ["</s>", 2] */
static enum err marker_parse(const json_t *json, const char *key, struct ids *out, struct why *why)
{
	json_t *pair;
	int32_t id;
	enum err e = json_get_array(json, key, &pair, why);

	if (e)
		return e;
	if (!json_is_string(json_array_get(pair, 0)) || !json_id(json_array_get(pair, 1), &id))
		return why_set(why, ERR_FORMAT, "\"%s\" must be a token and its id", key);
	return ids_append(out, &id, 1);
}

static enum err bert_parse(const json_t *json, struct post_processor *out, struct why *why)
{
	enum err e = marker_parse(json, "cls", &out->before, why);

	out->set = true;
	return e ? e : marker_parse(json, "sep", &out->after, why);
}

/* The ids of one special token, from the template's own list. */
static enum err template_special(const json_t *json, const json_t *item, struct ids *out, struct why *why)
{
	struct json_text name;
	json_t *specials, *special, *ids, *value;
	size_t i;
	int32_t id;
	enum err e = json_get_text(item, "id", &name, why);

	if (!e)
		e = json_get_object(json, "special_tokens", &specials, why);
	if (!e)
		e = json_get_object(specials, name.p, &special, why);
	if (!e)
		e = json_get_array(special, "ids", &ids, why);
	if (e)
		return e;
	json_array_foreach (ids, i, value) {
		if (!json_id(value, &id))
			return why_set(
			        why, ERR_FORMAT, "\"special_tokens\": an id of \"%.60s\" is not one", name.p);
		e = ids_append(out, &id, 1);
		if (e)
			return e;
	}
	return OK;
}

static enum err template_parse(const json_t *json, struct post_processor *out, struct why *why)
{
	struct json_text name;
	json_t *items, *item, *member;
	bool seen = false;
	size_t i;
	enum err e = json_get_array(json, "single", &items, why);

	if (e)
		return e;
	out->set = true;
	json_array_foreach (items, i, item) {
		if ((member = json_get_any(item, "SpecialToken"))) {
			e = template_special(json, member, seen ? &out->after : &out->before, why);
		} else if ((member = json_get_any(item, "Sequence"))) {
			e = json_get_text(member, "id", &name, why);
			if (!e && (seen || strcmp(name.p, "A") != 0))
				e = why_set(why, ERR_UNSUPPORTED, "\"single\" must hold sequence A once");
			seen = true;
		} else {
			e = why_set(why, ERR_FORMAT,
			        "\"single\"[%zu] is neither a SpecialToken nor a Sequence", i);
		}
		if (e)
			return e;
	}
	if (!seen)
		return why_set(why, ERR_UNSUPPORTED, "\"single\" must hold sequence A once");
	return OK;
}

static const struct {
	const char *type;
	enum err (*parse)(const json_t *json, struct post_processor *out, struct why *why);
} kinds[] = {
        {"ByteLevel", byte_level_parse},
        {"RobertaProcessing", bert_parse},
        {"BertProcessing", bert_parse},
        {"TemplateProcessing", template_parse},
};

static enum err add_kind(void *arg, const json_t *json, const char *type, struct why *why)
{
	struct post_processor *p = arg;
	bool was_set = p->set;
	enum err e;

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (strcmp(type, kinds[i].type) != 0)
			continue;
		p->set = false;
		e = kinds[i].parse(json, p, why);
		if (!e && was_set && p->set)
			return why_set(why, ERR_UNSUPPORTED, "a second component that adds tokens");
		p->set |= was_set;
		return e;
	}
	return component_unknown(why);
}

enum err post_processor_parse(const json_t *json, struct post_processor *out, struct why *why)
{
	return component_each(json, "processors", add_kind, out, why);
}

void post_processor_fini(struct post_processor *p)
{
	if (!p)
		return;
	ids_fini(&p->before);
	ids_fini(&p->after);
}
