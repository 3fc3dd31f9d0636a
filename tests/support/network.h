/* Addresses that nobody else answers at. Thread: the owner of the process. */
#ifndef REDD_TESTS_NETWORK_H
#define REDD_TESTS_NETWORK_H

#include <stdbool.h>

/* Give this process and its children a network of their own: loopback alone, every port free. False where the
 * system does not grant it. */
bool network_own(void);
/* A port of loopback's that was free a moment ago; 0 = none. */
unsigned network_port_free(void);

#endif
