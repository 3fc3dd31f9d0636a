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
/* An array of integers, mem_free() it; *n its length. */
int32_t *golden_ids(const json_t *array, size_t *n);

#endif
