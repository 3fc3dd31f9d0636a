/* Any bytes as somebody's adapter of a small GPT-2: what is taken can be written and read again. */
#include "core/mem.h"
#include "tests/fuzz/fuzz.h"
#include "tests/worker/adapter/sites.h"

enum { N_LAYERS = 3, WIDTH = 64 };

/* The same numbers after a round trip through our own file. */
static void check_round_trip(const struct adapter_layout *l, const float *params, const struct site *sites)
{
	struct adapter_layout *again = NULL;
	struct buf b = {0};
	float *read = NULL;

	FUZZ_MUST(adapter_write(l, params, NULL, &b) == OK);
	FUZZ_MUST(adapter_read(b.data, b.len, sites, 3 * N_LAYERS, &again, &read, NULL, NULL) == OK);
	FUZZ_MUST(adapter_layout_n_params(again) == adapter_layout_n_params(l));
	FUZZ_MUST(memcmp(read, params, adapter_layout_n_params(l) * sizeof(*read)) == 0);
	adapter_layout_free(again);
	mem_free(read);
	buf_fini(&b);
}

int fuzz_adapter(const uint8_t *data, size_t n)
{
	struct site *sites = gpt2_sites(N_LAYERS, WIDTH);
	struct adapter_layout *l = NULL;
	float *params = NULL;
	struct why why = {0};
	enum err e;

	FUZZ_MUST(sites);
	e = adapter_import(data, n, sites, 3 * N_LAYERS, &l, &params, &why);
	FUZZ_MUST(e ? !l && !params && (e == ERR_MEM || why.message[0]) : l && params);
	if (!e)
		check_round_trip(l, params, sites);
	adapter_layout_free(l);
	mem_free(params);
	free(sites);
	return 0;
}

FUZZ_TARGET(adapter)
