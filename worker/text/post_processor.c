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

/* [CLS] A [SEP], and for a pair B [SEP] after n_between of them. */
static enum err markers_parse(
        const json_t *json, size_t n_between, struct post_processor *out, struct why *why)
{
	enum err e = marker_parse(json, "cls", &out->before, why);

	out->set = true;
	if (!e)
		e = marker_parse(json, "cls", &out->pair_before, why);
	if (!e)
		e = marker_parse(json, "sep", &out->after, why);
	for (size_t i = 0; !e && i < n_between; i++)
		e = marker_parse(json, "sep", &out->pair_between, why);
	return e ? e : marker_parse(json, "sep", &out->pair_after, why);
}

static enum err bert_parse(const json_t *json, struct post_processor *out, struct why *why)
{
	return markers_parse(json, 1, out, why);
}

static enum err roberta_parse(const json_t *json, struct post_processor *out, struct why *why)
{
	return markers_parse(json, 2, out, why);
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

/* A template of n sequences, A first, and the special tokens before, between and after them: n + 1 gaps. */
static enum err template_items(
        const json_t *json, const char *key, size_t n, struct ids *const *gaps, struct why *why)
{
	static const char *const names[] = {"A", "B"};
	struct json_text name;
	json_t *items, *item, *member;
	size_t i, seen = 0;
	enum err e = json_get_array(json, key, &items, why);

	if (e)
		return e;
	json_array_foreach (items, i, item) {
		if ((member = json_get_any(item, "SpecialToken"))) {
			e = template_special(json, member, gaps[seen], why);
		} else if ((member = json_get_any(item, "Sequence"))) {
			e = json_get_text(member, "id", &name, why);
			if (!e && (seen == n || strcmp(name.p, names[seen]) != 0))
				e = why_set(why, ERR_UNSUPPORTED, "\"%s\" must hold sequence %s once", key,
				        names[seen < n ? seen : 0]);
			seen++;
		} else {
			e = why_set(why, ERR_FORMAT, "\"%s\"[%zu] is neither a SpecialToken nor a Sequence",
			        key, i);
		}
		if (e)
			return e;
	}
	if (seen < n)
		return why_set(why, ERR_UNSUPPORTED, "\"%s\" must hold sequence %s once", key, names[seen]);
	return OK;
}

/* A pair in a form of its own is no fault until someone has a pair to encode. */
static enum err template_parse(const json_t *json, struct post_processor *out, struct why *why)
{
	struct ids *const single[] = {&out->before, &out->after};
	struct ids *const pair[] = {&out->pair_before, &out->pair_between, &out->pair_after};
	enum err e = template_items(json, "single", 1, single, why);

	out->set = true;
	if (e || !json_get_any(json, "pair"))
		return e;
	e = template_items(json, "pair", 2, pair, why);
	out->no_pair = e == ERR_UNSUPPORTED;
	return out->no_pair ? OK : e;
}

static const struct {
	const char *type;
	enum err (*parse)(const json_t *json, struct post_processor *out, struct why *why);
} kinds[] = {
        {"ByteLevel", byte_level_parse},
        {"RobertaProcessing", roberta_parse},
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
	ids_fini(&p->pair_before);
	ids_fini(&p->pair_between);
	ids_fini(&p->pair_after);
}
