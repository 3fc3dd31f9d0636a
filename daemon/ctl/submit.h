/*
 * The request that `redctl submit` sends, out of its options. Pure. Thread: any.
 */
#ifndef REDD_CTL_SUBMIT_H
#define REDD_CTL_SUBMIT_H

#include "daemon/ctl/args.h"

#include <jansson.h>

/* The options of `redctl submit`. */
extern const struct args_option submit_options[];

/* The body of POST /v1/fine_tuning/jobs, a new reference. validation NULL = none.
 * ERR_INVALID names the option and what it takes; ERR_MEM. */
enum err submit_body(const struct args *a, const char *model, const char *training, const char *validation,
        json_t **out, struct why *why);
/* "0,2,5-7" as [0,2,5,6,7], "all" as "all"; a new reference. ERR_INVALID, ERR_MEM. */
enum err submit_layers(const char *text, json_t **out, struct why *why);

#endif
