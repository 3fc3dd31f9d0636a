/* Where a queued job stands, and what is left to train on until it is done. */
#include "tests/storage/queue.h"

static void test_queue_position_foretells_the_claims(void **state)
{
	struct fixture *f = *state;
	char anns[4][STORE_ID_SIZE], bobs[2][STORE_ID_SIZE], carls[1][STORE_ID_SIZE];
	const char *order[7];
	struct tenant carl;

	assert_int_equal(store_tenant_create(f->s, "carl", NULL, &carl), OK);
	make_jobs_of(f, &f->ann, 4, anns);
	make_jobs_of(f, &f->bob, 2, bobs);
	make_jobs_of(f, &carl, 1, carls);
	order[0] = anns[0], order[1] = bobs[0], order[2] = carls[0];
	order[3] = anns[1], order[4] = bobs[1], order[5] = anns[2], order[6] = anns[3];
	for (size_t claimed = 0; claimed < 7; claimed++) {
		for (size_t i = 0; i < 7; i++)
			assert_position(f, order[i], i < claimed ? -1 : (int64_t)(i - claimed));
		assert_claims(f, 0, order[claimed]);
	}
	assert_position(f, "ftjob-unknown", -1);
}

static void test_queue_position_is_right_in_a_long_queue(void **state)
{
	struct fixture *f = *state;
	static char anns[450][STORE_ID_SIZE];
	char bobs[2][STORE_ID_SIZE];

	make_jobs_of(f, &f->ann, 450, anns);
	make_jobs_of(f, &f->bob, 2, bobs);
	/* Both of bob's come before ann's third, and so before all behind it. */
	assert_position(f, anns[1], 2);
	for (size_t i = 2; i < 450; i += 7)
		assert_position(f, anns[i], (int64_t)i + 2);
	assert_position(f, bobs[0], 1);
	assert_position(f, bobs[1], 3);
}

/* As each of them says when asked alone. */
static void assert_listed_as_alone(struct fixture *f, const char *tenant, size_t limit, size_t wanted)
{
	char after[STORE_ID_SIZE];
	struct page page = {.limit = limit};
	size_t seen = 0;
	bool more = true;

	while (more) {
		struct job *items;
		struct job_place *places;
		size_t n;

		assert_int_equal(store_job_list(f->s, tenant, &page, &items, &places, &n, &more), OK);
		for (size_t i = 0; i < n; i++) {
			struct job_place alone = {.position = 77};

			assert_int_equal(store_job_place(f->s, items[i].id, &alone), OK);
			assert_int_equal(places[i].position, alone.position);
			assert_int_equal(places[i].tokens_left, alone.tokens_left);
			assert_true(places[i].tokens_per_second == alone.tokens_per_second);
			memcpy(after, items[i].id, sizeof(after));
		}
		seen += n;
		page.after = after;
		job_list_free(items, n);
		mem_free(places);
	}
	assert_int_equal(seen, wanted);
}

static void test_lists_say_where_each_job_stands(void **state)
{
	struct fixture *f = *state;
	static char anns[300][STORE_ID_SIZE];
	char bobs[3][STORE_ID_SIZE];
	struct job_progress p = {
	        .step = 4, .total_steps = 10, .trained_tokens = 400, .tokens_per_second = 50};

	make_work_of(f, &f->ann, 10, 300, anns);
	make_work_of(f, &f->bob, 100, 3, bobs);
	assert_listed_as_alone(f, f->ann.id, 1000, 300);
	assert_claims(f, 0, anns[0]);
	assert_claims(f, 0, bobs[0]);
	assert_int_equal(store_job_transition(
	                         f->s, NULL, anns[150], &(struct job_transition){.to = JOB_CANCELLED}, NULL),
	        OK);
	store_job_progress_later(f->s, anns[0], &p);
	assert_int_equal(store_flush(f->s), OK);
	assert_listed_as_alone(f, f->ann.id, 1000, 300);
	assert_listed_as_alone(f, f->ann.id, 7, 300);
	assert_listed_as_alone(f, f->bob.id, 2, 3);
}

static void test_a_job_is_shown_with_its_place(void **state)
{
	struct fixture *f = *state;
	char ids[2][STORE_ID_SIZE];
	struct job_place place = {.position = 77};
	struct job job = {.step = 77};

	make_work_of(f, &f->ann, 1000, 2, ids);
	assert_int_equal(store_job_show(f->s, f->ann.id, ids[1], &job, &place), OK);
	assert_string_equal(job.id, ids[1]);
	assert_int_equal(place.position, 1);
	assert_int_equal(place.tokens_left, 3000);
	job_fini(&job);
	assert_claims(f, 0, ids[0]);
	assert_int_equal(store_job_show(f->s, f->ann.id, ids[1], &job, &place), OK);
	assert_int_equal(place.position, 0);
	job_fini(&job);
	assert_int_equal(store_job_show(f->s, f->ann.id, ids[0], &job, &place), OK);
	assert_int_equal(job.status, JOB_RUNNING);
	assert_int_equal(place.position, -1);
	assert_int_equal(place.tokens_left, 0);
	job_fini(&job);
	job.step = place.position = 77;
	assert_int_equal(store_job_show(f->s, f->bob.id, ids[1], &job, &place), ERR_NOT_FOUND);
	assert_int_equal(job.step, 77);
	assert_int_equal(place.position, 77);
}

static void assert_left(struct fixture *f, const char *id, int64_t wanted, double rate)
{
	struct job_place place = {.tokens_left = 77};

	assert_int_equal(store_job_place(f->s, id, &place), OK);
	assert_int_equal(place.tokens_left, wanted);
	assert_true(place.tokens_per_second == rate);
}

static void move(struct fixture *f, const char *id, enum job_status to)
{
	assert_int_equal(store_job_transition(f->s, NULL, id, &(struct job_transition){.to = to}, NULL), OK);
}

static void test_work_until_a_queued_job_is_done_is_summed(void **state)
{
	struct job_progress p = {
	        .step = 4, .total_steps = 10, .trained_tokens = 400, .tokens_per_second = 50};
	struct fixture *f = *state;
	char anns[3][STORE_ID_SIZE], bobs[2][STORE_ID_SIZE], unknown[1][STORE_ID_SIZE];

	make_work_of(f, &f->ann, 1000, 3, anns);
	make_work_of(f, &f->bob, 10, 2, bobs);
	assert_left(f, anns[0], 1000, 0);
	assert_claims(f, 0, anns[0]);
	assert_left(f, anns[0], 0, 0); /* runs */
	assert_left(f, bobs[0], 1000 + 10, 0);
	/* It is ann's second turn: the first of bob's comes before. */
	assert_left(f, anns[1], 1000 + 10 + 2000, 0);
	assert_left(f, bobs[1], 1000 + 10 + 20 + 2000, 0);
	assert_left(f, anns[2], 1000 + 30 + 2000 + 3000, 0);
	store_job_progress_later(f->s, anns[0], &p);
	assert_int_equal(store_flush(f->s), OK);
	assert_left(f, bobs[0], 600 + 10, 50);
	/* What goes back to the queue has the rest before it. */
	move(f, anns[0], JOB_QUEUED);
	assert_left(f, anns[0], 600, 0);
	assert_left(f, anns[1], 600 + 10 + 2000, 0);
	move(f, anns[0], JOB_CANCELLED);
	move(f, bobs[0], JOB_CANCELLED);
	assert_left(f, anns[1], 2000, 0);
	assert_left(f, bobs[1], 2000 + 20, 0);
	move(f, anns[1], JOB_CANCELLED);
	assert_left(f, bobs[1], 3000 + 20, 0);
	make_work_of(f, &f->bob, 0, 1, unknown);
	assert_left(f, unknown[0], 0, 0);
}

static void test_work_before_a_job_in_a_long_queue_is_their_mean(void **state)
{
	struct fixture *f = *state;
	static char anns[101][STORE_ID_SIZE], bobs[40][STORE_ID_SIZE];

	make_work_of(f, &f->ann, 1, 101, anns);
	assert_left(f, anns[31], 31 * 32 / 2 + 32, 0);
	assert_left(f, anns[100], 100 * 51 + 101, 0);
	/* Before each of bob's come as many of ann's and one more: 32 of them each as it is, of 33 the mean.
	 */
	make_work_of(f, &f->bob, 2, 40, bobs);
	assert_left(f, bobs[31], 32 * 33 / 2 + 31 * 32 + 64, 0);
	assert_left(f, bobs[32], 33 * 51 + 32 * 33 + 66, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        STORE_TEST(test_queue_position_foretells_the_claims),
	        STORE_TEST(test_queue_position_is_right_in_a_long_queue),
	        STORE_TEST(test_lists_say_where_each_job_stands),
	        STORE_TEST(test_a_job_is_shown_with_its_place),
	        STORE_TEST(test_work_until_a_queued_job_is_done_is_summed),
	        STORE_TEST(test_work_before_a_job_in_a_long_queue_is_their_mean),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
