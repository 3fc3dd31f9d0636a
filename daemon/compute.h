/*
 * Whether the matrix kernels in use are the ones this processor deserves. OpenBLAS chooses when it is loaded,
 * and OPENBLAS_CORETYPE and OPENBLAS_L2_SIZE in the environment override it: then training runs at half speed
 * and nothing else tells. main.c starts the program anew without them; what is wrong then is said in the log.
 * Thread: any.
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

/* Whether kernels are slower than the processor's for a variable's sake, or sized for another cache.
 * coretype and l2_size are the variables' values or NULL; l2_bytes is the processor's cache, <= 0 = not
 * known. */
bool compute_is_misled(
        const char *kernel, enum cpu_level cpu, const char *coretype, const char *l2_size, long l2_bytes);

#endif
