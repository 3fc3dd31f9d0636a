/* See label_set.h. */
#include "worker/text/label_set.h"

#include "core/mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The integers a double keeps. */
#define MAX_INTEGER 9007199254740992.0
#define MAX_NUMBER 1e30
#define NAMES_SHOWN 100

void label_set_fini(struct label_set *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->n; i++)
		mem_free(s->seen[i].name);
	mem_free(s->seen);
	s->seen = NULL;
	s->n = s->cap = 0;
}

static bool is_integer(double x)
{
	return x == floor(x) && fabs(x) < MAX_INTEGER;
}

/* What is asked of the type of a label. */
static enum err check_type(struct label_set *s, const struct training_label *l, size_t line, struct why *why)
{
	bool numbers = s->wanted == LABELS_NUMBER || (s->known && s->known->kind == LABELS_NUMBER);

	if (!s->first_line) {
		s->first_line = line;
		s->text = l->text != NULL;
	}
	if (numbers && l->text)
		return why_set(why, ERR_INVALID, "\"label\" must be a number: this is a regression");
	if (s->text != (l->text != NULL))
		return why_set(why, ERR_INVALID, "\"label\" is a %s, that of line %zu a %s",
		        l->text ? "string" : "number", s->first_line, l->text ? "number" : "string");
	if (!l->text && !(fabs(l->number) <= MAX_NUMBER))
		return why_set(why, ERR_INVALID, "\"label\" is beyond what can be learnt");
	if (l->text && (!l->text[0] || strlen(l->text) > LABEL_MAX_BYTES))
		return why_set(why, ERR_INVALID, "\"label\" must have 1 to %d bytes", LABEL_MAX_BYTES);
	if (!l->text && !numbers && !is_integer(l->number) &&
	        (s->wanted == LABELS_CLASSES || (s->known && s->known->kind == LABELS_CLASSES)))
		return why_set(
		        why, ERR_INVALID, "\"label\" must be a string or an integer: it names a class");
	return OK;
}

/* "negative, positive", as far as there is room. */
static void show_names(const struct labels *l, char out[NAMES_SHOWN])
{
	size_t used = 0;

	out[0] = '\0';
	for (size_t i = 0; i < l->n && used < NAMES_SHOWN - 8; i++) {
		char number[32];

		snprintf(number, sizeof(number), "%zu", i);
		snprintf(out + used, NAMES_SHOWN - used, "%s%.40s", i ? ", " : "",
		        l->names ? l->names[i] : number);
		used = strlen(out);
	}
}

static enum err find_known(const struct label_set *s, const char *name, int32_t *place, struct why *why)
{
	char names[NAMES_SHOWN];

	*place = labels_find(s->known, name);
	if (*place >= 0)
		return OK;
	show_names(s->known, names);
	return why_set(why, ERR_INVALID, "label \"%.60s\" is not one of the %zu known: %s", name, s->known->n,
	        names);
}

static enum err remember(struct label_set *s, const char *name, double number, int32_t *place)
{
	if (s->n == s->cap) {
		size_t cap = s->cap ? 2 * s->cap : 8;
		struct label_seen *seen = mem_realloc(s->seen, cap, sizeof(*seen));

		if (!seen)
			return ERR_MEM;
		s->seen = seen;
		s->cap = cap;
	}
	s->seen[s->n] = (struct label_seen){mem_strdup(name), number, (int32_t)s->n};
	if (!s->seen[s->n].name)
		return ERR_MEM;
	*place = (int32_t)s->n++;
	return OK;
}

enum err label_set_add(
        struct label_set *s, const struct training_label *label, size_t line, int32_t *place, struct why *why)
{
	enum err e = check_type(s, label, line, why);
	const char *name = label->text;
	char number[32];

	*place = -1;
	if (e)
		return e;
	if (!name) {
		s->fraction = s->fraction || !is_integer(label->number);
		if (s->fraction || s->many || s->wanted == LABELS_NUMBER ||
		        (s->known && s->known->kind == LABELS_NUMBER))
			return OK;
		/* No class is called "-0". */
		snprintf(number, sizeof(number), "%.0f", label->number + 0.0);
		name = number;
	}
	if (s->known && (s->known->names || !label->text))
		return find_known(s, name, place, why);
	for (size_t i = 0; i < s->n; i++)
		if (strcmp(s->seen[i].name, name) == 0) {
			*place = (int32_t)i;
			return OK;
		}
	if (s->n < LABELS_MAX)
		return remember(s, name, label->number, place);
	s->many = true;
	return label->text ? why_set(why, ERR_INVALID, "more than %d different labels", LABELS_MAX) : OK;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct label_seen *)a)->name, ((const struct label_seen *)b)->name);
}

static int by_number(const void *a, const void *b)
{
	double x = ((const struct label_seen *)a)->number, y = ((const struct label_seen *)b)->number;

	return (x > y) - (x < y);
}

static int by_place(const void *a, const void *b)
{
	int32_t x = ((const struct label_seen *)a)->place, y = ((const struct label_seen *)b)->place;

	return (x > y) - (x < y);
}

/* Sort the names into *out, and leave in each place its class. */
static enum err name_classes(struct label_set *s, struct labels *out)
{
	int32_t *class_of;

	out->kind = LABELS_CLASSES;
	out->names = mem_calloc(s->n, sizeof(*out->names));
	class_of = mem_calloc(s->n, sizeof(*class_of));
	if (!out->names || !class_of) {
		mem_free(class_of);
		return ERR_MEM;
	}
	out->n = s->n;
	qsort(s->seen, s->n, sizeof(*s->seen), s->text ? by_name : by_number);
	for (size_t i = 0; i < s->n; i++) {
		class_of[s->seen[i].place] = (int32_t)i;
		out->names[i] = s->seen[i].name;
		s->seen[i].name = NULL;
	}
	qsort(s->seen, s->n, sizeof(*s->seen), by_place);
	for (size_t i = 0; i < s->n; i++)
		s->seen[i].place = class_of[i];
	mem_free(class_of);
	return OK;
}

/* The classes of a head without names, called by their numbers. */
static enum err name_by_number(size_t n, struct labels *out)
{
	*out = (struct labels){.kind = LABELS_CLASSES, .n = n};
	out->names = mem_calloc(n, sizeof(*out->names));
	if (!out->names)
		return ERR_MEM;
	for (size_t i = 0; i < n; i++) {
		out->names[i] = mem_printf("%zu", i);
		if (!out->names[i])
			return ERR_MEM;
	}
	return OK;
}

enum err label_set_decide(struct label_set *s, struct labels *out, struct why *why)
{
	const struct labels *known = s->known;

	if (known && (known->names || known->kind == LABELS_NUMBER))
		return labels_copy(known, out);
	if (known && !s->text)
		return name_by_number(known->n, out);
	if (s->wanted == LABELS_NUMBER || s->fraction) {
		*out = (struct labels){.kind = LABELS_NUMBER, .n = 1};
		return OK;
	}
	if (s->many)
		return why_set(why, ERR_INVALID,
		        "more than %d different labels: for a regression set problem_type", LABELS_MAX);
	if (known && known->n != s->n)
		return why_set(
		        why, ERR_INVALID, "%zu different labels for a head of %zu outputs", s->n, known->n);
	if (!known && s->n < 2)
		return why_set(why, ERR_INVALID, "every row has the same label");
	return name_classes(s, out);
}

int32_t label_set_class(const struct label_set *s, int32_t place)
{
	return place >= 0 && s->n ? s->seen[place].place : place;
}
