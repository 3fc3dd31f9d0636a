/* Any bytes as config.json, and as generation_config.json beside it. */
#include "core/mem.h"
#include "tests/fuzz/fuzz.h"
#include "worker/model/arch.h"

#include <string.h>

int fuzz_config(const uint8_t *data, size_t n)
{
	char *text = mem_calloc(n + 1, 1);
	struct arch arch = {0};
	struct site *sites = NULL;
	struct why why = {0};
	size_t n_sites = 0;
	enum err e;

	FUZZ_MUST(text);
	if (n)
		memcpy(text, data, n);
	e = arch_parse(text, &arch, &why);
	FUZZ_MUST(!e || e == ERR_MEM || why.message[0]);
	if (!e) {
		(void)arch_parse_generation(text, &arch, &why);
		FUZZ_MUST(arch_sites(&arch, &sites, &n_sites) == OK);
		for (size_t i = 0; i < n_sites; i++)
			FUZZ_MUST(sites[i].width > 0 && memchr(sites[i].name, '\0', SITE_NAME_SIZE));
	}
	mem_free(sites);
	mem_free(text);
	return 0;
}

FUZZ_TARGET(config)
