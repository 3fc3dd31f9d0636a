/*
 * Training rows: JSONL to token rows. Every bad line is reported, by number; nothing is truncated silently.
 * One owner while reading; immutable afterwards.
 */
#ifndef REDD_TEXT_DATASET_H
#define REDD_TEXT_DATASET_H

#include "worker/text/chat.h"
#include "worker/text/labels.h"
#include "worker/text/tokenizer.h"

/* What a base learns from, and so which lines its data sets have. */
enum dataset_form {
	DATASET_TEXT,     /* the tokens of a text: {"prompt","completion"}, {"messages"} */
	DATASET_SOURCED,  /* the tokens of a text that answers another, its source: {"prompt","completion"} */
	DATASET_LABELLED, /* one label a text or pair of texts: {"text","text_pair"?,"label"} */
};
#define DATASET_FORMS 3

/* Token `ids[offset + i]` of a row carries weight weights[offset + i]: the loss of predicting it counts so
 * much. */
struct dataset_row {
	size_t offset;
	size_t n_tokens;
	size_t n_trained; /* tokens of weight != 0 that have a token before them; 1 for a label */
	size_t line;      /* 1-based, in the file */
	bool truncated;
	size_t source_offset, n_source; /* in `sources` */
	int32_t class;                  /* of labels.n classes; -1 = none */
	float target;                   /* the number, where labels are numbers */
};

struct dataset {
	enum dataset_form form;
	struct dataset_row *rows; /* owned */
	size_t n_rows;
	int32_t *ids;   /* owned, all rows one after the other */
	float *weights; /* owned, parallel to ids */
	size_t n_tokens;
	size_t n_trained;
	size_t longest;   /* tokens of the longest row */
	int32_t *sources; /* owned, all sources one after the other; only DATASET_SOURCED */
	size_t n_sources;
	size_t longest_source;
	struct labels labels; /* owned; only DATASET_LABELLED */
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
	enum dataset_form form;
	const struct tokenizer *tokenizer;
	const struct chat_format *chat;
	size_t context;    /* the base's: a longer row is a fault unless max_length cuts it */
	size_t max_length; /* 0 = not asked for; else rows are cut to it and reported */
	int32_t eos_id;    /* closes every completion */
	int32_t start_id;  /* DATASET_SOURCED: what a completion begins from; it carries no loss */
	/* DATASET_LABELLED */
	enum labels_kind problem; /* what labels are; LABELS_NONE = numbers that are not all integers mean
	                             regression, all else classes */
	const struct labels
	        *labels; /* what the head stands for already, borrowed; NULL = what is found here */
};

/* Read a JSONL file. DATASET_TEXT: {"prompt","completion"} rows tokenised as ids(prompt) with special tokens,
 * then ids(completion) without, then eos_id, loss on the completion and eos; or {"messages":[...]}, both in
 * one file if need be. Other members are left alone; blank lines and a byte order mark are skipped. A row's
 * first token has nothing before it to be predicted from, so it carries no loss: with an empty prompt and a
 * tokenizer that adds no special token, that is the completion's first.
 * DATASET_SOURCED: ids(prompt) with special tokens are the source; the row is start_id, ids(completion)
 * without them, eos_id. max_length cuts each of the two. DATASET_LABELLED: ids of the text or pair with
 * special tokens, which a cut leaves whole; labels are classes in the order of strings' bytes or of integers,
 * or numbers. Rows without loss stay in the data and are reported. ERR_INVALID when there are faults, no rows
 * or no row with loss (report and why say which; why names the first by line number); ERR_IO; ERR_MEM; *out
 * is untouched then. *report is filled in either case. Reads from the start of fd, which must be a file, and
 * leaves its position alone. */
enum err dataset_read(int fd, const struct dataset_options *options, struct dataset *out,
        struct dataset_report *report, struct why *why);
void dataset_fini(struct dataset *d);

#endif
