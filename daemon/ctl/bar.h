/*
 * One line about a job in progress, drawn to fit a width. Pure: no clock, no terminal. Thread: any.
 */
#ifndef REDD_CTL_BAR_H
#define REDD_CTL_BAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BAR_LINE_SIZE 1024

struct bar {
	const char *label;         /* short; "" = none */
	const char *status;        /* as on the wire */
	int64_t step, total_steps; /* total 0 = not known yet */
	double epoch;
	bool has_loss, has_valid_loss;
	double loss, valid_loss;
	double tokens_per_second;
	double eta_s;           /* < 0 = not known */
	int64_t queue_position; /* < 0 = not queued */
};

struct bar_style {
	size_t width;       /* columns */
	size_t label_width; /* labels are padded to this */
	bool unicode;
	const char *fill, *rest, *end; /* colour sequences, "" = none */
};

/* The line, without newline, at most style->width columns wide. */
void bar_format(const struct bar *b, const struct bar_style *style, char line[BAR_LINE_SIZE]);
/* "0:42", "12:05", "3:07:00"; "-" below 0. */
void bar_duration(double seconds, char text[24]);
/* "940", "12.3k", "1.5M". */
void bar_rate(double value, char text[24]);

#endif
