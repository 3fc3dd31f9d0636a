/* The writer alone: what waits together is one transaction, and each write in it stands or falls for itself.
 */
#include "storage/writer.h"
#include "tests/storage/fixture.h"

#include <pthread.h>
#include <semaphore.h>

struct bench {
	struct fixture f;
	char path[128];
	struct writer *w;
	sem_t entered, go;
};

static enum err put(struct db *db, const char *sql_literal)
{
	struct query q;

	query_start(&q, db, sql_literal);
	return query_run(&q);
}

static int64_t count(struct db *db)
{
	struct query q;
	int64_t n = -1;

	query_start(&q, db, "SELECT count(*) FROM t");
	if (query_next(&q) == OK)
		n = query_int(&q);
	assert_int_equal(query_end(&q), OK);
	return n;
}

static int setup(void **state)
{
	struct bench *b = calloc(1, sizeof(*b));
	struct db *db;

	assert_non_null(b);
	fixture_dir(&b->f);
	snprintf(b->path, sizeof(b->path), "%s/t.db", b->f.dir);
	assert_int_equal(db_open(b->path, DB_WRITE, &db, NULL), OK);
	assert_int_equal(db_exec(db, "CREATE TABLE t (x UNIQUE)"), OK);
	assert_int_equal(writer_start(db, &b->w), OK);
	sem_init(&b->entered, 0, 0);
	sem_init(&b->go, 0, 0);
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	struct bench *b = *state;

	writer_stop(b->w);
	nftw(b->f.dir, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
	sem_destroy(&b->entered);
	sem_destroy(&b->go);
	free(b);
	return 0;
}

struct gate {
	struct write write;
	struct bench *b;
};

/* Holds the writer until the test lets it go on. */
static enum err write_gate(struct db *db, void *arg)
{
	struct gate *g = arg;

	(void)db;
	sem_post(&g->b->entered);
	while (sem_wait(&g->b->go))
		;
	return OK;
}

static void hold(struct bench *b)
{
	struct gate *g = mem_calloc(1, sizeof(*g));

	assert_non_null(g);
	g->b = b;
	writer_later(b->w, &g->write, write_gate);
	while (sem_wait(&b->entered))
		;
}

struct look {
	struct write write;
	const char *path;
	int64_t *inside, *outside;
};

static enum err write_one(struct db *db, void *arg)
{
	(void)arg;
	return put(db, "INSERT INTO t VALUES (1)");
}

/* Fails after it has changed something. */
static enum err write_two_badly(struct db *db, void *arg)
{
	enum err err = put(db, "INSERT INTO t VALUES (2)");

	(void)arg;
	return err ? err : put(db, "INSERT INTO t VALUES (1)");
}

/* What the writer sees, and what everybody else sees. */
static enum err write_look(struct db *db, void *arg)
{
	struct look *l = arg;
	struct db *other;

	*l->inside = count(db);
	assert_int_equal(db_open(l->path, DB_READ, &other, NULL), OK);
	*l->outside = count(other);
	db_close(other);
	return OK;
}

static void queue_plain(struct bench *b, write_fn *run)
{
	struct write *op = mem_calloc(1, sizeof(*op));

	assert_non_null(op);
	writer_later(b->w, op, run);
}

static void test_what_waits_is_one_transaction_and_failures_stay_alone(void **state)
{
	struct bench *b = *state;
	int64_t inside = -1, outside = -1;
	struct look *l = mem_calloc(1, sizeof(*l));

	hold(b);
	queue_plain(b, write_one);
	queue_plain(b, write_two_badly);
	l->path = b->path;
	l->inside = &inside;
	l->outside = &outside;
	writer_later(b->w, &l->write, write_look);
	sem_post(&b->go);
	/* The first error comes out once. */
	assert_int_equal(writer_flush(b->w), ERR_EXISTS);
	assert_int_equal(writer_flush(b->w), OK);
	assert_int_equal(inside, 1);
	assert_int_equal(outside, 0);
}

/* Takes the whole transaction down, as SQLite does by itself when the disk is full. */
static enum err write_rollback(struct db *db, void *arg)
{
	(void)arg;
	(void)put(db, "ROLLBACK");
	return ERR_DB;
}

static enum err write_three(struct db *db, void *arg)
{
	(void)arg;
	return put(db, "INSERT INTO t VALUES (3)");
}

struct caller {
	struct bench *b;
	write_fn *run;
	enum err err;
	pthread_t thread;
};

static void *caller_main(void *arg)
{
	struct caller *c = arg;

	c->err = writer_call(c->b->w, c->run, NULL);
	return NULL;
}

static enum err write_count(struct db *db, void *arg)
{
	*(int64_t *)arg = count(db);
	return OK;
}

static void test_lost_transaction_is_told_to_all_in_it_and_the_next_works(void **state)
{
	struct bench *b = *state;
	int64_t n = -1;

	hold(b);
	queue_plain(b, write_one);
	queue_plain(b, write_rollback);
	queue_plain(b, write_three);
	sem_post(&b->go);
	assert_int_equal(writer_flush(b->w), ERR_DB);
	assert_int_equal(writer_call(b->w, write_count, &n), OK);
	assert_int_equal(n, 1); /* 3, which came behind */
	assert_int_equal(writer_call(b->w, write_three, NULL), ERR_EXISTS);
	assert_int_equal(writer_call(b->w, write_one, NULL), OK);
}

static void test_each_caller_gets_its_own_answer(void **state)
{
	struct bench *b = *state;
	struct caller callers[8];
	size_t n_ok = 0, n_exists = 0;

	hold(b);
	for (size_t i = 0; i < 8; i++) {
		callers[i] = (struct caller){.b = b, .run = i % 2 ? write_one : write_three, .err = ERR_IO};
		assert_int_equal(pthread_create(&callers[i].thread, NULL, caller_main, &callers[i]), 0);
	}
	sem_post(&b->go);
	for (size_t i = 0; i < 8; i++) {
		pthread_join(callers[i].thread, NULL);
		n_ok += callers[i].err == OK;
		n_exists += callers[i].err == ERR_EXISTS;
	}
	assert_int_equal(n_ok, 2);
	assert_int_equal(n_exists, 6);
}

#define N_FLOOD 9000 /* more than the queue holds */

static enum err write_any(struct db *db, void *arg)
{
	(void)arg;
	return put(db, "INSERT INTO t VALUES (NULL)");
}

static void *flood_main(void *arg)
{
	struct bench *b = arg;

	for (int i = 0; i < N_FLOOD; i++)
		queue_plain(b, write_any);
	return NULL;
}

static void test_flood_waits_for_room_and_loses_nothing(void **state)
{
	struct bench *b = *state;
	pthread_t thread;
	int64_t n = -1;

	hold(b);
	assert_int_equal(pthread_create(&thread, NULL, flood_main, b), 0);
	sem_post(&b->go);
	pthread_join(thread, NULL);
	assert_int_equal(writer_flush(b->w), OK);
	assert_int_equal(writer_call(b->w, write_count, &n), OK);
	assert_int_equal(n, N_FLOOD);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(
	                test_what_waits_is_one_transaction_and_failures_stay_alone, setup, teardown),
	        cmocka_unit_test_setup_teardown(
	                test_lost_transaction_is_told_to_all_in_it_and_the_next_works, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_each_caller_gets_its_own_answer, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_flood_waits_for_room_and_loses_nothing, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
