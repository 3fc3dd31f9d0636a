/* /openapi.json: what there is here, in a form that programs read. The file is built into the program. */
#include "api/exchange.h"
#include "core/buf.h"

/* The assembler counts the bytes: in C, pointers to different objects have no difference. */
__asm__(".pushsection .rodata\n\t.balign 8\nopenapi_size:\n\t.quad openapi_end - openapi_text\n"
        "openapi_text:\n\t.incbin \"api/openapi.json\"\nopenapi_end:\n\t.popsection");
extern const uint64_t openapi_size __attribute__((visibility("hidden")));
extern const char openapi_text[] __attribute__((visibility("hidden")));

static enum exchange_verdict openapi_get(struct exchange *x)
{
	struct buf text = {0};

	if (buf_append(&text, openapi_text, (size_t)openapi_size))
		return exchange_reply_error(x, ERR_MEM, NULL);
	return exchange_reply_bytes(x, 200, "application/json", &text);
}

const struct route openapi_routes[] = {
        {"GET", "/openapi.json", ROUTE_OPEN, openapi_get},
        {NULL, NULL, ROUTE_OPEN, NULL},
};
