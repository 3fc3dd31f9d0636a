/*
 * Rows of text aligned in columns, as lists are printed. Zero-initialise, add rows (the first is the
 * heading), print, table_fini(). Thread: the owner.
 */
#ifndef REDD_CTL_TABLE_H
#define REDD_CTL_TABLE_H

#include "core/err.h"
#include "daemon/ctl/term.h"

#define TABLE_MAX_COLUMNS 8

struct table {
	size_t n_columns; /* set before the first row */
	size_t n_rows;
	char **cells; /* owned, (n_rows, n_columns) */
};

/* Copies n_columns texts. The table is unmodified on failure. ERR_MEM. */
enum err table_row(struct table *t, const char *const *cells);
/* The heading is bold on a terminal; the last column is not padded. */
void table_print(const struct table *t, const struct term *to);
void table_fini(struct table *t);

#endif
