/*
 * Training rows: JSONL to token rows. Every bad line is reported, by number; nothing is truncated silently.
 * One owner while reading; immutable afterwards.
 */
#ifndef REDD_TEXT_DATASET_H
#define REDD_TEXT_DATASET_H

#include "worker/text/chat.h"
#include "worker/text/tokenizer.h"

/* Token `ids[offset + i]` of a row carries weight weights[offset + i]: the loss of predicting it counts so
 * much. */
struct dataset_row {
	size_t offset;
	size_t n_tokens;
	size_t n_trained; /* tokens of weight != 0 that have a token before them */
	size_t line;      /* 1-based, in the file */
	bool truncated;
};

struct dataset {
	struct dataset_row *rows; /* owned */
	size_t n_rows;
	int32_t *ids;   /* owned, all rows one after the other */
	float *weights; /* owned, parallel to ids */
	size_t n_tokens;
	size_t n_trained;
	size_t longest; /* tokens of the longest row */
};

/* What is wrong with one line. */
struct dataset_fault {
	size_t line;
	char reason[200]; /* without the line's number */
};

/* What reading found: collected in full, so that a user mends a file once. */
struct dataset_report {
	struct dataset_fault *faults; /* owned; at most DATASET_MAX_FAULTS */
	size_t n_faults;              /* all of them, counted */
	size_t *truncated_lines;      /* owned; the first DATASET_MAX_FAULTS */
	size_t n_truncated;
	size_t *no_loss_lines; /* owned; rows without a trained token; the first DATASET_MAX_FAULTS */
	size_t n_no_loss;
};
#define DATASET_MAX_FAULTS 100
void dataset_report_fini(struct dataset_report *r);

struct dataset_options {
	const struct tokenizer *tokenizer;
	const struct chat_format *chat;
	size_t context;    /* the base's: a longer row is a fault unless max_length cuts it */
	size_t max_length; /* 0 = not asked for; else rows are cut to it and reported */
	int32_t eos_id;    /* closes every completion */
};

/* Read a JSONL file: {"prompt","completion"} rows tokenised as ids(prompt) with special tokens, then
 * ids(completion) without, then eos_id, loss on the completion and eos; or {"messages":[...]}, both in one
 * file if need be. Other members are left alone; blank lines and a byte order mark are skipped. A row's first
 * token has nothing before it to be predicted from, so it carries no loss: with an empty prompt and a
 * tokenizer that adds no special token, that is the completion's first. Rows without loss stay in the data
 * and are reported. ERR_INVALID when there are faults, no rows or no row with loss (report and why say which;
 * why names the first by line number); ERR_IO; ERR_MEM; *out is untouched then. *report is filled in either
 * case. Reads from the start of fd, which must be a file, and leaves its position alone. */
enum err dataset_read(int fd, const struct dataset_options *options, struct dataset *out,
        struct dataset_report *report, struct why *why);
void dataset_fini(struct dataset *d);

#endif
