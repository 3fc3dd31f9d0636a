/* See term.h. */
#include "daemon/ctl/term.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define WIDTH_ELSEWHERE 100

void term_init(struct term *t, FILE *file)
{
	const char *no_color = getenv("NO_COLOR"), *kind = getenv("TERM");

	t->file = file;
	t->terminal = isatty(fileno(file)) == 1;
	t->colour = t->terminal && !(no_color && *no_color) && !(kind && strcmp(kind, "dumb") == 0);
}

size_t term_width(const struct term *t)
{
	struct winsize size;

	if (t->terminal && ioctl(fileno(t->file), TIOCGWINSZ, &size) == 0 && size.ws_col)
		return size.ws_col;
	return WIDTH_ELSEWHERE;
}

const char *term_colour(const struct term *t, enum term_colour colour)
{
	static const char *const sequences[] = {[TERM_PLAIN] = "\033[0m",
	        [TERM_BOLD] = "\033[1m",
	        [TERM_DIM] = "\033[2m",
	        [TERM_RED] = "\033[31m",
	        [TERM_GREEN] = "\033[32m",
	        [TERM_YELLOW] = "\033[33m",
	        [TERM_CYAN] = "\033[36m"};

	return t->colour ? sequences[colour] : "";
}

/* C0, DEL, and C1 as UTF-8 writes it (0xc2 0x80..0x9f): *skip is its length. */
static bool is_control(const char *p, size_t *skip)
{
	unsigned char c = (unsigned char)p[0], next = (unsigned char)p[1];

	*skip = c == 0xc2 && next >= 0x80 && next < 0xa0 ? 2 : 1;
	return *skip == 2 || c == 0x7f || (c < 0x20 && c != '\n' && c != '\t');
}

void term_print(const struct term *t, const char *text)
{
	size_t step;

	if (!t->terminal) {
		fputs(text, t->file);
		return;
	}
	for (; *text; text += step)
		if (is_control(text, &step))
			fputc('?', t->file);
		else
			fputc(*text, t->file);
}

size_t term_columns(const char *text, size_t n)
{
	size_t columns = 0;

	for (size_t i = 0; i < n; i++)
		columns += ((unsigned char)text[i] & 0xc0) != 0x80;
	return columns;
}
