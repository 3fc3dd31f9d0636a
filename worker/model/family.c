/* The list of families. Their tables are in family_*.c; see arch.h. */
#include "worker/model/arch.h"

#include <stdio.h>
#include <string.h>

static const struct family *const families[] = {&family_gpt2, &family_llama, &family_mistral, &family_qwen2,
        &family_roberta, &family_bert, &family_t5};

const struct family *family_find(const char *model_type, const char **type)
{
	for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++)
		for (const char *const *t = families[i]->model_types; *t; t++)
			if (strcmp(*t, model_type) == 0) {
				*type = *t;
				return families[i];
			}
	return NULL;
}

void family_list(char *out, size_t size)
{
	size_t at = 0;

	out[0] = '\0';
	for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++)
		for (const char *const *t = families[i]->model_types; *t && at < size; t++)
			at += (size_t)snprintf(out + at, size - at, "%s%s", at ? ", " : "", *t);
}
