/* See stop.h. A string's state is the length of its longest beginning that the text ends with. */
#include "worker/serve/stop.h"

#include "core/mem.h"

#include <string.h>

struct needle {
	const char *text; /* borrowed */
	size_t n;
	size_t state;
	size_t *fallback; /* owned (n): [i] = the longest proper beginning that ends text[0..i] */
};

struct stop_scan {
	size_t n_needles;
	struct needle needles[];
};

/* The state after one more byte. */
static size_t needle_next(const struct needle *k, size_t state, char byte)
{
	while (state > 0 && (state == k->n || k->text[state] != byte))
		state = k->fallback[state - 1];
	return k->text[state] == byte ? state + 1 : 0;
}

static enum err needle_init(struct needle *k, const char *text)
{
	k->text = text;
	k->n = strlen(text);
	k->fallback = mem_calloc(k->n, sizeof(*k->fallback));
	if (!k->fallback)
		return ERR_MEM;
	for (size_t i = 1; i < k->n; i++)
		k->fallback[i] = needle_next(k, k->fallback[i - 1], text[i]);
	return OK;
}

enum err stop_scan_new(size_t n_stops, const char *const *stops, struct stop_scan **out)
{
	struct stop_scan *s = mem_calloc(1, sizeof(*s) + n_stops * sizeof(s->needles[0]));

	if (!s)
		return ERR_MEM;
	s->n_needles = n_stops;
	for (size_t i = 0; i < n_stops; i++)
		if (needle_init(&s->needles[i], stops[i]))
			goto fail;
	*out = s;
	return OK;
fail:
	stop_scan_free(s);
	return ERR_MEM;
}

void stop_scan_free(struct stop_scan *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->n_needles; i++)
		mem_free(s->needles[i].fallback);
	mem_free(s);
}

/* The length of the longest string that this byte completes, or 0. */
static size_t feed_byte(struct stop_scan *s, char byte)
{
	size_t found = 0;

	for (size_t i = 0; i < s->n_needles; i++) {
		struct needle *k = &s->needles[i];

		k->state = needle_next(k, k->state, byte);
		if (k->state == k->n && k->n > found)
			found = k->n;
	}
	return found;
}

bool stop_scan_feed(struct stop_scan *s, const char *text, size_t n, size_t *n_tail)
{
	size_t longest = 0;

	for (size_t i = 0; i < n; i++) {
		size_t found = feed_byte(s, text[i]);

		if (found) {
			*n_tail = found + (n - 1 - i);
			return true;
		}
	}
	for (size_t i = 0; i < s->n_needles; i++)
		if (s->needles[i].state > longest)
			longest = s->needles[i].state;
	*n_tail = longest;
	return false;
}
