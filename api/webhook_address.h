/*
 * Where tenants may make the daemon connect to: addresses of the public Internet, and not those of this
 * machine, its networks or its cloud. Pure. Thread: any.
 */
#ifndef REDD_API_WEBHOOK_ADDRESS_H
#define REDD_API_WEBHOOK_ADDRESS_H

#include <stdbool.h>
#include <sys/socket.h>

bool address_is_public(const struct sockaddr *address);

#endif
