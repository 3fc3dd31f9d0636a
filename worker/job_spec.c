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

/* RED's rates are large (its authors train GPT-2 at 0.06); this one is measured on small decoders, linear
 * schedule and the warm-up below. */
#define AUTO_LEARNING_RATE 0.03
/* Small data is seen more often; beyond a few hundred rows three epochs do. */
#define AUTO_EPOCHS 3
#define AUTO_MAX_EPOCHS 25
#define AUTO_ROWS_SEEN 1200
/* RED moves few numbers by many steps: on small data the batch shrinks before the steps do. */
#define AUTO_BATCH_SIZE 16
#define AUTO_STEPS 256
#define DEFAULT_WARMUP_RATIO 0.06

enum kind { KIND_SIZE, KIND_REAL, KIND_BOOL, KIND_SCHEDULE, KIND_KEEP };

struct field {
	const char *name;
	enum kind kind;
	size_t offset;
	double min, max; /* KIND_SIZE, KIND_REAL */
	bool above_min;  /* min itself is out */
	size_t auto_offset;
};

#define NO_AUTO SIZE_MAX
#define AT(member) offsetof(struct job_spec, member)

static const struct field fields[] = {
        {"n_epochs", KIND_SIZE, AT(train.n_epochs), 1, 1000, false, AT(auto_epochs)},
        {"batch_size", KIND_SIZE, AT(train.batch_size), 1, 4096, false, AT(auto_batch_size)},
        {"learning_rate_multiplier", KIND_REAL, AT(learning_rate_multiplier), 0, 300, true,
                AT(auto_multiplier)},
        {"learning_rate", KIND_REAL, AT(train.learning_rate), 0, 10, true, AT(auto_learning_rate)},
        {"lr_scheduler", KIND_SCHEDULE, AT(train.schedule), 0, 0, false, NO_AUTO},
        {"warmup_ratio", KIND_REAL, AT(warmup_ratio), 0, 1, false, NO_AUTO},
        {"warmup_steps", KIND_SIZE, AT(train.warmup_steps), 0, 1e12, false, NO_AUTO},
        {"weight_decay", KIND_REAL, AT(train.weight_decay), 0, 1, false, NO_AUTO},
        {"beta1", KIND_REAL, AT(train.beta1), 0, 0.9999999, false, NO_AUTO},
        {"beta2", KIND_REAL, AT(train.beta2), 0, 0.9999999, false, NO_AUTO},
        {"eps", KIND_REAL, AT(train.eps), 0, 1, true, NO_AUTO},
        {"max_grad_norm", KIND_REAL, AT(train.max_grad_norm), 0, 1e6, false, NO_AUTO},
        {"max_length", KIND_SIZE, AT(max_length), 0, 1e6, false, NO_AUTO},
        {"shuffle", KIND_BOOL, AT(train.shuffle), 0, 0, false, NO_AUTO},
        {"eval_every", KIND_SIZE, AT(train.eval_every), 0, 1e9, false, NO_AUTO},
        {"early_stopping_patience", KIND_SIZE, AT(train.patience), 0, 1e6, false, NO_AUTO},
        {"keep", KIND_KEEP, AT(train.keep), 0, 0, false, NO_AUTO},
};
#define N_FIELDS (sizeof(fields) / sizeof(fields[0]))

static const char *const schedule_names[] = {"linear", "cosine", "constant"};
static const char *const keep_names[] = {"best", "last"};

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
	        .n_epochs = AUTO_EPOCHS,
	        .batch_size = AUTO_BATCH_SIZE,
	        .learning_rate = AUTO_LEARNING_RATE,
	        .schedule = SCHEDULE_LINEAR,
	        .beta1 = 0.9,
	        .beta2 = 0.999,
	        .eps = 1e-8,
	        .max_grad_norm = 1.0,
	        .shuffle = true,
	        .keep = KEEP_BEST,
	};
	spec->auto_epochs = spec->auto_batch_size = true;
	spec->auto_learning_rate = spec->auto_multiplier = true;
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

/* The index of a JSON string among names, or n. */
static size_t name_index(const json_t *value, const char *const *names, size_t n)
{
	const char *s = json_string_value(value);
	size_t i;

	for (i = 0; i < n; i++)
		if (s && strcmp(s, names[i]) == 0)
			break;
	return i;
}

static enum err read_field(const struct field *f, const json_t *value, struct job_spec *spec, struct why *why)
{
	const char *s = json_string_value(value);
	size_t i;

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
	case KIND_SCHEDULE:
		i = name_index(value, schedule_names, 3);
		if (i == 3)
			return refuse(why, f, "\"linear\", \"cosine\" or \"constant\"");
		spec->train.schedule = (enum train_schedule)i;
		return OK;
	case KIND_KEEP:
		i = name_index(value, keep_names, 2);
		if (i == 2)
			return refuse(why, f, "\"best\" or \"last\"");
		spec->train.keep = (enum train_keep)i;
		return OK;
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
		/* Dropout belongs to a classification head, which decoders have not. */
		if (strcmp(name, "dropout") == 0 && json_is_number(value) && json_number_value(value) == 0)
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
	const json_t *adapter = json_object_get(body, "adapter");
	struct job_spec spec;
	enum err e;

	set_defaults(&spec);
	if (integrations && !json_is_null(integrations) &&
	        json_array_size(integrations) + json_object_size(integrations))
		return why_param(why, ERR_INVALID, "integrations", "integrations are not supported");
	e = read_suffix(json_object_get(body, "suffix"), &spec, why);
	if (e == OK)
		e = read_seed(json_object_get(body, "seed"), &spec, why);
	if (e == OK)
		e = find_hyperparameters(body, &hyperparameters, why);
	if (e == OK && hyperparameters)
		e = read_hyperparameters(hyperparameters, &spec, why);
	if (e == OK)
		e = adapter_spec_parse(json_is_null(adapter) ? NULL : adapter, &spec.adapter, why);
	if (e != OK)
		return e;
	spec.train.seed = spec.seed;
	*out = spec;
	return OK;
}

static size_t clamp_size(size_t n, size_t min, size_t max)
{
	return n < min ? min : n > max ? max : n;
}

void job_spec_resolve(struct job_spec *spec, const struct dataset *train)
{
	struct train_config *c = &spec->train;
	size_t per_epoch, total;

	assert(train->n_rows > 0);
	if (spec->resolved)
		return;
	if (spec->auto_epochs)
		c->n_epochs =
		        clamp_size((AUTO_ROWS_SEEN - 1) / train->n_rows + 1, AUTO_EPOCHS, AUTO_MAX_EPOCHS);
	if (spec->auto_batch_size)
		c->batch_size = clamp_size(train->n_rows * c->n_epochs / AUTO_STEPS, 1, AUTO_BATCH_SIZE);
	per_epoch = (train->n_rows - 1) / c->batch_size + 1;
	if (spec->auto_multiplier)
		spec->learning_rate_multiplier = 1;
	if (spec->auto_learning_rate)
		c->learning_rate = AUTO_LEARNING_RATE * spec->learning_rate_multiplier;
	total = per_epoch * c->n_epochs;
	/* A run must not end within its warm-up: its first step has rate 0. */
	if (!spec->warmup_steps_given) {
		c->warmup_steps = (size_t)ceil(spec->warmup_ratio * (double)total);
		if (c->warmup_steps >= total)
			c->warmup_steps = total - 1;
	}
	spec->resolved = true;
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
	case KIND_SCHEDULE:
		return json_string(schedule_names[spec->train.schedule]);
	case KIND_KEEP:
		return json_string(keep_names[spec->train.keep]);
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
	json_t *hyperparameters = json_object(), *was_auto = json_array(), *root = NULL;
	json_t *adapter = adapter_spec_json(&spec->adapter);
	char *text = NULL;
	enum err e = ERR_MEM;

	for (size_t i = 0; i < N_FIELDS; i++) {
		const struct field *f = &fields[i];

		if (json_object_set_new(hyperparameters, f->name, field_json(spec, f)) < 0)
			goto fail;
		if (field_is_auto(spec, f) && json_array_append_new(was_auto, json_string(f->name)) < 0)
			goto fail;
	}
	root = json_pack("{s:s, s:I, s:O, s:O, s:O, s:b, s:b}", "suffix", spec->suffix, "seed",
	        (json_int_t)spec->seed, "adapter", adapter, "hyperparameters", hyperparameters, "auto",
	        was_auto, "warmup_steps_given", (int)spec->warmup_steps_given, "resolved",
	        (int)spec->resolved);
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
	return e;
}

static enum err decode_root(const json_t *root, struct job_spec *spec)
{
	const json_t *was_auto = json_object_get(root, "auto"), *name;
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
	spec->warmup_steps_given = json_is_true(json_object_get(root, "warmup_steps_given"));
	spec->resolved = json_is_true(json_object_get(root, "resolved"));
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
