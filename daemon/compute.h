/*
 * Whether the matrix kernels in use are the ones this processor deserves, in words for the log. OpenBLAS
 * chooses when it is loaded, and OPENBLAS_CORETYPE in the environment overrides it: then training runs at
 * half speed and nothing else tells. Thread: any.
 */
#ifndef REDD_DAEMON_COMPUTE_H
#define REDD_DAEMON_COMPUTE_H

#include "worker/math/cpu.h"

#include <stddef.h>

/* The level an OpenBLAS kernel family such as "Haswell" or "Cooperlake" makes use of. */
enum cpu_level compute_kernel_level(const char *kernel);

/* What is wrong and what to do about it, into text (n bytes); "" when the kernels suit the processor.
 * coretype is $OPENBLAS_CORETYPE, or NULL. */
void compute_advice(const char *kernel, enum cpu_level cpu, const char *coretype, char *text, size_t n);

#endif
