/*
 * The machine that reads a pickle: its input, its stack with marks in it, its memo. Internal to pickle.c and
 * pickle_machine.c.
 */
#ifndef REDD_ADAPTER_PICKLE_MACHINE_H
#define REDD_ADAPTER_PICKLE_MACHINE_H

#include "worker/adapter/pickle_tree.h"

struct machine {
	const unsigned char *at, *end;
	const char *const *globals;
	struct pickle *pickle;
	struct pickle_value **stack; /* owned; NULL is a mark */
	size_t n_stack, cap_stack, n_pushed;
	struct pickle_value **memo; /* owned; NULL where nothing was put */
	size_t n_memo, cap_memo;
	bool stopped;
	struct why *why;
};

/* ERR_TOO_LARGE beyond PICKLE_MAX_VALUES. NULL is a mark. */
enum err machine_push(struct machine *m, struct pickle_value *v);
enum err machine_push_new(struct machine *m, enum pickle_kind kind, struct pickle_value **out);
/* The top, which is no mark, off the stack; or left where it is. ERR_FORMAT when nothing is there. */
enum err machine_pop(struct machine *m, struct pickle_value **out);
enum err machine_top(const struct machine *m, struct pickle_value **out);
/* Where the uppermost n values begin, or with n < 0 those above the last mark. ERR_FORMAT. */
enum err machine_find(const struct machine *m, int n, size_t *first);

/* Input: n bytes; a little-endian number of `width` bytes, 0 reads none; a length of `width` bytes and as
 * many bytes as it says. ERR_FORMAT when it ends before. */
enum err machine_take(struct machine *m, size_t n, const unsigned char **out);
enum err machine_take_number(struct machine *m, size_t width, uint64_t *out);
enum err machine_take_counted(struct machine *m, size_t width, const unsigned char **p, size_t *n);

#endif
