/*
 * The text of /metrics: Prometheus' format, with labels from short fixed lists only. Pool threads.
 */
#ifndef REDD_API_METRICS_H
#define REDD_API_METRICS_H

#include "api/exchange.h"
#include "core/buf.h"

/* Append all of them. ERR_MEM; a store that cannot be read leaves its jobs out. */
enum err metrics_write(struct exchange *x, struct buf *out);

#endif
