/* See webhook_message.h. Ids and types are of [a-zA-Z0-9._-]: nothing in the body needs escaping. */
#include "api/webhook_message.h"

#include "core/hash.h"

#include <nettle/base64.h>
#include <nettle/hmac.h>
#include <stdio.h>
#include <string.h>

#define SECRET_PREFIX "whsec_"
#define SECRET_BYTES 32
#define SIGNATURE_CHARS BASE64_ENCODE_RAW_LENGTH(SHA256_DIGEST_SIZE)

_Static_assert(
        sizeof(SECRET_PREFIX) + BASE64_ENCODE_RAW_LENGTH(SECRET_BYTES) <= STORE_SECRET_SIZE, "secrets fit");

enum err webhook_secret_new(char out[STORE_SECRET_SIZE])
{
	uint8_t secret[SECRET_BYTES];
	size_t n = strlen(SECRET_PREFIX);
	enum err e = random_bytes(secret, sizeof(secret));

	if (e)
		return e;
	memcpy(out, SECRET_PREFIX, n);
	base64_encode_raw(out + n, sizeof(secret), secret);
	out[n + BASE64_ENCODE_RAW_LENGTH(SECRET_BYTES)] = '\0';
	return OK;
}

/* "v1,BASE64" of what secret makes of id.timestamp.body. */
static enum err sign(const char *secret, const char *signed_text, char out[4 + SIGNATURE_CHARS])
{
	struct base64_decode_ctx decode;
	struct hmac_sha256_ctx hmac;
	uint8_t key[BASE64_DECODE_LENGTH(STORE_SECRET_SIZE)], digest[SHA256_DIGEST_SIZE];
	size_t n_key = sizeof(key), n = strlen(SECRET_PREFIX);

	if (strncmp(secret, SECRET_PREFIX, n) != 0)
		return ERR_FORMAT;
	base64_decode_init(&decode);
	if (!base64_decode_update(&decode, &n_key, key, strlen(secret + n), secret + n) ||
	        !base64_decode_final(&decode))
		return ERR_FORMAT;
	hmac_sha256_set_key(&hmac, n_key, key);
	hmac_sha256_update(&hmac, strlen(signed_text), (const uint8_t *)signed_text);
	hmac_sha256_digest(&hmac, sizeof(digest), digest);
	memcpy(out, "v1,", 3);
	base64_encode_raw(out + 3, sizeof(digest), digest);
	out[3 + SIGNATURE_CHARS] = '\0';
	return OK;
}

enum err webhook_message_make(
        const struct webhook *w, const struct delivery *d, int64_t now, struct webhook_message *out)
{
	char text[sizeof(out->body) + STORE_ID_SIZE + 32], one[4 + SIGNATURE_CHARS], two[4 + SIGNATURE_CHARS];
	struct webhook_message m;
	bool both = w->old_secret[0] && now < w->old_until;
	enum err e;

	snprintf(m.body, sizeof(m.body),
	        "{\"id\":\"%s\",\"object\":\"event\",\"created_at\":%lld,\"type\":\"%s\",\"data\":{\"id\":"
	        "\"%s\"}}",
	        d->event_id, (long long)d->created_at, d->type, d->subject);
	snprintf(m.id, sizeof(m.id), "webhook-id: %s", d->event_id);
	snprintf(m.timestamp, sizeof(m.timestamp), "webhook-timestamp: %lld", (long long)now);
	snprintf(text, sizeof(text), "%s.%lld.%s", d->event_id, (long long)now, m.body);
	e = sign(w->secret, text, one);
	if (!e && both)
		e = sign(w->old_secret, text, two);
	if (e)
		return e;
	snprintf(m.signature, sizeof(m.signature), "webhook-signature: %s%s%s", one, both ? " " : "",
	        both ? two : "");
	*out = m;
	return OK;
}
