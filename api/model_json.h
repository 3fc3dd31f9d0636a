/* An adapter as the wire's model object. Thread: any; no state. */
#ifndef REDD_API_MODEL_JSON_H
#define REDD_API_MODEL_JSON_H

#include "api/exchange.h"

/* A new reference; NULL when memory is short. owner is the tenant whose adapter it is. */
json_t *model_json(const struct tenant *owner, const struct adapter_record *a);

#endif
