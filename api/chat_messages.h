/*
 * The messages of a chat request: JSON to what worker/text/chat.h renders. Pure; the owner's thread.
 */
#ifndef REDD_API_CHAT_MESSAGES_H
#define REDD_API_CHAT_MESSAGES_H

#include "worker/text/chat.h"

#include <jansson.h>

#define CHAT_MAX_MESSAGES 4096

/* Zero-initialise. */
struct chat_messages {
	struct chat_message *items; /* owned; roles and most contents are borrowed from the JSON */
	char **joined;              /* owned: (n), contents that came in several parts, or NULL */
	size_t n;
};
void chat_messages_fini(struct chat_messages *m);

/* content is a string or a list of {"type":"text","text":...}, joined by newlines; "developer" is "system".
 * ERR_INVALID with why->param such as "messages[2].content", ERR_MEM; *out is untouched then. */
enum err chat_messages_parse(const json_t *messages, struct chat_messages *out, struct why *why);

#endif
