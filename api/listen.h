/*
 * The listening socket: from "host:port" to a descriptor and back. Thread: any; at start-up, as a name may
 * have to be resolved.
 */
#ifndef REDD_API_LISTEN_H
#define REDD_API_LISTEN_H

#include "core/err.h"

#include <stdbool.h>

#define LISTEN_ADDRESS_SIZE 64

/* Bind and listen; *fd is the caller's. ERR_INVALID for an address nobody can listen on, ERR_IO when this
 * host cannot. */
enum err listen_open(const char *address, int *fd, struct why *why);
/* Where a listening socket is: "127.0.0.1:43121", "[::1]:80"; "unix" for a local one. */
enum err listen_address(int fd, char out[LISTEN_ADDRESS_SIZE]);
/* Whether only this host can reach it. */
bool listen_is_loopback(int fd);

#endif
