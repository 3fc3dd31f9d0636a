/*
 * What a webhook is sent: the body, and the headers that the official clients' webhooks.unwrap() checks
 * (standardwebhooks.com). The same delivery has the same body and id however often it is tried. Pure, but for
 * the random secret. Thread: any.
 */
#ifndef REDD_API_WEBHOOK_MESSAGE_H
#define REDD_API_WEBHOOK_MESSAGE_H

#include "storage/store.h"

struct webhook_message {
	char body[384];
	char id[80]; /* header lines, from here on */
	char timestamp[48];
	char signature[160];
};

/* "whsec_" and 32 random bytes. ERR_IO. */
enum err webhook_secret_new(char out[STORE_SECRET_SIZE]);
/* Signed by the webhook's secret, and by its old one while that holds. now is in unix seconds. ERR_FORMAT: a
 * secret is none of ours. */
enum err webhook_message_make(
        const struct webhook *w, const struct delivery *d, int64_t now, struct webhook_message *out);

#endif
