/* Events: order, paging, once keys. */
#include "tests/storage/fixture.h"

static void say(struct fixture *f, const char *id, const char *message, int64_t once_key)
{
	struct event_new e = {.level = "info",
	        .type = "metrics",
	        .message = message,
	        .data = "{\"step\":1}",
	        .once_key = once_key};

	assert_int_equal(store_event_later(f->s, id, &e), OK);
}

static void test_events_come_back_in_order(void **state)
{
	struct fixture *f = *state;
	char id[STORE_ID_SIZE], text[16];
	struct event *events;
	size_t n;

	make_job(f, id);
	for (int i = 1; i <= 20; i++) {
		snprintf(text, sizeof(text), "%d", i);
		say(f, id, text, i); /* text is copied */
	}
	assert_int_equal(store_flush(f->s), OK);
	assert_int_equal(store_event_since(f->s, id, 0, 100, &events, &n), OK);
	assert_int_equal(n, 21);
	for (int i = 1; i <= 20; i++) {
		snprintf(text, sizeof(text), "%d", i);
		assert_string_equal(events[i].message, text);
		assert_string_equal(events[i].data, "{\"step\":1}");
		assert_string_equal(events[i].type, "metrics");
		assert_int_equal(strncmp(events[i].id, "ftevent-", 8), 0);
		assert_true(events[i].seq > events[i - 1].seq);
	}
	event_list_free(events, n);
}

static void test_since_gives_what_follows_up_to_its_limit(void **state)
{
	struct fixture *f = *state;
	char id[STORE_ID_SIZE], other[STORE_ID_SIZE];
	struct event *events;
	int64_t seq;
	size_t n;

	make_job(f, id);
	say(f, id, "a", 0);
	make_job(f, other);
	say(f, id, "b", 0);
	say(f, id, "c", 0);
	assert_int_equal(store_flush(f->s), OK);
	assert_int_equal(store_event_since(f->s, id, 0, 2, &events, &n), OK);
	assert_int_equal(n, 2);
	seq = events[1].seq;
	event_list_free(events, n);
	assert_int_equal(store_event_since(f->s, id, seq, 10, &events, &n), OK);
	assert_int_equal(n, 2);
	assert_string_equal(events[0].message, "b");
	assert_string_equal(events[1].message, "c");
	seq = events[1].seq;
	event_list_free(events, n);
	assert_int_equal(store_event_since(f->s, id, seq, 10, &events, &n), OK);
	assert_int_equal(n, 0);
	event_list_free(events, n);
}

static void test_once_key_keeps_the_first(void **state)
{
	struct fixture *f = *state;
	char id[STORE_ID_SIZE], other[STORE_ID_SIZE];
	struct event *events;
	size_t n;

	make_job(f, id);
	make_job(f, other);
	say(f, id, "first", 8);
	say(f, id, "again", 8);
	say(f, other, "of another job", 8);
	say(f, id, "free", 0);
	say(f, id, "free", 0);
	assert_int_equal(store_flush(f->s), OK);
	assert_int_equal(store_event_since(f->s, id, 0, 10, &events, &n), OK);
	assert_int_equal(n, 4);
	assert_string_equal(events[1].message, "first");
	assert_string_equal(events[2].message, "free");
	assert_string_equal(events[3].message, "free");
	event_list_free(events, n);
	assert_int_equal(store_event_since(f->s, other, 0, 10, &events, &n), OK);
	assert_int_equal(n, 2);
	event_list_free(events, n);
}

static void test_list_pages_newest_first_within_the_job(void **state)
{
	struct fixture *f = *state;
	struct page page = {.limit = 2};
	char id[STORE_ID_SIZE], other[STORE_ID_SIZE], after[STORE_ID_SIZE], foreign[STORE_ID_SIZE];
	struct event *events;
	bool more;
	size_t n;

	make_job(f, id);
	make_job(f, other);
	say(f, id, "a", 0);
	say(f, id, "b", 0);
	assert_int_equal(store_flush(f->s), OK);
	assert_int_equal(store_event_list(f->s, f->ann.id, id, &page, &events, &n, &more), OK);
	assert_int_equal(n, 2);
	assert_true(more);
	assert_string_equal(events[0].message, "b");
	assert_string_equal(events[1].message, "a");
	memcpy(after, events[1].id, sizeof(after));
	event_list_free(events, n);
	page.after = after;
	assert_int_equal(store_event_list(f->s, f->ann.id, id, &page, &events, &n, &more), OK);
	assert_int_equal(n, 1);
	assert_false(more);
	memcpy(foreign, events[0].id, sizeof(foreign));
	event_list_free(events, n);
	page.after = foreign;
	assert_int_equal(store_event_list(f->s, f->ann.id, other, &page, &events, &n, &more), ERR_NOT_FOUND);
	page.after = "ftevent-1";
	assert_int_equal(store_event_list(f->s, f->ann.id, id, &page, &events, &n, &more), ERR_NOT_FOUND);
	page.after = NULL;
	assert_int_equal(store_event_list(f->s, f->bob.id, id, &page, &events, &n, &more), ERR_NOT_FOUND);
	assert_int_equal(
	        store_event_list(f->s, f->ann.id, "ftjob-unknown", &page, &events, &n, &more), ERR_NOT_FOUND);
}

static void test_event_of_no_job_is_dropped_in_silence(void **state)
{
	struct fixture *f = *state;

	say(f, "ftjob-unknown", "lost", 1);
	assert_int_equal(store_flush(f->s), OK);
	assert_int_equal(sql(f, "SELECT count(*) FROM event"), 0);
}

static void test_event_refuses_words_that_do_not_fit(void **state)
{
	struct fixture *f = *state;
	struct event_new e = {.level = "catastrophe", .type = "message", .message = "x"};
	char id[STORE_ID_SIZE];

	make_job(f, id);
	assert_int_equal(store_event_later(f->s, id, &e), ERR_INVALID);
	e.level = "warn";
	e.type = "telegram-stop";
	assert_int_equal(store_event_later(f->s, id, &e), ERR_INVALID);
}

static void test_close_writes_what_is_queued(void **state)
{
	struct fixture *f = *state;
	char id[STORE_ID_SIZE];

	make_job(f, id);
	for (int i = 0; i < 1000; i++)
		say(f, id, "x", 0);
	fixture_reopen(f);
	assert_int_equal(sql(f, "SELECT count(*) FROM event"), 1001);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        STORE_TEST(test_events_come_back_in_order),
	        STORE_TEST(test_since_gives_what_follows_up_to_its_limit),
	        STORE_TEST(test_once_key_keeps_the_first),
	        STORE_TEST(test_list_pages_newest_first_within_the_job),
	        STORE_TEST(test_event_of_no_job_is_dropped_in_silence),
	        STORE_TEST(test_event_refuses_words_that_do_not_fit),
	        STORE_TEST(test_close_writes_what_is_queued),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
