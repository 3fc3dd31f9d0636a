/*
 * The golden cases in tests/goldens: what an independent implementation in float64 computes on tiny models.
 * Reads golden.json; fails the running test when it cannot.
 */
#ifndef REDD_TESTS_GOLDEN_H
#define REDD_TESTS_GOLDEN_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#define GOLDEN_DIR "tests/goldens/"
/* The families whose goldens this tree holds. */
extern const char *const golden_families[];
extern const size_t n_golden_families;

/* GOLDEN_DIR family "/golden.json"; json_decref() it. */
json_t *golden_open(const char *family);
/* What a golden's training run must give. Where a rectifier meets its kink nearer than float32 can tell,
 * there are two right answers, that of either side: see make_other_side.py. On processors that fuse products
 * all kernels round alike, and fall on the golden's own; others may take either. */
struct golden_run {
	json_t *losses, *grad_norms; /* owned, by step */
	char adapter[256];           /* path of the vectors after the last step */
};
/* That of the two sides, where there are two, whose gradients these norms are nearest. */
void golden_run_open(
        const char *family, const json_t *golden, const double *grad_norms, struct golden_run *out);
void golden_run_close(struct golden_run *r);

/* An array of integers, mem_free() it; *n its length. */
int32_t *golden_ids(const json_t *array, size_t *n);

#endif
