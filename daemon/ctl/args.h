/*
 * Command lines of redctl: options given by tables, wherever they stand, and the operands between them.
 * Borrows argv. Thread: main.
 */
#ifndef REDD_CTL_ARGS_H
#define REDD_CTL_ARGS_H

#include "core/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ARGS_MAX 128

struct args_option { /* tables end with a NULL name */
	const char *name;
	char letter;          /* 0 = no short form */
	const char *argument; /* what --help calls its value; NULL = a flag */
	const char *help;     /* lines */
};

struct args {
	size_t n_given;
	struct {
		const char *name;  /* borrowed from the table */
		const char *value; /* borrowed from argv; NULL for a flag */
	} given[ARGS_MAX];
	size_t n_operands;
	char **operands; /* borrowed: argv, permuted */
};

/* Parse argv (argv[0] is skipped), adding options to *a and replacing its operands. Options are those of both
 * tables; own may be NULL. With stop_at_operand what follows the first operand is left to another call.
 * ERR_INVALID with the offending word in why; *a is then half filled. */
enum err args_parse(struct args *a, int argc, char **argv, const struct args_option *own,
        const struct args_option *global, bool stop_at_operand, struct why *why);

/* Say what is wrong with the command line: ERR_INVALID, with why->code marking it as the user's slip, not the
 * server's refusal. All errors of this file are of that kind. */
__attribute__((format(printf, 2, 3))) enum err args_wrong(struct why *why, const char *fmt, ...);
bool args_is_wrong(enum err e, const struct why *why);

bool args_flag(const struct args *a, const char *name);
/* The last value given for name; NULL when there is none. */
const char *args_text(const struct args *a, const char *name);
/* The i-th value given for name, in order; NULL beyond the last. */
const char *args_nth(const struct args *a, const char *name, size_t i);
/* *value is untouched when the option was not given. ERR_INVALID names option and range. */
enum err args_integer(
        const struct args *a, const char *name, int64_t min, int64_t max, int64_t *value, struct why *why);
enum err args_real(
        const struct args *a, const char *name, double min, double max, double *value, struct why *why);

#endif
