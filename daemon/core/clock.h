/*
 * Time. The wall clock can be set by tests, so that nothing in a test waits for it. Thread: any.
 */
#ifndef REDD_CORE_CLOCK_H
#define REDD_CORE_CLOCK_H

#include <stdint.h>

/* Milliseconds since 1970, from the system or from clock_set_ms(). */
int64_t clock_now_ms(void);
/* Nanoseconds since some fixed point; never goes back; never faked. */
int64_t clock_mono_ns(void);
/* Tests only: freeze the wall clock at ms; a negative value hands it back to the system. */
void clock_set_ms(int64_t ms);

#endif
