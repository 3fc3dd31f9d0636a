/* See admin_key.h. */
#include "daemon/admin_key.h"

#include "core/buf.h"
#include "core/mem.h"
#include "daemon/paths.h"

#include <ctype.h>
#include <string.h>

/* The one word in text, in place; NULL when there is none, several, or something unprintable. */
static char *only_word(char *text, size_t n)
{
	char *end = text + n;

	while (text < end && isspace((unsigned char)*text))
		text++;
	while (end > text && isspace((unsigned char)end[-1]))
		end--;
	for (char *p = text; p < end; p++)
		if (!isgraph((unsigned char)*p))
			return NULL;
	*end = '\0';
	return text < end ? text : NULL;
}

static enum err read_key(const char *path, uint8_t hash[HASH_BYTES], struct why *why)
{
	struct buf b = {0};
	enum err e = buf_read_file(&b, path, ADMIN_KEY_MAX_BYTES);
	char *key;

	if (e && e != ERR_MEM)
		why_set(why, e, "admin key %s: %s", path, err_text(e));
	if (!e) {
		key = b.data ? only_word(b.data, b.len) : NULL;
		if (key)
			hash_bytes(key, strlen(key), hash);
		else
			e = why_set(why, ERR_FORMAT, "admin key %s: it must hold one word", path);
		explicit_bzero(b.data, b.len);
	}
	buf_fini(&b);
	return e;
}

static enum err create_key(const char *path, uint8_t hash[HASH_BYTES], struct why *why)
{
	char key[sizeof(ADMIN_KEY_PREFIX) + ADMIN_KEY_RANDOM + 1]; /* a newline more */
	enum err e = random_id(ADMIN_KEY_PREFIX, ADMIN_KEY_RANDOM, key);
	size_t n;

	if (e)
		return why_set(why, e, "no random bytes for an admin key");
	n = strlen(key);
	hash_bytes(key, n, hash);
	key[n] = '\n';
	key[n + 1] = '\0';
	e = paths_write_file(path, key, why);
	explicit_bzero(key, sizeof(key));
	return e;
}

enum err admin_key_load(const char *key_file, const char *credentials_dir, const char *state_dir,
        struct admin_key *out, struct why *why)
{
	struct admin_key k = {0};
	enum err e = ERR_NOT_FOUND;

	if (key_file) {
		k.path = mem_strdup(key_file);
		e = k.path ? read_key(k.path, k.hash, why) : ERR_MEM;
		goto done;
	}
	if (credentials_dir) {
		k.path = mem_printf("%s/admin.key", credentials_dir);
		e = k.path ? read_key(k.path, k.hash, why) : ERR_MEM;
	}
	if (e == ERR_NOT_FOUND) {
		mem_free(k.path);
		k.path = mem_printf("%s/admin.key", state_dir);
		e = k.path ? read_key(k.path, k.hash, why) : ERR_MEM;
	}
	if (e == ERR_NOT_FOUND) {
		e = create_key(k.path, k.hash, why);
		k.created = true;
	}
done:
	if (e)
		admin_key_fini(&k);
	else
		*out = k;
	return e;
}

void admin_key_fini(struct admin_key *k)
{
	if (!k)
		return;
	mem_free(k->path);
	memset(k, 0, sizeof(*k));
}
