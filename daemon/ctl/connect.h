/*
 * From options and environment to a client: which address, which key. Thread: main.
 */
#ifndef REDD_CTL_CONNECT_H
#define REDD_CTL_CONNECT_H

#include "daemon/ctl/args.h"
#include "daemon/ctl/client.h"

/* Nothing is sent yet. With admin it speaks with the admin key. client_free() *out. ERR_NOT_FOUND: no key
 * where one must be; ERR_INVALID: the address; ERR_MEM. */
enum err connect_client(const struct args *a, bool admin, struct client **out, struct why *why);

#endif
