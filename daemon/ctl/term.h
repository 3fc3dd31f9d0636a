/*
 * What an output is: a terminal or not, how wide, whether colours are welcome (NO_COLOR, TERM=dumb); and
 * printing a stranger's text to it so that no control sequence gets through. Thread: the owner.
 */
#ifndef REDD_CTL_TERM_H
#define REDD_CTL_TERM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct term {
	FILE *file; /* borrowed */
	bool terminal;
	bool colour;
};

enum term_colour { TERM_PLAIN, TERM_BOLD, TERM_DIM, TERM_RED, TERM_GREEN, TERM_YELLOW, TERM_CYAN };

void term_init(struct term *t, FILE *file);
/* Columns now; 100 where there is no terminal. */
size_t term_width(const struct term *t);
/* The sequence that switches to a colour, "" without colours. TERM_PLAIN switches back. */
const char *term_colour(const struct term *t, enum term_colour colour);
/* Print text; on a terminal control characters other than newline and tab become '?'. */
void term_print(const struct term *t, const char *text);
/* Columns that n bytes of UTF-8 take: one per character, near enough for ids and numbers. */
size_t term_columns(const char *text, size_t n);

#endif
