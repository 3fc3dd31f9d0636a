/* Any bytes as safetensors. */
#include "tests/fuzz/fuzz.h"
#include "worker/adapter/safetensors.h"

int fuzz_safetensors(const uint8_t *data, size_t n)
{
	struct safetensors *s = NULL;
	struct why why = {0};
	enum err e = safetensors_new(data, n, &s, &why);
	size_t n_bytes = 0;

	FUZZ_MUST(e ? !s && (e == ERR_MEM || why.message[0]) : s != NULL);
	for (size_t i = 0; s && i < safetensors_count(s); i++) {
		const struct tensor *t = safetensors_at(s, i);
		float x[16];

		FUZZ_MUST(safetensors_find(s, t->name) == t);
		for (size_t k = 0; k < t->n_elements; k += 16)
			(void)tensor_read_f32(t, k, t->n_elements - k < 16 ? t->n_elements - k : 16, x);
		n_bytes += t->n_bytes;
	}
	FUZZ_MUST(n_bytes <= n);
	safetensors_free(s);
	return 0;
}

FUZZ_TARGET(safetensors)
