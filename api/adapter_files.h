/* Adapters coming in and going out as files: handlers for the routes of adapters.c. Pool threads. */
#ifndef REDD_API_ADAPTER_FILES_H
#define REDD_API_ADAPTER_FILES_H

#include "api/exchange.h"

/* POST /v1/adapters: a form with `file`, and `name` if it shall have one. The model object. */
exchange_handler adapter_import_post;
/* GET /v1/adapters/ID/edits: sizes of the edit, module by module. */
exchange_handler adapter_edits_get;
/* The adapter folded into its base: a tar of a plain Hugging Face checkpoint. */
enum exchange_verdict adapter_reply_folded(struct exchange *x, const char *name);

#endif
