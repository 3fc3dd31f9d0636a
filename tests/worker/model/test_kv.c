/* Pages of keys and values: held, shared, left to others before they are written to, kept, given back. */
#include "worker/model/kv.h"

#include "core/mem.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define PAGE 4
#define N_PAGES 10

/* A model is its shape here. */
struct model {
	struct model_info info;
};

static struct model shape;

struct kv_shape kv_shape_of(const struct model *m)
{
	(void)m;
	return (struct kv_shape){.n_layers = 2, .width = 3, .page_tokens = PAGE};
}

const struct model_info *model_info(const struct model *m)
{
	return &m->info;
}

static struct kv_pool *pool_of(size_t n_pages)
{
	struct kv_pool *p;

	shape.info.kind = MODEL_CAUSAL;
	assert_int_equal(kv_pool_new(&shape, n_pages * kv_bytes(&shape, PAGE), &p), OK);
	assert_int_equal(kv_pool_pages(p), n_pages);
	return p;
}

static struct kv *kv_of(struct kv_pool *p, size_t n_positions)
{
	struct kv *kv;

	assert_int_equal(kv_new_in(p, n_positions, &kv), OK);
	return kv;
}

/* Append n tokens whose rows all say `mark`. */
static void append(struct kv *kv, size_t n, float mark)
{
	assert_int_equal(kv_extend(kv, n), OK);
	for (size_t layer = 0; layer < 2; layer++) {
		struct paged_rows rows[2] = {kv_keys(kv, layer, false), kv_values(kv, layer, false)};

		for (size_t i = 0; i < n; i++)
			for (size_t c = 0; c < 3; c++)
				for (size_t which = 0; which < 2; which++)
					kv_row(&rows[which], kv->length + i)[c] = mark;
	}
	kv->length += n;
}

static void assert_rows(const struct kv *kv, size_t begin, size_t end, float mark)
{
	for (size_t layer = 0; layer < 2; layer++) {
		struct paged_rows k = kv_keys(kv, layer, false), v = kv_values(kv, layer, false);

		for (size_t i = begin; i < end; i++)
			for (size_t c = 0; c < 3; c++) {
				assert_true(kv_row(&k, i)[c] == mark);
				assert_true(kv_row(&v, i)[c] == mark);
			}
	}
}

static void test_pages_are_taken_as_tokens_come(void **state)
{
	struct kv_pool *p = pool_of(N_PAGES);
	struct kv *kv = kv_of(p, 3 * PAGE);

	(void)state;
	assert_int_equal(kv_held_pages(kv), 0);
	assert_int_equal(kv_lacks_pages(kv, PAGE + 1), 2);
	append(kv, PAGE + 1, 1);
	assert_int_equal(kv_held_pages(kv), 2);
	assert_int_equal(kv_lacks_pages(kv, PAGE - 1), 0);
	append(kv, PAGE - 1, 2);
	assert_int_equal(kv_held_pages(kv), 2);
	append(kv, PAGE, 3);
	assert_int_equal(kv_extend(kv, 1), ERR_TOO_LONG);
	assert_rows(kv, 0, PAGE + 1, 1);
	assert_rows(kv, PAGE + 1, 2 * PAGE, 2);
	assert_rows(kv, 2 * PAGE, 3 * PAGE, 3);
	kv_truncate(kv, PAGE);
	assert_int_equal(kv_pool_free_pages(p), N_PAGES - 1);
	kv_free(kv);
	kv_pool_free(p);
}

static void test_an_empty_pool_refuses_and_takes_nothing(void **state)
{
	struct kv_pool *p = pool_of(3);
	struct kv *a = kv_of(p, 3 * PAGE), *b = kv_of(p, 3 * PAGE);

	(void)state;
	append(a, 2 * PAGE, 1);
	append(b, 1, 2);
	assert_int_equal(kv_extend(b, PAGE), ERR_LIMIT);
	assert_int_equal(kv_held_pages(b), 1);
	assert_int_equal(kv_extend(b, PAGE - 1), OK);
	kv_free(a);
	append(b, 2 * PAGE, 2);
	kv_free(b);
	kv_pool_free(p);
}

static void test_who_shares_writes_apart(void **state)
{
	struct kv_pool *p = pool_of(N_PAGES);
	struct kv *a = kv_of(p, 3 * PAGE), *b = kv_of(p, 3 * PAGE), *c = kv_of(p, 3 * PAGE);

	(void)state;
	append(a, PAGE + 2, 1);
	append(b, 3 * PAGE, 9); /* what it held before is given back */
	kv_share(b, a);
	kv_share(c, a);
	assert_int_equal(kv_pool_free_pages(p), N_PAGES - 2);
	assert_int_equal(kv_lacks_pages(a, 1), 1); /* a page of its own to go on in */
	append(a, 1, 2);
	append(b, 1, 3);
	assert_int_equal(kv_lacks_pages(c, 1), 0); /* the last one has it to itself */
	append(c, 1, 4);
	assert_int_equal(kv_pool_free_pages(p), N_PAGES - 4);
	assert_rows(a, 0, PAGE + 2, 1);
	assert_rows(b, 0, PAGE + 2, 1);
	assert_rows(c, 0, PAGE + 2, 1);
	assert_rows(a, PAGE + 2, PAGE + 3, 2);
	assert_rows(b, PAGE + 2, PAGE + 3, 3);
	assert_rows(c, PAGE + 2, PAGE + 3, 4);
	kv_free(a);
	kv_free(b);
	kv_free(c);
	kv_pool_free(p);
}

static void test_a_source_has_pages_of_its_own(void **state)
{
	struct kv_pool *p = pool_of(N_PAGES);
	struct kv *a = kv_of(p, 4 * PAGE), *b = kv_of(p, 4 * PAGE);
	struct paged_rows source;

	(void)state;
	assert_int_equal(kv_begin_source(a, PAGE + 1), OK);
	source = kv_keys(a, 1, true);
	kv_row(&source, PAGE)[2] = 7;
	assert_int_equal(kv_capacity(a), 3 * PAGE - 1);
	append(a, PAGE + 1, 1);
	kv_share(b, a);
	append(b, 1, 2);
	source = kv_keys(b, 1, true);
	assert_true(kv_row(&source, PAGE)[2] == 7);
	assert_rows(b, 0, PAGE + 1, 1);
	assert_int_equal(kv_pool_free_pages(p), N_PAGES - 5);
	kv_free(a);
	kv_free(b);
	kv_pool_free(p);
}

static void test_kept_pages_outlive_their_sequence(void **state)
{
	struct kv_pool *p = pool_of(N_PAGES);
	struct kv *a = kv_of(p, 3 * PAGE), *b = kv_of(p, 3 * PAGE);
	uint32_t pages[2];

	(void)state;
	append(a, 2 * PAGE + 1, 1);
	for (size_t i = 0; i < 2; i++) {
		pages[i] = kv_page(a, i);
		kv_page_keep(p, pages[i]);
		assert_false(kv_page_is_idle(p, pages[i]));
	}
	kv_free(a);
	assert_int_equal(kv_pool_free_pages(p), N_PAGES - 2);
	assert_int_equal(kv_pool_idle_pages(p), 2);
	kv_adopt(b, pages, 1);
	assert_int_equal(kv_length(b), PAGE);
	assert_int_equal(kv_pool_idle_pages(p), 1);
	append(b, 1, 2);
	assert_rows(b, 0, PAGE, 1);
	kv_page_give_up(p, pages[1]);
	assert_int_equal(kv_pool_idle_pages(p), 0);
	kv_page_give_up(p, pages[0]); /* b holds it still */
	assert_int_equal(kv_pool_free_pages(p), N_PAGES - 2);
	assert_rows(b, 0, PAGE, 1);
	kv_free(b);
	kv_pool_free(p);
}

static void test_making_survives_every_failed_allocation(void **state)
{
	enum err e = ERR_MEM;
	long n;

	(void)state;
	for (n = 1; e != OK; n++) {
		struct kv *kv = NULL;

		mem_fail_at(n);
		e = kv_new(&shape, 3 * PAGE, &kv);
		assert_int_equal(e, mem_failed() ? ERR_MEM : OK);
		mem_fail_at(0);
		kv_free(kv);
	}
	assert_true(n > 5);
}

static void test_room_for_no_page_is_refused(void **state)
{
	struct kv_pool *p;

	(void)state;
	assert_int_equal(kv_pool_new(&shape, kv_bytes(&shape, 1) - 1, &p), ERR_LIMIT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_pages_are_taken_as_tokens_come),
	        cmocka_unit_test(test_an_empty_pool_refuses_and_takes_nothing),
	        cmocka_unit_test(test_who_shares_writes_apart),
	        cmocka_unit_test(test_a_source_has_pages_of_its_own),
	        cmocka_unit_test(test_kept_pages_outlive_their_sequence),
	        cmocka_unit_test(test_making_survives_every_failed_allocation),
	        cmocka_unit_test(test_room_for_no_page_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
