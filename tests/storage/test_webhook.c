/* Webhooks, and the outbox of what is due to them. */
#include "tests/storage/fixture.h"

#define ALL_TYPES " fine_tuning.job.succeeded fine_tuning.job.failed fine_tuning.job.cancelled "

static void make_webhook(struct fixture *f, const struct tenant *t, const char *types, struct webhook *out)
{
	struct webhook in = {.name = (char *)"hook",
	        .url = (char *)"https://example.org/zanzibar",
	        .event_types = (char *)types,
	        .secret = "whsec_zanzibar"};

	memcpy(in.tenant_id, t->id, sizeof(t->id));
	assert_int_equal(store_webhook_create(f->s, &in, 8, out), OK);
}

static void end_job(struct fixture *f, enum job_status how, char id[STORE_ID_SIZE])
{
	const struct job_transition t = {.to = how};

	make_job(f, id);
	assert_int_equal(store_job_transition(f->s, NULL, id, &t, NULL), OK);
}

static void expect_due(struct fixture *f, int64_t now_ms, size_t n, int64_t next_ms, struct delivery *first)
{
	struct delivery *items;
	int64_t next;
	size_t got;

	assert_int_equal(store_delivery_due(f->s, now_ms, 10, &items, &got, &next), OK);
	assert_int_equal(got, n);
	assert_int_equal(next, next_ms);
	if (first && n)
		*first = items[0];
	mem_free(items);
}

static const struct delivery_outcome arrived = {.at = 77, .status = 204},
                                     failed = {.at = 66, .status = 500, .error = "no"};

static void expect_last(
        struct fixture *f, const char *webhook_id, const char *event_id, const struct delivery_outcome *o)
{
	struct webhook w;

	assert_int_equal(store_webhook_get(f->s, f->ann.id, webhook_id, &w), OK);
	assert_string_equal(w.last_event, event_id);
	assert_int_equal(w.last.at, o->at);
	assert_int_equal(w.last.status, o->status);
	assert_string_equal(w.last.error, o->error);
	webhook_fini(&w);
}

static void test_webhooks_are_their_tenants_alone(void **state)
{
	struct fixture *f = *state;
	struct page page = {.limit = 10};
	struct webhook w, changed, *items;
	bool more;
	size_t n;

	make_webhook(f, &f->ann, ALL_TYPES, &w);
	assert_string_equal(w.secret, "whsec_zanzibar");
	assert_string_equal(w.event_types, ALL_TYPES);
	assert_int_equal(store_webhook_get(f->s, f->bob.id, w.id, &changed), ERR_NOT_FOUND);
	assert_int_equal(store_webhook_delete(f->s, f->bob.id, w.id), ERR_NOT_FOUND);
	assert_int_equal(store_webhook_list(f->s, f->bob.id, &page, &items, &n, &more), OK);
	assert_int_equal(n, 0);
	mem_free(items);
	memcpy(w.old_secret, "whsec_old", sizeof("whsec_old"));
	w.old_until = 77;
	assert_int_equal(store_webhook_update(f->s, &w, &changed), OK);
	assert_string_equal(changed.old_secret, "whsec_old");
	assert_int_equal(changed.old_until, 77);
	webhook_fini(&changed);
	memcpy(w.tenant_id, f->bob.id, sizeof(w.tenant_id));
	assert_int_equal(store_webhook_update(f->s, &w, &changed), ERR_NOT_FOUND);
	assert_int_equal(store_webhook_list(f->s, f->ann.id, &page, &items, &n, &more), OK);
	assert_int_equal(n, 1);
	assert_string_equal(items[0].id, w.id);
	webhook_list_free(items, n);
	assert_int_equal(store_webhook_delete(f->s, f->ann.id, w.id), OK);
	assert_int_equal(store_webhook_get(f->s, f->ann.id, w.id, &changed), ERR_NOT_FOUND);
	webhook_fini(&w);
}

static void test_a_tenant_has_so_many_at_most(void **state)
{
	struct fixture *f = *state;
	struct webhook in = {
	        .name = (char *)"", .url = (char *)"u", .event_types = (char *)" ", .secret = "s"};
	struct webhook w;

	memcpy(in.tenant_id, f->ann.id, sizeof(in.tenant_id));
	assert_int_equal(store_webhook_create(f->s, &in, 1, &w), OK);
	webhook_fini(&w);
	assert_int_equal(store_webhook_create(f->s, &in, 1, &w), ERR_LIMIT);
	memcpy(in.tenant_id, f->bob.id, sizeof(in.tenant_id));
	assert_int_equal(store_webhook_create(f->s, &in, 1, &w), OK);
	webhook_fini(&w);
	memcpy(in.tenant_id, "tenant-none", sizeof("tenant-none"));
	assert_int_equal(store_webhook_create(f->s, &in, 1, &w), ERR_NOT_FOUND);
}

static void test_an_end_is_due_to_those_who_asked(void **state)
{
	struct fixture *f = *state;
	struct webhook all, failures, bobs;
	struct delivery d;
	char id[STORE_ID_SIZE];

	make_webhook(f, &f->ann, ALL_TYPES, &all);
	make_webhook(f, &f->ann, " fine_tuning.job.failed ", &failures);
	make_webhook(f, &f->bob, ALL_TYPES, &bobs);
	end_job(f, JOB_CANCELLED, id);
	expect_due(f, NOW_MS, 1, INT64_MAX, &d);
	assert_string_equal(d.webhook_id, all.id);
	assert_string_equal(d.type, "fine_tuning.job.cancelled");
	assert_string_equal(d.subject, id);
	assert_int_equal(d.created_at, NOW_MS / 1000);
	assert_int_equal(strncmp(d.event_id, "evt_", 4), 0);
	assert_int_equal(store_delivery_drop(f->s, d.seq, &arrived), OK);
	end_job(f, JOB_FAILED, id);
	expect_due(f, NOW_MS, 2, INT64_MAX, NULL);
	webhook_fini(&all);
	webhook_fini(&failures);
	webhook_fini(&bobs);
}

static void test_what_is_due_survives_and_is_retried_in_its_time(void **state)
{
	struct fixture *f = *state;
	struct webhook w, same;
	struct delivery first, d;
	char ids[2][STORE_ID_SIZE];

	make_webhook(f, &f->ann, ALL_TYPES, &w);
	end_job(f, JOB_CANCELLED, ids[0]);
	clock_set_ms(NOW_MS + 1);
	end_job(f, JOB_CANCELLED, ids[1]);
	fixture_reopen(f);
	expect_due(f, NOW_MS + 1, 1, INT64_MAX, &first); /* one at a time, the oldest first */
	assert_string_equal(first.subject, ids[0]);
	assert_int_equal(store_delivery_retry(f->s, first.seq, NOW_MS + 5000, &failed), OK);
	expect_last(f, w.id, first.event_id, &failed);
	expect_due(f, NOW_MS + 1, 1, NOW_MS + 5000, &d);
	assert_string_equal(d.subject, ids[1]);
	assert_int_equal(store_delivery_drop(f->s, d.seq, &arrived), OK);
	expect_last(f, w.id, d.event_id, &arrived);
	expect_due(f, NOW_MS + 4999, 0, NOW_MS + 5000, NULL);
	expect_due(f, NOW_MS + 5000, 1, INT64_MAX, &d);
	assert_int_equal(d.attempts, 1);
	assert_string_equal(d.event_id, first.event_id);
	assert_int_equal(store_delivery_webhook(f->s, d.webhook_id, &same), OK);
	assert_string_equal(same.url, w.url);
	webhook_fini(&same);
	assert_int_equal(store_webhook_delete(f->s, f->ann.id, w.id), OK);
	expect_due(f, NOW_MS + 5000, 0, INT64_MAX, NULL);
	assert_int_equal(store_delivery_webhook(f->s, d.webhook_id, &same), ERR_NOT_FOUND);
	webhook_fini(&w);
}

static void test_one_test_is_due_at_a_time(void **state)
{
	struct fixture *f = *state;
	struct webhook w;
	struct delivery made, d;

	make_webhook(f, &f->ann, ALL_TYPES, &w);
	expect_last(f, w.id, "", &(struct delivery_outcome){0});
	assert_int_equal(store_delivery_test(f->s, f->bob.id, w.id, "any", &made), ERR_NOT_FOUND);
	assert_int_equal(store_delivery_test(f->s, f->ann.id, "we_none", "any", &made), ERR_NOT_FOUND);
	expect_due(f, NOW_MS, 0, INT64_MAX, NULL);
	assert_int_equal(store_delivery_test(f->s, f->ann.id, w.id, "any", &made), OK);
	expect_due(f, NOW_MS, 1, INT64_MAX, &d);
	assert_string_equal(d.event_id, made.event_id);
	assert_string_equal(d.subject, STORE_TEST_SUBJECT);
	assert_string_equal(d.type, "any");
	assert_int_equal(store_delivery_test(f->s, f->ann.id, w.id, "any", &made), ERR_STATE);
	assert_int_equal(store_delivery_drop(f->s, d.seq, &arrived), OK);
	assert_int_equal(store_delivery_test(f->s, f->ann.id, w.id, "any", &made), OK);
	webhook_fini(&w);
}

static void test_with_the_tenant_go_its_webhooks(void **state)
{
	struct fixture *f = *state;
	struct webhook w;
	char id[STORE_ID_SIZE], command[256];

	make_webhook(f, &f->ann, ALL_TYPES, &w);
	webhook_fini(&w);
	end_job(f, JOB_CANCELLED, id);
	assert_int_equal(store_tenant_delete(f->s, f->ann.id), OK);
	assert_int_equal(
	        sql(f, "SELECT (SELECT count(*) FROM webhook) + (SELECT count(*) FROM delivery)"), 0);
	snprintf(command, sizeof(command), "grep -r -q -a -F zanzibar %s", f->dir);
	assert_int_not_equal(system(command), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        STORE_TEST(test_webhooks_are_their_tenants_alone),
	        STORE_TEST(test_a_tenant_has_so_many_at_most),
	        STORE_TEST(test_an_end_is_due_to_those_who_asked),
	        STORE_TEST(test_what_is_due_survives_and_is_retried_in_its_time),
	        STORE_TEST(test_one_test_is_due_at_a_time),
	        STORE_TEST(test_with_the_tenant_go_its_webhooks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
