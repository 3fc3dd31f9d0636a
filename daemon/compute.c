/* See compute.h. */
#include "daemon/compute.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

enum cpu_level compute_kernel_level(const char *kernel)
{
	static const struct {
		const char *name;
		enum cpu_level level;
	} known[] = {
	        {"SkylakeX", CPU_AVX512},
	        {"Cooperlake", CPU_AVX512},
	        {"SapphireRapids", CPU_AVX512},
	        {"Haswell", CPU_AVX2},
	        {"Zen", CPU_AVX2},
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strcasecmp(kernel, known[i].name) == 0)
			return known[i].level;
	return CPU_PORTABLE;
}

/* OpenBLAS has nothing beyond AVX-512 for float32. */
static bool suits(const char *kernel, enum cpu_level cpu)
{
	return compute_kernel_level(kernel) >= (cpu < CPU_AVX512 ? cpu : CPU_AVX512);
}

static const char *suitable(enum cpu_level cpu)
{
	return cpu >= CPU_AVX512 ? "SkylakeX" : "Haswell";
}

/* Whether the environment's choice is slower than the processor, or beyond it, or for another cache. */
static bool is_misled(
        const char *kernel, enum cpu_level cpu, const char *coretype, const char *l2_size, long l2_bytes)
{
	long told_bytes = l2_size ? strtol(l2_size, NULL, 0) * 1024 : 0;

	if (coretype && *coretype && (!suits(kernel, cpu) || compute_kernel_level(kernel) > cpu))
		return true;
	return told_bytes > 0 && l2_bytes > 0 && (told_bytes < l2_bytes / 2 || told_bytes > l2_bytes * 2);
}

bool compute_correct(const char *kernel, enum cpu_level cpu, const char *coretype, const char *l2_size,
        long l2_bytes, bool corrected, struct compute_correction *out)
{
	struct compute_correction c = {0};

	if (!corrected && is_misled(kernel, cpu, coretype, l2_size, l2_bytes)) {
		snprintf(c.text, sizeof(c.text),
		        "OPENBLAS_CORETYPE=%.20s and OPENBLAS_L2_SIZE=%.20s of the environment do not suit "
		        "this "
		        "processor and were ignored: unset them",
		        coretype ? coretype : "", l2_size ? l2_size : "");
	} else if (!suits(kernel, cpu) && !(coretype && *coretype)) {
		c.coretype = suitable(cpu);
		snprintf(c.text, sizeof(c.text),
		        "OpenBLAS chose its %.20s kernels, slower than this processor's; it was told to use "
		        "%s",
		        kernel, c.coretype);
	} else {
		return false;
	}
	*out = c;
	return true;
}

void compute_advice(const char *kernel, enum cpu_level cpu, const char *coretype, char *text, size_t n)
{
	text[0] = '\0';
	if (suits(kernel, cpu))
		return;
	if (coretype && *coretype)
		snprintf(text, n,
		        "OPENBLAS_CORETYPE=%s makes OpenBLAS use its %s kernels, though this processor has "
		        "%s: "
		        "unset OPENBLAS_CORETYPE and OPENBLAS_L2_SIZE and start again",
		        coretype, kernel, cpu_level_name(cpu));
	else
		snprintf(text, n,
		        "OpenBLAS chose its %s kernels, though this processor has %s: install a newer "
		        "libopenblas, or "
		        "start with OPENBLAS_CORETYPE=%s",
		        kernel, cpu_level_name(cpu), suitable(cpu));
}
