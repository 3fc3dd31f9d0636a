/* See compute.h. */
#include "daemon/compute.h"

#include <stdio.h>
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

void compute_advice(const char *kernel, enum cpu_level cpu, const char *coretype, char *text, size_t n)
{
	text[0] = '\0';
	if (compute_kernel_level(kernel) >= cpu)
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
		        kernel, cpu_level_name(cpu), cpu == CPU_AVX512 ? "SkylakeX" : "Haswell");
}
