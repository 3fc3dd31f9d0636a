/*
 * The heap: zeroed, multiplied in one checked place, and able to fail on demand so that tests can walk
 * every out-of-memory path. Everything obtained here is released with mem_free(). Thread: any.
 */
#ifndef REDD_CORE_MEM_H
#define REDD_CORE_MEM_H

#include <stdbool.h>
#include <stddef.h>

/* n * size bytes, zeroed; NULL when memory is short or the product overflows. n == 0 gives a valid pointer.
 */
void *mem_calloc(size_t n, size_t size);
/* Grow or shrink to n * size bytes; what is new is not zeroed. On failure NULL, and p stays as it was. */
void *mem_realloc(void *p, size_t n, size_t size);
/* 64-byte aligned and not zeroed, for vectors; NULL on failure or overflow. */
void *mem_aligned(size_t n, size_t size);
/* The same; large ones on huge pages where the system gives them, for what is read over and over. */
void *mem_huge(size_t n, size_t size);
/* Copies; NULL on failure. mem_strdup(NULL) is NULL. */
char *mem_strdup(const char *s);
void *mem_dup(const void *p, size_t n);
__attribute__((format(printf, 1, 2))) char *mem_printf(const char *fmt, ...);
/* NULL is allowed. */
void mem_free(void *p);

/* a * b into *out, or false when it does not fit a size_t. */
bool mem_mul(size_t a, size_t b, size_t *out);

/* Reserve address space whose pages cost memory only once touched; zeroed. NULL on failure. n > 0. */
void *mem_reserve(size_t n);
void mem_unreserve(void *p, size_t n);

/* Tests only: let the n-th allocation from now on fail (n = 1 is the next), 0 = never. Process-wide. */
void mem_fail_at(long n);
/* Tests only: whether the failure asked for has happened. */
bool mem_failed(void);

#endif
