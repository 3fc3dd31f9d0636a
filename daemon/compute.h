/*
 * Whether the matrix kernels in use are the ones this processor deserves. OpenBLAS chooses when it is loaded,
 * and OPENBLAS_CORETYPE and OPENBLAS_L2_SIZE in the environment override it: then training runs at half speed
 * and nothing else tells; and an old library does not know every processor. main.c starts the program anew
 * with what suits; what is wrong then is said in the log. Thread: any.
 */
#ifndef REDD_DAEMON_COMPUTE_H
#define REDD_DAEMON_COMPUTE_H

#include "worker/math/cpu.h"

#include <stdbool.h>
#include <stddef.h>

/* The level an OpenBLAS kernel family such as "Haswell" or "Cooperlake" makes use of. */
enum cpu_level compute_kernel_level(const char *kernel);

/* What is wrong and what to do about it, into text (n bytes); "" when the kernels suit the processor.
 * coretype is $OPENBLAS_CORETYPE, or NULL. */
void compute_advice(const char *kernel, enum cpu_level cpu, const char *coretype, char *text, size_t n);

/* What to start anew with. */
struct compute_correction {
	const char
	        *coretype; /* static: what OPENBLAS_CORETYPE must be, NULL = unset, as OPENBLAS_L2_SIZE is */
	char text[256];    /* for the log */
};
/* Whether starting anew would give better kernels than `kernel`: variables that do not suit the processor are
 * unset first, and a library that then chooses badly by itself is told what to use. coretype and l2_size are
 * the variables' values or NULL; l2_bytes is the processor's cache, <= 0 = not known; corrected: it has been
 * started anew before. After at most two corrections the answer is no. *out is untouched then. */
bool compute_correct(const char *kernel, enum cpu_level cpu, const char *coretype, const char *l2_size,
        long l2_bytes, bool corrected, struct compute_correction *out);

#endif
