/*
 * One line of training data, decoded and checked; the one place that knows its JSON. Thread: any.
 */
#ifndef REDD_TEXT_TRAINING_LINE_H
#define REDD_TEXT_TRAINING_LINE_H

#include "core/err.h"
#include "worker/text/chat.h"
#include "worker/text/json_get.h"

struct training_line {
	json_t *root;                        /* owned; the strings below are borrowed from it */
	struct json_text prompt, completion; /* prompt.p NULL when there are messages */
	struct chat_message *messages;       /* owned */
	size_t n_messages;
};

/* Decode n bytes. ERR_INVALID: why says what is wrong with the line. ERR_MEM. *out needs no fini on failure.
 */
enum err training_line_parse(const char *p, size_t n, struct training_line *out, struct why *why);
void training_line_fini(struct training_line *l);

#endif
