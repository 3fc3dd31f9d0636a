/*
 * What tests of the worker begin with: a store in a directory of its own, two tenants, and a golden's tiny
 * base. Nothing here sleeps: waiting is for a listener's call. Thread: the test's.
 */
#ifndef REDD_TESTS_WORKER_FIXTURE_H
#define REDD_TESTS_WORKER_FIXTURE_H

#include "core/buf.h"
#include "core/log.h"
#include "core/mem.h"
#include "tests/support/golden.h"
#include "worker/job_env.h"
#include "worker/job_spec.h"
#include "worker/math/cpu.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <ftw.h>

#define BASE_DIR GOLDEN_DIR "llama2"

/* More than all jobs here want. */
#define FIXTURE_STEM_BYTES ((size_t)1 << 30)

struct fixture {
	char dir[64];
	struct store *store;
	struct tenant ann, bob;
	struct model *model;
	struct tokenizer *tokenizer;
	struct registry *registry;
	struct live *live;
	struct job_env env;
	struct budget stems; /* FIXTURE_STEM_BYTES */
	struct buf rows;     /* the golden's training file */

	pthread_mutex_t lock;
	pthread_cond_t changed;
	uint64_t n_changes; /* under lock: calls of the listener */
	/* Called by the listener, on the pool's thread, outside the lock; may be NULL. */
	void (*on_change)(struct fixture *f, const char *job_id);
	void *on_change_arg;
};

static inline void fixture_listener(void *arg, const char *job_id)
{
	struct fixture *f = arg;

	if (f->on_change)
		f->on_change(f, job_id);
	pthread_mutex_lock(&f->lock);
	f->n_changes++;
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->lock);
}

static inline void fixture_must(enum err e, const struct why *why)
{
	if (e != OK)
		fail_msg("%s: %s", err_name(e), why->message);
}

static inline int fixture_setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct why why = {0};

	assert_non_null(f);
	*state = f;
	log_set_level(LOG_LEVEL_ERROR);
	pthread_mutex_init(&f->lock, NULL);
	pthread_cond_init(&f->changed, NULL);
	snprintf(f->dir, sizeof(f->dir), "/tmp/redd-worker-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	fixture_must(store_open(f->dir, &f->store, &why), &why);
	fixture_must(store_tenant_create(f->store, "ann", NULL, &f->ann), &why);
	fixture_must(store_tenant_create(f->store, "bob", NULL, &f->bob), &why);
	cpu_init(CPU_BEST);
	fixture_must(model_open(BASE_DIR, &f->model, &why), &why);
	fixture_must(tokenizer_open(BASE_DIR, &f->tokenizer, &why), &why);
	fixture_must(registry_new(f->store, f->model, "base", REGISTRY_MAX_BYTES, &f->registry), &why);
	fixture_must(live_new(&f->live), &why);
	fixture_must(buf_read_file(&f->rows, BASE_DIR "/train.jsonl", 1 << 20), &why);
	f->env = (struct job_env){
	        .store = f->store,
	        .model = f->model,
	        .tokenizer = f->tokenizer,
	        .registry = f->registry,
	        .live = f->live,
	        .base_name = "base",
	        .checkpoint_every = 4,
	        .stems = &f->stems,
	        .on_job = fixture_listener,
	        .on_job_arg = f,
	};
	atomic_init(&f->stems.left, FIXTURE_STEM_BYTES);
	fixture_must(chat_format_detect(BASE_DIR, &f->env.chat, &why), &why);
	return 0;
}

static inline int fixture_remove(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

static inline int fixture_teardown(void **state)
{
	struct fixture *f = *state;

	mem_fail_at(0);
	live_free(f->live);
	registry_free(f->registry);
	tokenizer_close(f->tokenizer);
	model_close(f->model);
	store_close(f->store);
	buf_fini(&f->rows);
	nftw(f->dir, fixture_remove, 8, FTW_DEPTH | FTW_PHYS);
	pthread_cond_destroy(&f->changed);
	pthread_mutex_destroy(&f->lock);
	free(f);
	return 0;
}

#define WORKER_TEST(fn) cmocka_unit_test_setup_teardown(fn, fixture_setup, fixture_teardown)

static inline void put_file(
        struct fixture *f, const struct tenant *t, const char *text, char id[STORE_ID_SIZE])
{
	struct file_writer *w;
	struct file file;

	assert_int_equal(store_file_begin(f->store, &w), OK);
	assert_int_equal(file_writer_write(w, text, strlen(text)), OK);
	assert_int_equal(file_writer_commit(w, t->id, "rows.jsonl", "fine-tune", 0, &file), OK);
	memcpy(id, file.id, STORE_ID_SIZE);
	file_fini(&file);
}

/* What a job of these tests asks for: the golden's rows unless text is given, validated on them too when
 * valid is. */
struct ask {
	const struct tenant *tenant;
	const char *model;   /* NULL = the base */
	const char *request; /* JSON body; NULL = a few short epochs */
	const char *text;
	bool valid;
};

#define SHORT_JOB "{\"seed\":5,\"hyperparameters\":{\"n_epochs\":3,\"batch_size\":5,\"learning_rate\":0.03}}"

static inline void make_job(struct fixture *f, const struct ask *ask, char id[STORE_ID_SIZE])
{
	json_t *body = json_loads(ask->request ? ask->request : SHORT_JOB, 0, NULL);
	char file[STORE_ID_SIZE], *spec_json;
	struct job_spec spec;
	struct job job;
	struct why why = {0};
	struct job_new in = {.tenant_id = ask->tenant->id, .model = ask->model ? ask->model : "base"};

	fixture_must(job_spec_from_request(body, &spec, &why), &why);
	json_decref(body);
	fixture_must(job_spec_encode(&spec, &spec_json), &why);
	put_file(f, ask->tenant, ask->text ? ask->text : f->rows.data, file);
	in.training_file = file;
	in.validation_file = ask->valid ? file : NULL;
	in.spec = spec_json;
	assert_int_equal(store_job_create(f->store, &in, &job, NULL), OK);
	memcpy(id, job.id, STORE_ID_SIZE);
	job_fini(&job);
	mem_free(spec_json);
}

static inline void get_job(struct fixture *f, const char *id, struct job *job)
{
	assert_int_equal(store_job_get(f->store, NULL, id, job), OK);
}

/* Wait until the job has this status; a terminal one that is another fails the test. */
static inline void await_status(struct fixture *f, const char *id, enum job_status status)
{
	for (;;) {
		uint64_t seen;
		struct job job;
		enum job_status now;

		pthread_mutex_lock(&f->lock);
		seen = f->n_changes;
		pthread_mutex_unlock(&f->lock);
		get_job(f, id, &job);
		now = job.status;
		if (now != status && job_status_terminal(now))
			fail_msg("job %s is %s: %s", id, job_status_name(now),
			        job.error_message ? job.error_message : "no error");
		job_fini(&job);
		if (now == status)
			return;
		pthread_mutex_lock(&f->lock);
		while (f->n_changes == seen)
			pthread_cond_wait(&f->changed, &f->lock);
		pthread_mutex_unlock(&f->lock);
	}
}

/* Metrics events of a job that hold `field`, by step: *n of them, steps rising without a gap from first. */
static inline size_t count_metrics(struct fixture *f, const char *id, const char *field)
{
	struct event *events;
	size_t n, count = 0;
	int64_t last = 0;

	assert_int_equal(store_flush(f->store), OK);
	assert_int_equal(store_event_since(f->store, id, 0, 1000, &events, &n), OK);
	for (size_t i = 0; i < n; i++) {
		json_t *data = events[i].data ? json_loads(events[i].data, 0, NULL) : NULL;

		if (json_object_get(data, field)) {
			int64_t step = json_integer_value(json_object_get(data, "step"));

			assert_true(step > last);
			last = step;
			count++;
		}
		json_decref(data);
	}
	event_list_free(events, n);
	return count;
}

#endif
