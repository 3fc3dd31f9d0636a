/* Any bytes as a file of torch.save. */
#include "tests/fuzz/fuzz.h"
#include "worker/adapter/torch_file.h"

#include <string.h>

int fuzz_torch_file(const uint8_t *data, size_t n)
{
	struct torch_file *f = NULL;
	struct why why = {0};
	unsigned sum = 0;
	enum err e = torch_file_new(data, n, &f, &why);

	FUZZ_MUST(e ? !f && (e == ERR_MEM || why.message[0]) : f != NULL);
	for (size_t i = 0; f && i < torch_file_count(f); i++) {
		const struct tensor *t = torch_file_at(f, i);

		FUZZ_MUST(t->n_bytes == t->n_elements * tensor_type_bytes(t->type));
		for (size_t k = 0; k < t->n_bytes; k++)
			sum += ((const uint8_t *)t->data)[k];
		FUZZ_MUST(strlen(t->name) <= n);
	}
	torch_file_free(f);
	return (int)(sum & 0);
}

FUZZ_TARGET(torch_file)
