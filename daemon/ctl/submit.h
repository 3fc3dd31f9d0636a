/*
 * The request that `redctl submit` and `redctl preflight` send, out of their options. Pure but for
 * submit_prepare(). Thread: main.
 */
#ifndef REDD_CTL_SUBMIT_H
#define REDD_CTL_SUBMIT_H

#include "daemon/ctl/command.h"

#include <jansson.h>

/* The options of `redctl submit` and `redctl preflight`. */
extern const struct args_option submit_options[], preflight_options[];

/* The body of POST /v1/fine_tuning/jobs, a new reference. validation NULL = none.
 * ERR_INVALID names the option and what it takes; ERR_MEM. */
enum err submit_body(const struct args *a, const char *model, const char *training, const char *validation,
        json_t **out, struct why *why);
/* "0,2,5-7" as [0,2,5,6,7], "all" as "all"; a new reference. ERR_INVALID, ERR_MEM. */
enum err submit_layers(const char *text, json_t **out, struct why *why);
/* The body for the command line's operand and options: files that are not there yet are uploaded, the base is
 * asked for. A new reference. Errors as client.h, and ERR_INVALID. */
enum err submit_prepare(struct ctl *ctl, json_t **body, struct why *why);

#endif
