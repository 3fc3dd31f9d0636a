/* See mem.h. The countdown is one relaxed atomic, so production pays a load per allocation. */
#include "core/mem.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define HUGE_PAGE ((size_t)2 << 20)
#define MEM_ALIGNMENT 64

static atomic_long fail_countdown;
static atomic_bool fail_happened;

static bool fail_now(void)
{
	if (atomic_load_explicit(&fail_countdown, memory_order_relaxed) <= 0)
		return false;
	if (atomic_fetch_sub(&fail_countdown, 1) != 1)
		return false;
	atomic_store(&fail_happened, true);
	return true;
}

void mem_fail_at(long n)
{
	atomic_store(&fail_happened, false);
	atomic_store(&fail_countdown, n);
}

bool mem_failed(void)
{
	return atomic_load(&fail_happened);
}

bool mem_mul(size_t a, size_t b, size_t *out)
{
	return !__builtin_mul_overflow(a, b, out);
}

void *mem_calloc(size_t n, size_t size)
{
	size_t bytes;

	if (!mem_mul(n, size, &bytes) || fail_now())
		return NULL;
	return calloc(1, bytes ? bytes : 1);
}

void *mem_realloc(void *p, size_t n, size_t size)
{
	size_t bytes;

	if (!mem_mul(n, size, &bytes) || fail_now())
		return NULL;
	return realloc(p, bytes ? bytes : 1);
}

static void *aligned(size_t n, size_t size, size_t alignment, size_t *bytes)
{
	if (!mem_mul(n, size, bytes) || *bytes > SIZE_MAX - alignment || fail_now())
		return NULL;
	*bytes = (*bytes + MEM_ALIGNMENT - 1) / MEM_ALIGNMENT * MEM_ALIGNMENT;
	return aligned_alloc(alignment, *bytes ? *bytes : MEM_ALIGNMENT);
}

void *mem_aligned(size_t n, size_t size)
{
	size_t bytes;

	return aligned(n, size, MEM_ALIGNMENT, &bytes);
}

void *mem_huge(size_t n, size_t size)
{
	size_t bytes;
	void *p;

	if (!mem_mul(n, size, &bytes) || bytes < 2 * HUGE_PAGE)
		return mem_aligned(n, size);
	p = aligned(n, size, HUGE_PAGE, &bytes);
	if (p)
		(void)madvise(p, bytes / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE); /* a wish */
	return p;
}

void *mem_dup(const void *p, size_t n)
{
	void *copy = mem_calloc(n, 1);

	if (copy && n)
		memcpy(copy, p, n);
	return copy;
}

char *mem_strdup(const char *s)
{
	return s ? mem_dup(s, strlen(s) + 1) : NULL;
}

char *mem_printf(const char *fmt, ...)
{
	va_list ap;
	char *s;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0)
		return NULL;
	s = mem_calloc((size_t)n + 1, 1);
	if (!s)
		return NULL;
	va_start(ap, fmt);
	vsnprintf(s, (size_t)n + 1, fmt, ap);
	va_end(ap);
	return s;
}

void mem_free(void *p)
{
	free(p);
}

void *mem_reserve(size_t n)
{
	void *p;

	if (fail_now())
		return NULL;
	p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return NULL;
	return p;
}

void mem_unreserve(void *p, size_t n)
{
	if (p)
		munmap(p, n);
}
