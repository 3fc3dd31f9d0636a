/* Training rows from a JSONL file. See dataset.h. One pass; what is wrong with a line never hides the next.
 */
#include "worker/text/dataset.h"

#include "core/mem.h"
#include "worker/text/jsonl.h"
#include "worker/text/label_set.h"
#include "worker/text/training_line.h"
#include "worker/text/utf8.h"

#include <errno.h>
#include <string.h>

/* A data set under construction. */
struct builder {
	const struct dataset_options *options; /* borrowed */
	struct dataset_report *report;         /* borrowed */
	struct dataset set;                    /* owned */
	size_t cap_rows, cap_tokens;
	struct ids sources;      /* owned; of all rows */
	struct label_set labels; /* owned */
	struct ids ids;          /* owned; the row at hand */
	float *weights;          /* owned; parallel to it */
	struct dataset_row row;  /* what else is known of it */
};

/* ---- the report ---- */

void dataset_report_fini(struct dataset_report *r)
{
	if (!r)
		return;
	mem_free(r->faults);
	mem_free(r->truncated_lines);
	mem_free(r->no_loss_lines);
	*r = (struct dataset_report){0};
}

/* What is quoted in a reason may have been cut within a character. */
static void copy_reason(char *out, size_t size, const char *text)
{
	size_t n = strlen(text), used = 0, part;
	bool open;

	for (size_t i = 0, len; i < n; i += len ? len : part) {
		len = utf8_char(text + i, n - i, &part, &open);
		if (used + (len ? len : 1) >= size)
			break;
		if (len)
			memcpy(out + used, text + i, len);
		else
			out[used] = '?';
		used += len ? len : 1;
	}
	out[used] = '\0';
}

static enum err report_fault(struct dataset_report *r, size_t line, const char *reason)
{
	if (!r->faults)
		r->faults = mem_calloc(DATASET_MAX_FAULTS, sizeof(*r->faults));
	if (!r->faults)
		return ERR_MEM;
	if (r->n_faults < DATASET_MAX_FAULTS) {
		r->faults[r->n_faults].line = line;
		copy_reason(r->faults[r->n_faults].reason, sizeof(r->faults->reason), reason);
	}
	r->n_faults++;
	return OK;
}

static enum err report_line(size_t **lines, size_t *n, size_t line)
{
	if (!*lines)
		*lines = mem_calloc(DATASET_MAX_FAULTS, sizeof(**lines));
	if (!*lines)
		return ERR_MEM;
	if (*n < DATASET_MAX_FAULTS)
		(*lines)[*n] = line;
	++*n;
	return OK;
}

/* ---- rows ---- */

static enum err set_weights(struct builder *b, size_t from, float weight)
{
	float *weights = mem_realloc(b->weights, b->ids.n, sizeof(*weights));

	if (!weights)
		return ERR_MEM;
	b->weights = weights;
	for (size_t i = from; i < b->ids.n; i++)
		weights[i] = weight;
	return OK;
}

/* The completion and what closes it, all of it learnt. */
static enum err encode_completion(struct builder *b, const struct training_line *l)
{
	const struct dataset_options *o = b->options;
	size_t n_before = b->ids.n;
	enum err e = set_weights(b, 0, 0);

	if (!e)
		e = tokenizer_encode(o->tokenizer, l->completion.p, l->completion.n, false, &b->ids);
	if (!e)
		e = ids_append(&b->ids, &o->eos_id, 1);
	return e ? e : set_weights(b, n_before, 1);
}

static enum err encode_text(struct builder *b, const struct training_line *l, struct why *why)
{
	const struct dataset_options *o = b->options;
	enum err e;

	if (l->form == FORM_MESSAGES)
		return chat_encode_row(o->chat, o->tokenizer, l->messages, l->n_messages, &b->ids,
		        &b->weights, o->eos_id, why);
	e = tokenizer_encode(o->tokenizer, l->prompt.p, l->prompt.n, true, &b->ids);
	return e ? e : encode_completion(b, l);
}

static enum err encode_sourced(struct builder *b, const struct training_line *l, struct why *why)
{
	const struct dataset_options *o = b->options;
	enum err e;

	b->row.source_offset = b->sources.n;
	e = tokenizer_encode_pair(o->tokenizer, l->prompt.p, l->prompt.n, NULL, 0, o->max_length, &b->sources,
	        &b->row.truncated);
	b->row.n_source = b->sources.n - b->row.source_offset;
	if (!e && !b->row.n_source)
		return why_set(why, ERR_INVALID, "\"prompt\" has no tokens");
	if (!e)
		e = ids_append(&b->ids, &o->start_id, 1);
	return e ? e : encode_completion(b, l);
}

static enum err encode_labelled(struct builder *b, const struct training_line *l, struct why *why)
{
	const struct dataset_options *o = b->options;
	enum err e;

	e = tokenizer_encode_pair(o->tokenizer, l->text.p, l->text.n, l->text_pair.p, l->text_pair.n,
	        o->max_length, &b->ids, &b->row.truncated);
	if (e == ERR_UNSUPPORTED)
		return why_set(why, ERR_INVALID, "this base's tokenizer cannot pair texts");
	if (!e && !b->ids.n)
		return why_set(why, ERR_INVALID, "\"text\" has no tokens");
	if (!e)
		e = set_weights(b, 0, 0);
	b->row.target = (float)l->label.number;
	return e ? e : label_set_add(&b->labels, &l->label, b->row.line, &b->row.class, why);
}

static enum err encode_line(struct builder *b, const struct training_line *l, struct why *why)
{
	enum err e = OK;

	b->ids.n = 0;
	switch (b->options->form) {
	case DATASET_TEXT:
		e = encode_text(b, l, why);
		break;
	case DATASET_SOURCED:
		e = encode_sourced(b, l, why);
		break;
	case DATASET_LABELLED:
		e = encode_labelled(b, l, why);
		break;
	}
	if (e == ERR_TOO_LONG)
		e = why_set(why, ERR_INVALID, "max_length is %zu: too few for the special tokens alone",
		        b->options->max_length);
	return e;
}

static enum err reserve(struct builder *b)
{
	if (b->set.n_rows == b->cap_rows) {
		size_t cap = b->cap_rows ? 2 * b->cap_rows : 256;
		struct dataset_row *rows = mem_realloc(b->set.rows, cap, sizeof(*rows));

		if (!rows)
			return ERR_MEM;
		b->set.rows = rows;
		b->cap_rows = cap;
	}
	if (b->cap_tokens - b->set.n_tokens < b->ids.n) {
		size_t cap = 2 * b->cap_tokens + b->ids.n + 4096;
		int32_t *ids = mem_realloc(b->set.ids, cap, sizeof(*ids));
		float *weights;

		if (!ids)
			return ERR_MEM;
		b->set.ids = ids;
		weights = mem_realloc(b->set.weights, cap, sizeof(*weights));
		if (!weights)
			return ERR_MEM;
		b->set.weights = weights;
		b->cap_tokens = cap;
	}
	return OK;
}

/* How much of the row at hand is learnt; a first token has nothing before it to be predicted from. */
static void count_trained(struct builder *b, struct dataset_row *row)
{
	if (row->n_tokens)
		b->weights[0] = 0;
	for (size_t i = 0; i < row->n_tokens; i++)
		row->n_trained += b->weights[i] != 0;
	if (b->set.form == DATASET_LABELLED)
		row->n_trained = 1;
}

/* Take the row at hand into the set, cut to max_length. */
static enum err add_row(struct builder *b)
{
	size_t max = b->options->max_length;
	struct dataset *s = &b->set;
	struct dataset_row row = b->row;
	enum err e = reserve(b);

	row.offset = s->n_tokens;
	row.n_tokens = b->ids.n;
	if (max && row.n_tokens > max) {
		row.n_tokens = max;
		row.truncated = true;
	}
	if (!e && row.truncated)
		e = report_line(&b->report->truncated_lines, &b->report->n_truncated, row.line);
	if (e)
		return e;
	count_trained(b, &row);
	if (!row.n_trained)
		e = report_line(&b->report->no_loss_lines, &b->report->n_no_loss, row.line);
	if (e)
		return e;
	for (size_t i = 0; i < row.n_tokens; i++) {
		s->ids[row.offset + i] = b->ids.ids[i];
		s->weights[row.offset + i] = b->weights[i];
	}
	s->rows[s->n_rows++] = row;
	s->n_tokens += row.n_tokens;
	s->n_trained += row.n_trained;
	if (row.n_tokens > s->longest)
		s->longest = row.n_tokens;
	if (row.n_source > s->longest_source)
		s->longest_source = row.n_source;
	return OK;
}

/* A row that the base cannot hold and nobody asked to cut. */
static enum err check_length(const struct builder *b, struct why *why)
{
	const struct dataset_options *o = b->options;
	size_t n = o->max_length && o->max_length < b->ids.n ? o->max_length : b->ids.n;

	if (b->row.n_source > n)
		n = b->row.n_source;
	if (n <= o->context)
		return OK;
	return why_set(why, ERR_INVALID, "%zu tokens, the context holds %zu: shorten it or set max_length", n,
	        o->context);
}

/* One line; ERR_INVALID with why for what is wrong with it. */
static enum err read_line(struct builder *b, const char *p, size_t n, size_t line, struct why *why)
{
	struct training_line l;
	enum err e = training_line_parse(p, n, b->options->form, &l, why);

	if (e)
		return e;
	b->row = (struct dataset_row){.line = line, .class = -1};
	e = encode_line(b, &l, why);
	training_line_fini(&l);
	if (!e)
		e = check_length(b, why);
	if (e == ERR_LIMIT)
		e = why_set(why, ERR_INVALID, "this text cannot be tokenised");
	return e ? e : add_row(b);
}

static bool is_blank(const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (p[i] != ' ' && p[i] != '\t' && p[i] != '\r')
			return false;
	}
	return true;
}

static enum err read_lines(struct builder *b, struct jsonl *reader)
{
	const char *p;
	size_t n;
	enum err e;

	for (;;) {
		struct why why = {0};

		e = jsonl_next(reader, &p, &n);
		if (e == ERR_EMPTY)
			return OK;
		if (e == ERR_TOO_LARGE) {
			e = why_set(&why, ERR_INVALID, "longer than %zu MiB", JSONL_MAX_LINE >> 20);
		} else if (!e) {
			if (reader->line == 1 && n >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0) {
				p += 3;
				n -= 3;
			}
			e = is_blank(p, n) ? OK : read_line(b, p, n, reader->line, &why);
		}
		if (e == ERR_INVALID)
			e = report_fault(b->report, reader->line, why.message);
		if (e)
			return e;
	}
}

/* ---- the whole file ---- */

/* The sources' and the labels' part of a set whose lines are all read. */
static enum err complete(struct builder *b, struct why *why)
{
	struct dataset *s = &b->set;
	enum err e;

	s->sources = b->sources.ids;
	s->n_sources = b->sources.n;
	b->sources = (struct ids){0};
	if (s->form != DATASET_LABELLED)
		return OK;
	e = label_set_decide(&b->labels, &s->labels, why);
	for (size_t i = 0; !e && i < s->n_rows; i++)
		s->rows[i].class =
		        s->labels.kind == LABELS_CLASSES ? label_set_class(&b->labels, s->rows[i].class) : -1;
	return e;
}

static enum err judge(const struct builder *b, struct why *why)
{
	const struct dataset_report *r = b->report;

	if (r->n_faults == 1)
		return why_set(why, ERR_INVALID, "line %zu: %s", r->faults[0].line, r->faults[0].reason);
	if (r->n_faults)
		return why_set(why, ERR_INVALID, "line %zu: %s (%zu bad lines in all)", r->faults[0].line,
		        r->faults[0].reason, r->n_faults);
	if (!b->set.n_rows)
		return why_set(why, ERR_INVALID, "the file has no rows");
	if (!b->set.n_trained)
		return why_set(
		        why, ERR_INVALID, "line %zu: no row has a token to learn", b->set.rows[0].line);
	return OK;
}

enum err dataset_read(int fd, const struct dataset_options *options, struct dataset *out,
        struct dataset_report *report, struct why *why)
{
	struct builder b = {.options = options,
	        .report = report,
	        .set = {.form = options->form},
	        .labels = {.wanted = options->problem, .known = options->labels}};
	struct jsonl reader;
	enum err e;

	*report = (struct dataset_report){0};
	jsonl_init(&reader, fd);
	e = read_lines(&b, &reader);
	if (e == ERR_IO)
		why_set(why, e, "reading: %s", strerror(errno));
	else if (e)
		why_set(why, e, "%s", err_text(e));
	else
		e = judge(&b, why);
	if (!e)
		e = complete(&b, why);
	jsonl_fini(&reader);
	ids_fini(&b.ids);
	ids_fini(&b.sources);
	label_set_fini(&b.labels);
	mem_free(b.weights);
	if (e)
		dataset_fini(&b.set);
	else
		*out = b.set;
	return e;
}

void dataset_fini(struct dataset *d)
{
	if (!d)
		return;
	mem_free(d->rows);
	mem_free(d->ids);
	mem_free(d->weights);
	mem_free(d->sources);
	labels_fini(&d->labels);
	*d = (struct dataset){0};
}
