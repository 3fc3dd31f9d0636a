/*
 * See job_spec.h. One table of hyperparameters serves the request, the store and the wire; a new one is a
 * row.
 */
#include "worker/job_spec.h"

#include "core/hash.h"
#include "core/mem.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The largest integer that every JSON reader keeps exactly. */
#define SEED_MAX 9007199254740991

#define DEFAULT_WARMUP_RATIO 0.06

enum kind { KIND_SIZE, KIND_REAL, KIND_BOOL, KIND_CHOICE };

struct field {
	const char *name;
	enum kind kind;
	size_t offset;
	double min, max; /* KIND_SIZE, KIND_REAL */
	bool above_min;  /* min itself is out */
	size_t auto_offset;
	const char *const *names; /* KIND_CHOICE: of the enum's values, ended by NULL */
	bool hide_first;          /* the first of them is not worth a mention */
};

#define NO_AUTO SIZE_MAX
#define AT(member) offsetof(struct job_spec, member)
#define SIZE(n, at, low, high, auto_at)                                                                      \
	{                                                                                                    \
		.name = n, .kind = KIND_SIZE, .offset = at, .min = low, .max = high, .auto_offset = auto_at  \
	}
#define REAL(n, at, low, high, open, auto_at)                                                                \
	{                                                                                                    \
		.name = n, .kind = KIND_REAL, .offset = at, .min = low, .max = high, .above_min = open,      \
		.auto_offset = auto_at                                                                       \
	}
#define FLAG(n, at)                                                                                          \
	{                                                                                                    \
		.name = n, .kind = KIND_BOOL, .offset = at, .auto_offset = NO_AUTO                           \
	}
#define CHOICE(n, at, list, hide, auto_at)                                                                   \
	{                                                                                                    \
		.name = n, .kind = KIND_CHOICE, .offset = at, .names = list, .hide_first = hide,             \
		.auto_offset = auto_at                                                                       \
	}

/* Each in the order of its enum. */
static const char *const schedule_names[] = {"linear", "cosine", "constant", NULL};
static const char *const keep_names[] = {"best", "last", NULL};
static const char *const problem_names[] = {"auto", "classification", "regression", NULL};
static const char *const decay_names[] = {"zero", "identity", NULL};
static const char *const preset_names[] = {"none", "paper", NULL};

static const struct field fields[] = {
        SIZE("n_epochs", AT(train.n_epochs), 1, 1000, AT(auto_epochs)),
        SIZE("batch_size", AT(train.batch_size), 1, 4096, AT(auto_batch_size)),
        REAL("learning_rate_multiplier", AT(learning_rate_multiplier), 0, 300, true, AT(auto_multiplier)),
        REAL("learning_rate", AT(train.learning_rate), 0, 10, true, AT(auto_learning_rate)),
        CHOICE("lr_scheduler", AT(train.schedule), schedule_names, false, NO_AUTO),
        REAL("warmup_ratio", AT(warmup_ratio), 0, 1, false, NO_AUTO),
        SIZE("warmup_steps", AT(train.warmup_steps), 0, 1e12, NO_AUTO),
        REAL("weight_decay", AT(train.weight_decay), 0, 1, false, NO_AUTO),
        CHOICE("weight_decay_towards", AT(train.decay_towards), decay_names, false, NO_AUTO),
        REAL("dropout", AT(train.dropout), 0, 0.99, false, NO_AUTO),
        REAL("beta1", AT(train.beta1), 0, 0.9999999, false, NO_AUTO),
        REAL("beta2", AT(train.beta2), 0, 0.9999999, false, NO_AUTO),
        REAL("eps", AT(train.eps), 0, 1, true, NO_AUTO),
        REAL("max_grad_norm", AT(train.max_grad_norm), 0, 1e6, false, NO_AUTO),
        SIZE("max_length", AT(max_length), 0, 1e6, NO_AUTO),
        FLAG("shuffle", AT(train.shuffle)),
        SIZE("eval_every", AT(train.eval_every), 0, 1e9, NO_AUTO),
        SIZE("early_stopping_patience", AT(train.patience), 0, 1e6, NO_AUTO),
        CHOICE("keep", AT(train.keep), keep_names, false, NO_AUTO),
        CHOICE("metric", AT(train.metric), metric_names, false, AT(auto_metric)),
        CHOICE("problem_type", AT(problem), problem_names, true, NO_AUTO),
        CHOICE("preset", AT(preset), preset_names, true, NO_AUTO),
};
#define N_FIELDS (sizeof(fields) / sizeof(fields[0]))

static void *field_at(struct job_spec *spec, size_t offset)
{
	return (char *)spec + offset;
}

static bool field_is_auto(const struct job_spec *spec, const struct field *f)
{
	return f->auto_offset != NO_AUTO && *(const bool *)((const char *)spec + f->auto_offset);
}

static void set_defaults(struct job_spec *spec)
{
	memset(spec, 0, sizeof(*spec));
	adapter_spec_default(&spec->adapter);
	spec->train = (struct train_config){
	        .n_epochs = 1,
	        .batch_size = 1,
	        .learning_rate = 1,
	        .schedule = SCHEDULE_LINEAR,
	        .beta1 = 0.9,
	        .beta2 = 0.999,
	        .eps = 1e-8,
	        .max_grad_norm = 1.0,
	        .shuffle = true,
	        .keep = KEEP_BEST,
	};
	spec->auto_epochs = spec->auto_batch_size = true;
	spec->auto_learning_rate = spec->auto_multiplier = spec->auto_metric = true;
	spec->learning_rate_multiplier = 1;
	spec->warmup_ratio = DEFAULT_WARMUP_RATIO;
}

__attribute__((format(printf, 3, 4))) static enum err refuse(
        struct why *why, const struct field *f, const char *fmt, ...)
{
	char param[sizeof(why->param)], message[sizeof(why->message)];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(message, sizeof(message), fmt, ap);
	va_end(ap);
	snprintf(param, sizeof(param), "hyperparameters.%s", f->name);
	return why_param(why, ERR_INVALID, param, "%s must be %s", f->name, message);
}

static enum err read_number(
        const struct field *f, const json_t *value, struct job_spec *spec, struct why *why)
{
	const char *or_auto = f->auto_offset != NO_AUTO ? ", or \"auto\"" : "";
	const char *what = f->kind == KIND_SIZE ? "an integer" : "a number";
	double x = json_number_value(value);
	bool ok = json_is_number(value) && x >= f->min && x <= f->max && !(f->above_min && x <= f->min);

	if (f->kind == KIND_SIZE)
		ok = ok && x == floor(x);
	if (!ok && f->above_min)
		return refuse(why, f, "%s above %.9g and at most %.9g%s", what, f->min, f->max, or_auto);
	if (!ok)
		return refuse(why, f, "%s from %.9g to %.9g%s", what, f->min, f->max, or_auto);
	if (f->kind == KIND_SIZE)
		*(size_t *)field_at(spec, f->offset) = (size_t)x;
	else
		*(double *)field_at(spec, f->offset) = x;
	return OK;
}

/* Enums of the spec are read and written as what they are stored as. */
_Static_assert(sizeof(enum metric) == sizeof(unsigned), "an enum is an unsigned");

static enum err read_choice(
        const struct field *f, const json_t *value, struct job_spec *spec, struct why *why)
{
	const char *s = json_string_value(value);
	char names[120] = "";

	for (unsigned i = 0; f->names[i]; i++) {
		size_t used = strlen(names);

		if (s && strcmp(s, f->names[i]) == 0) {
			memcpy(field_at(spec, f->offset), &i, sizeof(i));
			return OK;
		}
		snprintf(names + used, sizeof(names) - used, "%s\"%s\"",
		        !i                ? ""
		        : f->names[i + 1] ? ", "
		                          : " or ",
		        f->names[i]);
	}
	return refuse(why, f, "%s", names);
}

static const char *choice_name(const struct job_spec *spec, const struct field *f)
{
	unsigned i;

	memcpy(&i, (const char *)spec + f->offset, sizeof(i));
	return f->names[i];
}

static enum err read_field(const struct field *f, const json_t *value, struct job_spec *spec, struct why *why)
{
	const char *s = json_string_value(value);

	if (f->auto_offset != NO_AUTO) {
		bool is_auto = s && strcmp(s, "auto") == 0;

		*(bool *)field_at(spec, f->auto_offset) = is_auto;
		if (is_auto)
			return OK;
	}
	switch (f->kind) {
	case KIND_SIZE:
	case KIND_REAL:
		return read_number(f, value, spec, why);
	case KIND_BOOL:
		if (!json_is_boolean(value))
			return refuse(why, f, "true or false");
		*(bool *)field_at(spec, f->offset) = json_is_true(value);
		return OK;
	case KIND_CHOICE:
		return read_choice(f, value, spec, why);
	}
	return OK;
}

static const struct field *field_named(const char *name)
{
	for (size_t i = 0; i < N_FIELDS; i++)
		if (strcmp(fields[i].name, name) == 0)
			return &fields[i];
	return NULL;
}

static enum err read_hyperparameters(const json_t *object, struct job_spec *spec, struct why *why)
{
	const char *name;
	json_t *value;

	if (!json_is_object(object))
		return why_param(why, ERR_INVALID, "hyperparameters", "hyperparameters must be an object");
	json_object_foreach ((json_t *)object, name, value) {
		const struct field *f = field_named(name);
		enum err e;

		if (json_is_null(value))
			continue;
		if (!f) {
			char param[sizeof(why->param)];

			snprintf(param, sizeof(param), "hyperparameters.%.40s", name);
			return why_param(why, ERR_INVALID, param,
			        "%.40s is not a hyperparameter this base knows", name);
		}
		e = read_field(f, value, spec, why);
		if (e != OK)
			return e;
		if (!field_is_auto(spec, f))
			spec->given |= UINT64_C(1) << (f - fields);
		if (f->offset == AT(train.warmup_steps))
			spec->warmup_steps_given = true;
	}
	if (!spec->auto_learning_rate && !spec->auto_multiplier && spec->learning_rate_multiplier != 1)
		return why_param(why, ERR_INVALID, "hyperparameters.learning_rate_multiplier",
		        "learning_rate_multiplier multiplies the automatic rate; give it or learning_rate, "
		        "not both");
	if (spec->max_length == 1)
		return refuse(why, field_named("max_length"), "at least 2 tokens, or 0 for the context");
	return OK;
}

bool job_spec_asked(const struct job_spec *spec, const char *name)
{
	return spec->given >> (field_named(name) - fields) & 1;
}

/* Steps and ratio are two names of one thing. */
static bool asked_otherwise(const struct job_spec *spec, const struct field *f)
{
	return f->offset == AT(train.warmup_steps) && job_spec_asked(spec, "warmup_ratio");
}

void job_spec_fill(struct job_spec *spec, const json_t *hyperparameters)
{
	for (size_t i = 0; i < N_FIELDS; i++) {
		const json_t *value = json_object_get(hyperparameters, fields[i].name);

		if (!value || (spec->given >> i & 1) || asked_otherwise(spec, &fields[i]))
			continue;
		read_field(&fields[i], value, spec, NULL);
		if (fields[i].offset == AT(train.warmup_steps))
			spec->warmup_steps_given = true;
	}
}

static enum err read_suffix(const json_t *value, struct job_spec *spec, struct why *why)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
	const char *s = json_string_value(value);

	if (!value || json_is_null(value))
		return OK;
	if (!s || json_string_length(value) >= sizeof(spec->suffix) ||
	        strspn(s, allowed) != json_string_length(value))
		return why_param(why, ERR_INVALID, "suffix",
		        "suffix must be at most 64 letters, digits, '.', '_' or '-'");
	memcpy(spec->suffix, s, strlen(s) + 1);
	return OK;
}

static enum err read_seed(const json_t *value, struct job_spec *spec, struct why *why)
{
	json_int_t seed = json_integer_value(value);
	uint32_t drawn;
	enum err e;

	if (!value || json_is_null(value)) {
		e = random_bytes(&drawn, sizeof(drawn));
		if (e == OK)
			spec->seed = drawn >> 1;
		return e;
	}
	if (!json_is_integer(value) || seed < 0 || seed > SEED_MAX)
		return why_param(why, ERR_INVALID, "seed", "seed must be an integer from 0 to %lld",
		        (long long)SEED_MAX);
	spec->seed = (uint64_t)seed;
	return OK;
}

/* Find the hyperparameters in method.supervised or, as older clients send them, at the top; NULL = none. */
static enum err find_hyperparameters(const json_t *body, const json_t **out, struct why *why)
{
	const json_t *method = json_object_get(body, "method"),
	             *top = json_object_get(body, "hyperparameters");
	const json_t *supervised, *inner;
	const char *type;

	if (json_is_null(top))
		top = NULL;
	if (!method || json_is_null(method)) {
		*out = top;
		return OK;
	}
	type = json_string_value(json_object_get(method, "type"));
	if (!type || strcmp(type, "supervised") != 0)
		return why_param(why, ERR_INVALID, "method.type", "method.type must be \"supervised\"");
	supervised = json_object_get(method, "supervised");
	if (supervised && !json_is_null(supervised) && !json_is_object(supervised))
		return why_param(
		        why, ERR_INVALID, "method.supervised", "method.supervised must be an object");
	inner = json_object_get(supervised, "hyperparameters");
	if (json_is_null(inner))
		inner = NULL;
	if (inner && top)
		return why_param(why, ERR_INVALID, "hyperparameters",
		        "give hyperparameters in method.supervised or at the top level, not in both");
	*out = inner ? inner : top;
	return OK;
}

enum err job_spec_from_request(const json_t *body, struct job_spec *out, struct why *why)
{
	const json_t *hyperparameters = NULL, *integrations = json_object_get(body, "integrations");
	const json_t *adapter = json_object_get(body, "adapter"), *preset = json_object_get(body, "preset");
	struct job_spec spec;
	enum err e;

	set_defaults(&spec);
	if (integrations && !json_is_null(integrations) &&
	        json_array_size(integrations) + json_object_size(integrations))
		return why_param(why, ERR_INVALID, "integrations", "integrations are not supported");
	e = read_suffix(json_object_get(body, "suffix"), &spec, why);
	if (e == OK)
		e = read_seed(json_object_get(body, "seed"), &spec, why);
	if (e == OK && preset && !json_is_null(preset))
		e = read_field(field_named("preset"), preset, &spec, why);
	if (e == OK)
		e = find_hyperparameters(body, &hyperparameters, why);
	if (e == OK && hyperparameters)
		e = read_hyperparameters(hyperparameters, &spec, why);
	if (e == OK)
		e = adapter_spec_parse(json_is_null(adapter) ? NULL : adapter, &spec.adapter, why);
	if (e != OK)
		return e;
	spec.adapter_given = adapter && !json_is_null(adapter);
	spec.train.seed = spec.seed;
	*out = spec;
	return OK;
}

static json_t *field_json(const struct job_spec *spec, const struct field *f)
{
	const void *p = (const char *)spec + f->offset;

	switch (f->kind) {
	case KIND_SIZE:
		return json_integer((json_int_t) * (const size_t *)p);
	case KIND_REAL:
		return json_real(*(const double *)p);
	case KIND_BOOL:
		return json_boolean(*(const bool *)p);
	case KIND_CHOICE:
		return json_string(choice_name(spec, f));
	}
	return NULL;
}

json_t *job_spec_hyperparameters(const struct job_spec *spec)
{
	json_t *object = json_object();

	if (!object)
		return NULL;
	for (size_t i = 0; i < N_FIELDS; i++) {
		const struct field *f = &fields[i];
		bool is_auto = !spec->resolved && field_is_auto(spec, f);

		if (f->offset == AT(train.warmup_steps) && !spec->resolved && !spec->warmup_steps_given)
			continue;
		if (f->offset == AT(warmup_ratio) && spec->warmup_steps_given)
			continue;
		if (f->hide_first && choice_name(spec, f) == f->names[0])
			continue;
		if (json_object_set_new(
		            object, f->name, is_auto ? json_string("auto") : field_json(spec, f)) < 0) {
			json_decref(object);
			return NULL;
		}
	}
	return object;
}

enum err job_spec_encode(const struct job_spec *spec, char **json)
{
	json_t *hyperparameters = json_object(), *was_auto = json_array(), *given = json_array(),
	       *root = NULL;
	json_t *adapter = adapter_spec_json(&spec->adapter);
	char *text = NULL;
	enum err e = ERR_MEM;

	for (size_t i = 0; i < N_FIELDS; i++) {
		const struct field *f = &fields[i];

		if (json_object_set_new(hyperparameters, f->name, field_json(spec, f)) < 0)
			goto fail;
		if (field_is_auto(spec, f) && json_array_append_new(was_auto, json_string(f->name)) < 0)
			goto fail;
		if ((spec->given >> i & 1) && json_array_append_new(given, json_string(f->name)) < 0)
			goto fail;
	}
	root = json_pack("{s:s, s:I, s:O, s:O, s:O, s:O, s:b, s:b, s:b}", "suffix", spec->suffix, "seed",
	        (json_int_t)spec->seed, "adapter", adapter, "hyperparameters", hyperparameters, "auto",
	        was_auto, "given", given, "warmup_steps_given", (int)spec->warmup_steps_given, "resolved",
	        (int)spec->resolved, "adapter_given", (int)spec->adapter_given);
	text = root ? json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(17)) : NULL;
	if (!text)
		goto fail;
	*json = mem_strdup(text);
	e = *json ? OK : ERR_MEM;
fail:
	free(text);
	json_decref(root);
	json_decref(adapter);
	json_decref(hyperparameters);
	json_decref(was_auto);
	json_decref(given);
	return e;
}

static enum err decode_root(const json_t *root, struct job_spec *spec)
{
	const json_t *was_auto = json_object_get(root, "auto"), *given = json_object_get(root, "given"),
	             *name;
	enum err e;
	size_t i;

	e = read_suffix(json_object_get(root, "suffix"), spec, NULL);
	if (e == OK)
		e = read_seed(json_object_get(root, "seed"), spec, NULL);
	if (e == OK)
		e = adapter_spec_parse(json_object_get(root, "adapter"), &spec->adapter, NULL);
	for (i = 0; e == OK && i < N_FIELDS; i++)
		e = read_field(&fields[i],
		        json_object_get(json_object_get(root, "hyperparameters"), fields[i].name), spec,
		        NULL);
	json_array_foreach (was_auto, i, name) {
		const struct field *f = json_is_string(name) ? field_named(json_string_value(name)) : NULL;

		if (!f || f->auto_offset == NO_AUTO)
			return ERR_FORMAT;
		*(bool *)field_at(spec, f->auto_offset) = true;
	}
	json_array_foreach (given, i, name) {
		const struct field *f = json_is_string(name) ? field_named(json_string_value(name)) : NULL;

		if (!f)
			return ERR_FORMAT;
		spec->given |= UINT64_C(1) << (f - fields);
	}
	spec->warmup_steps_given = json_is_true(json_object_get(root, "warmup_steps_given"));
	spec->resolved = json_is_true(json_object_get(root, "resolved"));
	spec->adapter_given = json_is_true(json_object_get(root, "adapter_given"));
	spec->train.seed = spec->seed;
	return e;
}

enum err job_spec_decode(const char *json, struct job_spec *out)
{
	json_t *root = json_loads(json, 0, NULL);
	struct job_spec spec;
	enum err e;

	set_defaults(&spec);
	e = json_is_object(root) ? decode_root(root, &spec) : ERR_FORMAT;
	json_decref(root);
	if (e == ERR_INVALID)
		return ERR_FORMAT;
	if (e == OK)
		*out = spec;
	return e;
}
