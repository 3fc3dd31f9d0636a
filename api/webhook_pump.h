/*
 * Delivery of what is due to webhooks: one thread, many transfers side by side but one to a webhook at a
 * time. What is not answered with 2xx within ten seconds is tried again for three days, after 1 s, 4 s, 16 s
 * and so on to four hours; redirects count as failures; a test is tried once. At least once: receivers tell
 * repeats by webhook-id. Thread: start/stop by one, the rest any; nothing here waits but stop.
 */
#ifndef REDD_API_WEBHOOK_PUMP_H
#define REDD_API_WEBHOOK_PUMP_H

#include "storage/store.h"

struct webhook_pump;

/* store is borrowed. private_addresses: connect to whatever a webhook's URL leads to, not only to what
 * address_is_public(). ERR_MEM. */
enum err webhook_pump_start(struct store *store, bool private_addresses, struct webhook_pump **out);
/* What is under way is given up, and due again at the next start. NULL is allowed. */
void webhook_pump_stop(struct webhook_pump *p);
/* Something may have become due. */
void webhook_pump_poke(struct webhook_pump *p);

/* A http or https URL without a user in it. ERR_INVALID with why->param "url". */
enum err webhook_url_check(const char *url, struct why *why);

#endif
