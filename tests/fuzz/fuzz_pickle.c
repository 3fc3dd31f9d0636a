/* Any bytes as a pickle. */
#include "tests/fuzz/fuzz.h"
#include "worker/adapter/pickle.h"

#include <string.h>

/* Look at everything within reach; a pickle may hold itself. */
static size_t walk(const struct pickle_value *v, int depth)
{
	size_t n = 1;

	if (!v || !depth)
		return 0;
	switch (v->kind) {
	case PICKLE_STRING:
	case PICKLE_BYTES:
	case PICKLE_GLOBAL:
		FUZZ_MUST(v->bytes[v->n_bytes] == '\0');
		return n + strlen(v->bytes);
	case PICKLE_DICT:
		FUZZ_MUST(v->n_items % 2 == 0);
		break;
	case PICKLE_CALL:
		FUZZ_MUST(v->n_items == 2 && pickle_is_global(v->items[0], "torch FloatStorage"));
		break;
	case PICKLE_TUPLE:
	case PICKLE_LIST:
	case PICKLE_PERSISTENT:
		break;
	default:
		return n;
	}
	for (size_t i = 0; i < v->n_items && i < 64; i++)
		n += walk(v->items[i], depth - 1);
	return n;
}

int fuzz_pickle(const uint8_t *data, size_t n)
{
	static const char *const globals[] = {"torch FloatStorage", NULL};
	struct pickle *p = NULL;
	struct why why = {0};
	size_t used = 0;
	enum err e = pickle_read(data, n, globals, &p, &used, &why);

	FUZZ_MUST(e ? !p && (e == ERR_MEM || why.message[0]) : p && used <= n);
	if (!e)
		FUZZ_MUST(walk(pickle_root(p), 4) > 0);
	pickle_free(p);
	return 0;
}

FUZZ_TARGET(pickle)
