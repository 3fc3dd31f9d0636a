/* See table.h. */
#include "daemon/ctl/table.h"

#include "core/mem.h"

#include <string.h>

enum err table_row(struct table *t, const char *const *cells)
{
	size_t at = t->n_rows * t->n_columns;
	char **grown = mem_realloc(t->cells, at + t->n_columns, sizeof(*grown));

	if (!grown)
		return ERR_MEM;
	t->cells = grown;
	for (size_t i = 0; i < t->n_columns; i++) {
		grown[at + i] = mem_strdup(cells[i]);
		if (grown[at + i])
			continue;
		while (i-- > 0)
			mem_free(grown[at + i]);
		return ERR_MEM;
	}
	t->n_rows++;
	return OK;
}

static size_t column_width(const struct table *t, size_t column)
{
	size_t width = 0;

	for (size_t row = 0; row < t->n_rows; row++) {
		const char *cell = t->cells[row * t->n_columns + column];
		size_t columns = term_columns(cell, strlen(cell));

		if (columns > width)
			width = columns;
	}
	return width;
}

void table_print(const struct table *t, const struct term *to)
{
	size_t widths[TABLE_MAX_COLUMNS] = {0};

	for (size_t i = 0; i < t->n_columns; i++)
		widths[i] = column_width(t, i);
	for (size_t row = 0; row < t->n_rows; row++) {
		if (row == 0)
			fputs(term_colour(to, TERM_BOLD), to->file);
		for (size_t i = 0; i < t->n_columns; i++) {
			const char *cell = t->cells[row * t->n_columns + i];

			term_print(to, cell);
			if (i + 1 < t->n_columns)
				fprintf(to->file, "%*s",
				        (int)(widths[i] - term_columns(cell, strlen(cell)) + 2), "");
		}
		if (row == 0)
			fputs(term_colour(to, TERM_PLAIN), to->file);
		fputc('\n', to->file);
	}
}

void table_fini(struct table *t)
{
	if (!t)
		return;
	for (size_t i = 0; i < t->n_rows * t->n_columns; i++)
		mem_free(t->cells[i]);
	mem_free(t->cells);
	memset(t, 0, sizeof(*t));
}
