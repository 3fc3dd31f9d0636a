/* /openapi.json: what there is here, in a form that programs read. The file is built into the program. */
#include "api/exchange.h"
#include "core/buf.h"

__asm__(".pushsection .rodata\nopenapi_text:\n\t.incbin \"api/openapi.json\"\nopenapi_end:\n\t.popsection");
extern const char openapi_text[] __attribute__((visibility("hidden")));
extern const char openapi_end[] __attribute__((visibility("hidden")));

static enum exchange_verdict openapi_get(struct exchange *x)
{
	struct buf text = {0};

	if (buf_append(&text, openapi_text, (size_t)(openapi_end - openapi_text)))
		return exchange_reply_error(x, ERR_MEM, NULL);
	return exchange_reply_bytes(x, 200, "application/json", &text);
}

const struct route openapi_routes[] = {
        {"GET", "/openapi.json", ROUTE_OPEN, openapi_get},
        {NULL, NULL, ROUTE_OPEN, NULL},
};
