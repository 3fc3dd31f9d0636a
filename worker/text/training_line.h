/*
 * One line of training data, decoded and checked; the one place that knows its JSON. Thread: any.
 */
#ifndef REDD_TEXT_TRAINING_LINE_H
#define REDD_TEXT_TRAINING_LINE_H

#include "core/err.h"
#include "worker/text/chat.h"
#include "worker/text/dataset.h"
#include "worker/text/json_get.h"
#include "worker/text/label_set.h"

enum training_form {
	FORM_PAIR,     /* {"prompt","completion"} */
	FORM_MESSAGES, /* {"messages"} */
	FORM_LABELLED, /* {"text","text_pair"?,"label"} */
};

struct training_line {
	json_t *root; /* owned; the strings below are borrowed from it */
	enum training_form form;
	struct json_text prompt, completion;
	struct chat_message *messages; /* owned */
	size_t n_messages;
	struct json_text text, text_pair; /* text_pair.p NULL = there is one text */
	struct training_label label;
};

/* Decode n bytes of a data set of this form. Members of other forms are left alone. ERR_INVALID: why says
 * what is wrong with the line. ERR_MEM. *out needs no fini on failure.
 */
enum err training_line_parse(
        const char *p, size_t n, enum dataset_form form, struct training_line *out, struct why *why);
void training_line_fini(struct training_line *l);

#endif
