/* See training_line.h. */
#include "worker/text/training_line.h"

#include "core/mem.h"

#include <string.h>

static enum err parse_pair(const json_t *root, struct training_line *out, struct why *why)
{
	enum err e = json_get_text(root, "prompt", &out->prompt, why);

	return e ? e : json_get_text(root, "completion", &out->completion, why);
}

static enum err parse_message(const json_t *json, struct chat_message *out, struct why *why)
{
	const json_t *weight = json_get_any(json, "weight");
	struct json_text role, content;
	enum err e = json_get_text(json, "role", &role, why);

	if (!e)
		e = json_get_text(json, "content", &content, why);
	if (e)
		return e;
	if (weight && (!json_is_number(weight) ||
	                      (json_number_value(weight) != 0.0 && json_number_value(weight) != 1.0)))
		return why_set(why, ERR_FORMAT, "\"weight\" must be 0 or 1");
	*out = (struct chat_message){role.p, content.p, weight ? (float)json_number_value(weight) : 1.0f};
	return OK;
}

static enum err parse_messages(const json_t *root, struct training_line *out, struct why *why)
{
	json_t *messages, *message;
	size_t i;
	enum err e = json_get_array(root, "messages", &messages, why);

	if (e)
		return e;
	if (!json_array_size(messages))
		return why_set(why, ERR_FORMAT, "\"messages\" is empty");
	out->messages = mem_calloc(json_array_size(messages), sizeof(*out->messages));
	if (!out->messages)
		return ERR_MEM;
	json_array_foreach (messages, i, message) {
		e = parse_message(message, &out->messages[i], why);
		if (e) {
			why_prefix(why, "messages[%zu]: ", i);
			return e;
		}
		out->n_messages++;
	}
	return OK;
}

static enum err parse_labelled(const json_t *root, struct training_line *out, struct why *why)
{
	const json_t *label = json_get_any(root, "label");
	enum err e = json_get_text(root, "text", &out->text, why);

	if (!e)
		e = json_get_text_optional(root, "text_pair", &out->text_pair, why);
	if (e)
		return e;
	if (!json_is_string(label) && !json_is_number(label))
		return why_set(why, ERR_FORMAT, "\"label\" must be a string or a number");
	out->label = (struct training_label){json_string_value(label), json_number_value(label)};
	return OK;
}

/* A form, the members that betray it, who reads it, and which data sets have it. */
static const struct form {
	enum training_form form;
	const char *members[2];
	enum err (*parse)(const json_t *root, struct training_line *out, struct why *why);
	bool in[DATASET_FORMS];
} forms[] = {
        {FORM_MESSAGES, {"messages", "messages"}, parse_messages, {[DATASET_TEXT] = true}},
        {FORM_PAIR, {"prompt", "completion"}, parse_pair, {[DATASET_TEXT] = true, [DATASET_SOURCED] = true}},
        {FORM_LABELLED, {"text", "label"}, parse_labelled, {[DATASET_LABELLED] = true}},
};

static enum err no_form(enum dataset_form form, struct why *why)
{
	switch (form) {
	case DATASET_TEXT:
		return why_set(why, ERR_FORMAT, "neither \"messages\" nor \"prompt\" and \"completion\"");
	case DATASET_SOURCED:
		return why_set(why, ERR_FORMAT,
		        "no \"prompt\" and \"completion\", which is what an encoder-decoder learns from");
	case DATASET_LABELLED:
		return why_set(
		        why, ERR_FORMAT, "no \"text\" and \"label\", which is what an encoder learns from");
	}
	return ERR_FORMAT;
}

static enum err parse_form(
        const json_t *root, enum dataset_form form, struct training_line *out, struct why *why)
{
	const struct form *found = NULL;

	if (!json_is_object(root))
		return why_set(why, ERR_FORMAT, "not a JSON object");
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		const struct form *f = &forms[i];

		if (!f->in[form] ||
		        (!json_get_any(root, f->members[0]) && !json_get_any(root, f->members[1])))
			continue;
		if (found)
			return why_set(why, ERR_FORMAT,
			        "both \"messages\" and \"prompt\" or \"completion\": use one form a line");
		found = f;
	}
	if (!found)
		return no_form(form, why);
	out->form = found->form;
	return found->parse(root, out, why);
}

static enum err parse_json(const char *p, size_t n, json_t **out, struct why *why)
{
	json_error_t error = {0};

	/* Without JSON_ALLOW_NUL, strings end where C thinks they do. */
	*out = json_loadb(p, n, JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, &error);
	if (*out)
		return OK;
	if (json_out_of_memory(&error))
		return ERR_MEM;
	if (json_error_code(&error) == json_error_invalid_utf8)
		return why_set(why, ERR_FORMAT, "not UTF-8 (byte %d)", error.position);
	return why_set(why, ERR_FORMAT, "not JSON: %s (column %d)", error.text, error.column);
}

enum err training_line_parse(
        const char *p, size_t n, enum dataset_form form, struct training_line *out, struct why *why)
{
	struct training_line l = {0};
	enum err e = parse_json(p, n, &l.root, why);

	if (!e)
		e = parse_form(l.root, form, &l, why);
	if (!e) {
		*out = l;
		return OK;
	}
	training_line_fini(&l);
	return e == ERR_MEM ? e : ERR_INVALID;
}

void training_line_fini(struct training_line *l)
{
	if (!l)
		return;
	mem_free(l->messages);
	json_decref(l->root);
}
