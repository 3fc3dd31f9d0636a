/* The end of a job that worked. Its result file is in place before the one transaction that tells of it. */
#include "core/hash.h"
#include "core/mem.h"
#include "storage/adapter.h"
#include "storage/event.h"
#include "storage/file.h"
#include "storage/handle.h"
#include "storage/job.h"

#include <string.h>

struct job_end {
	const struct job_success *in;
	struct adapter_record adapter; /* borrows from in */
	struct file result;            /* its strings are constants */
	struct job job;                /* owned */
	bool written;                  /* all rows went in; only the commit can fail now */
};

static enum err job_set_result(struct db *db, const struct job_end *e)
{
	struct query q;

	query_start(&q, db,
	        "UPDATE job SET fine_tuned_model = ?, adapter_sha256 = ?, result_file = ?, trained_tokens = ?"
	        " WHERE id = ?");
	query_bind_text(&q, e->adapter.name);
	query_bind_text(&q, e->adapter.sha256);
	query_bind_text(&q, e->result.id);
	query_bind_int(&q, e->in->trained_tokens);
	query_bind_text(&q, e->in->job_id);
	return query_run(&q);
}

static enum err write_succeed(struct db *db, void *arg)
{
	static const struct job_transition done = {.to = JOB_SUCCEEDED};
	struct job_end *e = arg;
	struct job before = {0};
	enum err err = job_load(db, NULL, e->in->job_id, &before);

	if (!err && !job_step_message(before.status, JOB_SUCCEEDED))
		err = ERR_STATE;
	if (err)
		goto fail;
	memcpy(e->adapter.tenant_id, before.tenant_id, sizeof(before.tenant_id));
	memcpy(e->adapter.job_id, before.id, sizeof(before.id));
	memcpy(e->result.tenant_id, before.tenant_id, sizeof(before.tenant_id));
	err = adapter_insert(db, &e->adapter);
	if (!err && e->result.id[0])
		err = file_insert(db, &e->result);
	if (!err)
		err = job_set_result(db, e);
	if (!err)
		err = event_say(db, before.id, "New fine-tuned model created: %s", e->adapter.name);
	if (!err)
		err = job_move(db, &before, &done);
	if (!err)
		err = job_load(db, NULL, before.id, &e->job);
	e->written = !err;
fail:
	job_fini(&before);
	return err;
}

/* Bring the result file's content into place. */
static enum err result_put(struct store *s, const struct job_success *in, struct file *f)
{
	uint8_t digest[HASH_BYTES];
	enum err err;

	*f = (struct file){.bytes = (int64_t)in->n_result_csv,
	        .created_at = store_now(),
	        .filename = (char *)"step_metrics.csv",
	        .purpose = (char *)"fine-tune-results"};
	hash_bytes(in->result_csv, in->n_result_csv, digest);
	hash_hex(digest, f->sha256);
	err = random_id("file-", STORE_ID_CHARS, f->id);
	return err ? err : contents_put(&s->contents, f->id, in->result_csv, in->n_result_csv);
}

enum err store_job_succeed(struct store *s, const struct job_success *in, struct job *out)
{
	struct job_end e = {.in = in};
	enum err err =
	        adapter_describe(&e.adapter, in->name, in->parent, in->manifest, in->content, in->n_content);

	if (!err && in->result_csv)
		err = result_put(s, in, &e.result);
	if (err)
		return err;
	err = writer_call(s->writer, write_succeed, &e);
	/* As in file_writer.c: after a commit that failed, the next open decides about the content. */
	if (err && !e.written && e.result.id[0])
		(void)contents_remove(&s->contents, e.result.id);
	if (!err && out)
		*out = e.job;
	else
		job_fini(&e.job);
	return err;
}
