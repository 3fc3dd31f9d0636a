/* See connect.h. */
#include "daemon/ctl/connect.h"

#include "core/buf.h"
#include "core/mem.h"

#include <stdlib.h>
#include <string.h>

#define DEFAULT_URL "http://127.0.0.1:8080"
#define MAX_KEY_BYTES 512

/* The one word in a file; mem_free(*key). ERR_NOT_FOUND, ERR_FORMAT. */
static enum err read_key(const char *path, char **key, struct why *why)
{
	struct buf b = {0};
	enum err e = buf_read_file(&b, path, MAX_KEY_BYTES);
	const char *start;

	if (e) {
		buf_fini(&b);
		return why_set(why, ERR_NOT_FOUND, "%s: %s", path, err_text(e));
	}
	start = b.len ? b.data + strspn(b.data, " \t\r\n") : "";
	*key = mem_printf("%.*s", (int)strcspn(start, " \t\r\n"), start);
	buf_fini(&b);
	return *key ? OK : ERR_MEM;
}

/* The admin key from where the daemon may have put it. */
static enum err find_admin_key(char **key, struct why *why)
{
	const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
	char *paths[] = {state ? mem_printf("%s/redd/admin.key", state) : NULL,
	        home ? mem_printf("%s/.local/state/redd/admin.key", home) : NULL,
	        mem_strdup("/var/lib/redd/admin.key")};
	enum err e = ERR_NOT_FOUND;

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		if (e && paths[i])
			e = read_key(paths[i], key, NULL);
		mem_free(paths[i]);
	}
	return e ? why_set(why, e, "no admin key is readable here: use --admin-key-file FILE") : OK;
}

static enum err choose_key(const struct args *a, bool admin, char **key, struct why *why)
{
	const char *file = args_text(a, admin ? "admin-key-file" : "key-file");
	const char *text = args_text(a, "key");

	if (!file && admin)
		file = getenv("REDD_ADMIN_KEY_FILE");
	if (!file && !text && !admin)
		text = getenv("REDD_API_KEY");
	if (file)
		return read_key(file, key, why);
	if (admin && !text)
		return find_admin_key(key, why);
	*key = mem_strdup(text);
	return text && !*key ? ERR_MEM : OK;
}

enum err connect_client(const struct args *a, bool admin, struct client **out, struct why *why)
{
	const char *url = args_text(a, "url");
	char *key = NULL;
	enum err e = choose_key(a, admin, &key, why);

	if (!url)
		url = getenv("REDD_URL");
	if (!e)
		e = client_new(url && *url ? url : DEFAULT_URL, key, out, why);
	mem_free(key);
	return e;
}
