/* Order, shift, packing and cutting. */
#include "worker/train/plan.h"

#include "tests/worker/train/fake_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#define N 200

static void test_order_is_a_permutation_of_seed_and_epoch(void **state)
{
	size_t a[N], b[N], seen[N] = {0}, same_epoch = 0, same_seed = 0;

	(void)state;
	plan_order(7, 0, true, N, a);
	plan_order(7, 0, true, N, b);
	assert_memory_equal(a, b, sizeof(a));
	for (size_t i = 0; i < N; i++)
		seen[a[i]]++;
	for (size_t i = 0; i < N; i++)
		assert_int_equal(seen[i], 1);
	plan_order(7, 1, true, N, b);
	for (size_t i = 0; i < N; i++)
		same_epoch += a[i] == b[i];
	assert_in_range(same_epoch, 0, N / 10);
	plan_order(8, 0, true, N, b);
	for (size_t i = 0; i < N; i++)
		same_seed += a[i] == b[i];
	assert_in_range(same_seed, 0, N / 10);
}

static void test_order_without_shuffle_is_the_files(void **state)
{
	size_t order[N];

	(void)state;
	plan_order(7, 3, false, N, order);
	for (size_t i = 0; i < N; i++)
		assert_int_equal(order[i], i);
}

static void test_rows_are_shifted_and_rows_without_loss_take_no_place(void **state)
{
	const size_t rows[3] = {4, 1, 2}; /* row 4 is silent */
	struct dataset d;
	struct plan p;
	struct train_batch b;
	size_t at = 0, first, end;

	(void)state;
	fake_dataset(&d, 10, 8, 4);
	assert_int_equal(plan_init(&p, &d, 3), OK);
	plan_cut(&p, &d, rows, 3, PLAN_MAX_ITEMS);
	assert_int_equal(p.n_items, 1);
	plan_item(&p, 0, &first, &end);
	assert_int_equal(end - first, 1);
	plan_batch(&p, first, &b);
	assert_int_equal(b.n_seqs, 2);
	assert_int_equal(p.n_labels, d.rows[1].n_trained + d.rows[2].n_trained);
	for (size_t s = 0; s < 2; s++) {
		const struct dataset_row *row = &d.rows[s + 1];

		assert_int_equal(b.lengths[s], row->n_tokens - 1);
		for (size_t i = 0; i + 1 < row->n_tokens; i++, at++) {
			float weight = d.weights[row->offset + i + 1];

			assert_int_equal(b.tokens[at], d.ids[row->offset + i]);
			assert_int_equal(b.labels[at], weight != 0 ? d.ids[row->offset + i + 1] : -1);
			assert_true(b.weights[at] == weight);
		}
	}
	assert_int_equal(at, b.n_rows);
	plan_fini(&p);
	fake_dataset_fini(&d);
}

/* Every row with loss lies in exactly one pack, packs keep the order and the budget. */
static void check_cover(const struct plan *p, const struct dataset *d, size_t max_items)
{
	size_t row = 0, packs = 0, n_labels = 0;

	assert_in_range(p->n_items, 1, max_items);
	for (size_t item = 0; item < p->n_items; item++) {
		size_t pack, end;

		plan_item(p, item, &pack, &end);
		assert_true(pack < end);
		for (; pack < end; pack++, packs++) {
			struct train_batch b;
			size_t n = 0;

			plan_batch(p, pack, &b);
			for (size_t s = 0; s < b.n_seqs; s++, row++) {
				while (d->rows[row].n_trained == 0)
					row++;
				assert_int_equal(b.lengths[s], d->rows[row].n_tokens - 1);
				n += b.lengths[s];
			}
			for (size_t i = 0; i < b.n_rows; i++)
				n_labels += b.labels[i] >= 0;
			assert_int_equal(n, b.n_rows);
			assert_true(n <= PLAN_PACK_POSITIONS || b.n_seqs == 1);
			assert_true(n <= plan_max_rows(d));
		}
	}
	assert_int_equal(packs, p->n_packs);
	assert_int_equal(n_labels, p->n_labels);
}

static void test_items_cover_all_rows_within_the_budget(void **state)
{
	struct dataset d;
	struct plan p;

	(void)state;
	fake_dataset(&d, 300, 400, 2);
	assert_int_equal(plan_init(&p, &d, d.n_rows), OK);
	for (size_t max_items = 1; max_items <= PLAN_MAX_ITEMS; max_items += 7) {
		plan_cut(&p, &d, NULL, d.n_rows, max_items);
		check_cover(&p, &d, max_items);
		assert_int_equal(p.n_labels, d.n_trained);
	}
	plan_fini(&p);
	fake_dataset_fini(&d);
}

static void test_step_without_loss_is_one_empty_item(void **state)
{
	const size_t rows[2] = {3, 8};
	struct dataset d;
	struct plan p;
	size_t first, end;

	(void)state;
	fake_dataset(&d, 10, 4, 3);
	assert_int_equal(plan_init(&p, &d, 2), OK);
	plan_cut(&p, &d, rows, 2, PLAN_MAX_ITEMS);
	assert_int_equal(p.n_items, 1);
	plan_item(&p, 0, &first, &end);
	assert_int_equal(first, end);
	assert_true(p.label_weight == 0);
	plan_fini(&p);
	fake_dataset_fini(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_order_is_a_permutation_of_seed_and_epoch),
	        cmocka_unit_test(test_order_without_shuffle_is_the_files),
	        cmocka_unit_test(test_rows_are_shifted_and_rows_without_loss_take_no_place),
	        cmocka_unit_test(test_items_cover_all_rows_within_the_budget),
	        cmocka_unit_test(test_step_without_loss_is_one_empty_item),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
