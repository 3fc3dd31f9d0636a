/*
 * Finding stop strings in text that arrives in pieces. One automaton a string (Knuth, Morris, Pratt), fed
 * byte by byte, so what is found does not depend on where the pieces are cut: the string that is complete
 * first, the longest where several end at the same byte. Thread: the owner.
 */
#ifndef REDD_SERVE_STOP_H
#define REDD_SERVE_STOP_H

#include "core/err.h"

#include <stdbool.h>
#include <stddef.h>

struct stop_scan;

/* stops (n_stops) non-empty strings, borrowed. */
enum err stop_scan_new(size_t n_stops, const char *const *stops, struct stop_scan **out);
void stop_scan_free(struct stop_scan *s);
/* Feed the next n bytes of the text. False: *n_tail bytes at the end of the text so far may begin a stop
 * string. True: one was found; it begins *n_tail bytes before the end of what was fed. Not to be fed again
 * then. */
bool stop_scan_feed(struct stop_scan *s, const char *text, size_t n, size_t *n_tail);

#endif
