/* See args.h. getopt_long() does the walking. */
#include "daemon/ctl/args.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_OPTIONS 64
#define FIRST_LONG 256
#define WRONG_CODE "command_line"

struct known {
	struct option options[MAX_OPTIONS + 1];
	char letters[2 * MAX_OPTIONS + 3];
	const struct args_option *rows[MAX_OPTIONS];
	size_t n;
};

static void known_add(struct known *k, const struct args_option *table)
{
	for (; table && table->name && k->n < MAX_OPTIONS; table++) {
		size_t at = strlen(k->letters);

		k->rows[k->n] = table;
		k->options[k->n] = (struct option){table->name,
		        table->argument ? required_argument : no_argument, NULL, FIRST_LONG + (int)k->n};
		k->n++;
		if (!table->letter)
			continue;
		k->letters[at++] = table->letter;
		if (table->argument)
			k->letters[at++] = ':';
		k->letters[at] = '\0';
	}
}

static const struct args_option *known_find(const struct known *k, int code)
{
	if (code >= FIRST_LONG)
		return k->rows[code - FIRST_LONG];
	for (size_t i = 0; i < k->n; i++)
		if (k->rows[i]->letter == code)
			return k->rows[i];
	return NULL;
}

enum err args_parse(struct args *a, int argc, char **argv, const struct args_option *own,
        const struct args_option *global, bool stop_at_operand, struct why *why)
{
	struct known k = {.letters = ""};
	int o;

	strcpy(k.letters, stop_at_operand ? "+:" : ":");
	known_add(&k, own);
	known_add(&k, global);
	optind = 0;
	opterr = 0;
	while ((o = getopt_long(argc, argv, k.letters, k.options, NULL)) != -1) {
		if (o == ':')
			return args_wrong(why, "%s needs a value", argv[optind - 1]);
		if (o == '?' && optopt && optopt < FIRST_LONG)
			return args_wrong(why, "-%c: no such option", optopt);
		if (o == '?')
			return args_wrong(why, "%s: no such option, or not clear which", argv[optind - 1]);
		if (a->n_given == ARGS_MAX)
			return args_wrong(why, "more than %d options", ARGS_MAX);
		a->given[a->n_given].name = known_find(&k, o)->name;
		a->given[a->n_given++].value = optarg;
	}
	a->operands = argv + optind;
	a->n_operands = (size_t)(argc - optind);
	return OK;
}

enum err args_wrong(struct why *why, const char *fmt, ...)
{
	char message[sizeof(why->message)];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(message, sizeof(message), fmt, ap);
	va_end(ap);
	(void)why_set(why, ERR_INVALID, "%s", message);
	if (why)
		strcpy(why->code, WRONG_CODE);
	return ERR_INVALID;
}

bool args_is_wrong(enum err e, const struct why *why)
{
	return e == ERR_INVALID && strcmp(why->code, WRONG_CODE) == 0;
}

bool args_flag(const struct args *a, const char *name)
{
	for (size_t i = 0; i < a->n_given; i++)
		if (strcmp(a->given[i].name, name) == 0)
			return true;
	return false;
}

const char *args_text(const struct args *a, const char *name)
{
	for (size_t i = a->n_given; i-- > 0;)
		if (strcmp(a->given[i].name, name) == 0)
			return a->given[i].value;
	return NULL;
}

const char *args_nth(const struct args *a, const char *name, size_t i)
{
	for (size_t j = 0; j < a->n_given; j++)
		if (strcmp(a->given[j].name, name) == 0 && i-- == 0)
			return a->given[j].value;
	return NULL;
}

enum err args_integer(
        const struct args *a, const char *name, int64_t min, int64_t max, int64_t *value, struct why *why)
{
	const char *text = args_text(a, name);
	long long v;
	char *end;

	if (!text)
		return OK;
	errno = 0;
	v = strtoll(text, &end, 10);
	if (end == text || *end || errno || v < min || v > max)
		return args_wrong(why, "--%s: \"%s\" is not a whole number from %lld to %lld", name, text,
		        (long long)min, (long long)max);
	*value = v;
	return OK;
}

enum err args_real(
        const struct args *a, const char *name, double min, double max, double *value, struct why *why)
{
	const char *text = args_text(a, name);
	double v;
	char *end;

	if (!text)
		return OK;
	v = strtod(text, &end);
	if (end == text || *end || !isfinite(v) || v < min || v > max)
		return args_wrong(why, "--%s: \"%s\" is not a number from %g to %g", name, text, min, max);
	*value = v;
	return OK;
}
