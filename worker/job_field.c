/* See job_field.h. */
#include "worker/job_field.h"

#include "core/hash.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* The largest integer that every JSON reader keeps exactly. */
#define SEED_MAX 9007199254740991

#define DEFAULT_WARMUP_RATIO 0.06

/* Short words for the table. */
#define AT(member) JOB_FIELD_AT(member)
#define NO_AUTO JOB_FIELD_NEVER_AUTO
#define SIZE(n, at, low, high, auto_at)                                                                      \
	{                                                                                                    \
		.name = n, .kind = JOB_FIELD_SIZE, .offset = at, .min = low, .max = high,                    \
		.auto_offset = auto_at                                                                       \
	}
#define REAL(n, at, low, high, open, auto_at)                                                                \
	{                                                                                                    \
		.name = n, .kind = JOB_FIELD_REAL, .offset = at, .min = low, .max = high, .above_min = open, \
		.auto_offset = auto_at                                                                       \
	}
#define FLAG(n, at)                                                                                          \
	{                                                                                                    \
		.name = n, .kind = JOB_FIELD_BOOL, .offset = at, .auto_offset = JOB_FIELD_NEVER_AUTO         \
	}
#define CHOICE(n, at, list, hide, auto_at)                                                                   \
	{                                                                                                    \
		.name = n, .kind = JOB_FIELD_CHOICE, .offset = at, .names = list, .hide_first = hide,        \
		.auto_offset = auto_at                                                                       \
	}

/* Each in the order of its enum. */
static const char *const schedule_names[] = {"linear", "cosine", "constant", NULL};
static const char *const keep_names[] = {"best", "last", NULL};
static const char *const problem_names[] = {"auto", "classification", "regression", NULL};
static const char *const decay_names[] = {"zero", "identity", NULL};
static const char *const preset_names[] = {"none", "paper", NULL};

const struct job_field job_fields[] = {
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

_Static_assert(JOB_FIELDS <= 64, "a bit of job_spec.given for each");

static void *field_at(struct job_spec *spec, size_t offset)
{
	return (char *)spec + offset;
}

bool job_field_is_auto(const struct job_spec *spec, const struct job_field *f)
{
	return f->auto_offset != JOB_FIELD_NEVER_AUTO && *(const bool *)((const char *)spec + f->auto_offset);
}

void job_field_set_auto(struct job_spec *spec, const struct job_field *f)
{
	*(bool *)field_at(spec, f->auto_offset) = true;
}

const struct job_field *job_field_named(const char *name)
{
	for (size_t i = 0; i < JOB_FIELDS; i++)
		if (strcmp(job_fields[i].name, name) == 0)
			return &job_fields[i];
	return NULL;
}

const char *job_field_choice(const struct job_spec *spec, const struct job_field *f)
{
	unsigned i;

	memcpy(&i, (const char *)spec + f->offset, sizeof(i));
	return f->names[i];
}

/* ---- in ---- */

enum err job_field_refuse(struct why *why, const struct job_field *f, const char *fmt, ...)
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
        const struct job_field *f, const json_t *value, struct job_spec *spec, struct why *why)
{
	const char *or_auto = f->auto_offset != JOB_FIELD_NEVER_AUTO ? ", or \"auto\"" : "";
	const char *what = f->kind == JOB_FIELD_SIZE ? "an integer" : "a number";
	double x = json_number_value(value);
	bool ok = json_is_number(value) && x >= f->min && x <= f->max && !(f->above_min && x <= f->min);

	if (f->kind == JOB_FIELD_SIZE)
		ok = ok && x == floor(x);
	if (!ok && f->above_min)
		return job_field_refuse(
		        why, f, "%s above %.9g and at most %.9g%s", what, f->min, f->max, or_auto);
	if (!ok)
		return job_field_refuse(why, f, "%s from %.9g to %.9g%s", what, f->min, f->max, or_auto);
	if (f->kind == JOB_FIELD_SIZE)
		*(size_t *)field_at(spec, f->offset) = (size_t)x;
	else
		*(double *)field_at(spec, f->offset) = x;
	return OK;
}

/* Enums of the spec are read and written as what they are stored as. */
_Static_assert(sizeof(enum metric) == sizeof(unsigned), "an enum is an unsigned");

static enum err read_choice(
        const struct job_field *f, const json_t *value, struct job_spec *spec, struct why *why)
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
	return job_field_refuse(why, f, "%s", names);
}

enum err job_field_read(
        const struct job_field *f, const json_t *value, struct job_spec *spec, struct why *why)
{
	const char *s = json_string_value(value);

	if (f->auto_offset != JOB_FIELD_NEVER_AUTO) {
		bool is_auto = s && strcmp(s, "auto") == 0;

		*(bool *)field_at(spec, f->auto_offset) = is_auto;
		if (is_auto)
			return OK;
	}
	switch (f->kind) {
	case JOB_FIELD_SIZE:
	case JOB_FIELD_REAL:
		return read_number(f, value, spec, why);
	case JOB_FIELD_BOOL:
		if (!json_is_boolean(value))
			return job_field_refuse(why, f, "true or false");
		*(bool *)field_at(spec, f->offset) = json_is_true(value);
		return OK;
	case JOB_FIELD_CHOICE:
		return read_choice(f, value, spec, why);
	}
	return OK;
}

enum err job_field_read_suffix(const json_t *value, struct job_spec *spec, struct why *why)
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

enum err job_field_read_seed(const json_t *value, struct job_spec *spec, struct why *why)
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

/* ---- out ---- */

json_t *job_field_json(const struct job_spec *spec, const struct job_field *f)
{
	const void *p = (const char *)spec + f->offset;

	switch (f->kind) {
	case JOB_FIELD_SIZE:
		return json_integer((json_int_t) * (const size_t *)p);
	case JOB_FIELD_REAL:
		return json_real(*(const double *)p);
	case JOB_FIELD_BOOL:
		return json_boolean(*(const bool *)p);
	case JOB_FIELD_CHOICE:
		return json_string(job_field_choice(spec, f));
	}
	return NULL;
}

void job_field_defaults(struct job_spec *spec)
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
