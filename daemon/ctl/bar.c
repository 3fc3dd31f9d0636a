/* See bar.h. */
#include "daemon/ctl/bar.h"

#include "daemon/ctl/term.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define BAR_MIN 10
#define BAR_MAX 40

void bar_duration(double seconds, char text[24])
{
	long long s;

	if (!(seconds >= 0) || seconds > 1e9) {
		snprintf(text, 24, "-");
		return;
	}
	s = llround(seconds);
	if (s >= 3600)
		snprintf(text, 24, "%lld:%02lld:%02lld", s / 3600, s / 60 % 60, s % 60);
	else
		snprintf(text, 24, "%lld:%02lld", s / 60, s % 60);
}

void bar_rate(double value, char text[24])
{
	if (value >= 999.5e3)
		snprintf(text, 24, "%.1fM", value / 1e6);
	else if (value >= 999.5)
		snprintf(text, 24, "%.1fk", value / 1e3);
	else
		snprintf(text, 24, "%.0f", value);
}

__attribute__((format(printf, 2, 3))) static void add(char line[BAR_LINE_SIZE], const char *fmt, ...)
{
	size_t n = strlen(line);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line + n, BAR_LINE_SIZE - n, fmt, ap);
	va_end(ap);
}

/* Everything right of the bar. */
static void format_figures(const struct bar *b, char text[BAR_LINE_SIZE])
{
	char number[24];

	text[0] = '\0';
	if (b->total_steps > 0)
		add(text, "%3d%% %lld/%lld", (int)(100 * b->step / b->total_steps), (long long)b->step,
		        (long long)b->total_steps);
	if (b->has_loss)
		add(text, "  loss %.4f", b->loss);
	if (b->has_valid_loss)
		add(text, "  valid %.4f", b->valid_loss);
	if (b->tokens_per_second > 0) {
		bar_rate(b->tokens_per_second, number);
		add(text, "  %s tok/s", number);
	}
	bar_duration(b->eta_s, number);
	if (strcmp(b->status, "running") == 0 && b->total_steps > 0) {
		add(text, "  ETA %s", number);
	} else if (b->queue_position >= 0) {
		add(text, "  %s, %lld before it", b->status, (long long)b->queue_position);
		if (b->eta_s >= 0)
			add(text, "  ETA %s", number);
	} else {
		add(text, "  %s", b->status);
	}
}

/* Cut to width columns, at a character's boundary. */
static void cut(char *line, size_t width)
{
	size_t i = 0, columns = 0;

	for (; line[i]; i++)
		if (((unsigned char)line[i] & 0xc0) != 0x80 && columns++ == width)
			break;
	line[i] = '\0';
}

void bar_format(const struct bar *b, const struct bar_style *style, char line[BAR_LINE_SIZE])
{
	const char *full = style->unicode ? "━" : "#", *empty = style->unicode ? "─" : "-";
	size_t width = style->width < BAR_LINE_SIZE / 4 ? style->width : BAR_LINE_SIZE / 4;
	char figures[BAR_LINE_SIZE];
	size_t used, cells, filled;

	line[0] = '\0';
	if (*b->label)
		add(line, "%.40s%*s ", b->label,
		        (int)(style->label_width > strlen(b->label) ? style->label_width - strlen(b->label)
		                                                    : 0),
		        "");
	format_figures(b, figures);
	used = term_columns(line, strlen(line)) + 1 + term_columns(figures, strlen(figures));
	cells = width > used ? width - used : 0;
	if (cells > BAR_MAX)
		cells = BAR_MAX;
	if (b->total_steps > 0 && cells >= BAR_MIN) {
		int64_t step = b->step < 0 ? 0 : b->step > b->total_steps ? b->total_steps : b->step;

		filled = (size_t)((double)cells * (double)step / (double)b->total_steps);
		add(line, "%s", style->fill);
		for (size_t i = 0; i < filled; i++)
			add(line, "%s", full);
		add(line, "%s", style->rest);
		for (size_t i = filled; i < cells; i++)
			add(line, "%s", empty);
		add(line, "%s ", style->end);
		add(line, "%s", figures);
		return;
	}
	add(line, "%s", figures + strspn(figures, " "));
	cut(line, width);
}
