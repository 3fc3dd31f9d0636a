/*
 * The dashboard: plain files that the assembler puts among the constants. index.html is answered at / and
 * revalidated each time; what it refers to lies under /web/BUNDLE/, where BUNDLE names the content of all
 * files together, and may be kept for ever. Pool threads.
 */
#include "api/web.h"

#include "api/exchange.h"
#include "core/hash.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define CSS "text/css; charset=utf-8"
#define HTML "text/html; charset=utf-8"
#define JS "text/javascript; charset=utf-8"
#define SVG "image/svg+xml"

#define ETAG_SIZE 35 /* two quotes, 32 hexadecimal digits, NUL */

static const char policy[] =
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

#define WEB_FILES(F)                                                                                         \
	F(index_html, "index.html", HTML)                                                                    \
	F(icon_svg, "icon.svg", SVG)                                                                         \
	F(style_css, "style.css", CSS)                                                                       \
	F(jobs_css, "jobs.css", CSS)                                                                         \
	F(parts_css, "parts.css", CSS)                                                                       \
	F(adapter_js, "adapter.js", JS)                                                                      \
	F(aliases_js, "aliases.js", JS)                                                                      \
	F(api_js, "api.js", JS)                                                                              \
	F(app_js, "app.js", JS)                                                                              \
	F(chart_js, "chart.js", JS)                                                                          \
	F(choose_js, "choose.js", JS)                                                                        \
	F(classify_js, "classify.js", JS)                                                                    \
	F(dialog_js, "dialog.js", JS)                                                                        \
	F(blend_js, "blend.js", JS)                                                                          \
	F(dom_js, "dom.js", JS)                                                                              \
	F(example_js, "example.js", JS)                                                                      \
	F(format_js, "format.js", JS)                                                                        \
	F(heatmap_js, "heatmap.js", JS)                                                                      \
	F(hyper_js, "hyper.js", JS)                                                                          \
	F(job_js, "job.js", JS)                                                                              \
	F(jobs_js, "jobs.js", JS)                                                                            \
	F(models_js, "models.js", JS)                                                                        \
	F(playground_js, "playground.js", JS)                                                                \
	F(preflight_js, "preflight.js", JS)                                                                  \
	F(session_js, "session.js", JS)                                                                      \
	F(standing_js, "standing.js", JS)                                                                    \
	F(stream_js, "stream.js", JS)                                                                        \
	F(submit_js, "submit.js", JS)                                                                        \
	F(tenants_js, "tenants.js", JS)                                                                      \
	F(webhooks_js, "webhooks.js", JS)

#define EMBED(symbol, name, type)                                                                            \
	__asm__(".pushsection .rodata\n\t.balign 8\nweb_" #symbol "_size:\n\t.quad web_" #symbol             \
	        "_end - web_" #symbol "\nweb_" #symbol ":\n\t.incbin \"api/web/" name "\"\nweb_" #symbol     \
	        "_end:\n\t.byte 0\n\t.popsection");                                                          \
	extern const uint64_t web_##symbol##_size __attribute__((visibility("hidden")));                     \
	extern const char web_##symbol[] __attribute__((visibility("hidden")));
WEB_FILES(EMBED)

struct embedded {
	struct web_file file; /* n is not set */
	const uint64_t *n;
};
#define ROW(symbol, name, type) {{name, type, web_##symbol, 0}, &web_##symbol##_size},
static const struct embedded embedded[] = {WEB_FILES(ROW)};
#define N_FILES (sizeof(embedded) / sizeof(embedded[0]))

static pthread_once_t once = PTHREAD_ONCE_INIT;
/* constant after once */
static struct web_file files[N_FILES];
static char bundle[WEB_BUNDLE_SIZE];

static void files_init(void)
{
	struct hash h;
	uint8_t digest[HASH_BYTES];
	char hex[HASH_HEX_SIZE];

	hash_init(&h);
	for (size_t i = 0; i < N_FILES; i++) {
		files[i] = embedded[i].file;
		files[i].n = (size_t)*embedded[i].n;
		hash_update(&h, files[i].name, strlen(files[i].name) + 1);
		hash_update(&h, files[i].data, files[i].n + 1);
	}
	hash_final(&h, digest);
	hash_hex(digest, hex);
	memcpy(bundle, hex, WEB_BUNDLE_SIZE - 1);
}

const struct web_file *web_file_find(const char *name)
{
	pthread_once(&once, files_init);
	for (size_t i = 0; i < N_FILES; i++)
		if (!strcmp(files[i].name, name))
			return &files[i];
	return NULL;
}

const char *web_bundle(void)
{
	pthread_once(&once, files_init);
	return bundle;
}

enum err web_index(bool no_auth, struct buf *out)
{
	const struct {
		const char *mark, *text;
	} marks[] = {{"@BUNDLE@", web_bundle()}, {"@AUTH@", no_auth ? "none" : "key"},
	        {"@VERSION@", REDD_VERSION}};
	const char *at = web_file_find("index.html")->data, *next;
	enum err e = OK;

	while (!e && (next = strchr(at, '@'))) {
		size_t i = 0, n_marks = sizeof(marks) / sizeof(marks[0]);

		while (i < n_marks && strncmp(next, marks[i].mark, strlen(marks[i].mark)) != 0)
			i++;
		e = buf_append(out, at, (size_t)(next - at));
		if (!e)
			e = buf_puts(out, i < n_marks ? marks[i].text : "@");
		at = next + (i < n_marks ? strlen(marks[i].mark) : 1);
	}
	return e ? e : buf_puts(out, at);
}

static void etag_of(const struct buf *body, char out[ETAG_SIZE])
{
	uint8_t digest[HASH_BYTES];
	char hex[HASH_HEX_SIZE];

	hash_bytes(body->data, body->len, digest);
	hash_hex(digest, hex);
	snprintf(out, ETAG_SIZE, "\"%.32s\"", hex);
}

/* Takes over body. */
static enum exchange_verdict reply(
        struct exchange *x, const char *content_type, const char *cache_control, struct buf *body)
{
	const char *known = exchange_header(x, "If-None-Match");
	struct buf empty = {0};
	char etag[ETAG_SIZE];

	etag_of(body, etag);
	exchange_set_header(x, "ETag", etag);
	exchange_set_header(x, "Cache-Control", cache_control);
	exchange_set_header(x, "Content-Security-Policy", policy);
	exchange_set_header(x, "X-Content-Type-Options", "nosniff");
	exchange_set_header(x, "Referrer-Policy", "no-referrer");
	exchange_set_header(x, "Cross-Origin-Opener-Policy", "same-origin");
	exchange_set_header(x, "Cross-Origin-Resource-Policy", "same-origin");
	if (!known || (strcmp(known, "*") != 0 && !strstr(known, etag)))
		return exchange_reply_bytes(x, 200, content_type, body);
	buf_fini(body);
	return exchange_reply_bytes(x, 304, NULL, &empty);
}

static enum exchange_verdict front_page(struct exchange *x)
{
	struct buf page = {0};

	if (web_index(exchange_options(x)->no_auth, &page)) {
		buf_fini(&page);
		return exchange_reply_error(x, ERR_MEM, NULL);
	}
	return reply(x, HTML, "no-cache", &page);
}

/* A page that an older build gave out asks under that one's name: it gets what there is, unkept. */
static enum exchange_verdict bundled(struct exchange *x)
{
	const char *name = exchange_capture(x, 1);
	const struct web_file *file = web_file_find(name);
	bool current = !strcmp(exchange_capture(x, 0), web_bundle());
	struct buf body = {0};
	struct why why = {0};

	if (!file || !strcmp(name, "index.html")) {
		why_set(&why, ERR_NOT_FOUND, "The dashboard has no file '%.64s'.", name);
		return exchange_reply_error(x, ERR_NOT_FOUND, &why);
	}
	if (buf_append(&body, file->data, file->n))
		return exchange_reply_error(x, ERR_MEM, NULL);
	return reply(
	        x, file->content_type, current ? "public, max-age=31536000, immutable" : "no-cache", &body);
}

const struct route web_routes[] = {
        {"GET", "/", ROUTE_OPEN, front_page},
        {"GET", "/web/{}/{}", ROUTE_OPEN, bundled},
        {NULL, NULL, ROUTE_OPEN, NULL},
};
